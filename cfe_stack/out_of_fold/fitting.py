"""Fitting a copy of a learner on some of the rows: its labels, weights, threads and stopping."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing

from cfe_stack.base_learners.early_stopping import (
    EarlyStopping,
    booster_family,
    fit_stopping,
    fresh_copy,
    last_step,
    limit_trees,
    quieten,
)
from cfe_stack.base_learners.fitted_learner import (
    FittedLearner,
    accepts_weights,
    response_method,
    thread_settings,
    wants_codes,
    weight_argument,
)
from cfe_stack.cross_validation.fold_plan import validation_split


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """What all fits share.

    Parameters
    ----------
    X : array, sparse matrix or data frame of n rows
    labels : ndarray of shape (n,)
        Labels as the user gave them.
    codes : ndarray of shape (n,)
        Their class codes.
    classes : ndarray of shape (n_classes,)
    sample_weight : ndarray of shape (n,), default=None
    groups : ndarray of shape (n,), default=None
    X_test : array, sparse matrix or data frame, default=None
    """

    X: Any
    labels: np.ndarray
    codes: np.ndarray
    classes: np.ndarray
    sample_weight: np.ndarray | None = None
    groups: np.ndarray | None = None
    X_test: Any = None

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True, eq=False)
class LearnerPlan:
    """A learner and how it is fitted.

    Parameters
    ----------
    name : str
    template : estimator
        Never fitted and never changed; every fit works on a copy.
    fit_params : mapping
    stack_method : str
    stopping : EarlyStopping, default=None
    """

    name: str
    template: Any
    fit_params: Mapping[str, Any] = field(default_factory=dict)
    stack_method: str = "auto"
    stopping: EarlyStopping | None = None


def own_rows(X: Any) -> Any:
    """Return rows into which a learner may write, as many a home-made transformer does.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.out_of_fold.fitting import own_rows
    >>> X = np.zeros(2)
    >>> np.shares_memory(own_rows(X), X)
    False
    """
    flags = getattr(X, "flags", None)
    return X.copy() if hasattr(X, "copy") and getattr(flags, "writeable", True) else X


def fit_learner(
    rows: TrainingRows,
    learner: LearnerPlan,
    train: np.ndarray,
    n_trees: int | None = None,
    threads: int | None = None,
    ordered: bool = False,
) -> tuple[FittedLearner, int | None]:
    """Fit a copy of a learner on some rows.

    Parameters
    ----------
    rows : TrainingRows
    learner : LearnerPlan
    train : ndarray of shape (k,)
    n_trees : int, default=None
        Trees of a booster that does not stop early here.
    threads : int, default=None
    ordered : bool, default=False
        Whether validation rows are the last ones.

    Returns
    -------
    model : FittedLearner
    n_trees : int or None
        Trees after early stopping.
    """
    estimator = fresh_copy(learner.template)
    if threads is not None:
        settings = thread_settings(estimator, threads)
        if settings:
            estimator.set_params(**settings)
    quieten(estimator)
    present = np.unique(rows.codes[train])
    # LightGBM 4.7 encodes the labels of training rows, but not those of validation rows
    coded = wants_codes(estimator) or (
        learner.stopping is not None and booster_family(last_step(estimator)) == "lightgbm"
    )
    labels = np.arange(len(present)) if coded else rows.classes[present]

    def given_labels(part: np.ndarray) -> np.ndarray:
        return np.searchsorted(present, rows.codes[part]) if coded else rows.labels[part]

    stopped = None
    if learner.stopping is not None and n_trees is None:
        stopping = learner.stopping
        fitted, validation = validation_split(
            train,
            rows.codes,
            stopping.fraction,
            groups=rows.groups,
            ordered=ordered,
            seed=stopping.seed,
        )
        parts = [
            (
                _safe_indexing(rows.X, part),
                given_labels(part),
                None if rows.sample_weight is None else rows.sample_weight[part],
            )
            for part in (fitted, validation)
        ]
        params = _subset(learner.fit_params, fitted, len(rows))
        estimator, stopped = fit_stopping(estimator, parts[0], parts[1], stopping.rounds, params)
    else:
        if learner.stopping is not None and n_trees is not None:
            limit_trees(estimator, n_trees)
        params = _subset(learner.fit_params, train, len(rows))
        if rows.sample_weight is not None and accepts_weights(estimator):
            params.setdefault(weight_argument(estimator), rows.sample_weight[train])
        X = own_rows(rows.X) if len(train) == len(rows) else _safe_indexing(rows.X, train)
        estimator.fit(X, given_labels(train), **params)
    method = response_method(estimator, learner.stack_method)
    model = FittedLearner(learner.name, estimator, method, present, labels, len(rows.classes))
    return model, stopped


def _subset(fit_params: Mapping[str, Any], part: np.ndarray, n: int) -> dict[str, Any]:
    """Return fit arguments with those that have one entry per row reduced to some rows."""
    chosen = {}
    for name, value in fit_params.items():
        per_row = hasattr(value, "__len__") and not isinstance(value, (str, bytes, Mapping))
        per_row = per_row and (value.shape[0] if hasattr(value, "shape") else len(value)) == n
        chosen[name] = _safe_indexing(value, part) if per_row else value
    return chosen
