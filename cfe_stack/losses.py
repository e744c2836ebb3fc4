"""Class weights, and the logistic and focal losses on raw scores.

Losses speak margins: the log-odds of the true class against everything else. For two classes with
score ``s`` that is ``(2 t - 1) s``; for K classes it is ``s_t - logsumexp_{k != t} s_k``. One
definition therefore serves binary and multiclass problems, and no probability is ever clipped.
``FocalLoss.value`` uses only operations that NumPy and torch spell alike, so that both trainers
evaluate the same formula.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import expit

DEFAULT_DELTA = 1e-3
"""Smoothing constant of the focal loss for 0 < gamma < 1 (van Leeuwen et al., 2025)."""

Schedule = Callable[[float], float]
ClassWeight = dict[Any, float] | Literal["balanced"] | None


@dataclass(frozen=True)
class FocalLoss:
    r"""Stabilised focal loss on margins; ``gamma=0`` is the logistic loss.

    Parameters
    ----------
    gamma : float, default=0.0
        Focusing parameter, at least 0.
    delta : float or None, default=None
        Smoothing constant inside the modulating factor. ``None`` means 1e-3 for
        ``0 < gamma < 1``, where the unsmoothed derivative is singular, and 0 otherwise.
    gradient : {"exact", "reweighted"}, default="exact"
        ``"exact"`` is the derivative of the loss. ``"reweighted"`` treats the modulating factor
        as a constant instance weight, normalised by the sum of weights; it is the gradient of no
        loss, and is kept so that published figures can be reproduced.

    Raises
    ------
    ValueError
        If ``gamma`` or ``delta`` is negative or not finite, or ``gradient`` is unknown.

    Notes
    -----
    With the margin :math:`\mu`, :math:`p_t = \sigma(\mu)`, and

    .. math:: FL(\mu) = -(1 - p_t + \delta)^\gamma \log p_t,
        \qquad \log p_t = -\mathrm{softplus}(-\mu).

    The class factor :math:`\alpha_t` is an instance weight, see :func:`instance_weights`.

    References
    ----------
    .. [1] T.-Y. Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 4.
    .. [2] M. van Leeuwen et al., "A Note on the Stability of the Focal Loss", TMLR 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.losses import FocalLoss
    >>> FocalLoss(gamma=0.0).value(np.array([0.0])).round(4)
    array([0.6931])
    >>> FocalLoss(gamma=2.0).modulation(np.log([0.95 / 0.05, 0.1 / 0.9])).round(4)
    array([0.0025, 0.81  ])
    """

    gamma: float = 0.0
    delta: float | None = None
    gradient: Literal["exact", "reweighted"] = "exact"

    def __post_init__(self) -> None:
        if not (np.isfinite(self.gamma) and self.gamma >= 0):
            raise ValueError(f"focal_gamma must be a finite number >= 0, got {self.gamma!r}.")
        if self.delta is not None and not (np.isfinite(self.delta) and self.delta >= 0):
            raise ValueError(f"focal_delta must be None or a number >= 0, got {self.delta!r}.")
        if str(self.gradient) not in ("exact", "reweighted"):
            raise ValueError(
                f"focal_gradient must be 'exact' or 'reweighted', got {self.gradient!r}."
            )

    @property
    def smoothing(self) -> float:
        """The value of delta that is used."""
        if self.delta is not None:
            return self.delta
        return DEFAULT_DELTA if 0 < self.gamma < 1 else 0.0

    def modulation(self, margin: Any, xp: Any = np) -> Any:
        """Return the modulating factor ``(1 - p_t + delta) ** gamma``, of the shape of `margin`."""
        if self.gamma == 0:
            return xp.ones_like(margin)
        log_miss = -xp.logaddexp(xp.zeros_like(margin), margin)
        if self.smoothing > 0:
            log_miss = xp.log(xp.exp(log_miss) + self.smoothing)
        return xp.exp(self.gamma * log_miss)

    def value(self, margin: Any, xp: Any = np) -> Any:
        """Return the loss of every margin.

        Parameters
        ----------
        margin : ndarray or torch.Tensor
            Margins, log-odds of the true class.
        xp : module, default=numpy
            The array library of `margin`: ``numpy`` or ``torch``.
        """
        cross_entropy = xp.logaddexp(xp.zeros_like(margin), -margin)
        return self.modulation(margin, xp) * cross_entropy

    def derivative(self, margin: np.ndarray) -> np.ndarray:
        """Return the derivative of the loss in the margin (or the reweighted rule's)."""
        miss, factor = expit(-margin), self.modulation(margin)
        slope = -factor * miss
        if self.gradient == "exact" and self.gamma > 0:
            share = miss / (miss + self.smoothing) if self.smoothing > 0 else 1.0
            slope -= self.gamma * factor * share * expit(margin) * np.logaddexp(0.0, -margin)
        return slope

    def curvature(self, margin: np.ndarray) -> np.ndarray:
        """Return the second derivative in the margin, floored at 0 where the loss is concave."""
        p, miss = expit(margin), expit(-margin)
        curvature = p * miss
        if self.gamma > 0:
            delta, gamma = self.smoothing, self.gamma
            share = miss / (miss + delta) if delta > 0 else 1.0
            cross_entropy = np.logaddexp(0.0, -margin)
            # first and second derivative of the modulating factor, both divided by the factor
            first = -gamma * share * p
            second = -gamma * share * p * ((miss - p) - (gamma - 1) * share * p)
            curvature = self.modulation(margin) * (
                curvature - 2 * first * miss + second * cross_entropy
            )
        return np.maximum(curvature, 0.0)

    def normaliser(self, margin: np.ndarray, weights: np.ndarray) -> float:
        """Return what weighted sums of gradients are divided by."""
        if self.gradient == "reweighted":
            return float(weights @ self.modulation(margin))
        return float(weights.sum())


def margins(scores: Any, labels: Any, xp: Any = np) -> Any:
    """Return the margin of the true class for raw scores.

    Parameters
    ----------
    scores : ndarray or torch.Tensor of shape (n_instances,) or (n_instances, n_classes)
        Log-odds of class 1, or one raw score per class.
    labels : ndarray or torch.Tensor of shape (n_instances,)
        Class codes 0 … K−1.
    xp : module, default=numpy
        The array library of `scores`: ``numpy`` or ``torch``.

    Returns
    -------
    ndarray or torch.Tensor of shape (n_instances,)
    """
    if scores.ndim == 1:
        return xp.where(labels == 1, scores, -scores)
    true = xp.zeros_like(scores, dtype=bool)
    true[xp.arange(len(scores)), labels] = True
    others = xp.where(true, -np.inf, scores)
    top = xp.amax(others, 1)
    return scores[true] - top - xp.log(xp.exp(others - top[:, None]).sum(1))


def margin_directions(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the derivative of :func:`margins` in the scores, of the shape of `scores`."""
    if scores.ndim == 1:
        return np.where(labels == 1, 1.0, -1.0)
    rows = np.arange(len(scores))
    directions = scores.copy(order="K")
    directions[rows, labels] = -np.inf
    directions -= directions.max(axis=1, keepdims=True)
    np.exp(directions, out=directions)
    directions /= -directions.sum(axis=1, keepdims=True)
    directions[rows, labels] = 1.0
    return directions


def in_scores(slope: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Return the derivative in the scores of what has a slope (n,) in the margin.

    Parameters
    ----------
    slope : ndarray of shape (n_instances,)
    directions : ndarray of shape (n_instances,) or (n_instances, n_classes)
        As :func:`margin_directions` returns them.
    """
    return directions * (slope if directions.ndim == 1 else slope[:, None])


def loss_gradient(scores: np.ndarray, labels: np.ndarray, loss: FocalLoss) -> np.ndarray:
    """Return the derivative of the loss in the scores, of the shape of `scores`."""
    slope = loss.derivative(margins(scores, labels))
    return in_scores(slope, margin_directions(scores, labels))


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Return class probabilities (n, K) of raw scores (n,) or (n, K)."""
    if scores.ndim == 1:
        return np.column_stack([expit(-scores), expit(scores)])
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def instance_weights(
    labels: np.ndarray,
    n_classes: int,
    *,
    class_weight: ClassWeight = None,
    sample_weight: np.ndarray | None = None,
    focal_alpha: float | None = None,
    classes: np.ndarray | None = None,
) -> np.ndarray:
    """Return class weight × sample weight × focal class factor of labelled instances.

    Parameters
    ----------
    labels : ndarray of shape (n_instances,)
        Class codes of labelled instances.
    n_classes : int
    class_weight : dict, "balanced" or None, default=None
        As in scikit-learn; a dict is keyed by the entries of `classes`. ``"balanced"`` gives
        n / (K n_class), K the number of classes present. If only one is, its weight is 1.
    sample_weight : ndarray of shape (n_instances,), default=None
        Frequencies: a weight of 2 counts the instance twice, also for the class frequencies.
    focal_alpha : float or None, default=None
        Factor of the positive class (1 − α for the negative), binary problems only.
    classes : ndarray of shape (n_classes,), default=None
        Labels behind the codes; the codes themselves if not given.

    Returns
    -------
    ndarray of shape (n_instances,)

    Raises
    ------
    ValueError
        If `focal_alpha` is outside [0, 1] or used with more than two classes, or `class_weight`
        is neither ``"balanced"`` nor a dict of known classes with weights >= 0.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.losses import instance_weights
    >>> instance_weights(np.array([0, 0, 0, 1]), 2, class_weight="balanced").round(2)
    array([0.67, 0.67, 0.67, 2.  ])
    """
    weights = np.ones(len(labels)) if sample_weight is None else np.asarray(sample_weight)
    weights = weights * class_weights(labels, weights, n_classes, class_weight, classes)[labels]
    if focal_alpha is not None:
        if n_classes != 2:
            raise ValueError(
                f"focal_alpha is the factor of the positive class and needs two classes, got "
                f"{n_classes}; use class_weight={{class: weight}} instead."
            )
        if not (_is_weight(focal_alpha) and focal_alpha <= 1):
            raise ValueError(f"focal_alpha must lie in [0, 1], got {focal_alpha!r}.")
        weights = weights * np.where(labels == 1, focal_alpha, 1 - focal_alpha)
    return weights


def _is_weight(value: Any) -> bool:
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return number and bool(0 <= value < np.inf)


def class_weights(
    labels: np.ndarray,
    weights: np.ndarray,
    n_classes: int,
    class_weight: ClassWeight,
    classes: np.ndarray | None = None,
) -> np.ndarray:
    """Return the weight of every class code; all 1 where fewer than two classes are present."""
    counts = np.bincount(labels, weights, minlength=n_classes)
    present = counts > 0
    per_class = np.ones(n_classes)
    if class_weight is None:
        return per_class
    if isinstance(class_weight, dict):
        codes = {name: k for k, name in enumerate(range(n_classes) if classes is None else classes)}
        unknown = [name for name in class_weight if name not in codes]
        if unknown or not all(map(_is_weight, class_weight.values())):
            raise ValueError(
                f"class_weight must map classes to weights >= 0; got {class_weight!r} for the "
                f"classes {np.asarray(list(codes)).tolist()}."
            )
        for name, weight in class_weight.items():
            per_class[codes[name]] = weight
    elif isinstance(class_weight, str) and class_weight == "balanced":
        per_class[present] = counts.sum() / (present.sum() * counts[present])
    else:
        raise ValueError(
            f"class_weight must be None, 'balanced' or a dict of class weights, got "
            f"{class_weight!r}."
        )
    return per_class if present.sum() > 1 else np.ones(n_classes)


@dataclass(frozen=True)
class LinearSchedule:
    """Go from `start` to `end` in a straight line over training.

    Parameters
    ----------
    start, end : float
        Values in the first and in the last sweep or epoch.

    Examples
    --------
    >>> from cfe_stack.losses import LinearSchedule
    >>> LinearSchedule(0.0, 2.0)(0.5)
    1.0
    """

    start: float
    end: float

    def __call__(self, progress: float) -> float:
        """Return the value at `progress` in [0, 1]."""
        return self.start + (self.end - self.start) * progress


@dataclass(frozen=True)
class CosineSchedule:
    """Go from `start` to `end` along half a cosine: slowly at both ends.

    Parameters
    ----------
    start, end : float
        Values in the first and in the last sweep or epoch.

    Examples
    --------
    >>> from cfe_stack.losses import CosineSchedule
    >>> round(CosineSchedule(0.0, 2.0)(0.25), 4)
    0.2929
    """

    start: float
    end: float

    def __call__(self, progress: float) -> float:
        """Return the value at `progress` in [0, 1]."""
        return self.start + (self.end - self.start) * (1 - float(np.cos(np.pi * progress))) / 2


def scheduled(value: float | Schedule, progress: float) -> float:
    """Return `value` at `progress` in [0, 1]: a number as it is, a schedule evaluated."""
    return float(value(progress)) if callable(value) else float(value)


def prior_log_odds(labels: np.ndarray, weights: np.ndarray, n_classes: int) -> float | np.ndarray:
    """Return the intercept at which a constant score predicts the weighted class frequencies.

    The prior initialisation of RetinaNet (Lin et al., 2017, section 4.1). Half an observation is
    added to every class, so that an absent class gives a finite value.

    Returns
    -------
    float or ndarray of shape (n_classes,)
        log(π / (1 − π)) for two classes; centred log-frequencies for more.
    """
    counts = np.bincount(labels, weights, minlength=n_classes) + 0.5
    logs = np.log(counts)
    return float(logs[1] - logs[0]) if n_classes == 2 else logs - logs.mean()
