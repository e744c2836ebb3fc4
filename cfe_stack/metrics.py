"""What probabilities are scored by: proper scores, ranking, calibration, scikit-learn's scorers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import average_precision_score, get_scorer, get_scorer_names, roc_auc_score
from sklearn.utils.metaestimators import available_if

from cfe_stack.losses.raw_scores import probabilities

MIN_PROBABILITY = 1e-4
"""The log-loss raises probabilities to this first: one row costs at most 9.2."""
N_CALIBRATION_BINS = 10

Score = Callable[[np.ndarray, np.ndarray, np.ndarray | None], float]


@dataclass(frozen=True)
class Metric:
    """One way to score probabilities.

    Parameters
    ----------
    name : str
    score : callable
        ``score(codes, proba, weights)`` with class codes (n,), probabilities (n, n_classes) and
        sample weights (n,) or None; NaN where it is not defined.
    greater_is_better : bool, default=False
    """

    name: str
    score: Score
    greater_is_better: bool = False

    def losses(self, values: np.ndarray) -> np.ndarray:
        """Return values turned so that lower is better."""
        return -values if self.greater_is_better else values


def log_loss(codes: np.ndarray, proba: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the mean of −log p of the class that came true.

    Parameters
    ----------
    codes : ndarray of shape (n,)
    proba : ndarray of shape (n, n_classes)
    weights : ndarray of shape (n,), default=None

    Notes
    -----
    Probabilities are clipped to [1e-4, 1 − 1e-4] and rescaled first, so that a contender that says
    0 or 1 is not judged by a single row; ``"neg_log_loss"`` is scikit-learn's, which clips at the
    rounding error.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.metrics import log_loss
    >>> round(log_loss(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]])), 4)
    0.1643
    """
    clipped = np.clip(proba, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    clipped /= clipped.sum(axis=1, keepdims=True)
    return float(np.average(-np.log(clipped[np.arange(len(codes)), codes]), weights=weights))


def brier(codes: np.ndarray, proba: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the mean squared error of P(class 1), or summed over more classes."""
    if proba.shape[1] == 2:
        return float(np.average((proba[:, 1] - codes) ** 2, weights=weights))
    errors = ((proba - np.eye(proba.shape[1])[codes]) ** 2).sum(axis=1)
    return float(np.average(errors, weights=weights))


def accuracy(codes: np.ndarray, proba: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the share of rows whose most probable class came true."""
    return float(np.average(proba.argmax(axis=1) == codes, weights=weights))


def expected_calibration_error(
    codes: np.ndarray, proba: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Return the mean gap between the probability of the predicted class and its frequency.

    Parameters
    ----------
    codes : ndarray of shape (n,)
    proba : ndarray of shape (n, n_classes)
    weights : ndarray of shape (n,), default=None

    Notes
    -----
    Ten bins of equal width over the probability of the predicted class. Small samples raise it: it
    is not 0 for a calibrated prediction.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun, K. Weinberger, "On Calibration of Modern Neural Networks",
       ICML 2017, equation 3.
    """
    return gap_over_bins(proba.max(axis=1), proba.argmax(axis=1) == codes, weights)


def gap_over_bins(p: np.ndarray, happened: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the mean gap between probabilities and frequencies over ten bins of equal width.

    Parameters
    ----------
    p : ndarray of shape (n,)
    happened : ndarray of shape (n,)
    weights : ndarray of shape (n,), default=None
    """
    bins = np.minimum((p * N_CALIBRATION_BINS).astype(int), N_CALIBRATION_BINS - 1)
    mass = np.ones(len(p)) if weights is None else weights
    return float(np.abs(np.bincount(bins, mass * (p - happened))).sum() / mass.sum())


def roc_auc(codes: np.ndarray, proba: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the area under the ROC curve, for more classes the mean of each against the rest."""
    return _over_classes(roc_auc_score, codes, proba, weights)


def pr_auc(codes: np.ndarray, proba: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the average precision, for more classes the mean of each against the rest."""
    return _over_classes(average_precision_score, codes, proba, weights)


def _over_classes(
    score: Callable[..., float], codes: np.ndarray, proba: np.ndarray, weights: np.ndarray | None
) -> float:
    present = np.unique(codes)
    if len(present) < 2 or (proba.shape[1] > 2 and len(present) < proba.shape[1]):
        return float("nan")
    classes = [1] if proba.shape[1] == 2 else present
    each = [score(codes == k, proba[:, k], sample_weight=weights) for k in classes]
    return float(np.mean(each))


METRICS: dict[str, Metric] = {
    "log_loss": Metric("log_loss", log_loss),
    "brier": Metric("brier", brier),
    "ece": Metric("ece", expected_calibration_error),
    "roc_auc": Metric("roc_auc", roc_auc, True),
    "pr_auc": Metric("pr_auc", pr_auc, True),
    "accuracy": Metric("accuracy", accuracy, True),
}


class GivenPredictions(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose input is its own output, so that scikit-learn's scorers can ask it.

    Parameters
    ----------
    n_classes : int, default=2
    raw : bool, default=False
        Whether the input holds raw scores, as of a `decision_function`, instead of probabilities.
    """

    def __init__(self, n_classes: int = 2, raw: bool = False) -> None:
        self.n_classes = n_classes
        self.raw = raw

    @property
    def classes_(self) -> np.ndarray:
        """Class codes."""
        return np.arange(self.n_classes)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @available_if(lambda self: self.raw)
    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Return `X`."""
        return X

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return `X`, or the probabilities of raw scores."""
        return probabilities(X) if self.raw else X

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the most probable class of every row."""
        return self.predict_proba(X).argmax(axis=1)


def resolve_metric(metric: Any) -> Metric:
    """Return the metric that a name, a scorer or a metric stands for.

    Parameters
    ----------
    metric : str, Metric or callable
        A key of `METRICS`, the name of a scikit-learn scorer, a scorer ``(estimator, X, y)``, or a
        metric.

    Raises
    ------
    ValueError
        If the name is unknown; the message lists those of `METRICS`.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.metrics import resolve_metric
    >>> codes, proba = np.array([0, 1]), np.array([[0.9, 0.1], [0.6, 0.4]])
    >>> resolve_metric("balanced_accuracy").score(codes, proba, None)
    0.5
    """
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, str) and metric in METRICS:
        return METRICS[metric]
    if isinstance(metric, str):
        if metric not in get_scorer_names():
            raise ValueError(
                f"metric {metric!r} is unknown; it must be one of {sorted(METRICS)}, a name of "
                "sklearn.metrics.get_scorer_names(), or a scorer (estimator, X, y)."
            )
        return _from_scorer(metric, get_scorer(metric))
    if callable(metric):
        inner = getattr(metric, "_score_func", metric)
        return _from_scorer(getattr(inner, "__name__", type(metric).__name__), metric)
    raise ValueError(f"metric must be a name, a Metric or a scorer, got {metric!r}.")


def resolve_metrics(metrics: Any) -> tuple[Metric, ...]:
    """Return one or several metrics, the first of which decides.

    Raises
    ------
    ValueError
        If there is none, one is unknown, or two have one name.
    """
    single = isinstance(metrics, str | Metric) or not isinstance(metrics, Iterable)
    found = tuple(resolve_metric(m) for m in ([metrics] if single else metrics))
    names = [m.name for m in found]
    if not found or len(set(names)) != len(names):
        raise ValueError(f"metrics must hold at least one metric and none twice, got {names}.")
    return found


def _from_scorer(name: str, scorer: Callable[..., float]) -> Metric:
    def score(codes: np.ndarray, proba: np.ndarray, weights: np.ndarray | None) -> float:
        given = GivenPredictions(proba.shape[1])
        extra = {} if weights is None else {"sample_weight": weights}
        return float(scorer(given, proba, codes, **extra))

    return Metric(name, score, True)
