"""Differences of contenders from a reference, tested, and what may be said about them in words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cfe_stack.comparison.statistics import (
    PairedTest,
    Posterior,
    corrected_resampled_ttest,
    correlated_t_posterior,
    holm,
    signed_rank_posterior,
    signed_rank_test,
)
from cfe_stack.metrics import Metric

MIN_SURE = 0.95
"""Posterior probability from which on contenders are called practically equal."""
MIN_DATA_SETS = 6
"""Below this many data sets, a two-sided signed-rank test cannot reach 0.05."""


@dataclass(frozen=True)
class Difference:
    """How a contender differs from the reference.

    Parameters
    ----------
    contender, reference : str
    paired : PairedTest
        Score of the contender minus that of the reference, in units of the metric.
    p_adjusted : float
        Holm's adjustment for the number of contenders that were compared.
    wins, losses, ties : int
        Data sets (folds, if there is one set) on which the reference is better, worse, equal.
    posterior : Posterior
        Probability that the contender's loss is lower (it is better), practically equal, higher.
    """

    contender: str
    reference: str
    paired: PairedTest
    p_adjusted: float
    wins: int
    losses: int
    ties: int
    posterior: Posterior


@dataclass(frozen=True, eq=False)
class Values:
    """Scores that are compared: one column per data set, or per fold of a single one.

    Parameters
    ----------
    metric : Metric
    names : tuple of str
        Contenders without a missing score.
    scores : ndarray of shape (n_names, n_values)
    single : bool
        Whether columns are folds of one data set.
    test_share : float
        Held-out rows of a fold divided by its training rows, on average.
    """

    metric: Metric
    names: tuple[str, ...]
    scores: np.ndarray
    single: bool
    test_share: float

    @property
    def losses(self) -> np.ndarray:
        """Scores turned so that lower is better."""
        return self.metric.losses(self.scores)


def differences_from(
    values: Values, reference: str, rope: float | None = None, alpha: float = 0.05
) -> list[Difference]:
    """Return the difference of every other contender from the reference.

    Parameters
    ----------
    values : Values
    reference : str
    rope : float, default=None
        Half the region of practical equivalence, in units of the metric; None takes 1 % of the
        reference's score.
    alpha : float, default=0.05
        Intervals have level 1 − alpha.
    """
    r = values.names.index(reference)
    others = [k for k in range(len(values.names)) if k != r]
    tests, posteriors = [], []
    for k in others:
        raw = values.scores[k] - values.scores[r]
        worse_by = values.losses[k] - values.losses[r]
        if values.single:
            width = 0.01 * abs(values.scores[r].mean()) if rope is None else rope
            tests.append(corrected_resampled_ttest(raw, values.test_share, alpha))
            posteriors.append(correlated_t_posterior(worse_by, values.test_share, float(width)))
        else:
            widths = 0.01 * np.abs(values.scores[r]) if rope is None else rope
            tests.append(signed_rank_test(raw, alpha))
            posteriors.append(signed_rank_posterior(worse_by, widths))
    adjusted = holm(np.array([test.p_value for test in tests]))
    found = []
    for k, test, p, posterior in zip(others, tests, adjusted, posteriors, strict=True):
        wins, losses, ties = (
            int(np.sum(compare(values.losses[r], values.losses[k])))
            for compare in (np.less, np.greater, np.equal)
        )
        found.append(
            Difference(values.names[k], reference, test, float(p), wins, losses, ties, posterior)
        )
    return found


def verdict(
    values: Values,
    reference: str,
    differences: Sequence[Difference],
    ranks: dict[str, float],
    alpha: float = 0.05,
) -> str:
    """Say in words what the tests allow to say, and what they do not.

    Parameters
    ----------
    values : Values
    reference : str
    differences : sequence of Difference
    ranks : dict of str to float
        Mean rank of every contender, best first.
    alpha : float, default=0.05
    """
    n = values.scores.shape[1]
    where = f"the {n} folds of one data set" if values.single else f"{n} data sets"
    best = next(iter(ranks))
    lines = [
        f"By {values.metric.name} on {where}, {best} has the best mean rank "
        f"({ranks[best]:.2f} of {len(ranks)})"
        + (
            f"; {reference}, the reference, has {ranks[reference]:.2f}."
            if best != reference
            else "."
        )
    ]
    better = [d for d in differences if d.p_adjusted <= alpha and _behind(values, d)]
    worse = [d for d in differences if d.p_adjusted <= alpha and not _behind(values, d)]
    equal = [d for d in differences if d not in better + worse and d.posterior.equal >= MIN_SURE]
    open_ = [d for d in differences if d not in better + worse + equal]
    if better:
        lines.append(f"{reference} is better than {_names(better)} (p ≤ {alpha:g} after Holm).")
    if worse:
        lines.append(f"{reference} is worse than {_names(worse)} (p ≤ {alpha:g} after Holm).")
    if equal:
        lines.append(
            f"Practically equal to {reference}, with probability {MIN_SURE:g} or more: "
            f"{_names(equal)}."
        )
    if open_:
        lines.append(
            f"Not settled against {_names(open_)}: these data do not tell them apart, which does "
            "not show that they are equal."
        )
    lines.append(_limits(values, alpha))
    return "\n".join(lines)


def _behind(values: Values, difference: Difference) -> bool:
    """Say whether the contender is worse than the reference."""
    return bool(values.metric.losses(np.array(difference.paired.difference)) > 0)


def _names(differences: Sequence[Difference]) -> str:
    names = [d.contender for d in differences]
    return "; ".join(names)  # names may hold commas


def _limits(values: Values, alpha: float) -> str:
    """Return what a reader must not conclude."""
    if values.single:
        return (
            "One data set: this holds for data like these and says nothing about others. Folds "
            "share training rows; the corrected test allows for it only approximately."
        )
    if values.scores.shape[1] < MIN_DATA_SETS:
        return (
            f"With {values.scores.shape[1]} data sets no difference can be significant at "
            f"{alpha:g}, however clear."
        )
    return (
        "Data sets count alike and stand for data sets like them; the contender of best rank among "
        "many looks better than it will be elsewhere."
    )


def legend(values: Values, reference: str) -> str:
    """Return what the columns of the table of differences mean."""
    if values.single:
        what, of = "mean difference over folds, corrected resampled t-test", "folds"
    else:
        what, of = "median of the pairwise means of differences, signed-rank test", "data sets"
    return (
        f"difference, low, high: score minus that of {reference} with a 95 % interval ({what}); "
        f"w–l: {of} on which {reference} is better and worse; Holm: p adjusted for the number of "
        "contenders."
    )
