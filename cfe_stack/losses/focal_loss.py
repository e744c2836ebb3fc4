"""The logistic and focal losses as functions of margins.

The margin is the log-odds of the true class against all others. For two classes with score ``s`` it
is ``(2 t - 1) s``; for K classes it is ``s_t - logsumexp_{k != t} s_k``. One definition therefore
serves binary and multiclass problems, and no probability is ever clipped. ``FocalLoss.value`` uses
only operations that NumPy and torch have in common: both trainers evaluate the same formula.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import expit

from cfe_stack.losses.raw_scores import in_scores, margin_directions, margins

DEFAULT_DELTA = 1e-3
"""Smoothing constant of the focal loss for 0 < gamma < 1 (van Leeuwen et al., 2025)."""


@dataclass(frozen=True)
class FocalLoss:
    r"""Stabilized focal loss on margins; ``gamma=0`` is the logistic loss.

    Parameters
    ----------
    gamma : float, default=0.0
        Focusing parameter, at least 0.
    delta : float or None, default=None
        Smoothing constant inside the modulating factor. ``None`` means 1e-3 for
        ``0 < gamma < 1``, where the derivative without smoothing is singular, and 0 otherwise.
    gradient : {"exact", "reweighted"}, default="exact"
        ``"exact"`` is the derivative of the loss. ``"reweighted"`` treats the modulating factor
        as a constant instance weight, normalized by the sum of weights. It is not the gradient of
        any loss; it is available so that the published figures can be reproduced.

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
        """The smoothing constant in use."""
        if self.delta is not None:
            return self.delta
        return DEFAULT_DELTA if 0 < self.gamma < 1 else 0.0

    def modulation(self, margin: Any, xp: Any = np) -> Any:
        """Return the modulating factor ``(1 - p_t + delta) ** gamma``, of the shape of `margin`."""
        if self.gamma == 0:
            return xp.ones_like(margin)
        # log(1 − p_t) = −softplus(μ), accurate where 1 − p_t underflows
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
        # dFL/dμ = (1 − p_t + δ)^γ [−(1 − p_t) + γ (1 − p_t) / (1 − p_t + δ) · p_t log p_t]
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

    def normalizer(self, margin: np.ndarray, weights: np.ndarray) -> float:
        """Return the divisor of weighted sums of gradients."""
        if self.gradient == "reweighted":
            return float(weights @ self.modulation(margin))
        return float(weights.sum())


def loss_gradient(scores: np.ndarray, labels: np.ndarray, loss: FocalLoss) -> np.ndarray:
    """Return the derivative of the loss in the scores, of the shape of `scores`."""
    slope = loss.derivative(margins(scores, labels))
    return in_scores(slope, margin_directions(scores, labels))
