import pickle
import weakref

import pytest

from cfe_stack.out_of_fold.fitted_models import FittedModels
from cfe_stack.out_of_fold.fold_tasks import ALL_ROWS, Task

FULL = {"a": [Task(0, ALL_ROWS)], "b": [Task(1, ALL_ROWS)], "c": [Task(2, ALL_ROWS)]}


class Fits:
    def __init__(self):
        self.asked = []

    def __call__(self, tasks):
        self.asked.append(list(tasks))
        return {task: f"model {task.learner}" for task in tasks if task.learner != 2}


def test_missing_models_are_fitted_together_and_once():
    fit = Fits()
    models = FittedModels(FULL, {Task(0, ALL_ROWS): "here"}, [], fit)
    assert fit.asked == []
    assert models["b"] == "model 1"
    assert dict(models) == {"a": "here", "b": "model 1"}
    assert len(models) == 2
    # the one that failed is not tried again
    assert fit.asked == [[Task(1, ALL_ROWS), Task(2, ALL_ROWS)]]
    with pytest.raises(KeyError):
        models["c"]


def test_what_fits_the_missing_is_let_go_when_none_is_missing():
    whole, partly = Fits(), Fits()
    held = [weakref.ref(whole), weakref.ref(partly)]
    complete = FittedModels({"a": FULL["a"]}, {Task(0, ALL_ROWS): "here"}, [], whole)
    later = FittedModels(FULL, {}, [], partly)
    del whole, partly
    assert held[0]() is None
    assert held[1]() is not None
    assert (complete["a"], later["b"]) == ("here", "model 1")
    assert held[1]() is None


def test_failed_fits_are_not_tried():
    fit = Fits()
    models = FittedModels({"c": FULL["c"]}, {}, FULL["c"], fit)
    assert dict(models) == {}
    assert fit.asked == []


def test_folds_keep_their_places():
    folds = {"a": [Task(2, 0), Task(0, 1)]}
    assert FittedModels(folds, {}, [], Fits())["a"] == (None, "model 0")


def test_a_pickle_holds_models_and_not_what_fits_them():
    models = FittedModels(FULL, {}, [], lambda tasks: dict.fromkeys(tasks, "model"))
    assert pickle.loads(pickle.dumps(models)) == dict.fromkeys("abc", "model")
