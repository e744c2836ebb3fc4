"""When an aggregator has collapsed: it says the same of everyone, or the opposite of everyone."""

import numpy as np
from scipy.stats import rankdata

CONSTANT_PREDICTIONS = 1e-3
"""Predictions that span less than this do not tell instances apart."""
LOST_AREA = 0.1
"""ROC-AUC that no healthy aggregator loses against the plain average of what it is trained on."""


def collapse_symptom(
    proba: np.ndarray, average: np.ndarray, labels: np.ndarray, *, trained_here: bool = True
) -> str | None:
    """Say how an aggregator has collapsed, or return None if it has not.

    Parameters
    ----------
    proba : ndarray of shape (n, n_classes)
        Its label-free probabilities of labelled instances.
    average : ndarray of shape (n, n_classes)
        The plain average of the classifiers.
    labels : ndarray of shape (n,)
        Class codes.
    trained_here : bool, default=True
        Whether factors and aggregator were trained together on these very predictions.

    Returns
    -------
    str or None

    Notes
    -----
    Weights do not tell: with negative weights only, or with both signs, the ranking may be right or
    turned over. It is turned over where ranks correlate negatively with those of the plain average,
    unless the labels side with the aggregator, as they do where the classifiers are wrong. It is
    lost without being turned over where it is far worse than that of the plain average on the
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
    if spread < CONSTANT_PREDICTIONS:
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
    if trained_here and area_of_average - area > LOST_AREA:
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
