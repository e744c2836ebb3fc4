import numpy as np
import pytest
from optional_packages import pandas as pd
from scipy import sparse
from sklearn.naive_bayes import GaussianNB

from cfe_stack.base_learners.early_stopping import EarlyStopping
from cfe_stack.out_of_fold.input_checks import check_rows, plan_learners

X, Y = np.zeros((4, 2)), np.array(["b", "a", "b", "c"])


@pytest.mark.parametrize(
    "y", [Y, Y.tolist(), pd.Series(Y), pd.Series(Y, dtype="category"), Y.astype(object)]
)
def test_labels_of_any_kind_become_codes(y):
    rows = check_rows(X, y)
    assert rows.classes.tolist() == ["a", "b", "c"]
    assert rows.codes.tolist() == [1, 0, 1, 2]
    assert len(rows) == 4


def test_tables_stay_what_they_are():
    frame = pd.DataFrame(X)
    assert check_rows(frame, Y).X is frame
    assert check_rows(X, Y).X is X
    assert check_rows(sparse.coo_matrix(X), Y).X.format == "csr"
    assert check_rows(X.tolist(), Y).X.shape == (4, 2)


def test_one_weight_is_that_of_every_row():
    assert check_rows(X, Y, sample_weight=2).sample_weight.tolist() == [2.0] * 4
    for wrong in (-1, np.nan, [1.0]):
        with pytest.raises(ValueError, match="sample_weight must hold 4 finite numbers"):
            check_rows(X, Y, sample_weight=wrong)


@pytest.mark.parametrize("label", [None, np.nan, pd.NA])
def test_rows_without_label_are_named(label):
    for y in (np.array(["b", label, "b", "c"], dtype=object), [0.0, np.nan, 1.0, 1.0]):
        with pytest.raises(ValueError, match="y has no label in 1 rows, the first is row 1"):
            check_rows(X, y)


@pytest.mark.parametrize("y", [[0.0, 1.0, np.inf, 1.0], [0.5, 1.5, 2.5, 0.1]])
def test_numbers_that_are_no_classes_are_refused(y):
    with pytest.raises(ValueError, match="infinity|Unknown label type"):
        check_rows(X, y)


@pytest.mark.parametrize("named", [False, True])
def test_test_rows_that_lack_a_column_are_refused_before_any_fit(named):
    X, y = np.arange(12.0).reshape(4, 3), [0, 1, 0, 1]
    X = pd.DataFrame(X, columns=["size", "age", "sold"]) if named else X
    X_test = X[["age", "size"]] if named else X[:, :2]
    with pytest.raises(ValueError, match=r"X_test \(4, 2\)" + r", which lacks \['sold'\]" * named):
        check_rows(X, y, X_test=X_test)
    if named:
        assert check_rows(X, y, X_test=X.assign(more=1)).X_test.shape == (4, 4)


def test_only_boosters_get_a_plan_for_stopping():
    xgboost = pytest.importorskip("xgboost")
    bases = {"bayes": GaussianNB(), "out": "drop", "boosted": xgboost.XGBClassifier()}
    bayes, boosted = plan_learners(bases, {"boosted": {"verbose": False}}, "auto", 7)
    assert bayes.stopping is None
    assert boosted.stopping == EarlyStopping(rounds=7)
    assert boosted.fit_params == {"verbose": False}
    assert boosted.template is bases["boosted"]
