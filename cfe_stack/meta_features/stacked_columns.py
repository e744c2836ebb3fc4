"""Columns that a stack hands to its final estimator, made from an ensemble matrix."""

import numpy as np

from cfe_stack.data.ensemble_data import EnsembleData


def cells(data: EnsembleData) -> np.ndarray:
    """Return probabilities (n, n_classifiers, n_classes), NaN where missing or of confidence 0."""
    R = np.asarray(data.R, dtype=np.float64)
    P = np.stack([1 - R, R], axis=2) if R.ndim == 2 else R / R.sum(axis=2, keepdims=True)
    hidden = np.isnan(P).any(axis=2)
    if data.C is not None:
        hidden |= np.asarray(data.C) == 0
    return np.where(hidden[:, :, None], np.nan, P).transpose(1, 0, 2)


def class_frequencies(train: EnsembleData) -> np.ndarray:
    """Return the weighted share (n_classes,) of every class among labeled rows."""
    known = train.labels >= 0
    counts = np.bincount(train.labels[known], train.frequencies[known], minlength=train.n_classes)
    return counts / counts.sum()


def row_means(P: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Return means (n, n_classes) over the cells that are there; rows without any get a default."""
    present = ~np.isnan(P[:, :, 0])
    counts = present.sum(axis=1)
    sums = np.where(present[:, :, None], P, 0.0).sum(axis=1)
    return np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], otherwise)


def completed(train: EnsembleData, test: EnsembleData) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (n, n_classifiers, n_classes) of both parts without missing values.

    A missing cell takes the mean of its row's other predictions; a row without any takes the class
    frequencies of the training part. No label of the test part is used, and no other row of it.
    """
    prior = class_frequencies(train)
    parts = []
    for data in (train, test):
        P = cells(data)
        gaps = np.isnan(P)
        parts.append(np.where(gaps, row_means(P, prior)[:, None], P) if gaps.any() else P)
    return parts[0], parts[1]


def columns(P: np.ndarray) -> np.ndarray:
    """Return what a stack hands to its final estimator: P(class 1), or all classes in blocks."""
    R = P.swapaxes(0, 1)
    return np.ascontiguousarray(side_by_side(R[:, :, 1] if P.shape[2] == 2 else R))


def side_by_side(R: np.ndarray) -> np.ndarray:
    """Return the cells of an ensemble matrix as stacked columns, learner after learner.

    Parameters
    ----------
    R : ndarray of shape (m, n) or (m, n, K)

    Returns
    -------
    ndarray of shape (n, m) or (n, m · K)
        The layout is ``"class1"`` or ``"blocks"``.
    """
    return R.T if R.ndim == 2 else R.transpose(1, 0, 2).reshape(R.shape[1], -1)


def stacked_columns(data: EnsembleData) -> tuple[np.ndarray, str]:
    """Return what a stack would hand to its final estimator, and the layout to tell it.

    Parameters
    ----------
    data : EnsembleData

    Returns
    -------
    columns : ndarray of shape (n_instances, n_classifiers) or (n_instances, m · n_classes)
        NaN where a cell is missing or has no weight.
    layout : {"class1", "blocks"}

    Examples
    --------
    >>> from cfe_stack import EnsembleData
    >>> from cfe_stack.meta_features import stacked_columns
    >>> stacked_columns(EnsembleData([[0.2, 0.7], [0.4, 0.9]]))
    (array([[0.2, 0.4],
           [0.7, 0.9]]), 'class1')
    """
    R = data.R
    if data.C is not None:
        hidden = np.asarray(data.C) == 0
        R = np.where(hidden if R.ndim == 2 else hidden[:, :, None], np.nan, R)
    return side_by_side(R), "class1" if R.ndim == 2 else "blocks"
