"""Checks of the input of the final estimator, made before any work starts."""

import warnings
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils import assert_all_finite, check_array, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, validate_data

from cfe_stack.data.cell_checks import ROW_SUM_TOLERANCE
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.data.foreign_arrays import as_numpy, without_mask
from cfe_stack.data.missing import missing_entries
from cfe_stack.meta_features.layout_detection import LayoutWarning
from cfe_stack.runtime.warning_location import user_stacklevel

MIN_DENSE_SHARE = 0.5
"""Minimum share of stored entries of a sparse column that counts as a prediction."""
MATRIX: dict[str, Any] = {
    "accept_sparse": "csc",
    "dtype": [np.float64, np.float32],
    "ensure_all_finite": "allow-nan",
}
"""Options of `check_array` for meta-features."""


def numeric_labels(X: Any, classes: np.ndarray | None) -> Any:
    """Return columns of predicted string labels as class codes, and other input unchanged.

    mlxtend without ``use_probas`` stacks predicted labels.
    """
    kind = getattr(getattr(X, "dtype", None), "kind", None)
    if classes is None or kind not in ("U", "S", "O") or classes.dtype.kind not in ("U", "S", "O"):
        return X
    values = np.asarray(X)
    known = np.isin(values.astype(str), classes.astype(str))
    if values.ndim != 2 or not known.any():
        return X
    codes = np.full(values.shape, np.nan)
    for code, name in enumerate(classes):
        codes[values == name] = code
    return codes


def check_columns(estimator: BaseEstimator, X: Any, *, reset: bool) -> Any:
    """Return checked floating-point meta-features, dense or sparse (CSC). NaN is kept."""
    if isinstance(X, EnsembleData) or len(getattr(X, "shape", ())) == 3:
        raise ValueError(
            f"X must have shape (n_samples, n_features), got {type(X).__name__}"
            + ("" if isinstance(X, EnsembleData) else f" of shape {X.shape}")
            + ". For an EnsembleData, pass cfe_stack.meta_features.side_by_side(data.R)."
        )
    if not reset and not hasattr(estimator, "feature_names_in_") and hasattr(X, "columns"):
        # with set_output("pandas") a stack is fitted to an array and predicts from a frame
        X = check_array(X, input_name="X", **MATRIX)
    X = without_mask(X) if np.ma.isMaskedArray(X) else as_numpy(X)
    return validate_data(estimator, X, reset=reset, **MATRIX)


def prediction_columns(
    X: Any, n_classes: int, n_classifiers: int | None, passthrough: str | None
) -> slice:
    """Return the range of columns that may hold predictions: all columns of dense meta-features.

    Sparse meta-features come from passthrough of a sparse X, which may be too wide to be made
    dense. The predictions are at one end, and most of their entries are stored.
    """
    p = X.shape[1]
    if not sparse.issparse(X):
        return slice(0, p)
    if n_classifiers is not None:
        count = min(n_classifiers * n_classes, p)
        return slice(p - count, p) if passthrough == "before" else slice(0, count)
    head, tail = _prediction_run(X, n_classes), _prediction_run(X[:, ::-1], n_classes)
    if max(head, tail) in (0, p):
        return slice(0, p)
    found = slice(0, head) if head >= tail and passthrough != "before" else slice(p - tail, p)
    warnings.warn(
        f"Columns {found.start} … {found.stop - 1} of {p} sparse columns are densely populated and "
        "were taken to be predictions. The other columns are passthrough and are not used. To "
        "specify this yourself, set n_classifiers and passthrough='after' or 'before'.",
        LayoutWarning,
        stacklevel=user_stacklevel(),
    )
    return found


def _prediction_run(X: Any, n_classes: int) -> int:
    """Return the number of leading columns that are predictions: full blocks, or dense columns."""
    p, blocks = X.shape[1], 0
    while blocks + n_classes <= p:
        sums = np.asarray(X[:, blocks : blocks + n_classes].sum(axis=1)).ravel()
        if not (np.abs(sums[~np.isnan(sums)] - 1) <= ROW_SUM_TOLERANCE).all():
            break
        blocks += n_classes
    if blocks:
        return blocks
    dense = np.diff(X.indptr) > MIN_DENSE_SHARE * X.shape[0]
    return p if dense.all() else int(np.argmin(dense))


def densify(X: Any, columns: slice) -> np.ndarray:
    """Return columns as a dense array, without a copy if X is dense."""
    return X[:, columns].toarray() if sparse.issparse(X) else X[:, columns]


def check_labels(
    estimator: BaseEstimator, y: Any, missing_label: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and the mask of rows that have one.

    Parameters
    ----------
    estimator : estimator
        Named in error messages.
    y : array-like of shape (n_rows,)
    missing_label : object
        ``"auto"``: NaN and None, and −1 if the other labels are 0 … K−1. None: every value is a
        class. Any other value: that value marks unlabeled rows.

    Raises
    ------
    ValueError
        If y is missing, has the wrong shape, is not categorical or infinite, or has no labels.
    """
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the target y "
            "is None."
        )
    y = column_or_1d(as_numpy(y), warn=True)
    missing = missing_entries(y)
    if isinstance(missing_label, str) and missing_label == "auto":
        missing |= _marked_minus_one(y, missing)
    elif np.ndim(missing_label):
        raise ValueError(
            "missing_label must be 'auto', None or the single value that marks unlabeled rows, "
            f"got {missing_label!r}."
        )
    elif missing_label is not None:
        missing |= y == missing_label
    if missing.all():
        raise ValueError("Input y contains only NaN or the missing label: no row has a label.")
    labels = y[~missing]
    if labels.dtype.kind == "f":
        assert_all_finite(labels, input_name="y")
    check_classification_targets(labels)
    return y, ~missing


def _marked_minus_one(y: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Return the rows with −1 among labels 0 … K−1, scikit-learn's convention for unlabeled."""
    none = np.zeros(len(y), dtype=bool)
    if y.dtype.kind not in "if":
        return none
    values = np.unique(y[~missing])
    if len(values) < 3 or not np.array_equal(values, np.arange(-1, len(values) - 1)):
        return none
    warnings.warn(
        f"y contains −1 in addition to the labels 0 … {len(values) - 2}: these "
        f"{int((y == -1).sum())} rows are treated as unlabeled. Pass missing_label=-1 to confirm "
        "this, or missing_label=None if −1 is a class.",
        LayoutWarning,
        stacklevel=user_stacklevel(),
    )
    return y == -1


@dataclass(frozen=True, eq=False)
class StackedRows:
    """Checked meta-features with their labels and weights.

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
        Range of `P` among all columns.
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
        """Check the input of `estimator`, and set its `n_features_in_` and `feature_names_in_`.

        Raises
        ------
        ValueError
            If shapes disagree, values are infinite, fewer than two classes have rows of positive
            weight, or all predictions are missing.
        """
        labels, known = check_labels(estimator, y, missing_label)
        checked = check_columns(estimator, numeric_labels(X, np.unique(labels[known])), reset=True)
        if checked.shape[0] != len(labels) == checked.shape[1]:
            raise ValueError(
                f"X of shape {checked.shape} has one column per label ({len(labels)}), but one row "
                "per label is expected. Pass the transpose (for an EnsembleData, R.T)."
            )
        check_consistent_length(checked, labels)
        weights = _check_sample_weight(
            sample_weight, checked, dtype=np.float64, ensure_non_negative=True
        )
        weighted = known & (weights > 0)
        counting = np.unique(labels[weighted])
        if len(counting) < 2:
            raise ValueError(
                "At least two classes need labeled rows of positive weight; found "
                f"{len(counting)} class(es) ({counting.tolist()}) in {int(weighted.sum())} such "
                "rows."
            )
        # a class whose rows all have weight 0 is still a class
        classes = np.unique(labels[known])
        codes = np.full(checked.shape[0], -1)
        codes[weighted] = np.searchsorted(classes, labels[weighted])
        columns = prediction_columns(checked, len(classes), n_classifiers, passthrough)
        P = densify(checked, columns)
        if np.isnan(P).all():
            raise ValueError("X contains no predictions: every value is missing.")
        return cls(P, codes, weights, classes, columns)
