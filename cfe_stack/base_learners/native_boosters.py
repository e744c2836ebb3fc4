"""Parameter dictionaries of ``xgboost.train`` and ``lightgbm.train``, and boosters, as learners."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from cfe_stack.base_learners.fitted_learner import THREAD_PARAMETERS
from cfe_stack.runtime.optional_packages import import_extra

_ROUND_NAMES = ("num_boost_round", "num_iterations", "n_estimators", "num_round")


class NativeBooster(ClassifierMixin, BaseEstimator):
    """What the two libraries have in common: labels, objective, threads, best iteration."""

    _library: ClassVar[str]
    _objectives: ClassVar[tuple[str, str]]
    _default_threads: ClassVar[str]

    def __init__(
        self,
        params: Mapping[str, Any] | None = None,
        num_boost_round: int = 100,
        *,
        early_stopping_rounds: int | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.params = params
        self.num_boost_round = num_boost_round
        self.early_stopping_rounds = early_stopping_rounds
        self.n_jobs = n_jobs

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        validation: tuple[Any, ArrayLike, ArrayLike | None] | None = None,
    ) -> Self:
        """Train a booster.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n, n_features)
        y : array-like of shape (n,)
        sample_weight : array-like of shape (n,), default=None
        validation : tuple of (X, y, sample_weight or None), default=None
            Rows that say when to stop.
        """
        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
        self.n_features_in_ = X.shape[1]
        if self.early_stopping_rounds and validation is None:
            raise ValueError(
                f"early_stopping_rounds={self.early_stopping_rounds} needs validation rows: pass "
                "validation=(X, y, weights), or let collect_out_of_fold hold some back."
            )
        watched = None
        if validation is not None:
            X_stop, y_stop, weights = validation
            watched = X_stop, np.searchsorted(self.classes_, np.asarray(y_stop)), weights
        self.booster_ = self._train(self._settings(), X, codes, sample_weight, watched)
        self.n_trees_ = n_trees(self.booster_)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities of shape (n, n_classes), up to the best iteration.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n, n_features)
        """
        check_is_fitted(self, "booster_")
        return booster_proba(self.booster_, X)

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable classes, of shape (n,).

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n, n_features)
        """
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def _settings(self) -> dict[str, Any]:
        """Return the parameters of the library for the classes at hand."""
        settings = dict(self.params or {})
        for name in _ROUND_NAMES:
            if name in settings:
                raise ValueError(
                    f"params holds {name!r}; the number of trees is num_boost_round of "
                    f"{type(self).__name__}."
                )
        if callable(settings.get("objective")):
            raise ValueError(
                f"{type(self).__name__} needs an objective of the library, one that predicts "
                "probabilities; a function of your own predicts margins."
            )
        two, several = self._objectives
        if len(self.classes_) <= 2:
            settings.setdefault("objective", two)
        else:
            given = settings.get("objective", several)
            # softmax learns the same trees as softprob, but predicts labels
            settings["objective"] = several if given == "multi:softmax" else given
            settings["num_class"] = len(self.classes_)
        if self.n_jobs is not None:
            for name in THREAD_PARAMETERS:
                settings.pop(name, None)
            settings[self._default_threads] = self.n_jobs
        return settings

    def _train(
        self, settings: dict[str, Any], X: Any, codes: np.ndarray, weights: Any, watched: Any
    ) -> Any:
        raise NotImplementedError


class XGBoostTrain(NativeBooster):
    """A parameter dictionary of ``xgboost.train`` as a classifier.

    Parameters
    ----------
    params : mapping, default=None
        As for ``xgboost.train``. A missing objective is that of class probabilities; the number of
        classes is set.
    num_boost_round : int, default=100
    early_stopping_rounds : int, default=None
    n_jobs : int, default=None
        Threads, in place of ``nthread`` in `params`.

    Attributes
    ----------
    booster_ : xgboost.Booster
    classes_ : ndarray of shape (n_classes,)
    n_trees_ : int
        Number of rounds that the prediction uses.

    Examples
    --------
    >>> from cfe_stack.base_learners import XGBoostTrain
    >>> XGBoostTrain({"max_depth": 3, "eta": 0.1}, num_boost_round=200)
    XGBoostTrain(num_boost_round=200, params={'eta': 0.1, 'max_depth': 3})
    """

    _library = "xgboost"
    _objectives = ("binary:logistic", "multi:softprob")
    _default_threads = "nthread"

    def _train(
        self, settings: dict[str, Any], X: Any, codes: np.ndarray, weights: Any, watched: Any
    ) -> Any:
        xgboost = import_extra("xgboost", extra="boosting")
        stopping: dict[str, Any] = {}
        if watched is not None:
            X_stop, y_stop, weights_stop = watched
            evaluation = _dmatrix(X_stop, y_stop, weight=weights_stop)
            stopping = {"evals": [(evaluation, "validation")], "verbose_eval": False}
            stopping["early_stopping_rounds"] = self.early_stopping_rounds
        data = _dmatrix(X, codes, weight=weights)
        return xgboost.train(settings, data, self.num_boost_round, **stopping)


class LightGBMTrain(NativeBooster):
    """A parameter dictionary of ``lightgbm.train`` as a classifier.

    Parameters
    ----------
    params : mapping, default=None
        As for ``lightgbm.train``. A missing objective is that of class probabilities; the number
        of classes is set.
    num_boost_round : int, default=100
    early_stopping_rounds : int, default=None
    n_jobs : int, default=None
        Threads, in place of ``num_threads`` in `params`.

    Attributes
    ----------
    booster_ : lightgbm.Booster
    classes_ : ndarray of shape (n_classes,)
    n_trees_ : int
        Number of rounds that the prediction uses.

    Examples
    --------
    >>> from cfe_stack.base_learners import LightGBMTrain
    >>> LightGBMTrain({"num_leaves": 15})
    LightGBMTrain(params={'num_leaves': 15})
    """

    _library = "lightgbm"
    _objectives = ("binary", "multiclass")
    _default_threads = "num_threads"

    def _train(
        self, settings: dict[str, Any], X: Any, codes: np.ndarray, weights: Any, watched: Any
    ) -> Any:
        lightgbm = import_extra("lightgbm", extra="boosting")
        settings.setdefault("verbosity", -1)
        data = lightgbm.Dataset(X, codes, weight=weights)
        stopping: dict[str, Any] = {}
        if watched is not None:
            X_stop, y_stop, weights_stop = watched
            evaluation = data.create_valid(X_stop, y_stop, weight=weights_stop)
            stop = lightgbm.early_stopping(self.early_stopping_rounds, verbose=False)
            stopping = {"valid_sets": [evaluation], "callbacks": [stop]}
        return lightgbm.train(settings, data, self.num_boost_round, **stopping)


def _dmatrix(X: Any, *labels: Any, **options: Any) -> Any:
    xgboost = import_extra("xgboost", extra="boosting")
    return xgboost.DMatrix(X, *labels, enable_categorical=hasattr(X, "columns"), **options)


def n_trees(booster: Any) -> int:
    """Return the number of rounds that a fitted booster should predict with.

    Parameters
    ----------
    booster : xgboost.Booster or lightgbm.Booster
    """
    if hasattr(booster, "num_boosted_rounds"):
        best = booster.attr("best_iteration")
        return booster.num_boosted_rounds() if best is None else int(best) + 1
    return booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration()


def booster_proba(booster: Any, X: Any) -> np.ndarray:
    """Return class probabilities of a fitted booster, up to its best iteration.

    Parameters
    ----------
    booster : xgboost.Booster or lightgbm.Booster
    X : array-like, sparse matrix, data frame or DMatrix of n rows

    Returns
    -------
    ndarray of shape (n, n_classes)

    Raises
    ------
    ValueError
        If the booster's objective does not predict class probabilities.
    """
    if hasattr(booster, "num_boosted_rounds"):
        xgboost = import_extra("xgboost", extra="boosting")
        if not isinstance(X, xgboost.DMatrix):
            X = _dmatrix(X)
        output = booster.predict(X, iteration_range=(0, n_trees(booster)))
    else:
        output = booster.predict(X, num_iteration=n_trees(booster))
    output = np.asarray(output, dtype=np.float64)
    inside = (output >= -1e-6) & (output <= 1 + 1e-6)
    labels = output.ndim == 1 and np.isin(output, (0.0, 1.0)).all()
    if not inside.all() or labels:
        raise ValueError(
            "The booster predicts no class probabilities but values such as "
            f"{output.ravel()[:3].tolist()}: train it with the objective binary:logistic or "
            "multi:softprob (XGBoost), binary or multiclass (LightGBM)."
        )
    return np.column_stack([1 - output, output]) if output.ndim == 1 else output
