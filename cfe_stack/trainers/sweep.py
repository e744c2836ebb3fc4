"""One pass over the data: the sums from which the next update is solved."""

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
START_BLOCK_ROWS = 4096
"""Number of instances per draw of random factors, independent of the block size."""
MAX_KEPT_BYTES = 1 << 27
"""Maximum size of instance factors and transductive probabilities that are kept by default."""


def keeps_factors(
    store: bool | str, latent_dim: int, data: EnsembleData, majorize: bool = False
) -> bool:
    """Return whether instance factors and transductive probabilities are kept."""
    if data.chunks is not None:
        if majorize:
            raise ValueError(
                "supervision='majorize' keeps all instance factors in memory, which is not "
                "possible for a dask array. Use supervision='confidence'."
            )
        if store is True:
            raise ValueError(
                "store_instance_factors=True keeps the factors in memory, which is not possible "
                "for a dask array. Use 'auto' or False, and transform to compute factors."
            )
        return False
    if isinstance(store, bool):
        return store
    each = latent_dim * data.R.dtype.itemsize + 8 * data.n_classes
    return data.n_instances * each <= MAX_KEPT_BYTES


class StartFactors:
    """Random initial instance factors, drawn in order and independent of the block size.

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
        """Return the factors of the next instances, which must follow those of the last call."""
        parts, size = [self.left], self.left.shape[1]
        while size < stop - start:
            shape = (self.latent_dim, min(START_BLOCK_ROWS, self.n_instances - self.drawn))
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
        With one more factor than the model if the classifiers have a bias.
    error, squared_norm : float
        Weighted squared error, and ‖Y‖², instances counted by their frequencies.
    n_cells : float
        Number of observed cells, weighted likewise.
    labeled : list of ndarray of shape (latent_dim, k)
        Factors of the instances with a label, in their order.
    """

    equations: ClassifierEquations
    error: float = 0.0
    squared_norm: float = 0.0
    n_cells: float = 0.0
    labeled: list[np.ndarray] = field(default_factory=list)

    @classmethod
    def empty(cls, model: FactorModel, *, learns_bias: bool) -> Self:
        """Return sums over no instances."""
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
        # a factor that is 1 for every instance makes the classifiers' last factor a bias
        constant = np.ones((1, Y.shape[1]), dtype=Y.dtype)
        augmented = np.concatenate([Y, constant]) if learns_bias else Y
        weighted = weigh(C, Z, out=workspace.array("weighted", Z.shape, Z.dtype))
        self.equations.add(augmented, C, weighted, block.frequencies, workspace)
        residual = model.predicted(Y, out=workspace.array("residual", Z.shape, Y.dtype))
        self.error += objective.squared_error_in_place(Z, C, residual, block.frequencies)
        self.squared_norm += float(np.square(Y).sum(axis=0) @ block.sample_weight)
        self.n_cells += block.n_cells

    def merge(self, other: Self) -> None:
        """Add the sums over the following instances."""
        self.equations.merge(other.equations)
        self.error += other.error
        self.squared_norm += other.squared_norm
        self.n_cells += other.n_cells
        self.labeled += other.labeled

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
    """The work of a sweep on a run of blocks.

    It solves the instance factors, and adds their contributions to the classifiers' equations.

    Parameters
    ----------
    model : FactorModel
        The classifier factors to solve with.
    learns_bias : bool
        Whether the classifiers' last factor is a bias.
    Y : ndarray of shape (latent_dim, n_instances), default=None
        Array of all instance factors, if they are kept.
    solved : bool, default=False
        Whether `Y` already holds the instance factors.
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
            Given factors, which are used instead of solving for them.
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
                passed.labeled.append(factors[:, known])
        return passed


def passed_over(
    data: EnsembleData, passes: Passes, step: SweepStep, start: StartFactors | None = None
) -> Sweep:
    """Return the sums of one pass over the data, added in the order of the instances."""
    passed = Sweep.empty(step.model, learns_bias=step.learns_bias)
    size = pass_block_size(data, len(step.model.factors))
    for part in passes.over(data, step, size=size, extra=start):
        passed.merge(part)
    return passed
