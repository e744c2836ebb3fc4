"""Projected Newton for penalised losses of scores that are linear in a few coefficients."""

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
"""Strength, in observations, of the pull of a two-class intercept towards 0."""


def intercept_prior(n_intercepts: int) -> float:
    """Return the strength of the pull of intercepts towards 0.

    Centered log-ratios of two classes are ±½ of the log-odds, so that the same pull on the
    difference of two class intercepts needs twice the strength on each.
    """
    return CLASS_PRIOR if n_intercepts == 1 else 2 * CLASS_PRIOR


SLOW = 0.1
"""A curvature is calculated anew where a step with the last one leaves more than this share."""

LITTLE_WORK = 1 << 21
"""A curvature of fewer multiplications costs no more than a further step: none is kept."""


@dataclass(frozen=True, eq=False)
class PoolProblem:
    """Minimise Σ ω ℓ(margin) + ½ Σ l_j (θ_j − c_j)², with θ_j ≥ 0 where asked.

    Parameters
    ----------
    design : PoolDesign
        The scores are linear in θ; intercepts come last.
    rows : LabeledRows
        Labels, weights ω and loss ℓ. Penalties count observations, so the ω should sum to the
        number of observations: see :meth:`cfe_stack.losses.LabeledRows.normalized`.
    penalty, center : ndarray of shape (p,)
        Strengths l ≥ 0 and the point c that the coefficients are shrunk to.
    nonnegative : ndarray of shape (p,), bool
    """

    design: PoolDesign
    rows: LabeledRows
    penalty: np.ndarray
    center: np.ndarray
    nonnegative: np.ndarray

    @property
    def work(self) -> int:
        """Multiplications that a curvature takes."""
        return len(self.rows.labels) * self.design.sizes[2] * len(self.penalty) ** 2

    def at(self, theta: np.ndarray) -> "PoolPoint":
        """Return what is known of the problem at `theta`."""
        return PoolPoint(self, theta)


@dataclass(frozen=True, eq=False)
class PoolPoint:
    """A problem at given coefficients; scores are calculated once.

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
        """The penalised loss."""
        posed = self.problem
        penalty = 0.5 * posed.penalty @ np.square(self.theta - posed.center)
        rows = posed.rows
        return float(rows.loss_weights @ rows.loss.value(self._margin) + penalty)

    def gradient(self) -> np.ndarray:
        """Return the gradient (p,) of the penalised loss."""
        posed = self.problem
        on_scores = in_scores(self._slope, self._directions)
        pull = posed.penalty * (self.theta - posed.center)
        return posed.design.transposed(on_scores) + pull

    def curvature(self) -> np.ndarray:
        """Return the Hessian (p, p) of the loss, positive semidefinite, without the penalty.

        It is exact for the logistic loss; where the focal loss is concave in the margin, that part
        of the curvature is left out.
        """
        rows, design = self.problem.rows, self.problem.design
        curvature = rows.loss_weights * rows.loss.curvature(self._margin)
        if self._scores.ndim == 1:
            return design.gram(curvature)
        # the margin's second derivative is −(diag(π) − π πᵀ), π the softmax of the other classes
        others = np.maximum(-self._directions, 0.0)
        hessian = design.gram(-self._slope[:, None] * others)
        hessian += design.contracted_gram(self._directions, curvature)
        hessian -= design.contracted_gram(others, -self._slope)
        return hessian


def _cholesky(matrix: np.ndarray) -> np.ndarray:
    """Return the lower factor of a positive semidefinite matrix, which may be singular."""
    scale = max(float(matrix.diagonal().max(initial=0.0)), np.finfo(float).tiny)
    jitter = 1e-14 * scale
    while True:
        visible = matrix.copy()
        visible.flat[:: len(matrix) + 1] += jitter
        factor, failed = dpotrf(visible, lower=1, clean=1)
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


class Point(Protocol):
    """What :class:`NewtonPath` needs to know of a problem at given coefficients."""

    @property
    def theta(self) -> np.ndarray:
        """The coefficients (p,)."""

    @property
    def value(self) -> float:
        """What is minimised."""

    def gradient(self) -> np.ndarray:
        """Return its gradient (p,)."""

    def curvature(self) -> np.ndarray:
        """Return a positive semidefinite Hessian (p, p), without the penalty's diagonal."""


class Problem(Protocol):
    """What :class:`NewtonPath` needs of a problem."""

    @property
    def nonnegative(self) -> np.ndarray:
        """Mask (p,) of the coefficients that may not be negative."""

    @property
    def penalty(self) -> np.ndarray:
        """Diagonal (p,) of the penalty's Hessian."""

    @property
    def work(self) -> int:
        """Multiplications that a curvature takes."""

    def at(self, theta: np.ndarray) -> Point:
        """Return what is known at `theta`."""


class NewtonPath:
    """Minimises problems that differ in their penalties, one after another.

    Newton steps on the constrained quadratic model. The curvature of the data costs far more than
    a gradient and changes little between neighbours on a regularisation path, so that it is kept
    as long as steps with it still make nine tenths of the way.
    """

    _curvature: Any = None

    def minimize(
        self, problem: Problem, start: np.ndarray, *, max_steps: int = 100, tol: float = 1e-13
    ) -> np.ndarray:
        """Return the minimiser of `problem`.

        Parameters
        ----------
        problem : Problem
        start : ndarray of shape (p,)
            A feasible point; a neighbour on a regularisation path saves steps.
        max_steps : int, default=100
        tol : float, default=1e-13
            Stop after the step that is expected to leave less than `tol` · (1 + value).

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
            reached, size = problem.at(point.theta + direction), 1.0
            while reached.value > point.value - 1e-4 * size * decrease and size > 1e-8:
                size /= 2
                reached = problem.at(point.theta + size * direction)
            if size <= 1e-8:
                break
            # both kinds of steps converge faster than linearly
            left = decrease * (decrease / last if last < np.inf else 1.0 if fresh else SLOW)
            move, point, last = reached.theta - point.theta, reached, decrease
            if left <= tol * (1 + abs(point.value)):
                break
            before, gradient = gradient, point.gradient()
            if problem.work >= LITTLE_WORK:
                self._learn(move, gradient - before - problem.penalty * move)
        return point.theta

    def _step(
        self, problem: Problem, point: Point, gradient: np.ndarray, last: float
    ) -> tuple[np.ndarray, float, bool]:
        """Return a step, the decrease it predicts, and whether its curvature is that of here."""
        fresh = self._curvature is None or problem.work < LITTLE_WORK
        while True:
            if fresh:
                self._curvature = point.curvature()
            hessian = self._curvature.copy()
            hessian.flat[:: len(hessian) + 1] += problem.penalty
            target = _quadratic_step(point.theta, gradient, hessian, problem.nonnegative)
            direction = target - point.theta
            decrease = -float(gradient @ direction)
            if fresh or decrease <= SLOW * last:
                return direction, decrease, fresh
            fresh = True

    def _learn(self, move: np.ndarray, change: np.ndarray) -> None:
        """Update the curvature (BFGS) by what a move changed in the gradient of the loss."""
        expected = self._curvature @ move
        along, predicted = float(change @ move), float(expected @ move)
        if 0.1 * predicted < along < 10 * predicted:
            self._curvature += np.outer(change, change) / along
            self._curvature -= np.outer(expected, expected) / predicted
