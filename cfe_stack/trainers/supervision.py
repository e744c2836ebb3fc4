"""The labeled instances, and their weights in the supervised loss over training."""

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from cfe_stack.data.blocks import labeled_instances
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.losses.class_weight import class_weights, instance_weights, prior_log_odds
from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.losses.labeled_rows import LabeledRows
from cfe_stack.losses.schedules import Schedule, scheduled
from cfe_stack.runtime.warning_location import user_stacklevel


@dataclass(frozen=True, eq=False)
class Supervision:
    """The labeled instances, and their weights in the supervised loss.

    Parameters
    ----------
    n_instances : int
    rows : ndarray of shape (n_known,), int
        Instances with a label and a positive sample weight.
    labels, frequencies, weights : ndarray of shape (n_known,)
        Class codes, sample weights, and sample weight × class weight × focal class factor.
    rho : float
        Share of reconstruction in the objective; 1 without labels.
    gamma : float or callable
    delta : float or None
    gradient : {"exact", "reweighted"}
    class_factors : ndarray of shape (n_classes,)
        Class weights included in `weights`.
    share : bool or callable
        Exponent of the class factors, or its schedule. True is the full factor.
    """

    n_instances: int
    rows: np.ndarray
    labels: np.ndarray
    frequencies: np.ndarray
    weights: np.ndarray
    rho: float
    gamma: float | Schedule
    delta: float | None
    gradient: Any
    class_factors: np.ndarray
    share: bool | Schedule

    @classmethod
    def of(cls, trainer: Any, data: EnsembleData) -> Self:
        """Return the supervision of `data` by the parameters of `trainer`."""
        rows = labeled_instances(data.labels, data.sample_weight)
        labels, frequencies = data.labels[rows], data.frequencies[rows]
        rho = float(trainer.rho)
        if not len(rows):
            if rho < 1:
                warnings.warn(
                    "No instance has a label: rho is treated as 1 (reconstruction only), and the "
                    "aggregator keeps its initial weights. For supervision, pass labels in "
                    "EnsembleData.",
                    UserWarning,
                    stacklevel=user_stacklevel(),
                )
            rho = 1.0
        class_weight = trainer.class_weight if trainer.use_class_weights else None
        weights = instance_weights(
            labels,
            data.n_classes,
            class_weight=class_weight,
            sample_weight=frequencies,
            focal_alpha=trainer.focal_alpha,
            classes=data.classes,
        )
        if len(rows) and not weights.sum() > 0:
            raise ValueError(
                f"class_weight {trainer.class_weight!r} with focal_alpha {trainer.focal_alpha!r} "
                "gives every labeled instance weight 0. At least one class that is present needs a "
                "positive weight."
            )
        return cls(
            n_instances=data.n_instances,
            rows=rows,
            labels=labels,
            frequencies=frequencies,
            weights=weights,
            rho=rho,
            gamma=trainer.focal_gamma,
            delta=trainer.focal_delta,
            gradient=trainer.focal_gradient,
            class_factors=class_weights(
                labels, frequencies, data.n_classes, class_weight, data.classes
            ),
            share=trainer.use_class_weights,
        )

    @cached_property
    def omega(self) -> np.ndarray:
        """Weights of all instances (n_instances,), 0 for unlabeled ones."""
        omega = np.zeros(self.n_instances)
        omega[self.rows] = self.weights
        return omega

    @property
    def is_scheduled(self) -> bool:
        """Whether the loss changes over training."""
        return callable(self.gamma) or callable(self.share)

    def factors_at(self, progress: float) -> np.ndarray:
        """Return the factors (n_classes,) of the class weights at `progress` in [0, 1]."""
        if not callable(self.share):
            return np.ones(len(self.class_factors))
        factors = np.where(self.class_factors > 0, self.class_factors, 1.0)
        return factors ** (scheduled(self.share, progress) - 1)

    def weights_at(self, progress: float) -> np.ndarray:
        """Return the weights (n_known,) at `progress` in [0, 1] of training."""
        if not callable(self.share):
            return self.weights
        return self.weights * self.factors_at(progress)[self.labels]

    def loss_at(self, progress: float) -> FocalLoss:
        """Return the loss at `progress` in [0, 1] of training."""
        return FocalLoss(scheduled(self.gamma, progress), self.delta, self.gradient)

    def rows_at(self, progress: float) -> LabeledRows:
        """Return the record of labeled rows at `progress` in [0, 1] of training."""
        weights = self.weights_at(progress)
        return LabeledRows(self.labels, self.frequencies, weights, self.loss_at(progress))

    def intercept(self, n_classes: int, init_prior: bool) -> float | np.ndarray:
        """Return the initial intercept."""
        if init_prior and len(self.rows):
            return prior_log_odds(self.labels, self.weights_at(0.0), n_classes)
        return 0.0 if n_classes == 2 else np.zeros(n_classes)
