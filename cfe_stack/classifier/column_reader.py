"""Conversion of checked meta-features to the ensemble matrix, in training and in prediction."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from cfe_stack.cross_validation.content_keys import rounded, seen_from_own_class
from cfe_stack.meta_features.layout import StackLayout, check_values
from cfe_stack.meta_features.score_calibration import ScoreCalibrator, cross_fitted


@dataclass(frozen=True, eq=False)
class ColumnReader:
    """A column layout, with calibrators for base learners whose columns are not probabilities.

    Parameters
    ----------
    layout : StackLayout
    calibrators : dict of int to ScoreCalibrator
        Calibrators by base learner, fitted to all labeled rows and applied to new rows.
    """

    layout: StackLayout
    calibrators: dict[int, ScoreCalibrator]

    @classmethod
    def fit(
        cls, layout: StackLayout, P: np.ndarray, codes: np.ndarray, weights: np.ndarray
    ) -> Self:
        """Fit the calibrators.

        Parameters
        ----------
        layout : StackLayout
        P : ndarray of shape (n, p)
        codes : ndarray of shape (n,)
            Class codes, −1 for unknown.
        weights : ndarray of shape (n,)
            Frequencies.
        """
        rows = (codes >= 0) & (weights > 0)
        return cls(
            layout,
            {
                u: ScoreCalibrator.fit(
                    layout.columns_of(P, u)[rows], codes[rows], weights[rows], layout.n_classes
                )
                for u in layout.calibrated
            },
        )

    def content(self, P: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return the contents (n, k) that identify rows, independent of layout and class names."""
        if self.calibrators:
            columns = P[:, self.layout.columns]
        else:
            R = self.layout.matrix(P)
            columns = np.moveaxis(R, 0, 1).reshape(len(P), -1)
        if self.layout.n_classes > 2:
            return columns
        margins = np.isin(np.arange(columns.shape[1]), self.layout.calibrated)
        scores = np.where(margins, columns, rounded(columns - 0.5))
        return seen_from_own_class(scores, codes)

    def matrix(self, P: np.ndarray) -> np.ndarray:
        """Return the ensemble matrix of new rows; raise ValueError if they do not fit."""
        check_values(self.layout, P)
        return self.layout.matrix(
            P,
            {
                u: calibrator.predict_proba(self.layout.columns_of(P, u))
                for u, calibrator in self.calibrators.items()
            },
        )

    def training_matrix(
        self, P: np.ndarray, codes: np.ndarray, weights: np.ndarray, folds: np.ndarray
    ) -> np.ndarray:
        """Return the ensemble matrix of training rows, calibrated by models of other inner folds.

        Parameters
        ----------
        P : ndarray of shape (n, p)
        codes, weights : ndarray of shape (n,)
        folds : ndarray of shape (n,)
            Inner folds of labeled rows, −1 for other rows.
        """
        known, proba = folds >= 0, {}
        for u, calibrator in self.calibrators.items():
            columns = self.layout.columns_of(P, u)
            proba[u] = calibrator.predict_proba(columns)
            proba[u][known] = cross_fitted(
                columns[known], codes[known], weights[known], folds[known], self.layout.n_classes
            )
        return self.layout.matrix(P, proba)
