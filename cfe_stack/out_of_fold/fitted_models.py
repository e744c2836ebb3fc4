"""Fitted learners of a collection, fitted when they are first asked for if they are not there."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cfe_stack.base_learners.fitted_learner import FittedLearner
from cfe_stack.out_of_fold.fold_tasks import ALL_ROWS, Task

Fit = Callable[[Sequence[Task]], Mapping[Task, FittedLearner]]


class FittedModels(Mapping[str, Any]):
    """Fitted learners by name.

    With a cache, predictions outlive a process and models do not; most runs that find all
    predictions need no model. So the missing ones are fitted, all in one queue, at first access.

    Parameters
    ----------
    tasks : mapping of str to sequence of Task
        What to fit for every learner.
    present : mapping of Task to FittedLearner
        What has been fitted already.
    failed : collection of Task
        What is not tried again.
    fit : callable
        Fits tasks, and returns those that succeeded.
    """

    def __init__(
        self,
        tasks: Mapping[str, Sequence[Task]],
        present: Mapping[Task, FittedLearner],
        failed: Sequence[Task],
        fit: Fit,
    ) -> None:
        self._tasks = dict(tasks)
        self._models = dict(present)
        self._failed = set(failed)
        # what fits them holds the training rows, and is let go once nothing is missing
        self._fit: Fit | None = fit if self._missing() else None
        self._stored: dict[str, Any] | None = None

    def _missing(self) -> list[Task]:
        wanted = [task for tasks in self._tasks.values() for task in tasks]
        return [t for t in wanted if t not in self._models and t not in self._failed]

    def _complete(self) -> dict[str, Any]:
        if self._stored is not None:
            return self._stored
        missing = self._missing()
        if missing and self._fit is not None:
            fitted = self._fit(missing)
            self._models |= fitted
            self._failed |= set(missing) - set(fitted)
            self._fit = None
        found: dict[str, Any] = {}
        for name, tasks in self._tasks.items():
            models = tuple(self._models.get(task) for task in tasks)
            if tasks and tasks[0].fold == ALL_ROWS:
                if models[0] is not None:
                    found[name] = models[0]
            else:
                found[name] = models
        return found

    def __getitem__(self, name: str) -> Any:
        return self._complete()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._complete())

    def __len__(self) -> int:
        return len(self._complete())

    def __repr__(self) -> str:
        return f"FittedModels({list(self._tasks if self._stored is None else self._stored)})"

    def __getstate__(self) -> dict[str, Any]:
        # what fits the missing ones holds the training data, which a file should not
        return {"_stored": self._complete()}
