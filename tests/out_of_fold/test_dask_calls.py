from contextlib import contextmanager
from operator import add
from types import SimpleNamespace

import numpy as np
import pytest

from cfe_stack.out_of_fold import dask_calls
from cfe_stack.out_of_fold.dask_calls import NoWorkersError, dask_results

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore")


@contextmanager
def cluster(**options):
    """Yield what joblib's backend of a small cluster offers."""
    with (
        distributed.LocalCluster(threads_per_worker=1, dashboard_address=None, **options) as made,
        distributed.Client(made) as client,
    ):
        yield SimpleNamespace(client=client, submit_kwargs={})


class Sent:
    """Counts how often it is pickled."""

    times = 0

    def __reduce__(self):
        Sent.times += 1
        return int, (5,)


def test_what_all_calls_share_is_sent_once():
    Sent.times = 0
    with cluster(n_workers=1, processes=False) as backend:
        shared = Sent()
        found = list(dask_results(backend, ((add, (shared, k), {}) for k in range(6)), 2))
    assert sorted(found) == [5, 6, 7, 8, 9, 10]
    assert Sent.times == 1


def total_or_error(shared, fine):
    if not fine:
        raise ArithmeticError("as the scheduler's KilledWorker, which takes many seconds")
    return shared.sum()


def test_an_error_waits_for_the_calls_beside_it_and_nothing_follows_it():
    calls = [(total_or_error, (np.ones(3), fine), {}) for fine in (False, True, True)]
    with cluster(n_workers=1, processes=False) as backend:
        results = dask_results(backend, calls, 3)
        assert [next(results), next(results)] == [3.0, 3.0]
        with pytest.raises(ArithmeticError, match="KilledWorker"):
            next(results)
        waiting = iter(calls)
        with pytest.raises(ArithmeticError, match="KilledWorker"):
            next(dask_results(backend, waiting, 1))
    assert len(list(waiting)) == 2


def test_a_cluster_without_workers_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(dask_calls, "MAX_WAIT_S", 0.2)
    monkeypatch.setattr(dask_calls, "_LOOK", 0.1)
    with (
        cluster(n_workers=0, processes=False) as backend,
        pytest.raises(NoWorkersError, match="no worker for 0.2 s. Start workers"),
    ):
        list(dask_results(backend, [(add, (1, 2), {})], 2))
