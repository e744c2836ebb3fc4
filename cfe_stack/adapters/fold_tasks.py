"""One fit: a copy of a learner, its rows, its threads, its time, and what came of it."""

import ctypes
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing
from threadpoolctl import threadpool_limits

from cfe_stack.adapters.cache import Entry, FoldCache
from cfe_stack.adapters.early_stopping import (
    EarlyStopping,
    booster_family,
    fit_stopping,
    fresh_copy,
    last_step,
    limit_trees,
    quieten,
)
from cfe_stack.adapters.fold_plan import validation_split
from cfe_stack.adapters.learners import (
    FittedLearner,
    accepts_weights,
    response_method,
    thread_settings,
    wants_codes,
    weight_argument,
)

ALL_ROWS = -1
"""Fold of the fit on all rows."""


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


@dataclass(frozen=True)
class Task:
    """One fit of the queue.

    Parameters
    ----------
    learner : int
    fold : int
        Number of the fold, or `ALL_ROWS`.
    n_trees : int, default=None
        Number of trees of a booster that is fitted on all rows without early stopping.
    """

    learner: int
    fold: int
    n_trees: int | None = None


@dataclass(frozen=True, eq=False)
class Terms:
    """What a fit may use and must return.

    Parameters
    ----------
    threads : int or None
        Threads of one fit; None leaves learners as they are.
    time_limit : float or None
        Seconds that one fit with its predictions may take.
    keep_model : bool
        Whether the fitted learner is wanted.
    predict_test : bool
        Whether predictions of X_test are wanted.
    on_error : {"missing", "raise"}
    cache : FoldCache or None
    address, test_address : str or None
        Where the predictions are stored.
    home : int
        Process that planned the fit.
    """

    threads: int | None = None
    time_limit: float | None = None
    keep_model: bool = False
    predict_test: bool = False
    on_error: str = "missing"
    cache: FoldCache | None = None
    address: str | None = None
    test_address: str | None = None
    home: int = field(default_factory=os.getpid)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a fit.

    Parameters
    ----------
    task : Task
    scores, test_scores : ndarray or None
        Predictions of the held-out rows and of X_test; None where there are none.
    seconds : float
    n_trees : int or None
        Trees of a booster that stopped early.
    model : FittedLearner or None
    failure : str or None
        Why predictions are missing, wholly or in part.
    store_error : str or None
        Why they could not be stored.
    margins : bool
        Whether the predictions are margins and no probabilities.
    """

    task: Task
    scores: np.ndarray | None = None
    test_scores: np.ndarray | None = None
    seconds: float = np.nan
    n_trees: int | None = None
    model: FittedLearner | None = None
    failure: str | None = None
    store_error: str | None = None
    margins: bool = False


def run_task(
    rows: TrainingRows,
    split: tuple[np.ndarray, np.ndarray] | None,
    learner: LearnerPlan,
    task: Task,
    terms: Terms,
    ordered: bool = False,
) -> Outcome:
    """Fit a learner once, predict, and store what it predicted.

    Parameters
    ----------
    rows : TrainingRows
    split : tuple of (train, test), or None
        Row indices of the fold; None is the fit on all rows.
    learner : LearnerPlan
    task : Task
    terms : Terms
    ordered : bool, default=False
        Whether rows stand in the order of time.

    Returns
    -------
    Outcome

    Raises
    ------
    Exception
        Whatever the learner raises, with a note that names learner and fold, if
        ``terms.on_error == "raise"``; `TimeoutError` if it takes too long.
    """
    start = time.perf_counter()
    try:
        alone = os.getpid() != terms.home and threading.current_thread() is threading.main_thread()
        outcome = within(
            terms.time_limit,
            lambda: _fit_and_predict(rows, split, learner, task, terms, ordered, alone),
        )
    except Exception as error:
        if terms.on_error == "raise":
            error.add_note(f"in learner {learner.name!r}, {describe(task)}")
            raise
        reason = f"{type(error).__name__}: {error}"
        return Outcome(task, seconds=time.perf_counter() - start, failure=reason)
    if outcome.failure is None and terms.cache is not None:
        return _stored(outcome, learner, terms, terms.cache)
    return outcome


def describe(task: Task) -> str:
    """Return the fold of a task in words."""
    return "fit on all rows" if task.fold == ALL_ROWS else f"fold {task.fold}"


def _fit_and_predict(
    rows: TrainingRows,
    split: tuple[np.ndarray, np.ndarray] | None,
    learner: LearnerPlan,
    task: Task,
    terms: Terms,
    ordered: bool,
    alone: bool,
) -> Outcome:
    start = time.perf_counter()
    train, test = (np.arange(len(rows)), None) if split is None else split
    with ExitStack() as limits:
        if terms.threads is not None:
            # BLAS takes its number of threads from the process: where several fits share this one,
            # the caller has set it
            limits.enter_context(
                threadpool_limits(terms.threads, user_api=None if alone else "openmp")
            )
        model, n_trees = fit_learner(rows, learner, train, task.n_trees, terms.threads, ordered)
        scores = None if test is None else model.scores(_safe_indexing(rows.X, test))
        test_scores = model.scores(rows.X_test) if terms.predict_test else None
    failure = None
    for part, what in ((scores, "held-out"), (test_scores, "test")):
        if part is not None and np.isnan(part).any():
            bad = int(np.isnan(part).any(axis=1).sum())
            failure = f"not finite in {bad} of {len(part)} {what} rows"
    if failure is not None and terms.on_error == "raise":
        raise ValueError(f"{model.method} is {failure}")
    return Outcome(
        task,
        scores,
        test_scores,
        time.perf_counter() - start,
        n_trees,
        model if terms.keep_model else None,
        failure,
        margins=model.method == "decision_function",
    )


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
        X = rows.X if len(train) == len(rows) else _safe_indexing(rows.X, train)
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


def within(seconds: float | None, call: Callable[[], Any]) -> Any:
    """Return what a call returns, or raise TimeoutError when it takes too long.

    The call runs in a thread of its own. A call that is given up is interrupted at its next step
    in Python; compiled code that never comes back goes on in the background until it ends.

    Parameters
    ----------
    seconds : float or None
        None sets no limit.
    call : callable

    Raises
    ------
    TimeoutError
    """
    if seconds is None:
        return call()
    result: list[Any] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            result.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(TimeoutError)
        )
        raise TimeoutError(f"not finished after {seconds:g} s (time_limit)")
    if errors:
        raise errors[0]
    return result[0]


def _stored(outcome: Outcome, learner: LearnerPlan, terms: Terms, cache: FoldCache) -> Outcome:
    """Store predictions; what cannot be stored is still returned."""
    details = {
        "learner": learner.name,
        "fold": outcome.task.fold,
        "seconds": outcome.seconds,
        "n_trees": outcome.n_trees,
        "margins": outcome.margins,
    }
    try:
        for address, scores in (
            (terms.address, outcome.scores),
            (terms.test_address, outcome.test_scores),
        ):
            if address is not None and scores is not None:
                cache.store(address, Entry(scores, details))
    except OSError as error:
        return Outcome(**{**vars(outcome), "store_error": str(error)})
    return outcome
