r"""Majorized ALS: alternating least squares on the full objective.

A parabola that touches the loss of an instance at its current score s₀ and bounds it from above is
½ h (s − τ)² + constant, with target τ = s₀ − ℓ'(s₀) / h. When it replaces the loss, it acts as a
pseudo-classifier with one row per class, whose factors are the weighted sum of all others. The
update of the classifiers is then a least-squares problem that does not raise the objective. The
aggregator and the instance factors are then updated together, with the loss itself
(:mod:`cfe_stack.trainers.elimination`).

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

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import numpy as np

from cfe_stack.data.blocks import Block
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.factor_model.factor_model import FactorModel
from cfe_stack.factor_model.normal_equations import ClassifierEquations, instance_systems, unpack
from cfe_stack.factor_model.passes import Passes, pass_block_size
from cfe_stack.factor_model.workspace import Workspace
from cfe_stack.losses.focal_loss import FocalLoss, loss_gradient
from cfe_stack.losses.labeled_rows import LabeledRows
from cfe_stack.trainers.aggregators import WeightedAggregator
from cfe_stack.trainers.base import BaseTrainer
from cfe_stack.trainers.elimination import LabeledSystems, as_scores, each_times
from cfe_stack.trainers.supervision import Supervision
from cfe_stack.trainers.sweep import SweepStep, keeps_factors, passed_over

LOGISTIC = FocalLoss()
MIN_SCORE_SIZE = 1e-6
"""Minimum size of a score: below it, tanh(s / 2) / (2 s) equals ¼ to machine precision."""
MIN_SINGULAR_SHARE = 1e-10
"""Minimum singular value, relative to the largest, of directions in which scores may move."""


@cache
def _largest_slopes(loss: FocalLoss) -> tuple[float, float]:
    """Return bounds of the first two derivatives of a loss."""
    # maxima over a grid; one thousandth more covers the gaps between its points
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
        size = np.maximum(np.abs(scores), MIN_SCORE_SIZE)
        return np.tanh(size / 2) / (2 * size)
    if loss.gamma == 0:
        return np.full(len(scores), 0.5)
    first, second = _largest_slopes(loss)
    h = second if scores.ndim < 2 else 2 * second + first / 2
    return np.full(scores.shape[:1], h)


def bound_target(scores: np.ndarray, labels: np.ndarray, loss: FocalLoss = LOGISTIC) -> np.ndarray:
    """Return the minimizers τ of the parabolas, of the shape of `scores`."""
    h = bound_curvature(scores, loss)
    return scores - loss_gradient(scores, labels, loss) / (h if scores.ndim < 2 else h[:, None])


def check_majorizable(trainer: Any) -> None:
    """Raise ValueError if the supervised loss has no parabolic bound, or no effect."""
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


def _spread(model: FactorModel) -> np.ndarray:
    """Return the matrix that maps the aggregator's weights to the raveled directions of scores."""
    rows = model.factors.reshape(len(model.factors), model.n_classifiers, -1)
    rows = rows * model.scale.reshape(model.n_classifiers, -1)
    return rows.swapaxes(1, 2).reshape(-1, model.n_classifiers)


def _offsets(model: FactorModel) -> np.ndarray:
    """Return the matrix (m, k) that maps the aggregator's weights to the constants of scores."""
    return (model.scale * model.bias + model.shift).reshape(model.n_classifiers, -1)


class MajorizedAggregator(WeightedAggregator):
    """The weighted aggregator, which is updated together with the instance factors."""

    def __init__(self) -> None:
        super().__init__(lr=0.0, solver="converged")

    def update(self, features: Any, rows: LabeledRows) -> None:
        """Do nothing: :meth:`Majorizer.update_instances` updates it."""


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
            aggregator=aggregator,
            labels=labels,
            omega=omega,
            frequencies=data.frequencies,
            loss=supervision.loss_at(0.0),
            learns_bias=bool(trainer.standardize),
        )

    def _row_weights(self, model: FactorModel) -> np.ndarray:
        """Return the weights (m, 1) or (m, K) of the classifiers' standardized rows in scores."""
        return self.aggregator.weights_[:, None] * model.scale.reshape(model.n_classifiers, -1)

    def _score_map(self, model: FactorModel) -> tuple[np.ndarray, np.ndarray]:
        """Return the directions (d, k) and constants (k,) of scores of instance factors."""
        directions = (_spread(model) @ self.aggregator.weights_).reshape(len(model.factors), -1)
        return directions, self.aggregator.weights_ @ _offsets(model) + self.aggregator.intercept_

    def update_instances(
        self, model: FactorModel, data: EnsembleData, passes: Passes, Y: np.ndarray, *, moves: bool
    ) -> None:
        """Minimize over the aggregator and the instance factors, at given classifiers.

        Parameters
        ----------
        model : FactorModel
        data : EnsembleData
        passes : Passes
        Y : ndarray of shape (latent_dim, n_instances)
            Current factors, NaN in the first sweep; overwritten.
        moves : bool
            Whether the aggregator is updated, too.
        """
        systems, energy = self._systems(model, data, passes, Y)
        known = self.omega > 0
        if not known.any():
            return
        directions, constants = self._score_map(model)
        current = np.inf
        if np.isfinite(energy):
            current = energy + systems.losses(Y[:, known].T @ directions + constants)
        w = self.aggregator.weights_
        if moves:
            # Scores move only within the span of the classifiers' factors. Its orthonormal basis
            # makes the problem well conditioned when classifiers are nearly parallel.
            left, sizes, right = np.linalg.svd(_spread(model), full_matrices=False)
            kept = sizes > MIN_SINGULAR_SHARE * sizes[0]
            basis = left[:, kept]
            step, constants = systems.best(directions, constants, basis)
            directions = directions + (basis @ step).reshape(directions.shape)
            w = w + right[kept].T @ (step / sizes[kept])
        settled = systems.settled(directions, constants)
        # rounding errors must not raise the objective: keep the current point
        if settled.objective > current:
            return
        Y[:, known] = settled.factors
        intercept = constants - w @ _offsets(model)
        several = np.ndim(self.aggregator.intercept_) > 0
        self.aggregator.weights_ = w
        self.aggregator.intercept_ = intercept if several else float(intercept[0])

    def _systems(
        self, model: FactorModel, data: EnsembleData, passes: Passes, Y: np.ndarray
    ) -> tuple[LabeledSystems, float]:
        """Fold in unlabeled instances; return the systems of labeled ones, and the energy of `Y`.

        The energy is Σ (y − y₀)ᵀ G (y − y₀), what `Y` adds to the squared errors of the fold-ins.
        """

        def fold(blocks: Iterator[Block], workspace: Workspace, extra: None) -> list[Any]:
            parts = []
            for block in blocks:
                here = slice(block.start, block.stop)
                known, factors = self.omega[here] > 0, Y[:, here]
                C = model.weights(block, use_labels=True)
                fold_ins = model.solve(model.linked(block.R, block.is_complete), C, workspace)
                factors[:, ~known] = fold_ins[:, ~known]
                if known.any():
                    off = (factors - fold_ins)[:, known].T.astype(np.float64)
                    C = C[:, known].astype(np.float64)
                    systems = instance_systems(model.factors, C, model.lambda_reg)
                    energy = (off * each_times(systems, off)).sum(axis=1)
                    energy = float(self.frequencies[here][known] @ energy)
                    own = fold_ins[:, known].astype(np.float64)
                    parts.append((own, np.linalg.inv(systems), energy))
            return parts

        size = pass_block_size(data, len(model.factors))
        parts = [part for run in passes.over(data, fold, size=size) for part in run]
        known, d = self.omega > 0, len(model.factors)
        inverses = [inverse for _, inverse, _ in parts]
        if not all(np.array_equal(inverse, inverses[0]) for inverse in inverses):
            counted = [(own.shape[1], d, d) for own, _, _ in parts]
            pairs = zip(inverses, counted, strict=True)
            inverses = [np.concatenate([np.broadcast_to(*pair) for pair in pairs])]
        systems = LabeledSystems(
            fold_ins=np.concatenate([np.empty((d, 0)), *(own for own, _, _ in parts)], axis=1),
            inverses=inverses[0] if inverses else np.eye(d)[None],
            labels=self.labels[known],
            omega=self.omega[known],
            frequencies=self.frequencies[known],
            loss=self.loss,
        )
        return systems, sum(energy for _, _, energy in parts)

    def solve_classifiers(
        self, model: FactorModel, equations: ClassifierEquations, Y: np.ndarray
    ) -> np.ndarray:
        r"""Return the factors (d, n_rows) of all classifiers, which the supervised row couples.

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
        :math:`S = \sum_i \kappa_i y_i y_i^T = L L^T`, :math:`q = \sum_i \kappa_i \tau_i y_i` of the
        row,

        .. math:: x_u = G_u^{-1} (r_u + \hat w_u v), \quad
            v = L (I + L^T T L)^{-1} L^+ \Bigl(q - S \sum_u \hat w_u G_u^{-1} r_u\Bigr), \quad
            T = \sum_u \hat w_u^2 G_u^{-1}.

        The matrix I + Lᵀ T L is positive definite for any size of the weights.
        """
        known, m = self.omega > 0, model.n_classifiers
        weights, Y = self._row_weights(model), Y[:, known].astype(np.float64)
        directions, constants = self._score_map(model)
        scores = as_scores(Y.T @ directions + constants)
        shift = self.aggregator.weights_ @ model.shift.reshape(m, -1)
        constant = np.atleast_1d(self.aggregator.intercept_) + shift
        if self.learns_bias:
            Y = np.concatenate([Y, np.ones((1, Y.shape[1]))])
        d = len(Y)
        kappa = self.omega[known] * bound_curvature(scores, self.loss)
        target = bound_target(scores, self.labels[known], self.loss)
        target = target.reshape(len(scores), weights.shape[1])
        S, Q = (Y * kappa) @ Y.T, (Y * kappa) @ (target - constant)
        # L from an eigendecomposition, since S is singular with fewer instances than factors
        sizes, axes = np.linalg.eigh(S)
        kept = sizes > d * np.finfo(float).eps * sizes[-1]
        axes, lengths = axes[:, kept], np.sqrt(sizes[kept])
        L = axes * lengths
        gram = unpack(equations.gram, d)
        rounding = 8 * d * np.finfo(float).eps * gram.max()
        inverses = np.linalg.inv(gram + max(model.lambda_reg, rounding) * np.eye(d))
        solved = np.einsum("mij,jmk->imk", inverses, equations.right_sides.reshape(d, m, -1))
        for k, w in enumerate(weights.T):
            T = L.T @ np.einsum("m,mij->ij", w**2, inverses) @ L
            gap = (Q[:, k] - S @ (solved[:, :, k] @ w)) @ axes / lengths
            pull = L @ np.linalg.solve(np.eye(len(T)) + T, gap)
            solved[:, :, k] += w * (inverses @ pull).T
        return solved.reshape(d, -1)


def run_majorized(
    trainer: Any, data: EnsembleData, supervision: Supervision, passes: Passes
) -> tuple[FactorModel, np.ndarray]:
    """Descend on the full objective: classifiers first, then instances with the aggregator.

    Returns
    -------
    model : FactorModel
        With the classifier factors of the last sweep.
    Y : ndarray of shape (latent_dim, n_instances)
        Instance factors, which the supervised row needs in every sweep.
    """
    keeps_factors(trainer.store_instance_factors, trainer.latent_dim, data, majorize=True)
    Y = np.full((trainer.latent_dim, data.n_instances), np.nan, dtype=data.R.dtype)
    model, equations = trainer._start(data, passes)
    majorizer = Majorizer.of(trainer, data, supervision, trainer._aggregator)
    for sweep in trainer._sweeps(supervision):
        # the first sweep has no scores yet for a parabola to touch
        solved = (
            equations.solve(trainer.lambda_reg)
            if sweep == 0
            else majorizer.solve_classifiers(model, equations, Y)
        )
        model = model.with_solution(solved)
        majorizer.update_instances(
            model, data, passes, Y, moves=sweep >= trainer.freeze_aggregator_iters
        )
        passed = passed_over(data, passes, SweepStep(model, trainer.standardize, Y, solved=True))
        equations = passed.equations
        trainer._record(sweep, model, passed, supervision)
    return model, Y
