"""Opinion pools on calibrated log-odds: families, regularization paths, and the fitted pool.

A pool's score is linear in its coefficients: Σ_u (w_u + Σ_g γ_ug φ_g) z̃_u + v_u h̃_u + b, with z̃_u
the calibrated log-odds of classifier u, h̃_u the same of bounded log-odds, and φ_g functions of the
instance (gates). Therefore pools that were trained separately can be averaged coefficient by
coefficient, and the result is a pool again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from scipy.special import softmax

from cfe_stack.losses.labeled_rows import LabeledRows
from cfe_stack.pools.calibration import Calibration, calibrate
from cfe_stack.pools.design import PoolDesign
from cfe_stack.pools.inputs import PoolFeatures, PoolInputs
from cfe_stack.pools.newton import NewtonPath, PoolProblem, intercept_prior


@dataclass(frozen=True)
class Family:
    """A kind of pool with its grid of strengths, in observations, from strong to weak.

    Parameters
    ----------
    name : str
    weight_strengths : tuple of float
        Penalties that pull the weights toward 1/m.
    gate_strengths : tuple of float, default=()
        Penalties that pull the gates toward 0; empty for a pool without gates.
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
        """Pairs of strengths, in an order in which consecutive pairs differ in one strength."""
        path = []
        for k, gate in enumerate(self.gate_strengths or (0.0,)):
            weights = self.weight_strengths[:: 1 if k % 2 == 0 else -1]
            path += [(weight, gate) for weight in weights]
        return path

    def features(self, instances: PoolFeatures) -> np.ndarray:
        """Return what the family pools: log-odds or centered log-ratios."""
        return instances.Z

    def calibrate(self, inputs: PoolInputs) -> Calibration:
        """Return the calibration of every classifier on its own."""
        return calibrate(inputs.Z, inputs.rows.labels, inputs.rows.frequencies)

    def fit_path(
        self, inputs: PoolInputs, calibration: Calibration, points: Sequence[int] | None = None
    ) -> list["Pool"]:
        """Fit one pool per grid point, each starting at its neighbor.

        Parameters
        ----------
        inputs : PoolInputs
            Gate values are used by families with gates only.
        calibration : Calibration
            Of these rows.
        points : sequence of int, default=None
            Grid points to fit; all of them if None.

        Returns
        -------
        list of Pool
        """
        Z, phi, rows = inputs.Z, inputs.phi, inputs.rows
        features = calibration.apply(bounded_log_odds(Z) if self.bounded else Z)
        design = PoolDesign(features, phi if self.gate_strengths else None)
        m, n_gated, n_intercepts = sizes = design.sizes
        # a classifier whose log-odds are 0 everywhere has no share in the equal weights
        informative = (Z != 0).reshape(-1, m).any(axis=0)
        equal = informative / max(informative.sum(), 1)
        problem = PoolProblem(
            design=design,
            rows=rows.normalized(),
            penalty=np.zeros(sum(sizes)),
            center=np.concatenate([equal, np.zeros(sum(sizes) - m)]),
            nonnegative=np.repeat([not self.signed, False, False], sizes),
        )
        pools, theta, newton = [], problem.center.copy(), NewtonPath()
        grid = self.grid if points is None else [self.grid[k] for k in points]
        for strength, gate_strength in grid:
            penalty = np.repeat([strength, gate_strength, intercept_prior(n_intercepts)], sizes)
            theta = newton.minimize(replace(problem, penalty=penalty), theta)
            straight = theta if rows.is_plain else recalibrated(theta, design, rows)
            weights, gated, intercept = np.split(straight, [m, m + n_gated])
            gates = gated.reshape(-1, m) if n_gated else np.zeros((phi.shape[1], m))
            of_log_odds, bounded = (0 * weights, weights) if self.bounded else (weights, None)
            pools.append(Pool(of_log_odds, gates, intercept, calibration, bounded))
        return pools


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
        Log-odds or centered log-ratios.

    Notes
    -----
    :math:`4 (p - 1/2)` of log-odds and :math:`K p_k - 1` of centered log-ratios. Both agree with
    them to first order around the uniform prediction, and both are bounded, so that an extremely
    overconfident classifier has hardly more influence than a confident one.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.pools import bounded_log_odds
    >>> bounded_log_odds(np.array([[0.1, -10.0]])).round(3)
    array([[ 0.1, -2. ]])
    """
    return 2 * np.tanh(Z / 2) if Z.ndim == 2 else Z.shape[1] * softmax(Z, axis=1) - 1


@dataclass(frozen=True, eq=False)
class LinearForm:
    """A pool's score as a linear function of log-odds, for every gate value.

    Parameters
    ----------
    weights : ndarray of shape (1 + n_gates, n_classifiers)
        Coefficients of the log-odds at gates 0, and their change per unit of each gate.
    constants : ndarray of shape (1 + n_gates,)
        What the calibration adds to each.
    intercept : ndarray of shape (1,) or (n_classes,)
    bounded : ndarray of shape (n_classifiers,), default=None
        Coefficients of bounded log-odds.
    bounded_constant : float, default=0.0
    """

    weights: np.ndarray
    constants: np.ndarray
    intercept: np.ndarray
    bounded: np.ndarray | None = None
    bounded_constant: float = 0.0


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

    def average_weights(self, inputs: PoolInputs) -> np.ndarray:
        """Return the weights (n_classifiers,) at gates 0, averaged over rows."""
        if self.bounded is None:
            return self.weights
        ungated = self.instance_weights(inputs.Z, 0 * inputs.phi)
        return np.average(ungated, axis=0, weights=inputs.rows.frequencies)

    @property
    def fitted_attributes(self) -> dict[str, Any]:
        """Attributes that an estimator shows of the pool, by name."""
        return {"gate_": self.gates, "calibration_": self.calibration}

    @property
    def linear_form(self) -> LinearForm:
        """The coefficients of the classifiers' log-odds in the score."""
        slope, offset = self.calibration.slope, self.calibration.offset
        weights = np.concatenate([self.weights[None], self.gates])
        constants = weights @ offset
        if self.bounded is None:
            return LinearForm(weights * slope, constants, self.intercept)
        return LinearForm(
            weights * slope, constants, self.intercept, self.bounded * slope, self.bounded @ offset
        )

    def instance_weights(self, Z: np.ndarray, phi: np.ndarray) -> np.ndarray:
        """Return the weight (n, n_classifiers) of a unit of log-odds on every instance.

        Bounded log-odds are expressed in units of log-odds: for two classes, the more confident a
        classifier is, the smaller that unit is. This is a summary; `contributions` are exact.
        """
        weights = self._weights_at(phi)
        if self.bounded is None:
            return weights
        # the least-squares coefficient of the bounded log-odds on the log-odds of a cell
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


def recalibrated(theta: np.ndarray, design: PoolDesign, rows: LabeledRows) -> np.ndarray:
    """Return `theta` rescaled and shifted so that its scores are calibrated without class weights.

    Class weights and the focal loss bend probabilities; one slope and the intercepts, fitted to
    the plain logistic loss, undo it.
    """
    slope, intercept = fit_scale(design.scores(theta)[..., None], rows, np.ones(1), 1.0)
    straight = theta * slope[0]
    straight[len(theta) - len(intercept) :] += intercept
    return straight


def fit_scale(
    scores: np.ndarray, rows: LabeledRows, center: np.ndarray, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return slopes ≥ 0 and intercepts of score columns, the solution of :func:`scale_problem`."""
    problem = scale_problem(scores, rows, center, strength)
    theta = NewtonPath().minimize(problem, problem.center)
    return theta[: len(center)], theta[len(center) :]


def scale_problem(
    scores: np.ndarray, rows: LabeledRows, center: np.ndarray, strength: float
) -> PoolProblem:
    """Return the problem of slopes ≥ 0 and intercepts of score columns, by the plain logistic loss.

    Parameters
    ----------
    scores : ndarray of shape (n, f) or (n, n_classes, f)
    rows : LabeledRows
        Labels and frequencies are used; class weights and focusing are not.
    center : ndarray of shape (f,)
        What the slopes are shrunk to.
    strength : float
        Strength of the shrinkage, in observations.
    """
    design = PoolDesign(scores)
    f, _, n_intercepts = design.sizes
    return PoolProblem(
        design=design,
        rows=LabeledRows.plain(rows.labels, rows.frequencies),
        penalty=np.repeat([strength, intercept_prior(n_intercepts)], [f, n_intercepts]),
        center=np.concatenate([center, np.zeros(n_intercepts)]),
        nonnegative=np.repeat([True, False], [f, n_intercepts]),
    )
