import logging
import pickle

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from tolerances import of_losses

from cfe_stack import CFEnsembleTrainer, CollapsedAggregatorWarning, EnsembleData
from cfe_stack.data import ensemble_data
from cfe_stack.datasets import make_ensemble
from cfe_stack.factor_model.confidence import make_confidence
from cfe_stack.losses.class_weight import instance_weights
from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.losses.link import make_link
from cfe_stack.losses.raw_scores import margins
from cfe_stack.losses.schedules import CosineSchedule, LinearSchedule
from cfe_stack.trainers.aggregators import POOL_PRIOR, SOLVER_TOL, classifiers_last

# number of classes, share of missing cells, sample weights, parameters
SETTINGS = {
    "plain": (2, 0.0, False, {"use_label_aware_confidence": False}),
    "label-aware": (2, 0.0, False, {}),
    "missing cells": (2, 0.3, False, {"confidence": "uniform"}),
    "sample weights": (2, 0.2, True, {"label_aware_alpha": 3.0}),
    "logit": (2, 0.2, True, {"link": "logit", "confidence": "adaptive"}),
    "standardized": (2, 0.2, True, {"link": "logit", "standardize": True}),
    "calibration": (2, 0.0, True, {"confidence": "calibration", "standardize": True}),
    "three classes": (3, 0.0, False, {}),
    "three classes, all": (3, 0.2, True, {"link": "logit", "standardize": True}),
    "spectral": (3, 0.2, True, {"init": "spectral", "confidence": "adaptive"}),
}
every_setting = pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)


def ensemble(n_classes=2, missing_rate=0.0, weighted=False, *, n=90, m=7, seed=0):
    """Return seven classifiers on ninety instances, of which every third has no label."""
    made = make_ensemble(m, n, n_classes, missing_rate=missing_rate, random_state=seed)
    labels = np.where(np.arange(n) % 3, made.labels, -1)
    frequency = np.random.default_rng(seed).integers(0, 4, size=n) if weighted else None
    return EnsembleData(made.R, labels, sample_weight=frequency)


def fitted(data, **parameters):
    return CFEnsembleTrainer(
        **{"latent_dim": 3, "max_iter": 20, "tol": 0, "random_state": 0} | parameters
    ).fit(data)


def reconstruction(trainer, data):
    """Return L_recon by its definition, and the gradient of its numerator in X, biases and Y."""
    Z = make_link(trainer.link, data.n_classes).forward(data.R)
    Z = Z if Z.ndim == 2 else np.moveaxis(Z, 2, 1).reshape(-1, data.n_instances)
    frequency, ridge, model = data.frequencies, trainer.lambda_reg, trainer.factor_model_
    if trainer.standardize:
        repeated = np.repeat(Z, frequency.astype(int), axis=1)
        Z = Z - np.nanmean(repeated, axis=1, keepdims=True)
        Z = Z / np.nanstd(repeated, axis=1, keepdims=True)
    strategy = make_confidence(
        trainer.confidence,
        label_aware=trainer.use_label_aware_confidence,
        label_aware_alpha=trainer.label_aware_alpha,
    ).fit(data)
    C = np.repeat(strategy.training_weights(data.R, data.labels), len(Z) // len(data.R), axis=0)
    X, b, Y = model.factors, model.bias, trainer.instance_factors_
    error = np.nan_to_num(Z) - (X.T @ Y + b[:, None])
    norms = (X**2).sum() + (b**2).sum() + frequency @ (Y**2).sum(axis=0)
    cells = ~np.isnan(Z)[:: len(Z) // len(data.R)] @ frequency
    pull = C * frequency * error
    gradient = (
        2 * (ridge * X - Y @ pull.T),
        2 * (ridge * b - pull.sum(axis=1)) * trainer.standardize,
        2 * (ridge * frequency * Y - X @ pull),
    )
    return ((pull * error).sum() + ridge * norms) / cells.sum(), gradient


@pytest.mark.parametrize("label_aware", [True, False])
@pytest.mark.parametrize("seed", [0, 1])
@every_setting
def test_reconstruction_never_rises(setting, seed, label_aware):
    *kind, parameters = setting
    data = ensemble(*kind, seed=seed)
    parameters = parameters | {"use_label_aware_confidence": label_aware, "random_state": seed}
    history = fitted(data, max_iter=60, **parameters).history_["reconstruction"]
    assert history[-1] < history[0]
    assert (np.diff(history) <= 1e-13 * history[:-1]).all()


@pytest.mark.first_cases
@every_setting
def test_gradient_of_the_reconstruction_vanishes_at_the_solution(setting):
    *kind, parameters = setting
    data = ensemble(*kind)
    options = {"lambda_reg": 0.3, "max_iter": 1500, "aggregator_type": "mean"}
    trainer = fitted(data, **options | parameters)
    assert np.linalg.matrix_rank(trainer.factor_model_.factors) > 0
    for part in reconstruction(trainer, data)[1]:
        np.testing.assert_allclose(part, 0, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@every_setting
def test_history_logs_the_objective_that_is_minimised(setting, gamma):
    *kind, parameters = setting
    data = ensemble(*kind)
    trainer = fitted(data, rho=0.3, focal_gamma=gamma, class_weight={0: 1, 1: 4}, **parameters)
    known = (data.labels >= 0) & (data.frequencies > 0)
    values = trainer.factor_model_.reconstruct(trainer.instance_factors_[:, known])
    scores = classifiers_last(values) @ trainer.weights_ + trainer.intercept_
    labels = data.labels[known]
    weights = instance_weights(
        labels,
        data.n_classes,
        class_weight={0: 1, 1: 4},
        sample_weight=data.frequencies[known],
    )
    losses = FocalLoss(gamma).value(margins(scores, labels))
    expected = {
        "reconstruction": reconstruction(trainer, data)[0],
        "supervised": weights @ losses / weights.sum(),
        "focal_gamma": gamma,
    }
    expected["objective"] = 0.3 * expected["reconstruction"] + 0.7 * expected["supervised"]
    assert trainer.history_.records[-1] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("link", ["identity", "logit"])
@pytest.mark.parametrize("kind", [(2, 0.0), (2, 0.3), (3, 0.2)])
def test_fold_in_of_a_training_row_is_its_instance_factor(kind, link):
    data = ensemble(*kind)
    options = {"max_iter": 300, "link": link, "use_label_aware_confidence": False}
    trainer = fitted(data, **options)
    np.testing.assert_allclose(
        trainer.transform(data.R[:, :11]), trainer.instance_factors_[:, :11], atol=1e-9
    )
    np.testing.assert_allclose(
        trainer.predict_proba(data.R), trainer.transductive_proba_, atol=1e-10
    )


def test_constant_predictions_are_a_collapse():
    data = EnsembleData(np.full((4, 30), 0.3), np.arange(30) % 2)
    with pytest.warns(CollapsedAggregatorWarning, match="its predictions are constant"):
        fitted(data)


def test_too_few_sweeps_give_a_warning_with_advice():
    advice = r"in the last of 3 sweeps, more than tol=1e-10. Increase max_iter or tol. A larger"
    with pytest.warns(ConvergenceWarning, match=advice):
        fitted(ensemble(), max_iter=3, tol=1e-10)


def test_tol_stops_early_and_zero_never_does():
    data = ensemble()
    trainer = fitted(data, max_iter=500, tol=1e-3)
    assert 1 < trainer.n_iter_ < 500
    objective = trainer.history_["objective"]
    change = np.abs(np.diff(objective)) / objective[:-1]
    assert change[-1] < 1e-3
    assert (change[:-1] >= 1e-3).all()
    assert fitted(data, max_iter=3, tol=0).n_iter_ == 3


BAD = [
    ({"latent_dim": 0}, "latent_dim must be an integer >= 1, got 0"),
    ({"latent_dim": 2.5}, "latent_dim must be an integer >= 1, got 2.5"),
    ({"latent_dim": True}, "latent_dim must be an integer >= 1, got True"),
    ({"rho": -0.1}, r"rho must be a number in \[0, 1\], got -0.1"),
    ({"rho": 1.5}, r"rho must be a number in \[0, 1\], got 1.5"),
    ({"rho": "half"}, r"rho must be a number in \[0, 1\], got 'half'"),
    ({"lambda_reg": -1}, "lambda_reg must be a number >= 0, got -1"),
    ({"lambda_reg": np.nan}, "lambda_reg must be a .*number >= 0, got nan"),
    ({"lambda_reg": np.inf}, "lambda_reg must be a .*number >= 0, got inf"),
    ({"max_iter": 0}, "max_iter must be an integer >= 1, got 0"),
    ({"tol": -1e-3}, "tol must be a number >= 0, got -0.001"),
    ({"aggregator_type": "best"}, r"aggregator_type must be one of .*'weighted'\], got 'best'"),
    ({"aggregator_lr": -0.1}, "aggregator_lr must be a number >= 0, got -0.1"),
    ({"aggregator_solver": "adam"}, "aggregator_solver must be 'gradient' or .* got 'adam'"),
    ({"freeze_aggregator_iters": -1}, "freeze_aggregator_iters must be an integer >= 0, got -1"),
    ({"confidence": "none"}, r"confidence must be one of \['adaptive', .*\], got 'none'"),
    ({"adaptive_shares": (1, 1, 1)}, r"adaptive_shares must be .* got \(1, 1, 1\)"),
    ({"label_aware_alpha": -1.0}, "label_aware_alpha must be .*>= 0, got -1.0"),
    ({"class_weight": "even"}, "class_weight must be None, 'balanced' or a dict .* got 'even'"),
    ({"class_weight": {7: 1.0}}, r"class_weight must map classes .* \{7: 1.0\}"),
    ({"class_weight": {0: 0, 1: 0}}, r"class_weight .*\{0: 0, 1: 0\}"),
    ({"focal_gamma": -0.5}, "focal_gamma must be .*number >= 0, got -0.5"),
    ({"focal_gamma": "strong"}, "focal_gamma must be .*number.* got 'strong'"),
    ({"focal_gamma": None}, "focal_gamma must be .*number.* got None"),
    ({"focal_gamma": LinearSchedule(1.0, -1.0)}, "focal_gamma must be .*number >= 0, got"),
    ({"focal_delta": -1e-3}, "focal_delta must be .*number >= 0, got -0.001"),
    ({"focal_delta": "small"}, "focal_delta must be .*number >= 0, got 'small'"),
    ({"focal_alpha": 2.0}, r"focal_alpha must lie in \[0, 1\], got 2.0"),
    ({"focal_gradient": "newton"}, "focal_gradient must be 'exact' or 'reweighted', got 'newton'"),
    ({"init": "zeros"}, "init must be 'random' or 'spectral', got 'zeros'"),
    ({"link": "probit"}, "link must be 'identity' or 'logit', got 'probit'"),
    ({"n_classifiers": 3}, "n_classifiers is 3, but R has 7 classifiers"),
]


@pytest.mark.parametrize(("parameters", "message"), BAD, ids=[str(bad) for bad, _ in BAD])
def test_bad_parameters_are_refused_before_work_starts(parameters, message, monkeypatch):
    def work(*_):
        raise AssertionError("work has started")

    monkeypatch.setattr(CFEnsembleTrainer, "_start", work)
    with pytest.raises(ValueError, match=message):
        fitted(ensemble(), **parameters)


def test_another_seed_gives_another_start():
    one, other = (fitted(ensemble(), max_iter=2, random_state=seed) for seed in (0, 1))
    assert np.abs(one.instance_factors_ - other.instance_factors_).max() > 1e-3
    generator = np.random.RandomState(0)
    again = fitted(ensemble(), max_iter=2, random_state=generator)
    np.testing.assert_array_equal(again.instance_factors_, one.instance_factors_)


@pytest.mark.parametrize(
    ("schedule", "gammas"),
    [
        (1.5, [1.5] * 5),
        (LinearSchedule(0.0, 2.0), [0, 0.5, 1, 1.5, 2]),
        (CosineSchedule(2.0, 0.0), [2, 1 + np.sqrt(0.5), 1, 1 - np.sqrt(0.5), 0]),
        (lambda progress: progress**2, [0, 1 / 16, 1 / 4, 9 / 16, 1]),
    ],
)
def test_gamma_follows_its_schedule(schedule, gammas):
    trainer = fitted(ensemble(), focal_gamma=schedule, max_iter=5)
    np.testing.assert_allclose(trainer.history_["focal_gamma"], gammas, atol=1e-15)
    if not isinstance(schedule, type(lambda: 0)):
        assert pickle.loads(pickle.dumps(trainer)).focal_gamma == schedule


@pytest.mark.parametrize("freeze", [0, 2, 5])
def test_frozen_aggregator_stays_at_its_start(freeze):
    data = ensemble()
    start = fitted(data, max_iter=1, freeze_aggregator_iters=1)
    np.testing.assert_array_equal(start.weights_, np.full(7, 1 / 7))
    trainer = fitted(data, max_iter=5, freeze_aggregator_iters=freeze)
    moved = (trainer.weights_ != start.weights_).any()
    assert moved == (trainer.intercept_ != start.intercept_) == (freeze < 5)
    # the aggregator does not reach the factors
    free = fitted(data, max_iter=5)
    np.testing.assert_array_equal(trainer.instance_factors_, free.instance_factors_)


def test_training_does_not_stop_before_a_frozen_aggregator_has_moved():
    options = {"freeze_aggregator_iters": 10, "init": "spectral", "confidence": "uniform"}
    trainer = fitted(ensemble(), max_iter=100, tol=1e-3, **options)
    assert trainer.n_iter_ > 10
    assert (trainer.weights_ != 1 / 7).any()


@pytest.mark.parametrize("aggregator", ["weighted", "log_pool"])
@every_setting
def test_sample_weights_are_frequencies(setting, aggregator):
    n_classes, missing_rate, _, parameters = setting
    data = ensemble(n_classes, missing_rate)
    frequency = np.random.default_rng(1).integers(0, 4, size=90)
    rows = np.repeat(np.arange(90), frequency)
    options = parameters | {"init": "spectral", "aggregator_type": aggregator, "max_iter": 8}
    weighted = fitted(EnsembleData(data.R, data.labels, sample_weight=frequency), **options)
    repeated = fitted(EnsembleData(data.R[:, rows], data.labels[rows]), **options)
    supervised = 1e-9
    if aggregator == "log_pool":
        # the pool is solved anew in each sweep, with a penalty that counts observations
        count = frequency[data.labels >= 0].sum()
        value = count * weighted.history_["supervised"].max()
        shrunk_by = np.linalg.norm(weighted.weights_ - 1 / 7)
        supervised = of_losses(SOLVER_TOL, value, POOL_PRIOR, shrunk_by) / value
    bounds = {"reconstruction": 1e-9, "supervised": supervised, "objective": supervised}
    for name, rtol in bounds.items():
        np.testing.assert_allclose(weighted.history_[name], repeated.history_[name], rtol=rtol)
    np.testing.assert_allclose(weighted.weights_, repeated.weights_, atol=1e-6)
    np.testing.assert_allclose(
        weighted.predict_proba(data.R), repeated.predict_proba(data.R), atol=1e-6
    )


@every_setting
def test_a_cell_without_confidence_is_a_missing_one(setting):
    n_classes, _, weighted, parameters = setting
    data = ensemble(n_classes, 0.0, weighted)
    R, labels, frequency = data.R, data.labels, data.sample_weight
    holed, drop = R.copy(), np.random.default_rng(2).random((7, 90)) < 0.25
    holed[drop] = np.nan
    excluded = fitted(EnsembleData(R, labels, np.where(drop, 0.0, 1.0), frequency), **parameters)
    missing = fitted(EnsembleData(holed, labels, None, frequency), **parameters)
    objectives = excluded.history_["objective"], missing.history_["objective"]
    np.testing.assert_allclose(*objectives, rtol=1e-9)
    probas = excluded.transductive_proba_, missing.transductive_proba_
    np.testing.assert_allclose(*probas, atol=1e-8)


@pytest.mark.parametrize("latent_dim", [3, 9, 16, 40])
@pytest.mark.parametrize("kind", [(2, 0.3), (3, 0.3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_training_without_a_ridge_stays_finite(kind, latent_dim, dtype):
    data = ensemble(*kind)
    single = EnsembleData(data.R.astype(dtype), data.labels)
    trainer = fitted(single, latent_dim=latent_dim, lambda_reg=0.0)
    assert np.isfinite(trainer.history_["objective"]).all()
    assert np.isfinite(trainer.predict_proba(single.R)).all()


@pytest.mark.first_cases
@pytest.mark.parametrize("link", ["identity", "logit"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_spectral_start_of_complete_uniform_data_is_the_solution(n_classes, link):
    data, options = ensemble(n_classes), {"confidence": "uniform", "link": link, "lambda_reg": 0.5}
    options |= {"use_label_aware_confidence": False}
    trainer = fitted(data, init="spectral", rho=1.0, tol=1e-10, **options)
    assert trainer.n_iter_ == 2
    first, second = trainer.history_["reconstruction"]
    assert second == pytest.approx(first, rel=1e-12)
    random = fitted(data, max_iter=800, **options).history_["reconstruction"]
    assert random[-1] == pytest.approx(first, rel=1e-8)


@every_setting
def test_blocks_change_nothing(setting, monkeypatch):
    *kind, parameters = setting
    data = ensemble(*kind, n=600)
    whole = fitted(data, max_iter=5, **parameters)
    monkeypatch.setattr(ensemble_data, "BLOCK_CELLS", 1)
    assert len(list(data.blocks())) == 3
    parts = fitted(data, max_iter=5, **parameters)
    np.testing.assert_allclose(parts.transductive_proba_, whole.transductive_proba_, atol=1e-9)
    np.testing.assert_allclose(parts.history_["objective"], whole.history_["objective"], rtol=1e-10)


def test_two_classes_of_a_multiclass_matrix_are_binary():
    data = ensemble()
    pair = EnsembleData(np.stack([1 - data.R, data.R], axis=2), data.labels)
    binary, multiclass = fitted(data), fitted(pair)
    np.testing.assert_array_equal(multiclass.transductive_proba_, binary.transductive_proba_)
    np.testing.assert_array_equal(multiclass.predict_proba(pair), binary.predict_proba(data))


def test_labels_reach_the_factors_through_label_aware_confidence_only():
    data = ensemble()
    swapped = EnsembleData(data.R, np.where(data.labels >= 0, 1 - data.labels, -1))

    def factors(data, **options):
        return fitted(data, **options).instance_factors_

    free = {"use_label_aware_confidence": False}
    np.testing.assert_array_equal(factors(data, **free), factors(swapped, **free))
    np.testing.assert_array_equal(factors(data, **free), factors(data, label_aware_alpha=0.0))
    assert np.abs(factors(data) - factors(swapped)).max() > 1e-3
    by_name = factors(data, confidence="label_aware")
    np.testing.assert_array_equal(by_name, factors(data))


def test_verbosity_goes_to_the_log_alone(caplog, capsys):
    with caplog.at_level(logging.INFO, logger="cfe_stack"):
        fitted(ensemble(), max_iter=5)
        assert caplog.records == []
        fitted(ensemble(), max_iter=5, verbose=2)
    assert [record.args[0] for record in caplog.records] == [0, 2, 4]
    assert capsys.readouterr() == ("", "")


def test_class_weights_follow_their_schedule():
    data, seen = ensemble(), []

    def share(progress):
        seen.append(progress)
        return 1 - progress

    ends = {
        given: fitted(data, use_class_weights=given, max_iter=9, tol=0).history_["supervised"]
        for given in (True, False, share)
    }
    assert sorted(set(seen)) == [k / 8 for k in range(9)]
    assert ends[share][0] == pytest.approx(ends[True][0], rel=1e-12)
    assert ends[share][-1] == pytest.approx(ends[False][-1], rel=0.05)
    assert np.abs(ends[share][4] - [ends[True][4], ends[False][4]]).min() > 1e-6
