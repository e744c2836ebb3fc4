"""Features of a pool, and the labeled rows that it is fitted to."""

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from cfe_stack.losses.labeled_rows import LabeledRows


class PoolFeatures(Protocol):
    """Instances that a family takes its features from."""

    @property
    def Z(self) -> np.ndarray:
        """Log-odds or centered log-ratios, with the classifiers on the last axis."""

    @property
    def P(self) -> np.ndarray:
        """Probabilities, with the classifiers on the last axis."""


@dataclass(frozen=True, eq=False)
class PoolInputs:
    """What a pool is fitted on.

    Parameters
    ----------
    Z : ndarray of shape (n, n_classifiers) or (n, n_classes, n_classifiers)
        Log-odds or centered log-ratios without missing values; probabilities for linear pools.
    phi : ndarray of shape (n, n_gates)
        Gate values.
    rows : LabeledRows
    """

    Z: np.ndarray
    phi: np.ndarray
    rows: LabeledRows

    def take(self, rows: np.ndarray | slice, scale: np.ndarray | float = 1.0) -> Self:
        """Return some of the rows, with their weights multiplied by `scale`."""
        return type(self)(self.Z[rows], self.phi[rows], self.rows.take(rows, scale))
