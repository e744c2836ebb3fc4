import tracemalloc
import warnings

import numpy as np
import pytest
from optional_packages import pandas as pd
from scipy import sparse
from scipy.special import expit, logit, softmax
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, StratifiedKFold
from stacked_columns import columns, log_loss_of, stacked

from cfe_stack import (
    CFEnsembleClassifier,
    CFEnsembleTrainer,
    LayoutWarning,
)
from cfe_stack.classifier.final_aggregators import FINAL_AGGREGATORS

NAN = np.nan
FAST = {"aggregator": "log_pool"}
SPLIT = {2: stacked(8, 1200, 2, class_prior=0.3, correlation=0.2), 3: stacked(8, 900, 3)}


def halves(n_classes=2, **settings):
    """Return training and test columns and codes."""
    P, codes, _ = stacked(8, 1200, n_classes, **settings) if settings else SPLIT[n_classes]
    half = len(P) // 2
    return P[:half], codes[:half], P[half:], codes[half:]


def held_out_loss(classifier, P, codes, T, truth):
    return log_loss_of(classifier.fit(P, codes).predict_proba(T), truth)


def quietly(call, *args, **kwargs):
    """Call without the warning that names the layout."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LayoutWarning)
        return call(*args, **kwargs)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 1.0, 1: 4.0}])
def test_what_is_predicted(n_classes, class_weight):
    P, codes, T, truth = halves(n_classes)
    model = CFEnsembleClassifier(class_weight=class_weight, **FAST).fit(P, codes)
    proba, scores = model.predict_proba(T), model.decision_function(T)
    assert proba.shape == (len(T), n_classes)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    expected = expit(scores) if n_classes == 2 else softmax(scores, axis=1)
    np.testing.assert_allclose(proba[:, 1] if n_classes == 2 else proba, expected)
    counts = np.bincount(codes)
    weights = {None: np.ones(n_classes), "balanced": len(P) / (n_classes * counts)}.get(
        class_weight if not isinstance(class_weight, dict) else "", np.array([1.0, 4.0, 1.0])
    )
    np.testing.assert_array_equal(model.predict(T), (proba * weights[:n_classes]).argmax(axis=1))
    assert log_loss_of(proba, truth) < 0.9 * np.log(n_classes)


@pytest.mark.parametrize(
    "classes",
    [
        np.array([0, 1]),
        np.array([7, 3]),
        np.array(["no", "yes"]),
        np.array([True, False]),
        np.array([1.0, 2.0]),
        np.array(["a", "b"], dtype=object),
        np.array([-1, 1]),
    ],
    ids=str,
)
def test_labels_of_any_kind_come_back(classes):
    P, codes, T, _ = halves()
    model = CFEnsembleClassifier(**FAST).fit(P, np.sort(classes)[codes])
    plain = CFEnsembleClassifier(**FAST).fit(P, codes)
    np.testing.assert_array_equal(model.classes_, np.sort(classes))
    assert model.classes_.dtype == classes.dtype
    np.testing.assert_array_equal(model.predict(T), np.sort(classes)[plain.predict(T)])
    np.testing.assert_array_equal(model.predict_proba(T), plain.predict_proba(T))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_what_can_be_read_off(n_classes):
    P, codes, T, _ = halves(n_classes)
    model = CFEnsembleClassifier().fit(P, codes)
    m, k = 8, 1 if n_classes == 2 else n_classes
    assert model.n_features_in_ == P.shape[1]
    assert model.layout_.n_classifiers == m
    assert model.n_iter_ == model.trainer_.n_iter_ >= 1
    assert model.weights_.shape == (m,)
    assert model.gate_.shape == (1 if n_classes == 2 else 2, m)
    assert model.intercept_.shape == (k,)
    assert model.calibration_.slope.shape == model.calibration_.offset.shape == (m,)
    assert (model.calibration_.slope >= 0).all()
    assert set(model.cv_scores_) == {family.name for family in FINAL_AGGREGATORS["auto"].families}
    assert model.cv_logits_.shape == ((len(P),) if n_classes == 2 else (len(P), n_classes))
    parts = model.explain(T)
    assert parts.shape == (len(T), m) if n_classes == 2 else (len(T), n_classes, m)
    np.testing.assert_allclose(parts.sum(axis=-1), model.decision_function(T))
    assert not hasattr(model, "transductive_proba_")


def test_a_log_pool_can_be_recomputed_from_its_attributes():
    P, codes, T, _ = halves()
    model = CFEnsembleClassifier(**FAST).fit(P, codes)
    Z = logit(np.clip(T, 1e-3, 1 - 1e-3))
    calibrated = model.calibration_.slope * Z + model.calibration_.offset
    scores = calibrated @ model.weights_ + model.intercept_
    np.testing.assert_allclose(model.decision_function(T), scores)
    assert (model.weights_ >= 0).all()
    assert not model.gate_.any()


def test_weights_are_the_mean_over_labelled_rows_of_what_log_odds_weigh():
    P, codes, _, _ = halves()
    y, weights = codes.astype(float), np.arange(len(P)) % 3 + 1.0
    y[::4] = NAN
    model = CFEnsembleClassifier(aggregator="auto").fit(P, y, sample_weight=weights)
    pool = model._predictor.aggregator.selected.pool
    Z = logit(np.clip(P, 1e-3, 1 - 1e-3))
    each = pool.weights + pool.bounded * 2 * np.tanh(Z / 2) / Z
    known = ~np.isnan(y)
    expected = np.average(each[known], axis=0, weights=weights[known])
    np.testing.assert_allclose(model.weights_, expected)
    assert np.abs(model.weights_ - pool.weights).max() > 0.01


@pytest.mark.parametrize("n_classes", [2, 3])
def test_out_of_fold_scores_are_an_honest_estimate(n_classes):
    P, codes, T, truth = halves(n_classes)
    model = CFEnsembleClassifier().fit(P, codes)
    scores = model.cv_logits_
    proba = (
        np.column_stack([expit(-scores), expit(scores)])
        if n_classes == 2
        else softmax(scores, axis=1)
    )
    inner, outer = log_loss_of(proba, codes), log_loss_of(model.predict_proba(T), truth)
    assert inner == pytest.approx(outer, rel=0.15)
    assert log_loss_of(model.predict_proba(P), codes) < inner
    assert min(model.cv_scores_.values()) == pytest.approx(inner, rel=0.02)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_transformation_is_the_reconstruction(n_classes):
    P, codes, T, _ = halves(n_classes)
    model = CFEnsembleClassifier(latent_dim=8 * (n_classes - 1), lambda_reg=1e-6, **FAST).fit(
        P, codes
    )
    rebuilt = model.transform(T)
    np.testing.assert_allclose(rebuilt, T, atol=5e-3)
    coarse = CFEnsembleClassifier(latent_dim=1, **FAST).fit(P, codes)
    rebuilt = coarse.transform(T)
    assert ((rebuilt >= 0) & (rebuilt <= 1)).all()
    assert 0.02 < np.abs(rebuilt - T).max() < 1
    names = coarse.get_feature_names_out()
    assert len(names) == len(set(names)) == rebuilt.shape[1]
    form = pd.DataFrame
    frame = clone(coarse).set_output(transform="pandas").fit(P, codes).transform(T)
    assert isinstance(frame, form)
    assert frame.columns.tolist() == names.tolist()


@pytest.mark.parametrize(
    ("unknown", "settings", "warned"),
    [
        (NAN, {}, False),
        (-1, {}, True),
        (-1, {"missing_label": -1}, False),
        (9, {"missing_label": 9}, False),
        (None, {}, False),
        ("?", {"missing_label": "?"}, False),
    ],
)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_rows_without_a_label_take_part_in_the_factorisation_only(
    unknown, settings, warned, n_classes
):
    P, codes, T, truth = halves(n_classes)
    names = np.array(["a", "b", "c"], dtype=object)
    y = np.concatenate([codes, truth]).astype(object)
    y = names[y.astype(int)] if unknown in (None, "?") else y
    y[len(P) :] = unknown
    y = y if unknown in (None, "?") else y.astype(float if unknown is NAN else int)
    both, model = np.concatenate([P, T]), CFEnsembleClassifier(**FAST, **settings)
    if warned:
        with pytest.warns(LayoutWarning, match=f"these {len(T)} rows are treated as unlabeled"):
            model.fit(both, y)
    else:
        model.fit(both, y)
    assert len(model.classes_) == n_classes
    assert len(model.cv_logits_) == len(P)
    assert model.transductive_proba_.shape == (len(both), n_classes)
    np.testing.assert_allclose(model.transductive_proba_, model.predict_proba(both), atol=1e-12)
    inductive = CFEnsembleClassifier(**FAST).fit(P, codes).predict_proba(T)
    assert log_loss_of(model.transductive_proba_[len(P) :], truth) == pytest.approx(
        log_loss_of(inductive, truth), rel=0.02
    )


def test_unlabelled_rows_of_weight_0_are_absent_too():
    P, codes, T, _ = halves()
    y = np.concatenate([codes.astype(float), np.full(len(T), NAN)])
    weights = np.repeat([1.0, 0.0], [len(P), len(T)])
    model = CFEnsembleClassifier(**FAST).fit(np.concatenate([P, T]), y, sample_weight=weights)
    alone = CFEnsembleClassifier(**FAST).fit(P, codes)
    np.testing.assert_allclose(
        model.transductive_proba_[len(P) :], alone.predict_proba(T), atol=1e-9
    )


@pytest.mark.parametrize(
    "cv",
    [2, 10, StratifiedKFold(3), [(None, np.arange(0, 600, 2)), (None, np.arange(1, 600, 2))]],
    ids=["2", "10", "splitter", "list"],
)
def test_inner_folds_can_be_chosen(cv):
    P, codes, T, truth = halves()
    default = held_out_loss(CFEnsembleClassifier(**FAST), P, codes, T, truth)
    assert held_out_loss(CFEnsembleClassifier(cv=cv, **FAST), P, codes, T, truth) == pytest.approx(
        default, rel=0.02
    )


def test_groups_stay_together():
    P, codes, *_ = halves()
    groups = np.arange(600) // 60
    splits = [(None, np.flatnonzero(groups % 5 == g)) for g in range(5)]
    by_number = CFEnsembleClassifier(**FAST).fit(P, codes, groups=groups)
    by_splitter = CFEnsembleClassifier(cv=GroupKFold(5), **FAST).fit(P, codes, groups=groups)
    free = CFEnsembleClassifier(**FAST).fit(P, codes)
    assert np.abs(by_number.cv_logits_ - free.cv_logits_).max() > 1e-6
    by_list = CFEnsembleClassifier(cv=splits, **FAST).fit(P, codes)
    assert (
        len({round(m.cv_scores_["log_pool"], 12) for m in (by_number, by_splitter, by_list)}) <= 2
    )
    with pytest.raises(ValueError, match="at least two different groups"):
        CFEnsembleClassifier(**FAST).fit(P, codes, groups=np.zeros(600))


@pytest.mark.first_cases
@pytest.mark.parametrize("layout", ["blocks", "class0", "drop_first", "drop_last"])
@pytest.mark.parametrize("cv", [StratifiedKFold(5), 5], ids=["splitter", "number"])
def test_two_classes_in_any_layout_are_the_same(layout, cv):
    P, codes, R = SPLIT[2]
    other = columns(R, layout)
    first = CFEnsembleClassifier(cv=cv).fit(P, codes).predict_proba(P)
    second = quietly(CFEnsembleClassifier(cv=cv, layout=layout).fit, other, codes)
    # a number of folds hashes the columns, and 1 − (1 − p) is not p to the last bit
    tolerance = 0.02 if cv == 5 and layout != "drop_first" else 1e-6
    np.testing.assert_allclose(second.predict_proba(other), first, atol=tolerance)


@pytest.mark.first_cases
@pytest.mark.parametrize(
    "settings",
    [
        {"class_weight": "balanced"},
        {"class_weight": {1: 10.0}},
        {"focal_gamma": 2.0},
        {"focal_gamma": 0.5},
        {"focal_alpha": 0.75},
        {"class_weight": "balanced", "focal_gamma": 3.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("aggregator", ["auto", "weighted"])
def test_class_weights_and_focal_loss_leave_probabilities_calibrated(settings, aggregator):
    P, codes, T, truth = halves(class_prior=0.12, skill=1.2)
    plain = held_out_loss(CFEnsembleClassifier(aggregator=aggregator), P, codes, T, truth)
    model = CFEnsembleClassifier(aggregator=aggregator, **settings)
    assert held_out_loss(model, P, codes, T, truth) == pytest.approx(plain, rel=0.05)
    assert model.predict_proba(P)[:, 1].mean() == pytest.approx(codes.mean(), abs=0.01)
    assert model.predict_proba(T)[:, 1].mean() == pytest.approx(truth.mean(), abs=0.03)


@pytest.mark.parametrize(
    "told", [{}, {"n_classifiers": 8, "passthrough": "after"}], ids=["found", "told"]
)
def test_wide_sparse_passthrough_is_never_made_dense(told):
    P, codes, T, _ = halves()
    rng = np.random.default_rng(0)
    places = rng.integers(0, len(P), 2000), rng.integers(0, 200_000, 2000)
    features = sparse.coo_array((rng.normal(size=2000), places), shape=(len(P), 200_000))
    wide = [sparse.hstack([sparse.csr_matrix(A), features], "csr") for A in (P, T)]
    model = CFEnsembleClassifier(cv=StratifiedKFold(5), **FAST, **told)
    tracemalloc.start()
    proba = quietly(model.fit, wide[0], codes).predict_proba(wide[1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6  # 960 MB as a dense array
    assert model.layout_.n_classifiers == 8
    alone = CFEnsembleClassifier(cv=StratifiedKFold(5), **FAST).fit(P, codes)
    np.testing.assert_allclose(proba, alone.predict_proba(T))


def test_a_trainer_object_is_cloned_and_used():
    P, codes, T, truth = halves()
    trainer = CFEnsembleTrainer(
        latent_dim=2, link="logit", standardize=True, aggregator_type="mean", random_state=1
    )
    before = repr(trainer.get_params())
    model = CFEnsembleClassifier(trainer=trainer, **FAST).fit(P, codes)
    assert repr(trainer.get_params()) == before
    assert not hasattr(trainer, "factor_model_")
    assert model.trainer_ is not trainer
    assert model.trainer_.classifier_factors_.shape == (2, 8)
    assert log_loss_of(model.predict_proba(T), truth) < 0.6
