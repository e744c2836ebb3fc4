import numpy as np
import pytest
from naive_pools import log_odds, minimizer, plain_loss

from cfe_stack.pools.calibration import Calibration, calibrate


@pytest.mark.parametrize("scale", [0.01, 0.3, 1.0, 5.0])
@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_calibration_is_the_bounded_optimum(n_classes, scale):
    Z, _, labels, frequencies = log_odds(n_classes)
    assert_calibrated(Z * scale, labels, frequencies)
    assert calibrate(Z * scale, labels, frequencies).slope[-1] == 0


@pytest.mark.parametrize("distance", [3.0, 6.9])
@pytest.mark.parametrize("error", [0.02, 0.1, 0.3, 0.45, 0.6])
@pytest.mark.parametrize("n_classes", [2, 4, 11])
def test_calibration_tames_learners_that_are_always_sure(n_classes, error, distance):
    rng = np.random.default_rng(0)
    labels = rng.choice(
        n_classes, 400, p=2 * np.arange(1, n_classes + 1) / (n_classes * (n_classes + 1))
    )
    guess = np.where(rng.random(400) < error, (labels + 1) % n_classes, labels)
    Z = (np.eye(n_classes)[guess] - 1 / n_classes) * distance
    Z = 2 * Z[:, 1:] if n_classes == 2 else Z[:, :, None]
    assert_calibrated(Z, labels, np.ones(400))


def assert_calibrated(Z, labels, weights):
    """Compare with a generic optimiser from several starts."""
    fitted = calibrate(Z, labels, weights)
    binary = Z.ndim == 2
    for u in range(Z.shape[-1]):

        def loss(theta, u=u):
            penalty = 0.5 * ((theta[0] - 1) ** 2 + (theta[1:] ** 2).sum())
            offset = theta[1] if binary else 0.0
            return plain_loss(theta[0] * Z[..., u] + offset, labels, weights) + penalty

        got = np.array([fitted.slope[u], fitted.offset[u]])[: 1 + binary]
        starts = [np.array([a, 0.0])[: 1 + binary] for a in (1.0, 0.1)]
        bounds = [(0, None), (None, None)][: 1 + binary]
        best = min((minimizer(loss, start, bounds) for start in starts), key=loss)
        assert loss(got) <= loss(best) + 1e-6
        np.testing.assert_allclose(got, best, atol=1e-3, rtol=1e-3)
        assert binary or fitted.offset[u] == 0


@pytest.mark.parametrize("n", [40, 4000])
@pytest.mark.parametrize("distance", [0.01, 1.0, 6.9])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_calibration_converges_on_separable_data(n_classes, distance, n):
    labels = np.arange(n) % n_classes
    rng = np.random.default_rng(0)
    Z = (np.eye(n_classes)[labels] - 1 / n_classes) * distance * (1 + rng.random((n, 1)))
    assert_calibrated(2 * Z[:, 1:] if n_classes == 2 else Z[:, :, None], labels, np.ones(n))


def test_an_anti_correlated_classifier_keeps_only_the_base_rate():
    labels = np.repeat([0, 1], [300, 100])
    Z = np.where(labels == 1, -3.0, 3.0)[:, None] + np.random.default_rng(0).normal(size=(400, 2))
    fitted = calibrate(Z, labels, np.ones(400))
    np.testing.assert_array_equal(fitted.slope, 0)
    np.testing.assert_allclose(fitted.offset, np.log(1 / 3), atol=0.02)


@pytest.mark.parametrize("shape", [(4, 3), (4, 5, 3)])
def test_calibration_is_a_slope_and_an_offset_per_classifier(shape):
    Z = np.random.default_rng(0).normal(size=shape)
    calibration = Calibration(np.array([1.0, 2.0, 0.0]), np.array([0.0, 1.0, -1.0]))
    applied = calibration.apply(Z)
    np.testing.assert_array_equal(applied[..., 0], Z[..., 0])
    np.testing.assert_array_equal(applied[..., 1], 2 * Z[..., 1] + 1)
    np.testing.assert_array_equal(applied[..., 2], -1)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_weights_are_frequencies(n_classes):
    Z, _, labels, weights = log_odds(n_classes)
    weights[:20] = 0
    rows = np.repeat(np.arange(len(Z)), weights.astype(int))
    first = calibrate(Z, labels, weights)
    second = calibrate(Z[rows], labels[rows], np.ones(len(rows)))
    np.testing.assert_allclose(second.slope, first.slope, atol=1e-9)
    np.testing.assert_allclose(second.offset, first.offset, atol=1e-9)


@pytest.mark.parametrize("shape", [(0, 4), (0, 3, 4)])
def test_without_rows_scores_are_taken_as_they_are(shape):
    found = calibrate(np.empty(shape), np.empty(0, dtype=int), np.empty(0))
    np.testing.assert_array_equal(found.slope, 1)
    np.testing.assert_array_equal(found.offset, 0)
