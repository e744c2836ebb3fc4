import threading
import time

import numpy as np
import pytest
from counting_learners import CountedTree
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from threadpoolctl import threadpool_info

from cfe_stack.out_of_fold.cache import FoldCache
from cfe_stack.out_of_fold.fitting import LearnerPlan, TrainingRows
from cfe_stack.out_of_fold.fold_tasks import ALL_ROWS, Task, Terms, run_task, within

X, Y = load_iris(return_X_y=True)
ROWS = TrainingRows(X, Y, Y, np.unique(Y), X_test=X[:10])
SPLIT = (np.arange(0, 150, 2), np.arange(1, 150, 2))


class Threads(ClassifierMixin, BaseEstimator):
    """Notes with how many threads it is fitted."""

    seen: list = []

    def __init__(self, n_jobs=8):
        self.n_jobs = n_jobs

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        openmp = {i["num_threads"] for i in threadpool_info() if i["user_api"] == "openmp"}
        Threads.seen.append((self.n_jobs, openmp))
        return self

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def test_a_fit_keeps_to_its_threads_and_the_template_is_left_alone():
    Threads.seen = []
    template = Threads()
    for threads in (1, None):
        run_task(ROWS, SPLIT, LearnerPlan("it", template), Task(0, 0), Terms(threads))
    (limited, openmp), (free, _) = Threads.seen
    assert limited == 1
    assert openmp <= {1}
    assert free == 8
    assert template.n_jobs == 8
    assert not hasattr(template, "classes_")


def test_a_finished_fit_is_stored_before_it_is_returned(tmp_path):
    cache = FoldCache(tmp_path)
    terms = Terms(predict_test=True, cache=cache, address="aa1", test_address="aa2")
    outcome = run_task(ROWS, SPLIT, LearnerPlan("it", CountedTree()), Task(0, 3), terms)
    assert outcome.model is None
    np.testing.assert_array_equal(cache.load("aa1").scores, outcome.scores)
    np.testing.assert_array_equal(cache.load("aa2").scores, outcome.test_scores)
    assert cache.load("aa1").details["fold"] == 3
    assert cache.load("aa1").details["seconds"] == outcome.seconds > 0


def test_a_fit_on_all_rows_predicts_no_rows_held_out():
    terms = Terms(keep_model=True, predict_test=True)
    outcome = run_task(ROWS, None, LearnerPlan("it", CountedTree()), Task(0, ALL_ROWS), terms)
    assert outcome.scores is None
    np.testing.assert_array_equal(outcome.test_scores, outcome.model.predict_proba(X[:10]))


def test_a_call_in_time_returns_or_raises_what_it_does():
    assert within(None, lambda: 3) == 3
    assert within(5, lambda: 4) == 4
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 / 0)


def test_a_call_that_is_given_up_ends_at_its_next_step():
    count = []

    def forever():
        while True:
            count.append(1)
            time.sleep(0.001)

    before = threading.active_count()
    with pytest.raises(TimeoutError, match=r"not finished after 0.05 s \(time_limit\)"):
        within(0.05, forever)
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before
    steps = len(count)
    time.sleep(0.02)
    assert len(count) == steps
