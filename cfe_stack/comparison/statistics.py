"""Tests for scores of contenders: on one data set's folds, across data sets, and row by row.

Scores of cross-validation folds are not independent, because their training parts overlap; the
tests on one data set allow for it. Across data sets, one number per set goes in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import friedmanchisquare, rankdata, studentized_range, t, wilcoxon

from cfe_stack.runtime.optional_packages import import_extra

ZERO_STRENGTH = 0.5
"""Strength of the prior of the Bayesian signed-rank test, put on no difference."""
N_DRAWS = 20_000
MIN_DISCORDANT_ROWS = 25
"""Below this, McNemar's test is exact."""


@dataclass(frozen=True)
class PairedTest:
    """A difference between two contenders with its interval and p-value.

    Parameters
    ----------
    test : str
    difference : float
        First minus second; NaN where the test does not estimate one.
    low, high : float
        Confidence interval, infinite where there are too few values for one.
    p_value : float
        Two-sided.
    """

    test: str
    difference: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Posterior:
    """Probabilities that the first is lower, practically equal, or higher by more than the region.

    Parameters
    ----------
    lower, equal, higher : float
        They sum to 1.
    rope : float
        Half the width of the region of practical equivalence.
    """

    lower: float
    equal: float
    higher: float
    rope: float


def corrected_resampled_ttest(
    differences: np.ndarray, test_share: float, alpha: float = 0.05
) -> PairedTest:
    r"""Test whether the mean difference over cross-validation folds is 0.

    Parameters
    ----------
    differences : ndarray of shape (n_folds,)
        Score of the first contender minus that of the second, on the same folds.
    test_share : float
        Held-out rows of a fold divided by its training rows.
    alpha : float, default=0.05
        The interval has level 1 − alpha.

    Returns
    -------
    PairedTest

    Notes
    -----
    :math:`t = \bar d / \sqrt{(1/J + n_2/n_1) s^2}` with :math:`J - 1` degrees of freedom; the plain
    t-test has :math:`1/J` alone and finds differences far too often.

    References
    ----------
    .. [1] C. Nadeau, Y. Bengio, "Inference for the Generalization Error", Machine Learning 2003,
       section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.comparison.statistics import corrected_resampled_ttest
    >>> test = corrected_resampled_ttest(np.array([-0.02, -0.01, -0.03, -0.02, -0.02]), 0.25)
    >>> round(test.difference, 3), round(test.p_value, 3)
    (-0.02, 0.014)
    """
    name = "corrected resampled t-test"
    mean, scale, freedom = _correlated_t(differences, test_share)
    if freedom < 1:
        return PairedTest(name, mean, -np.inf, np.inf, np.nan)
    if scale == 0:
        return PairedTest(name, mean, mean, mean, 1.0 if mean == 0 else 0.0)
    half = t.ppf(1 - alpha / 2, freedom) * scale
    p_value = 2 * t.sf(abs(mean) / scale, freedom)
    return PairedTest(name, mean, mean - half, mean + half, float(p_value))


def correlated_t_posterior(differences: np.ndarray, test_share: float, rope: float) -> Posterior:
    """Return the Bayesian counterpart: how probable a practically relevant difference is.

    Parameters
    ----------
    differences : ndarray of shape (n_folds,)
        Score of the first contender minus that of the second, on the same folds.
    test_share : float
        Held-out rows of a fold divided by its training rows.
    rope : float
        Differences within ±rope count as none.

    Notes
    -----
    The posterior of the mean difference is Student's t around the observed mean with the scale of
    the corrected t-test, where the correlation of two folds is the share of held-out rows.

    References
    ----------
    .. [1] G. Corani, A. Benavoli, "A Bayesian approach for comparing cross-validated algorithms on
       multiple data sets", Machine Learning 2015, section 3.
    """
    mean, scale, freedom = _correlated_t(differences, test_share)
    if freedom < 1:
        return Posterior(np.nan, np.nan, np.nan, rope)
    if scale == 0:
        lower, higher = float(mean < -rope), float(mean > rope)
    else:
        lower = float(t.cdf((-rope - mean) / scale, freedom))
        higher = float(t.sf((rope - mean) / scale, freedom))
    return Posterior(lower, 1 - lower - higher, higher, rope)


def _correlated_t(differences: np.ndarray, test_share: float) -> tuple[float, float, int]:
    """Return location, scale and degrees of freedom of the mean of correlated differences."""
    n = len(differences)
    variance = differences.var(ddof=1) if n > 1 else 0.0
    return float(differences.mean()), float(np.sqrt((1 / n + test_share) * variance)), n - 1


def signed_rank_test(differences: np.ndarray, alpha: float = 0.05) -> PairedTest:
    """Test whether differences over data sets are symmetric about 0 (Wilcoxon).

    Parameters
    ----------
    differences : ndarray of shape (n_sets,)
        One difference per data set.
    alpha : float, default=0.05
        The interval has at least level 1 − alpha.

    Returns
    -------
    PairedTest
        The estimate is the median of the pairwise means (Hodges-Lehmann), the interval the one that
        belongs to the test; it is infinite where no number of wins could be significant.

    References
    ----------
    .. [1] M. Hollander, D. Wolfe, "Nonparametric Statistical Methods", 1999, sections 3.1-3.3.
    """
    name = "Wilcoxon signed-rank test"
    n = len(differences)
    first, second = np.triu_indices(n)
    walsh = np.sort((differences[first] + differences[second]) / 2)
    left_out = int(np.searchsorted(np.cumsum(_signed_rank_distribution(n)), alpha / 2, "right"))
    low, high = (walsh[left_out - 1], walsh[-left_out]) if left_out else (-np.inf, np.inf)
    p_value = wilcoxon(differences).pvalue if np.any(differences != 0) else 1.0
    return PairedTest(name, float(np.median(walsh)), float(low), float(high), float(p_value))


def _signed_rank_distribution(n: int) -> np.ndarray:
    """Return the probabilities of the signed-rank statistic 0 … n (n + 1) / 2 by chance alone."""
    probabilities = np.ones(1)
    for rank in range(1, n + 1):
        longer = np.zeros(len(probabilities) + rank)
        longer[: len(probabilities)] += probabilities / 2
        longer[rank:] += probabilities / 2
        probabilities = longer
    return probabilities


def signed_rank_posterior(
    differences: np.ndarray, rope: float | np.ndarray, random_state: int = 0
) -> Posterior:
    """Return how probable it is that differences over data sets are practically relevant.

    Parameters
    ----------
    differences : ndarray of shape (n_sets,)
        One difference per data set.
    rope : float or ndarray of shape (n_sets,)
        Differences within ±rope count as none, of every set or of each.
    random_state : int, default=0

    Notes
    -----
    Weights of the sets are drawn from a Dirichlet distribution with one pseudo-set of strength 0.5
    at no difference; a draw belongs to the region in which most of the weighted pairwise means lie.

    References
    ----------
    .. [1] A. Benavoli, G. Corani, F. Mangili, M. Zaffalon, F. Ruggeri, "A Bayesian Wilcoxon
       signed-rank test based on the Dirichlet process", ICML 2014.
    """
    ropes = np.concatenate([[np.mean(rope)], np.broadcast_to(rope, len(differences))])
    values = np.concatenate([[0.0], differences])
    pairs, wide = values[:, None] + values, ropes[:, None] + ropes
    strength = np.concatenate([[ZERO_STRENGTH], np.ones(len(differences))])
    draws = np.random.default_rng(random_state).dirichlet(strength, N_DRAWS)
    masses = [
        ((draws @ region.astype(float)) * draws).sum(axis=1)
        for region in (pairs < -wide, np.abs(pairs) <= wide, pairs > wide)
    ]
    lower, equal, higher = np.bincount(np.argmax(masses, axis=0), minlength=3) / N_DRAWS
    return Posterior(float(lower), float(equal), float(higher), float(np.mean(rope)))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return p-values adjusted for their number; NaN counts for nothing.

    References
    ----------
    .. [1] S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal
       of Statistics 1979.
    """
    adjusted = np.full(len(p_values), np.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    steps = np.arange(len(order), 0, -1) * p_values[order]
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def mean_ranks(losses: np.ndarray) -> np.ndarray:
    """Return the mean rank (n_contenders,) over sets, 1 for the lowest loss; ties share.

    Parameters
    ----------
    losses : ndarray of shape (n_contenders, n_sets)
    """
    return rankdata(losses, axis=0).mean(axis=1)


def friedman_test(losses: np.ndarray) -> float:
    """Return the p-value of "all contenders rank alike" over data sets; NaN below 3 of either.

    Parameters
    ----------
    losses : ndarray of shape (n_contenders, n_sets)
    """
    if min(losses.shape) < 3:
        return float("nan")
    if (losses == losses[0]).all():
        return 1.0
    return float(friedmanchisquare(*losses).pvalue)


def nemenyi_difference(n_contenders: int, n_sets: int, alpha: float = 0.05) -> float:
    """Return the critical difference: mean ranks closer than this are not significantly different.

    Parameters
    ----------
    n_contenders, n_sets : int
    alpha : float, default=0.05
        For all pairs together.

    References
    ----------
    .. [1] J. Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 2006,
       section 3.2.2.

    Examples
    --------
    >>> from cfe_stack.comparison.statistics import nemenyi_difference
    >>> round(nemenyi_difference(4, 14), 2)  # the paper's example has 1.25 for alpha = 0.05
    1.25
    """
    return float(studentized_range.ppf(1 - alpha, n_contenders, np.inf)) * _rank_scale(
        n_contenders, n_sets
    )


def nemenyi_p_values(losses: np.ndarray) -> np.ndarray:
    """Return p-values (n_contenders, n_contenders) of all pairs, adjusted for their number.

    Parameters
    ----------
    losses : ndarray of shape (n_contenders, n_sets)
    """
    ranks = mean_ranks(losses)
    first, second = np.triu_indices(len(ranks), 1)
    apart = np.abs(ranks[first] - ranks[second]) / _rank_scale(*losses.shape)
    table = np.ones((len(ranks), len(ranks)))
    table[first, second] = studentized_range.sf(apart, len(ranks), np.inf)
    return np.minimum(table, table.T)


def _rank_scale(n_contenders: int, n_sets: int) -> float:
    return float(np.sqrt(n_contenders * (n_contenders + 1) / (12 * n_sets)))


def mcnemar_test(codes: np.ndarray, first: np.ndarray, second: np.ndarray) -> PairedTest:
    """Test whether two contenders err on equally many of the same rows, by mlxtend.

    Parameters
    ----------
    codes, first, second : ndarray of shape (n,)
        Classes, and the predicted classes of both.

    Returns
    -------
    PairedTest
        The difference is that of the accuracies; there is no interval.

    Raises
    ------
    MissingExtraError
        If mlxtend is not installed.

    References
    ----------
    .. [1] T. Dietterich, "Approximate Statistical Tests for Comparing Supervised Classification
       Learning Algorithms", Neural Computation 1998, section 3.1.
    """
    evaluate = import_extra("mlxtend.evaluate", extra="mlxtend")
    counts = evaluate.mcnemar_table(codes, first, second)
    discordant = counts[0, 1] + counts[1, 0]
    difference = float(np.mean(first == codes) - np.mean(second == codes))
    if discordant == 0:
        return PairedTest("McNemar's test", difference, np.nan, np.nan, 1.0)
    p_value = evaluate.mcnemar(counts, exact=discordant < MIN_DISCORDANT_ROWS)[1]
    return PairedTest("McNemar's test", difference, np.nan, np.nan, float(p_value))


def five_by_two_test(
    first: Any,
    second: Any,
    X: np.ndarray,
    y: np.ndarray,
    scorer: Callable[[Any, np.ndarray, np.ndarray], float],
    random_state: int | None = None,
) -> PairedTest:
    """Test two classifiers by five random halvings (5×2cv paired t-test), by mlxtend.

    Parameters
    ----------
    first, second : classifier
    X : ndarray of shape (n, n_features)
    y : ndarray of shape (n,)
    scorer : callable
        ``scorer(estimator, X, y)``.
    random_state : int, default=None

    Returns
    -------
    PairedTest
        The test looks at the first halving's difference only, so none is given.

    Raises
    ------
    MissingExtraError
        If mlxtend is not installed.
    """
    evaluate = import_extra("mlxtend.evaluate", extra="mlxtend")
    _, p_value = evaluate.paired_ttest_5x2cv(
        first, second, X, y, scoring=scorer, random_seed=random_state
    )
    return PairedTest("5×2cv paired t-test", np.nan, np.nan, np.nan, float(p_value))
