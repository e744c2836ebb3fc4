"""One flat queue of fits over joblib, the longest first, with a budget of threads."""

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import closing, nullcontext
from typing import Any

from joblib import Parallel, effective_n_jobs, parallel
from threadpoolctl import threadpool_limits

from cfe_stack.out_of_fold.dask_calls import NoWorkersError, dask_results
from cfe_stack.out_of_fold.fold_tasks import ALL_ROWS, Outcome, Task
from cfe_stack.runtime.progress import progress_bar

LOST_WORKER = (
    "A worker process died. on_error='missing' runs what it did once more, alone, and goes on "
    "without what fails again; with memory= finished fits are kept for another run. If memory ran "
    "out, a smaller n_jobs helps."
)
Call = tuple[Callable[..., Outcome], tuple[Any, ...], dict[str, Any]]
"""A delayed call of joblib."""


class LongestFirst:
    """Hands out tasks, those first that are expected to take longest.

    How long a learner takes is known from earlier runs or learned from its first fit; as long as
    that runs, it takes at least as long as it has been running.

    Parameters
    ----------
    tasks : sequence of Task
    seconds : dict of int to float
        Known seconds of one fold by learner.
    n_folds : int
        A fit on all rows takes longer than one fold by that much.
    """

    def __init__(self, tasks: Sequence[Task], seconds: dict[int, float], n_folds: int) -> None:
        self._waiting = list(tasks)
        self._seconds = dict(seconds)
        self._started: dict[int, float] = {}
        self._growth = n_folds / max(n_folds - 1, 1)
        self._running: list[Task] = []
        self._lock = threading.Lock()

    def expected(self, task: Task) -> float:
        """Return the seconds a task is expected to take; infinity where nothing is known.

        Parameters
        ----------
        task : Task
        """
        growth = self._growth if task.fold == ALL_ROWS else 1.0
        if task.learner in self._seconds:
            return self._seconds[task.learner] * growth
        if task.learner in self._started:
            return (time.perf_counter() - self._started[task.learner]) * growth
        return float("inf")

    def __iter__(self) -> Iterator[Task]:
        return self

    def __next__(self) -> Task:
        with self._lock:
            if not self._waiting:
                raise StopIteration
            task = max(self._waiting, key=self.expected)
            self._waiting.remove(task)
            self._running.append(task)
            self._started.setdefault(task.learner, time.perf_counter())
            return task

    def learn(self, outcome: Outcome) -> None:
        """Note how long a fit took.

        Parameters
        ----------
        outcome : Outcome
        """
        with self._lock:
            self._running.remove(outcome.task)
            growth = self._growth if outcome.task.fold == ALL_ROWS else 1.0
            self._seconds[outcome.task.learner] = outcome.seconds / growth

    @property
    def running(self) -> tuple[Task, ...]:
        """Tasks that were handed out and have not come back."""
        with self._lock:
            return tuple(self._running)

    def __len__(self) -> int:
        with self._lock:
            return len(self._waiting) + len(self._running)


def threads_per_fit(n_jobs: int | None, n_tasks: int) -> int | None:
    """Return how many threads one fit may use, so that all running fits keep to `n_jobs`.

    Parameters
    ----------
    n_jobs : int or None
        None outside of a parallel configuration sets no limit.
    n_tasks : int
    """
    total = effective_n_jobs(n_jobs)
    if n_jobs is None and total == 1:
        return None
    return max(1, total // max(1, min(total, n_tasks)))


def run_queue(
    tasks: Sequence[Task],
    call: Callable[[Task, int | None], Call],
    *,
    n_jobs: int | None,
    seconds: dict[int, float],
    n_folds: int,
    progress: bool,
    forgiving: bool = True,
) -> Iterator[Outcome]:
    """Run all tasks under the active joblib backend, and yield outcomes as they come in.

    Parameters
    ----------
    tasks : sequence of Task
    call : callable
        Returns the delayed call that runs a task with a number of threads.
    n_jobs : int or None
    seconds : dict of int to float
        Known seconds of one fold by learner.
    n_folds : int
    progress : bool
    forgiving : bool, default=True
        Whether a task whose worker dies is run once more, alone, and then given up, instead of
        ending everything.

    Yields
    ------
    Outcome

    Raises
    ------
    NoWorkersError
        If a dask cluster loses all its workers.
    """
    if not tasks:
        return
    threads = threads_per_fit(n_jobs, len(tasks))
    workers = min(effective_n_jobs(n_jobs), len(tasks))
    # fits that share this process share its BLAS, whose threads are set for all of them at once
    limit = nullcontext() if threads is None else threadpool_limits(threads, user_api="blas")
    outcomes = _outcomes(
        tasks, call, workers, threads, LongestFirst(tasks, seconds, n_folds), forgiving
    )
    with limit, closing(outcomes):
        yield from progress_bar(outcomes, len(tasks), "collect", progress, "fit")


def _outcomes(
    tasks: Sequence[Task],
    call: Callable[[Task, int | None], Call],
    workers: int,
    threads: int | None,
    queue: LongestFirst,
    forgiving: bool,
) -> Generator[Outcome, None, None]:
    """Yield outcomes as they come in; a single worker takes the tasks as they stand."""
    backend = parallel.get_active_backend()[0]
    if workers == 1 and not hasattr(backend, "client"):
        for task in tasks:
            function, args, kwargs = call(task, threads)
            yield function(*args, **kwargs)
        return
    while len(queue):
        try:
            for outcome in _results(backend, (call(task, threads) for task in queue), workers):
                queue.learn(outcome)
                yield outcome
        except NoWorkersError:
            raise
        except Exception as error:
            # a backend that fails before it takes a task would fail again
            if not (forgiving and queue.running):
                if isinstance(error, BrokenExecutor):
                    error.add_note(LOST_WORKER)
                raise
        # a worker that dies takes others' fits with it: alone, only the one that kills it is lost
        for task in queue.running:
            outcome = _alone(backend, task, call(task, threads))
            queue.learn(outcome)
            yield outcome


def _alone(backend: Any, task: Task, call: Call) -> Outcome:
    """Run a task whose worker was lost once more, with nothing beside it."""
    start = time.perf_counter()
    try:
        (outcome,) = _results(backend, [call], 2)
    except NoWorkersError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}, also when it ran alone: {error}".partition("\n")[0]
        return Outcome(task, seconds=time.perf_counter() - start, failure=reason)
    return outcome


def _results(backend: Any, calls: Iterable[Call], workers: int) -> Iterator[Outcome]:
    """Yield what calls return, as they come in."""
    if hasattr(backend, "client"):
        yield from dask_results(backend, calls, workers + 1)
        return
    streams = getattr(backend, "supports_return_generator", False)
    pool = Parallel(
        n_jobs=workers,
        return_as="generator_unordered" if streams else "list",
        pre_dispatch=workers + 1,
        batch_size=1,
    )
    yield from pool(calls)
