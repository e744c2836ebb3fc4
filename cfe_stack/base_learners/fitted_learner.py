"""What learners need and what they return: labels, threads, weights, columns aligned by class."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from sklearn import get_config
from sklearn.base import is_regressor
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from cfe_stack.data.cell_checks import ROW_SUM_TOLERANCE
from cfe_stack.meta_features.score_calibration import ScoreCalibrator

STACK_METHODS = ("predict_proba", "decision_function", "predict")
THREAD_PARAMETERS = ("n_jobs", "nthread", "num_threads", "thread_count")
"""Names under which learners take their number of threads."""
CODED_LABELS = frozenset({"xgboost", "mlxtend", "skorch", "keras", "scikeras"})
"""Packages whose classifiers want the codes 0 … K−1 of the classes present, in every fit."""

HALF_PRECISION = 0.02
"""Probabilities in half precision of many classes sum to 1 within this."""


class UnusableOutputError(ValueError):
    """A learner returned something that is not a prediction of the rows it was given."""


def package_of(estimator: Any) -> str:
    """Return the top-level package in which the class of an estimator is defined."""
    return type(estimator).__module__.split(".")[0]


def nested_estimators(estimator: Any) -> Iterator[tuple[str, Any]]:
    """Yield (parameter prefix, estimator) of a learner and all estimators among its parameters."""
    yield "", estimator
    for name, value in _parameters(estimator).items():
        if hasattr(value, "get_params") and not isinstance(value, type):
            yield f"{name}__", value


def _parameters(estimator: Any) -> dict[str, Any]:
    return estimator.get_params(deep=True) if hasattr(estimator, "get_params") else {}


def wants_codes(estimator: Any) -> bool:
    """Return whether labels must be given as the codes 0 … K−1 of the classes present.

    The classes of a class that inherits from such a learner count too.
    """
    packages = {
        base.__module__.split(".")[0]
        for _, nested in nested_estimators(estimator)
        for base in type(nested).__mro__
    }
    return bool(packages & CODED_LABELS)


def response_method(estimator: Any, stack_method: str) -> str:
    """Return the name of the method whose output is stacked.

    Raises
    ------
    ValueError
        If the learner has none.
    """
    allowed = STACK_METHODS if stack_method == "auto" else (stack_method,)
    for method in allowed:
        if hasattr(estimator, method):
            return method
    raise ValueError(
        f"{type(estimator).__name__} has no {' nor '.join(allowed)}; stack_method may be 'auto', "
        f"{', '.join(map(repr, STACK_METHODS))}."
    )


def thread_settings(estimator: Any, threads: int) -> dict[str, Any]:
    """Return the parameters that hold a learner, and all learners inside it, to some threads.

    Parameters
    ----------
    estimator : estimator
    threads : int
        Threads that one fit may use.

    Returns
    -------
    dict of str to int
        For ``set_params``. Of nested learners, the outermost that runs in parallel gets the
        threads and those inside it get 1. Scikit-learn's own learners stay serial where their
        parameter is None.
    """
    parameters = _parameters(estimator)
    owners = {
        f"{prefix}{name}": (prefix, package_of(nested))
        for prefix, nested in nested_estimators(estimator)
        for name in THREAD_PARAMETERS
        if f"{prefix}{name}" in parameters
    }
    settings: dict[str, Any] = {}
    parallel: list[str] = []
    for key, (prefix, package) in sorted(owners.items(), key=lambda item: item[1][0].count("__")):
        value = parameters[key]
        leads = any(p != prefix and p.startswith(prefix) for p, _ in owners.values())
        if any(prefix != outer and prefix.startswith(outer) for outer in parallel):
            settings[key] = 1
        elif (value is None and package == "sklearn") or (leads and value in (None, 1)):
            continue  # it is serial and leaves the threads to the learners inside it
        else:
            settings[key] = threads
            if leads:
                parallel.append(prefix)
    return settings


def accepts_weights(estimator: Any) -> bool:
    """Return whether sample weights reach the fit of a learner, or of a Pipeline's last step."""
    if get_config()["enable_metadata_routing"]:
        routing = getattr(estimator, "get_metadata_routing", None)
        return routing is not None and bool(routing().consumes("fit", ["sample_weight"]))
    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    return last not in (None, "passthrough") and _takes_weights(last)


def _takes_weights(learner: Any) -> bool:
    """Return whether fit takes weights, or hands them on to learners that all do."""
    if isinstance(learner, (GridSearchCV, RandomizedSearchCV)):
        return _takes_weights(learner.estimator)
    if package_of(learner) == "sklearn" and hasattr(learner, "estimators"):
        # votes and stacks, which in older versions name weights that their learners refuse;
        # other learners of scikit-learn refuse arguments that they do not name
        inner = [e for _, e in learner.estimators if e != "drop"]
        final = getattr(learner, "final_estimator", None)
        return all(map(_takes_weights, inner if final is None else [*inner, final]))
    return has_fit_parameter(learner, "sample_weight")


def weight_argument(estimator: Any) -> str:
    """Return the name of the fit argument that takes sample weights."""
    if isinstance(estimator, Pipeline) and not get_config()["enable_metadata_routing"]:
        return f"{estimator.steps[-1][0]}__sample_weight"
    return "sample_weight"


def routed_fit_params(
    fit_params: Mapping[str, Any] | None, names: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """Return the fit arguments of every learner.

    Parameters
    ----------
    fit_params : mapping or None
        ``{learner: {argument: value}}``, ``{"learner__argument": value}``, or both mixed.
    names : iterable of str
        Names of the learners.

    Raises
    ------
    ValueError
        If a key names no learner.
    """
    routed: dict[str, dict[str, Any]] = {name: {} for name in names}
    for key, value in (fit_params or {}).items():
        if key in routed and isinstance(value, Mapping):
            routed[key].update(value)
            continue
        owners = [name for name in routed if key.startswith(f"{name}__")]
        if not owners:
            raise ValueError(
                f"fit_params holds {key!r}, which names no learner: use {{'learner': {{'argument': "
                f"value}}}} or 'learner__argument', with the learners {list(routed)}."
            )
        owner = max(owners, key=len)
        routed[owner][key.removeprefix(f"{owner}__")] = value
    return routed


@dataclass(frozen=True, eq=False)
class FittedLearner:
    """A fitted learner whose output is aligned with the classes of the ensemble.

    Parameters
    ----------
    name : str
    estimator : estimator
        The fitted learner itself.
    method : str
        The method whose output is used.
    codes : ndarray of shape (k,)
        Class codes of its output columns, in their order: of the classes it was trained on.
    labels : ndarray of shape (k,)
        What the learner calls these classes.
    n_classes : int
        Number of classes of the ensemble.
    calibrator : ScoreCalibrator, default=None
        Turns margins into probabilities; fitted on out-of-fold margins.
    """

    name: str
    estimator: Any
    method: str
    codes: np.ndarray
    labels: np.ndarray
    n_classes: int
    calibrator: ScoreCalibrator | None = None

    def scores(self, X: Any) -> np.ndarray:
        """Return checked output of shape (n, n_classes), or margins (n, w).

        Parameters
        ----------
        X : array-like of n rows

        Raises
        ------
        UnusableOutputError
            If the learner returns something else. Rows that are not finite are NaN.
        """
        n, values = _n_rows(X), getattr(self.estimator, self.method)(X)
        if self.method == "predict":
            return _one_hot(values, n, self.labels, self.codes, self.n_classes)
        output = _as_numbers(values, self.method)
        if self.method == "decision_function":
            return self._margins(output, n)
        if getattr(values, "dtype", None) == np.float16 and output.ndim == 2:
            output = _without_rounding(output)
        return _scattered(output, n, self._columns(), self.n_classes)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities (n, n_classes); rows without a finite prediction are NaN.

        Parameters
        ----------
        X : array-like of n rows
        """
        return self.probabilities(self.scores(X))

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Return probabilities (n, n_classes) of what :meth:`scores` returned.

        Parameters
        ----------
        scores : ndarray of shape (n, w)
        """
        if self.method != "decision_function":
            return scores
        if self.calibrator is None:
            raise ValueError(
                f"The margins of {self.name!r} have no calibrator yet: it is fitted on the "
                "out-of-fold margins of all folds."
            )
        return self.calibrator.predict_proba(scores)

    def calibrated(self, calibrator: ScoreCalibrator | None) -> Self:
        """Return this learner with a calibrator of its margins.

        Parameters
        ----------
        calibrator : ScoreCalibrator or None
        """
        return replace(self, calibrator=calibrator)

    def _columns(self) -> np.ndarray:
        """Return the class codes of the learner's own columns."""
        own = getattr(self.estimator, "classes_", None)
        if own is None:
            return self.codes
        lookup = dict(zip(self.labels.tolist(), self.codes.tolist(), strict=True))
        try:
            return np.array([lookup[label] for label in np.asarray(own).tolist()], dtype=np.int64)
        except (KeyError, TypeError) as error:
            raise UnusableOutputError(
                f"classes_ is {np.asarray(own).tolist()!r}, but it was trained on "
                f"{self.labels.tolist()!r}"
            ) from error

    def _margins(self, output: np.ndarray, n: int) -> np.ndarray:
        if len(self.codes) < self.n_classes:
            raise UnusableOutputError(
                f"its training rows hold {len(self.codes)} of {self.n_classes} classes, so its "
                "decision_function has other columns than in other folds"
            )
        margins = output[:, None] if output.ndim == 1 else output
        if margins.ndim != 2 or len(margins) != n:
            raise UnusableOutputError(
                f"decision_function returned shape {output.shape} for {n} rows"
            )
        return np.where(np.isfinite(margins).all(axis=1, keepdims=True), margins, np.nan)


def _n_rows(X: Any) -> int:
    return X.shape[0] if hasattr(X, "shape") else len(X)


def _as_numbers(values: Any, method: str) -> np.ndarray:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UnusableOutputError(f"{method} returned no array of numbers: {error}") from error


def _without_rounding(proba: np.ndarray) -> np.ndarray:
    """Return probabilities of half precision, whose rows sum to 1 within a few digits only."""
    sums = proba.sum(axis=1, keepdims=True)
    return np.where(np.abs(sums - 1) < HALF_PRECISION, proba / np.where(sums == 0, 1, sums), proba)


def _scattered(output: np.ndarray, n: int, columns: np.ndarray, n_classes: int) -> np.ndarray:
    """Return probabilities (n, n_classes) with every column at its class; absent classes get 0."""
    if output.shape != (n, len(columns)):
        raise UnusableOutputError(
            f"predict_proba returned shape {output.shape}; ({n}, {len(columns)}) were expected"
        )
    proba = output
    if len(columns) < n_classes or not np.array_equal(columns, np.arange(n_classes)):
        proba = np.zeros((n, n_classes))
        proba[:, columns] = output
    finite = np.isfinite(proba).all(axis=1)
    if not finite.all():
        proba = np.where(finite[:, None], proba, np.nan)
    present = proba[finite]
    outside = (present < -1e-6) | (present > 1 + 1e-6)
    off = np.abs(present.sum(axis=1) - 1) > ROW_SUM_TOLERANCE
    if outside.any() or off.any():
        row = present[outside.any(axis=1) | off][0]
        raise UnusableOutputError(
            f"predict_proba returned {np.round(row, 6).tolist()} in a row, which are not "
            f"class probabilities (they must sum to 1 within {ROW_SUM_TOLERANCE})"
        )
    return proba


def _one_hot(
    values: Any, n: int, labels: np.ndarray, codes: np.ndarray, n_classes: int
) -> np.ndarray:
    """Return predicted labels as probabilities 0 and 1."""
    predicted = np.asarray(values)
    if predicted.shape == (n, 1):
        predicted = predicted[:, 0]  # CatBoost
    if predicted.shape != (n,):
        raise UnusableOutputError(f"predict returned shape {predicted.shape} for {n} rows")
    proba = np.zeros((n, n_classes))
    for label, code in zip(labels.tolist(), codes.tolist(), strict=True):
        proba[predicted == label, code] = 1.0
    strange = proba.sum(axis=1) == 0
    if strange.any():
        raise UnusableOutputError(
            f"predict returned {predicted[strange].tolist()[0]!r}, which is none of "
            f"{labels.tolist()!r}"
        )
    return proba


def check_estimators(estimators: Any) -> list[tuple[str, Any]]:
    """Return (name, learner) pairs, checked.

    Parameters
    ----------
    estimators : list of (str, estimator), or mapping of str to estimator
        Learners given as ``"drop"`` are left out.

    Raises
    ------
    TypeError, ValueError
        If it is something else, names repeat or hold ``"__"``, or no learner is left.
    """
    pairs = list(estimators.items()) if isinstance(estimators, Mapping) else estimators
    try:
        named = [(str(name), learner) for name, learner in pairs]
    except (AttributeError, TypeError, ValueError) as error:
        # AttributeError: an ensemble that is not fitted cannot be unpacked
        raise TypeError(
            "estimators must be a list of (name, estimator) pairs or a dictionary of estimators by "
            "name, as in [('forest', RandomForestClassifier()), ('bayes', GaussianNB())]; got "
            f"{type(estimators).__name__} without names."
        ) from error
    named = [(name, e) for name, e in named if not (isinstance(e, str) and e == "drop")]
    names = [name for name, _ in named]
    if not named or len(set(names)) < len(names) or any("__" in name for name in names):
        raise ValueError(
            "estimators must hold at least one learner, under different names without '__'; got "
            f"the names {names}."
        )
    for name, learner in named:
        if isinstance(learner, type) or not hasattr(learner, "fit"):
            raise TypeError(
                f"The learner {name!r} is {learner!r}; it must be an estimator object with a fit "
                "method (an instance, not a class)."
            )
        if hasattr(learner, "__sklearn_tags__") and is_regressor(learner):
            raise TypeError(
                f"The learner {name!r} is the regressor {learner!r}; only classifiers have class "
                "probabilities or labels to stack."
            )
    return named
