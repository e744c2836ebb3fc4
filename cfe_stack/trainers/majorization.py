r"""Alternating least squares on the full objective: the supervised part as further rows.

A parabola that touches the loss of an instance at its current score s₀ and lies above it elsewhere
is ½ h (s − τ)² + constant, with target τ = s₀ − ℓ'(s₀) / h. In place of the loss, the parabola is a
pseudo-classifier, with one row per class, whose factors are the weighted sum of all others. Every
update is then a least-squares problem, and none raises the objective.

The curvature h is that of Jaakkola and Jordan, tanh(|s₀| / 2) / (2 |s₀|) ≤ ¼, for the logistic
loss of two classes [1]_, and ½ for more [2]_. For the focal loss f of the margin it is the largest
f'' for two classes, and 2 max f'' + ½ max |f'| for more, since the margin has a gradient of squared
length 2 at most and a Hessian between −½ and 0.

References
----------
.. [1] T. Jaakkola, M. Jordan, "Bayesian Parameter Estimation via Variational Methods", Statistics
   and Computing 2000.
.. [2] D. Böhning, B. Lindsay, "Monotonicity of Quadratic-Approximation Algorithms", Annals of the
   Institute of Statistical Mathematics 1988.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import numpy as np

from cfe_stack.aggregators import WeightedAggregator, held
from cfe_stack.ensemble_data import Block, EnsembleData
from cfe_stack.losses import FocalLoss, margin_directions, margins
from cfe_stack.pool_design import PoolDesign
from cfe_stack.trainers.base import BaseTrainer
from cfe_stack.trainers.factor_model import FactorModel
from cfe_stack.trainers.normal_equations import ClassifierEquations, solve_instances, unpack, weigh
from cfe_stack.trainers.supervision import Supervision

LOGISTIC = FocalLoss()
BOUND_STEPS = 5
"""Updates of the aggregator per sweep: cheap beside a pass over the data."""
SMALLEST_SCORE = 1e-6
"""Below this size tanh(s / 2) / (2 s) is ¼ to the last digit."""


@cache
def _largest_slopes(loss: FocalLoss) -> tuple[float, float]:
    """Return bounds of the first two derivatives of a loss; a thousandth covers the grid's gaps."""
    margin = np.linspace(-60, 60, 24_001)
    first, second = np.abs(loss.derivative(margin)), loss.curvature(margin)
    return float(first.max()) * 1.001, float(second.max()) * 1.001


def bound_curvature(scores: np.ndarray, loss: FocalLoss = LOGISTIC) -> np.ndarray:
    """Return the curvature h (n,) of the parabolas that touch the loss at scores (n,) or (n, K).

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.trainers.majorization import bound_curvature
    >>> bound_curvature(np.array([0.0, 4.0])).round(3)
    array([0.25 , 0.121])
    """
    if loss.gamma == 0 and scores.ndim < 2:
        size = np.maximum(np.abs(scores), SMALLEST_SCORE)
        return np.tanh(size / 2) / (2 * size)
    if loss.gamma == 0:
        return np.full(len(scores), 0.5)
    first, second = _largest_slopes(loss)
    h = second if scores.ndim < 2 else 2 * second + first / 2
    return np.full(scores.shape[:1], h)


def loss_gradient(scores: np.ndarray, labels: np.ndarray, loss: FocalLoss = LOGISTIC) -> np.ndarray:
    """Return the derivative of the loss in the scores, of the shape of `scores`."""
    slope = loss.derivative(margins(scores, labels))
    directions = margin_directions(scores, labels)
    return slope * directions if scores.ndim < 2 else slope[:, None] * directions


def bound_target(scores: np.ndarray, labels: np.ndarray, loss: FocalLoss = LOGISTIC) -> np.ndarray:
    """Return where the parabolas are lowest, of the shape of `scores`."""
    h = bound_curvature(scores, loss)
    return scores - loss_gradient(scores, labels, loss) / (h if scores.ndim < 2 else h[:, None])


def check_majorizable(trainer: Any) -> None:
    """Raise ValueError where the supervised loss has no parabola above it, or no share to give."""
    reasons = {
        "a constant focal_gamma, got a schedule": callable(trainer.focal_gamma),
        "focal_gradient='exact', the derivative of a loss": trainer.focal_gradient != "exact",
        f"aggregator_type='weighted', got {trainer.aggregator_type!r}": (
            trainer.aggregator_type != "weighted"
        ),
        f"rho > 0, got {trainer.rho!r}": trainer.rho == 0,
        "constant class weights, got a schedule": callable(trainer.use_class_weights),
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
        """Lower the weighted loss in closed form."""
        design, m = PoolDesign(held(features)), len(self.weights_)
        theta = np.append(self.weights_, self.intercept_)
        for _ in range(BOUND_STEPS):
            scores = design.scores(theta)
            each = weights if scores.ndim == 1 else weights[:, None]
            curvature = (weights * bound_curvature(scores, loss)).reshape(each.shape)
            hessian = design.gram(np.broadcast_to(curvature, scores.shape))
            slope = design.transposed(each * loss_gradient(scores, labels, loss))
            theta = theta - np.linalg.lstsq(hessian, slope, rcond=1e-12)[0]
        self.weights_ = theta[:m]
        self.intercept_ = float(theta[m]) if np.ndim(self.intercept_) == 0 else theta[m:]


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
    loss : FocalLoss
    learns_bias : bool
        Whether the classifiers' last factor is a bias.
    """

    aggregator: WeightedAggregator
    labels: np.ndarray
    omega: np.ndarray
    frequencies: np.ndarray
    loss: FocalLoss
    learns_bias: bool

    @classmethod
    def of(
        cls, trainer: BaseTrainer, data: EnsembleData, supervision: Supervision, aggregator: Any
    ) -> Self:
        """Return the supervised row of `data`."""
        n_cells = sum(block.n_cells for block in data.blocks())
        omega = np.zeros(data.n_instances)
        if len(supervision.rows):
            share = (1 - supervision.rho) * n_cells / (2 * supervision.rho)
            omega[supervision.rows] = share * supervision.weights / supervision.weights.sum()
        labels = np.maximum(data.labels, 0)
        return cls(
            aggregator,
            labels,
            omega,
            data.frequencies,
            supervision.loss_at(0.0),
            bool(trainer.standardize),
        )

    def _row_weights(self, model: FactorModel) -> np.ndarray:
        """Return the weights (m, 1) or (m, K) of the classifiers' standardised rows in scores."""
        return self.aggregator.weights_[:, None] * model.scale.reshape(model.n_classifiers, -1)

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
        scores, weights = self._scores(model, Y), self._row_weights(model)
        rows = model.factors.reshape(len(Y), *weights.shape)
        directions = np.einsum("dmk,mk->dk", rows, weights)
        target = bound_target(scores, self.labels[here], self.loss).reshape(len(scores), -1)
        # what of a score the instance factors do not move
        constant = scores.reshape(len(scores), -1) - Y.T.astype(np.float64) @ directions
        curvature = self.omega[here] * bound_curvature(scores, self.loss)
        pull = np.zeros(len(scores))
        np.divide(curvature, self.frequencies[here], out=pull, where=self.omega[here] > 0)
        values = np.concatenate([Z - model.bias[:, None], (target - constant).T]).astype(Z.dtype)
        cells = np.concatenate([C, pull[None]]).astype(Z.dtype)
        factors = np.concatenate([model.factors, directions], axis=1).astype(Z.dtype)
        return solve_instances(factors, cells, weigh(cells, values), model.lambda_reg)

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
        Class by class, the row couples the classifiers through :math:`a = \sum_u \hat w_u x_u`
        only. With the Gram matrices G and right sides r of the reconstruction (ridge included), and
        :math:`S = \sum_i \kappa_i y_i y_i^T`, :math:`q = \sum_i \kappa_i \tau_i y_i` of the row,

        .. math:: x_u = G_u^{-1} (r_u + \hat w_u (q - S a)), \quad
            (I + T S) a = \sum_u \hat w_u G_u^{-1} r_u + T q, \quad
            T = \sum_u \hat w_u^2 G_u^{-1}.
        """
        known, m = self.omega > 0, model.n_classifiers
        weights, Y = self._row_weights(model), Y[:, known].astype(np.float64)
        scores = self._scores(model, Y)
        shift = self.aggregator.weights_ @ model.shift.reshape(m, -1)
        constant = np.atleast_1d(self.aggregator.intercept_) + shift
        if self.learns_bias:
            Y = np.concatenate([Y, np.ones((1, Y.shape[1]))])
        d = len(Y)
        kappa = self.omega[known] * bound_curvature(scores, self.loss)
        target = bound_target(scores, self.labels[known], self.loss)
        target = target.reshape(len(scores), weights.shape[1])
        S, Q = (Y * kappa) @ Y.T, (Y * kappa) @ (target - constant)
        gram = unpack(equations.gram, d)
        rounding = 8 * d * np.finfo(float).eps * gram.max()
        inverses = np.linalg.inv(gram + max(model.lambda_reg, rounding) * np.eye(d))
        alone = np.einsum("mij,jmk->imk", inverses, equations.right_sides.reshape(d, m, -1))
        solved = np.empty_like(alone)
        for k, w in enumerate(weights.T):
            T = np.einsum("m,mij->ij", w**2, inverses)
            total = np.linalg.solve(np.eye(d) + T @ S, alone[:, :, k] @ w + T @ Q[:, k])
            solved[:, :, k] = alone[:, :, k] + w * (inverses @ (Q[:, k] - S @ total)).T
        return solved.reshape(d, -1)
