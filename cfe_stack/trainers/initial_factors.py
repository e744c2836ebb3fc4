"""Initial factors: random, or the solution of a spectral problem."""

from functools import partial

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.factor_model.confidence import Confidence
from cfe_stack.factor_model.factor_model import FactorModel
from cfe_stack.losses.link import make_link
from cfe_stack.trainers.base import BaseTrainer

MAX_DENSE_ROWS = 600
"""Maximum number of rows for a dense eigendecomposition; more rows use Lanczos iterations."""


def start_model(trainer: BaseTrainer, data: EnsembleData, strategy: Confidence) -> FactorModel:
    """Return a factor model without factors, with the link and the standardization of its rows."""
    n_rows = data.n_classifiers * (data.n_classes if data.n_classes > 2 else 1)
    model = FactorModel(
        link=make_link(trainer.link, data.n_classes),
        confidence=strategy,
        lambda_reg=float(trainer.lambda_reg),
        n_classifiers=data.n_classifiers,
        shift=np.zeros(n_rows),
        scale=np.ones(n_rows),
        factors=np.zeros((trainer.latent_dim, n_rows)),
        bias=np.zeros(n_rows),
    )
    return model.standardized(data) if trainer.standardize else model


def spectral_factors(model: FactorModel, data: EnsembleData) -> np.ndarray:
    """Return the leading principal axes of the linked predictions, with missing cells as 0.

    Returns
    -------
    ndarray of shape (latent_dim, n_rows)
        0 beyond the rank of the data.

    Notes
    -----
    With uniform confidence and without missing cells, these axes are the solution. The two ridges
    are equivalent to a nuclear-norm penalty, which lowers every singular value by λ and divides it
    equally between the two factors (Mazumder, Hastie, Tibshirani, JMLR 2010, lemma 6).
    """
    latent_dim, n_rows = model.factors.shape

    def times_moments(vectors: np.ndarray) -> np.ndarray:
        product = np.zeros((n_rows, vectors.size // n_rows))
        for part in data.map(partial(model.moments_times, vectors.reshape(n_rows, -1))):
            product += part
        return product

    if n_rows <= MAX_DENSE_ROWS or latent_dim >= n_rows:
        values, vectors = np.linalg.eigh(times_moments(np.eye(n_rows)))
    else:
        # the moment matrix of thousands of rows is too large to store and decompose
        moments = LinearOperator((n_rows, n_rows), matvec=times_moments, dtype=np.float64)
        # a start of all ones would be orthogonal to log-ratios, which sum to 0
        start = np.linspace(1.0, 2.0, n_rows)
        if not times_moments(start).any():
            return np.zeros((latent_dim, n_rows))
        values, vectors = eigsh(moments, k=latent_dim, v0=start)
    singular_values = np.sqrt(np.maximum(values[::-1][:latent_dim], 0.0))
    lengths = np.sqrt(np.maximum(singular_values - model.lambda_reg, 0.0))
    factors = np.zeros((latent_dim, n_rows))
    factors[: len(lengths)] = (vectors[:, ::-1][:, :latent_dim] * lengths).T
    return factors
