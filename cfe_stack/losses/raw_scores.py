"""Margins of raw scores, their derivatives, and the probabilities of raw scores."""

from typing import Any

import numpy as np
from scipy.special import expit


def margins(scores: Any, labels: Any, xp: Any = np) -> Any:
    """Return the margin of the true class for raw scores.

    Parameters
    ----------
    scores : ndarray or torch.Tensor of shape (n_instances,) or (n_instances, n_classes)
        Log-odds of class 1, or one raw score per class.
    labels : ndarray or torch.Tensor of shape (n_instances,)
        Class codes 0 … K−1.
    xp : module, default=numpy
        The array library of `scores`: ``numpy`` or ``torch``.

    Returns
    -------
    ndarray or torch.Tensor of shape (n_instances,)
    """
    if scores.ndim == 1:
        return xp.where(labels == 1, scores, -scores)
    # μ = s_t − log Σ_{k≠t} e^{s_k}, with the largest other score taken out of the sum
    true = xp.zeros_like(scores, dtype=bool)
    true[xp.arange(len(scores)), labels] = True
    others = xp.where(true, -np.inf, scores)
    top = xp.amax(others, 1)
    return scores[true] - top - xp.log(xp.exp(others - top[:, None]).sum(1))


def margin_directions(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the derivative of :func:`margins` in the scores, of the shape of `scores`."""
    if scores.ndim == 1:
        return np.where(labels == 1, 1.0, -1.0)
    rows = np.arange(len(scores))
    # ∂μ/∂s is 1 for the true class, and minus the softmax of the other classes elsewhere
    directions = scores.copy(order="K")
    directions[rows, labels] = -np.inf
    directions -= directions.max(axis=1, keepdims=True)
    np.exp(directions, out=directions)
    directions /= -directions.sum(axis=1, keepdims=True)
    directions[rows, labels] = 1.0
    return directions


def in_scores(slope: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Return the derivative in the scores of a function with slope (n,) in the margin.

    Parameters
    ----------
    slope : ndarray of shape (n_instances,)
    directions : ndarray of shape (n_instances,) or (n_instances, n_classes)
        As :func:`margin_directions` returns them.
    """
    return directions * (slope if directions.ndim == 1 else slope[:, None])


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Return class probabilities (n, K) of raw scores (n,) or (n, K)."""
    if scores.ndim == 1:
        return np.column_stack([expit(-scores), expit(scores)])
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
