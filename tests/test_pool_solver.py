import numpy as np
import pytest
from scipy.optimize import minimize

from cfe_stack.losses import FocalLoss
from cfe_stack.pool_solver import PoolProblem, minimize_pool, with_penalty

SHAPES = {"binary": 2, "three classes": 3, "five classes": 5}
LOSSES = [FocalLoss(0.0), FocalLoss(0.5), FocalLoss(2.0)]
every_shape = pytest.mark.parametrize("n_classes", SHAPES.values(), ids=SHAPES)


def problem(n_classes, *, loss=LOSSES[0], strength=5.0, n_bounded=4, n=120, p=6, seed=0):
    """Return a random problem, half of whose coefficients the data would like to be negative."""
    rng = np.random.default_rng([seed, n_classes])
    shape = (n, p) if n_classes == 2 else (n, n_classes, p)
    design = rng.normal(size=shape)
    truth = rng.normal(scale=0.7, size=p)
    scores = design @ truth
    if n_classes == 2:
        labels = (scores + rng.logistic(size=n) > 0).astype(int)
    else:
        labels = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    return PoolProblem(
        design=design,
        labels=labels,
        weights=rng.uniform(0.2, 2, size=n),
        penalty=np.full(p, strength) * rng.uniform(0.5, 1.5, size=p),
        center=np.full(p, 1 / p),
        nonnegative=np.arange(p) < n_bounded,
        loss=loss,
    )


def by_scipy(posed, start):
    bounds = [(0 if bounded else None, None) for bounded in posed.nonnegative]
    return minimize(
        posed.value,
        start,
        jac=lambda theta: posed.gradient_and_hessian(theta)[0],
        bounds=bounds,
        method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 10_000},
    ).x


@pytest.mark.parametrize("loss", LOSSES)
@every_shape
def test_gradient_is_the_numerical_one(n_classes, loss):
    posed, step = problem(n_classes, loss=loss), 1e-5
    theta = np.random.default_rng(1).normal(size=6)
    numerical = [
        (posed.value(theta + step * e) - posed.value(theta - step * e)) / (2 * step)
        for e in np.eye(6)
    ]
    gradient = posed.gradient_and_hessian(theta)[0]
    np.testing.assert_allclose(gradient, numerical, rtol=1e-6, atol=1e-6)


@every_shape
def test_logistic_hessian_is_the_numerical_one(n_classes):
    posed, step = problem(n_classes), 1e-5
    theta = np.random.default_rng(1).normal(size=6)
    numerical = [
        (
            posed.gradient_and_hessian(theta + step * e)[0]
            - posed.gradient_and_hessian(theta - step * e)[0]
        )
        / (2 * step)
        for e in np.eye(6)
    ]
    np.testing.assert_allclose(posed.gradient_and_hessian(theta)[1], numerical, atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
@every_shape
def test_hessian_is_symmetric_and_never_negative(n_classes, loss):
    posed = problem(n_classes, loss=loss, strength=0.0)
    for seed in range(5):
        theta = np.random.default_rng(seed).normal(scale=3, size=6)
        hessian = posed.gradient_and_hessian(theta)[1]
        np.testing.assert_allclose(hessian, hessian.T, atol=1e-12 * hessian.max())
        assert np.linalg.eigvalsh(hessian).min() > -1e-10 * hessian.max()


@pytest.mark.parametrize("n_bounded", [0, 4, 6])
@pytest.mark.parametrize("strength", [0.05, 5.0, 500.0])
@pytest.mark.parametrize("seed", [0, 1])
@every_shape
def test_minimum_is_the_one_scipy_finds(n_classes, seed, strength, n_bounded):
    posed = problem(n_classes, strength=strength, n_bounded=n_bounded, seed=seed)
    start = np.full(6, 1 / 6)
    found, reference = minimize_pool(posed, start), by_scipy(posed, start)
    assert posed.value(found) <= posed.value(reference) * (1 + 1e-12)
    # L-BFGS-B stops at relative differences of the value near rounding: half of the digits
    np.testing.assert_allclose(found, reference, atol=1e-5)
    assert (found[posed.nonnegative] >= 0).all()


@pytest.mark.parametrize("loss", LOSSES)
@every_shape
def test_minimum_satisfies_the_optimality_conditions(n_classes, loss):
    posed = problem(n_classes, loss=loss, strength=0.5)
    theta = minimize_pool(posed, np.full(6, 1 / 6))
    gradient = posed.gradient_and_hessian(theta)[0]
    at_bound = posed.nonnegative & (theta == 0)
    assert at_bound.any()
    assert (gradient[at_bound] > 0).all()
    np.testing.assert_allclose(gradient[~at_bound], 0, atol=1e-4)


@every_shape
def test_start_does_not_matter(n_classes):
    posed = problem(n_classes)
    rng = np.random.default_rng(0)
    reached = [minimize_pool(posed, rng.uniform(0, 3, size=6)) for _ in range(4)]
    np.testing.assert_allclose(reached, np.tile(reached[0], (4, 1)), atol=1e-7)


@every_shape
def test_start_is_left_alone(n_classes):
    start = np.full(6, 0.5)
    minimize_pool(problem(n_classes), start)
    np.testing.assert_array_equal(start, 0.5)


@every_shape
def test_infinite_strength_keeps_the_centre(n_classes):
    posed = problem(n_classes, strength=1e12)
    found = minimize_pool(posed, np.full(6, 1.0))
    np.testing.assert_allclose(found, posed.center, atol=1e-8)


@every_shape
def test_weights_are_frequencies(n_classes):
    posed = problem(n_classes)
    frequency = np.random.default_rng(0).integers(0, 4, size=120)
    rows = np.repeat(np.arange(120), frequency)
    common = (posed.penalty, posed.center, posed.nonnegative)
    weighted = PoolProblem(posed.design, posed.labels, frequency.astype(float), *common)
    repeated = PoolProblem(posed.design[rows], posed.labels[rows], np.ones(len(rows)), *common)
    start = np.full(6, 1 / 6)
    np.testing.assert_allclose(
        minimize_pool(weighted, start), minimize_pool(repeated, start), rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("n_copies", [2, 3])
def test_equal_columns_without_a_penalty_are_solved(n_copies):
    posed = problem(2, strength=0.0, n_bounded=2, p=4)
    design = np.tile(posed.design, n_copies)
    p = design.shape[1]
    nonnegative = np.tile(posed.nonnegative, n_copies)
    copied = PoolProblem(design, posed.labels, posed.weights, np.zeros(p), np.zeros(p), nonnegative)
    found = minimize_pool(copied, np.full(p, 0.1))
    assert np.isfinite(found).all()
    single = minimize_pool(posed, np.full(4, 0.1))
    np.testing.assert_allclose(copied.value(found), posed.value(single), rtol=1e-9)


def test_separable_classes_with_a_weak_penalty_stay_finite():
    design = np.column_stack([np.linspace(-5, 5, 50), np.ones(50)])
    labels = (design[:, 0] > 0).astype(int)
    posed = PoolProblem(
        design, labels, np.ones(50), np.full(2, 1e-3), np.zeros(2), np.zeros(2, dtype=bool)
    )
    theta = minimize_pool(posed, np.zeros(2))
    gradient = posed.gradient_and_hessian(theta)[0]
    np.testing.assert_allclose(gradient, 0, atol=1e-5)
    assert posed.value(theta) <= posed.value(by_scipy(posed, np.zeros(2))) * (1 + 1e-12)


def test_with_penalty_shares_the_arrays():
    posed = problem(2)
    other = with_penalty(posed, np.zeros(6))
    assert other.design is posed.design
    assert other.value(posed.center) == pytest.approx(posed.value(posed.center), rel=1e-15)
    assert other.value(posed.center + 1) < posed.value(posed.center + 1)
