"""Training that is killed, interrupted or runs out of memory in a process of its own.

What the estimators look like afterwards, whatever the place, is tests/runtime/test_rollback.py;
here the signals and the lack of memory are real, and what was collected before has to be on the
disk.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from counting_learners import CountedTree, fits
from sklearn.datasets import load_iris

from cfe_stack import collect_out_of_fold

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(os.name != "posix", reason="signals and limits are POSIX"),
]

# ENDLESS trains until it is stopped, and says so; every script ends with what is left
PREPARE = """
import logging, pickle, sys, warnings
import numpy as np
sys.path.insert(0, sys.argv[1])
from counting_learners import CountedTree
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from stacked_columns import stacked
from cfe_stack import (
    CFEnsembleClassifier, CFEnsembleTrainer, CFEStackingClassifier, EnsembleData
)

P, codes, R = stacked(5, 90)
X, y = load_iris(return_X_y=True)
ENDLESS = CFEnsembleTrainer(latent_dim=2, max_iter=10**9, tol=0, verbose=1, random_state=0)
QUICK = CFEnsembleTrainer(latent_dim=2, max_iter=3, tol=0, random_state=0)
logging.basicConfig(level=logging.INFO, stream=sys.stdout)

def stack(trainer, cache, log):
    final = CFEnsembleClassifier(trainer, aggregator="log_pool", cv=2)
    bases = [(f"tree {i}", CountedTree(log, i)) for i in range(3)]
    return CFEStackingClassifier(bases, final, cv=3, memory=cache, progress=False)

def report(model, X):
    try:
        model.predict(X)
    except NotFittedError:
        print("not fitted", flush=True)
"""
TRAINER = """
model = CFEnsembleTrainer(**ENDLESS.get_params())
try:
    model.fit(EnsembleData(R, codes))
except KeyboardInterrupt:
    assert not [name for name in vars(model) if name.endswith("_")]
    model.set_params(max_iter=3).fit(EnsembleData(R, codes))
    same = QUICK.fit(EnsembleData(R, codes)).predict_proba(R) == model.predict_proba(R)
    print("interrupted", same.all(), flush=True)
"""
CLASSIFIER = """
model = CFEnsembleClassifier(ENDLESS, aggregator="log_pool")
try:
    model.fit(P, codes)
except KeyboardInterrupt:
    assert not [name for name in vars(model) if name.endswith("_")]
    same = pickle.dumps(model.set_params(trainer=QUICK).fit(P, codes).predict_proba(P))
    fresh = CFEnsembleClassifier(QUICK, aggregator="log_pool").fit(P, codes).predict_proba(P)
    print("interrupted", same == pickle.dumps(fresh), flush=True)
"""
SEARCH = """
grid = {"final_estimator__trainer": [QUICK, ENDLESS]}
search = GridSearchCV(stack(QUICK, *sys.argv[2:4]), grid, cv=2, scoring="neg_log_loss")
try:
    search.fit(X, y)
except KeyboardInterrupt:
    print("interrupted", not hasattr(search, "best_params_"), flush=True)
"""
STACK = """
model = stack({trainer}, *sys.argv[2:4]).fit(X, y)
np.save(sys.argv[4], model.ensemble_data_.R)
"""


def command(script, *arguments):
    start = [sys.executable, "-W", "ignore", "-c", PREPARE + script, str(Path(__file__).parent)]
    return [*start, *map(str, arguments)]


def begun(script, *arguments, **options):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # jobs in the background of a shell begin without the signal
    options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(command(script, *arguments), **pipes, **options)


def started(script, *arguments):
    """Run a script until it has trained for some sweeps."""
    child = begun(script, *arguments)
    for line in child.stdout:
        if "sweep 5:" in line:
            return child
    raise AssertionError(child.communicate()[1])


def finished(script, *arguments):
    done = subprocess.run(command(script, *arguments), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


def interrupted(child):
    child.send_signal(signal.SIGINT)
    try:
        out, errors = child.communicate(timeout=100)
    finally:
        child.kill()
    assert child.returncode == 0, errors
    return [line for line in out.splitlines() if not line.startswith("INFO")]


@pytest.mark.parametrize("script", [TRAINER, CLASSIFIER], ids=["trainer", "classifier"])
def test_ctrl_c_in_training_leaves_an_estimator_that_was_never_fitted(script):
    assert interrupted(started(script)) == ["interrupted True"]


def test_ctrl_c_in_a_search_keeps_what_was_collected(tmp_path):
    log, cache = tmp_path / "log", tmp_path / "cache"

    def stored():
        return {path: path.stat().st_mtime_ns for path in cache.rglob("*.*")}

    assert interrupted(started(SEARCH, cache, log)) == ["interrupted True"]
    before = stored()
    assert len(before) == 2 * 9  # 3 learners in 3 folds of both splits
    finished(SEARCH.replace("ENDLESS]", "QUICK]"), cache, log)
    after = stored()
    assert len(after) == 3 * 9  # and of all rows
    assert before.items() <= after.items()


@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGTERM])
def test_a_stack_killed_in_training_is_resumed_without_a_fit(tmp_path, signal_):
    log, cache, out = (tmp_path / name for name in ("log", "cache", "out.npy"))
    child = started(STACK.format(trainer="ENDLESS"), cache, log, out)
    child.send_signal(signal_)
    child.communicate(timeout=100)
    assert child.returncode == -signal_
    assert fits(log) == 9
    assert list(cache.rglob("*.partial")) == []
    finished(STACK.format(trainer="QUICK"), cache, log, out)
    assert fits(log) == 9
    fresh = [tmp_path / f"other {name}" for name in ("cache", "log", "out.npy")]
    finished(STACK.format(trainer="QUICK"), *fresh)
    np.testing.assert_array_equal(np.load(out), np.load(fresh[2]))


COLLECTING = """
from cfe_stack import collect_out_of_fold
seconds, n_jobs = float(sys.argv[4]), int(sys.argv[5])
bases = [(f"tree {i}", CountedTree(sys.argv[3], i, seconds)) for i in range(2)]
try:
    data = collect_out_of_fold(
        bases, X, y, memory=sys.argv[2], refit=None, progress=False, n_jobs=n_jobs
    )
except KeyboardInterrupt:
    sys.exit("interrupted")
np.save(sys.argv[6], data.R)
"""


def test_ctrl_c_in_collecting_keeps_what_was_finished(tmp_path):
    """A terminal sends the signal to the workers, too."""
    log, cache, out = (tmp_path / name for name in ("log", "cache", "out.npy"))
    child = begun(COLLECTING, cache, log, 0.4, 2, out, start_new_session=True)
    while fits(log) < 3:
        assert child.poll() is None
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGINT)
    errors = child.communicate(timeout=100)[1]
    assert child.returncode == 1
    assert errors.endswith("interrupted\n"), errors
    stored = list(cache.rglob("*.*"))
    assert {path.suffix for path in stored} == {".npz"}
    # two fits may have ended without being stored
    before = fits(log)
    assert before - 2 <= len(stored) <= before < 10
    finished(COLLECTING, cache, log, 0.4, 1, out)
    assert fits(log) == before + 10 - len(stored)
    bases = [(f"tree {i}", CountedTree(None, i)) for i in range(2)]
    fresh = collect_out_of_fold(bases, *load_iris(return_X_y=True), refit=None, progress=False)
    np.testing.assert_array_equal(np.load(out), fresh.R)


MEMORY = """
import resource
from pathlib import Path

CFEnsembleTrainer(latent_dim=2, max_iter=2, tol=0).fit(EnsembleData(R, codes))  # imports are over
big, labels = np.full((20, 400_000), 0.6), np.arange(400_000) % 2
big[:, ::2] -= 0.3
data = EnsembleData(big, labels)
kinds = {
    "trainer": (
        CFEnsembleTrainer(latent_dim=40, max_iter=2, tol=0, store_instance_factors=True), [data]
    ),
    "classifier": (CFEnsembleClassifier(), [big.T, labels]),
}
model, arguments = kinds[sys.argv[2]]
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, resource.RLIM_INFINITY))
try:
    model.fit(*arguments)
except MemoryError as error:
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
    assert not [name for name in vars(model) if name.endswith("_")]
    print("MemoryError", error)
    report(model, big.T) if sys.argv[2] == "classifier" else None
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are Linux")
@pytest.mark.parametrize("kind", ["trainer", "classifier"])
def test_training_without_memory_says_so_and_leaves_nothing_half_fitted(kind):
    said = finished(MEMORY, kind).splitlines()
    assert said[0].startswith("MemoryError Unable to allocate")
    assert said[1:] == (["not fitted"] if kind == "classifier" else [])
