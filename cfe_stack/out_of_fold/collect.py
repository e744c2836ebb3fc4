"""collect_out_of_fold: base learners, X and y in, the ensemble matrix out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from cfe_stack.base_learners.early_stopping import EarlyStopping
from cfe_stack.base_learners.fitted_learner import accepts_weights
from cfe_stack.cross_validation.fold_plan import plan_folds
from cfe_stack.out_of_fold.cache import FoldCache
from cfe_stack.out_of_fold.collection import Collection, Settings
from cfe_stack.out_of_fold.fitting import LearnerPlan
from cfe_stack.out_of_fold.input_checks import check_rows, plan_learners
from cfe_stack.out_of_fold.out_of_fold_data import OutOfFoldData, assemble_matrix
from cfe_stack.runtime.parameter_checks import check_flag, check_n_jobs, check_real
from cfe_stack.runtime.warning_location import user_stacklevel


def collect_out_of_fold(
    estimators: Sequence[tuple[str, Any]] | Mapping[str, Any],
    X: Any,
    y: ArrayLike,
    *,
    cv: Any = 5,
    groups: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    fit_params: Mapping[str, Any] | None = None,
    stack_method: str = "auto",
    n_jobs: int | None = None,
    memory: str | os.PathLike[str] | FoldCache | None = None,
    X_test: Any = None,
    refit: Literal["full", "bag", "both"] | None = "full",
    on_error: Literal["missing", "raise"] = "missing",
    early_stopping: int | EarlyStopping | None = None,
    time_limit: float | None = None,
    progress: bool = True,
) -> OutOfFoldData:
    """Fit base learners in every fold and collect what they predict of the rows held out.

    Parameters
    ----------
    estimators : list of (str, estimator) or mapping of str to estimator
        Base learners; they are cloned and stay as they are. ``"drop"`` leaves one out.
    X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
        Handed to the learners as it is.
    y : array-like of shape (n_samples,)
        Classes, numbers or strings. Learners that want codes, as XGBoost does, get those of the
        classes in their training rows.
    cv : int, splitter or iterable of (train, test), default=5
        A number means stratified folds without shuffling, which keep `groups` together. A splitter
        is copied; its random state of None becomes 0. Repeats are averaged.
    groups : array-like of shape (n_samples,), default=None
        Handed to the splitter.
    sample_weight : array-like of shape (n_samples,) or float, default=None
        Handed to every fit that takes weights, and kept in the result.
    fit_params : mapping, default=None
        ``{"name": {"argument": value}}`` or ``{"name__argument": value}``; values with one entry
        per row are reduced to the training rows.
    stack_method : {"auto", "predict_proba", "decision_function", "predict"}, default="auto"
        What is collected; ``"auto"`` is the first of them that a learner has. Margins become
        probabilities by a calibrator fitted on other folds' margins, and are missing in folds whose
        training rows lack a class; labels become 0 and 1.
    n_jobs : int, default=None
        Fits at a time × threads per fit are kept to this number, under the active joblib backend.
        None is one fit at a time whose threads are the learner's own.
    memory : path or FoldCache, default=None
        Directory in which predictions of finished fits are stored, and found again. Models are not
        stored: they are fitted when `models` or `fold_models` of the result is first read.
    X_test : as X, default=None
        Rows to predict with the models of `refit`.
    refit : {"full", "bag", "both"} or None, default="full"
        Which models are kept, and predict X_test: those fitted once more on all rows, those of the
        folds (the mean of their predictions), or both (those on all rows predict).
    on_error : {"missing", "raise"}, default="missing"
        What follows when a fit raises, takes too long, predicts something unusable or loses its
        worker process twice: missing cells and a warning, or the error.
    early_stopping : int or EarlyStopping, default=None
        Rounds without improvement after which XGBoost, LightGBM and CatBoost learners stop, alone
        or at the end of a Pipeline, judged by rows held back from the training rows of the fold.
        None leaves it to the learners' own parameters. Models on all rows get the median number of
        trees.
    time_limit : float, default=None
        Seconds for one fit with its predictions.
    progress : bool, default=True
        Show a progress bar on stderr, if that is a terminal (needs tqdm).

    Returns
    -------
    OutOfFoldData
        An `EnsembleData` with folds, coverage, spread, times, models, test predictions and
        failures.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; before any work starts.
    RuntimeError
        If no learner has any prediction.

    Warns
    -----
    FailedLearnerWarning, CacheWarning, UserWarning
        If fits failed; if cache entries were damaged or could not be stored; if learners cannot
        take `sample_weight`.

    Notes
    -----
    Fits go into one queue, those first that take longest. A stored prediction is found again if
    the learner's class and parameters, X, y, weights, the rows of the fold, fit arguments, early
    stopping and versions of the libraries are the same; the number of threads and names do not
    matter. A learner with ``random_state=None`` is stored like any other, so that a second run
    returns its first predictions.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from cfe_stack import collect_out_of_fold
    >>> X, y = load_iris(return_X_y=True)
    >>> bases = [("bayes", GaussianNB()), ("logistic", LogisticRegression(max_iter=500))]
    >>> data = collect_out_of_fold(bases, X, y, cv=3)
    >>> data.R.shape, sorted(data.models)
    ((2, 150, 3), ['bayes', 'logistic'])
    """
    _check_options(refit, on_error, time_limit, X_test, n_jobs, memory, progress)
    rows = check_rows(X, y, sample_weight=sample_weight, groups=groups, X_test=X_test)
    learners = plan_learners(estimators, fit_params, stack_method, early_stopping)
    if rows.sample_weight is not None:
        _warn_about_weights(learners)
    plan = plan_folds(cv, rows.X, rows.labels, rows.groups)
    cache = FoldCache(memory) if isinstance(memory, (str, os.PathLike)) else memory
    if cache is not None:
        cache.remove_leftovers()
    settings = Settings(refit, n_jobs, on_error, time_limit, cache, progress)
    work = Collection(rows, plan, learners, settings)
    work.run()
    index = getattr(X, "index", None)
    return assemble_matrix(work, None if index is None or callable(index) else np.asarray(index))


def _warn_about_weights(learners: Sequence[LearnerPlan]) -> None:
    without = [plan.name for plan in learners if not accepts_weights(plan.template)]
    if without:
        warnings.warn(
            f"sample_weight does not reach the learner(s) {without}, whose fit does not take it "
            "or, with metadata routing, has not requested it.",
            UserWarning,
            stacklevel=user_stacklevel(),
        )


def _check_options(
    refit: Any,
    on_error: Any,
    time_limit: Any,
    X_test: Any,
    n_jobs: Any,
    memory: Any,
    progress: Any,
) -> None:
    if refit is not None and str(refit) not in ("full", "bag", "both"):
        raise ValueError(f"refit must be 'full', 'bag', 'both' or None, got {refit!r}.")
    if str(on_error) not in ("missing", "raise"):
        raise ValueError(f"on_error must be 'missing' or 'raise', got {on_error!r}.")
    if time_limit is not None:
        check_real("time_limit", time_limit, 0, above=True)
    if X_test is not None and refit is None:
        raise ValueError("X_test needs models that predict it: pass refit='full', 'bag' or 'both'.")
    check_n_jobs(n_jobs)
    if not isinstance(memory, (str, os.PathLike, FoldCache, NoneType)) or memory == "":
        raise ValueError(
            f"memory must be None, the path of a directory or a FoldCache, got {memory!r}. Of a "
            "joblib.Memory, pass the location."
        )
    check_flag("progress", progress)
