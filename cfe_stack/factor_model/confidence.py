"""Confidence strategies: the weight of every cell of the ensemble matrix in the factorization.

A strategy has two methods: training weights may use the labels of the instances they weigh,
prediction weights never do. Missing cells always have weight 0. Matrices are blocks of
classifiers × instances (× classes).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np

from cfe_stack.data.blocks import Block, observed
from cfe_stack.data.ensemble_data import EnsembleData

ConfidenceName = Literal["uniform", "certainty", "label_aware", "calibration", "adaptive"]


def certainty(R: np.ndarray) -> np.ndarray:
    """Return the distance of every prediction from the uniform one, in [0, ½]; NaN if missing."""
    if R.ndim == 2:
        distance = R - 0.5
        return np.abs(distance, out=distance)
    n_classes = R.shape[2]
    distance = np.sqrt(np.square(R - 1 / n_classes).sum(axis=2))
    return 0.5 * distance / np.sqrt(1 - 1 / n_classes)


def agreement(R: np.ndarray) -> np.ndarray:
    """Return 1 − normalized spread of the predictions on every instance, of shape (n_instances,).

    The spread is the standard deviation over the classifiers that predict the instance, divided
    by the largest possible one. Instances without predictions have agreement 0.
    """
    present = observed(R)
    count = np.maximum(present.sum(axis=0), 1)
    values = (R if R.ndim == 3 else R[:, :, None]).astype(np.float64)
    values = np.where(present[:, :, None], values, 0.0)
    mean = values.sum(axis=0) / count[:, None]
    deviations = np.where(present[:, :, None], values - mean, 0.0)
    variance = np.square(deviations).sum(axis=(0, 2)) / count
    largest = 0.25 if R.ndim == 2 else 1 - 1 / R.shape[2]
    return np.where(present.any(axis=0), 1 - np.sqrt(np.minimum(variance / largest, 1.0)), 0.0)


def true_class_probability(R: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the probability (m, n) given to the label; NaN if missing, 0 without a label."""
    if R.ndim == 2:
        truth = np.where(labels == 1, R, 1 - R)
    else:
        codes = np.maximum(labels, 0)
        truth = np.take_along_axis(R, codes[None, :, None], axis=2)[:, :, 0]
    return np.where(labels >= 0, truth, 0.0)


@dataclass(frozen=True)
class Confidence:
    """Base class of the strategies: a weight for every observed cell, label-free by default."""

    is_uniform: ClassVar[bool] = False
    """Whether all observed cells have weight 1."""

    def fit(self, data: EnsembleData) -> Self:
        """Return a copy with the parameters that the strategy learns from `data`, if any."""
        return self

    def base(self, R: np.ndarray) -> np.ndarray:
        """Return the weights (n_classifiers, n_instances) of observed cells, without labels."""
        raise NotImplementedError

    def prediction_weights(self, R: np.ndarray) -> np.ndarray:
        """Return label-free weights (n_classifiers, n_instances)."""
        present, base = observed(R), self.base(R)
        if present.all():
            return base.astype(R.dtype, copy=base.base is not None)
        return np.where(present, base, 0.0).astype(R.dtype, copy=False)

    def training_weights(self, R: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return weights (n_classifiers, n_instances) that may use `labels` (−1 = unknown)."""
        return self.prediction_weights(R)


@dataclass(frozen=True)
class UniformConfidence(Confidence):
    """Weight 1 for every observed cell."""

    is_uniform: ClassVar[bool] = True

    def base(self, R: np.ndarray) -> np.ndarray:
        """Return ones."""
        return np.ones(R.shape[:2], dtype=R.dtype)


@dataclass(frozen=True)
class CertaintyConfidence(Confidence):
    """The distance of the prediction from the uniform one, for two classes abs(r − ½)."""

    def base(self, R: np.ndarray) -> np.ndarray:
        """Return the certainty of every cell."""
        return certainty(R)


def _brier_sums(block: Block) -> np.ndarray:
    """Return the classifiers' Brier scores and numbers of labeled predictions, summed, (2, m)."""
    known = block.labels >= 0
    R, frequency = block.R[:, known], block.sample_weight[known]
    present = observed(R)
    if R.ndim == 2:
        brier = np.square(R - block.labels[known])
    else:
        truth = block.labels[known][:, None] == np.arange(R.shape[2])
        brier = 0.5 * np.square(R - truth).sum(axis=2)
    return np.stack([np.where(present, brier, 0.0) @ frequency, present @ frequency])


@dataclass(frozen=True)
class CalibrationConfidence(Confidence):
    """1 − Brier score of the classifier on labeled instances, at least `floor`.

    For K classes the Brier score is ½ Σ_k (r_k − [t = k])², which for two classes is (r − t)².
    A classifier without predictions on labeled instances has the weight `floor`.
    """

    floor: float = 0.1
    classifier_weights: np.ndarray | None = None

    def fit(self, data: EnsembleData) -> Self:
        """Return a copy with the weights of the classifiers of `data`."""
        total, count = sum(data.map(_brier_sums), start=np.zeros((2, data.n_classifiers)))
        score = np.divide(total, count, out=np.ones_like(total), where=count > 0)
        return replace(self, classifier_weights=np.maximum(1 - score, self.floor))

    def base(self, R: np.ndarray) -> np.ndarray:
        """Return the weight of every classifier along its row."""
        if self.classifier_weights is None:
            raise RuntimeError(
                "CalibrationConfidence.fit must run before its weights are asked for."
            )
        return np.broadcast_to(self.classifier_weights[:, None], R.shape[:2])


@dataclass(frozen=True)
class AdaptiveConfidence(Confidence):
    """Weighted mean of certainty, calibration and agreement of the classifiers on the instance.

    Parameters
    ----------
    shares : tuple of three floats, default=(0.5, 0.3, 0.2)
        Shares of certainty, calibration and agreement, which sum to 1.
    """

    shares: tuple[float, float, float] = (0.5, 0.3, 0.2)
    calibration: CalibrationConfidence = CalibrationConfidence()

    def __post_init__(self) -> None:
        if (
            np.shape(self.shares) != (3,)
            or min(self.shares) < 0
            or not np.isclose(sum(self.shares), 1)
        ):
            raise ValueError(
                "adaptive_shares must be three numbers >= 0 that sum to 1 (certainty, "
                f"calibration, agreement), got {self.shares!r}."
            )

    def fit(self, data: EnsembleData) -> Self:
        """Return a copy with the calibration of the classifiers of `data`."""
        return replace(self, calibration=self.calibration.fit(data))

    def base(self, R: np.ndarray) -> np.ndarray:
        """Return the mixture."""
        sure, calibrated, agreeing = self.shares
        return sure * certainty(R) + calibrated * self.calibration.base(R) + agreeing * agreement(R)


@dataclass(frozen=True)
class LabelAwareConfidence(Confidence):
    """Label-aware confidence c · (1 + α s), which raises cells that agree with the label.

    s is the probability of the true class. Cells of unlabeled instances have the base confidence c,
    and so do all cells in prediction.

    Parameters
    ----------
    strategy : Confidence
        The base strategy.
    alpha : float, default=1.0
        Strength, at least 0.
    """

    strategy: Confidence = CertaintyConfidence()
    alpha: float = 1.0

    def __post_init__(self) -> None:
        number = isinstance(self.alpha, (int, float, np.number))
        if not (number and 0 <= self.alpha < np.inf):
            raise ValueError(f"label_aware_alpha must be a finite number >= 0, got {self.alpha!r}.")

    def fit(self, data: EnsembleData) -> Self:
        """Return a copy whose base strategy is fitted."""
        return replace(self, strategy=self.strategy.fit(data))

    def base(self, R: np.ndarray) -> np.ndarray:
        """Return the label-free base."""
        return self.strategy.base(R)

    def training_weights(self, R: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return base · (1 + α s) on labeled instances, the base elsewhere."""
        base = self.prediction_weights(R)
        known = np.flatnonzero(labels >= 0)
        if known.size:
            truth = true_class_probability(R[:, known], labels[known])
            boost = (1 + self.alpha * np.nan_to_num(truth)).astype(R.dtype, copy=False)
            base[:, known] *= boost
        return base


STRATEGIES: dict[str, Callable[[tuple[float, float, float]], Confidence]] = {
    "uniform": lambda shares: UniformConfidence(),
    "certainty": lambda shares: CertaintyConfidence(),
    "label_aware": lambda shares: CertaintyConfidence(),
    "calibration": lambda shares: CalibrationConfidence(),
    "adaptive": lambda shares: AdaptiveConfidence(shares),
}


def make_confidence(
    name: str,
    *,
    label_aware: bool = False,
    label_aware_alpha: float = 1.0,
    adaptive_shares: tuple[float, float, float] = (0.5, 0.3, 0.2),
) -> Confidence:
    """Return the strategy called `name`.

    Parameters
    ----------
    name : {"uniform", "certainty", "label_aware", "calibration", "adaptive"}
        ``"label_aware"`` is certainty with `label_aware` switched on.
    label_aware : bool, default=False
        Wrap the strategy so that training weights depend on labels.
    label_aware_alpha : float, default=1.0
    adaptive_shares : tuple of three floats, default=(0.5, 0.3, 0.2)

    Raises
    ------
    ValueError
        If the name is unknown or a parameter is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.factor_model import make_confidence
    >>> make_confidence("certainty").prediction_weights(np.array([[0.9, np.nan]])).round(2)
    array([[0.4, 0. ]])
    """
    if not isinstance(name, str) or name not in STRATEGIES:
        raise ValueError(f"confidence must be one of {sorted(STRATEGIES)}, got {name!r}.")
    strategy = STRATEGIES[name](adaptive_shares)
    if label_aware or name == "label_aware":
        return LabelAwareConfidence(strategy, label_aware_alpha)
    return strategy
