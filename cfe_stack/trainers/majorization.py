r"""Alternating least squares on the full objective: the supervised part as one more row.

The logistic loss of an instance with score s and code t lies below the parabola that touches it at
the current score s₀, ½ h (s − τ)² + constant, with target τ = s₀ + (t − p) / h and curvature
h = tanh(|s₀| / 2) / (2 |s₀|) ≤ ¼. In place of the loss, the parabola is a pseudo-classifier whose
factors are the weighted sum of all others. Every update is then a least-squares problem, and none
raises the objective.

References
----------
.. [1] T. Jaakkola, M. Jordan, "Bayesian Parameter Estimation via Variational Methods", Statistics
   and Computing 2000.
.. [2] D. Böhning, B. Lindsay, "Monotonicity of Quadratic-Approximation Algorithms", Annals of the
   Institute of Statistical Mathematics 1988.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import expit

from cfe_stack.aggregators import WeightedAggregator
from cfe_stack.ensemble_data import Block, EnsembleData
from cfe_stack.losses import FocalLoss, scheduled
from cfe_stack.trainers.base import BaseTrainer, Supervision
from cfe_stack.trainers.factor_model import FactorModel
from cfe_stack.trainers.normal_equations import ClassifierEquations, solve_instances, unpack

BOUND_STEPS = 5
"""Updates of the aggregator per sweep: cheap beside a pass over the data."""
SMALLEST_SCORE = 1e-6
"""Below this size tanh(s / 2) / (2 s) is ¼ to the last digit."""


def bound_curvature(scores: np.ndarray) -> np.ndarray:
    """Return the curvature h of the parabola that touches the logistic loss at every score.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.trainers.majorization import bound_curvature
    >>> bound_curvature(np.array([0.0, 4.0])).round(3)
    array([0.25 , 0.121])
    """
    size = np.maximum(np.abs(scores), SMALLEST_SCORE)
    return np.tanh(size / 2) / (2 * size)


def bound_target(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return where that parabola is lowest: s + (t − p) / h."""
    return scores + (labels - expit(scores)) / bound_curvature(scores)


def check_majorizable(trainer: Any, data: EnsembleData) -> None:
    """Raise ValueError where the supervised loss has no parabola above it, or no share to give."""
    gammas = [scheduled(trainer.focal_gamma, progress) for progress in (0.0, 0.5, 1.0)]
    if data.chunks is not None:
        raise ValueError(
            "supervision='majorize' keeps all instance factors on one machine, which those of a "
            "dask array are not for. Use supervision='confidence'."
        )
    reasons = {
        f"two classes, R has {data.n_classes}": data.n_classes != 2,
        f"the logistic loss (focal_gamma=0), got {trainer.focal_gamma!r}": any(gammas),
        f"aggregator_type='weighted', got {trainer.aggregator_type!r}": (
            trainer.aggregator_type != "weighted"
        ),
        f"rho > 0, got {trainer.rho!r}": trainer.rho == 0,
    }
    for reason, is_so in reasons.items():
        if is_so:
            raise ValueError(
                f"supervision='majorize' needs {reason}. Use supervision='confidence', or "
                "CFEnsemblePyTorchTrainer, which descends on the same objective."
            )


class MajorizedAggregator(WeightedAggregator):
    """The weighted aggregator, moved to the minimum of the parabolas in every sweep."""

    def __init__(self) -> None:
        super().__init__(lr=0.0, solver="converged")

    def update(
        self, features: Any, labels: np.ndarray, weights: np.ndarray, loss: FocalLoss
    ) -> None:
        """Lower the weighted logistic loss in closed form."""
        features = features[:]
        design = np.column_stack([features, np.ones(len(features))])
        for _ in range(BOUND_STEPS):
            scores = self.scores(features)
            hessian = (design * (weights * bound_curvature(scores))[:, None]).T @ design
            slope = design.T @ (weights * (expit(scores) - labels))
            step = np.linalg.lstsq(hessian, slope, rcond=1e-12)[0]
            self.weights_ = self.weights_ - step[:-1]
            self.intercept_ = float(self.intercept_ - step[-1])


@dataclass(frozen=True, eq=False)
class Majorizer:
    """The supervised row in the normal equations of instances and classifiers.

    Parameters
    ----------
    aggregator : WeightedAggregator
        Its weights are those of the sum of classifiers that makes the row.
    labels, omega, frequencies : ndarray of shape (n_instances,)
        Class codes; weights of the parabolas when squared errors of cells have weight c, 0 where
        the label is unknown; sample weights.
    learns_bias : bool
        Whether the classifiers' last factor is a bias.
    """

    aggregator: WeightedAggregator
    labels: np.ndarray
    omega: np.ndarray
    frequencies: np.ndarray
    learns_bias: bool

    @classmethod
    def of(
        cls, trainer: BaseTrainer, data: EnsembleData, supervision: Supervision, aggregator: Any
    ) -> Self:
        """Return the supervised row of `data`."""
        n_cells = sum(block.n_cells for block in data.blocks())
        omega = np.zeros(data.n_instances)
        if supervision.known.any():
            share = (1 - supervision.rho) * n_cells / (2 * supervision.rho)
            omega[supervision.known] = share * supervision.weights / supervision.weights.sum()
        labels = np.maximum(data.labels, 0)
        return cls(aggregator, labels, omega, data.frequencies, bool(trainer.standardize))

    def _row_weights(self, model: FactorModel) -> np.ndarray:
        """Return the weights (n_rows,) of the classifiers' standardised rows in a score."""
        return self.aggregator.weights_ * model.scale

    def _scores(self, model: FactorModel, Y: np.ndarray) -> np.ndarray:
        values = model.reconstruct(Y.astype(np.float64))
        return self.aggregator.scores(self.aggregator.features(values, model.link))

    def solver(
        self, model: FactorModel, Y: np.ndarray
    ) -> Callable[[Block, np.ndarray, np.ndarray], np.ndarray]:
        """Return a function that solves the factors of a block, from the current ones in `Y`."""

        def solve(block: Block, Z: np.ndarray, C: np.ndarray) -> np.ndarray:
            return self.solve_instances(model, block, Z, C, Y[:, block.start : block.stop])

        return solve

    def solve_instances(
        self, model: FactorModel, block: Block, Z: np.ndarray, C: np.ndarray, Y: np.ndarray
    ) -> np.ndarray:
        """Return the instance factors (latent_dim, n) of a block, from the current ones `Y`."""
        here = slice(block.start, block.stop)
        scores = self._scores(model, Y)
        direction = model.factors @ self._row_weights(model)
        # what of a score the instance factors do not move
        constant = scores - direction @ Y
        target = bound_target(scores, self.labels[here]) - constant
        supervised = self.omega[here] > 0
        weights = np.zeros(len(scores))
        np.divide(
            self.omega[here] * bound_curvature(scores),
            self.frequencies[here],
            out=weights,
            where=supervised,
        )
        rows = np.concatenate([Z - model.bias[:, None], target[None]]).astype(Z.dtype)
        cells = np.concatenate([C, weights[None]]).astype(Z.dtype)
        factors = np.concatenate([model.factors, direction[:, None]], axis=1).astype(Z.dtype)
        return solve_instances(factors, cells, cells * rows, model.lambda_reg)

    def solve_classifiers(
        self, model: FactorModel, equations: ClassifierEquations, Y: np.ndarray
    ) -> np.ndarray:
        r"""Return the factors (d, n_rows) of all classifiers, which the row couples.

        Parameters
        ----------
        model : FactorModel
            With the current factors.
        equations : ClassifierEquations
            Of the reconstruction.
        Y : ndarray of shape (latent_dim, n_instances)

        Notes
        -----
        The row couples the classifiers through :math:`a = \sum_u \hat w_u x_u` only. With the Gram
        matrices G and right sides r of the reconstruction (ridge included), and
        :math:`S = \sum_i \kappa_i y_i y_i^T`, :math:`q = \sum_i \kappa_i \tau_i y_i` of the row,

        .. math:: x_u = G_u^{-1} (r_u + \hat w_u (q - S a)), \quad
            (I + T S) a = \sum_u \hat w_u G_u^{-1} r_u + T q, \quad
            T = \sum_u \hat w_u^2 G_u^{-1}.
        """
        known = self.omega > 0
        weights, Y = self._row_weights(model), Y[:, known].astype(np.float64)
        scores = self._scores(model, Y)
        constant = self.aggregator.intercept_ + self.aggregator.weights_ @ model.shift
        if self.learns_bias:
            Y = np.concatenate([Y, np.ones((1, Y.shape[1]))])
        d = len(Y)
        kappa = self.omega[known] * bound_curvature(scores)
        S = (Y * kappa) @ Y.T
        q = Y @ (kappa * (bound_target(scores, self.labels[known]) - constant))
        gram = unpack(equations.gram, d)
        rounding = 8 * d * np.finfo(float).eps * gram.max()
        inverses = np.linalg.inv(gram + max(model.lambda_reg, rounding) * np.eye(d))
        alone = np.einsum("uij,ju->ui", inverses, equations.right_sides)
        T = np.einsum("u,uij->ij", weights**2, inverses)
        total = np.linalg.solve(np.eye(d) + T @ S, weights @ alone + T @ q)
        return (alone + weights[:, None] * (inverses @ (q - S @ total))).T
