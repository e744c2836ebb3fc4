"""Calibration of every classifier on its own: slope and offset of its log-odds."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

MAX_STEPS = 50
MAX_HALVINGS = 30
BLOCK_CELLS = 1 << 14
"""Number of cells per block of derivatives, so that temporaries fit in the CPU cache."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Per-classifier calibration z̃ = slope · z + offset of log-odds or centered log-ratios.

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
    """Fit the slope and offset of every classifier by the plain logistic loss.

    Parameters
    ----------
    Z : ndarray of shape (n, n_classifiers) or (n, n_classes, n_classifiers)
    labels : ndarray of shape (n,)
        Class codes.
    weights : ndarray of shape (n,)
        Frequencies. The prior ½[(a − 1)² + c²] counts as one observation.

    Notes
    -----
    All classifiers take projected Newton steps at once, and each step is halved on its own until
    the loss of its classifier falls. The start is at slope 0, where the curvature is largest. At
    slope 1 the loss of an overconfident classifier is nearly flat, and an undamped Newton step
    from there would diverge.
    """
    theta = np.zeros((2, Z.shape[-1]))
    value, gradient, hessian = _derivatives(Z, labels, weights, theta)
    for _ in range(MAX_STEPS):
        step = _projected_step(theta, gradient, hessian)
        decrease = -(gradient * step).sum(axis=0)
        if (decrease <= 1e-12 * (1 + np.abs(value))).all():
            break
        size = np.ones(Z.shape[-1])
        for _ in range(MAX_HALVINGS):
            moved = theta + size * step
            moved[0] = np.maximum(moved[0], 0.0)
            reached = _derivatives(Z, labels, weights, moved)
            worse = reached[0] > value + 1e-12 * (1 + np.abs(value))
            if not worse.any():
                break
            size[worse] /= 2
        theta, (value, gradient, hessian) = moved, reached
    # the offset of a classifier whose log-odds are all 0 would act as a second intercept
    informative = (Z != 0).reshape(-1, Z.shape[-1]).any(axis=0)
    return Calibration(np.where(informative, theta[0], 1.0), np.where(informative, theta[1], 0.0))


def _projected_step(theta: np.ndarray, gradient: np.ndarray, hessian: np.ndarray) -> np.ndarray:
    """Return Newton steps (2, m) that keep slopes ≥ 0; `hessian` holds aa, ac and cc."""
    aa, ac, cc = hessian
    # Cramer's rule for all 2 × 2 systems; the prior keeps the determinants positive
    determinant = aa * cc - ac**2
    slope = (ac * gradient[1] - cc * gradient[0]) / determinant
    offset = (ac * gradient[0] - aa * gradient[1]) / determinant
    # where the step would make a slope negative, minimize over the offset on the bound slope = 0
    bound = theta[0] + slope < 0
    slope = np.where(bound, -theta[0], slope)
    offset = np.where(bound, -(gradient[1] + ac * slope) / cc, offset)
    return np.stack([slope, offset])


def _derivatives(
    Z: np.ndarray, labels: np.ndarray, weights: np.ndarray, theta: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return loss (m,), gradient (2, m) and the Hessian's aa, ac, cc (3, m), prior included."""
    of_rows = _two_class_derivatives if Z.ndim == 2 else _multiclass_derivatives
    away = theta - np.array([[1.0], [0.0]])
    ones = np.ones(Z.shape[-1])
    sums = [0.5 * np.square(away).sum(axis=0), away, np.stack([ones, 0 * ones, ones])]
    size = max(1, BLOCK_CELLS // max(Z[:1].size, 1))
    for start in range(0, len(Z), size):
        here = slice(start, start + size)
        for total, part in zip(
            sums, of_rows(Z[here], labels[here], weights[here], theta), strict=True
        ):
            total += part
    value, gradient, hessian = sums
    return value, gradient, hessian


def _two_class_derivatives(
    Z: np.ndarray, labels: np.ndarray, weights: np.ndarray, theta: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what rows of two classes contribute to loss, gradient and Hessian."""
    a, c = theta
    scores = Z * a + c
    target = (labels == 1).astype(float)[:, None]
    p = expit(scores)
    residual = weights[:, None] * (p - target)
    curvature = weights[:, None] * (p * (1 - p))
    weighted = curvature * Z
    loss = weights @ (np.logaddexp(0.0, scores) - target * scores)
    gradient = np.stack([np.einsum("nm,nm->m", residual, Z), residual.sum(axis=0)])
    hessian = np.stack(
        [np.einsum("nm,nm->m", weighted, Z), weighted.sum(axis=0), curvature.sum(axis=0)]
    )
    return loss, gradient, hessian


def _multiclass_derivatives(
    Z: np.ndarray, labels: np.ndarray, weights: np.ndarray, theta: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the same for more classes, which have slopes only: offsets have gradient 0."""
    a = theta[0]
    # With p = softmax(a z) over classes: ℓ = log Σ e^{a z_k} − a z_t, ∂ℓ/∂a = E_p[z] − z_t, and
    # ∂²ℓ/∂a² = Var_p[z]. One buffer holds e^{a z}, then its products with z and z².
    p = Z * a
    top = p.max(axis=1)
    p -= top[:, None]
    np.exp(p, out=p)
    total = p.sum(axis=1)
    p *= Z
    truth, mean = Z[np.arange(len(Z)), labels], p.sum(axis=1) / total
    p *= Z
    spread = p.sum(axis=1) / total - mean**2
    loss = weights @ (top + np.log(total) - a * truth)
    nothing = np.zeros_like(a)
    gradient = np.stack([weights @ (mean - truth), nothing])
    return loss, gradient, np.stack([weights @ spread, nothing, nothing])
