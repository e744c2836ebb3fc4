"""From a factor model and a final aggregator to raw scores, by one road for old and new rows."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from cfe_stack.ensemble_data import EnsembleData, observed
from cfe_stack.final_aggregators import FinalAggregator, FoldedIn, PoolFinalAggregator, Target
from cfe_stack.gates import Gates
from cfe_stack.losses import ClassWeight, FocalLoss, instance_weights
from cfe_stack.trainers.factor_model import FactorModel


@dataclass(frozen=True)
class LossSettings:
    """How the final aggregator weighs labelled instances.

    Parameters
    ----------
    loss : FocalLoss
    class_weight : dict, "balanced" or None
    focal_alpha : float or None
    classes : ndarray of shape (n_classes,)
    """

    loss: FocalLoss
    class_weight: ClassWeight
    focal_alpha: float | None
    classes: np.ndarray


def prior_scores(prior: np.ndarray) -> float | np.ndarray:
    """Return the raw score, or scores (K,), of class frequencies."""
    logs = np.log(prior)
    return float(logs[1] - logs[0]) if len(prior) == 2 else logs - logs.mean()


@dataclass(frozen=True, eq=False)
class Predictor:
    """Label-free fold-in, gates, and a fitted final aggregator.

    Parameters
    ----------
    model : FactorModel
    gates : Gates
    aggregator : FinalAggregator
    prior : ndarray of shape (n_classes,)
        Class frequencies, for instances that nobody has predicted.
    """

    model: FactorModel
    gates: Gates
    aggregator: FinalAggregator
    prior: np.ndarray

    @classmethod
    def fit(
        cls,
        aggregator: FinalAggregator,
        model: FactorModel,
        data: EnsembleData,
        folds: np.ndarray,
        settings: LossSettings,
    ) -> Self:
        """Fit gates and aggregator.

        Parameters
        ----------
        aggregator : FinalAggregator
            Fitted in place, on the label-free fold-ins of labelled instances with a prediction.
        model : FactorModel
        data : EnsembleData
            With sample weights.
        folds : ndarray of shape (n_repeats, n_instances)
            Inner folds of labelled instances.
        settings : LossSettings
        """
        known, codes, weights = data.labels >= 0, data.labels, data.frequencies
        prior = np.bincount(codes[known], weights[known], minlength=data.n_classes)
        model = model.with_estimated_ridge(data)
        instances = FoldedIn.of(data, model)
        gates = Gates.fit(model.factors, instances.Y, instances.Z, weights)
        usable = known & observed(data.R).any(axis=0)
        loss_weights = instance_weights(
            codes[usable],
            data.n_classes,
            class_weight=settings.class_weight,
            sample_weight=weights[usable],
            focal_alpha=settings.focal_alpha,
            classes=settings.classes,
        )
        target = Target(
            codes[usable], weights[usable], loss_weights, folds[:, usable], settings.loss
        )
        if not usable.all():
            instances = instances.take(np.flatnonzero(usable))
        aggregator.fit(instances.gated(gates), target)
        prior = prior / prior.sum()
        if isinstance(aggregator, PoolFinalAggregator):
            aggregator.expand_cv_logits(usable[known], prior_scores(prior))
        return cls(model, gates, aggregator, prior)

    def scores(self, data: EnsembleData) -> np.ndarray:
        """Return raw scores (n,) or (n, K); instances without any prediction get the prior's."""
        scores = self.aggregator.scores(FoldedIn.of(data, self.model).gated(self.gates))
        scores[~observed(data.R).any(axis=0)] = prior_scores(self.prior)
        return scores

    def contributions(self, data: EnsembleData) -> np.ndarray:
        """Return what every classifier adds to the scores, (n, m) or (n, K, m).

        The intercept is shared out in equal parts; instances without any prediction have equal
        parts of the prior's score.
        """
        parts = self.aggregator.contributions(FoldedIn.of(data, self.model).gated(self.gates))
        intercept = self.aggregator.intercept_
        parts = parts + (intercept if parts.ndim == 2 else intercept[:, None]) / parts.shape[-1]
        empty = ~observed(data.R).any(axis=0)
        parts[empty] = np.asarray(prior_scores(self.prior))[..., None] / parts.shape[-1]
        return parts
