"""What one pass over the data leaves behind: sums, from which the next update is solved."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from cfe_stack.data.blocks import Block
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.factor_model.factor_model import FactorModel
from cfe_stack.factor_model.normal_equations import ClassifierEquations, weigh
from cfe_stack.factor_model.passes import Passes, pass_block_size
from cfe_stack.factor_model.workspace import Workspace
from cfe_stack.losses import objective

START_SCALE = 0.01
START_BLOCK = 4096
"""Random start factors are drawn in runs of this many instances, whatever the block size."""
KEPT_BYTES = 1 << 27
"""Instance factors and transductive probabilities are kept up to this size unless asked for."""


def keeps_factors(
    store: bool | str, latent_dim: int, data: EnsembleData, majorize: bool = False
) -> bool:
    """Return whether instance factors and transductive probabilities are kept."""
    if data.chunks is not None:
        if majorize:
            raise ValueError(
                "supervision='majorize' keeps all instance factors on one machine, which those of "
                "a dask array are not for. Use supervision='confidence'."
            )
        if store is True:
            raise ValueError(
                "store_instance_factors=True keeps the factors on one machine, which those of a "
                "dask array are not for. Use 'auto' or False, and transform for the factors."
            )
        return False
    if isinstance(store, bool):
        return store
    each = latent_dim * data.R.dtype.itemsize + 8 * data.n_classes
    return data.n_instances * each <= KEPT_BYTES


class StartFactors:
    """Random instance factors to start from, drawn in their order whoever asks for how many.

    Parameters
    ----------
    random : RandomState
    latent_dim : int
    data : EnsembleData
    """

    def __init__(self, random: np.random.RandomState, latent_dim: int, data: EnsembleData) -> None:
        self.random, self.latent_dim = random, latent_dim
        self.n_instances, self.dtype = data.n_instances, data.R.dtype
        self.drawn = 0
        self.left = np.empty((latent_dim, 0), dtype=self.dtype)

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Return the factors of the next instances, which must follow those asked for last."""
        parts, size = [self.left], self.left.shape[1]
        while size < stop - start:
            shape = (self.latent_dim, min(START_BLOCK, self.n_instances - self.drawn))
            drawn = (START_SCALE * self.random.standard_normal(shape)).astype(self.dtype)
            self.drawn += shape[1]
            size += shape[1]
            parts.append(drawn)
        factors = np.concatenate(parts, axis=1)
        self.left = factors[:, stop - start :].copy()
        return factors[:, : stop - start]


@dataclass
class Sweep:
    """Sums over blocks of instances.

    Parameters
    ----------
    equations : ClassifierEquations
        With one more factor than the model has where classifiers have a bias.
    error, squared_norm : float
        Weighted squared error, and ‖Y‖², instances counted by their frequencies.
    n_cells : float
        Observed cells, counted likewise.
    labelled : list of ndarray of shape (latent_dim, k)
        Factors of the instances with a label, in their order.
    """

    equations: ClassifierEquations
    error: float = 0.0
    squared_norm: float = 0.0
    n_cells: float = 0.0
    labelled: list[np.ndarray] = field(default_factory=list)

    @classmethod
    def empty(cls, model: FactorModel, *, learns_bias: bool) -> Self:
        """Return sums over nothing."""
        d, n_rows = model.factors.shape
        return cls(ClassifierEquations.empty(d + learns_bias, model.n_classifiers, n_rows))

    def add(
        self,
        model: FactorModel,
        block: Block,
        Z: np.ndarray,
        C: np.ndarray,
        Y: np.ndarray,
        workspace: Workspace,
    ) -> None:
        """Add a block.

        Parameters
        ----------
        model : FactorModel
            The classifier factors of the error.
        block : Block
        Z : ndarray of shape (n_rows, n)
            Its linked predictions.
        C : ndarray of shape (n_classifiers, n)
            Weights of its cells.
        Y : ndarray of shape (latent_dim, n)
            Its instance factors.
        workspace : Workspace
        """
        learns_bias = len(self.equations.right_sides) > len(Y)
        constant = np.ones((1, Y.shape[1]), dtype=Y.dtype)
        augmented = np.concatenate([Y, constant]) if learns_bias else Y
        weighted = weigh(C, Z, out=workspace.array("weighted", Z.shape, Z.dtype))
        self.equations.add(augmented, C, weighted, block.frequencies, workspace)
        residual = model.predicted(Y, out=workspace.array("residual", Z.shape, Y.dtype))
        self.error += objective.squared_error_in_place(Z, C, residual, block.frequencies)
        self.squared_norm += float(np.square(Y).sum(axis=0) @ block.sample_weight)
        self.n_cells += block.n_cells

    def merge(self, other: Self) -> None:
        """Add the sums over the instances that follow."""
        self.equations.merge(other.equations)
        self.error += other.error
        self.squared_norm += other.squared_norm
        self.n_cells += other.n_cells
        self.labelled += other.labelled

    def reconstruction_loss(self, model: FactorModel) -> float:
        """Return L_recon at the classifier factors of `model`."""
        squared_norms = self.squared_norm + float(
            np.square(model.factors).sum() + np.square(model.bias).sum()
        )
        return float(
            objective.reconstruction_loss(self.error, squared_norms, model.lambda_reg, self.n_cells)
        )


@dataclass(frozen=True)
class SweepStep:
    """The work of a sweep on a run of blocks: solve the instances, add up what classifiers need.

    Parameters
    ----------
    model : FactorModel
        The classifier factors to solve with.
    learns_bias : bool
        Whether the classifiers' last factor is a bias.
    Y : ndarray of shape (latent_dim, n_instances), default=None
        Where all instance factors are kept, if they are.
    solved : bool, default=False
        Whether `Y` holds the instance factors, so that there is nothing to solve.
    """

    model: FactorModel
    learns_bias: bool
    Y: np.ndarray | None = None
    solved: bool = False

    def __call__(self, blocks: Iterator[Block], workspace: Workspace, start: Any = None) -> Sweep:
        """Return the sums over `blocks`.

        Parameters
        ----------
        blocks : iterator of Block
        workspace : Workspace
        start : ndarray of shape (latent_dim, n), default=None
            Factors to take as they are instead of solving for them.
        """
        model, done = self.model, 0
        passed = Sweep.empty(model, learns_bias=self.learns_bias)
        for block in blocks:
            Z = model.linked(block.R, block.is_complete)
            C = model.weights(block, use_labels=True)
            if start is not None:
                size = block.stop - block.start
                factors, done = start[:, done : done + size], done + size
            elif self.Y is not None and self.solved:
                factors = self.Y[:, block.start : block.stop]
            else:
                factors = model.solve(Z, C, workspace)
            passed.add(model, block, Z, C, factors, workspace)
            if self.Y is not None and not self.solved:
                self.Y[:, block.start : block.stop] = factors
            known = (block.labels >= 0) & (block.sample_weight > 0)
            if known.any():
                passed.labelled.append(factors[:, known])
        return passed


def passed_over(
    data: EnsembleData, passes: Passes, step: SweepStep, start: StartFactors | None = None
) -> Sweep:
    """Return the sums of one pass over the data, added up in the order of the instances."""
    passed = Sweep.empty(step.model, learns_bias=step.learns_bias)
    size = pass_block_size(data, len(step.model.factors))
    for part in passes.over(data, step, size=size, extra=start):
        passed.merge(part)
    return passed
