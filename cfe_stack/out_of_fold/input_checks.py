"""Checking X, y and learners before the first fit."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from cfe_stack.base_learners.early_stopping import EarlyStopping, stopping_of
from cfe_stack.base_learners.fitted_learner import (
    STACK_METHODS,
    check_estimators,
    routed_fit_params,
)
from cfe_stack.cross_validation.inner_folds import check_groups
from cfe_stack.data.foreign_arrays import as_numpy
from cfe_stack.data.missing import missing_entries
from cfe_stack.out_of_fold.fitting import LearnerPlan, TrainingRows


def check_rows(
    X: Any,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    X_test: Any = None,
) -> TrainingRows:
    """Return what all fits share, checked.

    Parameters
    ----------
    X : array-like, sparse matrix or data frame of n rows
    y : array-like of shape (n,)
    sample_weight : array-like of shape (n,) or float, default=None
    groups : array-like of shape (n,), default=None
    X_test : as X, default=None

    Raises
    ------
    ValueError
        If numbers of rows disagree, X_test lacks columns of X, a label is missing, or there are
        fewer than two classes.
    """
    X, X_test = indexable(X), None if X_test is None else indexable(X_test)
    if X_test is not None:
        _compare_columns(X, X_test)
    labels, classes, codes = class_codes(y)
    n = X.shape[0]
    if len(labels) != n:
        raise ValueError(f"X has {n} rows and y {len(labels)}; they must have the same number.")
    weights = _weights(sample_weight, n)
    if weights is not None and len(np.unique(codes[weights > 0])) < 2:
        raise ValueError(
            f"y holds {len(np.unique(codes[weights > 0]))} class(es) among the "
            f"{int((weights > 0).sum())} rows of non-zero sample weight; a classifier needs two."
        )
    return TrainingRows(
        X,
        labels,
        codes,
        classes,
        weights,
        None if groups is None else check_groups(groups, n),
        X_test,
    )


def class_codes(y: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels (n,), their classes (n_classes,), and the codes (n,) of the classes.

    Raises
    ------
    ValueError
        If a label is missing, labels are no classes, or there are fewer than two.

    Examples
    --------
    >>> from cfe_stack.out_of_fold.input_checks import class_codes
    >>> class_codes(["no", "yes", "no"])[2]
    array([0, 1, 0])
    """
    labels = column_or_1d(as_numpy(y), warn=True)
    missing = np.flatnonzero(missing_entries(labels))
    if missing.size:
        raise ValueError(
            f"y has no label in {len(missing)} rows, the first is row {missing[0]}: base learners "
            "need labels. Leave these rows out; collect_out_of_fold predicts them as X_test."
        )
    if labels.dtype.kind == "f":
        assert_all_finite(labels, input_name="y")
    check_classification_targets(labels)
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y holds one class only, {classes.tolist()}; a classifier needs two.")
    return labels, classes, codes


def indexable(X: Any) -> Any:
    """Return X as something whose rows can be picked.

    Raises
    ------
    TypeError
        If its rows are not in memory yet.
    """
    refuse_lazy(X)
    X = X if hasattr(X, "detach") else as_numpy(X)  # tensors are for learners that take them
    if sparse.issparse(X):
        return X if X.format in ("csr", "csc") else X.tocsr()
    if hasattr(X, "shape") and hasattr(X, "__getitem__"):
        return X
    return np.asarray(X)


def _compare_columns(X: Any, X_test: Any) -> None:
    """Raise ValueError if test rows lack columns of the training rows, as the target left in X."""
    ours, theirs = (list(getattr(rows, "columns", ())) for rows in (X, X_test))
    lacking = [column for column in ours if column not in theirs]
    # by name, a Pipeline may well leave out what X_test has more
    named = bool(ours and theirs)
    if lacking if named else X.shape[1:] != X_test.shape[1:]:
        more = f", which lacks {lacking[:5]}" if named else ""
        raise ValueError(
            f"X_test must have the columns of X: X has shape {X.shape} and X_test {X_test.shape}"
            f"{more}."
        )


def refuse_lazy(X: Any) -> None:
    """Raise TypeError for frames that have not been computed: polars' lazy ones, dask's."""
    shape = getattr(X, "shape", None)
    method = "collect" if hasattr(X, "collect") else "compute"
    if hasattr(X, method) and not (shape and isinstance(shape[0], int)):
        raise TypeError(
            f"X is a lazy {type(X).__name__}, whose rows cannot be picked before they are "
            f"computed; pass X.{method}()."
        )


def _weights(sample_weight: ArrayLike | None, n: int) -> np.ndarray | None:
    if sample_weight is None:
        return None
    weights = np.asarray(sample_weight, dtype=np.float64)
    weights = np.full(n, weights) if weights.ndim == 0 else weights
    fine = np.isfinite(weights) & (weights >= 0)
    if weights.shape != (n,) or not fine.all():
        got = f"{weights[~fine][0]:g}" if weights.shape == (n,) else f"shape {weights.shape}"
        raise ValueError(
            f"sample_weight must hold {n} finite numbers >= 0, one per row of X; got {got}."
        )
    return weights


def plan_learners(
    estimators: Any,
    fit_params: Mapping[str, Any] | None,
    stack_method: str,
    early_stopping: int | EarlyStopping | None,
) -> tuple[LearnerPlan, ...]:
    """Return learners and how each is fitted.

    Parameters
    ----------
    estimators : list of (str, estimator) or mapping
    fit_params : mapping or None
    stack_method : str
    early_stopping : int, EarlyStopping or None

    Raises
    ------
    TypeError, ValueError
        If something is not as described, or a learner is fitted for good.
    """
    pairs = check_estimators(estimators)
    if str(stack_method) not in ("auto", *STACK_METHODS):
        raise ValueError(
            f"stack_method is {stack_method!r}; it must be 'auto' or one of {STACK_METHODS}."
        )
    if early_stopping is not None and not isinstance(early_stopping, EarlyStopping):
        early_stopping = EarlyStopping(rounds=early_stopping)
    routed = routed_fit_params(fit_params, [name for name, _ in pairs])
    for name, learner in pairs:
        if type(learner).__name__ == "FrozenEstimator":
            raise ValueError(
                f"The learner {name!r} is a FrozenEstimator: it would predict rows that it may "
                "have been trained on, which is not out-of-fold. Pass the unfrozen estimator, "
                "which is fitted in every fold; for models that were trained on other rows there "
                "is cfe_stack.out_of_fold.predictions_of_fitted."
            )
    return tuple(
        LearnerPlan(name, learner, routed[name], stack_method, stopping_of(learner, early_stopping))
        for name, learner in pairs
    )
