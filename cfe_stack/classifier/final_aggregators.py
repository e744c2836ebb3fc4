"""Final aggregators, fitted to label-free fold-ins and recalibrated."""

from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np

from cfe_stack.data.blocks import Block
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.factor_model.factor_model import FactorModel
from cfe_stack.losses.labeled_rows import LabeledRows
from cfe_stack.losses.link import make_link
from cfe_stack.pools.gates import Gates
from cfe_stack.pools.inputs import PoolInputs
from cfe_stack.pools.linear_pool import GREEDY_SELECTION, LINEAR_POOL, LinearPool
from cfe_stack.pools.log_pool import (
    BOUNDED_POOL,
    FAMILIES,
    GATED_POOL,
    LOG_POOL,
    SIGNED_POOL,
    LinearForm,
    Pool,
    fit_scale,
)
from cfe_stack.pools.scoring import Scorer
from cfe_stack.pools.selection import PoolFamily, SelectedPool, select_pool
from cfe_stack.trainers.aggregators import WeightedAggregator, classifiers_last


@dataclass(frozen=True, eq=False)
class FoldedIn:
    """Instances as the final aggregator receives them, computed without their labels.

    Parameters
    ----------
    model : FactorModel
    Y : ndarray of shape (latent_dim, n)
        Label-free instance factors.
    R : ndarray of shape (n_classifiers, n) or (n_classifiers, n, n_classes)
        Completed probabilities.
    Z : ndarray of shape (n, n_classifiers) or (n, n_classes, n_classifiers)
        Their log-odds or centered log-ratios.
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


class FittedAggregator(Protocol):
    """The contract of a fitted aggregator: raw scores, and what each classifier adds to them."""

    @property
    def weights(self) -> np.ndarray:
        """Weights (n_classifiers,)."""

    @property
    def intercept(self) -> np.ndarray:
        """Intercept (1,), or one per class for more than two classes."""

    def scores(self, instances: FoldedIn) -> np.ndarray:
        """Return raw scores (n,) or (n, K)."""

    def contributions(self, instances: FoldedIn) -> np.ndarray:
        """Return what each classifier adds to the scores, (n, m) or (n, K, m)."""

    def instance_weights(self, instances: FoldedIn) -> np.ndarray | None:
        """Return the weights (n, m) on every instance; None if all instances have the same."""

    @property
    def linear_form(self) -> LinearForm | None:
        """The score as a linear function of log-odds; None if it is not one."""

    @property
    def fitted_attributes(self) -> dict[str, Any]:
        """Attributes that an estimator shows beside weights and intercept, by name."""

    def expanded(self, predicted: np.ndarray, otherwise: float | np.ndarray) -> Self:
        """Return a copy whose out-of-fold scores cover labeled instances without predictions.

        Parameters
        ----------
        predicted : ndarray of shape (n_labeled,), bool
            Which labeled instances have a prediction.
        otherwise : float or ndarray of shape (n_classes,)
            Score of the others.
        """


class FinalAggregator(Protocol):
    """The contract of an aggregator that predicts. It holds settings only."""

    def fit(
        self,
        instances: FoldedIn,
        rows: LabeledRows,
        folds: np.ndarray,
        *,
        scorer: Scorer | None = None,
        progress: bool = False,
    ) -> FittedAggregator:
        """Fit to labeled instances.

        Parameters
        ----------
        instances : FoldedIn
            No label has been used to compute them.
        rows : LabeledRows
            Their labels, frequencies and loss weights.
        folds : ndarray of shape (n_repeats, n)
            Inner folds.
        scorer : callable, default=None
            What penalties are chosen by; None for the log-loss.
        progress : bool, default=False
            Show a progress bar over the inner folds.
        """


@dataclass(frozen=True, eq=False)
class FittedPool:
    """A pool that predicts.

    Parameters
    ----------
    pool : Pool or LinearPool
    family : PoolFamily
        Says which features of an instance the pool takes.
    weights : ndarray of shape (n_classifiers,)
        The pool's weights at gates 0, averaged over the training rows.
    selected : SelectedPool or None, default=None
        How the pool was selected, if it was.
    """

    pool: Pool | LinearPool
    family: PoolFamily
    weights: np.ndarray
    selected: SelectedPool | None = None

    @property
    def intercept(self) -> np.ndarray:
        """Intercept of the pool."""
        return self.pool.intercept

    def scores(self, instances: FoldedIn) -> np.ndarray:
        """Return the pool's scores."""
        return self.pool.scores(self.family.features(instances), instances.phi)

    def contributions(self, instances: FoldedIn) -> np.ndarray:
        """Return what every classifier adds to the pool's scores."""
        return self.pool.contributions(self.family.features(instances), instances.phi)

    def instance_weights(self, instances: FoldedIn) -> np.ndarray | None:
        """Return the pool's weights on every instance."""
        return self.pool.instance_weights(self.family.features(instances), instances.phi)

    @property
    def linear_form(self) -> LinearForm | None:
        """The pool's score as a linear function of log-odds."""
        return self.pool.linear_form

    @property
    def fitted_attributes(self) -> dict[str, Any]:
        """Gates and calibration of the pool, and the out-of-fold results of its selection."""
        shown = self.pool.fitted_attributes
        if self.selected is None:
            return shown
        results = {"cv_scores_": self.selected.cv_scores, "cv_logits_": self.selected.cv_logits}
        return results | shown

    def expanded(self, predicted: np.ndarray, otherwise: float | np.ndarray) -> Self:
        """Return a copy whose `cv_logits` cover labeled instances without predictions."""
        if self.selected is None:
            return self
        logits = np.empty((len(predicted), *self.selected.cv_logits.shape[1:]))
        logits[predicted], logits[~predicted] = self.selected.cv_logits, otherwise
        return replace(self, selected=replace(self.selected, cv_logits=logits))


@dataclass(frozen=True)
class PoolSelection:
    """One or several families of pools, averaged along their paths and recalibrated.

    Parameters
    ----------
    families : tuple of PoolFamily
        One linear family, or families of log-odds.
    """

    families: tuple[PoolFamily, ...]

    def fit(
        self,
        instances: FoldedIn,
        rows: LabeledRows,
        folds: np.ndarray,
        *,
        scorer: Scorer | None = None,
        progress: bool = False,
    ) -> FittedPool:
        """Select and combine the pools."""
        family = self.families[0]
        inputs = PoolInputs(family.features(instances), instances.phi, rows)
        selected = select_pool(self.families, inputs, folds, scorer=scorer, progress=progress)
        return FittedPool(selected.pool, family, selected.pool.average_weights(inputs), selected)


@dataclass(frozen=True)
class PlainMean:
    """The plain average of completed probabilities, which needs no fitting."""

    def fit(
        self, instances: FoldedIn, rows: LabeledRows, folds: np.ndarray, **options: Any
    ) -> FittedPool:
        """Return equal weights."""
        m, n_classes = len(instances.R), 2 if instances.R.ndim == 2 else instances.R.shape[2]
        pool = LinearPool(np.full(m, 1 / m), np.zeros(1 if n_classes == 2 else n_classes))
        return FittedPool(pool, LINEAR_POOL, pool.weights)


@dataclass(frozen=True, eq=False)
class FittedLogisticUnit:
    """A logistic unit on the reconstruction.

    Parameters
    ----------
    weights : ndarray of shape (n_classifiers,)
    intercept : ndarray of shape (1,) or (n_classes,)
    """

    weights: np.ndarray
    intercept: np.ndarray

    def scores(self, instances: FoldedIn) -> np.ndarray:
        """Return w · r̂ + b."""
        features = instances.Z_hat
        return features @ self.weights + (
            self.intercept if features.ndim == 3 else self.intercept[0]
        )

    def contributions(self, instances: FoldedIn) -> np.ndarray:
        """Return w · r̂ of every classifier."""
        return instances.Z_hat * self.weights

    def instance_weights(self, instances: FoldedIn) -> None:
        """Return None: all instances have the same weights."""

    @property
    def linear_form(self) -> None:
        """None: the score is linear in the reconstruction, not in log-odds."""

    @property
    def fitted_attributes(self) -> dict[str, Any]:
        """Nothing beside weights and intercept."""
        return {}

    def expanded(self, predicted: np.ndarray, otherwise: float | np.ndarray) -> Self:
        """Return the unit itself, which has no out-of-fold scores."""
        return self


@dataclass(frozen=True)
class LogisticUnit:
    """The published logistic unit on the reconstruction, solved to convergence and recalibrated."""

    def fit(
        self, instances: FoldedIn, rows: LabeledRows, folds: np.ndarray, **options: Any
    ) -> FittedLogisticUnit:
        """Solve for the weights, then undo what class weights and focal loss bend."""
        features = instances.Z_hat
        m, several = features.shape[-1], features.ndim == 3
        unit = WeightedAggregator(lr=0.0, solver="converged")
        unit.start(m, np.zeros(features.shape[1]) if several else 0.0)
        unit.update(features, rows.normalized())
        scores = unit.scores(features)[..., None]
        slope, shift = fit_scale(scores, rows, np.ones(1), 1.0)
        return FittedLogisticUnit(unit.weights_ * slope[0], unit.intercept_ * slope[0] + shift)


FINAL_AGGREGATORS: dict[str, FinalAggregator] = {
    "auto": PoolSelection(tuple(FAMILIES.values())),
    "log_pool": PoolSelection((LOG_POOL,)),
    "gated_pool": PoolSelection((GATED_POOL,)),
    "signed_pool": PoolSelection((SIGNED_POOL,)),
    "bounded_pool": PoolSelection((BOUNDED_POOL,)),
    "linear_pool": PoolSelection((LINEAR_POOL,)),
    "greedy_selection": PoolSelection((GREEDY_SELECTION,)),
    "mean": PlainMean(),
    "weighted": LogisticUnit(),
}


def make_final_aggregator(name: str) -> FinalAggregator:
    """Return the final aggregator called `name`.

    Parameters
    ----------
    name : str
        A key of `FINAL_AGGREGATORS`.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if not isinstance(name, str) or name not in FINAL_AGGREGATORS:
        raise ValueError(f"aggregator must be one of {sorted(FINAL_AGGREGATORS)}, got {name!r}.")
    return FINAL_AGGREGATORS[name]
