import numpy as np
import pytest
from naive_pools import log_odds
from scipy.optimize import minimize
from scipy.special import expit, softmax

from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.losses.labeled_rows import LabeledRows
from cfe_stack.pools.inputs import PoolInputs
from cfe_stack.pools.linear_pool import (
    GREEDY_SELECTION,
    LINEAR_POOL,
    LinearPool,
    MixtureProblem,
    greedy_selection,
)

CROSS_ENTROPY = FocalLoss()


def path(family, P, labels, weights, loss, points=None):
    inputs = PoolInputs(P, np.empty((len(P), 0)), LabeledRows(labels, weights, weights, loss))
    return family.fit_path(inputs, family.calibrate(inputs), points)


def simulated(n_classes=2):
    """Return probabilities, labels, weights, and what each classifier gives the true class."""
    Z, _, labels, weights = log_odds(n_classes)
    if n_classes == 2:
        P = expit(Z)
        given = np.where((labels == 1)[:, None], P, 1 - P)
    else:
        P = softmax(Z, axis=1)
        given = P[np.arange(len(P)), labels]
    return P, labels, weights, given


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("loss", [CROSS_ENTROPY, FocalLoss(2.0)], ids=["cross-entropy", "focal"])
def test_weights_on_the_simplex_minimise_the_penalised_loss(n_classes, loss):
    P, labels, weights, given = simulated(n_classes)

    def naive(w, strength):
        q = given @ w
        losses = -((1 - q) ** loss.gamma) * np.log(q)
        return weights @ losses + 0.5 * strength * np.square(w - 1 / len(w)).sum()

    for pool, strength in zip(
        path(LINEAR_POOL, P, labels, weights, loss), LINEAR_POOL.strengths, strict=True
    ):
        m = len(pool.weights)
        found = minimize(
            naive,
            np.full(m, 1 / m),
            (strength,),
            method="SLSQP",
            bounds=[(0, 1)] * m,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert pool.weights.sum() == pytest.approx(1)
        assert (pool.weights >= 0).all()
        assert naive(pool.weights, strength) == pytest.approx(found.fun, rel=1e-7)
        np.testing.assert_allclose(pool.weights, found.x, atol=2e-4)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_gradient_and_hessian_are_those_of_the_value(gamma):
    _, _, weights, given = simulated()
    problem = MixtureProblem(given, weights, 5.0, FocalLoss(gamma))
    w = np.array([0.4, 0.3, 0.2, 0.05, 0.05])
    gradient = problem.at(w).gradient()
    for u, step in enumerate(1e-6 * np.eye(5)):
        slope = (problem.at(w + step).value - problem.at(w - step).value) / 2e-6
        assert gradient[u] == pytest.approx(slope, rel=1e-4, abs=1e-3)
    if gamma == 0:
        hessian = problem.at(w).curvature() + np.diag(problem.penalty)
        up, down = (problem.at(w + s).gradient() for s in (1e-6, -1e-6))
        np.testing.assert_allclose(hessian.sum(axis=1), (up - down) / 2e-6, rtol=1e-5)


def test_greedy_selection_picks_what_a_plain_loop_picks():
    _, _, weights, given = simulated()
    picks, losses = [], []
    for _ in range(50):
        trials = [
            -weights @ np.log(np.mean([given[:, v] for v in [*picks, u]], axis=0)) for u in range(5)
        ]
        picks.append(int(np.argmin(trials)))
        losses.append(min(trials))
    best = picks[: int(np.argmin(losses)) + 1]
    expected = np.bincount(best, minlength=5) / len(best)
    np.testing.assert_allclose(greedy_selection(given, weights, CROSS_ENTROPY), expected)


def test_greedy_selection_is_a_path_of_one_point():
    P, labels, weights, given = simulated()
    (pool,) = path(GREEDY_SELECTION, P, labels, weights, CROSS_ENTROPY)
    np.testing.assert_array_equal(pool.weights, greedy_selection(given, weights, CROSS_ENTROPY))


@pytest.mark.parametrize("n_classes", [2, 4])
def test_a_pool_that_copies_one_classifier_repeats_its_probabilities(n_classes):
    P = simulated(n_classes)[0]
    pool = LinearPool(np.eye(5)[1], np.zeros(1 if n_classes == 2 else n_classes))
    scores = pool.scores(P, np.empty((len(P), 0)))
    proba = expit(scores) if n_classes == 2 else softmax(scores, axis=1)
    np.testing.assert_allclose(proba, P[..., 1], atol=2e-3)


def test_points_of_the_path_can_be_fitted_alone():
    P, labels, weights, _ = simulated()
    every = path(LINEAR_POOL, P, labels, weights, CROSS_ENTROPY)
    some = path(LINEAR_POOL, P, labels, weights, CROSS_ENTROPY, [0, 2])
    np.testing.assert_allclose(some[1].weights, every[2].weights, atol=1e-5)


def test_an_average_keeps_the_sum_and_turns_the_rest_into_a_slope():
    pools = [LinearPool(np.array(w), np.zeros(1)) for w in ([1.0, 0.0], [0.5, 0.5])]
    mixed = LinearPool.average(pools, np.array([0.25, 0.75]))
    np.testing.assert_allclose(mixed.weights, [0.625, 0.375])
    assert mixed.slope == 1
    steep = LinearPool.average([mixed], np.array([1.2])).shifted(np.array([0.3]))
    np.testing.assert_allclose(steep.weights, mixed.weights)
    assert (steep.slope, steep.intercept[0]) == (1.2, 0.3)
    assert LinearPool.average([mixed], np.zeros(1)).slope == 0
