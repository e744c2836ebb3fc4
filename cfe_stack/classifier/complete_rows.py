"""Scores of complete rows in closed form: fold-in, gate and pool as one product with log-odds.

Without a missing cell and with uniform confidence every row shares the matrix of its normal
equations, so the first factor is a fixed linear function of the log-odds, like everything else in
a pool but the tanh of its gate; bounded log-odds are one of the probabilities.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from cfe_stack.classifier.final_aggregators import FinalAggregator
from cfe_stack.factor_model.confidence import Uniform
from cfe_stack.factor_model.factor_model import FactorModel
from cfe_stack.factor_model.normal_equations import solve_instances
from cfe_stack.losses.link import LogitLink
from cfe_stack.pools.gates import Gates
from cfe_stack.pools.log_pool import Pool


@dataclass(frozen=True, eq=False)
class CompleteRows:
    """A pool of two classes, for rows without a missing cell.

    Parameters
    ----------
    link : Link
    coefficients : ndarray of shape (3, n_classifiers)
        Of the log-odds: in the score, in the score per unit of the gate, and in the gate before
        its tanh.
    constants : ndarray of shape (3, 1)
        What is added to each.
    bounded : ndarray of shape (n_classifiers,), default=None
        Coefficients of the probabilities in the score, from bounded log-odds.
    """

    link: LogitLink
    coefficients: np.ndarray
    constants: np.ndarray
    bounded: np.ndarray | None = None

    @classmethod
    def of(cls, model: FactorModel, gates: Gates, aggregator: FinalAggregator) -> Self | None:
        """Return the closed form of a prediction; None where there is none."""
        log_odds = LogitLink()
        pool = getattr(getattr(aggregator, "selected", None), "pool", None)
        if not isinstance(pool, Pool):
            return None
        if model.link != log_odds or type(model.confidence) is not Uniform:
            return None
        m = model.n_classifiers
        fold_in = solve_instances(model.factors, np.ones((m, m)), np.eye(m), model.lambda_reg)
        gate = gates.direction @ fold_in / gates.scale
        standardised = model.shift / model.scale + model.bias
        weights = np.stack([pool.weights, pool.gates[0]])
        coefficients = np.concatenate([weights * pool.calibration.slope, [gate / model.scale]])
        constants = np.append(
            weights @ pool.calibration.offset + [pool.intercept[0], 0.0],
            -gate @ standardised - gates.center / gates.scale,
        )
        if pool.bounded is None:
            return cls(log_odds, coefficients, constants[:, None])
        # bounded log-odds are 4 p - 2
        bounded = 4 * pool.bounded * pool.calibration.slope
        constants[0] += pool.bounded @ pool.calibration.offset - bounded.sum() / 2
        return cls(log_odds, coefficients, constants[:, None], bounded)

    def scores(self, R: np.ndarray) -> np.ndarray:
        """Return raw scores (n,) of complete rows, given as the ensemble matrix (m, n)."""
        P = R.astype(np.float64, copy=False)
        Z = self.link.forward(P)
        score, per_gate, gate = self.coefficients @ Z + self.constants
        score += np.tanh(gate) * per_gate
        if self.bounded is not None:
            score += self.bounded @ np.clip(P, self.link.clip, 1 - self.link.clip)
        return score
