"""The columns of a pool's problem: features, features times gates, intercepts.

Scores are linear in the coefficients: z · w + Σ_g φ_g z · γ_g + b, with the classifiers on the last
axis of z. The matrix of all columns is never formed. Everything that a solver needs is a product
with the features, which are therefore read once instead of once per gate.
"""

from collections.abc import Iterator, Sized
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

GRAM_BLOCK_CELLS = 1 << 17
"""Number of cells of a block in Gram products, so that its temporaries fit in the CPU cache."""
BLOCK_ROWS = 1 << 15
"""Number of rows of features that are requested at a time."""


def row_slices(features: Sized) -> Iterator[slice]:
    """Yield slices that cover the rows of `features`, or one empty slice if there are none."""
    for start in range(0, max(len(features), 1), BLOCK_ROWS):
        yield slice(start, start + BLOCK_ROWS)


@dataclass(frozen=True, eq=False)
class PoolDesign:
    """Columns of features, their products with gates, and one intercept or one per class.

    Parameters
    ----------
    Z : ndarray of shape (n, m) or (n, n_classes, m)
        Features, or an object with a length that returns such an array for a slice of rows.
    phi : ndarray of shape (n, n_gates), default=None
        Gate values; no gates if None.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.pools.design import PoolDesign
    >>> design = PoolDesign(np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[0.5], [-1.0]]))
    >>> design.scores(np.array([1.0, 1.0, 0.0, 2.0, 0.25]))
    array([ 5.25, -0.75])
    """

    Z: Any
    phi: np.ndarray | None = None

    @cached_property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers of weights, of gate coefficients, and of intercepts."""
        *classes, m = self.Z[:0].shape[1:]
        gates = 0 if self.phi is None else self.phi.shape[1]
        return m, m * gates, classes[0] if classes else 1

    @cached_property
    def _gates(self) -> np.ndarray:
        """Ones and gate values, (1 + n_gates, n)."""
        ones = np.ones((1, len(self.Z)))
        return ones if self.phi is None else np.concatenate([ones, self.phi.T])

    def _parts(self) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Yield slices of rows with their features and their gates."""
        for rows in row_slices(self.Z):
            yield rows, self.Z[rows], self._gates[:, rows]

    def scores(self, theta: np.ndarray) -> np.ndarray:
        """Return the scores (n,) or (n, n_classes) of coefficients (p,)."""
        m, n_gated, k = self.sizes
        coefficients, intercept = theta[: m + n_gated].reshape(-1, m), theta[m + n_gated :]
        # classes first in memory, since losses add and compare classes elementwise
        scores = np.empty((k, len(self.Z)))
        for rows, Z, gates in self._parts():
            # one product per block gives z · w and all z · γ_g; the gates weigh them afterward
            products = (coefficients @ Z.reshape(-1, m).T).reshape(len(gates), len(Z), k)
            np.einsum("gnk,gn->kn", products, gates, out=scores[:, rows])
        scores += intercept[:, None]
        return scores[0] if k == 1 else scores.T

    def transposed(self, values: np.ndarray) -> np.ndarray:
        """Return the product (p,) of the columns with values of the shape of scores."""
        m, n_gated, k = self.sizes
        values = values.reshape(-1, k)
        product = np.zeros((1 + n_gated // m, m))
        for rows, Z, gates in self._parts():
            along = gates[:, :, None] * values[rows]
            product += along.reshape(len(gates), -1) @ Z.reshape(-1, m)
        return np.concatenate([product.ravel(), values.sum(axis=0)])

    def gram(self, weights: np.ndarray) -> np.ndarray:
        """Return Σ ω c cᵀ (p, p) over instances, and classes, of weights ω ≥ 0 shaped as scores."""
        m, n_gated, k = self.sizes
        if k == 1:
            return self.contracted_gram(np.ones((len(weights), 1)), weights)
        top = m + n_gated
        gram = np.zeros((top + k, top + k))
        for rows, Z, gates in self._parts():
            part = np.ascontiguousarray(weights[rows])
            # weights and gates are shared by the classes: every (row, class) pair is one row
            spread = np.repeat(gates, k, axis=1)
            gram[:top, :top] += weighted_gram(Z.reshape(-1, m), spread, part.ravel())
            # the intercept of class j is a column that is 1 in the rows of class j only
            for j, of_class in enumerate(part.T):
                across = (gates * of_class) @ Z[:, j]
                gram[:top, top + j] += across.ravel()
        gram[top:, :top] = gram[:top, top:].T
        gram[np.arange(top, top + k), np.arange(top, top + k)] = weights.sum(axis=0)
        return gram

    def contracted_gram(self, shares: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return Σ ω s sᵀ (p, p) of the columns' sums s over classes, counted by shares (n, K)."""
        gram = np.zeros((sum(self.sizes),) * 2)
        for rows, Z, gates in self._parts():
            sums = Z if Z.ndim == 2 else np.einsum("nk,nkm->nm", shares[rows], Z)
            gram += weighted_gram(sums, gates, weights[rows], shares[rows])
        return gram


def weighted_gram(
    rows: np.ndarray,
    gates: np.ndarray,
    weights: np.ndarray,
    constants: np.ndarray | None = None,
) -> np.ndarray:
    """Return Σ ω c cᵀ of columns c = (z, φ z, constants).

    The columns are scaled by √ω, so that the Gram matrix is a product of an array with its own
    transpose: NumPy computes only one half of it (BLAS syrk).

    Parameters
    ----------
    rows : ndarray of shape (n, m)
    gates : ndarray of shape (1 + n_gates, n)
        The first row is 1.
    weights : ndarray of shape (n,)
        At least 0.
    constants : ndarray of shape (n, k), default=None
        No further columns if None.
    """
    (n, m), k = rows.shape, 0 if constants is None else constants.shape[1]
    p = m * len(gates) + k
    size = min(max(256, GRAM_BLOCK_CELLS // p), max(n, 1))
    roots, gram = np.sqrt(weights), np.zeros((p, p))
    scaled = np.empty((size, p))
    for start in range(0, n, size):
        here = slice(start, start + size)
        part = rows[here]
        block = scaled[: len(part)]
        for g, gate in enumerate(gates):
            factor = roots[here] * gate[here] if g else roots[here]
            np.multiply(part, factor[:, None], out=block[:, g * m : (g + 1) * m])
        if constants is not None:
            np.multiply(constants[here], roots[here, None], out=block[:, p - k :])
        gram += block.T @ block
    return gram
