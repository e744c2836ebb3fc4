"""Checking what a stack hands to its final estimator, before any work starts."""

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
from cfe_stack.runtime.warning_location import users_line

DENSE_SHARE = 0.5
"""A sparse column with more than this share of its rows stored is taken for a prediction."""
MATRIX: dict[str, Any] = {
    "accept_sparse": "csc",
    "dtype": [np.float64, np.float32],
    "ensure_all_finite": "allow-nan",
}
"""What meta-features become, in the words of `check_array`."""


def numeric_labels(X: Any, classes: np.ndarray | None) -> Any:
    """Return columns of predicted string labels as class codes; anything else as it is.

    mlxtend without ``use_probas`` stacks the labels themselves.
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
    """Return checked meta-features, floating-point, dense or sparse by columns; NaN stays."""
    if isinstance(X, EnsembleData) or len(getattr(X, "shape", ())) == 3:
        raise ValueError(
            f"X must have shape (n_samples, n_features), got {type(X).__name__}"
            + ("" if isinstance(X, EnsembleData) else f" of shape {X.shape}")
            + ". Of an EnsembleData, pass cfe_stack.meta_features.side_by_side(data.R)."
        )
    if not reset and not hasattr(estimator, "feature_names_in_") and hasattr(X, "columns"):
        # under set_output("pandas") a stack fits on an array and predicts on a frame
        X = check_array(X, input_name="X", **MATRIX)
    X = without_mask(X) if np.ma.isMaskedArray(X) else as_numpy(X)
    return validate_data(estimator, X, reset=reset, **MATRIX)


def prediction_columns(
    X: Any, n_classes: int, n_classifiers: int | None, passthrough: str | None
) -> slice:
    """Return the columns of sparse meta-features that may hold predictions, all of dense ones.

    Sparse meta-features come from passthrough of a sparse X, which can be far too wide to be made
    dense. Predictions stand at one end of it and are stored in most rows.
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
        f"Of {p} sparse columns, {found.start} … {found.stop - 1} are stored densely and were "
        "taken for predictions; the others are passthrough and are not used. Set n_classifiers and "
        "passthrough='after' or 'before' to say so yourself.",
        LayoutWarning,
        stacklevel=users_line(),
    )
    return found


def _prediction_run(X: Any, n_classes: int) -> int:
    """Return how many columns from the start are predictions: full blocks, or stored densely."""
    p, blocks = X.shape[1], 0
    while blocks + n_classes <= p:
        sums = np.asarray(X[:, blocks : blocks + n_classes].sum(axis=1)).ravel()
        if not (np.abs(sums[~np.isnan(sums)] - 1) <= ROW_SUM_TOLERANCE).all():
            break
        blocks += n_classes
    if blocks:
        return blocks
    dense = np.diff(X.indptr) > DENSE_SHARE * X.shape[0]
    return p if dense.all() else int(np.argmin(dense))


def densify(X: Any, columns: slice) -> np.ndarray:
    """Return the given columns as a dense array, without a copy where X is dense."""
    return X[:, columns].toarray() if sparse.issparse(X) else X[:, columns]


def check_labels(
    estimator: BaseEstimator, y: Any, missing_label: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and the mask of rows that have one.

    Parameters
    ----------
    estimator : estimator
        Named in messages.
    y : array-like of shape (n_rows,)
    missing_label : object
        ``"auto"``: NaN or None, and −1 beside integer codes 0 … K−1. None: every value is a class.
        Anything else: that value.

    Raises
    ------
    ValueError
        If y is missing, misshaped, not categorical, infinite, or has no label at all.
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
            "missing_label must be 'auto', None or the one value that marks rows without a class, "
            f"got {missing_label!r}."
        )
    elif missing_label is not None:
        missing |= y == missing_label
    if missing.all():
        raise ValueError("Input y contains NaN or the missing label only: no row has a class.")
    labels = y[~missing]
    if labels.dtype.kind == "f":
        assert_all_finite(labels, input_name="y")
    check_classification_targets(labels)
    return y, ~missing


def _marked_minus_one(y: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Return the rows marked −1 beside codes 0 … K−1, scikit-learn's mark for unlabelled rows."""
    none = np.zeros(len(y), dtype=bool)
    if y.dtype.kind not in "if":
        return none
    values = np.unique(y[~missing])
    if len(values) < 3 or not np.array_equal(values, np.arange(-1, len(values) - 1)):
        return none
    warnings.warn(
        f"y holds −1 beside the codes 0 … {len(values) - 2}: these {int((y == -1).sum())} rows are "
        "taken as unlabelled. Pass missing_label=-1 to say so, or missing_label=None if −1 is a "
        "class.",
        LayoutWarning,
        stacklevel=users_line(),
    )
    return y == -1


@dataclass(frozen=True, eq=False)
class StackedRows:
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
