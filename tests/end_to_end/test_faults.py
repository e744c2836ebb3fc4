"""Faults while predictions are collected: what is finished stays, and what failed is named."""

import itertools
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pytest
from counting_learners import CountedTree, fits
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.naive_bayes import GaussianNB

from cfe_stack import CFEStackingClassifier, MissingPredictionsWarning, collect_out_of_fold
from cfe_stack.out_of_fold.collection import FailedLearnerWarning

pytestmark = pytest.mark.exhaustive

X, Y = load_iris(return_X_y=True)
QUIET = {"refit": None, "progress": False}


class Odd(GaussianNB):
    """Naive Bayes that names its classes as it likes."""

    def __init__(self, how="backwards"):
        super().__init__()
        self.how = how

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        self.inner_ = self.classes_
        if self.how == "backwards":
            self.classes_ = self.inner_[::-1]
        if self.how == "floats":
            self.classes_ = self.inner_.astype(float)
        if self.how == "strange":
            self.classes_ = self.inner_ + 7
        if self.how == "twice":
            self.classes_ = np.array([self.inner_[0], self.inner_[0], self.inner_[1]])
        return self

    def predict_proba(self, X):
        named, self.classes_ = self.classes_, self.inner_
        proba = super().predict_proba(X)
        self.classes_ = named
        return proba[:, ::-1] if self.how == "backwards" else proba


class Faulty(ClassifierMixin, BaseEstimator):
    """A learner that does something terrible in its fits, until a file says that it is mended."""

    def __init__(self, how="exit", mended=None):
        self.how, self.mended = how, mended

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        if os.path.exists(self.mended):
            return self
        if self.how.startswith("exit"):
            time.sleep(0.3)  # the others are finished by then
            if self.how == "exit once":
                Path(self.mended).touch()
            os._exit(9)
        raise {"memory": MemoryError, "interrupt": KeyboardInterrupt}[self.how]("out of it")

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


@pytest.mark.parametrize("labels", [Y, Y.astype(float), 10.0 * Y - 5, np.array(list("abc"))[Y]])
@pytest.mark.parametrize("how", ["backwards", "floats"])
def test_columns_go_where_the_learner_says_and_labels_may_be_floats(how, labels):
    if how == "floats" and labels.dtype.kind == "U":
        return
    plain = collect_out_of_fold([("bayes", GaussianNB())], X, Y, **QUIET)
    odd = collect_out_of_fold([("bayes", Odd(how))], X, labels, **QUIET)
    np.testing.assert_allclose(odd.R, plain.R)
    np.testing.assert_array_equal(odd.classes, np.unique(labels))


@pytest.mark.parametrize("how", ["strange", "twice"])
def test_classes_that_were_never_given_are_a_named_failure(how):
    bases = [("fine", GaussianNB()), ("odd", Odd(how))]
    with pytest.warns(FailedLearnerWarning, match="'odd' failed in fold 0, .*missing: "):
        data = collect_out_of_fold(bases, X, Y, **QUIET)
    assert np.isnan(data.R[1]).all()
    assert np.isfinite(data.R[0]).all()


def test_a_learner_without_memory_is_named_and_the_others_are_there(tmp_path):
    bases = [("hungry", Faulty("memory", str(tmp_path / "mended"))), ("fine", GaussianNB())]
    message = "'hungry' failed .*MemoryError: out of it"
    with (
        pytest.warns(MissingPredictionsWarning, match=r"\[0\] have no prediction"),
        pytest.warns(FailedLearnerWarning, match=message),
    ):
        score = CFEStackingClassifier(bases, progress=False).fit(X, Y).score(X, Y)
    assert score > 0.9


@pytest.mark.parametrize("limit", [None, 60.0])
def test_after_an_interrupt_finished_folds_are_read(tmp_path, limit):
    log, mended = str(tmp_path / "log"), str(tmp_path / "mended")
    bases = [("tree", CountedTree(log)), ("stop", Faulty("interrupt", mended))]
    options = {"memory": tmp_path / "cache", "time_limit": limit} | QUIET
    with pytest.raises(KeyboardInterrupt):
        collect_out_of_fold(bases, X, Y, **options)
    assert fits(log) == 5
    Path(mended).touch()
    data = collect_out_of_fold(bases, X, Y, **options)
    assert fits(log) == 5
    assert data.n_missing == 0
    plain = collect_out_of_fold(bases[:1], X, Y, **QUIET)
    np.testing.assert_array_equal(data.R[0], plain.R[0])


# loky's workers import what they unpickle: the learners have to be importable there
SCRIPT = """
import sys, warnings
sys.path.insert(0, sys.argv[1])
import numpy as np
from cfe_stack import collect_out_of_fold
from test_faults import QUIET, X, Y, CountedTree, Faulty, fits

def collect(how, **options):
    bases = [("tree", CountedTree(log)), ("lost", Faulty(how, sys.argv[3]))]
    return collect_out_of_fold(bases, X, Y, cv=cv, n_jobs=2, **options, **QUIET)

log, cv = sys.argv[2], [(np.arange(1, 150, 2), np.arange(0, 150, 2))]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    data = collect("exit")
print([(f.learner, f.fold) for f in data.failures], np.isnan(data.R[:, 0, 0]), fits(log))
print(*[w.message for w in caught])
try:
    collect("exit", on_error="raise")
except Exception as error:
    print(type(error).__name__, *error.__notes__)
data = collect("exit once")
print(data.failures, np.isnan(data.R[:, 0, 0]))
"""


def test_a_lost_worker_of_loky_costs_what_it_did_twice(tmp_path):
    files = [str(tmp_path / name) for name in ("log", "mended")]
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), *files]
    run = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr
    given_up, warning, raised, once = run.stdout.splitlines()
    # the tree's fit is repeated if it had not come back when the worker died
    assert re.fullmatch(r"\[\('lost', 0\)\] \[False  True\] [12]", given_up)
    assert "'lost' failed in fold 0" in warning
    assert "TerminatedWorkerError, also when it ran alone: A worker process" in warning
    assert raised.startswith("TerminatedWorkerError A worker process died. on_error='missing'")
    assert once == "() [False False]"


# a scheduler that forgives no death: the attempt alone is ours
CLUSTER = """
import sys
sys.path.insert(0, sys.argv[1])
import dask, joblib, numpy as np
from distributed import Client, LocalCluster
from cfe_stack import collect_out_of_fold
from test_faults import QUIET, X, Y, CountedTree, Faulty, fits

bases = [("tree", CountedTree(sys.argv[2])), ("lost", Faulty("exit", sys.argv[3]))]
cv = [(np.arange(1, 150, 2), np.arange(0, 150, 2))]
dask.config.set({"distributed.scheduler.allowed-failures": 0})
cluster = LocalCluster(2, threads_per_worker=1, dashboard_address=None, silence_logs=50)
with cluster, Client(cluster), joblib.parallel_config("dask"):
    data = collect_out_of_fold(bases, X, Y, cv=cv, n_jobs=2, **QUIET)
    print(np.isnan(data.R[:, 0, 0]), fits(sys.argv[2]), *data.failures)
"""


def test_a_lost_worker_of_dask_costs_what_it_did_twice(tmp_path):
    pytest.importorskip("distributed")
    arguments = [str(Path(__file__).parent), str(tmp_path / "log"), str(tmp_path / "mended")]
    command = [sys.executable, "-W", "ignore", "-c", CLUSTER, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr
    failure = r"learner='lost', fold=0, reason=.KilledWorker, also when it ran alone: .* died"
    assert re.match(rf"\[False  True\] [12] Failure\({failure}", run.stdout), run.stdout


@pytest.mark.parametrize("step", [-3600.0, 1e9, 0.0])
def test_a_clock_that_jumps_changes_no_prediction(monkeypatch, tmp_path, step):
    bases = [("tree", CountedTree()), ("bayes", GaussianNB())]
    plain = collect_out_of_fold(bases, X, Y, **QUIET)
    ticks = itertools.count()

    def jumping():
        return 1e9 + step * next(ticks)

    monkeypatch.setattr(time, "time", jumping)
    monkeypatch.setattr(time, "perf_counter", jumping)
    for options in ({}, {"memory": tmp_path}, {"memory": tmp_path}):
        with joblib.parallel_config("threading", n_jobs=2):
            data = collect_out_of_fold(bases, X, Y, time_limit=30.0, **options, **QUIET)
        np.testing.assert_array_equal(data.R, plain.R)
