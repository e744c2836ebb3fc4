"""Closed-form scores of complete rows: fold-in, gate and pool as one product with log-odds.

Complete rows with uniform confidence share the matrix of the normal equations. The first factor is
then a fixed linear function of the log-odds, like everything else in a pool except the tanh of its
gate. Bounded log-odds are a linear function of the probabilities.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from cfe_stack.factor_model.factor_model import FactorModel
from cfe_stack.factor_model.normal_equations import solve_instances
from cfe_stack.losses.link import LogitLink
from cfe_stack.pools.gates import Gates
from cfe_stack.pools.log_pool import LinearForm


@dataclass(frozen=True, eq=False)
class CompleteRows:
    """A pool of two classes, for rows without missing cells.

    Parameters
    ----------
    link : Link
    coefficients : ndarray of shape (3, n_classifiers)
        Coefficients of the log-odds in the score, in the score per unit of the gate, and in the
        gate before its tanh.
    constants : ndarray of shape (3, 1)
        Constants of these three.
    bounded : ndarray of shape (n_classifiers,), default=None
        Coefficients of the probabilities in the score, from bounded log-odds.
    """

    link: LogitLink
    coefficients: np.ndarray
    constants: np.ndarray
    bounded: np.ndarray | None = None

    @classmethod
    def of(cls, model: FactorModel, gates: Gates, form: LinearForm | None) -> Self | None:
        """Return the closed form of a prediction, or None if there is none.

        Parameters
        ----------
        model : FactorModel
        gates : Gates
        form : LinearForm or None
            The pool's score as a linear function of log-odds, if it is one.
        """
        log_odds = LogitLink()
        if form is None or model.link != log_odds or not model.confidence.is_uniform:
            return None
        m = model.n_classifiers
        # row u of the fold-in matrix holds the factors of an instance whose log-odds are e_u
        fold_in = solve_instances(model.factors, np.ones((m, m)), np.eye(m), model.lambda_reg)
        gate = gates.direction @ fold_in / gates.scale
        standardized = model.shift / model.scale + model.bias
        coefficients = np.concatenate([form.weights, [gate / model.scale]])
        constants = np.append(
            form.constants + [form.intercept[0], 0.0],
            -gate @ standardized - gates.center / gates.scale,
        )
        if form.bounded is None:
            return cls(log_odds, coefficients, constants[:, None])
        # bounded log-odds are 4 p - 2
        bounded = 4 * form.bounded
        constants[0] += form.bounded_constant - bounded.sum() / 2
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
