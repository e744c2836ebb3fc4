"""What a stack hands to `fit`, checked: predictions, class codes and weights."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import _check_sample_weight

from cfe_stack.meta_features import (
    check_columns,
    check_labels,
    densify,
    numeric_labels,
    prediction_columns,
)


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """Checked meta-features with their classes.

    Parameters
    ----------
    P : ndarray of shape (n, p)
        Columns that may hold predictions.
    codes : ndarray of shape (n,)
        Class codes, −1 for rows without a class or with weight 0.
    weights : ndarray of shape (n,)
        Frequencies.
    classes : ndarray of shape (n_classes,)
    columns : slice
        Where `P` stands among the columns given.
    """

    P: np.ndarray
    codes: np.ndarray
    weights: np.ndarray
    classes: np.ndarray
    columns: slice

    @classmethod
    def check(
        cls,
        estimator: BaseEstimator,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        missing_label: Any,
        n_classifiers: int | None,
        passthrough: str | None,
    ) -> Self:
        """Check what `estimator` was given; sets its `n_features_in_` and `feature_names_in_`.

        Raises
        ------
        ValueError
            If shapes disagree, values are infinite, fewer than two classes have weight, or every
            prediction is missing.
        """
        labels, known = check_labels(estimator, y, missing_label)
        checked = check_columns(estimator, numeric_labels(X, np.unique(labels[known])), reset=True)
        if checked.shape[0] != len(labels) == checked.shape[1]:
            raise ValueError(
                f"X of shape {checked.shape} has a column for each of the {len(labels)} labels, "
                "where a row is expected; pass the transpose (of an EnsembleData, R.T)."
            )
        check_consistent_length(checked, labels)
        weights = _check_sample_weight(
            sample_weight, checked, dtype=np.float64, ensure_non_negative=True
        )
        weighted = known & (weights > 0)
        counting = np.unique(labels[weighted])
        if len(counting) < 2:
            raise ValueError(
                f"y has {len(counting)} class(es) among its {int(weighted.sum())} labelled rows of "
                f"positive weight ({counting.tolist()}); a classifier needs two."
            )
        # a class whose rows all have weight 0 still has its columns
        classes = np.unique(labels[known])
        codes = np.full(checked.shape[0], -1)
        codes[weighted] = np.searchsorted(classes, labels[weighted])
        columns = prediction_columns(checked, len(classes), n_classifiers, passthrough)
        P = densify(checked, columns)
        if np.isnan(P).all():
            raise ValueError("X holds no prediction at all: every value is missing.")
        return cls(P, codes, weights, classes, columns)
