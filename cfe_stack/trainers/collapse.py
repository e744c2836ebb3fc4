"""Detection of a collapsed aggregator: constant predictions, or a reversed ranking."""

import numpy as np
from scipy.stats import rankdata

MAX_CONSTANT_SPREAD = 1e-3
"""Maximum range of predictions that count as constant."""
MAX_LOST_AUC = 0.1
"""Maximum loss of ROC-AUC against the plain average on the aggregator's own training data."""


def collapse_symptom(
    proba: np.ndarray, average: np.ndarray, labels: np.ndarray, *, trained_here: bool = True
) -> str | None:
    """Describe how an aggregator has collapsed, or return None if it has not.

    Parameters
    ----------
    proba : ndarray of shape (n, n_classes)
        Label-free probabilities of labeled instances.
    average : ndarray of shape (n, n_classes)
        The plain average of the classifiers.
    labels : ndarray of shape (n,)
        Class codes.
    trained_here : bool, default=True
        Whether factors and aggregator were trained together on these predictions.

    Returns
    -------
    str or None

    Notes
    -----
    The signs of the weights are not conclusive: with negative or mixed signs, the ranking may be
    right or reversed. It counts as reversed if its ranks correlate negatively with those of the
    plain average and the labels do not support it. (The labels support it if the classifiers are
    wrong.) It counts as lost if it is far worse than the ranking of the plain average on the
    aggregator's own training data.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.trainers.collapse import collapse_symptom
    >>> average = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    >>> labels = np.array([0, 0, 1])
    >>> collapse_symptom(average, average, labels) is None
    True
    >>> print(collapse_symptom(average[:, ::-1], average, labels))
    it ranks the instances against the plain average (rank correlation -1.00), and worse by \
their labels (ROC-AUC 0.00 instead of 1.00)
    """
    if len(proba) < 2:
        return None
    spread = float(np.ptp(proba, axis=0).max())
    if spread < MAX_CONSTANT_SPREAD:
        return f"its predictions are constant (they span {spread:.2g})"
    ranks, of_average = rankdata(proba, axis=0), rankdata(average, axis=0)
    correlation = _correlation(ranks, of_average)
    area, area_of_average = _area(ranks, labels), _area(of_average, labels)
    areas = f"(ROC-AUC {area:.2f} instead of {area_of_average:.2f})"
    if correlation < 0 and not area > area_of_average:
        against = (
            f"it ranks the instances against the plain average (rank correlation {correlation:.2f})"
        )
        return against if np.isnan(area) else f"{against}, and worse by their labels {areas}"
    if trained_here and area_of_average - area > MAX_LOST_AUC:
        return f"it ranks its own training data far worse than the plain average {areas}"
    return None


def plain_average(R: np.ndarray) -> np.ndarray:
    """Return the mean probabilities (n, n_classes) of observed cells, one per instance at least.

    Parameters
    ----------
    R : ndarray of shape (n_classifiers, n) or (n_classifiers, n, n_classes)
    """
    average = np.nanmean(R, axis=0)
    return average if average.ndim == 2 else np.column_stack([1 - average, average])


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return the correlation of ranks (n, n_classes), the classes together; 0 without spread."""
    first, second = first - first.mean(axis=0), second - second.mean(axis=0)
    size = float(np.sqrt(np.square(first).sum() * np.square(second).sum()))
    return float((first * second).sum()) / size if size > 0 else 0.0


def _area(ranks: np.ndarray, labels: np.ndarray) -> float:
    """Return the ROC-AUC of ranks (n, n_classes), averaged over the classes; NaN for one class."""
    areas = []
    for k in range(ranks.shape[1]):
        own = labels == k
        positives, negatives = int(own.sum()), int((~own).sum())
        if positives and negatives:
            above = ranks[own, k].sum() - positives * (positives + 1) / 2
            areas.append(above / (positives * negatives))
    return float(np.mean(areas)) if areas else float("nan")
