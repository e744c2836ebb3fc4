"""The objective of both trainers, for NumPy arrays and torch tensors.

L = ρ · L_recon + (1 − ρ) · L_sup. Both parts are means, over observed cells and over weighted
labeled instances, so that ρ has the same meaning for any number of classifiers and instances.
"""

from typing import Any

import numpy as np

from cfe_stack.losses.focal_loss import FocalLoss


def squared_error(Z: Any, C: Any, Z_hat: Any) -> Any:
    """Return Σ c (z − ẑ)² over the cells. A missing cell has weight 0 and any finite z.

    Parameters
    ----------
    Z, C, Z_hat : ndarray or torch.Tensor of shapes that broadcast
        Linked predictions, their weights, and their reconstruction.
    """
    return (C * (Z - Z_hat) ** 2).sum()


def squared_error_in_place(
    Z: np.ndarray, C: np.ndarray, Z_hat: np.ndarray, frequencies: np.ndarray | None = None
) -> float:
    """Return :func:`squared_error` without further arrays; `Z_hat` is overwritten.

    Parameters
    ----------
    Z, Z_hat : ndarray of shape (n_classifiers · k, n)
    C : ndarray of shape (n_classifiers, n)
    frequencies : ndarray of shape (n,), default=None
        Sample weights; all 1 if None.
    """
    error = np.subtract(Z, Z_hat, out=Z_hat)
    np.square(error, out=error)
    if frequencies is not None:
        error *= frequencies
    if len(C) != len(Z):
        error = error.reshape(len(C), -1, Z.shape[1]).sum(axis=1)
    # sums over a block are accurate enough in single precision, their total is not
    return float(np.einsum("un,un->u", C, error).sum(dtype=np.float64))


def reconstruction_loss(error: Any, squared_norms: Any, lambda_reg: float, n_cells: float) -> Any:
    """Return L_recon = [error + λ (‖X‖² + ‖Y‖²)] / number of observed cells.

    Parameters
    ----------
    error : float or tensor
        Sum of the squared errors over all blocks.
    squared_norms : float or tensor
        ‖X‖² + ‖Y‖².
    lambda_reg : float
    n_cells : float
        Number of observed cells, weighted by the frequencies of their instances.
    """
    return (error + lambda_reg * squared_norms) / n_cells


def supervised_loss(loss: FocalLoss, margin: Any, weights: Any, xp: Any = np) -> Any:
    """Return L_sup = Σ ω ℓ(margin) / Σ ω over labeled instances."""
    return (weights * loss.value(margin, xp)).sum() / weights.sum()


def combined(rho: float, reconstruction: Any, supervised: Any) -> Any:
    """Return ρ L_recon + (1 − ρ) L_sup."""
    return rho * reconstruction + (1 - rho) * supervised
