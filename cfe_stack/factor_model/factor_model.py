"""The fitted factor model: label-free fold-in, reconstruction and completion.

Both trainers return a FactorModel. Everything that a final prediction uses is computed by its
fold-in, through a single code path for training and new rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from cfe_stack.data.blocks import Block
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.factor_model.confidence import Confidence
from cfe_stack.factor_model.normal_equations import solve_instances, weigh
from cfe_stack.factor_model.passes import Passes, pass_block_size
from cfe_stack.factor_model.workspace import Workspace
from cfe_stack.losses.link import Link


@dataclass(frozen=True, eq=False)
class FactorModel:
    """Model of linked predictions: shift + scale · (x · y + bias).

    Parameters
    ----------
    link : Link
    confidence : Confidence
        Fitted strategy.
    lambda_reg : float
        Ridge of the fold-in.
    n_classifiers : int
    shift, scale : ndarray of shape (n_rows,)
        Standardization. n_rows is n_classifiers for two classes, and n_classifiers · K
        (classifier-major) for more.
    factors : ndarray of shape (latent_dim, n_rows)
    bias : ndarray of shape (n_rows,)
    """

    link: Link
    confidence: Confidence
    lambda_reg: float
    n_classifiers: int
    shift: np.ndarray
    scale: np.ndarray
    factors: np.ndarray
    bias: np.ndarray

    def with_factors(self, factors: np.ndarray, bias: np.ndarray) -> Self:
        """Return a copy with other classifier factors."""
        return replace(self, factors=factors, bias=bias)

    def with_solution(self, solved: np.ndarray) -> Self:
        """Return a copy with solved classifier factors, whose last row is a bias if there is one.

        Parameters
        ----------
        solved : ndarray of shape (latent_dim, n_rows) or (latent_dim + 1, n_rows)
        """
        d = len(self.factors)
        return self.with_factors(solved[:d], solved[d] if len(solved) > d else self.bias)

    def standardized(self, data: EnsembleData) -> Self:
        """Return a copy whose rows have mean 0 and variance 1 over the observed cells of `data`."""
        total, squares, count = sum(data.map(self._moments), start=np.zeros((3, len(self.shift))))
        count = np.maximum(count, np.finfo(float).tiny)
        mean = total / count
        variance = np.maximum(squares / count - np.square(mean), 0.0)
        # a constant row keeps scale 1: dividing by its rounding errors would amplify them
        constant = variance <= 1e-12 * (squares / count + np.finfo(float).tiny)
        return replace(self, shift=mean, scale=np.where(constant, 1.0, np.sqrt(variance)))

    def _moments(self, block: Block) -> np.ndarray:
        """Return sums of linked values, of their squares, and of observed cells, (3, n_rows)."""
        rows = self.rows(self.link.forward(block.R)).astype(np.float64)
        seen = ~np.isnan(rows)
        rows = np.where(seen, rows, 0.0)
        return np.stack([part @ block.sample_weight for part in (rows, np.square(rows), seen)])

    def rows(self, Z: np.ndarray) -> np.ndarray:
        """Return linked values (m, n) or (m, n, K) as rows (n_rows, n)."""
        if Z.ndim == 2:
            return Z
        return np.moveaxis(Z, 2, 1).reshape(len(self.shift), -1)

    def linked(self, R: np.ndarray, complete: bool = False) -> np.ndarray:
        """Return standardized linked values (n_rows, n) of a block of R; missing cells are 0.

        Parameters
        ----------
        R : ndarray of shape (n_classifiers, n) or (n_classifiers, n, n_classes)
        complete : bool, default=False
            Whether no cell is missing, which saves the search for missing cells.
        """
        Z = self.rows(self.link.forward(R))
        if self.shift.any() or (self.scale != 1).any():
            Z = (Z - self.shift[:, None].astype(Z.dtype)) / self.scale[:, None].astype(Z.dtype)
        return Z if complete or not np.isnan(Z).any() else np.nan_to_num(Z, nan=0.0)

    def moments_times(self, vectors: np.ndarray, block: Block) -> np.ndarray:
        """Return Z Zᵀ · `vectors` (n_rows, k) of a block, instances counted by sample weights."""
        Z = self.linked(block.R).astype(np.float64)
        return (Z * block.sample_weight) @ (Z.T @ vectors)

    def weights(self, block: Block, *, use_labels: bool) -> np.ndarray:
        """Return the weights (n_classifiers, n) of a block's cells."""
        if use_labels:
            C = self.confidence.training_weights(block.R, block.labels)
        else:
            C = self.confidence.prediction_weights(block.R)
        return C if block.C is None else C * block.C.astype(C.dtype, copy=False)

    def solve(self, Z: np.ndarray, C: np.ndarray, workspace: Workspace | None = None) -> np.ndarray:
        """Return the instance factors (latent_dim, n) of linked values with given weights.

        Parameters
        ----------
        Z : ndarray of shape (n_rows, n)
        C : ndarray of shape (n_classifiers, n)
        workspace : Workspace, default=None
            Holds the result until the next block; a new array is allocated if None.
        """
        workspace = workspace or Workspace()
        centered = Z - self.bias[:, None].astype(Z.dtype) if self.bias.any() else Z
        weighted = workspace.array("weighted", Z.shape, np.result_type(C, Z))
        factors = self.factors.astype(Z.dtype, copy=False)
        return solve_instances(
            factors, C, weigh(C, centered, out=weighted), self.lambda_reg, workspace
        )

    def with_estimated_ridge(self, data: EnsembleData) -> Self:
        """Return the model with the ridge estimated from `data` (empirical Bayes).

        The factors are scaled so that instance factors have unit variance. The ridge is then the
        variance of the residuals, as in the factor model of Tipping and Bishop (1999). With
        complete rows this has little effect. In a row with a single prediction, a small ridge would
        complete the missing cells as if all classifiers agreed with it.
        """
        Y = self.fold_in(data).astype(np.float64)
        error, total = 0.0, 0.0
        for block in data.blocks():
            Z = self.linked(block.R)
            C = self.weights(block, use_labels=False) * block.sample_weight
            cells = np.repeat(C, len(Z) // len(C), axis=0)
            residual = Z - self.predicted(Y[:, block.start : block.stop])
            error += float((cells * np.square(residual)).sum())
            total += float(cells.sum())
        # whiten: with Cov(y) = V Λ Vᵀ, factors Λ^½ Vᵀ X go with instance factors of variance 1
        share = data.frequencies / data.frequencies.sum()
        values, vectors = np.linalg.eigh((Y * share) @ Y.T)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        ridge = error / max(total, np.finfo(float).tiny)
        return replace(self, factors=root.T @ self.factors, lambda_reg=ridge)

    def fold_in(self, data: EnsembleData, n_jobs: int | None = None) -> np.ndarray:
        """Return the label-free instance factors, of shape (latent_dim, n_instances).

        Parameters
        ----------
        data : EnsembleData
        n_jobs : int, default=None
            Number of threads over blocks; None uses as many as BLAS may use.
        """
        Y = np.empty((len(self.factors), data.n_instances), dtype=data.R.dtype)

        def keep(block: Block, factors: np.ndarray) -> None:
            Y[:, block.start : block.stop] = factors

        self.each_folded_in(data, keep, n_jobs)
        return Y

    def each_folded_in(
        self,
        data: EnsembleData,
        use: Callable[[Block, np.ndarray], None],
        n_jobs: int | None = None,
    ) -> None:
        """Call a function with every block and its label-free factors.

        Parameters
        ----------
        data : EnsembleData
        use : callable
            Called with a block and factors (latent_dim, n), which are overwritten afterward.
            Blocks arrive in any order and on several threads.
        n_jobs : int, default=None
            Number of threads over blocks; None uses as many as BLAS may use.
        """

        def run(blocks: Iterator[Block], workspace: Workspace, extra: None) -> None:
            for block in blocks:
                Z = self.linked(block.R, block.is_complete)
                C = self.weights(block, use_labels=False)
                use(block, self.solve(Z, C, workspace))

        with Passes(n_jobs) as passes:
            size = pass_block_size(data, len(self.factors))
            for _ in passes.over(data, run, size=size, here=True):
                pass

    def predicted(self, Y: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return the standardized reconstruction (n_rows, n) of instance factors."""
        Z_hat = np.matmul(self.factors.T.astype(Y.dtype, copy=False), Y, out=out)
        if self.bias.any():
            Z_hat += self.bias[:, None].astype(Y.dtype)
        return Z_hat

    def unstandardize(self, Z_hat: np.ndarray) -> np.ndarray:
        """Return linked values (m, n) or (m, n, K) of standardized rows (n_rows, n)."""
        values = Z_hat * self.scale[:, None] + self.shift[:, None]
        if len(values) == self.n_classifiers:
            return values
        per_class = len(values) // self.n_classifiers
        return np.moveaxis(values.reshape(self.n_classifiers, per_class, -1), 1, 2)

    def reconstruct(self, Y: np.ndarray) -> np.ndarray:
        """Return the linked reconstruction (m, n) or (m, n, K) of instance factors."""
        return self.unstandardize(self.predicted(Y))

    def complete(self, data: EnsembleData | Block, Y: np.ndarray) -> np.ndarray:
        """Return R as float64 with its missing cells filled in; observed cells are unchanged.

        Parameters
        ----------
        data : EnsembleData or Block
        Y : ndarray of shape (latent_dim, n_instances)
            The label-free fold-in of `data`.

        Returns
        -------
        ndarray of shape (n_classifiers, n_instances) or (n_classifiers, n_instances, n_classes)
        """
        completed = np.array(data.R, dtype=np.float64)
        if data.is_complete:
            return completed
        first, blocks = (data.start, [data]) if isinstance(data, Block) else (0, data.blocks())
        for block in blocks:
            if not block.is_complete:
                here, holes = slice(block.start - first, block.stop - first), ~block.observed
                filled = self.link.inverse(self.reconstruct(Y[:, here].astype(np.float64)))
                completed[:, here][holes] = filled[holes]
        return completed
