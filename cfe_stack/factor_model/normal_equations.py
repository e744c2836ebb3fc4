"""Blocked least-squares kernels of the factorization.

A Gram matrix is stored packed: the d (d + 1) / 2 entries of its lower triangle, column by column,
with one small system per entry of the last axis. The long axis is last and contiguous. A Cholesky
factorization that loops over d in Python then works on whole blocks in every NumPy operation, which
is several times faster than one LAPACK call per small system.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from cfe_stack.factor_model.workspace import Workspace

MIN_LAPACK_DIM = 128
"""Minimum latent dimension from which one LAPACK call per system is faster."""
MAX_DUAL_SHARE = 0.9
"""Maximum ratio of classifiers to factors at which systems with m unknowns are faster."""
N_PROBED = 16
"""Number of instances inspected before a whole block is searched for complete ones."""


def _column_starts(d: int) -> list[int]:
    return [0, *np.cumsum(np.arange(d, 0, -1)).tolist()]


def pair_products(
    factors: np.ndarray, others: np.ndarray | None = None, out: np.ndarray | None = None
) -> np.ndarray:
    """Return the packed outer products f fᵀ of every column of `factors`.

    Parameters
    ----------
    factors : ndarray of shape (d, n)
    others : ndarray of shape (d, n), default=None
        `factors` multiplied by a weight per column, which weighs the products.
    out : ndarray of shape (d (d + 1) / 2, n), default=None

    Returns
    -------
    ndarray of shape (d (d + 1) / 2, n)
    """
    d, n = factors.shape
    others = factors if others is None else others
    products = np.empty((d * (d + 1) // 2, n), dtype=factors.dtype) if out is None else out
    starts = _column_starts(d)
    for j in range(d):
        np.multiply(factors[j:], others[j], out=products[starts[j] : starts[j + 1]])
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
    gram: np.ndarray,
    right_sides: np.ndarray,
    ridge: float,
    eps: float = 0.0,
    workspace: Workspace | None = None,
) -> np.ndarray:
    """Solve (G_i + ridge · I) y_i = b_i for every i.

    Parameters
    ----------
    gram : ndarray of shape (d (d + 1) / 2, n)
        Packed positive semidefinite matrices.
    right_sides : ndarray of shape (d, n)
    ridge : float
        At least 0. It is raised where it would vanish in the rounding of a matrix, so that singular
        systems have a finite solution.
    eps : float, default=0.0
        Relative rounding error of the data of the matrices, if it is coarser than their own.
    workspace : Workspace, default=None
        Holds the result and the temporaries.

    Returns
    -------
    ndarray of shape (d, n)
    """
    d, n = right_sides.shape
    starts, dtype = _column_starts(d), gram.dtype
    ridges = _visible_ridge(gram[starts[:-1]], ridge, eps)
    if d >= MIN_LAPACK_DIM:
        full = unpack(gram, d)
        full[:, np.arange(d), np.arange(d)] += ridges[:, None]
        return np.linalg.solve(full, right_sides.T[:, :, None])[:, :, 0].T
    workspace = workspace or Workspace()
    # Column j of the Cholesky factor is triangle[j, j:d]. The right-hand side is appended as one
    # more row, so that the factorization also performs the forward substitution L u = b.
    triangle = workspace.array("triangle", (d, d + 1, n), dtype)
    sums = workspace.array("sums", (d + 1, n), dtype)
    inverse_pivots = workspace.array("inverse_pivots", (d, n), dtype)
    solution = workspace.array("solution", (d, n), dtype)
    for j in range(d):
        column, packed = triangle[j, j:], gram[starts[j] : starts[j + 1]]
        if j == 0:
            column[:-1], column[-1] = packed, right_sides[j]
        else:
            # left-looking: subtract Σ_{k<j} l_ik l_jk, for all systems of the block at once
            earlier = sums[: d + 1 - j]
            np.einsum("kin,kn->in", triangle[:j, j:], triangle[:j, j], out=earlier)
            np.subtract(packed, earlier[:-1], out=column[:-1])
            np.subtract(right_sides[j], earlier[-1], out=column[-1])
        # a reciprocal pivot turns d divisions per system into one
        pivot = inverse_pivots[j]
        column[0] += ridges
        np.sqrt(column[0], out=pivot)
        np.reciprocal(pivot, out=pivot)
        column *= pivot
    # back substitution Lᵀ y = u
    for j in range(d - 1, -1, -1):
        np.einsum("in,in->n", triangle[j, j + 1 : d], solution[j + 1 :], out=sums[0])
        np.subtract(triangle[j, d], sums[0], out=solution[j])
        solution[j] *= inverse_pivots[j]
    return solution


def _visible_ridge(diagonals: np.ndarray, ridge: float, eps: float = 0.0) -> np.ndarray:
    """Return the ridge of every system (n,), at least the rounding error of its diagonal (d, n)."""
    # 8 d eps times the largest diagonal entry bounds the backward error of a Cholesky factorization
    # (Higham, Accuracy and Stability of Numerical Algorithms, 2002, theorem 10.3).
    limits = np.finfo(diagonals.dtype)
    rounding = 8 * len(diagonals) * max(limits.eps, eps) * diagonals.max(axis=0)
    return np.maximum(rounding, max(ridge, limits.tiny)).astype(diagonals.dtype, copy=False)


def weigh(C: np.ndarray, Z: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return c · z for Z of shape (n_classifiers · k, n) and C of shape (n_classifiers, n)."""
    if len(C) == len(Z):
        return np.multiply(C, Z, out=out)
    out = np.empty(Z.shape, dtype=np.result_type(C, Z)) if out is None else out
    per_classifier = (len(C), -1, Z.shape[1])
    np.multiply(C[:, None, :], Z.reshape(per_classifier), out=out.reshape(per_classifier))
    return out


def solve_instances(
    X: np.ndarray,
    C: np.ndarray,
    weighted_Z: np.ndarray,
    ridge: float,
    workspace: Workspace | None = None,
) -> np.ndarray:
    """Return the factors (d, n) of a block of instances, y = (X C Xᵀ + λI)⁻¹ X C z.

    Parameters
    ----------
    X : ndarray of shape (d, n_classifiers · k)
        Classifier factors. The k rows of Z of a classifier share its weights.
    C : ndarray of shape (n_classifiers, n)
    weighted_Z : ndarray of shape (n_classifiers · k, n)
        Multiplied by the weights, see :func:`weigh`.
    ridge : float
    workspace : Workspace, default=None
        Holds the result and the temporaries.

    Notes
    -----
    Instances whose cells all have the largest weights share one Gram matrix; with uniform
    confidence these are the complete instances. If there are fewer classifiers than factors, the
    dual systems have one unknown per classifier: y = X √C (√C XᵀX √C + λI)⁻¹ √C z.
    """
    workspace = workspace or Workspace()
    d, n = len(X), C.shape[1]
    # X C Xᵀ = Σ_u c_u x_u x_uᵀ is linear in the weights: one matrix product of the packed outer
    # products with C gives the Gram matrices of all instances.
    products = pair_products(X)
    if products.shape[1] != len(C):
        products = products.reshape(len(products), len(C), -1).sum(axis=2)
    right_sides = workspace.array("right_sides", (d, n), np.result_type(X, weighted_Z))
    np.matmul(X, weighted_Z, out=right_sides)
    complete, weights = alike(C)
    fewer = X.shape[1] == len(C) < MAX_DUAL_SHARE * d
    if complete is not None:
        shared = products @ weights
        if complete.all():
            return _solve_alike(shared, right_sides, ridge)
        solution = np.empty_like(right_sides)
        solution[:, complete] = _solve_alike(shared, right_sides[:, complete], ridge)
        others = ~complete
        if fewer:
            solution[:, others] = _solve_dual(X, C[:, others], weighted_Z[:, others], ridge)
        else:
            gram = products @ C[:, others]
            solution[:, others] = solve_packed(gram, right_sides[:, others], ridge)
        return solution
    if fewer:
        return _solve_dual(X, C, weighted_Z, ridge, workspace)
    gram = workspace.array("gram", (len(products), n), np.result_type(products, C))
    np.matmul(products, C, out=gram)
    return solve_packed(gram, right_sides, ridge, workspace=workspace)


def _solve_dual(
    X: np.ndarray,
    C: np.ndarray,
    weighted_Z: np.ndarray,
    ridge: float,
    workspace: Workspace | None = None,
) -> np.ndarray:
    """Return the factors (d, n) of instances by systems with one unknown per classifier."""
    workspace = workspace or Workspace()
    (d, m), n = X.shape, C.shape[1]
    dtype = np.result_type(X, C)
    roots = np.sqrt(C, out=workspace.array("roots", C.shape, C.dtype))
    inner = X.T @ X
    gram = workspace.array("gram", (m * (m + 1) // 2, n), dtype)
    pair_products(roots, out=gram)
    gram *= np.concatenate([inner[j:, j] for j in range(m)])[:, None]
    rooted = workspace.array("rooted", (m, n), dtype)
    rooted[:] = 0
    np.divide(weighted_Z, roots, out=rooted, where=roots > 0)
    solved = solve_packed(gram, rooted, ridge, workspace=workspace)
    np.multiply(solved, roots, out=rooted)
    return np.matmul(X, rooted, out=workspace.array("right_sides", (d, n), dtype))


def instance_systems(X: np.ndarray, C: np.ndarray, ridge: float) -> np.ndarray:
    """Return X C Xᵀ + λI (n, d, d) of every instance, or (1, d, d) if all have the same weights.

    Parameters
    ----------
    X : ndarray of shape (d, n_classifiers · k)
    C : ndarray of shape (n_classifiers, n)
    ridge : float
    """
    C = C[:, :1] if C.shape[1] and (C == C[:, :1]).all() else C
    products = pair_products(X)
    gram = products.reshape(len(products), len(C), -1).sum(axis=2) @ C
    matrices = unpack(gram, len(X))
    diagonals = np.einsum("ndd->nd", matrices)
    diagonals += _visible_ridge(diagonals.T, ridge)[:, None]
    return matrices


def alike(C: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """Return which instances have the largest weight in every row of `C`, and those weights.

    Returns
    -------
    complete : ndarray of shape (n,), bool, or None
        None if there are too few to save time.
    weights : ndarray of shape (n_classifiers,)
    """
    probe = C[:, :: max(1, C.shape[1] // N_PROBED)]
    weights = probe.max(axis=1)
    if C.shape[1] == 1 or not (probe == weights[:, None]).all(axis=0).any():
        return None, weights
    complete = (C == weights[:, None]).all(axis=0)
    return (complete if 4 * complete.sum() > len(complete) else None), weights


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
        Relative rounding error of the instance factors of the added blocks.
    """

    gram: np.ndarray
    right_sides: np.ndarray
    eps: float = 0.0

    @classmethod
    def empty(cls, d: int, n_classifiers: int, n_rows: int) -> "ClassifierEquations":
        """Return equations of no instance."""
        return cls(np.zeros((d * (d + 1) // 2, n_classifiers)), np.zeros((d, n_rows)))

    def add(
        self,
        Y: np.ndarray,
        C: np.ndarray,
        weighted_Z: np.ndarray,
        frequencies: np.ndarray | None = None,
        workspace: Workspace | None = None,
    ) -> None:
        """Add a block of instances.

        Parameters
        ----------
        Y : ndarray of shape (d, n)
            Instance factors.
        C : ndarray of shape (n_classifiers, n)
        weighted_Z : ndarray of shape (n_classifiers · k, n)
            Multiplied by `C`, see :func:`weigh`.
        frequencies : ndarray of shape (n,), default=None
            Sample weights; all 1 if None.
        workspace : Workspace, default=None
        """
        self.eps = max(self.eps, float(np.finfo(Y.dtype).eps))
        d, n = Y.shape
        counted = Y if frequencies is None else Y * frequencies.astype(Y.dtype)
        workspace = workspace or Workspace()
        products = workspace.array("products", (d * (d + 1) // 2, n), Y.dtype)
        self.gram += pair_products(Y, counted, out=products) @ C.T
        self.right_sides += counted @ weighted_Z.T

    def merge(self, other: Self) -> None:
        """Add the equations of other instances."""
        self.gram += other.gram
        self.right_sides += other.right_sides
        self.eps = max(self.eps, other.eps)

    def solve(self, ridge: float) -> np.ndarray:
        """Return classifier factors (d, n_classifiers · k): x = (Y C Yᵀ + λI)⁻¹ Y C z."""
        repeats = self.right_sides.shape[1] // self.gram.shape[1]
        gram = np.repeat(self.gram, repeats, axis=1) if repeats > 1 else self.gram
        return solve_packed(gram, self.right_sides, ridge, self.eps)
