"""Gates: label-free functions of an instance that change the weights of a pool."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import softmax, xlogy


def mean_entropy(Z: np.ndarray) -> np.ndarray:
    """Return the entropy (n,) of the average prediction, given centered log-ratios (n, K, m)."""
    average = softmax(Z, axis=1).mean(axis=2)
    return -xlogy(average, average).sum(axis=1)


def linear_gate(values: Any, direction: Any, offset: Any, xp: Any = np) -> Any:
    """Return tanh of a linear function of every instance's reconstruction, of shape (n,).

    Parameters
    ----------
    values : ndarray or torch.Tensor of shape (n, m) or (n, K, m)
    direction : ndarray or torch.Tensor of shape (m,) or (K, m)
    offset : ndarray or torch.Tensor of shape (1,)
    xp : module, default=numpy
        The array library: ``numpy`` or ``torch``.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.pools import linear_gate
    >>> linear_gate(np.array([[0.5, 0.5], [1.0, 3.0]]), np.ones(2), np.array([-1.0])).round(3)
    array([0.   , 0.995])
    """
    return xp.tanh((values * direction).reshape(len(values), -1).sum(1) + offset[0])


@dataclass(frozen=True, eq=False)
class Gates:
    """Gates of an instance: tanh of its first factor and, for K > 2, of its mean entropy.

    Parameters
    ----------
    direction : ndarray of shape (latent_dim,)
        The first principal axis of the reconstruction, as a function of the instance factors.
    center, scale : float
        Mean and standard deviation of the first factor in training.
    entropy_center, entropy_scale : float
        Mean and standard deviation of the entropy of the average prediction.
    """

    direction: np.ndarray
    center: float
    scale: float
    entropy_center: float
    entropy_scale: float

    @classmethod
    def fit(cls, factors: np.ndarray, Y: np.ndarray, Z: np.ndarray, weights: np.ndarray) -> Self:
        """Fit the direction of the first factor, and the scales, to training instances.

        Parameters
        ----------
        factors : ndarray of shape (latent_dim, n_rows)
            Classifier factors.
        Y : ndarray of shape (latent_dim, n)
            Label-free instance factors.
        Z : ndarray of shape (n, m) or (n, K, m)
            Log-odds or centered log-ratios.
        weights : ndarray of shape (n,)
            Frequencies.
        """
        share = weights / weights.sum()
        Y = Y.astype(np.float64)
        centered = Y - (Y @ share)[:, None]
        values, vectors = np.linalg.eigh((centered * share) @ centered.T)
        # The reconstruction Xᵀ y has covariance Xᵀ S X with S = Cov(y). Its first principal axis in
        # terms of y is S^½ times the leading eigenvector of S^½ X Xᵀ S^½, which is only d × d.
        root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
        products = factors @ factors.T
        axis = root @ np.linalg.eigh(root @ products @ root)[1][:, -1]
        loadings = factors.T @ axis
        # The sign of an eigenvector is arbitrary: let the loadings sum to a positive number, or
        # make the largest entry positive where they cancel out.
        total = loadings.sum()
        if abs(total) < 1e-8 * np.abs(loadings).sum():
            total = axis[np.abs(axis).argmax()]
        direction = products @ axis * np.sign(total or 1.0)
        first = direction @ Y
        center, scale = _center_and_scale(first, share)
        entropy = mean_entropy(Z) if Z.ndim == 3 else np.zeros(len(Z))
        return cls(direction, center, scale, *_center_and_scale(entropy, share))

    def values(self, Y: np.ndarray, Z: np.ndarray) -> np.ndarray:
        """Return gate values (n, 1), or (n, 2) for more than two classes, in (−1, 1)."""
        first = np.tanh((self.direction @ Y.astype(np.float64) - self.center) / self.scale)
        if Z.ndim == 2:
            return first[:, None]
        entropy = np.tanh((mean_entropy(Z) - self.entropy_center) / self.entropy_scale)
        return np.column_stack([first, entropy])


def _center_and_scale(values: np.ndarray, share: np.ndarray) -> tuple[float, float]:
    center = float(values @ share)
    spread = float(np.sqrt(np.square(values - center) @ share))
    return center, spread if spread > 1e-12 * (1 + abs(center)) else 1.0
