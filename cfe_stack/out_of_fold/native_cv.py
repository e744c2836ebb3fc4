"""Finished runs of ``xgboost.cv`` and ``lightgbm.cv``: what their boosters predict out of fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import _safe_indexing

from cfe_stack.base_learners.native_boosters import booster_proba, n_trees
from cfe_stack.cross_validation.fold_plan import plan_folds
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.data.in_sample import SuspiciousPredictionsError
from cfe_stack.out_of_fold.input_checks import check_rows
from cfe_stack.out_of_fold.out_of_fold_data import (
    OutOfFoldData,
    deviation_over_repeats,
    mean_over_repeats,
)
from cfe_stack.runtime.optional_packages import import_extra

MAX_RELATIVE_DIFFERENCE = 0.01
"""Share by which a log-loss may be better than ``lightgbm.cv`` recorded it, for rounding."""


def fold_keeper() -> Any:
    """Return a callback for ``xgboost.cv``, which would throw its boosters away.

    Returns
    -------
    xgboost.callback.TrainingCallback
        Its ``cvfolds`` are boosters and data of the folds, once ``xgboost.cv`` has come back.
    """
    callback: Any = import_extra("xgboost", extra="boosting").callback.TrainingCallback

    class FoldKeeper(callback):
        cvfolds: tuple[Any, ...] = ()

        def after_training(self, model: Any) -> Any:
            self.cvfolds = tuple(model.cvfolds)
            return model

    return FoldKeeper()


def predictions_of_cv(
    runs: Sequence[tuple[str, Any]] | Mapping[str, Any],
    X: Any,
    y: ArrayLike,
    folds: Any,
    *,
    X_test: Any = None,
    allow_suspicious: bool = False,
) -> OutOfFoldData:
    """Return what the boosters of finished cross-validations predict of their held-out rows.

    Parameters
    ----------
    runs : list of (str, run) or mapping of str to run
        A run is the callback of :func:`fold_keeper` that ``xgboost.cv`` was given, or what
        ``lightgbm.cv(..., return_cvbooster=True)`` returned (or its ``"cvbooster"``).
    X : array-like, sparse matrix or data frame of n rows
        The rows of the training data, in its order.
    y : array-like of shape (n,)
        Their classes; the boosters were trained on the codes 0 … K−1 of the sorted classes.
    folds : splitter, or iterable of (train, test)
        The folds of all runs: what they were given as ``folds=``.
    X_test : as X, default=None
        New rows, predicted by the mean over the folds' boosters.
    allow_suspicious : bool, default=False
        Take predictions although the folds seem to be others.

    Returns
    -------
    OutOfFoldData
        Predictions up to the best iteration, with `fold_ids` and `best_iterations`.

    Raises
    ------
    SuspiciousPredictionsError
        If the rows that a booster of ``xgboost.cv`` held out have other labels than those of
        `folds`, or the log-loss is better than ``lightgbm.cv`` recorded it: the folds are others,
        and the predictions would be those of training rows.
    ValueError, TypeError
        If a run is none of these, was trained for another number of classes, or has another number
        of folds.

    Notes
    -----
    A ``"cvbooster"`` alone holds nothing that the folds could be compared with.

    Examples
    --------
    >>> import lightgbm
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.model_selection import StratifiedKFold
    >>> from cfe_stack.out_of_fold import predictions_of_cv
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> folds = list(StratifiedKFold(3).split(X, y))
    >>> params = {"objective": "binary", "verbosity": -1, "num_threads": 1}
    >>> run = lightgbm.cv(params, lightgbm.Dataset(X, y), 20, folds=folds, return_cvbooster=True)
    >>> predictions_of_cv({"lightgbm": run}, X, y, folds).best_iterations
    array([[20., 20., 20.]])
    """
    pairs = list(runs.items()) if isinstance(runs, Mapping) else list(runs)
    rows = check_rows(X, y, X_test=X_test)
    plan = plan_folds(folds, rows.X, rows.labels)
    m, n, n_classes = len(pairs), len(rows), len(rows.classes)
    raw = np.full((m, len(plan.fold_ids), n, n_classes), np.nan)
    trees = np.full((m, len(plan)), np.nan)
    new = None if X_test is None else np.zeros((m, rows.X_test.shape[0], n_classes))
    for u, (name, run) in enumerate(pairs):
        boosters, held_out = _boosters(name, run, len(plan))
        losses = []
        for fold, booster in enumerate(boosters):
            test = plan.splits[fold][1]
            if held_out is not None and not allow_suspicious:
                _check_labels(name, fold, held_out[fold].get_label(), rows.codes[test])
            part = _safe_indexing(rows.X, test) if held_out is None else held_out[fold]
            proba = _proba(name, booster, part, n_classes)
            raw[u, plan.repeat_of[fold], test] = proba
            losses.append(_log_loss(proba, rows.codes[test]))
            trees[u, fold] = n_trees(booster)
            if new is not None:
                new[u] += _proba(name, booster, rows.X_test, n_classes) / len(plan)
        if not allow_suspicious:
            _check_record(name, run, losses)
    P = np.stack([mean_over_repeats(own) for own in raw])
    spread = np.stack([deviation_over_repeats(*both) for both in zip(raw, P, strict=True)])
    second = n_classes == 2
    names = [name for name, _ in pairs]
    return OutOfFoldData(
        P[:, :, 1] if second else P,
        rows.codes,
        classifier_names=names,
        classes=rows.classes,
        fold_ids=plan.fold_ids,
        coverage=(~np.isnan(raw[..., 0])).sum(axis=1),
        spread=None if len(plan.fold_ids) == 1 else spread[:, :, 1] if second else spread,
        fit_times=np.full_like(trees, np.nan),
        best_iterations=trees,
        test=None
        if new is None
        else EnsembleData(
            new[:, :, 1] if second else new, classifier_names=names, classes=rows.classes
        ),
    )


def _boosters(name: str, run: Any, n_folds: int) -> tuple[list[Any], list[Any] | None]:
    """Return the boosters of a run, and the held-out rows where it keeps them."""
    held_out: list[Any] | None
    if isinstance(run, Mapping):
        if "cvbooster" not in run:
            raise ValueError(
                f"The run {name!r} has no boosters: lightgbm.cv needs return_cvbooster=True."
            )
        run = run["cvbooster"]
    kept = vars(run) if hasattr(run, "__dict__") else {}
    if "boosters" in kept:
        boosters, held_out = list(kept["boosters"]), None
    elif isinstance(getattr(run, "cvfolds", None), tuple):
        boosters = [fold.bst for fold in run.cvfolds]
        held_out = [fold.dtest for fold in run.cvfolds]
    else:
        raise TypeError(
            f"The run {name!r} is a {type(run).__name__}; it must be the callback fold_keeper() "
            "that xgboost.cv was given, or what lightgbm.cv(return_cvbooster=True) returned."
        )
    if len(boosters) != n_folds:
        raise ValueError(
            f"The run {name!r} has {len(boosters)} boosters, and there are {n_folds} folds: pass "
            "the folds that it was given (a callback has boosters once xgboost.cv has come back)."
        )
    return boosters, held_out


def _proba(name: str, booster: Any, X: Any, n_classes: int) -> np.ndarray:
    proba = booster_proba(booster, X)
    if proba.shape[1] != n_classes:
        raise ValueError(
            f"The boosters of {name!r} predict {proba.shape[1]} classes, and y holds {n_classes}."
        )
    return proba


def _check_labels(name: str, fold: int, own: np.ndarray, codes: np.ndarray) -> None:
    if not np.array_equal(own, codes):
        raise SuspiciousPredictionsError(
            f"Fold {fold} of {name!r} held out other rows than this fold of `folds`: their labels "
            "differ. Pass the folds that xgboost.cv was given, X and y in the order of its data, "
            "and y whose sorted classes are the codes it was trained on."
        )


def _check_record(name: str, run: Any, losses: list[float]) -> None:
    """Compare the log-loss with what ``lightgbm.cv`` recorded of the same boosters."""
    record = run if isinstance(run, Mapping) else {}
    for metric in ("valid binary_logloss-mean", "valid multi_logloss-mean"):
        if metric not in record:
            continue
        # it stops recording at the best iteration
        recorded, found = float(record[metric][-1]), float(np.mean(losses))
        if found < (1 - MAX_RELATIVE_DIFFERENCE) * recorded:
            raise SuspiciousPredictionsError(
                f"The boosters of {name!r} reach a log-loss of {found:.4f} on the held-out rows of "
                f"`folds`, and lightgbm.cv recorded {recorded:.4f}: they have probably seen these "
                "rows. Pass the folds that it was given, and X and y in the order of its data; "
                "allow_suspicious=True takes them as they are, for instance with weights."
            )


def _log_loss(proba: np.ndarray, codes: np.ndarray) -> float:
    tiny = np.finfo(np.float64).tiny
    return float(-np.log(np.maximum(proba[np.arange(len(codes)), codes], tiny)).mean())
