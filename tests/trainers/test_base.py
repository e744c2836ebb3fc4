"""The contract of every trainer, and the parts that trainers share."""

import inspect
import pickle
import warnings

import numpy as np
import pytest
from implementations import TRAINERS
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from cfe_stack import (
    CFEnsembleTrainer,
    CollapsedAggregatorWarning,
    EnsembleData,
    MissingPredictionsWarning,
)
from cfe_stack.datasets import make_ensemble
from cfe_stack.factor_model.confidence import UniformConfidence
from cfe_stack.losses.class_weight import instance_weights, prior_log_odds
from cfe_stack.losses.raw_scores import probabilities
from cfe_stack.trainers.initial_factors import spectral_factors, start_model
from cfe_stack.trainers.supervision import Supervision

KINDS = {"binary": (2, 0.0), "binary, missing": (2, 0.3), "three classes, missing": (3, 0.2)}
every_trainer = pytest.mark.parametrize("make", TRAINERS.values(), ids=TRAINERS)
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def ensemble(n_classes=2, missing_rate=0.0, *, n=80, **options):
    """Return six classifiers on n instances, of which every third has no label."""
    made = make_ensemble(6, n, n_classes, missing_rate=missing_rate, random_state=0)
    labels = np.where(np.arange(n) % 3, made.labels, -1)
    return EnsembleData(made.R, labels, **options)


@every_kind
@every_trainer
def test_what_a_fitted_trainer_holds(make, kind):
    data = ensemble(*kind)
    trainer = make().fit(data)
    n_classes, d = data.n_classes, trainer.latent_dim
    classes = () if n_classes == 2 else (n_classes,)
    assert trainer.classifier_factors_.shape == (d, 6, *classes)
    assert trainer.instance_factors_.shape == (d, 80)
    assert trainer.weights_.shape == (6,)
    assert np.shape(trainer.intercept_) == classes
    assert trainer.transductive_proba_.shape == (80, n_classes)
    assert trainer.n_iter_ == len(trainer.history_) == trainer.max_iter
    assert {"objective", "reconstruction", "supervised"} <= set(trainer.history_.names)
    assert all(np.isfinite(list(record.values())).all() for record in trainer.history_.records)


@every_kind
@every_trainer
def test_what_a_fitted_trainer_predicts(make, kind):
    data = ensemble(*kind)
    trainer = make().fit(data)
    proba = trainer.predict_proba(data.R)
    assert proba.shape == (80, data.n_classes)
    assert ((proba >= 0) & (proba <= 1)).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(proba, probabilities(trainer.decision_function(data.R)))
    assert trainer.reconstruct(data.R).shape == data.R.shape
    assert trainer.transform(data.R).shape == (trainer.latent_dim, 80)
    completed = trainer.complete(data.R)
    missing = np.isnan(data.R)
    np.testing.assert_array_equal(completed[~missing], data.R[~missing])
    np.testing.assert_allclose(completed[missing], trainer.reconstruct(data.R)[missing])


@every_kind
@every_trainer
def test_prediction_is_label_free_and_looks_at_one_instance_alone(make, kind):
    data = ensemble(*kind)
    trainer = make().fit(data)
    proba = trainer.predict_proba(data.R)
    np.testing.assert_array_equal(trainer.predict_proba(data), proba)
    relabelled = EnsembleData(data.R, np.zeros(80, dtype=int))
    np.testing.assert_array_equal(trainer.predict_proba(relabelled), proba)
    some = [60, 3, 41, 42]
    # a block of alike confidences is solved in another way than a block of different ones
    np.testing.assert_allclose(trainer.predict_proba(data.R[:, some]), proba[some], atol=1e-8)
    np.testing.assert_allclose(trainer.predict_proba(data.R[:, [7]]), proba[[7]], atol=1e-8)


@every_trainer
def test_unlabelled_training_instances_are_predicted_as_new_ones(make):
    data = ensemble(2, 0.2)
    trainer = make().fit(data)
    new = trainer.predict_proba(data.R)
    unknown = data.labels < 0
    np.testing.assert_allclose(trainer.transductive_proba_[unknown], new[unknown], atol=1e-10)
    if not trainer.use_label_aware_confidence:
        np.testing.assert_allclose(trainer.transductive_proba_, new, atol=1e-10)


@every_kind
@every_trainer
def test_an_instance_without_predictions_gets_the_class_frequencies(make, kind):
    data = ensemble(*kind)
    R = data.R[:, :3].copy()
    R[:, 1] = np.nan
    known = data.labels[data.labels >= 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingPredictionsWarning)
        trainer = make().fit(data)
    with pytest.warns(MissingPredictionsWarning, match="row.s. have no prediction"):
        proba = trainer.predict_proba(R)
    assert np.isfinite(proba).all()
    frequencies = np.bincount(known, minlength=data.n_classes) / len(known)
    np.testing.assert_allclose(proba[1], frequencies, atol=0.02)
    assert np.isfinite(trainer.complete(R)).all()


@pytest.mark.parametrize(
    "change", [{"classifier_names": list("dcba")}, {"classes": np.array([1, 0])}]
)
def test_new_data_with_other_names_are_refused(change):
    R = np.random.default_rng(0).random((4, 30))
    named = {"classifier_names": list("abcd"), "classes": np.array([0, 1])}
    trainer = CFEnsembleTrainer(latent_dim=2, tol=0, max_iter=3, random_state=0)
    trainer.fit(EnsembleData(R, np.arange(30) % 2, **named))
    assert trainer.predict_proba(EnsembleData(R, **named)).shape == (30, 2)
    with pytest.raises(ValueError, match=next(iter(change))):
        trainer.predict_proba(EnsembleData(R, **(named | change)))


@every_trainer
def test_constructor_only_stores_and_fit_changes_no_parameter(make):
    trainer = make()
    for name, value in trainer.get_params().items():
        assert getattr(trainer, name) is value
    assert vars(trainer).keys() == inspect.signature(type(trainer)).parameters.keys()
    before = {name: repr(value) for name, value in trainer.get_params().items()}
    trainer.fit(ensemble())
    assert {name: repr(value) for name, value in trainer.get_params().items()} == before


@every_kind
@every_trainer
def test_the_same_seed_gives_the_same_bits_also_after_cloning_and_refitting(make, kind):
    data = ensemble(*kind)
    first = make().fit(data)
    proba, objective = first.predict_proba(data.R), first.history_["objective"]
    copied = clone(first)
    assert not hasattr(copied, "factor_model_")
    for again in (copied.fit(data), first.fit(data)):
        np.testing.assert_array_equal(again.predict_proba(data.R), proba)
        np.testing.assert_array_equal(again.history_["objective"], objective)


@every_trainer
def test_fit_leaves_the_data_and_the_global_seed_alone(make):
    data = ensemble(2, 0.2, sample_weight=np.ones(80), C=np.ones((6, 80)))
    arrays = (data.R, data.labels, data.sample_weight, data.C)
    copies = [array.copy() for array in arrays]
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the state that must not change
    make().fit(data)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@every_trainer
def test_pickle(make):
    data = ensemble()
    trainer = make().fit(data)
    loaded = pickle.loads(pickle.dumps(trainer))
    np.testing.assert_array_equal(loaded.predict_proba(data.R), trainer.predict_proba(data.R))
    np.testing.assert_array_equal(loaded.history_["objective"], trainer.history_["objective"])


@every_trainer
def test_single_precision_stays_single(make):
    data = ensemble()
    single = make().fit(EnsembleData(data.R.astype(np.float32), data.labels))
    assert single.instance_factors_.dtype == np.float32
    assert single.transform(data.R.astype(np.float32)).dtype == np.float32
    double = make().fit(data)
    # five digits, less what the sweeps amplify
    np.testing.assert_allclose(
        single.predict_proba(data.R), double.predict_proba(data.R), atol=2e-3
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.predict_proba(np.full((6, 2), 0.5)),
        lambda t: t.decision_function(np.full((6, 2), 0.5)),
        lambda t: t.transform(np.full((6, 2), 0.5)),
        lambda t: t.reconstruct(np.full((6, 2), 0.5)),
        lambda t: t.complete(np.full((6, 2), 0.5)),
        lambda t: t.weights_,
        lambda t: t.intercept_,
        lambda t: t.classifier_factors_,
    ],
)
@every_trainer
def test_an_unfitted_trainer_says_so(make, call):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        call(make())


@every_trainer
def test_data_that_do_not_fit_are_refused(make):
    data = ensemble()
    with pytest.raises(TypeError, match=r"fit expects an EnsembleData\(R, labels\), got ndarray"):
        make().fit(data.R)
    with pytest.raises(ValueError, match="n_classifiers is 5, but R has 6 classifiers"):
        make(n_classifiers=5).fit(data)
    with pytest.raises(ValueError, match="R has 1 instance.*fewer than its 2 classes"):
        make().fit(EnsembleData(data.R[:, :1], [1]))
    with pytest.raises(ValueError, match="R contains no predictions"):
        make().fit(EnsembleData(np.full((3, 4), np.nan), [0, 1, 0, 1]))
    fitted = make(n_classifiers=6).fit(data)
    for R, given in ((data.R[:4], "4 classifiers and 2"), (np.full((6, 2, 3), 1 / 3), "and 3")):
        with pytest.raises(
            ValueError, match=f"R has .*{given} classes, but the trainer was fitted to"
        ):
            fitted.predict_proba(R)


@every_kind
@every_trainer
def test_without_labels_rho_acts_as_one_with_a_warning(make, kind):
    data = EnsembleData(ensemble(*kind).R)
    trainer = make(rho=0.25)
    before = trainer.get_params()
    with pytest.warns(UserWarning, match="No instance has a label: rho is treated as 1"):
        trainer.fit(data)
    assert trainer.get_params() == before
    history = trainer.history_
    np.testing.assert_array_equal(history["objective"], history["reconstruction"])
    np.testing.assert_array_equal(history["supervised"], 0)
    np.testing.assert_array_equal(trainer.weights_, np.full(6, 1 / 6))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(rho=1.0).fit(data)


@every_trainer
def test_zero_sample_weights_are_no_labels(make):
    data = ensemble(sample_weight=np.where(np.arange(80) % 3, 0.0, 1.0))
    with pytest.warns(UserWarning, match="No instance has a label"):
        make().fit(data)


@every_trainer
def test_one_class_only_is_trained_on_without_class_weights(make):
    data = EnsembleData(ensemble().R, np.ones(80, dtype=int))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapsedAggregatorWarning)
        trainer, plain = make().fit(data), make(use_class_weights=False).fit(data)
    np.testing.assert_array_equal(trainer.weights_, plain.weights_)
    assert np.isfinite(trainer.predict_proba(data.R)).all()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_supervision_weighs_labelled_instances_that_count(n_classes):
    frequency = np.random.default_rng(0).integers(0, 3, size=80).astype(float)
    data = ensemble(n_classes, sample_weight=frequency)
    choice = {0: 3.0, 1: 1.0}
    supervision = Supervision.of(CFEnsembleTrainer(class_weight=choice, rho=0.75), data)
    known = (data.labels >= 0) & (frequency > 0)
    np.testing.assert_array_equal(supervision.rows, np.flatnonzero(known))
    np.testing.assert_array_equal(supervision.labels, data.labels[known])
    expected = instance_weights(
        data.labels[known], n_classes, class_weight=choice, sample_weight=frequency[known]
    )
    np.testing.assert_array_equal(supervision.weights, expected)
    assert supervision.rho == 0.75
    prior = prior_log_odds(data.labels[known], expected, n_classes)
    np.testing.assert_array_equal(supervision.intercept(n_classes, True), prior)
    np.testing.assert_array_equal(supervision.intercept(n_classes, False), np.zeros_like(prior))
    unweighted = Supervision.of(CFEnsembleTrainer(use_class_weights=False), data)
    np.testing.assert_array_equal(unweighted.weights, frequency[known])


@pytest.mark.parametrize("link", ["identity", "logit"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_spectral_factors_are_the_shrunk_singular_vectors(n_classes, link):
    data = ensemble(n_classes)
    trainer = CFEnsembleTrainer(latent_dim=2, lambda_reg=0.4, link=link, standardize=True)
    model = start_model(trainer, data, UniformConfidence())
    X = spectral_factors(model, data)
    left, values, right = np.linalg.svd(model.linked(data.R), full_matrices=False)
    shrunk = (left[:, :2] * (values[:2] - 0.4)) @ right[:2]
    model = model.with_factors(X, model.bias)
    np.testing.assert_allclose(X.T @ model.fold_in(data), shrunk, atol=1e-10)


def test_spectral_factors_beyond_the_rank_are_zero():
    data = ensemble()
    model = start_model(CFEnsembleTrainer(latent_dim=9), data, UniformConfidence())
    X = spectral_factors(model, data)
    assert X.shape == (9, 6)
    np.testing.assert_array_equal(X[6:], 0)
    assert (np.abs(X[:6]).max(axis=1) > 0).all()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_many_learners_that_say_nothing_have_no_factors(n_classes):
    """So many that their moments are never formed."""
    R = np.full((700, 6) if n_classes == 2 else (300, 6, 3), 1 / n_classes)
    trainer = CFEnsembleTrainer(latent_dim=2, link="logit", init="spectral", max_iter=2)
    with pytest.warns(CollapsedAggregatorWarning, match="its predictions are constant"):
        trainer.fit(EnsembleData(R, np.arange(6) % n_classes))
    np.testing.assert_array_equal(trainer.factor_model_.factors, 0)
    np.testing.assert_allclose(trainer.predict_proba(R), 1 / n_classes)
