"""Aggregators that predict: fitted on label-free fold-ins, recalibrated, ready for new rows."""

from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np

from cfe_stack.data.blocks import Block
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.factor_model.factor_model import FactorModel
from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.losses.link import make_link
from cfe_stack.pools.gates import Gates
from cfe_stack.pools.linear_pool import GREEDY_SELECTION, LINEAR_POOL, LinearPool
from cfe_stack.pools.log_pool import FAMILIES, Pool, fit_scale
from cfe_stack.pools.scoring import Scorer
from cfe_stack.pools.selection import PoolTraining, SelectedPool, select_pool
from cfe_stack.trainers.aggregators import WeightedAggregator, classifiers_last

FINAL_AGGREGATORS: dict[str, tuple[str, ...]] = {
    "auto": ("log_pool", "gated_pool", "signed_pool", "bounded_pool"),
    "log_pool": ("log_pool",),
    "gated_pool": ("gated_pool",),
    "signed_pool": ("signed_pool",),
    "bounded_pool": ("bounded_pool",),
    "linear_pool": ("linear_pool",),
    "greedy_selection": ("greedy_selection",),
    "mean": (),
    "weighted": (),
}
"""Names, and the families of pools that each combines."""


@dataclass(frozen=True, eq=False)
class FoldedIn:
    """Instances as the final aggregator sees them: nothing here has used their labels.

    Parameters
    ----------
    model : FactorModel
    Y : ndarray of shape (latent_dim, n)
        Label-free instance factors.
    R : ndarray of shape (n_classifiers, n) or (n_classifiers, n, n_classes)
        Completed probabilities.
    Z : ndarray of shape (n, n_classifiers) or (n, n_classes, n_classifiers)
        Their log-odds or centred log-ratios.
    phi : ndarray of shape (n, n_gates)
        Gate values.
    """

    model: FactorModel
    Y: np.ndarray
    R: np.ndarray
    Z: np.ndarray
    phi: np.ndarray

    @classmethod
    def of(cls, data: EnsembleData, model: FactorModel) -> Self:
        """Fold in `data`."""
        return cls._of(model, model.fold_in(data), data)

    @classmethod
    def of_block(cls, block: Block, model: FactorModel) -> Self:
        """Fold in a block."""
        Z, C = model.linked(block.R, block.is_complete), model.weights(block, use_labels=False)
        return cls._of(model, model.solve(Z, C), block)

    @classmethod
    def _of(cls, model: FactorModel, Y: np.ndarray, data: EnsembleData | Block) -> Self:
        R = model.complete(data, Y)
        Z = classifiers_last(make_link("logit", 2 if R.ndim == 2 else R.shape[2]).forward(R))
        return cls(model, Y, R, np.ascontiguousarray(Z), np.empty((R.shape[1], 0)))

    def gated(self, gates: Gates) -> Self:
        """Return a copy with gate values."""
        return replace(self, phi=gates.values(self.Y, self.Z))

    def take(self, rows: np.ndarray) -> Self:
        """Return the given instances."""
        return replace(
            self, Y=self.Y[:, rows], R=self.R[:, rows], Z=self.Z[rows], phi=self.phi[rows]
        )

    @property
    def P(self) -> np.ndarray:
        """Completed probabilities, with the classifiers on the last axis."""
        return classifiers_last(self.R)

    @property
    def Z_hat(self) -> np.ndarray:
        """Linked reconstruction, with the classifiers on the last axis."""
        return classifiers_last(self.model.reconstruct(self.Y.astype(np.float64)))


@dataclass(frozen=True, eq=False)
class Target:
    """What the final aggregator is fitted to.

    Parameters
    ----------
    labels, frequencies, loss_weights : ndarray of shape (n,)
        Class codes, sample weights, and sample weight × class weight.
    folds : ndarray of shape (n_repeats, n)
        Inner folds.
    loss : FocalLoss
    """

    labels: np.ndarray
    frequencies: np.ndarray
    loss_weights: np.ndarray
    folds: np.ndarray
    loss: FocalLoss


class FinalAggregator(Protocol):
    """The contract: raw scores of folded-in instances, and who adds what to them."""

    weights_: np.ndarray
    intercept_: np.ndarray

    def fit(self, instances: FoldedIn, target: Target) -> None:
        """Learn from labelled instances; sets weights (m,) and intercept (1,) or (K,)."""

    def scores(self, instances: FoldedIn) -> np.ndarray:
        """Return raw scores (n,) or (n, K)."""

    def contributions(self, instances: FoldedIn) -> np.ndarray:
        """Return what each classifier adds to the scores, (n, m) or (n, K, m)."""


class PoolFinalAggregator:
    """One or several families of pools, averaged along their paths and recalibrated.

    Parameters
    ----------
    families : tuple of str
        One linear family, or families of log-odds.
    scorer : callable, default=None
        What their strengths are chosen by; None for the log-loss.
    progress : bool, default=False
        Show a progress bar over the inner folds.
    """

    selected: SelectedPool

    def __init__(
        self, families: tuple[str, ...], scorer: Scorer | None = None, progress: bool = False
    ) -> None:
        self.scorer, self.progress = scorer, progress
        linear = {family.name: family for family in (LINEAR_POOL, GREEDY_SELECTION)}
        self.linear = families[0] in linear
        self.families: Any = [(linear | FAMILIES)[name] for name in families]

    def _features(self, instances: FoldedIn) -> np.ndarray:
        return instances.P if self.linear else instances.Z

    def fit(self, instances: FoldedIn, target: Target) -> None:
        """Select and combine the pools."""
        training = PoolTraining(
            self.families,
            self._features(instances),
            instances.phi,
            target.labels,
            target.frequencies,
            target.loss_weights,
            target.loss,
            self.progress,
        )
        self._keep(select_pool(training, target.folds, self.scorer), training)

    def _keep(self, selected: SelectedPool, training: PoolTraining) -> None:
        self.selected, pool = selected, selected.pool
        self.weights_, self.intercept_ = pool.weights, pool.intercept
        if isinstance(pool, Pool) and pool.bounded is not None:
            ungated = pool.instance_weights(training.Z, 0 * training.phi)
            self.weights_ = np.average(ungated, axis=0, weights=training.frequencies)

    def expand_cv_logits(self, usable: np.ndarray, otherwise: float | np.ndarray) -> None:
        """Give labelled instances that nobody predicted the prior's out-of-fold score."""
        logits = np.empty((len(usable), *self.selected.cv_logits.shape[1:]))
        logits[usable], logits[~usable] = self.selected.cv_logits, otherwise
        self.selected = replace(self.selected, cv_logits=logits)

    def scores(self, instances: FoldedIn) -> np.ndarray:
        """Return the pool's scores."""
        return self.selected.pool.scores(self._features(instances), instances.phi)

    def contributions(self, instances: FoldedIn) -> np.ndarray:
        """Return what every classifier adds to the pool's scores."""
        return self.selected.pool.contributions(self._features(instances), instances.phi)


class MeanFinalAggregator:
    """The plain average of completed probabilities."""

    def fit(self, instances: FoldedIn, target: Target) -> None:
        """Remember the number of classifiers and classes."""
        m, n_classes = len(instances.R), 2 if instances.R.ndim == 2 else instances.R.shape[2]
        self.pool = LinearPool(np.full(m, 1 / m), np.zeros(1 if n_classes == 2 else n_classes))
        self.weights_, self.intercept_ = self.pool.weights, self.pool.intercept

    def scores(self, instances: FoldedIn) -> np.ndarray:
        """Return log-odds (centred log-ratios) of the average."""
        return self.pool.scores(instances.P, instances.phi)

    def contributions(self, instances: FoldedIn) -> np.ndarray:
        """Return what every classifier adds to them."""
        return self.pool.contributions(instances.P, instances.phi)


class WeightedFinalAggregator:
    """The sources' logistic unit on the reconstruction, solved to convergence and recalibrated."""

    def fit(self, instances: FoldedIn, target: Target) -> None:
        """Solve for the weights, then undo what class weights and focal loss bend."""
        features = instances.Z_hat
        m, several = features.shape[-1], features.ndim == 3
        unit = WeightedAggregator(lr=0.0, solver="converged")
        unit.start(m, np.zeros(features.shape[1]) if several else 0.0)
        scale = target.frequencies.sum() / target.loss_weights.sum()
        unit.update(features, target.labels, target.loss_weights * scale, target.loss)
        scores = unit.scores(features)[..., None]
        slope, shift = fit_scale(scores, target.labels, target.frequencies, np.ones(1), 1.0)
        self.weights_ = unit.weights_ * slope[0]
        self.intercept_ = unit.intercept_ * slope[0] + shift

    def scores(self, instances: FoldedIn) -> np.ndarray:
        """Return w · r̂ + b."""
        features = instances.Z_hat
        shift = self.intercept_ if features.ndim == 3 else self.intercept_[0]
        return features @ self.weights_ + shift

    def contributions(self, instances: FoldedIn) -> np.ndarray:
        """Return w · r̂ of every classifier."""
        return instances.Z_hat * self.weights_


def make_final_aggregator(
    name: str, scorer: Scorer | None = None, progress: bool = False
) -> FinalAggregator:
    """Return the final aggregator called `name`.

    Parameters
    ----------
    name : str
        A key of `FINAL_AGGREGATORS`.
    scorer : callable, default=None
        What the strengths of pools are chosen by.
    progress : bool, default=False
        Show a progress bar while pools are selected.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if not isinstance(name, str) or name not in FINAL_AGGREGATORS:
        raise ValueError(f"aggregator must be one of {sorted(FINAL_AGGREGATORS)}, got {name!r}.")
    if name == "mean":
        return MeanFinalAggregator()
    if name == "weighted":
        return WeightedFinalAggregator()
    return PoolFinalAggregator(FINAL_AGGREGATORS[name], scorer, progress)
