import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize

from cfe_stack.losses.focal_loss import FocalLoss, loss_gradient
from cfe_stack.losses.raw_scores import margins
from cfe_stack.trainers.elimination import LabeledSystems, as_scores, each_times, solve_pulls

LOSSES = [FocalLoss(), FocalLoss(0.5), FocalLoss(2.0)]


def systems(k, n=12, d=3, loss=LOSSES[0], alike=False, seed=0):
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(1 if alike else n, d, d))
    inverses = roots @ roots.swapaxes(1, 2) / d + 0.1 * np.eye(d)
    labels = rng.integers(max(k, 2), size=n)
    omega, frequencies = rng.uniform(0.1, 5, n), rng.integers(1, 4, n).astype(float)
    found = LabeledSystems(rng.normal(size=(d, n)), inverses, labels, omega, frequencies, loss)
    return found, rng.normal(size=(d, k)), rng.normal(size=k)


@pytest.mark.parametrize("size", [0.0, 1e-300, 1.0, 1e2, 1e4])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("k", [1, 3])
def test_newton_finds_what_pulls(k, loss, size):
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(200, 4, k)) * np.sqrt(size)
    V = roots.swapaxes(1, 2) @ roots
    free, labels = rng.normal(size=(200, k)), rng.integers(max(k, 2), size=200)
    free *= 3 * np.sqrt(max(size, 1.0))
    kappa = rng.uniform(0.1, 30, 200)
    free[:4] = kappa[:2] = 0
    u = solve_pulls(free, V, labels, kappa, loss)
    scores = as_scores(free - each_times(V, u))
    expected = kappa[:, None] * loss_gradient(scores, labels, loss).reshape(u.shape)
    assert (np.abs(u - expected).max(axis=1) <= 1e-8 * kappa).all()


@pytest.mark.parametrize("k", [1, 3])
def test_the_factors_are_the_best_of_every_instance(k):
    found, directions, constants = systems(k)
    settled = found.settled(directions, constants)
    total = 0.0
    matrices = np.linalg.inv(found.inverses)
    for i, (start, G) in enumerate(zip(found.fold_ins.T, matrices, strict=True)):

        def cost(y, i=i, start=start, G=G):
            columns = (y @ directions + constants)[None]
            margin = margins(as_scores(columns), found.labels[i : i + 1])
            loss = 2 * found.omega[i] * found.loss.value(margin)[0]
            return found.frequencies[i] * (y - start) @ G @ (y - start) + loss

        best = minimize(cost, start, tol=1e-12)
        np.testing.assert_allclose(settled.factors[:, i], best.x, atol=1e-4)
        assert cost(settled.factors[:, i]) <= best.fun + 1e-9
        total += cost(settled.factors[:, i])
    assert settled.objective == pytest.approx(total)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("k", [1, 3])
def test_the_gradient_is_that_of_the_objective(k, loss):
    found, directions, constants = systems(k, loss=loss)
    settled = found.settled(directions, constants)

    def objective(point):
        return found.settled(point[:-k].reshape(directions.shape), point[-k:]).objective

    point = np.concatenate([directions.ravel(), constants])
    expected = approx_fprime(point, objective, 1e-6)
    gradient = np.concatenate([settled.in_directions.ravel(), settled.in_constants])
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)


def test_one_inverse_serves_all():
    found, directions, constants = systems(3, alike=True)
    repeated = LabeledSystems(
        found.fold_ins,
        np.repeat(found.inverses, 12, axis=0),
        found.labels,
        found.omega,
        found.frequencies,
        found.loss,
    )
    one, many = (s.settled(directions, constants) for s in (found, repeated))
    np.testing.assert_allclose(one.factors, many.factors, rtol=1e-9)
    np.testing.assert_allclose(one.in_directions, many.in_directions, rtol=1e-7)


def test_the_best_stays_in_its_basis_and_is_better():
    found, directions, constants = systems(1)
    basis = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 2)))[0]
    step, moved = found.best(directions, constants, basis)
    there = directions + (basis @ step)[:, None]
    before, after = (found.settled(*p) for p in ((directions, constants), (there, moved)))
    assert after.objective < before.objective
    slope = np.abs(basis.T @ after.in_directions.ravel()).max()
    assert slope < 0.1 * np.abs(basis.T @ before.in_directions.ravel()).max()
