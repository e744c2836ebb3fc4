"""Intervals of scores and of their differences, by drawing the scored rows again."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.utils import check_random_state

from cfe_stack.metrics import Metric


@dataclass(frozen=True)
class BootstrapScore:
    """The score of one contender with its uncertainty over rows.

    Parameters
    ----------
    contender : str
    score, low, high : float
        On all rows, and the limits of the interval.
    reference_better : float
        Share of the draws in which the reference has a better score; NaN for the reference itself.
    """

    contender: str
    score: float
    low: float
    high: float
    reference_better: float


def bootstrap_scores(
    codes: np.ndarray,
    proba: Mapping[str, np.ndarray],
    metric: Metric,
    reference: str,
    *,
    n_draws: int = 500,
    level: float = 0.95,
    random_state: int | np.random.RandomState | None = None,
) -> list[BootstrapScore]:
    """Score contenders on the same rows, and on the same draws of these rows.

    Parameters
    ----------
    codes : ndarray of shape (n,)
        Class codes.
    proba : mapping of str to ndarray of shape (n, n_classes)
    metric : Metric
    reference : str
        Key of `proba` that the others are compared with.
    n_draws : int, default=500
    level : float, default=0.95
        Level of the percentile intervals.
    random_state : int, RandomState or None, default=None

    Returns
    -------
    list of BootstrapScore
        Best first.

    Notes
    -----
    Rows are drawn with replacement class by class, so that ranking metrics are defined in every
    draw. The predictions stay as they are: the intervals leave out what another training set would
    have changed, and are too narrow by that.

    References
    ----------
    .. [1] B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.blending.bootstrap import bootstrap_scores
    >>> from cfe_stack.metrics import resolve_metric
    >>> codes = np.tile([0, 1], 50)
    >>> good = np.where(codes[:, None] == [0, 1], 0.9, 0.1)
    >>> proba = {"good": good, "flat": np.full((100, 2), 0.5)}
    >>> [s.contender for s in bootstrap_scores(codes, proba, resolve_metric("log_loss"), "good")]
    ['good', 'flat']
    """
    random = check_random_state(random_state)
    of_class = [np.flatnonzero(codes == k) for k in np.unique(codes)]
    names = list(proba)
    draws = np.empty((n_draws, len(names)))
    for draw in range(n_draws):
        rows = np.concatenate([random.choice(part, len(part)) for part in of_class])
        draws[draw] = [metric.score(codes[rows], proba[name][rows], None) for name in names]
    losses = metric.losses(draws)
    ours = losses[:, names.index(reference)]
    tails = [50 * (1 - level), 50 * (1 + level)]
    scores = []
    for j, name in enumerate(names):
        low, high = np.percentile(draws[:, j], tails)
        behind = float((ours < losses[:, j]).mean()) if name != reference else float("nan")
        score = metric.score(codes, proba[name], None)
        scores.append(BootstrapScore(name, float(score), float(low), float(high), behind))
    return sorted(scores, key=lambda s: float(metric.losses(np.array(s.score))))
