import pickle

import numpy as np
import pytest

from cfe_stack.trainers.history import TrainingHistory


@pytest.fixture
def history():
    history = TrainingHistory()
    for objective, part in ((4.0, 3), (2.0, 1), (1.5, np.float32(0.5))):
        history.append(objective=objective, reconstruction=part)
    return history


def test_values_by_name_and_by_sweep(history):
    assert len(history) == 3
    assert history.names == ("objective", "reconstruction")
    np.testing.assert_array_equal(history["objective"], [4, 2, 1.5])
    np.testing.assert_array_equal(history["reconstruction"], [3, 1, 0.5])
    assert history.records[1] == {"objective": 2.0, "reconstruction": 1.0}
    assert all(type(value) is float for value in history.records[2].values())


def test_unknown_name(history):
    with pytest.raises(KeyError, match="supervised"):
        history["supervised"]


def test_empty_history():
    history = TrainingHistory()
    assert len(history) == 0
    assert history.names == ()
    assert history.relative_change() == np.inf


@pytest.mark.parametrize(
    ("objectives", "change"),
    [
        ([2.0], np.inf),
        ([2.0, 1.5], 0.25),
        ([9.0, 2.0, 2.5], 0.25),
        ([-2.0, -1.5], 0.25),
        ([2.0, 2.0], 0.0),
        ([0.0, 0.0], 0.0),
    ],
)
def test_relative_change_of_the_last_step(objectives, change):
    history = TrainingHistory()
    for objective in objectives:
        history.append(objective=objective)
    assert history.relative_change() == change


def test_pickle(history):
    assert pickle.loads(pickle.dumps(history)).records == history.records
