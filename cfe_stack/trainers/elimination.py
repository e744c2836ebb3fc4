r"""Joint minimization over the aggregator and the instance factors, at given classifiers.

At given classifiers, the optimal instance factors are a function of the aggregator. In units in
which squared errors of cells have their weights, the factor of a labeled instance minimizes

.. math:: (y - y_0)^T G (y - y_0) + 2 \kappa\, \ell(A^T y + c),

with its label-free fold-in y₀, its normal equations G, and directions A and constants c of the
scores. The minimizer is y₀ − G⁻¹ A u, where u = κ ∇ℓ at the scores s₀ − V u with V = Aᵀ G⁻¹ A: an
instance has as many unknowns as scores. The remaining function depends on the aggregator alone, and
its gradient equals that at fixed factors (variable projection [1]_). Alternating between aggregator
and factors would converge slowly, since each restricts the other, the more so the larger the
weights.

References
----------
.. [1] G. Golub, V. Pereyra, "The Differentiation of Pseudo-Inverses and Nonlinear Least Squares
   Problems Whose Variables Separate", SIAM Journal on Numerical Analysis 1973.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.optimize import minimize

from cfe_stack.losses.focal_loss import FocalLoss, loss_gradient
from cfe_stack.losses.raw_scores import in_scores, margin_directions, margins

MAX_STEPS = 50
MAX_HALVINGS = 30
MAX_RESIDUAL = 1e-10
"""Maximum residual of u, relative to κ."""
MAX_AGGREGATOR_STEPS = 50
"""Maximum number of L-BFGS steps per sweep."""
MIN_GAIN = 1e-3
"""Minimum relative gain of a step. The next update of the classifiers would undo smaller gains, and
for separable classes the weights would grow without bound for almost no gain."""
ROUNDING_SHARE = 1e-12
TINY = np.finfo(float).tiny


def as_scores(columns: np.ndarray) -> np.ndarray:
    """Return scores (n,) or (n, K) of their columns (n, 1) or (n, K)."""
    return columns[:, 0] if columns.shape[1] == 1 else columns


@dataclass(frozen=True, eq=False)
class Settled:
    """Labeled instances at their minimizers, for given directions and constants of the scores.

    Parameters
    ----------
    objective : float
        Increase over the squared errors and ridges of the fold-ins, caused by the labels.
    in_directions, in_constants : ndarray of shape (latent_dim, k) and (k,)
        Its gradient in the directions and the constants.
    factors : ndarray of shape (latent_dim, n)
    """

    objective: float
    in_directions: np.ndarray
    in_constants: np.ndarray
    factors: np.ndarray


@dataclass(frozen=True, eq=False)
class LabeledSystems:
    """Labeled instances, with factors that follow the scores' directions.

    Parameters
    ----------
    fold_ins : ndarray of shape (latent_dim, n)
        Label-free factors y₀.
    inverses : ndarray of shape (n, latent_dim, latent_dim) or (1, latent_dim, latent_dim)
        G⁻¹ of every instance, or one matrix that all share.
    labels : ndarray of shape (n,)
        Class codes.
    omega, frequencies : ndarray of shape (n,)
        Weights of the loss, and of the squared errors; their ratio is κ.
    loss : FocalLoss
    """

    fold_ins: np.ndarray
    inverses: np.ndarray
    labels: np.ndarray
    omega: np.ndarray
    frequencies: np.ndarray
    loss: FocalLoss

    def losses(self, columns: np.ndarray) -> float:
        """Return 2 Σ ω ℓ at scores (n, k)."""
        values = self.loss.value(margins(as_scores(columns), self.labels))
        return float(2 * self.omega @ values)

    def settled(self, directions: np.ndarray, constants: np.ndarray) -> Settled:
        """Return the optimal factors with their objective and its gradient.

        Parameters
        ----------
        directions, constants : ndarray of shape (latent_dim, k) and (k,)
            Directions and constants of the scores; k is 1 for two classes, K for more.
        """
        d, k = directions.shape
        moves = (self.inverses.reshape(-1, d) @ directions).reshape(-1, d, k)
        V = np.matmul(directions.T, moves)
        free = self.fold_ins.T @ directions + constants
        u = solve_pulls(free, V, self.labels, self.omega / self.frequencies, self.loss)
        moved = each_times(V, u)
        columns = free - moved
        slope = 2 * self.omega[:, None] * _gradient(columns, self.labels, self.loss)
        factors = self.fold_ins - each_times(moves, u).T
        objective = float(self.frequencies @ (u * moved).sum(axis=1)) + self.losses(columns)
        return Settled(objective, factors @ slope, slope.sum(axis=0), factors)

    def best(
        self, directions: np.ndarray, constants: np.ndarray, basis: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a step of the directions within a basis, and constants, by L-BFGS.

        Parameters
        ----------
        directions, constants : ndarray of shape (latent_dim, k) and (k,)
            Starting point.
        basis : ndarray of shape (latent_dim · k, r)
            Orthonormal basis of the changes of the raveled directions.

        Returns
        -------
        step : ndarray of shape (r,)
        constants : ndarray of shape (k,)
        """
        r = basis.shape[1]

        def value(point: np.ndarray) -> tuple[float, np.ndarray]:
            moved = directions + (basis @ point[:r]).reshape(directions.shape)
            here = self.settled(moved, point[r:])
            gradient = [basis.T @ here.in_directions.ravel(), here.in_constants]
            return here.objective, np.concatenate(gradient)

        start = np.concatenate([np.zeros(r), constants])
        options = {"maxiter": MAX_AGGREGATOR_STEPS, "gtol": 0.0, "ftol": MIN_GAIN}
        solution = minimize(value, start, jac=True, method="L-BFGS-B", options=options).x
        return solution[:r], solution[r:]


def each_times(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return products (n, j) of matrices (n, j, k), or (1, j, k) for all, and vectors (n, k)."""
    if len(matrices) == 1:
        return vectors @ matrices[0].T
    return np.einsum("njk,nk->nj", matrices, vectors)


def _gradient(columns: np.ndarray, labels: np.ndarray, loss: FocalLoss) -> np.ndarray:
    return loss_gradient(as_scores(columns), labels, loss).reshape(columns.shape)


def solve_pulls(
    free: np.ndarray, V: np.ndarray, labels: np.ndarray, kappa: np.ndarray, loss: FocalLoss
) -> np.ndarray:
    r"""Return u (n, k) = κ ∇ℓ(s₀ − V u) by Newton's method.

    Parameters
    ----------
    free : ndarray of shape (n, k)
        Scores s₀ of the label-free fold-ins.
    V : ndarray of shape (n, k, k) or (1, k, k)
        Positive semidefinite.
    labels, kappa : ndarray of shape (n,)
    loss : FocalLoss

    Notes
    -----
    Newton's method minimizes :math:`u^T V u + 2 \kappa\, \ell(s_0 - V u)`. The starting point has
    the margin max(0, μ₀, log(κ v / 2 (log(1 + κ v) + |μ₀|))) along the gradient of the margin,
    where v is the squared length of that gradient under V. Its distance from 0 is at most κ, since
    gradients are rarely longer. For the logistic loss of two classes it is usually below the
    solution; all Newton steps then stay below it, and few are needed.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.losses import FocalLoss
    >>> from cfe_stack.trainers.elimination import solve_pulls
    >>> free, V = np.array([[0.5]]), np.array([[[3.0]]])
    >>> u = solve_pulls(free, V, np.array([1]), np.array([2.0]), FocalLoss())
    >>> score = free - 3 * u
    >>> bool(np.isclose(u, -2 / (1 + np.exp(score)))[0, 0])
    True
    """
    k = free.shape[1]
    V = np.broadcast_to(V, (len(free), k, k))
    D = margin_directions(as_scores(free), labels).reshape(free.shape)
    v = np.maximum((D * each_times(V, D)).sum(axis=1), TINY)
    margin = margins(as_scores(free), labels)
    pull = np.maximum(kappa * v, TINY)
    start = np.log(pull / (2 * (np.log1p(pull) + np.abs(margin))) + TINY)
    way = np.maximum(start, np.maximum(margin, 0.0)) - margin
    far = way > pull
    u = -D * np.where(far, kappa, way / np.where(far, 1.0, v))[:, None]
    pulls = _Pulls(free, V, labels, kappa, loss)
    left = np.arange(len(free))
    for _ in range(MAX_STEPS):
        step, going = pulls.step(u[left])
        left, pulls = left[going], pulls.of(going)
        if not left.size:
            break
        u[left] += pulls.shortened(u[left], step[going])
    return u


@dataclass(frozen=True, eq=False)
class _Pulls:
    """Instances whose u is being solved for, see :func:`solve_pulls`."""

    free: np.ndarray
    V: np.ndarray
    labels: np.ndarray
    kappa: np.ndarray
    loss: FocalLoss

    def of(self, rows: np.ndarray) -> Self:
        """Return a subset of the instances."""
        if rows.all():
            return self
        return type(self)(
            self.free[rows], self.V[rows], self.labels[rows], self.kappa[rows], self.loss
        )

    def value(self, u: np.ndarray) -> np.ndarray:
        """Return the objective that u minimizes."""
        moved = each_times(self.V, u)
        margin = margins(as_scores(self.free - moved), self.labels)
        return (u * moved).sum(axis=1) + 2 * self.kappa * self.loss.value(margin)

    def step(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return Newton steps (n, k), and which instances have not converged."""
        k, kappa = u.shape[1], self.kappa[:, None]
        scores = as_scores(self.free - each_times(self.V, u))
        margin = margins(scores, self.labels)
        slope, curvature = self.loss.derivative(margin), self.loss.curvature(margin)
        D = margin_directions(scores, self.labels).reshape(u.shape)
        residual = kappa * in_scores(slope, D) - u
        going = np.abs(residual).max(axis=1) > MAX_RESIDUAL * self.kappa
        # Hessians of the loss, with the negative curvature of a focal loss set to 0
        hessians = (curvature[:, None] * D)[:, :, None] * D[:, None, :]
        if k == 1:
            return residual / (1 + kappa * hessians[:, 0] * self.V[:, 0]), going
        others = np.where(D > 0, 0.0, -D)
        spread = others[:, :, None] * (np.eye(k) - others[:, None, :])
        hessians -= slope[:, None, None] * spread
        matrices = np.eye(k) + kappa[:, None] * np.matmul(hessians, self.V)
        return np.linalg.solve(matrices, residual[:, :, None])[:, :, 0], going

    def shortened(self, u: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Return the steps, each halved until it does not raise its objective."""
        highest = self.value(u)
        highest = highest + ROUNDING_SHARE * np.abs(highest)
        for _ in range(MAX_HALVINGS):
            higher = self.value(u + step) > highest
            if not higher.any():
                break
            step[higher] /= 2
        return step
