import numpy as np
import pytest
from counting_learners import CountedTree, Misbehaving, fits
from sklearn.datasets import load_iris

from cfe_stack import collect_out_of_fold
from cfe_stack.out_of_fold.collection import FailedLearnerWarning

X, Y = load_iris(return_X_y=True)


def test_models_are_fitted_when_they_are_asked_for_and_once(tmp_path):
    log = tmp_path / "log"
    bases = [(f"tree {i}", CountedTree(str(log), i)) for i in range(2)]
    data = collect_out_of_fold(bases, X, Y, cv=3, memory=tmp_path / "cache", refit="both")
    assert fits(log) == 6
    repr(data.models)
    assert fits(log) == 6
    # the folds' models were fitted in this run and are at hand
    assert all(None not in models for models in data.fold_models.values())
    assert fits(log) == 6
    assert set(data.models) == {"tree 0", "tree 1"}
    assert fits(log) == 8
    again = collect_out_of_fold(bases, X, Y, cv=3, memory=tmp_path / "cache", refit="both")
    assert fits(log) == 8
    model = again.fold_models["tree 0"][2]
    assert fits(log) == 8 + 6
    held_out = again.fold_ids[0] == 2
    np.testing.assert_array_equal(again.R[0, held_out], model.predict_proba(X[held_out]))


def test_a_model_that_fails_later_is_named_and_absent(tmp_path):
    # the folds hold row 0 or are harmless; all rows together are not
    marked = np.column_stack([np.ones(150), X])
    bases = [("fine", CountedTree()), ("shaky", FailsOnAllRows())]
    data = collect_out_of_fold(bases, marked, Y, cv=3, memory=tmp_path)
    assert data.failures == ()
    with pytest.warns(FailedLearnerWarning, match="'shaky' failed in fit on all rows") as seen:
        assert list(data.models) == ["fine"]
    assert len(seen) == 1
    with pytest.raises(KeyError, match="shaky"):
        data.models["shaky"]


class FailsOnAllRows(Misbehaving):
    def fit(self, X, y, sample_weight=None):
        super().fit(X, y)
        if len(X) == 150:
            raise MemoryError("too many rows")
        return self


def test_failures_are_not_stored(tmp_path):
    marked = np.column_stack([np.arange(150), X])
    marked[1:, 0] = 1
    bases = [("fine", CountedTree()), ("shaky", Misbehaving("raises"))]
    order = np.arange(150) % 3
    cv = [(np.flatnonzero(order != f), np.flatnonzero(order == f)) for f in range(3)]
    for _ in range(2):
        with pytest.warns(FailedLearnerWarning, match="'shaky' failed in fold 0"):
            data = collect_out_of_fold(bases, marked, Y, cv=cv, memory=tmp_path, refit=None)
        assert np.isnan(data.R[1]).any(axis=1).sum() == 50
    assert len(list(tmp_path.rglob("*.npz"))) == 3 + 2


class Complaining(Misbehaving):
    def fit(self, X, y, sample_weight=None):
        raise ValueError(f"the mean is {X.mean()}")


def test_a_learner_with_a_reason_for_every_fold_gets_one_warning():
    bases = [("fine", CountedTree()), ("bad", Complaining())]
    with pytest.warns(FailedLearnerWarning) as caught:
        data = collect_out_of_fold(bases, X, Y, cv=3, refit=None)
    (warning,) = caught
    assert str(warning.message).startswith("The learner 'bad' failed in fold 0, fold 1, fold 2, ")
    assert str(warning.message).endswith(" (2 other reason(s): see `failures`)")
    assert len({failure.reason for failure in data.failures}) == 3
