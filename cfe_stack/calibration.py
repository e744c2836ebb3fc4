"""Calibrating every classifier on its own: slope and offset of its log-odds."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, softmax

STEPS = 50
HALVINGS = 30


@dataclass(frozen=True, eq=False)
class Calibration:
    """Per-classifier calibration z̃ = slope · z + offset of log-odds or centred log-ratios.

    Parameters
    ----------
    slope, offset : ndarray of shape (n_classifiers,)
        Slopes are at least 0; offsets are 0 for more than two classes.
    """

    slope: np.ndarray
    offset: np.ndarray

    def apply(self, Z: np.ndarray) -> np.ndarray:
        """Return calibrated log-odds of the shape of `Z`, classifiers on the last axis."""
        return Z * self.slope + self.offset


def calibrate(Z: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Calibration:
    """Fit slope and offset of every classifier by the plain logistic loss.

    Parameters
    ----------
    Z : ndarray of shape (n, n_classifiers) or (n, n_classes, n_classifiers)
    labels : ndarray of shape (n,)
        Class codes.
    weights : ndarray of shape (n,)
        Frequencies. The prior ½[(a − 1)² + c²] counts as one observation.

    Notes
    -----
    Projected Newton steps of all classifiers at once, each halved on its own until its loss falls.
    They start at slope 0, where the curvature is largest: a learner that is always sure is flat at
    slope 1, and an undamped step from there leaves for infinity.
    """
    derivatives = _two_class_derivatives if Z.ndim == 2 else _multiclass_derivatives
    theta = np.zeros((2, Z.shape[-1]))
    value, gradient, hessian = derivatives(Z, labels, weights, theta)
    for _ in range(STEPS):
        step = _projected_step(theta, gradient, hessian)
        decrease = -(gradient * step).sum(axis=0)
        if (decrease <= 1e-12 * (1 + np.abs(value))).all():
            break
        size = np.ones(Z.shape[-1])
        for _ in range(HALVINGS):
            moved = theta + size * step
            moved[0] = np.maximum(moved[0], 0.0)
            reached = derivatives(Z, labels, weights, moved)
            worse = reached[0] > value + 1e-12 * (1 + np.abs(value))
            if not worse.any():
                break
            size[worse] /= 2
        theta, (value, gradient, hessian) = moved, reached
    # a classifier whose log-odds are 0 everywhere says nothing, and must not stand in for a prior
    speaks = (Z != 0).reshape(-1, Z.shape[-1]).any(axis=0)
    return Calibration(np.where(speaks, theta[0], 1.0), np.where(speaks, theta[1], 0.0))


def _projected_step(theta: np.ndarray, gradient: np.ndarray, hessian: np.ndarray) -> np.ndarray:
    """Return Newton steps (2, m) that keep slopes ≥ 0; `hessian` holds aa, ac and cc."""
    aa, ac, cc = hessian
    determinant = aa * cc - ac**2
    slope = (ac * gradient[1] - cc * gradient[0]) / determinant
    offset = (ac * gradient[0] - aa * gradient[1]) / determinant
    # where the slope meets its bound, the offset goes to the best point on the bound
    bound = theta[0] + slope < 0
    slope = np.where(bound, -theta[0], slope)
    offset = np.where(bound, -(gradient[1] + ac * slope) / cc, offset)
    return np.stack([slope, offset])


def _two_class_derivatives(
    Z: np.ndarray, labels: np.ndarray, weights: np.ndarray, theta: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return loss (m,), gradient (2, m) and the Hessian's aa, ac, cc (3, m)."""
    a, c = theta
    scores = Z * a + c
    target = (labels == 1).astype(float)[:, None]
    p = expit(scores)
    residual = weights[:, None] * (p - target)
    curvature = weights[:, None] * (p * (1 - p))
    weighted = curvature * Z
    loss = weights @ (np.logaddexp(0.0, scores) - target * scores)
    value = loss + 0.5 * ((a - 1) ** 2 + c**2)
    gradient = np.stack(
        [np.einsum("nm,nm->m", residual, Z) + a - 1, residual.sum(axis=0) + c],
    )
    hessian = np.stack(
        [
            np.einsum("nm,nm->m", weighted, Z) + 1,
            weighted.sum(axis=0),
            curvature.sum(axis=0) + 1,
        ]
    )
    return value, gradient, hessian


def _multiclass_derivatives(
    Z: np.ndarray, labels: np.ndarray, weights: np.ndarray, theta: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the same for slopes alone; offsets have gradient 0 and stay where they are."""
    a = theta[0]
    scores = Z * a
    p = softmax(scores, axis=1)
    truth = Z[np.arange(len(Z)), labels]
    mean = np.einsum("nkm,nkm->nm", p, Z)
    spread = np.einsum("nkm,nkm,nkm->nm", p, Z, Z) - mean**2
    top = scores.max(axis=1)
    normaliser = top + np.log(np.exp(scores - top[:, None, :]).sum(axis=1))
    value = weights @ (normaliser - a * truth) + 0.5 * (a - 1) ** 2
    nothing, one = np.zeros_like(a), np.ones_like(a)
    gradient = np.stack([weights @ (mean - truth) + a - 1, nothing])
    return value, gradient, np.stack([weights @ spread + 1, nothing, one])
