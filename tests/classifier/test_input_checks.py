import tracemalloc
import warnings

import numpy as np
import pytest
from optional_packages import pandas as pd
from scipy import sparse
from sklearn.base import BaseEstimator

from cfe_stack.classifier.input_checks import (
    check_columns,
    check_labels,
    densify,
    numeric_labels,
    prediction_columns,
)
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.data.missing import (
    MissingPredictionsWarning,
    warn_about_empty_rows,
    warn_about_missing,
)
from cfe_stack.meta_features.layout_detection import LayoutWarning
from cfe_stack.meta_features.stacked_columns import side_by_side

NAN = np.nan
NAMES = np.array(["cat", "dog", "eel"])


class Learner(BaseEstimator):
    """Something to hold n_features_in_."""


@pytest.mark.parametrize("dtype", [str, object])
def test_predicted_names_become_codes(dtype):
    X = np.array([["dog", "cat"], ["eel", "rat"]], dtype=dtype)
    np.testing.assert_array_equal(numeric_labels(X, NAMES), [[1, 0], [2, NAN]])


@pytest.mark.parametrize(
    ("X", "classes"),
    [
        (np.ones((2, 2)), NAMES),
        (np.array([["a", "b"]]), None),
        (np.array([["a", "b"]]), np.array([0, 1])),
        (np.array([["a", "b"]]), NAMES),
        ([["cat", "dog"]], NAMES),
        (sparse.eye_array(3), NAMES),
        (np.array([[0.1, 0.2]], dtype=object), NAMES),
    ],
)
def test_anything_else_stays_as_it_is(X, classes):
    assert numeric_labels(X, classes) is X


@pytest.mark.parametrize(
    ("X", "dtype"),
    [
        (np.ones((3, 2)), np.float64),
        (np.ones((3, 2), dtype=np.float32), np.float32),
        (np.ones((3, 2), dtype=int), np.float64),
        (np.ones((3, 2), dtype=object), np.float64),
        ([[1, 2], [3, 4]], np.float64),
    ],
)
def test_columns_become_floating_point_and_keep_nan(X, dtype):
    learner = Learner()
    checked = check_columns(learner, X, reset=True)
    assert checked.dtype == dtype
    assert learner.n_features_in_ == 2
    holed = np.array([[0.1, NAN], [NAN, 0.3]], dtype=dtype)
    assert np.shares_memory(check_columns(learner, holed, reset=False), holed)


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csc_array, sparse.coo_array])
def test_sparse_columns_stay_sparse(make):
    checked = check_columns(Learner(), make(np.eye(3)), reset=True)
    assert sparse.issparse(checked)
    assert checked.format == "csc"


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.array([[1.0, np.inf]]), "infinity"),
        (np.ones(3), "2D array"),
        (np.ones((2, 2, 2)), "of shape .* pass cfe_stack.meta_features.side"),
        (np.ones((0, 2)), "minimum of 1"),
        (np.ones((2, 0)), "minimum of 1"),
        (np.array([["a", "b"]]), "string"),
        (np.ones((2, 2)) * 1j, "Complex"),
    ],
)
def test_columns_that_are_no_numbers_are_refused(X, message):
    with pytest.raises(ValueError, match=message):
        check_columns(Learner(), X, reset=True)


def test_an_ensemble_matrix_is_told_how_it_becomes_columns():
    data = EnsembleData(np.full((2, 4, 3), 1 / 3), [0, 1, 2, 0])
    for X, what in ((data, "got EnsembleData"), (data.R.T, r"got ndarray of shape \(3, 4, 2\)")):
        with pytest.raises(ValueError, match=what + ".* pass cfe_stack.meta_features.side_by_side"):
            check_columns(Learner(), X, reset=True)
    assert check_columns(Learner(), side_by_side(data.R), reset=True).shape == (4, 6)


def test_names_are_checked_only_where_training_had_names():
    frame = pd.DataFrame(np.ones((2, 2)), columns=["a", "b"])
    named, unnamed = Learner(), Learner()
    check_columns(named, frame, reset=True)
    check_columns(unnamed, frame.to_numpy(), reset=True)
    assert named.feature_names_in_.tolist() == ["a", "b"]
    check_columns(unnamed, frame, reset=False)
    with_gaps = frame.astype("Float64").mask(np.eye(2, dtype=bool))
    expected = np.where(np.eye(2), np.nan, 1.0)
    np.testing.assert_array_equal(check_columns(unnamed, with_gaps, reset=False), expected)
    with pytest.raises(ValueError, match="feature names should match"):
        check_columns(named, frame.rename(columns={"a": "z"}), reset=False)
    for learner in (named, unnamed):
        with pytest.raises(ValueError, match="feature"):
            check_columns(
                learner, frame[["a"]] if learner is named else np.ones((2, 3)), reset=False
            )


def beside(side, n_rows=40, n_columns=500, density=0.02):
    """Return sparse features with four dense columns at one end."""
    rng = np.random.default_rng(0)
    features = sparse.random(n_rows, n_columns, density=density, random_state=rng)
    dense = sparse.csc_array(0.1 + 0.8 * rng.random((n_rows, 4)))
    return sparse.hstack([dense, features] if side == "after" else [features, dense], "csc")


@pytest.mark.parametrize("side", ["after", "before"])
@pytest.mark.parametrize("told", ["nothing", "side", "count"])
def test_predictions_are_the_dense_end_of_a_sparse_matrix(side, told):
    X = beside(side)
    expected = slice(0, 4) if side == "after" else slice(500, 504)
    settings = {"nothing": (None, None), "side": (None, side), "count": (4, side)}[told]
    if told == "count":
        found = prediction_columns(X, 1, *settings)
    else:
        with pytest.warns(LayoutWarning, match="of 504 sparse columns are densely populated"):
            found = prediction_columns(X, 2, *settings)
    assert found == expected
    np.testing.assert_array_equal(densify(X, found), X.toarray()[:, expected])


def test_without_features_all_columns_are_predictions():
    full = sparse.csc_array(np.full((5, 4), 0.5))
    assert prediction_columns(full, 2, None, None) == slice(0, 4)
    assert prediction_columns(np.zeros((5, 4)), 2, 1, "after") == slice(0, 4)
    dense = np.ones((3, 4))
    assert np.shares_memory(densify(dense, slice(0, 4)), dense)


@pytest.mark.parametrize("told", [(None, None), (4, "after")])
def test_very_wide_sparse_features_are_never_made_dense(told):
    X = beside("after", n_rows=300, n_columns=200_000, density=1e-4)
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LayoutWarning)
        checked = check_columns(Learner(), X, reset=True)
        P = densify(checked, prediction_columns(checked, 2, *told))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert P.shape[0] == 300
    assert P.shape[1] <= 8
    assert peak < 40e6  # 480 MB as a dense array


@pytest.mark.parametrize(
    ("y", "missing_label", "labels", "warned"),
    [
        ([0, 1, 2], "auto", [0, 1, 2], False),
        ([0.0, 1.0, NAN], "auto", [0, 1], False),
        ([0, 1, -1], "auto", [0, 1], True),
        ([0.0, 1.0, -1.0], "auto", [0, 1], True),
        ([0, 1, -1], -1, [0, 1], False),
        ([0, 1, -1], None, [0, 1, -1], False),
        ([1, -1, 1], "auto", [1, -1, 1], False),
        ([-1, 0, 0], "auto", [-1, 0, 0], False),
        ([-1, 1, 2], "auto", [-1, 1, 2], False),
        (["a", "b", None], "auto", ["a", "b"], False),
        (["a", "b", "?"], "?", ["a", "b"], False),
        (np.array(["a", NAN, "b"], dtype=object), "auto", ["a", "b"], False),
        (pd.Series(["a", pd.NA, "b"], dtype="string"), "auto", ["a", "b"], False),
        (pd.Series([0, pd.NA, 1], dtype="Int64"), "auto", [0, 1], False),
        (pd.Categorical(["a", None, "b"]), "auto", ["a", "b"], False),
        ([True, False, True], "auto", [True, False, True], False),
        ([9, 0, 1], 9, [0, 1], False),
        ([0, 1, NAN], 9, [0, 1], False),
    ],
)
def test_which_rows_have_a_label(y, missing_label, labels, warned):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        values, known = check_labels(Learner(), y, missing_label)
    assert values[known].tolist() == labels
    assert [w.category for w in caught] == [LayoutWarning] * warned
    if warned:
        assert "1 rows are treated as unlabeled" in str(caught[0].message)
        assert "missing_label=-1" in str(caught[0].message)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed"),
        (np.ones((4, 2)), r"1d array.*\(4, 2\)"),
        ([NAN, NAN], "no row has a label"),
        ([None, None], "no row has a label"),
        ([0.5, 1.5, 0.1], "Unknown label type: continuous"),
        ([0.0, 1.0, np.inf], "infinity"),
    ],
)
def test_targets_that_are_no_classes_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        check_labels(Learner(), y, "auto")


R = np.array([[0.1, NAN, 0.3], [NAN, NAN, NAN]])


def test_learners_and_rows_without_predictions_are_named():
    with pytest.warns(MissingPredictionsWarning) as caught:
        known = warn_about_missing(EnsembleData(R), "consequence")
    np.testing.assert_array_equal(known, [True, False, True])
    messages = [str(w.message) for w in caught]
    assert "Base learner(s) [1] have no prediction" in messages[0]
    assert "1 row(s) have no prediction" in messages[1]
    with pytest.warns(MissingPredictionsWarning, match="2 row.s. .*; consequence"):
        warn_about_empty_rows(EnsembleData(R[[1]][:, :2]), "consequence")


def test_complete_predictions_give_no_warning():
    assert warn_about_missing(EnsembleData([[0.1, NAN, 0.3], [NAN, 0.4, NAN]]), "").all()
    assert warn_about_missing(EnsembleData(np.full((2, 3, 3), 1 / 3)), "").all()
