"""Early stopping of boosters on rows of their own training part, never on the held-out rows.

Where the rows that say when to stop are the rows that are predicted, the predictions are too good;
so every fold holds back some of its training rows for that.
"""

import inspect
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from sklearn import get_config
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import process_routing

from cfe_stack.base_learners.fitted_learner import weight_argument
from cfe_stack.runtime.optional_packages import import_extra
from cfe_stack.runtime.parameter_checks import check_integer

_ROUNDS = {
    "xgboost": ("early_stopping_rounds",),
    "lightgbm": (
        "early_stopping_round", "early_stopping_rounds", "early_stopping", "n_iter_no_change",
    ),
    "catboost": ("early_stopping_rounds", "od_wait"),
    "native": ("early_stopping_rounds",),
}  # fmt: skip
_TREES = {
    "xgboost": ("n_estimators",),
    "lightgbm": (
        "n_estimators", "num_iterations", "num_iteration", "num_boost_round", "num_trees",
        "n_iter", "num_round", "num_rounds", "nrounds", "max_iter",
    ),
    "catboost": ("iterations", "n_estimators", "num_boost_round", "num_trees"),
    "native": ("num_boost_round",),
}  # fmt: skip
_CLASSES = {
    "XGBClassifier": "xgboost", "LGBMClassifier": "lightgbm", "CatBoostClassifier": "catboost",
    "NativeBooster": "native",
}  # fmt: skip


@dataclass(frozen=True)
class EarlyStopping:
    """When boosters stop adding trees.

    Parameters
    ----------
    rounds : int, default=50
        Trees without improvement on the validation rows after which to stop.
    fraction : float, default=0.1
        Share of a fold's training rows that is held back as validation rows.
    seed : int, default=0
        Draws them.
    """

    rounds: int = 50
    fraction: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        check_integer("rounds of early_stopping", self.rounds, 1)
        if not 0 < self.fraction < 1:
            raise ValueError(
                f"The fraction of EarlyStopping must be between 0 and 1, got {self.fraction!r}."
            )


def stopping_of(estimator: Any, wanted: int | EarlyStopping | None) -> EarlyStopping | None:
    """Return how a learner stops early, None if it does not.

    Parameters
    ----------
    estimator : estimator
    wanted : int, EarlyStopping or None
        For all boosters; None leaves those to stop early whose own parameters say so.
    """
    last = last_step(estimator)
    family = booster_family(last)
    if family is None:
        return None
    parameters = last.get_params()
    if "dart" in (parameters.get("boosting_type"), parameters.get("booster")):
        return None  # later trees change earlier ones, so there is no best iteration
    if wanted is not None:
        return wanted if isinstance(wanted, EarlyStopping) else EarlyStopping(rounds=wanted)
    own = [parameters[name] for name in _ROUNDS[family] if parameters.get(name)]
    return EarlyStopping(rounds=int(own[0])) if own else None


def last_step(estimator: Any) -> Any:
    """Return the learner at the end of a Pipeline, or the learner itself."""
    return estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator


def booster_family(estimator: Any) -> str | None:
    """Return the package whose early stopping a learner follows, None if it is no booster."""
    names = [base.__name__ for base in type(estimator).__mro__]
    if "XGBRFClassifier" in names:
        return None  # a forest: it has one round
    return next((_CLASSES[name] for name in names if name in _CLASSES), None)


def fresh_copy(estimator: Any) -> Any:
    """Return an unfitted copy of a learner."""
    try:
        return clone(estimator)
    except RuntimeError:
        # CatBoost hands out copies of some of its parameters, which clone takes for a fault
        return deepcopy(estimator)


def quieten(estimator: Any) -> None:
    """Keep boosters inside a copied learner from printing and writing files, unless told to."""
    nested = [estimator, *getattr(estimator, "get_params", dict)().values()]
    for learner in nested:
        family = booster_family(learner)
        if family == "lightgbm" and not {"verbose", "verbosity"} & learner.get_params().keys():
            learner.set_params(verbose=-1)
        if family == "catboost":
            given = learner.get_params().keys()
            if not {"verbose", "silent", "logging_level", "verbose_eval"} & given:
                learner.set_params(logging_level="Silent")
            if "allow_writing_files" not in given:
                learner.set_params(allow_writing_files=False)


def limit_trees(estimator: Any, n_trees: int) -> None:
    """Give a copied booster a number of trees and switch its early stopping off."""
    last = last_step(estimator)
    family = booster_family(last)
    assert family is not None
    parameters = last.get_params()
    names = [name for name in _TREES[family] if name in parameters] or [_TREES[family][0]]
    off = dict.fromkeys([name for name in _ROUNDS[family] if parameters.get(name)])
    last.set_params(**dict.fromkeys(names, n_trees), **off)


def fit_stopping(
    estimator: Any,
    train: tuple[Any, Any, Any],
    validation: tuple[Any, Any, Any],
    rounds: int,
    fit_params: Mapping[str, Any],
) -> tuple[Any, int]:
    """Fit a booster, alone or at the end of a Pipeline, with early stopping.

    Parameters
    ----------
    estimator : estimator
        An unfitted copy.
    train, validation : tuple of (X, y, sample_weight or None)
        The validation rows go through the Pipeline's steps as fitted on the training rows.
    rounds : int
    fit_params : mapping
        Arguments of the learner's own fit.

    Returns
    -------
    fitted : estimator
    n_trees : int
        Number of trees it predicts with.
    """
    X, y, weights = train
    X_stop, y_stop, weights_stop = validation
    if not isinstance(estimator, Pipeline):
        return _fit_last(estimator, train, validation, rounds, fit_params)
    name, last = estimator.steps[-1]
    head, fitted_steps = estimator[:-1], []
    if get_config()["enable_metadata_routing"]:
        own = process_routing(estimator, "fit", **fit_params)[name].fit
        wanted = head.get_metadata_routing().consumes("fit_transform", fit_params)
        others = {k: v for k, v in fit_params.items() if k in wanted}
    else:
        prefix = f"{name}__"
        own = {k.removeprefix(prefix): v for k, v in fit_params.items() if k.startswith(prefix)}
        others = {k: v for k, v in fit_params.items() if not k.startswith(prefix)}
    if head.steps:
        X = head.fit_transform(X, y, **others)
        X_stop = head.transform(X_stop)
        fitted_steps = head.steps
    last, n_trees = _fit_last(last, (X, y, weights), (X_stop, y_stop, weights_stop), rounds, own)
    # with Pipeline(memory=...) the fitted steps are copies, so the Pipeline is put together anew
    estimator.steps = [*fitted_steps, (name, last)]
    return estimator, n_trees


def _fit_last(
    learner: Any,
    train: tuple[Any, Any, Any],
    validation: tuple[Any, Any, Any],
    rounds: int,
    fit_params: Mapping[str, Any],
) -> tuple[Any, int]:
    (X, y, weights), (X_stop, y_stop, weights_stop) = train, validation
    family = booster_family(learner)
    given: dict[str, Any] = {} if weights is None else {weight_argument(learner): weights}
    if family == "xgboost":
        learner.set_params(early_stopping_rounds=rounds)
        given |= {"eval_set": [(X_stop, y_stop)], "verbose": False}
        if weights_stop is not None:
            given["sample_weight_eval_set"] = [weights_stop]
        learner.fit(X, y, **{**given, **fit_params})
        return learner, int(learner.best_iteration) + 1
    if family == "lightgbm":
        lightgbm = import_extra("lightgbm", extra="boosting")
        set_already = [name for name in _ROUNDS[family] if learner.get_params().get(name)]
        learner.set_params(**dict.fromkeys(set_already, 0))
        # from 4.7 on, eval_set is deprecated
        if "eval_X" in inspect.signature(learner.fit).parameters:
            given |= {"eval_X": X_stop, "eval_y": y_stop}
        else:
            given["eval_set"] = [(X_stop, y_stop)]
        if weights_stop is not None:
            given["eval_sample_weight"] = [weights_stop]
        stop = lightgbm.early_stopping(rounds, verbose=False)
        callbacks = [*fit_params.get("callbacks", []), stop]
        learner.fit(X, y, **{**given, **fit_params, "callbacks": callbacks})
        return learner, int(learner.best_iteration_ or learner.n_estimators_)
    if family == "catboost":
        evaluation: Any = (X_stop, y_stop)
        if weights_stop is not None:
            catboost = import_extra("catboost", extra="boosting")
            features = fit_params.get("cat_features", learner.get_params().get("cat_features"))
            evaluation = catboost.Pool(X_stop, y_stop, weight=weights_stop, cat_features=features)
        given |= {"eval_set": evaluation, "early_stopping_rounds": rounds}
        learner.fit(X, y, **{**given, **fit_params})
        return learner, int(learner.tree_count_)
    learner.set_params(early_stopping_rounds=rounds)
    learner.fit(X, y, **{**given, **fit_params, "validation": (X_stop, y_stop, weights_stop)})
    return learner, int(learner.n_trees_)
