"""The plane in which factors are drawn, for classifiers and for instances."""

import numpy as np

from cfe_stack.data.blocks import observed
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.factor_model.factor_model import FactorModel

CLOSE_SHARE = 1e-6
"""Squared distances below this share of the squared lengths are computed without cancellation."""


def classifier_plane(model: FactorModel) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (m, 2) of the classifiers, and the share of their spread on each axis.

    Parameters
    ----------
    model : FactorModel
        With instance factors of unit variance.

    Notes
    -----
    With instance factors of unit variance, the distance of two columns of factors is the root mean
    squared difference of the two reconstructions. The plane is that of the two principal axes, so
    distances on the map are at most the true ones, and as near to them as a plane allows.
    """
    m = model.n_classifiers
    vectors = model.factors.reshape(len(model.factors), m, -1).transpose(1, 0, 2).reshape(m, -1)
    vectors = vectors / np.sqrt(len(model.shift) / m)
    centred = vectors - vectors.mean(axis=0)
    left, lengths, _ = np.linalg.svd(centred, full_matrices=False)
    positions = np.zeros((m, 2))
    shares = np.zeros(2)
    kept = min(2, len(lengths))
    positions[:, :kept] = left[:, :kept] * lengths[:kept]
    total = np.square(lengths).sum()
    shares[:kept] = np.square(lengths[:kept]) / (total if total > 0 else 1.0)
    # a singular vector's sign is free; fix it by its largest entry
    largest = positions[np.abs(positions).argmax(axis=0), [0, 1]]
    return positions * np.where(largest < 0, -1.0, 1.0), shares


def instance_plane(model: FactorModel, Y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (n, 2) of the instances, and the share of the reconstruction on each axis.

    Parameters
    ----------
    model : FactorModel
        With instance factors of unit variance.
    Y : ndarray of shape (latent_dim, n)

    Notes
    -----
    The axes are those of the reconstruction's largest variance. The first grows with the log-odds
    of the classifiers together; the second is what they disagree about most.
    """
    values, vectors = np.linalg.eigh(model.factors @ model.factors.T)
    axes = vectors[:, ::-1][:, :2]
    shares = np.zeros(2)
    shares[: axes.shape[1]] = values[::-1][:2] / max(values.sum(), np.finfo(float).tiny)
    signs = np.where((model.factors.T @ axes).sum(axis=0) < 0, -1.0, 1.0)
    positions = np.zeros((Y.shape[1], 2))
    positions[:, : axes.shape[1]] = Y.T.astype(np.float64) @ (axes * signs)
    return positions, shares


def classifier_distances(model: FactorModel, data: EnsembleData) -> np.ndarray:
    """Return the root mean squared difference (m, m) of the classifiers' linked predictions.

    Over the instances that both have predicted; infinite where there is none.
    """
    m = data.n_classifiers
    squares, counts = np.zeros((m, m)), np.zeros((m, m))
    for block in data.blocks():
        present = observed(block.R).astype(np.float64)
        Z = model.linked(block.R).astype(np.float64).reshape(m, -1, present.shape[1])
        Z = Z * present[:, None, :]
        length = np.square(Z).sum(axis=1) @ present.T
        products = np.einsum("uki,vki->uv", Z, Z, optimize=True)
        differences = length + length.T - 2 * products
        # A difference of squares loses about eps · length, which is all there is between copies:
        # for close pairs the differences themselves are squared, so that copies are at 0 exactly.
        close = np.triu(differences <= CLOSE_SHARE * (length + length.T), k=1)
        np.fill_diagonal(differences, 0.0)
        for u, v in np.argwhere(close):
            exact = np.square((Z[u] - Z[v]) * (present[u] * present[v])).sum()
            differences[u, v] = differences[v, u] = exact
        squares += differences
        counts += present @ present.T
    n_values = len(model.shift) // m
    with np.errstate(divide="ignore", invalid="ignore"):
        distances = np.sqrt(squares / (counts * n_values))
    return np.where(counts > 0, distances, np.inf)


def unit(model: FactorModel) -> str:
    """Return the unit of linked predictions, for axis labels."""
    if model.link.is_identity:
        return "probability"
    return "log-odds, standardized" if (model.scale != 1).any() else "log-odds"
