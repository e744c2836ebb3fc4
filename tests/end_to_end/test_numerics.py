"""What rounding costs stays within what docs/numerics.md says."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from tolerances import of_sums

from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.losses.link import make_link
from cfe_stack.losses.raw_scores import probabilities

SCRIPT = Path(__file__).parents[2] / "examples" / "benchmarks" / "numerics.py"
spec = importlib.util.spec_from_file_location("numerics", SCRIPT)
numerics = importlib.util.module_from_spec(spec)
spec.loader.exec_module(numerics)

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


@pytest.mark.parametrize(
    ("kind", "latent_dim", "ridge", "bound"),
    [
        ("plain", 3, 1.0, 1e-5),
        ("copies", 40, 1.0, 1e-4),
        ("saturated", 40, 1.0, 1e-4),
        ("copies", 3, 0.0, 1e-3),
        ("plain", 40, 1e-3, 0.1),
    ],
)
def test_single_precision_stays_near_double(kind, latent_dim, ridge, bound):
    reconstruction, probability = numerics.factors(kind, latent_dim, ridge)
    assert 0 < probability < bound
    assert 0 < reconstruction < bound


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", ["log_pool", "linear_pool", "weighted"])
def test_aggregators_lose_no_more_than_their_input(name, n_classes):
    assert numerics.aggregator(name, n_classes) < 1e-5


def test_long_sums_are_kept_in_double_precision():
    one_block, _ = numerics.long_sum(numerics.BLOCK)
    ours, running = numerics.long_sum(20_000_000)
    # blocks are added in double precision, so that only the error inside a block is left
    assert ours == pytest.approx(one_block, abs=of_sums(20_000_000 // numerics.BLOCK))
    assert ours < running


@pytest.mark.parametrize("gamma", [0.05, 0.25, 0.5, 0.75, 0.95])
def test_the_focal_loss_has_a_bounded_slope_for_small_gamma(gamma):
    margins = np.concatenate([np.linspace(-800, 800, 1601), np.logspace(-300, 2, 600)])
    loss = FocalLoss(gamma)
    assert np.isfinite(loss.value(margins)).all()
    assert np.abs(loss.derivative(margins)).max() < 1.5


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_certain_predictions_have_finite_log_odds_and_come_back(dtype):
    R = np.array([[0.0, 1.0, np.finfo(dtype).tiny, 0.5]], dtype=dtype)
    link = make_link("logit", 2)
    Z = link.forward(R)
    assert np.isfinite(Z).all()
    np.testing.assert_allclose(link.inverse(Z), R, atol=2e-3)


@pytest.mark.parametrize("size", [1e-300, 1.0, 700.0, 1e8, 1e300])
def test_probabilities_of_any_score_are_probabilities(size):
    scores = size * np.array([[-1.0, 0.0, 1.0], [1.0, 1.0, 1.0], [-1.0, -1.0, 0.5]])
    for proba in (probabilities(scores), probabilities(scores[:, 0])):
        assert np.isfinite(proba).all()
        np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-12)
