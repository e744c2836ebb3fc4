"""Joint descent, independent of the array library: data, parameters, objective, stopping rule."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.factor_model.factor_model import FactorModel
from cfe_stack.losses import objective
from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.losses.link import Link
from cfe_stack.losses.raw_scores import margins
from cfe_stack.pools.gates import Gates
from cfe_stack.trainers.aggregators import Aggregator, Gate
from cfe_stack.trainers.supervision import Supervision

MAX_GATE_ROWS = 5000
"""Maximum number of instances from which the initial gate is computed."""
MAX_RUN_ROWS = 1024
"""Maximum number of neighboring instances that stay together in a batch, for efficient reads."""


def shuffled_batches(
    n: int, size: int, permutation: Callable[[int], np.ndarray]
) -> list[np.ndarray]:
    """Return the instances of every batch: short runs of neighbors in random order.

    Parameters
    ----------
    n, size : int
        Number of instances, and number per batch.
    permutation : callable
        Returns a random order of 0 … k − 1 for a number k.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.trainers.joint_objective import shuffled_batches
    >>> [batch.tolist() for batch in shuffled_batches(5, 3, lambda k: np.arange(k)[::-1])]
    [[4, 3, 2], [1, 0]]
    """
    if size >= n:
        return [np.arange(n)]
    run = max(1, min(MAX_RUN_ROWS, size // 16))
    starts = run * permutation(-(-n // run))
    order = (starts[:, None] + np.arange(run)).ravel()
    order = order[order < n]
    return [order[k : k + size] for k in range(0, n, size)]


@dataclass(frozen=True, eq=False)
class JointArrays:
    """Data of the objective as arrays or tensors, with the instances on the last axis.

    Parameters
    ----------
    Z : array of shape (n_rows, n)
        Standardized linked predictions, 0 where missing.
    C : array of shape (n_classifiers, n)
        Label-free weights of the cells, 0 where missing.
    cells : array of shape (n_rows, n)
        Weights times frequencies, for every row.
    frequencies : array of shape (n,)
    labels : array of shape (n,), int
        Class codes; 0 for unlabeled instances, which have weight 0.
    omega : array of shape (n,)
        Weights of the supervised loss.
    """

    Z: Any
    C: Any
    cells: Any
    frequencies: Any
    labels: Any
    omega: Any

    @classmethod
    def of(
        cls,
        data: EnsembleData,
        model: FactorModel,
        supervision: Supervision,
        dtype: str,
        rows: slice | np.ndarray = slice(None),
    ) -> Self:
        """Return the arrays of some instances of `data`, without reading the others."""
        block = data.block_of(rows)
        Z = model.linked(block.R).astype(dtype, copy=False)
        C = model.weights(block, use_labels=False).astype(dtype, copy=False)
        frequencies = block.sample_weight.astype(dtype)
        cells = np.repeat(C * frequencies, len(Z) // len(C), axis=0)
        omega = supervision.omega[rows].astype(dtype)
        return cls(Z, C, cells, frequencies, np.maximum(block.labels, 0), omega)

    def take(self, rows: np.ndarray) -> Self:
        """Return the given instances."""
        return self.map(lambda array: array[..., rows])

    def map(self, function: Callable[[Any], Any]) -> Self:
        """Return the results of a function of every array."""
        return type(self)(*(function(getattr(self, field.name)) for field in fields(self)))


def initial_gate(data: EnsembleData, model: FactorModel) -> Gate:
    """Return a gate that opens along the first factor and changes no weight yet."""
    n, m = data.n_instances, data.n_classifiers
    block = data.block_of(slice(None, None, -(-n // MAX_GATE_ROWS)))
    Y = model.solve(model.linked(block.R), model.weights(block, use_labels=False))
    # rows of weight zero must not make the weighted moments singular
    frequencies = block.sample_weight + np.finfo(float).tiny
    first = Gates.fit(model.factors, Y, np.empty((len(frequencies), 0)), frequencies)
    # the factor as a function of the reconstruction: X loadings = direction, in least squares
    loadings = np.linalg.lstsq(model.factors, first.direction, rcond=None)[0]
    slopes = loadings / model.scale
    offset = -(slopes @ model.shift + loadings @ model.bias + first.center)
    # torch's L-BFGS takes no parameter that is a transposed view
    rows = np.ascontiguousarray(slopes.reshape(m, -1).T)
    direction = (rows[0] if len(rows) == 1 else rows) / first.scale
    return Gate(np.zeros(m), direction, np.array([offset / first.scale]))


@dataclass
class JointParameters:
    """Parameters that all instances share, as arrays or tensors.

    Parameters
    ----------
    X : array of shape (latent_dim, n_rows)
    bias : array of shape (n_rows, 1)
    w : array of shape (n_classifiers,)
    b : array of shape (1,) or (n_classes,)
    gate : Gate, default=None
    """

    X: Any
    bias: Any
    w: Any
    b: Any
    gate: Gate | None = None


@dataclass(frozen=True)
class JointObjective:
    """The parts of the objective as functions of the parameters, for NumPy and torch.

    Parameters
    ----------
    link : Link
    aggregator : Aggregator
        Its formula is used; the weights are among the parameters.
    lambda_reg : float
    scale, shift : array of shape (n_rows, 1)
        Standardization of the rows.
    n_cells : float
        Observed cells of all data, counted with their instances' frequencies.
    omega_sum : float
        Σ ω of all data; 0 without labels.
    class_factors : array of shape (n_classes,), default=None
        Factors of ω by class, which `omega_sum` includes.
    """

    link: Link
    aggregator: Aggregator
    lambda_reg: float
    scale: Any
    shift: Any
    n_cells: float
    omega_sum: float
    class_factors: Any = None

    def parts(
        self,
        part: JointArrays,
        parameters: JointParameters,
        Y: Any,
        loss: FocalLoss,
        share: float = 1.0,
        xp: Any = np,
    ) -> tuple[Any, Any]:
        """Return estimates of L_recon and L_sup from a `part` of the data.

        Parameters
        ----------
        part : JointArrays
        parameters : JointParameters
        Y : array of shape (latent_dim, n)
            Instance factors of the part.
        loss : FocalLoss
        share : float, default=1.0
            Number of all instances divided by the number in the part.
        xp : module, default=numpy
            The array library: ``numpy`` or ``torch``.
        """
        Z_hat = parameters.X.T @ Y + parameters.bias
        error = share * objective.squared_error(part.Z, part.cells, Z_hat)
        norms = (parameters.X**2).sum() + (parameters.bias**2).sum()
        norms = norms + share * (Y**2 * part.frequencies).sum()
        reconstruction = objective.reconstruction_loss(error, norms, self.lambda_reg, self.n_cells)
        omega = part.omega
        if self.class_factors is not None:
            omega = omega * self.class_factors[part.labels]
        here = float(omega.sum())
        if here == 0:
            return reconstruction, 0 * reconstruction
        values = linked_values(Z_hat, len(part.C), self.scale, self.shift)
        scores = self.scores(values, parameters, xp)
        margin = margins(scores, part.labels, xp)
        supervised = objective.supervised_loss(loss, margin, omega, xp)
        return reconstruction, supervised * (share * here / self.omega_sum)

    def scores(self, values: Any, parameters: JointParameters, xp: Any = np) -> Any:
        """Return the aggregator's raw scores of linked values (n, m) or (n, K, m)."""
        features = self.aggregator.features(values, self.link, xp, parameters.gate)
        intercept = parameters.b[0] if values.ndim == 2 else parameters.b
        return self.aggregator.combine(features, parameters.w, intercept, xp, parameters.gate)


def linked_values(Z_hat: Any, n_classifiers: int, scale: Any, shift: Any) -> Any:
    """Return linked values (n, m) or (n, K, m) of standardized rows (n_rows, n).

    Parameters
    ----------
    Z_hat : ndarray or torch.Tensor of shape (n_rows, n)
    n_classifiers : int
    scale, shift : ndarray or torch.Tensor of shape (n_rows, 1)
    """
    values = Z_hat * scale + shift
    if len(values) == n_classifiers:
        return values.T
    return values.reshape(n_classifiers, -1, values.shape[1]).swapaxes(0, 2)


@dataclass(frozen=True, eq=False)
class DescentResult:
    """Result of a descent, as NumPy arrays.

    Parameters
    ----------
    factors : ndarray of shape (latent_dim, n_rows)
    bias : ndarray of shape (n_rows,)
    weights, intercept : ndarray of shape (n_classifiers,) and (1,) or (n_classes,)
    Y : ndarray of shape (latent_dim, n_instances)
    gate : Gate or None
    """

    factors: np.ndarray
    bias: np.ndarray
    weights: np.ndarray
    intercept: np.ndarray
    Y: np.ndarray
    gate: Gate | None


@dataclass
class Plateau:
    """Counter of epochs without an improvement.

    Parameters
    ----------
    patience : int
        Number of epochs without an improvement after which the descent has stalled.
    tol : float
        Minimum decrease that counts as an improvement, relative to the best objective; 0 never
        stalls.
    """

    patience: int
    tol: float
    best: float = np.inf
    n_waiting: int = 0

    def is_best(self, objective: float) -> bool:
        """Record the objective of an epoch, and return whether it is the lowest so far."""
        enough = self.best - objective > self.tol * max(abs(self.best), np.finfo(float).tiny)
        self.n_waiting = 0 if enough or self.best == np.inf else self.n_waiting + 1
        lowest = objective < self.best
        self.best = min(self.best, objective)
        return lowest

    @property
    def stalled(self) -> bool:
        """Whether patience is exhausted."""
        return self.tol > 0 and self.n_waiting >= self.patience
