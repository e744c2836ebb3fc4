"""Metrics that choose the penalties of pools: the log-loss, or any scorer of scikit-learn."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.metrics import get_scorer, get_scorer_names

from cfe_stack.metrics import GivenPredictions

Scorer = Callable[..., float]


def make_scorer(scoring: Any) -> Scorer | None:
    """Return the scorer for `scoring`, or None for the log-loss.

    Parameters
    ----------
    scoring : None, str or callable
        A name of :func:`sklearn.metrics.get_scorer_names`, or ``scorer(estimator, X, y)``. If
        `fit` receives sample weights, the callable must accept `sample_weight`.

    Raises
    ------
    ValueError
        If it is none of these.
    """
    if scoring is None or callable(scoring):
        return scoring
    if isinstance(scoring, str) and scoring in get_scorer_names():
        return get_scorer(scoring)
    raise ValueError(
        "scoring must be None (log-loss), a name of sklearn.metrics.get_scorer_names() or a "
        f"callable(estimator, X, y), got {scoring!r}."
    )


def mean_score(
    scorer: Scorer, scores: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> float:
    """Return the scorer's value for raw scores, averaged over repeats; greater is better.

    Classes without rows are dropped together with their scores, since scikit-learn's scorers reject
    them.

    Parameters
    ----------
    scorer : callable
    scores : ndarray of shape (n_repeats, n) or (n_repeats, n, n_classes)
    labels : ndarray of shape (n,)
        Class codes, which the scorer receives as y.
    weights : ndarray of shape (n,)

    Raises
    ------
    ValueError
        If the scorer fails on these classes or weights, or returns a value that is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.pools.scoring import make_scorer, mean_score
    >>> scores, labels = np.array([[-1.0, 2.0, 1.0]]), np.array([0, 1, 0])
    >>> mean_score(make_scorer("roc_auc"), scores, labels, np.ones(3))
    1.0
    """
    present, codes = np.unique(labels, return_inverse=True)
    if scores.ndim == 3 and len(present) < scores.shape[2]:
        scores, labels = scores[:, :, present], codes
        if len(present) == 2:
            scores = scores[:, :, 1] - scores[:, :, 0]
    estimator = GivenPredictions(2 if scores.ndim == 2 else scores.shape[2], raw=True)
    options = {} if np.ptp(weights) == 0 else {"sample_weight": weights}
    try:
        value = float(np.mean([scorer(estimator, one, labels, **options) for one in scores]))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"scoring fails on predictions of {len(present)} classes"
            f"{' with sample weights' if options else ''}: {error}"
        ) from error
    if not np.isfinite(value):
        raise ValueError(f"scoring must return finite numbers, got {value!r} from {scorer!r}.")
    return value
