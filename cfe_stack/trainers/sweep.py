"""What one pass over the data leaves behind: sums, from which the next update is solved."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from cfe_stack import objective
from cfe_stack.ensemble_data import Block
from cfe_stack.trainers.factor_model import FactorModel
from cfe_stack.trainers.normal_equations import ClassifierEquations, weigh


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
    features : list of ndarray
        Features of the aggregator on labelled instances.
    """

    equations: ClassifierEquations
    error: float = 0.0
    squared_norm: float = 0.0
    n_cells: float = 0.0
    features: list[np.ndarray] = field(default_factory=list)

    @classmethod
    def empty(cls, model: FactorModel, *, learns_bias: bool) -> Self:
        """Return sums over nothing."""
        d, n_rows = model.factors.shape
        return cls(ClassifierEquations.empty(d + learns_bias, model.n_classifiers, n_rows))

    def add(
        self, model: FactorModel, block: Block, Z: np.ndarray, C: np.ndarray, Y: np.ndarray
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
        """
        if (block.sample_weight != 1).any():
            C = C * block.sample_weight.astype(C.dtype)
        learns_bias = len(self.equations.right_sides) > len(Y)
        constant = np.ones((1, Y.shape[1]), dtype=Y.dtype)
        augmented = np.concatenate([Y, constant]) if learns_bias else Y
        self.equations.add(augmented, C, weigh(C, Z))
        rows_each = len(Z) // len(C)
        cells = C if rows_each == 1 else np.repeat(C, rows_each, axis=0)
        self.error += float(objective.squared_error(Z, cells, model.predicted(Y)))
        self.squared_norm += float(np.square(Y).sum(axis=0) @ block.sample_weight)
        self.n_cells += float(block.observed.sum(axis=0) @ block.sample_weight)

    def reconstruction_loss(self, model: FactorModel) -> float:
        """Return L_recon at the classifier factors of `model`."""
        squared_norms = self.squared_norm + float(
            np.square(model.factors).sum() + np.square(model.bias).sum()
        )
        return float(
            objective.reconstruction_loss(self.error, squared_norms, model.lambda_reg, self.n_cells)
        )
