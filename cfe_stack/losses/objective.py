"""The one definition of what both trainers minimise, for NumPy arrays and torch tensors alike.

L = ρ · L_recon + (1 − ρ) · L_sup. Both parts are means, over observed cells and over weighted
labelled instances, so that ρ means the same at every size.
"""

from typing import Any

import numpy as np

from cfe_stack.losses.focal_loss import FocalLoss


def squared_error(Z: Any, C: Any, Z_hat: Any) -> Any:
    """Return Σ c (z − ẑ)² over the cells; a missing cell has weight 0 and a finite z.

    Parameters
    ----------
    Z, C, Z_hat : ndarray or torch.Tensor of shapes that broadcast
        Linked predictions, their weights, and their reconstruction.
    """
    return (C * (Z - Z_hat) ** 2).sum()


def squared_error_in_place(
    Z: np.ndarray, C: np.ndarray, Z_hat: np.ndarray, frequencies: np.ndarray | None = None
) -> float:
    """Return :func:`squared_error` of arrays in their cache; `Z_hat` is overwritten.

    Parameters
    ----------
    Z, Z_hat : ndarray of shape (n_classifiers · k, n)
    C : ndarray of shape (n_classifiers, n)
    frequencies : ndarray of shape (n,), default=None
        How often every instance counts; once if None.
    """
    error = np.subtract(Z, Z_hat, out=Z_hat)
    np.square(error, out=error)
    if frequencies is not None:
        error *= frequencies
    if len(C) != len(Z):
        error = error.reshape(len(C), -1, Z.shape[1]).sum(axis=1)
    # row sums are short enough for single precision, their sum is not
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
        Observed cells, counted with their instances' frequencies.
    """
    return (error + lambda_reg * squared_norms) / n_cells


def supervised_loss(loss: FocalLoss, margin: Any, weights: Any, xp: Any = np) -> Any:
    """Return L_sup = Σ ω ℓ(margin) / Σ ω over labelled instances."""
    return (weights * loss.value(margin, xp)).sum() / weights.sum()


def combined(rho: float, reconstruction: Any, supervised: Any) -> Any:
    """Return ρ L_recon + (1 − ρ) L_sup."""
    return rho * reconstruction + (1 - rho) * supervised
