"""Linear opinion pools: greedy ensemble selection, and weights on the simplex.

A linear pool averages probabilities instead of log-odds. Its loss depends on the weights through
the probability of the true class alone, q_i = Σ_u w_u g_ui, for two classes and for more.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from scipy.special import logit

from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.losses.link import DEFAULT_CLIP, make_link
from cfe_stack.pools.calibration import Calibration
from cfe_stack.pools.inputs import PoolFeatures, PoolInputs
from cfe_stack.pools.newton import NewtonPath

MIN_PROBABILITY = 1e-6
"""Distance from 0 and 1 that probabilities of the true class keep while weights are learned."""
SUM_PENALTY = 1e6
"""Penalty, per observation, that keeps the sum of the weights at 1 until they are rescaled."""
N_GREEDY_ROUNDS = 50


@dataclass(frozen=True)
class LinearFamily:
    """Linear pools with their grid of strengths, in observations, from strong to weak.

    Parameters
    ----------
    name : str
    strengths : tuple of float, default=()
        Penalties that pull the weights toward 1/m; empty for greedy ensemble selection.
    """

    name: str
    strengths: tuple[float, ...] = ()
    share: ClassVar[float] = 1.0

    @property
    def grid(self) -> list[float]:
        """Strengths; one point for greedy selection."""
        return list(self.strengths) or [0.0]

    def features(self, instances: PoolFeatures) -> np.ndarray:
        """Return what the family pools: probabilities."""
        return instances.P

    def calibrate(self, inputs: PoolInputs) -> Calibration:
        """Return slopes 1 and offsets 0: linear pools take the probabilities as they are."""
        m = inputs.Z.shape[-1]
        return Calibration(np.ones(m), np.zeros(m))

    def fit_path(
        self, inputs: PoolInputs, calibration: Calibration, points: Sequence[int] | None = None
    ) -> list["LinearPool"]:
        """Fit one linear pool per strength, each starting at its neighbor.

        Parameters
        ----------
        inputs : PoolInputs
            With probabilities as features.
        calibration : Calibration
            Not used.
        points : sequence of int, default=None
            Grid points to fit; all of them if None.

        Returns
        -------
        list of LinearPool
        """
        P, rows = inputs.Z, inputs.rows
        if P.ndim == 2:
            true_proba = np.where((rows.labels == 1)[:, None], P, 1 - P).astype(np.float64)
        else:
            true_proba = P[np.arange(len(P)), rows.labels].astype(np.float64)
        intercept = np.zeros(1 if P.ndim == 2 else P.shape[1])
        if not self.strengths:
            return [
                LinearPool(greedy_selection(true_proba, rows.loss_weights, rows.loss), intercept)
            ]
        w, pools, newton = np.full(true_proba.shape[1], 1 / true_proba.shape[1]), [], NewtonPath()
        for k in range(len(self.grid)) if points is None else points:
            problem = MixtureProblem(true_proba, rows.loss_weights, self.grid[k], rows.loss)
            w = newton.minimize(problem, w)
            # the penalty holds the sum at 1 up to a rounding, which this removes
            w = w / w.sum()
            pools.append(LinearPool(w, intercept))
        return pools


LINEAR_POOL = LinearFamily("linear_pool", (500.0, 50.0, 5.0, 0.5))
GREEDY_SELECTION = LinearFamily("greedy_selection")


@dataclass(frozen=True, eq=False)
class LinearPool:
    """A weighted average of probabilities, with slope and intercept on its log-odds.

    Parameters
    ----------
    weights : ndarray of shape (n_classifiers,)
        At least 0, of sum 1.
    intercept : ndarray of shape (1,) or (n_classes,)
    slope : float, default=1.0
    """

    weights: np.ndarray
    intercept: np.ndarray
    slope: float = 1.0

    def scores(self, P: np.ndarray, phi: np.ndarray) -> np.ndarray:
        """Return scores (n,) or (n, K) of probabilities with the classifiers on the last axis."""
        link = make_link("logit", 2 if P.ndim == 2 else P.shape[1])
        intercept = self.intercept[0] if P.ndim == 2 else self.intercept
        return self.slope * link.forward(P @ self.weights) + intercept

    def contributions(self, P: np.ndarray, phi: np.ndarray) -> np.ndarray:
        """Return what every classifier adds to the scores, of the shape of `P`.

        Notes
        -----
        The score log p − log 1/K is divided among the classifiers in proportion to their
        contributions to p − 1/K.
        """
        full = np.stack([1 - P, P], axis=1) if P.ndim == 2 else P
        neutral = 1 / full.shape[1]
        mixed = full @ self.weights
        highest = 1 - DEFAULT_CLIP if P.ndim == 2 else np.inf
        rise = np.log(np.clip(mixed, DEFAULT_CLIP, highest)) - np.log(neutral)
        away = mixed - neutral
        # rise / away tends to the derivative of log at 1/K, which is K
        close = np.abs(away) < 1e-9
        rate = np.where(close, 1 / neutral, rise / np.where(close, 1.0, away))
        parts = self.slope * self.weights * (full - neutral) * rate[:, :, None]
        return parts[:, 1] - parts[:, 0] if P.ndim == 2 else parts - parts.mean(1, keepdims=True)

    def average_weights(self, inputs: PoolInputs) -> np.ndarray:
        """Return the weights (n_classifiers,), which are the same for every row."""
        return self.weights

    def instance_weights(self, Z: np.ndarray, phi: np.ndarray) -> None:
        """Return None: the weights are those of probabilities, and no row has its own."""

    @property
    def fitted_attributes(self) -> dict[str, Any]:
        """Nothing beside the weights."""
        return {}

    @property
    def linear_form(self) -> None:
        """None: the score is not linear in log-odds."""

    def shifted(self, shift: np.ndarray) -> Self:
        """Return a copy with `shift` added to the intercept."""
        return replace(self, intercept=self.intercept + shift)

    @classmethod
    def average(cls, pools: list[Self], shares: np.ndarray) -> Self:
        """Return the pool of averaged weights, whose slope is the sum of the shares."""
        total = float(np.sum(shares))
        weights = sum(s * pool.weights for s, pool in zip(shares, pools, strict=True))
        if total > 0:
            weights = weights / total
        else:
            weights = pools[0].weights
        return replace(pools[0], weights=weights, slope=pools[0].slope * total)


@dataclass(frozen=True, eq=False)
class MixtureProblem:
    """Minimize Σ ω ℓ(q) + ½ l ‖w − 1/m‖² over w ≥ 0 with Σ w = 1; q = G w.

    Parameters
    ----------
    true_proba : ndarray of shape (n, n_classifiers)
        G, the probability that every classifier gives to the true class.
    weights : ndarray of shape (n,)
        ω.
    strength : float
        l.
    loss : FocalLoss
    """

    true_proba: np.ndarray
    weights: np.ndarray
    strength: float
    loss: FocalLoss

    @property
    def nonnegative(self) -> np.ndarray:
        """All weights are non-negative."""
        return np.ones(self.true_proba.shape[1], dtype=bool)

    @property
    def penalty(self) -> np.ndarray:
        """Strength of the penalty of every weight."""
        return np.full(self.true_proba.shape[1], self.strength)

    @property
    def work(self) -> int:
        """Number of multiplications that a Hessian takes."""
        return self.true_proba.size * self.true_proba.shape[1]

    def at(self, w: np.ndarray) -> "MixturePoint":
        """Return the problem evaluated at `w`."""
        return MixturePoint(self, w)


@dataclass(frozen=True, eq=False)
class MixturePoint:
    """A mixture problem at given weights.

    Parameters
    ----------
    problem : MixtureProblem
    theta : ndarray of shape (n_classifiers,)
    """

    problem: MixtureProblem
    theta: np.ndarray

    @cached_property
    def _q(self) -> np.ndarray:
        return np.clip(self.problem.true_proba @ self.theta, MIN_PROBABILITY, 1 - MIN_PROBABILITY)

    @cached_property
    def _rate(self) -> np.ndarray:
        return 1 / (self._q * (1 - self._q))

    @cached_property
    def _slope(self) -> np.ndarray:
        return self.problem.loss.derivative(logit(self._q))

    @cached_property
    def value(self) -> float:
        """The penalized loss."""
        posed, w = self.problem, self.theta
        penalty = posed.strength * np.square(w - 1 / len(w)).sum()
        penalty += SUM_PENALTY * posed.weights.sum() * (w.sum() - 1) ** 2
        return float(posed.weights @ posed.loss.value(logit(self._q)) + 0.5 * penalty)

    def gradient(self) -> np.ndarray:
        """Return the gradient (m,)."""
        posed, w = self.problem, self.theta
        gradient = posed.true_proba.T @ (posed.weights * self._slope * self._rate)
        total = SUM_PENALTY * posed.weights.sum()
        return gradient + posed.strength * (w - 1 / len(w)) + total * (w.sum() - 1)

    def curvature(self) -> np.ndarray:
        """Return a positive semidefinite Hessian (m, m), without the penalty's diagonal."""
        # ℓ is a function of logit q: d²ℓ/dq² = rate² (ℓ'' + ℓ' (2 q − 1)), with negative parts left
        # out so that the matrix stays semidefinite.
        posed, rate = self.problem, self._rate
        bend = posed.loss.curvature(logit(self._q)) + self._slope * (2 * self._q - 1)
        scaled = posed.true_proba * (rate * np.sqrt(posed.weights * np.maximum(bend, 0.0)))[:, None]
        return scaled.T @ scaled + SUM_PENALTY * posed.weights.sum()


def greedy_selection(true_proba: np.ndarray, weights: np.ndarray, loss: FocalLoss) -> np.ndarray:
    """Return the weights of greedy ensemble selection with replacement.

    Parameters
    ----------
    true_proba : ndarray of shape (n, n_classifiers)
        Probability that every classifier gives to the true class.
    weights : ndarray of shape (n,)
    loss : FocalLoss

    Returns
    -------
    ndarray of shape (n_classifiers,)
        Shares of the best of the first `N_GREEDY_ROUNDS` selections.

    References
    ----------
    .. [1] R. Caruana et al., "Ensemble Selection from Libraries of Models", ICML 2004.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.pools import greedy_selection
    >>> from cfe_stack.losses import FocalLoss
    >>> true_proba = np.array([[0.9, 0.3], [0.2, 0.8], [0.9, 0.6]])
    >>> greedy_selection(true_proba, np.ones(3), FocalLoss()).round(2)
    array([0.57, 0.42])
    """
    total, counts = np.zeros(len(true_proba)), np.zeros(true_proba.shape[1])
    best, chosen = np.inf, counts
    for size in range(1, N_GREEDY_ROUNDS + 1):
        q = np.clip((total[:, None] + true_proba) / size, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
        losses = weights @ loss.value(logit(q))
        pick = int(losses.argmin())
        total, counts = total + true_proba[:, pick], counts.copy()
        counts[pick] += 1
        if losses[pick] < best:
            best, chosen = losses[pick], counts / size
    return chosen
