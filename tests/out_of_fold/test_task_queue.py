import io
import sys
import threading
import time
from concurrent.futures import BrokenExecutor

import pytest
from joblib import delayed, parallel_config
from joblib.parallel import get_active_backend
from threadpoolctl import threadpool_info

from cfe_stack.out_of_fold.fold_tasks import ALL_ROWS, Outcome, Task
from cfe_stack.out_of_fold.task_queue import LongestFirst, run_queue, threads_per_fit


def tasks(n_learners=3, n_folds=2):
    return [Task(u, fold) for u in range(n_learners) for fold in (*range(n_folds), ALL_ROWS)]


def test_known_times_decide_the_order():
    queue = LongestFirst(tasks(), {0: 1.0, 1: 3.0, 2: 2.0}, 2)
    order = [(task.learner, task.fold) for task in queue]
    # with two folds, a fit on all rows takes twice as long as one fold
    assert order == [
        (1, -1), (2, -1), (1, 0), (1, 1), (0, -1), (2, 0), (2, 1), (0, 0), (0, 1),
    ]  # fmt: skip


def test_unknown_learners_are_tried_first_and_then_known():
    queue = LongestFirst(tasks(n_folds=4), {}, 4)
    assert [next(queue).learner for _ in range(3)] == [0, 1, 2]
    queue.learn(Outcome(Task(0, 0), seconds=1e-9))
    queue.learn(Outcome(Task(2, 0), seconds=5.0))
    # learner 1 is still running, but not for five seconds yet
    assert [next(queue).learner for _ in range(4)] == [2, 2, 2, 2]
    assert next(queue).learner == 1


@pytest.mark.parametrize(
    ("n_jobs", "n_tasks", "threads"), [(None, 9, None), (1, 9, 1), (4, 9, 1), (4, 2, 2), (6, 4, 1)]
)
def test_threads_times_fits_stay_in_the_budget(n_jobs, n_tasks, threads):
    assert threads_per_fit(n_jobs, n_tasks) == threads
    if threads is not None:
        assert threads * min(n_jobs, n_tasks) <= n_jobs


class Running:
    """Counts how many calls run at once."""

    def __init__(self):
        self.now, self.most, self.blas, self.lock = 0, 0, set(), threading.Lock()

    def __call__(self, task, threads):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            found = [i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"]
            self.blas |= set(found)
        time.sleep(0.01)
        with self.lock:
            self.now -= 1
        return Outcome(task, seconds=0.01)


def run(running, n_jobs, todo, **options):
    return run_queue(
        todo,
        lambda task, threads: delayed(running)(task, threads),
        n_jobs=n_jobs,
        seconds={},
        n_folds=2,
        progress=False,
        **options,
    )


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_every_task_is_run_once_and_no_more_at_a_time_than_allowed(n_jobs):
    running = Running()
    with parallel_config(backend="threading"):
        done = [outcome.task for outcome in run(running, n_jobs, tasks())]
    assert sorted(done, key=repr) == sorted(tasks(), key=repr)
    assert running.most == n_jobs
    assert running.blas <= {1}


def test_no_task_starts_no_worker():
    assert list(run(Running(), 2, [])) == []


def test_backends_without_streams_are_waited_for(monkeypatch):
    with parallel_config(backend="threading"):
        backend, _ = get_active_backend()
        monkeypatch.setattr(type(backend), "supports_return_generator", False)
        assert len(list(run(Running(), 2, tasks()))) == len(tasks())


class Unreliable(Running):
    """Some tasks lose their worker: for good, or unless they run alone."""

    def __call__(self, task, threads):
        outcome = super().__call__(task, threads)
        if task == Task(0, 0) or (task == Task(1, 0) and self.most > 1):
            self.most = 1
            raise BrokenExecutor("the worker is gone\nexit code -9")
        return outcome


def test_what_a_lost_worker_ran_is_run_once_more_alone_and_then_given_up():
    with parallel_config(backend="threading"):
        done = list(run(Unreliable(), 3, tasks()))
    assert sorted((o.task for o in done), key=repr) == sorted(tasks(), key=repr)
    reason = "BrokenExecutor, also when it ran alone: the worker is gone"
    assert {o.task: o.failure for o in done if o.failure} == {Task(0, 0): reason}


def test_a_lost_worker_ends_everything_where_errors_do():
    with parallel_config(backend="threading"), pytest.raises(BrokenExecutor) as error:
        list(run(Unreliable(), 3, tasks(), forgiving=False))
    assert "with memory= finished fits are kept" in error.value.__notes__[0]


def test_a_backend_that_takes_no_task_is_an_error(monkeypatch):
    def refuse(self, *args, **options):
        raise OSError("no room for a pool")

    monkeypatch.setattr("cfe_stack.out_of_fold.task_queue.Parallel.__call__", refuse)
    with parallel_config(backend="threading"), pytest.raises(OSError, match="no room"):
        list(run(Running(), 3, tasks()))


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("progress", [True, False])
def test_a_bar_is_shown_where_it_is_asked_for(monkeypatch, progress):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    done = list(
        run_queue(
            tasks(), lambda *a: delayed(Running())(*a), n_jobs=1, seconds={}, n_folds=2,
            progress=progress,
        )
    )  # fmt: skip
    assert len(done) == 9
    assert ("collect" in sys.stderr.getvalue()) == progress
    assert ("/9 [" in sys.stderr.getvalue()) == progress
