"""Links between probabilities and the scale on which the ensemble matrix is factorized."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from scipy.special import expit, softmax

LinkName = Literal["identity", "logit"]
DEFAULT_CLIP = 1e-3
"""Distance from 0 and 1 that probabilities keep before a logarithm is taken."""


class Link(Protocol):
    """A map from probabilities to linked values and back; NaN stays NaN.

    Both directions take NumPy arrays, or tensors with ``xp=torch``. `axis` is the axis of the
    classes, for links that need it.
    """

    is_identity: ClassVar[bool]

    def forward(self, R: Any, xp: Any = np, axis: int = -1) -> Any:
        """Return linked values, of the shape of `R`."""

    def inverse(self, Z: Any, xp: Any = np, axis: int = -1) -> Any:
        """Return probabilities, of the shape of `Z`."""


@dataclass(frozen=True)
class IdentityLink:
    """The probabilities themselves, as in the original method.

    Examples
    --------
    >>> from cfe_stack.losses import IdentityLink
    >>> IdentityLink().inverse(IdentityLink().forward(np.array([0.2, np.nan])))
    array([0.2, nan])
    """

    is_identity: ClassVar[bool] = True

    def forward(self, R: Any, xp: Any = np, axis: int = -1) -> Any:
        """Return `R` unchanged."""
        return R

    def inverse(self, Z: Any, xp: Any = np, axis: int = -1) -> Any:
        """Return `Z` clipped to [0, 1], which a least-squares reconstruction can leave."""
        return Z.clip(0.0, 1.0)


@dataclass(frozen=True)
class LogitLink:
    """Log-odds of class 1, for matrices of shape (n_classifiers, n_instances).

    Parameters
    ----------
    clip : float, default=1e-3
        Probabilities are clipped to [clip, 1 − clip] first.

    Examples
    --------
    >>> from cfe_stack.losses import LogitLink
    >>> LogitLink().forward(np.array([0.5, 0.0])).round(3)
    array([ 0.   , -6.907])
    """

    is_identity: ClassVar[bool] = False
    clip: float = DEFAULT_CLIP

    def forward(self, R: Any, xp: Any = np, axis: int = -1) -> Any:
        """Return the log-odds of `R`."""
        if xp is not np:
            clipped = R.clip(self.clip, 1 - self.clip)
            return xp.log(clipped / (1 - clipped))
        # one buffer for all steps: for large blocks, allocating costs as much as the logarithm
        clipped = np.maximum(R, self.clip)
        np.minimum(clipped, 1 - self.clip, out=clipped)
        odds = np.divide(clipped, 1 - clipped, out=clipped)
        return np.log(odds, out=odds)

    def inverse(self, Z: Any, xp: Any = np, axis: int = -1) -> Any:
        """Return the probabilities of the log-odds `Z`."""
        return expit(Z) if xp is np else 1 / (1 + xp.exp(-Z))


@dataclass(frozen=True)
class CenteredLogRatioLink:
    """Centered log-ratios over the last axis, for matrices (n_classifiers, n_instances, n_classes).

    Parameters
    ----------
    clip : float, default=1e-3
        Probabilities below `clip` are raised to it first.

    Notes
    -----
    clr(p)_k = log p_k − mean_j log p_j. For two classes it is ±½ of the log-odds.

    References
    ----------
    .. [1] J. Aitchison, "The Statistical Analysis of Compositional Data", 1986, section 4.7.

    Examples
    --------
    >>> from cfe_stack.losses import CenteredLogRatioLink
    >>> link = CenteredLogRatioLink()
    >>> link.inverse(link.forward(np.array([0.2, 0.3, 0.5]))).round(6)
    array([0.2, 0.3, 0.5])
    """

    is_identity: ClassVar[bool] = False
    clip: float = DEFAULT_CLIP

    def forward(self, R: Any, xp: Any = np, axis: int = -1) -> Any:
        """Return the centered log-ratios of `R`."""
        raised = np.maximum(R, self.clip) if xp is np else R.clip(self.clip, 1.0)
        logs = xp.log(raised)
        return logs - logs.mean(axis=axis, keepdims=True)

    def inverse(self, Z: Any, xp: Any = np, axis: int = -1) -> Any:
        """Return the probabilities whose centered log-ratios are `Z`."""
        if xp is np:
            return softmax(Z, axis=axis)
        powers = xp.exp(Z - xp.amax(Z, axis, keepdims=True))
        return powers / powers.sum(axis, keepdims=True)


def make_link(name: LinkName, n_classes: int) -> Link:
    """Return the link called `name` for a problem of `n_classes` classes.

    Parameters
    ----------
    name : {"identity", "logit"}
        ``"logit"`` is the log-odds for two classes and the centered log-ratio for more.
    n_classes : int

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if str(name) == "identity":
        return IdentityLink()
    if str(name) == "logit":
        return LogitLink() if n_classes == 2 else CenteredLogRatioLink()
    raise ValueError(f"link must be 'identity' or 'logit', got {name!r}.")
