"""What must not hurt: missing cells, bad learners, hard or repeated predictions, few rows."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from stacked_columns import log_loss_of, stacked

from cfe_stack import CFEnsembleClassifier, MissingPredictionsWarning

pytestmark = pytest.mark.exhaustive

NAN = np.nan
FAST = {"aggregator": "log_pool"}


def halves(n_classes=2, m=8, n=1200, **settings):
    """Return training and test columns and codes."""
    P, codes, _ = stacked(m, n, n_classes, **settings)
    return P[: n // 2], codes[: n // 2], P[n // 2 :], codes[n // 2 :]


def held_out_loss(classifier, P, codes, T, truth):
    return log_loss_of(classifier.fit(P, codes).predict_proba(T), truth)


def two_classes(p):
    return np.column_stack([1 - p, p])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_missing_cells_cost_little_and_less_than_with_imputation(n_classes):
    """Learners that err together, as real ones do: then a cell can be told from the others."""
    losses = []
    for seed in range(2):
        P, codes, T, truth = halves(n_classes, 20, 2400, correlation=0.9, random_state=seed)
        holes = np.random.default_rng(seed).random((2, len(P), 20)) < 0.3
        holes = np.repeat(holes, 1 if n_classes == 2 else n_classes, axis=2)
        holed = [np.where(h, NAN, A) for h, A in zip(holes, (P, T), strict=True)]
        means = np.nanmean(holed[0], axis=0)
        imputed = [np.where(np.isnan(A), means, A) for A in holed]
        losses.append(
            [
                held_out_loss(CFEnsembleClassifier(**FAST), A, codes, B, truth)
                for A, B in ((P, T), holed, imputed)
            ]
        )
    complete, missing, filled = np.mean(losses, axis=0)
    assert missing < 1.03 * complete
    assert missing < 0.999 * filled


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_learner_without_predictions_does_not_count(n_classes):
    P, codes, T, _ = halves(n_classes)
    k = 1 if n_classes == 2 else n_classes
    silent, gone = P.copy(), np.arange(2 * k, 3 * k)
    silent[:, gone] = NAN
    model = CFEnsembleClassifier(cv=StratifiedKFold(5), **FAST)
    alone = model.fit(np.delete(P, gone, axis=1), codes).predict_proba(np.delete(T, gone, axis=1))
    with pytest.warns(MissingPredictionsWarning, match=r"Base learner.s. \[2\] have no prediction"):
        model.fit(silent, codes)
    np.testing.assert_allclose(model.predict_proba(T), alone, atol=0.01)
    T[:, gone] = NAN
    np.testing.assert_allclose(model.predict_proba(T), alone, atol=0.01)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_rows_without_predictions_get_the_class_frequencies(n_classes):
    P, codes, T, _ = halves(n_classes)
    model = CFEnsembleClassifier(**FAST).fit(P, codes)
    complete = model.predict_proba(T)
    T[[3, 5]] = NAN
    with pytest.warns(
        MissingPredictionsWarning, match="2 row.s. have no prediction .* frequencies"
    ):
        proba = model.predict_proba(T)
    np.testing.assert_allclose(proba[[3, 5]], np.tile(np.bincount(codes) / len(codes), (2, 1)))
    rest = np.delete(np.arange(len(T)), [3, 5])
    np.testing.assert_allclose(proba[rest], complete[rest], atol=1e-12)


def test_labelled_rows_without_predictions_are_left_out_with_a_warning():
    P, codes, *_ = halves()
    P[:20] = NAN
    with pytest.warns(MissingPredictionsWarning, match="20 row.s. have no prediction"):
        model = CFEnsembleClassifier(cv=StratifiedKFold(5), **FAST).fit(P, codes)
    assert len(model.cv_logits_) == len(P)
    np.testing.assert_allclose(expit(model.cv_logits_[:20]), codes.mean())


@pytest.mark.filterwarnings("ignore::cfe_stack.MissingPredictionsWarning")
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("aggregator", ["auto", "linear_pool", "greedy_selection", "weighted"])
def test_one_row_of_each_class_with_predictions_is_enough(aggregator, n_classes):
    """Here they share a fold, whose training rows have no prediction."""
    P, _, _ = stacked(2, 4 * n_classes, n_classes)
    rows = np.arange(len(P))
    folds = [np.flatnonzero(rows // n_classes == fold) for fold in range(4)]
    P[n_classes:] = NAN
    cv = [(np.setdiff1d(rows, test), test) for test in folds]
    model = CFEnsembleClassifier(aggregator=aggregator, cv=cv)
    proba = model.fit(P, rows % n_classes).predict_proba(P)
    prior = np.full_like(proba[n_classes:], 1 / n_classes)
    np.testing.assert_allclose(proba[n_classes:], prior)
    np.testing.assert_allclose(proba.sum(axis=1), 1)


@pytest.mark.parametrize("correlation", [0.5, 0.9])
def test_a_row_with_a_single_prediction_gets_a_sensible_probability(correlation):
    P, codes, T, truth = halves(n=2400, correlation=correlation)
    model = CFEnsembleClassifier().fit(P, codes)
    grid = np.full((10, 8), NAN)
    grid[:, 4] = np.linspace(0.05, 0.95, 10)
    assert (np.diff(model.predict_proba(grid)[:, 1]) > 0).all()
    losses = []
    for u in range(8):
        single = np.full_like(T, NAN)
        single[:, u] = T[:, u]
        losses.append(log_loss_of(model.predict_proba(single), truth))
    each = [log_loss_of(two_classes(column), truth) for column in T.T]
    assert np.mean(losses) < 1.05 * np.mean(each)


def test_many_classes_need_more_factors_to_be_told_from_a_single_prediction():
    """Three factors would mix up eight classes, and be as sure as if they did not."""
    P, codes, T, truth = halves(8, m=5, n=800, correlation=0.9)
    single = T.copy()
    single[:, 8:] = NAN
    alone = log_loss_of(T[:, :8], truth)
    losses = [
        held_out_loss(CFEnsembleClassifier(latent_dim=dim, **FAST), P, codes, single, truth)
        for dim in (None, 3)
    ]
    assert losses[0] < 1.01 * alone
    assert losses[1] > 1.03 * alone


@pytest.mark.parametrize("aggregator", ["auto", "mean", "weighted"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_certain_predictions_stay_finite(n_classes, aggregator):
    codes = np.arange(120) % n_classes
    perfect = np.tile(np.eye(n_classes)[codes], 3)
    model = CFEnsembleClassifier(aggregator=aggregator).fit(perfect, codes)
    assert np.isfinite(model.decision_function(perfect)).all()
    np.testing.assert_array_equal(model.predict(perfect), codes)


@pytest.mark.parametrize("m", [3, 8])
@pytest.mark.parametrize(
    ("n_classes", "layout"), [(2, "labels"), (2, "blocks"), (3, "labels"), (3, "blocks")]
)
def test_hard_predictions_are_stacked_as_well_as_by_logistic_regression(n_classes, layout, m):
    """Few different rows: 0 and 1 only, as from mlxtend's default or from 1-nearest neighbour."""
    P, codes, T, truth = halves(n_classes, m, layout="labels", skill=1.5)
    hard = [np.eye(n_classes)[A.astype(int)].reshape(len(A), -1) for A in (P, T)]
    reference = held_out_loss(LogisticRegression(), hard[0], codes, hard[1], truth)
    given = hard if layout == "blocks" else (P, T)
    model = CFEnsembleClassifier()
    assert held_out_loss(model, given[0], codes, given[1], truth) < 1.02 * reference
    assert min(model.cv_scores_.values()) == pytest.approx(reference, rel=0.15)


@pytest.mark.parametrize(("n_classes", "layout"), [(2, "labels"), (2, "blocks"), (3, "blocks")])
def test_hard_predictions_have_no_order_either(n_classes, layout):
    P, codes, T, _ = halves(n_classes, 3, 400, layout="labels")
    if layout == "blocks":
        P, T = (np.eye(n_classes)[A.astype(int)].reshape(len(A), -1) for A in (P, T))
    rows = np.random.default_rng(0).permutation(len(P))
    first = CFEnsembleClassifier(**FAST).fit(P, codes)
    second = CFEnsembleClassifier(**FAST).fit(P[rows], codes[rows])
    np.testing.assert_allclose(second.predict_proba(T), first.predict_proba(T), atol=1e-8)


@pytest.mark.parametrize("n_values", [2, 3, 10])
def test_rounded_predictions_are_no_disaster(n_values):
    P, codes, T, truth = halves(m=4, skill=1.5)
    rounded = [np.round(A * n_values) / n_values for A in (P, T)]
    reference = held_out_loss(LogisticRegression(C=10), rounded[0], codes, rounded[1], truth)
    loss = held_out_loss(CFEnsembleClassifier(), rounded[0], codes, rounded[1], truth)
    assert loss < 1.03 * reference


def replaced(P, u, how):
    rng = np.random.default_rng(0)
    column = {
        "noise": rng.random(len(P)),
        "negation": 1 - P[:, u],
        "constant": np.full(len(P), 0.4),
    }
    copy = P.copy()
    copy[:, u] = column.get(how, P[:, 0])
    return copy


@pytest.mark.parametrize("how", ["noise", "negation", "constant", "copy"])
def test_one_bad_learner_of_thirty_hardly_matters(how):
    P, codes, _ = stacked(30, 1600, correlation=0.3)
    bad = replaced(P, 7, how)
    loss = [
        held_out_loss(CFEnsembleClassifier(), A[:800], codes[:800], A[800:], codes[800:])
        for A in (P, bad)
    ]
    assert loss[1] == pytest.approx(loss[0], rel=0.01)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_an_additional_copy_hardly_matters(n_classes):
    P, codes, T, truth = halves(n_classes)
    k = 1 if n_classes == 2 else n_classes
    loss = held_out_loss(CFEnsembleClassifier(), P, codes, T, truth)
    more = [np.concatenate([A, A[:, :k]], axis=1) for A in (P, T)]
    assert held_out_loss(CFEnsembleClassifier(), more[0], codes, more[1], truth) == pytest.approx(
        loss, rel=0.01
    )


@pytest.mark.parametrize("n_classes", [2, 3])
def test_nothing_is_learned_from_shuffled_labels(n_classes):
    P, codes, T, _ = halves(n_classes)
    gains = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        y, truth = rng.permutation(codes), rng.permutation(codes)[: len(T)]
        prior = np.bincount(y) / len(y)
        loss = held_out_loss(CFEnsembleClassifier(), P, y, T, truth)
        gains.append(1 - loss / -np.log(prior[truth]).mean())
    assert max(gains) < 0.02
    assert min(gains) > -0.05


def test_few_rows_are_no_worse_than_the_mean():
    P, codes, _ = stacked(30, 3000, correlation=0.4, skill=np.linspace(0.4, 1.2, 30))
    T, truth = P[1500:], codes[1500:]
    average = log_loss_of(two_classes(T.mean(axis=1)), truth)
    losses = [
        held_out_loss(CFEnsembleClassifier(), P[s : s + 60], codes[s : s + 60], T, truth)
        for s in range(0, 600, 60)
    ]
    assert np.mean(losses) < 1.02 * average
