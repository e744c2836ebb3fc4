import numpy as np
import pytest

from cfe_stack import CFEnsembleClassifier
from cfe_stack.trainers.newton_polish import LocalModel, newton_polish

pytestmark = pytest.mark.exhaustive


def bowl(curvatures, center, tilt=0.0):
    """Return the local models of a quadratic with a quartic term, flat where a curvature is 0."""

    def local_model(x):
        gap = np.where(curvatures == 0, 0.0, x - center)
        value = 1.0 + float(curvatures @ gap**2 / 2 + (gap**4).sum() / 4 + tilt * x[0])
        gradient = curvatures * gap + gap**3
        return LocalModel(value, gradient, lambda v: (curvatures + 3 * gap**2) * v.ravel())

    return local_model


def test_the_end_is_exact_and_flat_directions_stay():
    curvatures, center = np.array([1e-3, 1.0, 1e3, 0.0]), np.array([1.0, -2.0, 3.0, 0.0])
    start = center + np.array([1e-3, 1e-4, -1e-6, 5.0])
    end = newton_polish(start, bowl(curvatures, center))
    np.testing.assert_allclose(end, [1.0, -2.0, 3.0, 5.0], atol=1e-10)


def test_a_step_that_does_not_flatten_is_not_taken():
    def wrong(x):
        return LocalModel(1.0, x, lambda v: -0.5 * v)

    start = np.ones(3)
    np.testing.assert_array_equal(newton_polish(start, wrong), start)


def test_a_step_up_is_not_taken():
    # the stationary point of a concave function is its top
    def top(x):
        gap = x - 1
        return LocalModel(1e-6 - float(gap @ gap), -2 * gap, lambda v: -2 * v)

    start = np.full(3, 1.01)
    np.testing.assert_array_equal(newton_polish(start, top), start)


@pytest.mark.parametrize("slope", [1.0, np.nan])
def test_a_step_far_away_is_not_even_looked_at(slope):
    looked = []

    def valley_at_infinity(x):
        looked.append(x)
        assert len(looked) == 1
        return LocalModel(1.0, np.array([slope, 0.0]), lambda v: 1e-6 * v)

    start = np.ones(2)
    np.testing.assert_array_equal(newton_polish(start, valley_at_infinity), start)


def test_nothing_to_gain_is_nothing_done():
    start = np.array([1.0, 2.0])
    calls = []

    def flat(x):
        calls.append(x)
        return LocalModel(1.0, np.zeros(2), lambda v: v)

    np.testing.assert_array_equal(newton_polish(start, flat), start)
    assert len(calls) == 1


@pytest.mark.parametrize("n_classes", [2, 3])
def test_joint_descent_ends_at_one_point_whatever_the_rounding(n_classes):
    pytest.importorskip("torch")
    random = np.random.default_rng(0)
    codes = random.integers(n_classes, size=60)
    k = 1 if n_classes == 2 else n_classes
    P = random.dirichlet(np.ones(n_classes), size=(60, 6))
    P = P[:, :, 1] if k == 1 else P.reshape(60, -1)
    first = CFEnsembleClassifier(trainer="pytorch").fit(P, codes)
    order = random.permutation(60)
    second = CFEnsembleClassifier(trainer="pytorch").fit(P[order], codes[order])
    np.testing.assert_allclose(first.transform(P), second.transform(P), rtol=1e-9)
