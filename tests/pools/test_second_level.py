import numpy as np
import pytest
from naive_pools import N, log_odds
from scipy.stats import norm

from cfe_stack.losses.labeled_rows import LabeledRows
from cfe_stack.pools.log_pool import scale_problem
from cfe_stack.pools.newton import NewtonPath
from cfe_stack.pools.second_level import combine, shrink_by_evidence, slope_on_all_rows

SHARES = np.arange(1.0, 6.0)


@pytest.mark.exhaustive
def test_one_slope_goes_by_the_bayes_factor_of_a_bent_model_against_a_straight_one():
    """With many rows Laplace's approximation is close: compare with sums over a grid."""
    rng = np.random.default_rng(0)
    scores, strength, shares = rng.normal(size=20_000), 100.0, []
    for bend in (1.0, 1.02, 1.05, 1.1):
        labels = (rng.random(len(scores)) < 1 / (1 + np.exp(-bend * scores))).astype(int)
        posed = scale_problem(
            scores[:, None], LabeledRows.plain(labels, np.ones(len(labels))), np.ones(1), strength
        )
        # an intercept that is held where it is leaves one slope
        posed.penalty[1] = 1e12
        theta = NewtonPath().minimize(posed, posed.center)
        grid = np.linspace(0.5, 1.5, 4001)
        sign = np.where(labels == 1, 1.0, -1.0)
        likelihood = -np.array([np.logaddexp(0, -sign * a * scores).sum() for a in grid])
        straight = likelihood[np.argmin(np.abs(grid - 1))]
        bent = norm.pdf(grid, 1, strength**-0.5) * np.exp(likelihood - straight)
        factor = bent.sum() * (grid[1] - grid[0])
        shares.append((shrink_by_evidence(posed, theta)[0] - 1) / (theta[0] - 1))
        assert shares[-1] == pytest.approx(factor / (1 + factor), abs=0.01)
    assert min(shares) < 0.5
    assert max(shares) > 0.99


def test_many_rows_decide_and_few_do_not():
    rng = np.random.default_rng(1)

    def shares(n):
        scores = rng.normal(size=(1, n, 2)) * 2
        labels = (rng.random(n) < 1 / (1 + np.exp(1 - scores[0, :, 0]))).astype(int)
        given = LabeledRows.plain(labels, np.ones(n)), np.ones(2)
        found, fitted = (combine(scores, *given, by_evidence=k) for k in (True, False))
        return np.concatenate(found), np.concatenate(fitted)

    few, fitted_to_few = shares(12)
    center = np.array([0.5, 0.5, 0.0])
    assert (np.abs(few - center) <= np.abs(fitted_to_few - center) + 1e-12).all()
    assert np.abs(few - center).sum() < 0.8 * np.abs(fitted_to_few - center).sum()
    many, fitted_to_many = shares(4000)
    np.testing.assert_allclose(many, fitted_to_many, atol=2e-3)
    np.testing.assert_allclose(many, [1, 0, -1], atol=0.1)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_frequencies_are_rows_and_repeats_are_averaged(n_classes):
    Z, _, labels, weights = log_odds(n_classes)
    rows = np.repeat(np.arange(N), weights.astype(int))
    by_weight = combine(Z[None], LabeledRows.plain(labels, weights), SHARES)
    by_row = combine(Z[rows][None], LabeledRows.plain(labels[rows], np.ones(len(rows))), SHARES)
    twice = combine(np.stack([Z, Z]), LabeledRows.plain(labels, weights), SHARES)
    for one, other, third in zip(by_weight, by_row, twice, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-8)
        np.testing.assert_allclose(one, third, atol=1e-8)


def test_classes_and_families_may_change_places():
    Z, _, labels, weights = log_odds(3)
    slopes, intercepts = combine(Z[None], LabeledRows.plain(labels, weights), SHARES)
    order, families = np.array([2, 0, 1]), np.array([4, 2, 0, 1, 3])
    moved = Z[:, order][:, :, families][None]
    codes = np.argsort(order)[labels]
    other_slopes, other_intercepts = combine(
        moved, LabeledRows.plain(codes, weights), SHARES[families]
    )
    np.testing.assert_allclose(other_slopes, slopes[families], atol=1e-8)
    np.testing.assert_allclose(other_intercepts, intercepts[order], atol=1e-8)


def test_coefficients_stay_above_zero():
    Z, _, labels, weights = log_odds(skill=(1.5, -2.0, -2.0, -2.0, 0.0))
    slopes, _ = combine(Z[None], LabeledRows.plain(labels, weights), SHARES)
    assert (slopes >= 0).all()
    assert slopes[0] > 0.2


def test_only_slopes_below_one_are_stretched():
    assert slope_on_all_rows(0.5, 5) == pytest.approx(0.6)
    assert slope_on_all_rows(1.2, 5) == 1.2
