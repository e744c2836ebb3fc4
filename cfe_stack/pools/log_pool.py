"""Opinion pools on calibrated log-odds: families, regularisation paths, and the pool that predicts.

A pool's score is linear in its coefficients: Σ_u (w_u + Σ_g γ_ug φ_g) z̃_u + v_u h̃_u + b, with z̃_u
the calibrated log-odds of classifier u, h̃_u the same of bounded log-odds, and φ_g functions of the
instance (gates). So pools that were trained apart can be averaged coefficient by coefficient, and
the result is a pool again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy.special import softmax

from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.pools.calibration import Calibration
from cfe_stack.pools.design import PoolDesign
from cfe_stack.pools.newton import CLASS_PRIOR, NewtonPath, PoolProblem, minimize_pool, with_penalty


@dataclass(frozen=True)
class Family:
    """A kind of pool with its grid of strengths, in observations, from strong to weak.

    Parameters
    ----------
    name : str
    weight_strengths : tuple of float
        Pull of the weights towards 1/m.
    gate_strengths : tuple of float, default=()
        Pull of the gates towards 0; empty for a pool without gates.
    signed : bool, default=False
        Allow negative weights.
    bounded : bool, default=False
        Pool bounded log-odds, without gates.
    share : float, default=1.0
        Prior share where families are combined, relative to the others'.
    """

    name: str
    weight_strengths: tuple[float, ...]
    gate_strengths: tuple[float, ...] = ()
    signed: bool = False
    bounded: bool = False
    share: float = 1.0

    def __post_init__(self) -> None:
        if self.bounded and self.gate_strengths:
            raise ValueError(f"{self.name}: a pool of bounded log-odds has no gates.")

    @property
    def grid(self) -> list[tuple[float, float]]:
        """Pairs of strengths, neighbours next to each other."""
        path = []
        for k, gate in enumerate(self.gate_strengths or (0.0,)):
            weights = self.weight_strengths[:: 1 if k % 2 == 0 else -1]
            path += [(weight, gate) for weight in weights]
        return path


LOG_POOL = Family("log_pool", (500.0, 50.0, 5.0, 0.5))
GATED_POOL = Family("gated_pool", (500.0, 50.0, 5.0, 0.5), (1500.0, 150.0, 15.0))
SIGNED_POOL = Family("signed_pool", (500.0, 50.0, 5.0, 0.5, 0.05), signed=True)
BOUNDED_POOL = Family(
    "bounded_pool", (500.0, 50.0, 5.0, 0.5), signed=True, bounded=True, share=1 / 3
)
FAMILIES = {f.name: f for f in (LOG_POOL, GATED_POOL, SIGNED_POOL, BOUNDED_POOL)}


def bounded_log_odds(Z: np.ndarray) -> np.ndarray:
    r"""Return probabilities on the scale of their log-odds, classifiers on the last axis.

    Parameters
    ----------
    Z : ndarray of shape (n, n_classifiers) or (n, n_classes, n_classifiers)
        Log-odds or centred log-ratios.

    Notes
    -----
    :math:`4 (p - 1/2)` of log-odds and :math:`K p_k - 1` of centred log-ratios, which are like
    them where no class is preferred. They end where log-odds go on, so that a learner that is far
    too sure has hardly more to say than one that is sure.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.pools import bounded_log_odds
    >>> bounded_log_odds(np.array([[0.1, -10.0]])).round(3)
    array([[ 0.1, -2. ]])
    """
    return 2 * np.tanh(Z / 2) if Z.ndim == 2 else Z.shape[1] * softmax(Z, axis=1) - 1


@dataclass(frozen=True, eq=False)
class Pool:
    """A pool of log-odds whose weights may depend on the instance.

    Parameters
    ----------
    weights : ndarray of shape (n_classifiers,)
        Weights of calibrated log-odds at gates 0.
    gates : ndarray of shape (n_gates, n_classifiers)
        Change of the weights per unit of each gate.
    intercept : ndarray of shape (1,) or (n_classes,)
    calibration : Calibration
    bounded : ndarray of shape (n_classifiers,), default=None
        Weights of calibrated bounded log-odds; None where all are 0.
    """

    weights: np.ndarray
    gates: np.ndarray
    intercept: np.ndarray
    calibration: Calibration
    bounded: np.ndarray | None = None

    def instance_weights(self, Z: np.ndarray, phi: np.ndarray) -> np.ndarray:
        """Return what a unit of log-odds weighs in every instance, (n, n_classifiers).

        Bounded log-odds count by their size in units of the log-odds, which for two classes is
        the smaller the surer a classifier is. `contributions` are exact, this is their summary.
        """
        weights = self._weights_at(phi)
        if self.bounded is None:
            return weights
        along, size = Z * bounded_log_odds(Z), Z * Z
        if Z.ndim == 3:
            along, size = along.sum(axis=1), size.sum(axis=1)
        return weights + self.bounded * np.divide(along, size, np.ones_like(size), where=size > 0)

    def contributions(self, Z: np.ndarray, phi: np.ndarray) -> np.ndarray:
        """Return what every classifier adds to the scores, of the shape of `Z`."""
        weights = self._weights_at(phi)
        parts = self.calibration.apply(Z) * (weights if Z.ndim == 2 else weights[:, None, :])
        if self.bounded is None:
            return parts
        return parts + self.calibration.apply(bounded_log_odds(Z)) * self.bounded

    def scores(self, Z: np.ndarray, phi: np.ndarray) -> np.ndarray:
        """Return raw scores (n,) or (n, K) of log-odds with the classifiers on the last axis."""
        slope, offset = self.calibration.slope, self.calibration.offset
        coefficients = np.concatenate([self.weights * slope, (self.gates * slope).ravel()])
        scores = PoolDesign(Z, phi).scores(np.concatenate([coefficients, self.intercept]))
        shift = self._weights_at(phi) @ offset
        scores += shift if Z.ndim == 2 else shift[:, None]
        if self.bounded is None:
            return scores
        return scores + bounded_log_odds(Z) @ (self.bounded * slope) + self.bounded @ offset

    def _weights_at(self, phi: np.ndarray) -> np.ndarray:
        """Return the weights of log-odds (n, n_classifiers) at gate values (n, n_gates)."""
        return self.weights + phi @ self.gates

    def shifted(self, shift: np.ndarray) -> Self:
        """Return a copy with `shift` added to the intercept."""
        return replace(self, intercept=self.intercept + shift)

    @classmethod
    def average(cls, pools: list[Self], shares: np.ndarray) -> Self:
        """Return Σ share · pool, coefficient by coefficient; calibrations must agree."""
        shared = list(zip(shares, pools, strict=True))
        bounded = [s * pool.bounded for s, pool in shared if s and pool.bounded is not None]
        return replace(
            pools[0],
            weights=sum(share * pool.weights for share, pool in shared),
            gates=sum(share * pool.gates for share, pool in shared),
            intercept=sum(share * pool.intercept for share, pool in shared),
            bounded=sum(bounded) if bounded else None,
        )


def fit_path(
    family: Family,
    Z: np.ndarray,
    phi: np.ndarray,
    labels: np.ndarray,
    frequencies: np.ndarray,
    *,
    loss_weights: np.ndarray,
    loss: FocalLoss,
    calibration: Calibration,
    points: Sequence[int] | None = None,
) -> list[Pool]:
    """Fit the pools of a family, one per grid point, each starting at its neighbour.

    Parameters
    ----------
    family : Family
    Z : ndarray of shape (n, n_classifiers) or (n, n_classes, n_classifiers)
        Log-odds or centred log-ratios.
    phi : ndarray of shape (n, n_gates)
        Gate values; used by families with gates only.
    labels : ndarray of shape (n,)
    frequencies : ndarray of shape (n,)
        Sample weights.
    loss_weights : ndarray of shape (n,)
        Sample weight × class weight × focal class factor.
    loss : FocalLoss
    calibration : Calibration
        Of these rows.
    points : sequence of int, default=None
        Grid points to fit; all of them if None.

    Returns
    -------
    list of Pool
    """
    features = calibration.apply(bounded_log_odds(Z) if family.bounded else Z)
    design = PoolDesign(features, phi if family.gate_strengths else None)
    sizes = design.sizes
    m, n_gated, _ = sizes
    prior = CLASS_PRIOR if Z.ndim == 2 else 2 * CLASS_PRIOR
    speaks = (Z != 0).reshape(-1, m).any(axis=0)
    equal = speaks / max(speaks.sum(), 1)
    problem = PoolProblem(
        design=design,
        labels=labels,
        weights=loss_weights * (frequencies.sum() / (loss_weights.sum() or 1.0)),
        penalty=np.zeros(sum(sizes)),
        center=np.concatenate([equal, np.zeros(sum(sizes) - m)]),
        nonnegative=np.repeat([not family.signed, False, False], sizes),
        loss=loss,
    )
    bent = loss.gamma > 0 or not np.array_equal(loss_weights, frequencies)
    pools, theta, newton = [], problem.center.copy(), NewtonPath()
    grid = family.grid if points is None else [family.grid[k] for k in points]
    for strength, gate_strength in grid:
        penalty = np.repeat([strength, gate_strength, prior], sizes)
        theta = newton.minimize(with_penalty(problem, penalty), theta)
        straight = recalibrated(theta, design, labels, frequencies) if bent else theta
        weights, gated, intercept = np.split(straight, [m, m + n_gated])
        gates = gated.reshape(-1, m) if n_gated else np.zeros((phi.shape[1], m))
        of_log_odds, bounded = (0 * weights, weights) if family.bounded else (weights, None)
        pools.append(Pool(of_log_odds, gates, intercept, calibration, bounded))
    return pools


def recalibrated(
    theta: np.ndarray, design: PoolDesign, labels: np.ndarray, frequencies: np.ndarray
) -> np.ndarray:
    """Return `theta` rescaled and shifted so that its scores are calibrated without class weights.

    Class weights and the focal loss bend probabilities; one slope and the intercepts, fitted to
    the plain logistic loss, undo it.
    """
    scores = design.scores(theta)
    slope, intercept = fit_scale(scores[..., None], labels, frequencies, np.ones(1), 1.0)
    straight = theta * slope[0]
    straight[len(theta) - len(intercept) :] += intercept
    return straight


def fit_scale(
    scores: np.ndarray,
    labels: np.ndarray,
    frequencies: np.ndarray,
    center: np.ndarray,
    strength: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return slopes ≥ 0 and intercepts of score columns, the solution of :func:`scale_problem`."""
    problem = scale_problem(scores, labels, frequencies, center, strength)
    theta = minimize_pool(problem, problem.center)
    return theta[: len(center)], theta[len(center) :]


def scale_problem(
    scores: np.ndarray,
    labels: np.ndarray,
    frequencies: np.ndarray,
    center: np.ndarray,
    strength: float,
) -> PoolProblem:
    """Return the problem of slopes ≥ 0 and intercepts of score columns, by the plain logistic loss.

    Parameters
    ----------
    scores : ndarray of shape (n, f) or (n, n_classes, f)
    labels, frequencies : ndarray of shape (n,)
    center : ndarray of shape (f,)
        What the slopes are shrunk to.
    strength : float
        Strength of the shrinkage, in observations.
    """
    design = PoolDesign(scores)
    f, _, n_intercepts = design.sizes
    prior = CLASS_PRIOR if scores.ndim == 2 else 2 * CLASS_PRIOR
    return PoolProblem(
        design=design,
        labels=labels,
        weights=frequencies,
        penalty=np.repeat([strength, prior], [f, n_intercepts]),
        center=np.concatenate([center, np.zeros(n_intercepts)]),
        nonnegative=np.repeat([True, False], [f, n_intercepts]),
    )
