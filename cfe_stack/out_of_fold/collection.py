"""Running the fits of a collection: what is stored is read, what is missing is fitted."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from joblib import delayed
from sklearn import get_config

from cfe_stack.base_learners.fitted_learner import FittedLearner
from cfe_stack.cross_validation.fold_plan import FoldPlan
from cfe_stack.out_of_fold.cache import CacheWarning, DamagedEntryError, FoldCache
from cfe_stack.out_of_fold.fingerprints import (
    FORMAT,
    Fingerprint,
    UncacheableError,
    library_versions,
)
from cfe_stack.out_of_fold.fitting import LearnerPlan, TrainingRows
from cfe_stack.out_of_fold.fold_tasks import ALL_ROWS, Outcome, Task, Terms, describe_task, run_task
from cfe_stack.out_of_fold.task_queue import run_queue
from cfe_stack.runtime.warning_location import user_stacklevel


class FailedLearnerWarning(UserWarning):
    """A learner failed in a fold, and its predictions there are missing."""


@dataclass(frozen=True)
class Failure:
    """A fit without usable predictions.

    Parameters
    ----------
    learner : str
    fold : int
        Number of the fold; −1 is the fit on all rows.
    reason : str
    """

    learner: str
    fold: int
    reason: str


def by_learner(failures: Sequence[Failure]) -> dict[str, tuple[str, list[str]]]:
    """Return where every learner failed, in words, and the reasons, each once."""
    grouped: dict[str, list[Failure]] = {}
    for failure in failures:
        grouped.setdefault(failure.learner, []).append(failure)
    return {
        name: (
            ", ".join(describe_task(Task(0, fold)) for fold in sorted(f.fold for f in failed)),
            list(dict.fromkeys(failure.reason for failure in failed)),
        )
        for name, failed in grouped.items()
    }


@dataclass(frozen=True, eq=False)
class Settings:
    """How fits are run.

    Parameters
    ----------
    refit : {"full", "bag", "both"} or None
    n_jobs : int or None
    on_error : {"missing", "raise"}
    time_limit : float or None
    cache : FoldCache or None
    progress : bool
    """

    refit: str | None
    n_jobs: int | None
    on_error: str
    time_limit: float | None
    cache: FoldCache | None
    progress: bool


@dataclass(eq=False)
class Collection:
    """All fits of one call, and what came of them.

    Parameters
    ----------
    rows : TrainingRows
    plan : FoldPlan
    learners : tuple of LearnerPlan
    settings : Settings
    """

    rows: TrainingRows
    plan: FoldPlan
    learners: tuple[LearnerPlan, ...]
    settings: Settings
    outcomes: dict[Task, Outcome] = field(default_factory=dict)
    models: dict[Task, FittedLearner] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._addresses = self._learner_addresses()
        self._store_errors: list[str] = []
        # models may be fitted when the caller's configuration is another one
        self._config = get_config()

    def run(self) -> None:
        """Read or fit everything that the matrix and the test predictions need."""
        folds = [Task(u, fold) for u in range(len(self.learners)) for fold in range(len(self.plan))]
        lazy = self.settings.cache is not None
        full = self.settings.refit in ("full", "both") and (
            not lazy or self.rows.X_test is not None
        )
        refits = [self.full_task(u) for u, p in enumerate(self.learners) if full and not p.stopping]
        self._collect([*folds, *refits], lazy)
        late = [self.full_task(u) for u, p in enumerate(self.learners) if full and p.stopping]
        self._collect(late, lazy)
        self._warn()

    def full_task(self, u: int) -> Task:
        """Return the fit of a learner on all rows, with as many trees as its folds needed.

        Parameters
        ----------
        u : int
        """
        if self.learners[u].stopping is None:
            return Task(u, ALL_ROWS)
        needed = [
            outcome.n_trees
            for fold in range(len(self.plan))
            if (outcome := self.outcomes[Task(u, fold)]).n_trees is not None
        ]
        return Task(u, ALL_ROWS, max(1, round(float(np.median(needed)))) if needed else None)

    def fit_models(self, tasks: Sequence[Task]) -> dict[Task, FittedLearner]:
        """Fit learners again whose predictions are there already; warn about those that fail.

        Parameters
        ----------
        tasks : sequence of Task
        """
        before = len(self.failures)
        for outcome in self._run({task: Terms(keep_model=True) for task in tasks}):
            self._keep(outcome)
        self._warn(before)
        return {task: self.models[task] for task in tasks if task in self.models}

    def _collect(self, tasks: list[Task], lazy: bool) -> None:
        waiting: dict[Task, Terms] = {}
        for task in tasks:
            terms = self._terms(task, lazy)
            known = self._load(task, terms)
            if known is None:
                waiting[task] = terms
            else:
                self.outcomes[task] = known
        for outcome in self._run(waiting):
            self.outcomes[outcome.task] = outcome
            self._keep(outcome)

    def _terms(self, task: Task, lazy: bool) -> Terms:
        """Return what is wanted of a fit, and where it is stored."""
        refit, full = self.settings.refit, task.fold == ALL_ROWS
        keep = full or refit in ("bag", "both")
        predicts = self.rows.X_test is not None and (full or refit == "bag")
        address = test_address = None
        base = self._addresses[task.learner]
        if base is not None:
            if full:
                address = Fingerprint(base, "all rows", task.n_trees).digest
            else:
                address = Fingerprint(base, *self.plan.splits[task.fold]).digest
            if predicts:
                test_address = Fingerprint(address, "test", self._test_digest).digest
        return Terms(
            keep_model=keep,
            predict_test=predicts,
            cache=self.settings.cache if base is not None else None,
            address=address,
            test_address=test_address,
        )

    def _run(self, waiting: Mapping[Task, Terms]) -> Any:
        """Run fits in one queue and yield their outcomes."""
        settings = self.settings

        def call(task: Task, threads: int | None) -> Any:
            terms = replace(
                waiting[task],
                threads=threads,
                on_error=settings.on_error,
                time_limit=settings.time_limit,
                config=self._config,
            )
            split = None if task.fold == ALL_ROWS else self.plan.splits[task.fold]
            return delayed(run_task)(
                self.rows, split, self.learners[task.learner], task, terms, self.plan.ordered
            )

        return run_queue(
            list(waiting),
            call,
            n_jobs=settings.n_jobs,
            seconds=self._known_seconds(),
            n_folds=len(self.plan),
            progress=settings.progress,
            forgiving=settings.on_error == "missing",
        )

    def _keep(self, outcome: Outcome) -> None:
        task, name = outcome.task, self.learners[outcome.task.learner].name
        if outcome.model is not None:
            self.models[task] = outcome.model
        if outcome.failure is not None:
            self.failures.append(Failure(name, task.fold, outcome.failure))
        if outcome.store_error is not None:
            self._store_errors.append(outcome.store_error)

    def _known_seconds(self) -> dict[int, float]:
        known: dict[int, list[float]] = {}
        for task, outcome in self.outcomes.items():
            if task.fold != ALL_ROWS and np.isfinite(outcome.seconds):
                known.setdefault(task.learner, []).append(outcome.seconds)
        return {u: float(np.median(seconds)) for u, seconds in known.items()}

    def _learner_addresses(self) -> list[str | None]:
        """Return what all predictions of a learner depend on, None where it cannot be said."""
        if self.settings.cache is None:
            return [None] * len(self.learners)
        rows = self.rows
        data = Fingerprint(FORMAT, rows.X, rows.labels, rows.sample_weight).digest
        if rows.X_test is not None:
            self._test_digest = Fingerprint(rows.X_test).digest
        addresses: list[str | None] = []
        for learner in self.learners:
            stopping = learner.stopping
            try:
                addresses.append(
                    Fingerprint(
                        data,
                        library_versions([learner.template]),
                        learner.template,
                        learner.fit_params,
                        learner.stack_method,
                        None if stopping is None else vars(stopping),
                        None if stopping is None else rows.groups,
                        self.plan.ordered,
                    ).digest
                )
            except UncacheableError as error:
                addresses.append(None)
                warnings.warn(
                    f"Predictions of {learner.name!r} are not stored in the cache: {error}.",
                    CacheWarning,
                    stacklevel=user_stacklevel(),
                )
        return addresses

    def _load(self, task: Task, terms: Terms) -> Outcome | None:
        """Return the stored outcome of a fit, None if any part of it is missing."""
        if terms.cache is None or terms.address is None:
            return None
        try:
            entries = [
                None if address is None else terms.cache.load(address)
                for address in (
                    None if task.fold == ALL_ROWS else terms.address,
                    terms.test_address,
                )
            ]
        except DamagedEntryError as error:
            warnings.warn(
                f"The cache entry of {self.learners[task.learner].name!r}, {describe_task(task)}, "
                f"is corrupt and will be recomputed: {error}.",
                CacheWarning,
                stacklevel=user_stacklevel(),
            )
            return None
        scores, test = entries
        lacking = (task.fold != ALL_ROWS and scores is None) or (
            terms.predict_test and test is None
        )
        found = scores or test
        if lacking or found is None:
            return None
        return Outcome(
            task,
            None if scores is None else scores.scores,
            None if test is None else test.scores,
            float(found.details["seconds"]),
            found.details["n_trees"],
            margins=found.details["margins"],
        )

    def _warn(self, start: int = 0) -> None:
        """Name failed fits and what could not be stored, each once."""
        for name, (where, reasons) in by_learner(self.failures[start:]).items():
            more = f" ({len(reasons) - 1} other reason(s): see `failures`)" if reasons[1:] else ""
            warnings.warn(
                f"The learner {name!r} failed in {where}, and its predictions there are missing: "
                f"{reasons[0]}{more}",
                FailedLearnerWarning,
                stacklevel=user_stacklevel(),
            )
        if self._store_errors:
            warnings.warn(
                f"{len(self._store_errors)} prediction(s) could not be stored in the cache and "
                f"would be computed again in another run: {self._store_errors[0]}",
                CacheWarning,
                stacklevel=user_stacklevel(),
            )
            self._store_errors.clear()
