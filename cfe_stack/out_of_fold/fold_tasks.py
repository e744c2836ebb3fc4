"""One fit: a copy of a learner, its rows, its threads, its time, and what came of it."""

import ctypes
import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.utils import _safe_indexing
from threadpoolctl import ThreadpoolController

from cfe_stack.base_learners.fitted_learner import FittedLearner
from cfe_stack.out_of_fold.cache import Entry, FoldCache
from cfe_stack.out_of_fold.fitting import LearnerPlan, TrainingRows, fit_learner, own_rows

ALL_ROWS = -1
"""Fold of the fit on all rows."""


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
    config : mapping
        Scikit-learn's configuration, which neither workers nor threads inherit.
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
    config: Mapping[str, Any] = field(default_factory=dict)


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
            error.add_note(f"in learner {learner.name!r}, {describe_task(task)}")
            raise
        reason = f"{type(error).__name__}: {error}"
        return Outcome(task, seconds=time.perf_counter() - start, failure=reason)
    if outcome.failure is None and terms.cache is not None:
        return _stored(outcome, learner, terms, terms.cache)
    return outcome


@functools.lru_cache(maxsize=1)
def _thread_pools(n_modules: int) -> ThreadpoolController:
    """Return the thread pools of this process, looked for again when modules were imported."""
    return ThreadpoolController()


def describe_task(task: Task) -> str:
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
    with ExitStack() as limits, config_context(**terms.config):
        if terms.threads is not None:
            # BLAS takes its number of threads from the process: where several fits share this one,
            # the caller has set it
            user_api = None if alone else "openmp"
            limits.enter_context(
                _thread_pools(len(sys.modules)).limit(limits=terms.threads, user_api=user_api)
            )
        model, n_trees = fit_learner(rows, learner, train, task.n_trees, terms.threads, ordered)
        scores = None if test is None else model.scores(_safe_indexing(rows.X, test))
        test_scores = model.scores(own_rows(rows.X_test)) if terms.predict_test else None
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
    thread.join(min(seconds, threading.TIMEOUT_MAX))
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
