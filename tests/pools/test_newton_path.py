from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.losses.labeled_rows import LabeledRows
from cfe_stack.pools.design import PoolDesign
from cfe_stack.pools.newton import NewtonPath, PoolPoint, PoolProblem

SHAPES = {"binary": 2, "three classes": 3, "five classes": 5}
LOSSES = [FocalLoss(0.0), FocalLoss(0.5), FocalLoss(2.0)]
every_shape = pytest.mark.parametrize("n_classes", SHAPES.values(), ids=SHAPES)


def problem(n_classes, *, loss=LOSSES[0], strength=5.0, n_bounded=4, n=120, m=6, seed=0):
    """Return a random problem, half of whose coefficients the data would like to be negative."""
    rng = np.random.default_rng([seed, n_classes])
    design = PoolDesign(rng.normal(size=(n, m) if n_classes == 2 else (n, n_classes, m)))
    p = sum(design.sizes)
    truth = rng.normal(scale=0.7, size=p)
    scores = design.scores(truth)
    if n_classes == 2:
        labels = (scores + rng.logistic(size=n) > 0).astype(int)
    else:
        labels = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    weights = rng.uniform(0.2, 2, size=n)
    return PoolProblem(
        design=design,
        rows=LabeledRows(labels, weights, weights, loss),
        penalty=np.full(p, strength) * rng.uniform(0.5, 1.5, size=p),
        center=np.full(p, 1 / p),
        nonnegative=np.arange(p) < n_bounded,
    )


def by_scipy(posed, start):
    bounds = [(0 if bounded else None, None) for bounded in posed.nonnegative]
    return minimize(
        lambda theta: posed.at(theta).value,
        start,
        jac=lambda theta: posed.at(theta).gradient(),
        bounds=bounds,
        method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 10_000},
    ).x


@pytest.mark.parametrize("loss", LOSSES)
@every_shape
def test_gradient_is_the_numerical_one(n_classes, loss):
    posed, step = problem(n_classes, loss=loss), 1e-5
    theta = np.random.default_rng(1).normal(size=len(posed.center))
    numerical = [
        (posed.at(theta + step * e).value - posed.at(theta - step * e).value) / (2 * step)
        for e in np.eye(len(posed.center))
    ]
    gradient = posed.at(theta).gradient()
    np.testing.assert_allclose(gradient, numerical, rtol=1e-6, atol=1e-6)


@every_shape
def test_logistic_hessian_is_the_numerical_one(n_classes):
    posed, step = problem(n_classes), 1e-5
    theta = np.random.default_rng(1).normal(size=len(posed.center))
    numerical = [
        (posed.at(theta + step * e).gradient() - posed.at(theta - step * e).gradient()) / (2 * step)
        for e in np.eye(len(posed.center))
    ]
    hessian = posed.at(theta).curvature() + np.diag(posed.penalty)
    np.testing.assert_allclose(hessian, numerical, atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
@every_shape
def test_hessian_is_symmetric_and_never_negative(n_classes, loss):
    posed = problem(n_classes, loss=loss, strength=0.0)
    for seed in range(5):
        theta = np.random.default_rng(seed).normal(scale=3, size=len(posed.center))
        hessian = posed.at(theta).curvature()
        np.testing.assert_allclose(hessian, hessian.T, atol=1e-12 * hessian.max())
        assert np.linalg.eigvalsh(hessian).min() > -1e-10 * hessian.max()


@pytest.mark.parametrize("n_bounded", [0, 4, 6])
@pytest.mark.parametrize("strength", [0.05, 5.0, 500.0])
@pytest.mark.parametrize("seed", [0, 1])
@every_shape
def test_minimum_is_the_one_scipy_finds(n_classes, seed, strength, n_bounded):
    posed = problem(n_classes, strength=strength, n_bounded=n_bounded, seed=seed)
    start = np.full_like(posed.center, 1 / 6)
    found, reference = NewtonPath().minimize(posed, start), by_scipy(posed, start)
    assert posed.at(found).value <= posed.at(reference).value * (1 + 1e-12)
    # L-BFGS-B stops at relative differences of the value near rounding: half of the digits
    np.testing.assert_allclose(found, reference, atol=1e-5)
    assert (found[posed.nonnegative] >= 0).all()


@pytest.mark.parametrize("loss", LOSSES)
@every_shape
def test_minimum_satisfies_the_optimality_conditions(n_classes, loss):
    posed = problem(n_classes, loss=loss, strength=0.5)
    theta = NewtonPath().minimize(posed, np.full_like(posed.center, 1 / 6))
    gradient = posed.at(theta).gradient()
    at_bound = posed.nonnegative & (theta == 0)
    assert at_bound.any()
    assert (gradient[at_bound] > 0).all()
    np.testing.assert_allclose(gradient[~at_bound], 0, atol=1e-4)


@every_shape
def test_start_does_not_matter(n_classes):
    posed = problem(n_classes)
    rng = np.random.default_rng(0)
    starts = rng.uniform(0, 3, size=(4, len(posed.center)))
    reached = [NewtonPath().minimize(posed, start) for start in starts]
    np.testing.assert_allclose(reached, np.tile(reached[0], (4, 1)), atol=1e-5)


@every_shape
def test_start_is_left_alone(n_classes):
    posed = problem(n_classes)
    start = np.full_like(posed.center, 0.5)
    NewtonPath().minimize(posed, start)
    np.testing.assert_array_equal(start, 0.5)


@every_shape
def test_infinite_strength_keeps_the_centre(n_classes):
    posed = problem(n_classes, strength=1e12)
    found = NewtonPath().minimize(posed, np.full_like(posed.center, 1.0))
    np.testing.assert_allclose(found, posed.center, atol=1e-8)


@every_shape
def test_weights_are_frequencies(n_classes):
    posed = problem(n_classes)
    frequency = np.random.default_rng(0).integers(0, 4, size=120)
    rows = np.repeat(np.arange(120), frequency)
    common = (posed.penalty, posed.center, posed.nonnegative)
    counted = LabeledRows.plain(posed.rows.labels, frequency.astype(float))
    weighted = PoolProblem(posed.design, counted, *common)
    design = PoolDesign(posed.design.Z[rows])
    single = LabeledRows.plain(posed.rows.labels[rows], np.ones(len(rows)))
    repeated = PoolProblem(design, single, *common)
    start = np.full_like(posed.center, 1 / 6)
    found = [NewtonPath().minimize(problem, start) for problem in (weighted, repeated)]
    np.testing.assert_allclose(*found, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("n_copies", [2, 3])
def test_equal_columns_without_a_penalty_are_solved(n_copies):
    posed = problem(2, strength=0.0, n_bounded=2, m=4)
    design = PoolDesign(np.tile(posed.design.Z, n_copies))
    p = 4 * n_copies + 1
    nonnegative = np.append(np.tile(posed.nonnegative[:4], n_copies), False)
    copied = PoolProblem(design, posed.rows, np.zeros(p), np.zeros(p), nonnegative)
    found = NewtonPath().minimize(copied, np.full(p, 0.1))
    assert np.isfinite(found).all()
    single = NewtonPath().minimize(posed, np.full_like(posed.center, 0.1))
    assert copied.at(found).value == pytest.approx(posed.at(single).value, rel=1e-9)


def test_separable_classes_with_a_weak_penalty_stay_finite():
    Z = np.linspace(-5, 5, 50)[:, None]
    labels = (Z[:, 0] > 0).astype(int)
    rows = LabeledRows.plain(labels, np.ones(50))
    free = np.zeros(2, dtype=bool)
    posed = PoolProblem(PoolDesign(Z), rows, np.full(2, 1e-3), np.zeros(2), free)
    theta = NewtonPath().minimize(posed, np.zeros(2))
    np.testing.assert_allclose(posed.at(theta).gradient(), 0, atol=1e-5)
    reference = by_scipy(posed, np.zeros(2))
    assert posed.at(theta).value <= posed.at(reference).value * (1 + 1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@every_shape
def test_a_path_ends_where_single_problems_do(n_classes, loss, monkeypatch):
    monkeypatch.setattr("cfe_stack.pools.newton.MIN_WORK_TO_KEEP", 0)
    posed = problem(n_classes, loss=loss, n=400)
    path, theta = NewtonPath(), posed.center
    for strength in (500.0, 50.0, 5.0, 0.5, 5.0, 500.0):
        penalized = replace(posed, penalty=np.full_like(posed.center, strength))
        theta = path.minimize(penalized, theta)
        alone = NewtonPath().minimize(penalized, posed.center)
        np.testing.assert_allclose(theta, alone, atol=1e-5)
        assert penalized.at(theta).value <= penalized.at(alone).value * (1 + 1e-11)


@every_shape
def test_a_path_calculates_few_curvatures(n_classes, monkeypatch):
    monkeypatch.setattr("cfe_stack.pools.newton.MIN_WORK_TO_KEEP", 0)
    posed, counted, curvature = problem(n_classes, n=400), [], PoolPoint.curvature
    monkeypatch.setattr(
        PoolPoint, "curvature", lambda point: counted.append(point) or curvature(point)
    )
    path, theta = NewtonPath(), posed.center
    strengths = (500.0, 150.0, 50.0, 15.0, 5.0, 1.5, 0.5)
    for strength in strengths:
        theta = path.minimize(replace(posed, penalty=np.full_like(theta, strength)), theta)
    assert len(counted) <= len(strengths)
