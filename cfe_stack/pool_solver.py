"""Projected Newton for penalised losses of scores that are linear in a few coefficients."""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs, dtrtrs
from scipy.optimize import nnls

from cfe_stack.losses import FocalLoss, margin_directions, margins

GRAM_CELLS = 1 << 17
"""Cells that are weighed at a time: about what a core's cache holds."""


@dataclass(frozen=True, eq=False)
class PoolProblem:
    """Minimise Σ ω ℓ(margin) + ½ Σ l_j (θ_j − c_j)², with θ_j ≥ 0 where asked.

    Parameters
    ----------
    design : ndarray of shape (n_instances, p) or (n_instances, n_classes, p)
        The scores are ``design @ theta``; intercepts are columns of the design.
    labels : ndarray of shape (n_instances,)
    weights : ndarray of shape (n_instances,)
        ω. Penalties count observations, so ω should sum to the number of observations.
    penalty, center : ndarray of shape (p,)
        Strengths l ≥ 0 and the point c that the coefficients are shrunk to.
    nonnegative : ndarray of shape (p,), bool
    loss : FocalLoss
    """

    design: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    penalty: np.ndarray
    center: np.ndarray
    nonnegative: np.ndarray
    loss: FocalLoss = FocalLoss()

    def value(self, theta: np.ndarray) -> float:
        """Return the penalised loss."""
        margin = margins(self.design @ theta, self.labels)
        penalty = 0.5 * self.penalty @ np.square(theta - self.center)
        return float(self.weights @ self.loss.value(margin) + penalty)

    def gradient_and_hessian(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradient (p,) and a positive semidefinite Hessian (p, p) at `theta`.

        The Hessian is exact for the logistic loss; where the focal loss is concave in the margin,
        that part of the curvature is left out.
        """
        scores = self.design @ theta
        margin = margins(scores, self.labels)
        slope = self.weights * self.loss.derivative(margin)
        curvature = self.weights * self.loss.curvature(margin)
        directions = margin_directions(scores, self.labels)
        if scores.ndim == 1:
            gradient = self.design.T @ (slope * directions)
            hessian = _gram(self.design, curvature)
        else:
            gradient, hessian = self._multiclass_derivatives(directions, slope, curvature)
        gradient += self.penalty * (theta - self.center)
        hessian[np.diag_indices_from(hessian)] += self.penalty
        return gradient, hessian

    def _multiclass_derivatives(
        self, directions: np.ndarray, slope: np.ndarray, curvature: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        # the margin's second derivative is −(diag(π) − π πᵀ), π the softmax of the other classes
        others = np.maximum(-directions, 0.0)
        flat = self.design.reshape(-1, self.design.shape[2])
        along = np.einsum("nk,nkp->np", directions, self.design)
        mean = np.einsum("nk,nkp->np", others, self.design)
        hessian = _gram(flat, (-slope[:, None] * others).ravel())
        hessian += _gram(along, curvature)
        hessian -= _gram(mean, -slope)
        return slope @ along, hessian


def _gram(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return Σ w r rᵀ for weights ≥ 0, as the product of one array with itself.

    NumPy computes only half of such a product.
    """
    n, p = rows.shape
    size = max(256, GRAM_CELLS // p)
    roots, gram = np.sqrt(weights)[:, None], np.zeros((p, p))
    scaled = np.empty((min(size, n), p))
    for start in range(0, n, size):
        part = rows[start : start + size]
        block = np.multiply(part, roots[start : start + size], out=scaled[: len(part)])
        gram += block.T @ block
    return gram


def _cholesky(matrix: np.ndarray) -> np.ndarray:
    """Return the lower factor of a positive semidefinite matrix, which may be singular."""
    scale = max(float(matrix.diagonal().max(initial=0.0)), np.finfo(float).tiny)
    jitter = 1e-14 * scale
    while True:
        factor, failed = dpotrf(matrix + jitter * np.eye(len(matrix)), lower=1, clean=1)
        if not failed:
            return factor
        jitter *= 100


def _quadratic_step(
    theta: np.ndarray, gradient: np.ndarray, hessian: np.ndarray, nonnegative: np.ndarray
) -> np.ndarray:
    """Return the minimiser of the quadratic model over the coefficients that may not be < 0."""
    target = hessian @ theta - gradient
    unbounded = dpotrs(_cholesky(hessian), target, lower=1)[0]
    if not (unbounded[nonnegative] < 0).any():
        return unbounded
    if nonnegative.all():
        root = _cholesky(hessian)
        return nnls(root.T, dtrtrs(root, target, lower=1)[0])[0]
    # eliminate the free coefficients, then non-negative least squares on the rest
    bound, free = np.flatnonzero(nonnegative), np.flatnonzero(~nonnegative)
    inner = hessian[free[:, None], free]
    cross = hessian[free[:, None], bound]
    coupling, offset = np.split(
        dpotrs(_cholesky(inner), np.column_stack([cross, target[free]]), lower=1)[0],
        [len(bound)],
        axis=1,
    )
    root = _cholesky(hessian[bound[:, None], bound] - cross.T @ coupling)
    pull = target[bound] - cross.T @ offset[:, 0]
    step = np.empty_like(theta)
    step[bound] = nnls(root.T, dtrtrs(root, pull, lower=1)[0])[0]
    step[free] = offset[:, 0] - coupling @ step[bound]
    return step


class Problem(Protocol):
    """What :func:`minimize_pool` needs of a problem."""

    @property
    def nonnegative(self) -> np.ndarray:
        """Mask (p,) of the coefficients that may not be negative."""

    def value(self, theta: np.ndarray) -> float:
        """Return what is minimised."""

    def gradient_and_hessian(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return gradient (p,) and positive semidefinite Hessian (p, p)."""


def minimize_pool(
    problem: Problem, start: np.ndarray, *, max_steps: int = 100, tol: float = 1e-9
) -> np.ndarray:
    """Return the minimiser of `problem`, by Newton steps on the constrained quadratic model.

    Parameters
    ----------
    problem : Problem
    start : ndarray of shape (p,)
        A feasible point; a neighbour on a regularisation path saves steps.
    max_steps : int, default=100
    tol : float, default=1e-9
        Stop after the step whose predicted decrease is below `tol` · (1 + value): with Newton's
        quadratic convergence what is left is then near the rounding error.

    Returns
    -------
    ndarray of shape (p,)
    """
    theta, value = start, problem.value(start)
    for _ in range(max_steps):
        gradient, hessian = problem.gradient_and_hessian(theta)
        direction = _quadratic_step(theta, gradient, hessian, problem.nonnegative) - theta
        decrease = -float(gradient @ direction)
        if decrease <= 0:
            break
        size = 1.0
        while size > 1e-8:
            candidate = theta + size * direction
            candidate_value = problem.value(candidate)
            if candidate_value <= value - 1e-4 * size * decrease:
                break
            size /= 2
        else:
            break
        theta, value = candidate, candidate_value
        if decrease <= tol * (1 + abs(value)):
            break
    return theta


def with_penalty(problem: PoolProblem, penalty: np.ndarray) -> PoolProblem:
    """Return `problem` with other strengths, sharing its arrays."""
    return replace(problem, penalty=penalty)
