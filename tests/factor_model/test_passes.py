import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from cfe_stack import CFEnsembleTrainer, EnsembleData
from cfe_stack.datasets import make_ensemble
from cfe_stack.factor_model.passes import MAX_BLOCK_ROWS, N_RUN_BLOCKS, Passes, pass_block_size

N = 5000
DATA = EnsembleData(np.arange(2 * N).reshape(2, N) / (2 * N))


def spans(blocks, workspace, extra):
    return [(block.start, block.stop) for block in blocks], extra


@pytest.mark.parametrize("n_jobs", [1, 2, 5])
@pytest.mark.parametrize("size", [256, 1000, 8192])
def test_runs_come_back_in_order_and_cover_everything_once(n_jobs, size):
    calls = []

    def extra(start, stop):
        calls.append((start, stop))
        return start

    def slow_at_first(blocks, workspace, first):
        time.sleep(0.02 * (first == 0))
        return spans(blocks, workspace, first)

    with Passes(n_jobs) as passes:
        runs = list(passes.over(DATA, slow_at_first, size=size, extra=extra))
    assert [first for _, first in runs] == [start for start, _ in calls]
    blocks = [block for run, _ in runs for block in run]
    assert [start for start, _ in blocks] == list(range(0, N, size))
    assert [stop for _, stop in blocks] == [*range(size, N, size), N]
    assert all(len(run) == N_RUN_BLOCKS for run, _ in runs[:-1])


def test_few_runs_are_under_way_at_a_time():
    started, limit = [], 2 * 2 + 1

    def count(blocks, workspace, extra):
        started.append(extra)

    with Passes(2) as passes:
        runs = passes.over(DATA, count, size=64, extra=lambda start, stop: start)
        for collected, _ in enumerate(runs, 1):
            assert len(started) <= collected + limit
    assert len(started) == -(-N // (64 * N_RUN_BLOCKS)) > 2 * limit


def test_an_error_in_a_thread_is_raised_and_ends_the_pass():
    def fail(blocks, workspace, start):
        if start > 1000:
            raise RuntimeError(f"broken at {start}")
        return start

    with (
        Passes(3) as passes,
        pytest.raises(RuntimeError, match=f"broken at {256 * N_RUN_BLOCKS}"),
    ):
        list(passes.over(DATA, fail, size=256, extra=lambda start, stop: start))


def test_blas_has_one_thread_inside_and_its_own_number_again_outside():
    def blas():
        return {
            p["filepath"]: p["num_threads"] for p in threadpool_info() if "blas" in p["user_api"]
        }

    before = blas()
    with Passes(2):
        assert set(blas().values()) == {1}
    assert blas() == before


def test_threads_have_workspaces_of_their_own():
    seen = {}

    def remember(blocks, workspace, extra):
        time.sleep(0.01)
        seen.setdefault(threading.get_ident(), set()).add(id(workspace))

    with Passes(2) as passes:
        list(passes.over(DATA, remember, size=64))
        list(passes.over(DATA, remember, size=64))
    assert len(seen) == 2
    assert all(len(of_a_thread) == 1 for of_a_thread in seen.values())
    assert len(set.union(*seen.values())) == 2


@pytest.mark.parametrize("value", [0, True, 1.5, "all"])
def test_a_number_of_threads_that_is_none_is_refused(value):
    with pytest.raises(ValueError, match=f"n_jobs must be None .* got {value!r}"):
        CFEnsembleTrainer(n_jobs=value).fit(DATA)


@pytest.mark.parametrize(("m", "n_classes"), [(1, 2), (50, 2), (200, 2), (5, 20)])
@pytest.mark.parametrize("d", [1, 16, 64])
def test_block_sizes_shrink_with_what_an_instance_needs(m, n_classes, d):
    R = np.full((m, 3), 0.5) if n_classes == 2 else np.full((m, 3, n_classes), 1 / n_classes)
    size = pass_block_size(EnsembleData(R), d)
    assert size % 256 == 0
    assert 256 <= size <= MAX_BLOCK_ROWS
    assert pass_block_size(EnsembleData(R), d + 16) <= size


SETTINGS = {
    "plain": (2, np.float32, {}),
    "logit, standardized": (2, np.float64, {"link": "logit", "standardize": True}),
    "three classes": (3, np.float32, {"init": "spectral", "confidence": "adaptive"}),
    "majorized": (2, np.float64, {"supervision": "majorize"}),
    "solved": (2, np.float64, {"aggregator_solver": "converged", "confidence": "uniform"}),
}


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_the_number_of_threads_changes_no_bit(setting, monkeypatch):
    n_classes, dtype, parameters = setting
    made = make_ensemble(6, 9000, n_classes, missing_rate=0.1, random_state=0)
    labels = np.where(np.arange(9000) % 3 == 0, made.labels, -1)
    data = EnsembleData(made.R.astype(dtype), labels)
    monkeypatch.setattr("cfe_stack.factor_model.passes.MAX_BLOCK_ROWS", 512)

    def fit(n_jobs):
        return CFEnsembleTrainer(
            latent_dim=3, max_iter=4, tol=0, random_state=0, n_jobs=n_jobs, **parameters
        ).fit(data)

    one = fit(1)
    for other in (fit(2), fit(3)):
        np.testing.assert_array_equal(other.classifier_factors_, one.classifier_factors_)
        np.testing.assert_array_equal(other.instance_factors_, one.instance_factors_)
        np.testing.assert_array_equal(other.weights_, one.weights_)
        assert other.history_.records == one.history_.records
        np.testing.assert_array_equal(other.predict_proba(data), one.predict_proba(data))
