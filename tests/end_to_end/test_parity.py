"""NumPy equals torch, and alternating least squares equals joint descent, where both apply."""

import numpy as np
import pytest
from implementations import LOSSES
from scipy.special import logit

from cfe_stack import CFEnsemblePyTorchTrainer, CFEnsembleTrainer, EnsembleData
from cfe_stack.datasets import make_ensemble
from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.losses.link import make_link
from cfe_stack.losses.raw_scores import margin_directions, margins
from cfe_stack.trainers.aggregators import (
    Gate,
    GatedPoolAggregator,
    classifiers_last,
    make_aggregator,
)
from cfe_stack.trainers.joint_objective import (
    JointArrays,
    JointObjective,
    JointParameters,
    linked_values,
)
from cfe_stack.trainers.supervision import Supervision

torch = pytest.importorskip("torch")

HUGE = np.array([-1e4, -700.0, -30.0, -1.0, -1e-6, 0.0, 1e-6, 1.0, 17.0, 40.0, 800.0, 1e4])


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_derivatives_agree(name):
    loss, margin = LOSSES[name], np.linspace(-35, 35, 141)
    tensor = torch.tensor(margin, requires_grad=True)
    value = loss.value(tensor, torch)
    value.sum().backward()
    np.testing.assert_allclose(value.detach().numpy(), loss.value(margin), rtol=1e-12)
    np.testing.assert_allclose(tensor.grad.numpy(), loss.derivative(margin), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LOSSES)
def test_autograd_is_finite_at_any_margin(name, dtype):
    tensor = torch.tensor(HUGE, dtype=dtype, requires_grad=True)
    value = LOSSES[name].value(tensor, torch)
    value.sum().backward()
    assert value.isfinite().all()
    assert tensor.grad.isfinite().all()


@pytest.mark.parametrize("gamma", [0.05, 0.1, 0.5, 0.95])
def test_the_probability_formulation_fails_and_smoothing_cures_it(gamma):
    def gradient(delta):
        score = torch.tensor([20.0, 40.0], requires_grad=True)
        p_t = torch.sigmoid(score)
        (-((1 - p_t + delta) ** gamma) * torch.log(p_t)).sum().backward()
        return score.grad

    assert gradient(0.0).isnan().all()
    assert gradient(1e-3).isfinite().all()


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_margins_agree(n_classes):
    rng = np.random.default_rng(0)
    scores = 40 * rng.normal(size=50 if n_classes == 2 else (50, n_classes))
    labels = rng.integers(n_classes, size=50)
    tensor = torch.tensor(scores, requires_grad=True)
    margin = margins(tensor, torch.tensor(labels), torch)
    margin.sum().backward()
    np.testing.assert_allclose(margin.detach().numpy(), margins(scores, labels), rtol=1e-12)
    np.testing.assert_allclose(
        tensor.grad.numpy(), margin_directions(scores, labels), rtol=1e-10, atol=1e-15
    )


@pytest.mark.parametrize("link", ["identity", "logit"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", ["weighted", "mean", "log_pool"])
def test_scores_agree_with_the_aggregators(kind, n_classes, link):
    made = make_ensemble(4, 30, n_classes, random_state=0)
    made_link = make_link(link, n_classes)
    Z = made_link.forward(made.R)
    rows = Z if n_classes == 2 else np.moveaxis(Z, 2, 1).reshape(-1, 30)
    b = np.zeros(1) if n_classes == 2 else np.arange(3.0)
    aggregator = make_aggregator(kind, n_classes, 0.0, "gradient")
    aggregator.start(4, float(b[0]) if n_classes == 2 else b)
    expected = aggregator.scores(aggregator.features(classifiers_last(Z), made_link))
    for xp, array in ((np, np.asarray), (torch, torch.tensor)):
        values = linked_values(array(rows), 4, array(np.ones((1, 1))), array(np.zeros((1, 1))))
        w = array(np.full(4, 0.25))
        features = aggregator.features(values, made_link, xp)
        scores = aggregator.combine(features, w, array(b)[0] if n_classes == 2 else array(b), xp)
        np.testing.assert_allclose(np.asarray(scores), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("link", ["identity", "logit"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_scores_agree_with_the_gated_aggregator(n_classes, link):
    made, rng = make_ensemble(4, 30, n_classes, random_state=0), np.random.default_rng(0)
    made_link = make_link(link, n_classes)
    Z = made_link.forward(made.R)
    rows = Z if n_classes == 2 else np.moveaxis(Z, 2, 1).reshape(-1, 30)
    direction = rng.normal(size=4 if n_classes == 2 else (3, 4))
    gate, offset, b = rng.normal(size=4), rng.normal(size=1), np.array([0.3, -0.1, 0.2])
    b = b[:1] if n_classes == 2 else b
    aggregator = GatedPoolAggregator(n_classes, Gate(gate, direction, offset))
    aggregator.start(4, float(b[0]) if n_classes == 2 else b)
    expected = aggregator.scores(aggregator.features(classifiers_last(Z), made_link))
    for xp, array in ((np, np.asarray), (torch, torch.tensor)):
        values = linked_values(array(rows), 4, array(np.ones((1, 1))), array(np.zeros((1, 1))))
        opened = Gate(array(gate), array(direction), array(offset))
        w = array(np.full(4, 0.25))
        features = aggregator.features(values, made_link, xp, opened)
        intercept = array(b)[0] if n_classes == 2 else array(b)
        scores = aggregator.combine(features, w, intercept, xp, opened)
        np.testing.assert_allclose(np.asarray(scores), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", ["weighted", "mean", "log_pool"])
def test_the_objective_agrees_in_whole_and_in_parts(kind, n_classes, gamma):
    made = make_ensemble(4, 40, n_classes, missing_rate=0.2, random_state=0)
    labels = made.labels.copy()
    labels[::3] = -1
    data = EnsembleData(made.R, labels, sample_weight=np.arange(40) % 3 + 0.0)
    trainer = CFEnsemblePyTorchTrainer(latent_dim=2, link="logit", standardize=True)
    start = CFEnsembleTrainer(
        latent_dim=2, link="logit", standardize=True, max_iter=1, tol=0, random_state=0
    )
    model = start.fit(data)
    supervision = Supervision.of(trainer, data)
    arrays = JointArrays.of(data, model.factor_model_, supervision, "float64")
    rng = np.random.default_rng(0)
    parameters = [
        model.factor_model_.factors,
        model.factor_model_.bias[:, None],
        rng.random(4),
        rng.normal(size=1 if n_classes == 2 else 3),
    ]
    Y, loss, values = rng.normal(size=(2, 40)), FocalLoss(gamma), []
    for xp, array in ((np, np.asarray), (torch, torch.tensor)):
        scale, shift = (
            array(part[:, None]) for part in (model.factor_model_.scale, model.factor_model_.shift)
        )
        objective = JointObjective(
            model.factor_model_.link,
            make_aggregator(kind, n_classes),
            0.1,
            scale,
            shift,
            100.0,
            float(arrays.omega.sum()),
        )
        shared = JointParameters(*(array(part) for part in parameters))
        values.append(objective.parts(arrays.map(array), shared, array(Y), loss, xp=xp))
        thirds = [np.arange(k, 40, 4) for k in range(4)]
        parts = [
            objective.parts(arrays.take(rows).map(array), shared, array(Y[:, rows]), loss, 4.0, xp)
            for rows in thirds
        ]
        np.testing.assert_allclose(np.mean(parts, axis=0), values[-1], rtol=1e-12)
    np.testing.assert_allclose(values[0], values[1], rtol=1e-12)


@pytest.mark.parametrize("factors", ["free", "projected"])
@pytest.mark.parametrize("missing_rate", [0.0, 0.2])
def test_als_and_joint_descent_reach_the_same_reconstruction(factors, missing_rate):
    made = make_ensemble(6, 100, missing_rate=missing_rate, random_state=0)
    data = EnsembleData(made.R, made.labels)
    settings = {
        "latent_dim": 2, "rho": 1.0, "link": "logit", "standardize": True, "tol": 1e-10,
        "confidence": "uniform", "lambda_reg": 1.0, "init": "spectral", "init_prior": False,
    }  # fmt: skip
    als = CFEnsembleTrainer(use_label_aware_confidence=False, max_iter=3000, **settings).fit(data)
    joint = CFEnsemblePyTorchTrainer(
        optimizer="lbfgs", dtype="float64", instance_factors=factors, patience=2, **settings
    ).fit(data)
    ends = [model.history_["reconstruction"].min() for model in (als, joint)]
    assert ends[0] == pytest.approx(ends[1], rel=1e-5)
    np.testing.assert_allclose(
        logit(als.reconstruct(data)), logit(joint.reconstruct(data)), atol=0.02
    )


@pytest.mark.exhaustive
def test_majorized_als_and_joint_descent_reach_the_same_objective():
    made = make_ensemble(8, 500, random_state=1)
    data = EnsembleData(made.R, np.where(np.arange(500) % 3 == 0, -1, made.labels))
    settings = {
        "latent_dim": 3, "rho": 0.8, "link": "logit", "standardize": True, "init": "spectral",
        "confidence": "uniform", "lambda_reg": 1.0, "tol": 0,
    }  # fmt: skip
    als = CFEnsembleTrainer(supervision="majorize", max_iter=2000, **settings).fit(data)
    joint = CFEnsemblePyTorchTrainer(
        optimizer="lbfgs", dtype="float64", instance_factors="free", max_epochs=60, **settings
    ).fit(data)
    ends = [model.history_["objective"].min() for model in (als, joint)]
    assert ends[0] == pytest.approx(ends[1], rel=0.01)


def test_class_weights_of_balanced_data_change_nothing():
    made = make_ensemble(5, 100, random_state=0)
    labels = np.arange(100) % 2
    proba = [
        CFEnsemblePyTorchTrainer(
            latent_dim=2, max_epochs=20, tol=0, use_class_weights=weighted, dtype="float64"
        )
        .fit(EnsembleData(made.R, labels))
        .predict_proba(made.R)
        for weighted in (False, True)
    ]
    np.testing.assert_allclose(*proba, atol=1e-12)
