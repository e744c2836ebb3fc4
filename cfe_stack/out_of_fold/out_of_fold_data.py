"""The ensemble matrix of a collection, and what is known about every fit behind it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cfe_stack.base_learners.fitted_learner import FittedLearner
from cfe_stack.cross_validation.content_keys import content_keys
from cfe_stack.cross_validation.inner_folds import stratified_folds
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.meta_features.score_calibration import ScoreCalibrator, cross_fitted
from cfe_stack.out_of_fold.collection import Collection, Failure, by_learner
from cfe_stack.out_of_fold.fitted_models import FittedModels
from cfe_stack.out_of_fold.fold_tasks import ALL_ROWS, Task


@dataclass(frozen=True, eq=False, repr=False)
class OutOfFoldData(EnsembleData):
    """Out-of-fold predictions of base learners, as an `EnsembleData` that knows its folds.

    Parameters
    ----------
    R, labels, C, sample_weight, classifier_names, classes, instance_ids
        As in `EnsembleData`. A row that is never held out, and a fold in which a learner failed,
        are missing cells; over repeats, a cell is the mean of what there is.
    fold_ids : ndarray of shape (n_repeats, n_instances), int
        Number of the fold in which an instance was held out, −1 for never.
    coverage : ndarray of shape (n_classifiers, n_instances), int
        Number of predictions behind every cell.
    spread : ndarray of the shape of R, or None
        Standard deviation over repeats; None with one repeat.
    fit_times : ndarray of shape (n_classifiers, n_folds)
        Seconds of every fit with its predictions, NaN where it failed. Stored fits keep theirs.
    best_iterations : ndarray of shape (n_classifiers, n_folds)
        Trees of boosters that stopped early, else NaN.
    scores : dict of str to ndarray of shape (n_instances, w)
        Out-of-fold margins, as they came, of learners without probabilities.
    models : mapping of str to FittedLearner
        Learners fitted on all rows (``refit="full"`` and ``"both"``), without those that failed.
    fold_models : mapping of str to tuple of (FittedLearner or None)
        Learners fitted in every fold (``refit="bag"`` and ``"both"``).
    test : EnsembleData or None
        Predictions of X_test.
    failures : tuple of Failure
        Fits whose predictions are missing, wholly or in part.
    """

    fold_ids: np.ndarray = field(default_factory=lambda: np.empty((0, 0), dtype=np.int64))
    coverage: np.ndarray = field(default_factory=lambda: np.empty((0, 0), dtype=np.int64))
    spread: np.ndarray | None = None
    fit_times: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    best_iterations: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    scores: Mapping[str, np.ndarray] = field(default_factory=dict)
    models: Mapping[str, FittedLearner] = field(default_factory=dict)
    fold_models: Mapping[str, tuple[FittedLearner | None, ...]] = field(default_factory=dict)
    test: EnsembleData | None = None
    failures: tuple[Failure, ...] = ()

    @property
    def n_repeats(self) -> int:
        """Number of times that instances are held out."""
        return len(self.fold_ids)

    def __repr__(self) -> str:
        uncovered = int((self.fold_ids < 0).all(axis=0).sum())
        return (
            f"OutOfFold{super().__repr__()[8:-1]}; {self.fit_times.shape[1]} folds in "
            f"{self.n_repeats} repeat(s), {uncovered} instances never held out, "
            f"{len(self.failures)} failure(s))"
        )


def assemble_matrix(work: Collection, instance_ids: np.ndarray | None = None) -> OutOfFoldData:
    """Return the ensemble matrix of a collection that has run.

    Parameters
    ----------
    work : Collection
    instance_ids : ndarray of shape (n,), default=None

    Raises
    ------
    RuntimeError
        If no learner has a prediction at all.
    """
    m, n, n_classes = len(work.learners), len(work.rows), len(work.rows.classes)
    names = [learner.name for learner in work.learners]
    P = np.full((m, n, n_classes), np.nan)
    coverage = np.zeros((m, n), dtype=np.int64)
    several = len(work.plan.fold_ids) > 1
    spread = np.full((m, n, n_classes), np.nan) if several else None
    scores: dict[str, np.ndarray] = {}
    calibrators: dict[str, ScoreCalibrator] = {}
    for u, name in enumerate(names):
        raw = _by_repeat(work, u)
        if raw is None:
            continue
        if _is_margins(work, u):
            scores[name] = mean_over_repeats(raw)
            raw, calibrators[name] = _calibrated(work, raw)
        coverage[u] = (~np.isnan(raw[:, :, 0])).sum(axis=0)
        P[u] = mean_over_repeats(raw)
        if spread is not None:
            spread[u] = deviation_over_repeats(raw, P[u])
    if not coverage.any():
        told = by_learner(work.failures).items()
        lines = [f"  {name}, {where}: {'; '.join(reasons)}" for name, (where, reasons) in told]
        raise RuntimeError("\n".join(["No learner has any out-of-fold prediction:", *lines]))
    times, trees = _per_fold(work)
    models, fold_models = _models(work, calibrators)
    return OutOfFoldData(
        P[:, :, 1] if n_classes == 2 else P,
        work.rows.codes,
        sample_weight=work.rows.sample_weight,
        classifier_names=names,
        classes=work.rows.classes,
        instance_ids=instance_ids,
        fold_ids=work.plan.fold_ids,
        coverage=coverage,
        spread=spread if spread is None or n_classes > 2 else spread[:, :, 1],
        fit_times=times,
        best_iterations=trees,
        scores=scores,
        models=models,
        fold_models=fold_models,
        test=_test_data(work, calibrators),
        failures=tuple(work.failures),
    )


def _by_repeat(work: Collection, u: int) -> np.ndarray | None:
    """Return what a learner predicted in every repeat (n_repeats, n, w), None for nothing."""
    raw: np.ndarray | None = None
    for fold, ((_, test), repeat) in enumerate(
        zip(work.plan.splits, work.plan.repeat_of, strict=True)
    ):
        scores = work.outcomes[Task(u, fold)].scores
        if scores is None:
            continue
        if raw is None:
            raw = np.full((len(work.plan.fold_ids), len(work.rows), scores.shape[1]), np.nan)
        raw[repeat, test] = scores
    return raw


def _is_margins(work: Collection, u: int) -> bool:
    return any(work.outcomes[Task(u, fold)].margins for fold in range(len(work.plan)))


def _calibrated(work: Collection, raw: np.ndarray) -> tuple[np.ndarray, ScoreCalibrator]:
    """Return margins as probabilities, each from the other folds' margins, and for new rows."""
    codes, n_classes = work.rows.codes, len(work.rows.classes)
    weights = work.rows.sample_weight
    weights = np.ones(len(codes)) if weights is None else weights
    proba = np.full((*raw.shape[:2], n_classes), np.nan)
    for repeat, margins in enumerate(raw):
        known = ~np.isnan(margins).any(axis=1)
        if not known.any():
            continue
        folds = work.plan.fold_ids[repeat][known]
        if len(np.unique(folds)) < 2:
            keys = content_keys(margins[known])
            folds = stratified_folds(keys, codes[known], weights[known], 5)
        proba[repeat, known] = cross_fitted(
            margins[known], codes[known], weights[known], folds, n_classes
        )
    stacked = raw.reshape(-1, raw.shape[2])
    known = ~np.isnan(stacked).any(axis=1)
    repeated = np.tile(codes, len(raw))[known], np.tile(weights, len(raw))[known]
    return proba, ScoreCalibrator.fit(stacked[known], *repeated, n_classes)


def mean_over_repeats(raw: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis of what is there, NaN where nothing is.

    Parameters
    ----------
    raw : ndarray of shape (n_repeats, n, w)
    """
    if len(raw) == 1:
        return raw[0]
    count = (~np.isnan(raw)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, np.nansum(raw, axis=0) / count, np.nan)


def deviation_over_repeats(raw: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return the standard deviation over the first axis of what is there.

    Parameters
    ----------
    raw : ndarray of shape (n_repeats, n, w)
    mean : ndarray of shape (n, w)
    """
    return np.sqrt(mean_over_repeats((raw - mean) ** 2))


def _per_fold(work: Collection) -> tuple[np.ndarray, np.ndarray]:
    """Return seconds and numbers of trees, each (m, n_folds)."""
    times = np.full((len(work.learners), len(work.plan)), np.nan)
    trees = times.copy()
    for task, outcome in work.outcomes.items():
        if task.fold != ALL_ROWS and outcome.scores is not None:
            times[task.learner, task.fold] = outcome.seconds
            if outcome.n_trees is not None:
                trees[task.learner, task.fold] = outcome.n_trees
    return times, trees


def _models(
    work: Collection, calibrators: Mapping[str, ScoreCalibrator]
) -> tuple[FittedModels, FittedModels]:
    """Return learners fitted on all rows, and in every fold."""
    refit, failed = work.settings.refit, {(f.learner, f.fold) for f in work.failures}
    tasks: dict[str, dict[str, list[Task]]] = {"full": {}, "bag": {}}
    for u, learner in enumerate(work.learners):
        if refit in ("full", "both"):
            tasks["full"][learner.name] = [work.full_task(u)]
        if refit in ("bag", "both"):
            tasks["bag"][learner.name] = [Task(u, fold) for fold in range(len(work.plan))]

    def calibrated(models: Mapping[Task, FittedLearner]) -> dict[Task, FittedLearner]:
        return {
            task: model.calibrated(calibrators.get(model.name)) for task, model in models.items()
        }

    def fit(missing: Any) -> dict[Task, FittedLearner]:
        return calibrated(work.fit_models(missing))

    present = calibrated(work.models)
    gone = [
        task
        for wanted in tasks.values()
        for group in wanted.values()
        for task in group
        if (work.learners[task.learner].name, task.fold) in failed and task not in present
    ]
    full, bag = (FittedModels(tasks[kind], present, gone, fit) for kind in ("full", "bag"))
    return full, bag


def _test_data(work: Collection, calibrators: Mapping[str, ScoreCalibrator]) -> EnsembleData | None:
    """Return predictions of X_test, of the full models or the mean of the folds' models."""
    if work.rows.X_test is None:
        return None
    m, n_classes = len(work.learners), len(work.rows.classes)
    P = np.full((m, work.rows.X_test.shape[0], n_classes), np.nan)
    for u, learner in enumerate(work.learners):
        if work.settings.refit == "bag":
            tasks = [Task(u, fold) for fold in range(len(work.plan))]
        else:
            tasks = [work.full_task(u)]
        parts = []
        for task in tasks:
            outcome = work.outcomes[task]
            if outcome.test_scores is not None:
                parts.append(
                    calibrators[learner.name].predict_proba(outcome.test_scores)
                    if outcome.margins
                    else outcome.test_scores
                )
        if parts:
            P[u] = mean_over_repeats(np.stack(parts))
    return EnsembleData(
        P[:, :, 1] if n_classes == 2 else P,
        classifier_names=[learner.name for learner in work.learners],
        classes=work.rows.classes,
    )
