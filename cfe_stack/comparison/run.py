"""One fold of a comparison: every contender learns, predicts, and is kept for a later run."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sklearn
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from cfe_stack.comparison.contenders import Contender
from cfe_stack.comparison.problems import FoldSize, Problem, StackProblem
from cfe_stack.comparison.whole_stacks import FeatureRows
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.data.missing import MissingPredictionsWarning
from cfe_stack.out_of_fold.cache import CacheWarning, DamagedEntryError, Entry, FoldCache
from cfe_stack.out_of_fold.fingerprints import Fingerprint
from cfe_stack.runtime.version import __version__
from cfe_stack.runtime.warning_location import user_stacklevel

Part = EnsembleData | FeatureRows
"""Rows of one side of a fold: predictions of base learners, or features."""


@dataclass(frozen=True, eq=False)
class ContenderOutcome:
    """What one contender did on one fold: probabilities, or why there are none."""

    proba: np.ndarray | None
    seconds: float
    error: str = ""


@dataclass(frozen=True, eq=False)
class FoldOutcome:
    """What all contenders did on one fold."""

    size: FoldSize
    codes: np.ndarray
    weights: np.ndarray | None
    n_missing: int
    outcomes: list[ContenderOutcome]


def run_fold(
    problem: Problem,
    size: FoldSize,
    contenders: Sequence[Contender],
    cache: FoldCache | None,
    on_error: str,
    limit: int | None,
) -> FoldOutcome:
    """Let every contender learn from the training rows and predict the held-out ones."""
    with threadpool_limits(limit):
        needed = {contender.on_features for contender in contenders}
        parts = {features: _parts(problem, size.fold, features) for features in needed}
        outcomes = []
        for contender in contenders:
            train, test = parts[contender.on_features]
            outcomes.append(_run(contender, train, _without_labels(test), cache, on_error))
    train, test = parts[min(needed)]
    assert test.labels is not None
    return FoldOutcome(
        size, test.labels, test.sample_weight, train.n_missing + test.n_missing, outcomes
    )


def _parts(problem: Problem, fold: int, features: bool) -> tuple[Part, Part]:
    if not features:
        return problem.parts(fold)
    assert isinstance(problem, StackProblem)
    return problem.rows(fold)


def _without_labels(part: Part) -> Part:
    if isinstance(part, FeatureRows):
        return replace(part, labels=None)
    return EnsembleData(part.R, C=part.C, classifier_names=part.classifier_names)


def _run(
    contender: Contender,
    train: Part,
    test: Part,
    cache: FoldCache | None,
    on_error: str,
) -> ContenderOutcome:
    """Return what a contender predicts, from the cache if it is there."""
    address = None
    if cache is not None and contender.identity is not None:
        address = _address(contender, train, test)
        if (found := _stored(cache, address)) is not None:
            return found
    start = time.perf_counter()
    try:
        proba = _checked(quietly(contender, train, test), test)
    except Exception as error:  # whatever goes wrong in a contender is its own affair
        if on_error == "raise":
            raise
        return ContenderOutcome(None, np.nan, f"{type(error).__name__}: {error}")
    outcome = ContenderOutcome(proba, time.perf_counter() - start)
    if cache is not None and address is not None:
        try:
            cache.store(address, Entry(proba, {"seconds": outcome.seconds}))
        except OSError as error:
            warnings.warn(
                f"A result was not stored: {error}.", CacheWarning, stacklevel=user_stacklevel()
            )
    return outcome


def _stored(cache: FoldCache, address: str) -> ContenderOutcome | None:
    try:
        entry = cache.load(address)
    except DamagedEntryError as error:
        warnings.warn(
            f"{error}; it will be recomputed.", CacheWarning, stacklevel=user_stacklevel()
        )
        return None
    return (
        None if entry is None else ContenderOutcome(entry.scores, float(entry.details["seconds"]))
    )


def quietly(contender: Contender, train: Part, test: Part) -> np.ndarray:
    """Run a contender; a stopped solver is a weak contender, not a reason to stop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", MissingPredictionsWarning)
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return contender.predict(train, test)


def _checked(proba: np.ndarray, test: Part) -> np.ndarray:
    proba = np.asarray(proba, dtype=np.float64)
    expected = (test.n_instances, test.n_classes)
    if proba.shape != expected or not np.isfinite(proba).all():
        raise ValueError(f"it returned {proba.shape}; probabilities must be finite, {expected}.")
    return proba


def _address(contender: Contender, train: Part, test: Part) -> str:
    """Return the content address of what a contender's prediction depends on."""
    versions = [__version__, sklearn.__version__, np.__version__]
    contents: list[Any] = [train.labels]
    for part in (train, test):
        if isinstance(part, FeatureRows):
            contents += [part.X, part.classes]
        else:
            contents += [part.R, part.C, part.sample_weight]
    return Fingerprint(
        "comparison", contender.identity or contender.name, versions, contents
    ).digest
