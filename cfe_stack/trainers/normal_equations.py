"""Blocked least-squares kernels of the factorisation.

A Gram matrix is kept packed: the d (d + 1) / 2 entries of its lower triangle, column after column,
one small system per entry of the last axis. With the long axis last and contiguous, a Cholesky
factorisation that runs over d in Python works on whole blocks in every NumPy operation, which is
several times faster than one LAPACK call per small system.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

LARGE_SYSTEM = 32
"""From this latent dimension on, one LAPACK call per system is the faster way."""


def _column_starts(d: int) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.arange(d, 0, -1))])


def pair_products(factors: np.ndarray) -> np.ndarray:
    """Return the packed outer products f fᵀ of every column of `factors`.

    Parameters
    ----------
    factors : ndarray of shape (d, n)

    Returns
    -------
    ndarray of shape (d (d + 1) / 2, n)
    """
    d, n = factors.shape
    products = np.empty((d * (d + 1) // 2, n), dtype=factors.dtype)
    starts = _column_starts(d)
    for j in range(d):
        np.multiply(factors[j:], factors[j], out=products[starts[j] : starts[j + 1]])
    return products


def unpack(gram: np.ndarray, d: int) -> np.ndarray:
    """Return symmetric matrices of shape (n, d, d) from packed ones of shape (d (d + 1) / 2, n)."""
    rows, columns = np.tril_indices(d)
    order = np.lexsort((rows, columns))
    full = np.empty((gram.shape[1], d, d), dtype=gram.dtype)
    full[:, rows[order], columns[order]] = gram.T
    full[:, columns[order], rows[order]] = gram.T
    return full


def solve_packed(
    gram: np.ndarray, right_sides: np.ndarray, ridge: float, eps: float = 0.0
) -> np.ndarray:
    """Solve (G_i + ridge · I) y_i = b_i for every i.

    Parameters
    ----------
    gram : ndarray of shape (d (d + 1) / 2, n)
        Packed positive semidefinite matrices; overwritten.
    right_sides : ndarray of shape (d, n)
    ridge : float
        At least 0; raised where it is lost in the rounding of a matrix, so that singular systems
        have a finite solution.
    eps : float, default=0.0
        Relative rounding error of what the matrices were made of, if coarser than their own.

    Returns
    -------
    ndarray of shape (d, n)
    """
    d, n = right_sides.shape
    starts = _column_starts(d)
    ridges = _visible_ridge(gram[starts[:-1]], ridge, eps)
    if d >= LARGE_SYSTEM:
        full = unpack(gram, d)
        full[:, np.arange(d), np.arange(d)] += ridges[:, None]
        return np.linalg.solve(full, right_sides.T[:, :, None])[:, :, 0].T
    columns = [gram[starts[j] : starts[j + 1]] for j in range(d)]
    scratch = np.empty((d, n), dtype=gram.dtype)
    inverse_pivots = np.empty((d, n), dtype=gram.dtype)
    for j, column in enumerate(columns):
        column[0] += ridges
        for k in range(j):
            earlier = columns[k][j - k :]
            part = scratch[: d - j]
            np.multiply(earlier, earlier[0], out=part)
            column -= part
        np.sqrt(column[0], out=inverse_pivots[j])
        np.divide(1.0, inverse_pivots[j], out=inverse_pivots[j])
        column[1:] *= inverse_pivots[j]
    solution = right_sides.copy()
    for j, column in enumerate(columns):
        solution[j] *= inverse_pivots[j]
        np.multiply(column[1:], solution[j], out=scratch[: d - j - 1])
        solution[j + 1 :] -= scratch[: d - j - 1]
    for j in range(d - 1, -1, -1):
        if j + 1 < d:
            np.multiply(columns[j][1:], solution[j + 1 :], out=scratch[: d - j - 1])
            solution[j] -= scratch[: d - j - 1].sum(axis=0)
        solution[j] *= inverse_pivots[j]
    return solution


def _visible_ridge(diagonals: np.ndarray, ridge: float, eps: float = 0.0) -> np.ndarray:
    """Return the ridge of every system (n,), at least the rounding error of its diagonal (d, n)."""
    limits = np.finfo(diagonals.dtype)
    rounding = 8 * len(diagonals) * max(limits.eps, eps) * diagonals.max(axis=0)
    return np.maximum(rounding, max(ridge, limits.tiny)).astype(diagonals.dtype, copy=False)


def weigh(C: np.ndarray, Z: np.ndarray) -> np.ndarray:
    """Return c · z for Z of shape (n_classifiers · k, n) and C of shape (n_classifiers, n)."""
    if len(C) == len(Z):
        return C * Z
    return (C[:, None, :] * Z.reshape(len(C), -1, Z.shape[1])).reshape(Z.shape)


def solve_instances(
    X: np.ndarray, C: np.ndarray, weighted_Z: np.ndarray, ridge: float
) -> np.ndarray:
    """Return the factors (d, n) of a block of instances: y = (X C Xᵀ + λI)⁻¹ X C z.

    Parameters
    ----------
    X : ndarray of shape (d, n_classifiers · k)
        Classifier factors, k rows of Z per classifier that share its weights.
    C : ndarray of shape (n_classifiers, n)
    weighted_Z : ndarray of shape (n_classifiers · k, n)
        Already multiplied by the weights, see :func:`weigh`.
    ridge : float
    """
    right_sides = X @ weighted_Z
    products = pair_products(X)
    if products.shape[1] != len(C):
        products = products.reshape(len(products), len(C), -1).sum(axis=2)
    if C.shape[1] > 1 and (C == C[:, :1]).all():
        return _solve_alike(products @ C[:, 0], right_sides, ridge)
    return solve_packed(products @ C, right_sides, ridge)


def _solve_alike(gram: np.ndarray, right_sides: np.ndarray, ridge: float) -> np.ndarray:
    """Solve all systems of a block at once where they share one Gram matrix."""
    matrix = unpack(gram[:, None], len(right_sides))[0]
    diagonal = matrix.diagonal()
    matrix[np.diag_indices_from(matrix)] = diagonal + _visible_ridge(diagonal[:, None], ridge)[0]
    return cho_solve(cho_factor(matrix, lower=True, check_finite=False), right_sides)


@dataclass
class ClassifierEquations:
    """Normal equations of all classifiers, summed over blocks in float64.

    Parameters
    ----------
    gram : ndarray of shape (d (d + 1) / 2, n_classifiers)
    right_sides : ndarray of shape (d, n_classifiers · k)
    eps : float, default=0.0
        Relative rounding error of the instance factors that were added.
    """

    gram: np.ndarray
    right_sides: np.ndarray
    eps: float = 0.0

    @classmethod
    def empty(cls, d: int, n_classifiers: int, n_rows: int) -> "ClassifierEquations":
        """Return equations of no instance."""
        return cls(np.zeros((d * (d + 1) // 2, n_classifiers)), np.zeros((d, n_rows)))

    def add(self, Y: np.ndarray, C: np.ndarray, weighted_Z: np.ndarray) -> None:
        """Add a block of instances with factors `Y` (d, n)."""
        self.eps = max(self.eps, float(np.finfo(Y.dtype).eps))
        self.gram += pair_products(Y) @ C.T
        self.right_sides += Y @ weighted_Z.T

    def solve(self, ridge: float) -> np.ndarray:
        """Return classifier factors (d, n_classifiers · k): x = (Y C Yᵀ + λI)⁻¹ Y C z."""
        repeats = self.right_sides.shape[1] // self.gram.shape[1]
        gram = np.repeat(self.gram, repeats, axis=1)
        return solve_packed(gram, self.right_sides, ridge, self.eps)
