"""CFEStackingClassifier: base learners, X and y in, calibrated probabilities out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, TransformerMixin, clone
from sklearn.utils import Bunch, Tags, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, _routing_enabled
from sklearn.utils.metaestimators import _BaseComposition, available_if
from sklearn.utils.validation import check_is_fitted

from cfe_stack.base_learners.early_stopping import EarlyStopping, fresh_copy
from cfe_stack.base_learners.fitted_learner import check_estimators
from cfe_stack.classifier.ensemble_classifier import CFEnsembleClassifier
from cfe_stack.out_of_fold.cache import FoldCache
from cfe_stack.out_of_fold.collect import collect_out_of_fold
from cfe_stack.out_of_fold.input_checks import indexable
from cfe_stack.out_of_fold.out_of_fold_data import OutOfFoldData
from cfe_stack.out_of_fold.shared_collections import SharedCollections
from cfe_stack.runtime.callbacks import Observed, reports_to_callbacks
from cfe_stack.runtime.persistence import Stamped
from cfe_stack.runtime.rollback import restore_on_failure
from cfe_stack.stacking.columns import (
    check_features,
    check_stack_options,
    copy_of_final,
    predicted_matrix,
    predicted_rows,
    tell_final_estimator,
    with_passthrough,
)
from cfe_stack.stacking.metadata import metadata_router, routed_metadata


def _final_has(method: str) -> Any:
    """Return a check for `available_if`: the final estimator has a method."""

    def check(self: CFEStackingClassifier) -> bool:
        final = getattr(self, "final_estimator_", self.final_estimator)
        # hasattr would hide why a method is missing
        getattr(CFEnsembleClassifier() if final is None else final, method)
        return True

    return check


class CFEStackingClassifier(Stamped, Observed, ClassifierMixin, TransformerMixin, _BaseComposition):
    """Stack base learners, with a final estimator on their out-of-fold predictions.

    Like scikit-learn's ``StackingClassifier``, on top of :func:`cfe_stack.collect_out_of_fold`: any
    splitter, early stopping inside the folds, stored predictions, and missing cells where a learner
    fails. With k-fold splits and ``refit="full"`` the final estimator sees the columns that
    scikit-learn's stack would hand it.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Base learners; ``"drop"`` leaves one out.
    final_estimator : classifier, default=None
        None is ``CFEnsembleClassifier()``.
    cv : int, splitter or list of (train, test), default=5
        Outer folds, as in :func:`cfe_stack.collect_out_of_fold`. A list is handed on to a
        `CFEnsembleClassifier` as its inner folds, if it holds every row out once.
    stack_method : {"auto", "predict_proba", "decision_function", "predict"}, default="auto"
        What is stacked; ``"auto"`` takes the first of them that a learner has.
    n_jobs : int, default=None
        Fits at a time × threads per fit; None is one fit with the threads of the learner, −1 all
        cores.
    memory : path or FoldCache, default=None
        Directory in which predictions of finished fits are stored.
    refit : {"full", "bag", "both"}, default="full"
        Which models predict new rows: fitted once more on all rows, or those of the folds on
        average. ``"both"`` keeps both, and those on all rows predict.
    passthrough : bool, default=False
        Append X to the predictions. A `CFEnsembleClassifier` does not use it.
    on_error : {"missing", "raise"}, default="missing"
        What follows when a learner fails in a fold: missing cells and a warning, or the error.
    early_stopping : int or EarlyStopping, default=None
        Rounds without improvement after which boosters stop, on rows held back from the training
        rows of the fold.
    time_limit : float, default=None
        Seconds for one fit with its predictions.
    progress : bool, default=True
        Show a progress bar on stderr, if that is a terminal (needs tqdm).

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    n_features_in_ : int
    final_estimator_ : classifier
    ensemble_data_ : OutOfFoldData
        Out-of-fold predictions with folds, coverage, times and failures.
    estimators_ : list of estimators
        Fitted on all rows; without learners that failed. Empty with ``refit="bag"``.
    named_estimators_ : Bunch
        The same by name.
    fold_estimators_ : dict of str to list of (estimator or None)
        Fitted in every fold; empty with ``refit="full"``.

    Raises
    ------
    ValueError, TypeError
        In `fit`, if a parameter or the data are not as described; in prediction, if every base
        learner fails.

    Warns
    -----
    FailedLearnerWarning
        If a base learner fails, in training or in prediction; its predictions are missing.

    Notes
    -----
    Clones in one process share collections, so a search over parameters of the final estimator fits
    no base learner twice. Leave `n_jobs` to the stack: a search with several processes of its own
    fits every learner in each of them, with `memory` only those on all rows.

    See Also
    --------
    CFEnsembleClassifier : The final estimator alone, for other stacks.
    collect_out_of_fold : The out-of-fold predictions alone.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from cfe_stack import CFEStackingClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> bases = [("bayes", GaussianNB()), ("tree", DecisionTreeClassifier(max_depth=4))]
    >>> stack = CFEStackingClassifier(bases).fit(X[:400], y[:400])
    >>> stack.predict_proba(X[400:]).shape, stack.ensemble_data_.R.shape
    ((169, 2), (2, 400))
    """

    def __init__(
        self,
        estimators: Sequence[tuple[str, Any]],
        final_estimator: Any = None,
        *,
        cv: Any = 5,
        stack_method: str = "auto",
        n_jobs: int | None = None,
        memory: str | os.PathLike[str] | FoldCache | None = None,
        refit: Literal["full", "bag", "both"] = "full",
        passthrough: bool = False,
        on_error: Literal["missing", "raise"] = "missing",
        early_stopping: int | EarlyStopping | None = None,
        time_limit: float | None = None,
        progress: bool = True,
    ) -> None:
        self.estimators = estimators
        self.final_estimator = final_estimator
        self.cv = cv
        self.stack_method = stack_method
        self.n_jobs = n_jobs
        self.memory = memory
        self.refit = refit
        self.passthrough = passthrough
        self.on_error = on_error
        self.early_stopping = early_stopping
        self.time_limit = time_limit
        self.progress = progress

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return parameters, those of the base learners included.

        Parameters
        ----------
        deep : bool, default=True
        """
        return self._get_params("estimators", deep=deep)

    def set_params(self, **params: Any) -> Self:
        """Set parameters, base learners by name and their parameters included.

        Parameters
        ----------
        **params

        Raises
        ------
        ValueError
            If there is no such parameter, or no final estimator whose parameter it could be.
        """
        nested = [name for name in params if name.startswith("final_estimator__")]
        if nested and params.get("final_estimator", self.final_estimator) is None:
            raise ValueError(
                f"{nested[0]!r} cannot be set, because final_estimator is None: pass "
                "final_estimator=CFEnsembleClassifier(), the same estimator by name."
            )
        self._set_params("estimators", **params)
        return self

    def __sklearn_clone__(self) -> Self:
        try:
            copy = super().__sklearn_clone__()
        except RuntimeError:
            # CatBoost hands out copies of some of its parameters, which clone takes for a fault
            params = self.get_params(deep=False)
            bases = [(n, e if isinstance(e, str) else fresh_copy(e)) for n, e in self.estimators]
            others = {n: clone(v, safe=False) for n, v in params.items() if n != "estimators"}
            copy = type(self)(bases, **others)
        copy._shared = self._collections()
        return copy

    def _collections(self) -> SharedCollections:
        """Return what this stack shares with its clones."""
        return self.__dict__.setdefault("_shared", SharedCollections())

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        try:
            bases = [get_tags(e).input_tags for _, e in check_estimators(self.estimators)]
        except (TypeError, ValueError, AttributeError):
            return tags  # fit says what is wrong
        tags.input_tags.sparse = all(base.sparse for base in bases)
        # a learner that cannot take NaN leaves missing cells, if the final estimator can take those
        spared = str(self.on_error) == "missing" and get_tags(self._final()).input_tags.allow_nan
        tags.input_tags.allow_nan = (any if spared else all)(base.allow_nan for base in bases)
        return tags

    def get_metadata_routing(self) -> MetadataRouter:
        """Return where `sample_weight`, `groups` and other arguments of `fit` go."""
        return metadata_router(self, self._final())

    @restore_on_failure("_shared")
    @reports_to_callbacks
    def fit(
        self,
        X: Any,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        **fit_params: Any,
    ) -> Self:
        """Collect out-of-fold predictions and fit the final estimator on them.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
            Handed to the base learners as it is.
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,) or float, default=None
            Handed to every fit that takes weights; with metadata routing, to those that ask.
        groups : array-like of shape (n_samples,), default=None
            Handed to the splitter, and to the final estimator if it takes groups.
        **fit_params
            With metadata routing, what the estimators ask for; else ``name__argument`` of base
            learners.
        """
        check_stack_options(self.refit, self.passthrough, self.final_estimator)
        self._validate_names([name for name, _ in check_estimators(self.estimators)])
        final = copy_of_final(self._final())
        check_features(self, X, reset=True)
        routed = routed_metadata(self, final, sample_weight, groups, fit_params)
        data = self._collect(X, y, routed)
        self.ensemble_data_, self.classes_ = data, data.classes
        self._fitted: Mapping[str, Any] = data.fold_models if self.refit == "bag" else data.models
        predicted = predicted_rows(data)
        splits = None if groups is not None else self.cv
        tell_final_estimator(final, data, passthrough=self.passthrough, splits=splits)
        P = with_passthrough(data.R, X if self.passthrough else None)
        extra = {
            name: np.asarray(value)[predicted] if np.ndim(np.asarray(value)) else value
            for name, value in routed.final_estimator_.fit.items()
            if value is not None
        }
        self.final_estimator_ = final.fit(P[predicted], data.labels[predicted], **extra)
        return self

    def _final(self) -> Any:
        if self.final_estimator is not None:
            return self.final_estimator
        final = CFEnsembleClassifier()
        routed = _routing_enabled()
        return final.set_fit_request(sample_weight=True, groups=True) if routed else final

    def _collect(self, X: Any, y: Any, routed: Bunch) -> OutOfFoldData:
        names = ("cv", "stack_method", "refit", "on_error", "early_stopping", "time_limit")
        options: dict[str, Any] = {
            "groups": routed.groups,
            "sample_weight": routed.sample_weight,
            "fit_params": routed.learners,
            **{name: getattr(self, name) for name in names},
        }
        how: dict[str, Any] = {n: getattr(self, n) for n in ("n_jobs", "memory", "progress")}
        return self._collections().collected(
            lambda: collect_out_of_fold(self.estimators, X, y, **options, **how),
            (check_estimators(self.estimators), X, y, options),
        )

    def _columns(self, X: Any) -> Any:
        """Return meta-features of new rows."""
        check_is_fitted(self, "final_estimator_")
        check_features(self, X, reset=False)
        R = predicted_matrix(
            self._fitted, indexable(X), self.ensemble_data_, self.on_error == "missing"
        )
        return with_passthrough(R, X if self.passthrough else None)

    def transform(self, X: Any) -> Any:
        """Return meta-features: probabilities of the base learners, with X if it is passed.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)

        Returns
        -------
        ndarray or sparse matrix of shape (n_samples, n_columns)
            P(class 1) of every learner, or of all classes, learner after learner.
        """
        return self._columns(X)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Return names of the columns of :meth:`transform`.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the columns of X, used with ``passthrough=True``.
        """
        check_is_fitted(self, "final_estimator_")
        prefix, data = type(self).__name__.lower(), self.ensemble_data_
        several = range(data.n_classes) if data.n_classes > 2 else [""]
        names = [f"{prefix}_{name}{k}" for name in data.classifier_names or () for k in several]
        if self.passthrough:
            given = getattr(self, "feature_names_in_", input_features)
            numbered = [f"x{j}" for j in range(self.n_features_in_)]
            names += numbered if given is None else np.asarray(given).tolist()
        return np.asarray(names, dtype=object)

    def predict(self, X: Any) -> np.ndarray:
        """Return predicted classes, of shape (n_samples,).

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
        """
        P = self._columns(X)
        return np.asarray(self.classes_)[self.final_estimator_.predict(P)]

    @available_if(_final_has("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return class probabilities, of shape (n_samples, n_classes).

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
        """
        P = self._columns(X)
        return self.final_estimator_.predict_proba(P)

    @available_if(_final_has("decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """Return scores of the final estimator, (n_samples,) or (n_samples, n_classes).

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
        """
        P = self._columns(X)
        return self.final_estimator_.decision_function(P)

    @property
    def estimators_(self) -> list[Any]:
        """Base learners fitted on all rows."""
        check_is_fitted(self, "final_estimator_")
        return [model.estimator for model in self.ensemble_data_.models.values()]

    @property
    def named_estimators_(self) -> Bunch:
        """Base learners fitted on all rows, by name."""
        check_is_fitted(self, "final_estimator_")
        return Bunch(**{n: m.estimator for n, m in self.ensemble_data_.models.items()})

    @property
    def fold_estimators_(self) -> dict[str, list[Any]]:
        """Base learners fitted in every fold, None where one failed."""
        check_is_fitted(self, "final_estimator_")
        folds = self.ensemble_data_.fold_models.items()
        return {name: [model and model.estimator for model in models] for name, models in folds}
