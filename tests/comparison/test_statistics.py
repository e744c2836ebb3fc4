import itertools

import numpy as np
import pytest
from scipy.stats import ttest_rel, wilcoxon
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression

from cfe_stack.comparison.statistics import (
    corrected_resampled_ttest,
    correlated_t_posterior,
    five_by_two_test,
    friedman_test,
    holm,
    mcnemar_test,
    mean_ranks,
    nemenyi_difference,
    nemenyi_p_values,
    signed_rank_posterior,
    signed_rank_test,
)


def normal(n, mean=0.0, seed=0):
    return np.random.default_rng(seed).normal(mean, 1, n)


def test_the_corrected_test_is_the_plain_one_without_correction():
    d = normal(10, 0.5)
    found = corrected_resampled_ttest(d, 0.0)
    plain = ttest_rel(d, np.zeros(10))
    interval = plain.confidence_interval()
    assert found.p_value == pytest.approx(plain.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_the_correction_widens_by_the_share_of_held_out_rows():
    d = normal(10, 0.5)
    plain, corrected = (corrected_resampled_ttest(d, share) for share in (0.0, 1 / 9))
    ratio = (corrected.high - corrected.low) / (plain.high - plain.low)
    assert ratio == pytest.approx(np.sqrt((1 / 10 + 1 / 9) * 10))
    assert corrected.p_value > plain.p_value


def test_the_corrected_test_keeps_its_level_where_the_plain_one_does_not():
    """Folds with the correlation of 5-fold cross-validation and no difference."""
    random = np.random.default_rng(0)
    shared, own = random.normal(size=(1000, 1)), random.normal(size=(1000, 15))
    differences = np.sqrt(0.2) * shared + np.sqrt(0.8) * own
    plain, corrected = (
        np.mean([corrected_resampled_ttest(d, share).p_value < 0.05 for d in differences])
        for share in (0.0, 0.25)
    )
    assert plain > 0.2
    assert corrected < 0.07


def test_one_fold_or_no_spread():
    one = corrected_resampled_ttest(np.array([0.3]), 0.25)
    assert np.isnan(one.p_value)
    assert np.isinf(one.high)
    same = corrected_resampled_ttest(np.zeros(5), 0.25)
    assert (same.p_value, same.low, same.high) == (1.0, 0.0, 0.0)
    assert corrected_resampled_ttest(np.ones(5), 0.25).p_value == 0.0
    assert correlated_t_posterior(np.zeros(5), 0.25, 0.1).equal == 1.0
    assert np.isnan(correlated_t_posterior(np.zeros(1), 0.25, 0.1).equal)


def test_bayesian_tests_are_those_of_baycomp():
    baycomp = pytest.importorskip("baycomp")
    d = normal(15, -0.3)
    ours = correlated_t_posterior(d, 0.25, 0.2)
    theirs = baycomp.two_on_single(np.zeros(15), d, rope=0.2, runs=3)
    assert (ours.lower, ours.equal, ours.higher) == pytest.approx(theirs)
    z = normal(12, -0.4)
    ours = signed_rank_posterior(z, 0.2)
    theirs = baycomp.two_on_multiple(np.zeros(12), z, rope=0.2)
    assert (ours.lower, ours.equal, ours.higher) == pytest.approx(theirs, abs=0.02)


def test_a_wide_region_makes_everything_equal_and_sets_may_have_their_own():
    z = normal(12, -2)
    assert signed_rank_posterior(z, 10.0).equal == 1.0
    assert signed_rank_posterior(z, 0.0).lower > 0.95
    ropes = np.where(z < 0, 10.0, 0.0)
    assert signed_rank_posterior(z, ropes).lower < 0.05


@pytest.mark.parametrize("n", [3, 8, 15])
@pytest.mark.parametrize("mean", [0.0, 0.6, 1.5])
def test_the_interval_belongs_to_the_signed_rank_test(n, mean):
    z = normal(n, mean, seed=n)
    found = signed_rank_test(z)
    assert found.p_value == wilcoxon(z).pvalue
    assert (found.p_value <= 0.05) == (not found.low <= 0 <= found.high)
    assert found.low <= found.difference <= found.high


def test_with_five_sets_there_is_no_interval():
    found = signed_rank_test(np.arange(1.0, 6.0))
    assert (found.low, found.high, found.p_value) == (-np.inf, np.inf, 0.0625)
    assert signed_rank_test(np.zeros(8)).p_value == 1.0


def test_holm_by_hand():
    p = np.array([0.04, 0.01, np.nan, 0.03])
    np.testing.assert_allclose(holm(p), [0.06, 0.03, np.nan, 0.06])
    assert holm(np.array([0.9, 0.8])).max() == 1.0


def test_ranks_share_ties():
    losses = np.array([[0.1, 0.5], [0.1, 0.2], [0.3, 0.9]])
    np.testing.assert_allclose(mean_ranks(losses), [1.75, 1.25, 3.0])


def test_nemenyi_is_that_of_scikit_posthocs():
    posthocs = pytest.importorskip("scikit_posthocs")
    losses = np.random.default_rng(0).normal(size=(3, 14)) + 0.4 * np.arange(3)[:, None]
    theirs = posthocs.posthoc_nemenyi_friedman(losses.T).to_numpy()
    np.testing.assert_allclose(nemenyi_p_values(losses), theirs, atol=1e-9)


def test_the_critical_difference_is_where_the_p_value_is_alpha():
    losses = np.random.default_rng(0).normal(size=(4, 10)) + 0.7 * np.arange(4)[:, None]
    ranks, table = mean_ranks(losses), nemenyi_p_values(losses)
    critical = nemenyi_difference(4, 10)
    for i, j in itertools.combinations(range(4), 2):
        assert (table[i, j] <= 0.05) == (abs(ranks[i] - ranks[j]) >= critical)


def test_friedman():
    losses = np.tile(np.arange(4.0)[:, None], (1, 10))
    assert friedman_test(losses + 0.01 * np.random.default_rng(0).normal(size=(4, 10))) < 1e-4
    assert np.isnan(friedman_test(losses[:, :2]))
    assert friedman_test(np.ones((4, 5))) == 1.0


def test_mcnemar_counts_rows_on_which_one_errs():
    pytest.importorskip("mlxtend")
    codes = np.zeros(100, dtype=int)
    first, second = codes.copy(), codes.copy()
    second[:12] = 1
    first[12:14] = 1
    found = mcnemar_test(codes, first, second)
    assert found.difference == pytest.approx(0.1)
    # exact: at most 2 of 14, both sides
    assert found.p_value == pytest.approx(2 * (1 + 14 + 91) / 2**14)
    assert mcnemar_test(codes, first, first).p_value == 1.0


def test_five_by_two_halvings():
    pytest.importorskip("mlxtend")
    X = np.random.default_rng(0).normal(size=(300, 2))
    y = (X[:, 0] > 0).astype(int)

    def score(model, X, y):
        return model.score(X, y)

    different = five_by_two_test(DummyClassifier(), LogisticRegression(), X, y, score, 0)
    assert different.p_value < 0.05
