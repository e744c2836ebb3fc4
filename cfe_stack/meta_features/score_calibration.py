"""Base learners without probabilities: margins and other scores become probabilities.

A multinomial logistic regression on the columns of one base learner (Platt scaling for one margin)
gives its class probabilities. Training rows get theirs from models that have not seen them.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

MAX_SCORE_SIZE = 1e100
"""Margins beyond count as this large."""


@dataclass(frozen=True, eq=False)
class ScoreCalibrator:
    """Class probabilities from the score columns of one base learner.

    Parameters
    ----------
    model : Pipeline
        Scaler and logistic regression, fitted on rows without missing scores.
    prior : ndarray of shape (n_classes,)
        Class frequencies, for classes the model has not seen.
    """

    model: Pipeline | None
    prior: np.ndarray

    @classmethod
    def fit(
        cls, columns: np.ndarray, codes: np.ndarray, weights: np.ndarray, n_classes: int
    ) -> Self:
        """Fit on labeled rows.

        Parameters
        ----------
        columns : ndarray of shape (n, k)
        codes : ndarray of shape (n,)
            Class codes.
        weights : ndarray of shape (n,)
            Frequencies.
        n_classes : int
        """
        counts = np.bincount(codes, weights, minlength=n_classes) + 1 / n_classes
        columns, rows = _bounded(columns), ~np.isnan(columns).any(axis=1)
        if len(np.unique(codes[rows])) < 2:
            return cls(None, counts / counts.sum())
        # Newton's method reaches the optimum to rounding, so that equal data give equal models
        model = Pipeline(
            [
                ("scale", StandardScaler()),
                ("fit", LogisticRegression(solver="newton-cholesky", tol=1e-10, max_iter=200)),
            ]
        )
        given = {"scale__sample_weight": weights[rows], "fit__sample_weight": weights[rows]}
        return cls(model.fit(columns[rows], codes[rows], **given), counts / counts.sum())

    def predict_proba(self, columns: np.ndarray) -> np.ndarray:
        """Return probabilities (n, n_classes); rows with a missing score are NaN."""
        proba = np.full((len(columns), len(self.prior)), np.nan)
        columns, rows = _bounded(columns), ~np.isnan(columns).any(axis=1)
        if self.model is None:
            proba[rows] = self.prior
        elif rows.any():
            seen = self.model.classes_
            unseen = np.delete(self.prior, seen).sum()
            proba[rows] = self.prior
            proba[np.ix_(rows, seen)] = self.model.predict_proba(columns[rows]) * (1 - unseen)
        return proba


def _bounded(columns: np.ndarray) -> np.ndarray:
    """Return scores whose squares can be summed."""
    return np.clip(columns, -MAX_SCORE_SIZE, MAX_SCORE_SIZE)


def cross_fitted(
    columns: np.ndarray, codes: np.ndarray, weights: np.ndarray, folds: np.ndarray, n_classes: int
) -> np.ndarray:
    """Return probabilities (n, n_classes) of labeled rows, each from the other folds' model."""
    proba = np.empty((len(columns), n_classes))
    for fold in np.unique(folds):
        held_out = folds == fold
        model = ScoreCalibrator.fit(
            columns[~held_out], codes[~held_out], weights[~held_out], n_classes
        )
        proba[held_out] = model.predict_proba(columns[held_out])
    return proba
