import numpy as np
import pytest
from sklearn.base import clone

from cfe_stack import (
    CFEnsembleClassifier,
    CFEnsemblePyTorchTrainer,
    CFEnsembleTrainer,
    EnsembleData,
)
from cfe_stack.datasets import make_ensemble
from cfe_stack.factor_model.normal_equations import ClassifierEquations
from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.losses.raw_scores import margins
from cfe_stack.losses.schedules import LinearSchedule
from cfe_stack.trainers.elimination import as_scores
from cfe_stack.trainers.majorization import Majorizer, bound_curvature, bound_target
from cfe_stack.trainers.supervision import Supervision

SCORES = np.array([-1e4, -30.0, -2.0, -1e-9, 0.0, 1e-7, 0.5, 3.0, 40.0, 1e4])
STANDARD = {"link": "logit", "standardize": True, "confidence": "uniform", "lambda_reg": 1.0}


def majorizing(**settings):
    defaults = {"latent_dim": 3, "supervision": "majorize", "max_iter": 8, "tol": 0}
    return CFEnsembleTrainer(**(defaults | {"random_state": 0} | settings))


def problem(seed=0, n=150, **settings):
    made = make_ensemble(6, n, random_state=seed, **settings)
    labels = made.labels.copy()
    labels[::3] = -1
    weights = np.random.default_rng(seed).integers(0, 3, n).astype(float)
    return EnsembleData(made.R, labels, sample_weight=weights)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("label", [0, 1])
def test_the_parabola_touches_the_loss_and_lies_above_it(label, gamma):
    loss, others = FocalLoss(gamma), np.linspace(-50, 50, 1001)
    sign = 2 * label - 1
    for score in SCORES[np.abs(SCORES) < 100]:
        here = np.array([score])
        h, tau = bound_curvature(here, loss)[0], bound_target(here, np.array([label]), loss)[0]
        offset = loss.value(sign * score) - h / 2 * (score - tau) ** 2
        gap = h / 2 * (others - tau) ** 2 + offset - loss.value(sign * others)
        assert gap.min() > -1e-10
        assert h * (score - tau) == pytest.approx(sign * loss.derivative(np.array(sign * score)))


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("n_classes", [3, 6])
def test_the_paraboloid_of_many_classes_lies_above_the_loss(n_classes, gamma):
    rng, loss = np.random.default_rng(0), FocalLoss(gamma)
    for size in (0.1, 2.0, 20.0):
        scores = size * rng.normal(size=(400, n_classes))
        labels = rng.integers(n_classes, size=400)
        h, tau = bound_curvature(scores, loss), bound_target(scores, labels, loss)
        for step in (1e-3, 0.1, 3.0, 30.0):
            others = scores + step * rng.normal(size=scores.shape)
            rise = h / 2 * ((others - tau) ** 2 - (scores - tau) ** 2).sum(axis=1)
            before, after = (loss.value(margins(s, labels)) for s in (scores, others))
            assert (before + rise - after).min() > -1e-9 * max(1.0, size * step)


def test_the_parabola_is_finite_everywhere():
    assert np.isfinite(bound_curvature(SCORES)).all()
    assert np.isfinite(bound_target(SCORES, np.ones(len(SCORES), dtype=int))).all()
    assert bound_curvature(SCORES).max() <= 0.25 + 1e-15


@pytest.mark.first_cases
@pytest.mark.parametrize("rho", [0.05, 0.5, 0.95])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        STANDARD,
        {"use_class_weights": False, "init_prior": False, "confidence": "calibration"},
        {"latent_dim": 10, "confidence": "adaptive"},
        {"focal_gamma": 2.0, "link": "logit", "init": "spectral"},
        {"focal_gamma": 0.5, **STANDARD},
    ],
)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_full_objective_never_rises(n_classes, settings, rho):
    data = problem(n=60, missing_rate=0.3 if rho == 0.5 else 0.0, n_classes=n_classes)
    objectives = majorizing(rho=rho, max_iter=6, **settings).fit(data).history_["objective"]
    assert np.diff(objectives).max() <= 1e-12 * objectives[0]
    assert objectives[-1] < 0.995 * objectives[0]


def test_both_halves_of_a_sweep_are_least_squares_solutions():
    data = problem(n=60)
    model = majorizing(max_iter=1, **STANDARD).fit(data)
    before = model.history_["objective"][-1]
    further = majorizing(max_iter=2, **STANDARD).fit(data)
    assert further.history_["objective"][0] == pytest.approx(before, rel=1e-14)
    assert further.history_["objective"][1] < before


def test_without_labels_it_is_plain_least_squares():
    data = problem()
    with pytest.warns(UserWarning, match="rho is treated as 1"):
        free = majorizing(max_iter=5).fit(EnsembleData(data.R))
    with pytest.warns(UserWarning, match="rho is treated as 1"):
        plain = clone(free).set_params(supervision="confidence").fit(EnsembleData(data.R))
    np.testing.assert_allclose(free.classifier_factors_, plain.classifier_factors_, rtol=1e-9)


def test_sample_weights_are_frequencies():
    data = problem()
    rows = np.repeat(np.arange(data.n_instances), data.sample_weight.astype(int))
    repeated = EnsembleData(data.R[:, rows], data.labels[rows])
    models = [majorizing(init="spectral", max_iter=10, **STANDARD).fit(d) for d in (data, repeated)]
    first, second = (model.predict_proba(data.R) for model in models)
    np.testing.assert_allclose(first, second, atol=1e-8)


def test_free_factors_absorb_the_labels():
    data = problem()
    model = majorizing(rho=0.1, **STANDARD).fit(data)
    used = (data.labels >= 0) & (data.sample_weight > 0)
    labels = data.labels[used]
    trained = model.transductive_proba_[used][np.arange(used.sum()), labels]
    folded = model.predict_proba(data.R)[used][np.arange(used.sum()), labels]
    losses = [-np.log(np.maximum(p, 1e-9)).mean() for p in (trained, folded)]
    assert losses[0] < 0.5 * losses[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"supervision": "labels"}, "supervision must be 'confidence' or 'majorize'"),
        ({"focal_gamma": LinearSchedule(0.0, 1.0)}, "needs a constant focal_gamma"),
        ({"use_class_weights": LinearSchedule(0.0, 1.0)}, "needs constant class weights"),
        ({"focal_gamma": 2.0, "focal_gradient": "reweighted"}, "needs focal_gradient='exact'"),
        ({"aggregator_type": "mean"}, "needs aggregator_type='weighted', got 'mean'"),
        ({"rho": 0.0}, "needs rho > 0"),
    ],
)
def test_what_has_no_parabola_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        majorizing(**settings).fit(problem())


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("n_classes", "settings"),
    [(2, STANDARD), (2, STANDARD | {"focal_gamma": 2.0}), (3, STANDARD)],
)
def test_it_ends_where_joint_descent_ends(n_classes, settings):
    pytest.importorskip("torch")
    made = make_ensemble(6, 60, n_classes, missing_rate=0.1, random_state=0)
    data = EnsembleData(made.R, np.where(np.arange(60) % 3 == 0, -1, made.labels))
    settings = {"latent_dim": 2, "init": "spectral"} | settings
    als = CFEnsembleTrainer(supervision="majorize", **settings).fit(data)
    joint = CFEnsemblePyTorchTrainer(
        optimizer="lbfgs", dtype="float64", instance_factors="free", tol=1e-5, **settings
    ).fit(data)
    ends = [model.history_["objective"].min() for model in (als, joint)]
    assert ends[0] == pytest.approx(ends[1], rel=0.01)
    assert als.n_iter_ < 50


def test_a_frozen_aggregator_leaves_the_factors_to_follow_alone():
    data = problem(n=60)
    model = majorizing(freeze_aggregator_iters=3, max_iter=3, **STANDARD).fit(data)
    np.testing.assert_array_equal(model.weights_, 1 / 6)
    assert np.diff(model.history_["objective"]).max() < 0
    moved = majorizing(freeze_aggregator_iters=2, max_iter=3, **STANDARD).fit(data)
    assert moved.history_["objective"][2] < model.history_["objective"][2]


def test_the_classifier_refits_on_label_free_factors():
    made = make_ensemble(6, 400, random_state=0)
    P, codes = made.R.T, made.labels
    trainer = majorizing(init="spectral", tol=1e-4, max_iter=2000, **STANDARD)
    plain = CFEnsembleClassifier().fit(P[:300], codes[:300])
    model = CFEnsembleClassifier(trainer=trainer).fit(P[:300], codes[:300])
    losses = [
        -np.log(m.predict_proba(P[300:])[np.arange(100), codes[300:]]).mean()
        for m in (plain, model)
    ]
    assert losses[1] == pytest.approx(losses[0], abs=0.01)


@pytest.mark.parametrize("size", [1.0, 1e4, 1e9])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_classifiers_are_solved_however_large_the_weights(n_classes, size):
    data = problem(n=60, n_classes=n_classes)
    trainer = majorizing(max_iter=1, confidence="uniform").fit(data)
    supervision, aggregator = Supervision.of(trainer, data), trainer._aggregator
    aggregator.weights_ = size * aggregator.weights_
    majorizer = Majorizer.of(trainer, data, supervision, aggregator)
    model, Y, d = trainer.factor_model_, trainer.instance_factors_, trainer.latent_dim
    Z, m = model.linked(data.R), data.n_classifiers
    equations = ClassifierEquations.empty(d, m, len(Z))
    equations.add(Y, np.ones((m, 60)), Z)
    solved = majorizer.solve_classifiers(model, equations, Y)

    known = supervision.rows
    rows = (aggregator.weights_[:, None] * np.ones(len(Z) // m)).T

    def scores(X):
        a = np.einsum("km,dmk->dk", rows, X.reshape(d, m, -1))
        return as_scores(Y[:, known].T @ a + aggregator.intercept_)

    here = scores(model.factors)
    target = bound_target(here, supervision.labels).reshape(len(known), -1)
    kappa = majorizer.omega[known] * bound_curvature(here)

    def cost(X):
        errors = ((Z - X.T @ Y) ** 2).sum() + model.lambda_reg * (X**2).sum()
        return errors + kappa @ ((scores(X).reshape(target.shape) - target) ** 2).sum(axis=1)

    least = cost(solved)
    for factor in (0.99, 1.01):
        assert cost(model.factors + factor * (solved - model.factors)) > least
