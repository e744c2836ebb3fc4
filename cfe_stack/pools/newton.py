"""Projected Newton steps for penalized losses of scores that are linear in a few coefficients."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs, dtrtrs
from scipy.optimize import nnls

from cfe_stack.losses.labeled_rows import LabeledRows
from cfe_stack.losses.raw_scores import in_scores, margin_directions, margins
from cfe_stack.pools.design import PoolDesign

CLASS_PRIOR = 0.5
"""Strength, in observations, of the pull of a two-class intercept toward 0."""


def intercept_prior(n_intercepts: int) -> float:
    """Return the strength of the pull of intercepts toward 0.

    Centered log-ratios of two classes are ±½ of the log-odds, so that the same pull on the
    difference of two class intercepts needs twice the strength on each.
    """
    return CLASS_PRIOR if n_intercepts == 1 else 2 * CLASS_PRIOR


MAX_REMAINING_SHARE = 0.1
"""A kept Hessian is recomputed when a step with it leaves more than this share of the decrease."""

MIN_WORK_TO_KEEP = 1 << 21
"""Hessians that take fewer multiplications are recomputed in every step, which is cheaper."""


@dataclass(frozen=True, eq=False)
class PoolProblem:
    """Minimize Σ ω ℓ(margin) + ½ Σ l_j (θ_j − c_j)², with θ_j ≥ 0 for some j.

    Parameters
    ----------
    design : PoolDesign
        The columns of the scores, which are linear in θ. Intercepts come last.
    rows : LabeledRows
        Labels, weights ω and loss ℓ. Penalties count observations, so the ω should sum to the
        number of observations: see :meth:`cfe_stack.losses.LabeledRows.normalized`.
    penalty, center : ndarray of shape (p,)
        Strengths l ≥ 0, and the point c that the coefficients are shrunk to.
    nonnegative : ndarray of shape (p,), bool
        Which coefficients must not be negative.
    """

    design: PoolDesign
    rows: LabeledRows
    penalty: np.ndarray
    center: np.ndarray
    nonnegative: np.ndarray

    @property
    def work(self) -> int:
        """Number of multiplications that a Hessian takes."""
        return len(self.rows.labels) * self.design.sizes[2] * len(self.penalty) ** 2

    def at(self, theta: np.ndarray) -> "PoolPoint":
        """Return the problem evaluated at `theta`."""
        return PoolPoint(self, theta)


@dataclass(frozen=True, eq=False)
class PoolPoint:
    """A problem at given coefficients, whose scores are computed once.

    Parameters
    ----------
    problem : PoolProblem
    theta : ndarray of shape (p,)
    """

    problem: PoolProblem
    theta: np.ndarray

    @cached_property
    def _scores(self) -> np.ndarray:
        return self.problem.design.scores(self.theta)

    @cached_property
    def _margin(self) -> np.ndarray:
        return margins(self._scores, self.problem.rows.labels)

    @cached_property
    def _directions(self) -> np.ndarray:
        return margin_directions(self._scores, self.problem.rows.labels)

    @cached_property
    def _slope(self) -> np.ndarray:
        rows = self.problem.rows
        return rows.loss_weights * rows.loss.derivative(self._margin)

    @cached_property
    def value(self) -> float:
        """The penalized loss."""
        posed = self.problem
        penalty = 0.5 * posed.penalty @ np.square(self.theta - posed.center)
        rows = posed.rows
        return float(rows.loss_weights @ rows.loss.value(self._margin) + penalty)

    def gradient(self) -> np.ndarray:
        """Return the gradient (p,) of the penalized loss."""
        posed = self.problem
        on_scores = in_scores(self._slope, self._directions)
        pull = posed.penalty * (self.theta - posed.center)
        return posed.design.transposed(on_scores) + pull

    def curvature(self) -> np.ndarray:
        """Return the Hessian (p, p) of the loss, positive semidefinite, without the penalty.

        It is exact for the logistic loss. The focal loss is concave in the margin in places; its
        negative curvature is set to 0 there, so that every step is a descent direction.
        """
        rows, design = self.problem.rows, self.problem.design
        curvature = rows.loss_weights * rows.loss.curvature(self._margin)
        if self._scores.ndim == 1:
            return design.gram(curvature)
        # With directions d = ∂μ/∂s, the Hessian of ℓ(μ(s)) is ℓ'' d dᵀ + ℓ' ∂²μ/∂s². The margin's
        # second derivative is −(diag(π) − π πᵀ), where π is the softmax of the other classes.
        others = np.maximum(-self._directions, 0.0)
        hessian = design.gram(-self._slope[:, None] * others)
        hessian += design.contracted_gram(self._directions, curvature)
        hessian -= design.contracted_gram(others, -self._slope)
        return hessian


def _cholesky(matrix: np.ndarray) -> np.ndarray:
    """Return the lower Cholesky factor of a positive semidefinite matrix, which may be singular."""
    # Copies of a classifier make the matrix singular. A ridge at the level of rounding makes it
    # definite without moving the solution visibly; it grows if rounding has made it indefinite.
    scale = max(float(matrix.diagonal().max(initial=0.0)), np.finfo(float).tiny)
    jitter = 1e-14 * scale
    while True:
        shifted = matrix.copy()
        shifted.flat[:: len(matrix) + 1] += jitter
        factor, failed = dpotrf(shifted, lower=1, clean=1)
        if not failed:
            return factor
        jitter *= 100


def _quadratic_step(
    theta: np.ndarray, gradient: np.ndarray, hessian: np.ndarray, nonnegative: np.ndarray
) -> np.ndarray:
    """Return the minimizer of the quadratic model, with coefficients ≥ 0 where required."""
    # The model is ½ xᵀ H x − xᵀ (H θ − g) up to a constant.
    target = hessian @ theta - gradient
    unbounded = dpotrs(_cholesky(hessian), target, lower=1)[0]
    if not (unbounded[nonnegative] < 0).any():
        return unbounded
    if nonnegative.all():
        # With H = L Lᵀ the model is ½ ‖Lᵀ x − L⁻¹ t‖²: non-negative least squares.
        root = _cholesky(hessian)
        return nnls(root.T, dtrtrs(root, target, lower=1)[0])[0]
    # Eliminate the free coefficients (Schur complement), and solve non-negative least squares for
    # the bounded ones; the free ones follow from them.
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


class NewtonPoint(Protocol):
    """What :class:`NewtonPath` needs of a problem at given coefficients."""

    @property
    def theta(self) -> np.ndarray:
        """The coefficients (p,)."""

    @property
    def value(self) -> float:
        """Value of the objective."""

    def gradient(self) -> np.ndarray:
        """Return its gradient (p,)."""

    def curvature(self) -> np.ndarray:
        """Return a positive semidefinite Hessian (p, p), without the penalty's diagonal."""


class NewtonProblem(Protocol):
    """What :class:`NewtonPath` needs of a problem."""

    @property
    def nonnegative(self) -> np.ndarray:
        """Mask (p,) of the coefficients that may not be negative."""

    @property
    def penalty(self) -> np.ndarray:
        """Diagonal (p,) of the penalty's Hessian."""

    @property
    def work(self) -> int:
        """Number of multiplications that a Hessian takes."""

    def at(self, theta: np.ndarray) -> NewtonPoint:
        """Return the problem evaluated at `theta`."""


class NewtonPath:
    """Minimizer of problems that differ in their penalties, one after another.

    Every step minimizes the quadratic model under the constraints. The Hessian of the loss costs
    far more than a gradient and changes little between neighbors on a regularization path.
    Therefore it is kept, and updated by BFGS, as long as a step with it achieves at least nine
    tenths of the possible decrease.

    References
    ----------
    .. [1] D. Bertsekas, "Projected Newton Methods for Optimization Problems with Simple
       Constraints", SIAM Journal on Control and Optimization 1982.
    .. [2] J. Nocedal, S. Wright, "Numerical Optimization", 2006, equation 6.19 (BFGS).
    """

    _curvature: Any = None

    def minimize(
        self, problem: NewtonProblem, start: np.ndarray, *, max_steps: int = 100, tol: float = 1e-13
    ) -> np.ndarray:
        """Return the minimizer of `problem`.

        Parameters
        ----------
        problem : NewtonProblem
        start : ndarray of shape (p,)
            A feasible point. The solution at a neighboring grid point saves steps.
        max_steps : int, default=100
        tol : float, default=1e-13
            Stop after the step whose expected remaining decrease is below `tol` · (1 + value).

        Returns
        -------
        ndarray of shape (p,)
        """
        point, last = problem.at(start), np.inf
        gradient = point.gradient()
        for _ in range(max_steps):
            direction, decrease, fresh = self._step(problem, point, gradient, last)
            if decrease <= 0:
                break
            # backtracking line search with the Armijo condition
            reached, size = problem.at(point.theta + direction), 1.0
            while reached.value > point.value - 1e-4 * size * decrease and size > 1e-8:
                size /= 2
                reached = problem.at(point.theta + size * direction)
            if size <= 1e-8:
                # the predicted decrease is below the rounding error of the value
                break
            # Newton and BFGS steps converge superlinearly, so the ratio of the last two decreases
            # is an upper estimate of the next one.
            if last < np.inf:
                ratio = decrease / last
            else:
                ratio = 1.0 if fresh else MAX_REMAINING_SHARE
            left = decrease * ratio
            move, point, last = reached.theta - point.theta, reached, decrease
            if left <= tol * (1 + abs(point.value)):
                break
            before, gradient = gradient, point.gradient()
            if problem.work >= MIN_WORK_TO_KEEP:
                self._update_curvature(move, gradient - before - problem.penalty * move)
        return point.theta

    def _step(
        self, problem: NewtonProblem, point: NewtonPoint, gradient: np.ndarray, last: float
    ) -> tuple[np.ndarray, float, bool]:
        """Return a step, its predicted decrease, and whether its Hessian was computed here."""
        fresh = self._curvature is None or problem.work < MIN_WORK_TO_KEEP
        while True:
            if fresh:
                self._curvature = point.curvature()
            hessian = self._curvature.copy()
            hessian.flat[:: len(hessian) + 1] += problem.penalty
            target = _quadratic_step(point.theta, gradient, hessian, problem.nonnegative)
            direction = target - point.theta
            decrease = -float(gradient @ direction)
            # a kept Hessian is good enough while decreases still shrink tenfold per step
            if fresh or decrease <= MAX_REMAINING_SHARE * last:
                return direction, decrease, fresh
            fresh = True

    def _update_curvature(self, move: np.ndarray, change: np.ndarray) -> None:
        """Apply a BFGS update: a move changed the gradient of the loss by `change`."""
        expected = self._curvature @ move
        along, predicted = float(change @ move), float(expected @ move)
        # a pair that contradicts the Hessian by more than tenfold would distort it
        if 0.1 * predicted < along < 10 * predicted:
            self._curvature += np.outer(change, change) / along
            self._curvature -= np.outer(expected, expected) / predicted
