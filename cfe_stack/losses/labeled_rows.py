"""Labels, frequencies and loss weights of labeled rows, in one record."""

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from cfe_stack.losses.class_weight import ClassWeight, instance_weights
from cfe_stack.losses.focal_loss import FocalLoss


@dataclass(frozen=True, eq=False)
class LabeledRows:
    """Everything that a supervised loss needs to know about rows, apart from their scores.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        Class codes.
    frequencies : ndarray of shape (n,)
        Sample weights, in observations.
    loss_weights : ndarray of shape (n,)
        Sample weight × class weight × focal class factor.
    loss : FocalLoss, default=FocalLoss()
        The logistic loss by default.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.losses import LabeledRows
    >>> rows = LabeledRows(np.array([0, 1]), np.ones(2), np.array([1.0, 3.0]))
    >>> rows.normalized().loss_weights
    array([0.5, 1.5])
    """

    labels: np.ndarray
    frequencies: np.ndarray
    loss_weights: np.ndarray
    loss: FocalLoss = field(default_factory=FocalLoss)

    @classmethod
    def plain(cls, labels: np.ndarray, frequencies: np.ndarray) -> Self:
        """Return rows with the logistic loss and without class weights."""
        return cls(labels, frequencies, frequencies)

    @property
    def is_plain(self) -> bool:
        """Whether the loss leaves probabilities calibrated: no class weights, no focusing."""
        return self.loss.gamma == 0 and np.array_equal(self.loss_weights, self.frequencies)

    def take(self, rows: np.ndarray | slice, scale: np.ndarray | float = 1.0) -> Self:
        """Return some of the rows, with their weights multiplied by `scale`."""
        return replace(
            self,
            labels=self.labels[rows],
            frequencies=self.frequencies[rows] * scale,
            loss_weights=self.loss_weights[rows] * scale,
        )

    def normalized(self) -> Self:
        """Return rows whose loss weights sum to the number of observations.

        Penalties count observations, so the loss has to count them, too.
        """
        scale = self.frequencies.sum() / (self.loss_weights.sum() or 1.0)
        return replace(self, loss_weights=self.loss_weights * scale)


@dataclass(frozen=True)
class LossSettings:
    """Parameters of a supervised loss.

    Parameters
    ----------
    loss : FocalLoss
    class_weight : dict, "balanced" or None
    focal_alpha : float or None
    classes : ndarray of shape (n_classes,)
        Labels behind the class codes, the keys of `class_weight`.
    """

    loss: FocalLoss
    class_weight: ClassWeight
    focal_alpha: float | None
    classes: np.ndarray

    def rows(self, labels: np.ndarray, frequencies: np.ndarray) -> LabeledRows:
        """Return the record of labeled rows.

        Parameters
        ----------
        labels : ndarray of shape (n,)
            Class codes.
        frequencies : ndarray of shape (n,)
            Sample weights.
        """
        weights = instance_weights(
            labels,
            len(self.classes),
            class_weight=self.class_weight,
            sample_weight=frequencies,
            focal_alpha=self.focal_alpha,
            classes=self.classes,
        )
        return LabeledRows(labels, frequencies, weights, self.loss)
