import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from cfe_stack import CFEnsembleClassifier
from cfe_stack.datasets import make_ensemble
from cfe_stack.runtime.threads import each, n_threads


def test_without_a_number_there_are_as_many_threads_as_blas_may_use():
    with threadpool_limits(1):
        assert n_threads(None) == 1
    assert n_threads(4) == 4
    assert n_threads(-1) >= 1


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.mark.parametrize("threads", [1, 3])
def test_items_are_mapped_in_order_on_as_many_threads_as_there_may_be(threads, monkeypatch):
    monkeypatch.setattr("cfe_stack.runtime.threads.n_threads", lambda n_jobs: threads)
    seen = set()

    def square(number):
        time.sleep(0.02 * (number == 0))
        seen.add(threading.get_ident())
        assert blas_threads() == {1}
        return number**2

    before = blas_threads()
    assert each(square, range(6)) == [0, 1, 4, 9, 16, 25]
    assert blas_threads() == before
    assert len(seen) == 1 if threads == 1 else 1 < len(seen) <= 3
    with pytest.raises(ZeroDivisionError):
        each(lambda number: 1 / number, range(3))


def test_the_number_of_threads_changes_no_bit_of_the_classifier(monkeypatch):
    made = make_ensemble(5, 300, random_state=0)
    scores = []
    for threads in (1, 3):
        for module in ("runtime.threads", "factor_model.passes"):
            monkeypatch.setattr(f"cfe_stack.{module}.n_threads", lambda n_jobs, k=threads: k)
        scores.append(CFEnsembleClassifier().fit(made.R.T, made.labels).decision_function(made.R.T))
    np.testing.assert_array_equal(*scores)
