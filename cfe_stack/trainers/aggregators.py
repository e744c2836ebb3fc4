"""Aggregators: from the predictions of all classifiers on an instance to one raw score.

Features have the classifiers on their last axis, (n, m) for two classes and (n, K, m) for more, so
that a score is always ``features @ weights_ + intercept_``. Mean, weighted and logarithmic pool
differ in the scale of their features and in how their weights come about.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from cfe_stack.losses.labeled_rows import LabeledRows
from cfe_stack.losses.link import Link, make_link
from cfe_stack.losses.raw_scores import in_scores, margin_directions, margins
from cfe_stack.pools.design import PoolDesign, row_slices
from cfe_stack.pools.gates import linear_gate
from cfe_stack.pools.newton import NewtonPath, PoolProblem, intercept_prior

Solver = Literal["gradient", "converged"]
CLASS_AXIS = 1
"""Axis of the classes in linked values (n, K, m)."""
WEAK_PRIOR = 0.1
"""Strength of a penalty that keeps the weights finite if the classes are separable."""
MAX_HELD_CELLS = 1 << 24
"""Maximum number of cells of features kept in memory; larger features are recomputed in slices."""
POOL_PRIOR = 50.0
"""Default strength of the penalty that pulls a logarithmic pool toward equal weights."""
SOLVER_TOL = 1e-16
"""Tolerance of solvers, which is small because weak penalties leave flat directions."""


@dataclass
class Gate:
    """Parameters of a gate, which makes the weights of a pool depend on the instance.

    Parameters
    ----------
    weights : array of shape (n_classifiers,)
        Change of the weights per unit of the gate.
    direction : array of shape (n_classifiers,) or (n_classes, n_classifiers)
        Coefficients of the linked reconstruction in the gate, before its tanh.
    offset : array of shape (1,)
    """

    weights: Any
    direction: Any
    offset: Any


def classifiers_last(values: np.ndarray) -> np.ndarray:
    """Return the view (n, m) or (n, K, m) of an array (m, n) or (m, n, K)."""
    return np.moveaxis(values, 0, -1)


def held(features: Any) -> Any:
    """Return small features as one array, and larger ones unchanged, to be read in slices."""
    small = len(features) * features[:1].size <= MAX_HELD_CELLS
    return np.ascontiguousarray(features[:]) if small else features


class Aggregator:
    """Base of the aggregators inside a trainer: equal weights at the start, and linear scores.

    `features` and `combine` hold no state and take NumPy arrays, or tensors with ``xp=torch``: ALS
    and joint descent evaluate the same formula.
    """

    learns: ClassVar[bool] = True
    """Whether training moves it."""
    nonnegative: ClassVar[bool] = False
    """Whether its weights stay at least 0."""

    weights_: np.ndarray
    intercept_: float | np.ndarray
    gate: Gate | None = None

    def start(self, n_classifiers: int, intercept: float | np.ndarray) -> None:
        """Set weights 1/m and the given intercept."""
        self.weights_ = np.full(n_classifiers, 1 / n_classifiers)
        self.intercept_ = intercept

    def features(self, values: Any, link: Link, xp: Any = np, gate: Gate | None = None) -> Any:
        """Return features of linked values (n, m) or (n, K, m), of the same shape."""
        raise NotImplementedError

    def combine(
        self, features: Any, weights: Any, intercept: Any, xp: Any = np, gate: Gate | None = None
    ) -> Any:
        """Return raw scores (n,) or (n, K) of features: w · features + b."""
        return features @ weights + intercept

    def update(self, features: Any, rows: LabeledRows) -> None:
        """Lower the weighted loss on labeled instances.

        `features` are an array, or an object that returns one for a slice of rows.
        """
        raise NotImplementedError

    def scores(self, features: Any) -> np.ndarray:
        """Return the raw scores of features at the current weights."""
        return self.combine(features, self.weights_, self.intercept_, gate=self.gate)


class MeanAggregator(Aggregator):
    """The linear opinion pool: the plain average of the probabilities. It learns nothing."""

    learns = False

    def __init__(self, n_classes: int) -> None:
        self.link = make_link("logit", n_classes)

    def features(self, values: Any, link: Link, xp: Any = np, gate: Gate | None = None) -> Any:
        """Return probabilities."""
        return link.inverse(values, xp, CLASS_AXIS)

    def start(self, n_classifiers: int, intercept: float | np.ndarray) -> None:
        """Set equal weights; an average has no intercept."""
        super().start(n_classifiers, np.zeros_like(intercept))

    def update(self, features: Any, rows: LabeledRows) -> None:
        """Do nothing."""

    def combine(
        self, features: Any, weights: Any, intercept: Any, xp: Any = np, gate: Gate | None = None
    ) -> Any:
        """Return the log-odds (centered log-ratios) of the average."""
        return self.link.forward(features @ weights, xp)


class WeightedAggregator(Aggregator):
    """The published aggregator: a logistic unit on the reconstructed predictions.

    Parameters
    ----------
    lr : float
        Size of a gradient step.
    solver : {"gradient", "converged"}
        One gradient step per sweep, as published, or the minimizer of the loss in every sweep.
    """

    def __init__(self, lr: float, solver: Solver) -> None:
        self.lr, self.solver = lr, solver

    def features(self, values: Any, link: Link, xp: Any = np, gate: Gate | None = None) -> Any:
        """Return the linked values themselves."""
        return values

    def update(self, features: Any, rows: LabeledRows) -> None:
        """Take one gradient step, or solve to convergence."""
        if self.solver == "converged":
            center = np.zeros_like(self.weights_)
            solved = solve_weights(self, features, rows, center, WEAK_PRIOR)
            self.weights_, self.intercept_ = solved
            return
        step_w, step_b = weight_gradient(self, features, rows)
        self.weights_ = self.weights_ - self.lr * step_w
        self.intercept_ = self.intercept_ - self.lr * step_b


class LogPoolAggregator(Aggregator):
    """The weighted logarithmic opinion pool: log-odds with weights ≥ 0, shrunk to equal weights.

    Non-negative weights exclude the published weight collapse.

    Parameters
    ----------
    n_classes : int
    strength : float, default=POOL_PRIOR
        Strength of the shrinkage, in observations.
    """

    nonnegative = True

    def __init__(self, n_classes: int, strength: float = POOL_PRIOR) -> None:
        self.link, self.strength = make_link("logit", n_classes), strength

    def features(self, values: Any, link: Link, xp: Any = np, gate: Gate | None = None) -> Any:
        """Return log-odds (centered log-ratios)."""
        return self.link.forward(link.inverse(values, xp, CLASS_AXIS), xp, CLASS_AXIS)

    def update(self, features: Any, rows: LabeledRows) -> None:
        """Solve the penalized problem to convergence."""
        center = np.full_like(self.weights_, 1 / len(self.weights_))
        self.weights_, self.intercept_ = solve_weights(
            self, features, rows, center, self.strength, nonnegative=True
        )


class GatedPoolAggregator(Aggregator):
    """A logarithmic opinion pool whose weights depend on the instance: w + φ(r̂) g.

    The gate φ is tanh of a linear function of the reconstruction, hence of the instance's factors,
    as in the pools of :mod:`cfe_stack.pools.log_pool`. Joint descent trains it.

    Parameters
    ----------
    n_classes : int
    gate : Gate, default=None
        Where training has ended.
    """

    nonnegative = True

    def __init__(self, n_classes: int, gate: Gate | None = None) -> None:
        self.link, self.gate = make_link("logit", n_classes), gate

    def features(
        self, values: Any, link: Link, xp: Any = np, gate: Gate | None = None
    ) -> tuple[Any, Any]:
        """Return log-odds (centered log-ratios), and the gate values (n,)."""
        opened = self.gate if gate is None else gate
        assert opened is not None
        phi = linear_gate(values, opened.direction, opened.offset, xp)
        return self.link.forward(link.inverse(values, xp, CLASS_AXIS), xp, CLASS_AXIS), phi

    def combine(
        self, features: Any, weights: Any, intercept: Any, xp: Any = np, gate: Gate | None = None
    ) -> Any:
        """Return (w + φ g) · z + b."""
        assert gate is not None
        Z, phi = features
        changes = (phi[:, None] if Z.ndim == 3 else phi) * (Z @ gate.weights)
        return Z @ weights + changes + intercept

    def update(self, features: Any, rows: LabeledRows) -> None:
        """Do nothing: the descent moves it."""


def weight_gradient(
    aggregator: Aggregator, features: Any, rows: LabeledRows
) -> tuple[np.ndarray, float | np.ndarray]:
    """Return the gradient of Σ ω ℓ / Σ ω in the aggregator's weights (m,) and intercept.

    `features` are an array, or an object that returns one for a slice of rows.
    """
    in_weights: Any = 0.0
    in_intercept: Any = 0.0
    total = 0.0
    for here in row_slices(features):
        part, labels, weights = features[here], rows.labels[here], rows.loss_weights[here]
        scores = aggregator.scores(part)
        margin = margins(scores, labels)
        slope = weights * rows.loss.derivative(margin)
        on_scores = in_scores(slope, margin_directions(scores, labels))
        in_weights = in_weights + np.tensordot(on_scores, part, axes=on_scores.ndim)
        in_intercept = in_intercept + on_scores.sum(axis=0)
        total += rows.loss.normalizer(margin, weights)
    several = np.ndim(in_intercept) > 0
    return in_weights / total, in_intercept / total if several else float(in_intercept / total)


def solve_weights(
    aggregator: Aggregator,
    features: Any,
    rows: LabeledRows,
    center: np.ndarray,
    strength: float,
    *,
    nonnegative: bool = False,
) -> tuple[np.ndarray, float | np.ndarray]:
    """Return the weights and intercept that minimize the penalized loss, from the current ones.

    `features` are an array, or an object that returns one for a slice of rows.
    """
    m, n_intercepts = len(center), np.size(aggregator.intercept_)
    problem = PoolProblem(
        design=PoolDesign(held(features)),
        rows=rows,
        penalty=np.repeat([strength, intercept_prior(n_intercepts)], [m, n_intercepts]),
        center=np.concatenate([center, np.zeros(n_intercepts)]),
        nonnegative=np.repeat([nonnegative, False], [m, n_intercepts]),
    )
    start = np.concatenate([aggregator.weights_, np.atleast_1d(aggregator.intercept_)])
    theta = NewtonPath().minimize(problem, start, tol=SOLVER_TOL)
    return theta[:m], float(theta[m]) if n_intercepts == 1 else theta[m:]


AGGREGATORS: dict[str, Callable[[int, float, Solver], Aggregator]] = {
    "mean": lambda n_classes, lr, solver: MeanAggregator(n_classes),
    "weighted": lambda n_classes, lr, solver: WeightedAggregator(lr, solver),
    "log_pool": lambda n_classes, lr, solver: LogPoolAggregator(n_classes),
}
"""Aggregators that every trainer can train."""
JOINT_AGGREGATORS: dict[str, Callable[[int, float, Solver], Aggregator]] = {
    **AGGREGATORS,
    "gated_pool": lambda n_classes, lr, solver: GatedPoolAggregator(n_classes),
}
"""Aggregators of joint descent."""


def make_aggregator(
    name: str,
    n_classes: int,
    lr: float = 0.0,
    solver: Solver = "gradient",
    *,
    known: Mapping[str, Callable[[int, float, Solver], Aggregator]] = AGGREGATORS,
) -> Aggregator:
    """Return the aggregator called `name`.

    Parameters
    ----------
    name : str
        A key of `known`.
    n_classes : int
    lr : float, default=0.0
        Size of a gradient step of the weighted aggregator.
    solver : {"gradient", "converged"}, default="gradient"
        How the weighted aggregator is trained.
    known : mapping, default=AGGREGATORS
        What there is to choose from.

    Raises
    ------
    ValueError
        If a name is unknown.
    """
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"aggregator_type must be one of {sorted(known)}, got {name!r}.")
    if str(solver) not in ("gradient", "converged"):
        raise ValueError(f"aggregator_solver must be 'gradient' or 'converged', got {solver!r}.")
    return known[name](n_classes, lr, solver)
