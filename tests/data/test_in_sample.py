"""Which columns are taken for in-sample predictions: real learners, honest and not."""

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from cfe_stack import EnsembleData
from cfe_stack.data.in_sample import column_scores, suspicious_columns

LEARNERS = {
    "forest": RandomForestClassifier(30, random_state=0),
    "extra": ExtraTreesClassifier(30, random_state=0),
    "tree": DecisionTreeClassifier(random_state=0),
    "nearest": KNeighborsClassifier(1),
    "logistic": LogisticRegression(max_iter=1000),
    "bayes": GaussianNB(),
}
OVERFITTING = {"forest", "extra", "tree", "nearest"}
NAMES = list(LEARNERS)


@pytest.fixture(scope="module", params=[2, 3], ids=["two classes", "three classes"])
def predictions(request):
    X, y = make_classification(
        1200, 12, n_informative=6, flip_y=0.15, n_classes=request.param, random_state=request.param
    )
    X_train, X_test, labels, test_labels = train_test_split(X, y, test_size=0.4, random_state=0)
    fitted = [learner.fit(X_train, labels) for learner in LEARNERS.values()]
    return {
        "honest": [
            cross_val_predict(e, X_train, labels, cv=4, method="predict_proba") for e in fitted
        ],
        "in-sample": [e.predict_proba(X_train) for e in fitted],
        "test": [e.predict_proba(X_test) for e in fitted],
        "labels": labels,
        "test labels": test_labels,
    }


def ensemble(columns, labels=None):
    return EnsembleData(np.stack(columns), labels, classifier_names=NAMES)


def names(found):
    return {suspicion.name for suspicion in found}


def test_honest_columns_are_left_alone(predictions):
    data = ensemble(predictions["honest"], predictions["labels"])
    for test in (
        None,
        ensemble(predictions["test"]),
        ensemble(predictions["test"], predictions["test labels"]),
    ):
        assert suspicious_columns(data, test) == []


@pytest.mark.parametrize("bad", sorted(OVERFITTING))
@pytest.mark.parametrize("with_labels", [False, True])
def test_one_in_sample_column_is_found(predictions, bad, with_labels):
    columns = list(predictions["honest"])
    columns[NAMES.index(bad)] = predictions["in-sample"][NAMES.index(bad)]
    test = ensemble(predictions["test"], predictions["test labels"] if with_labels else None)
    (found,) = suspicious_columns(ensemble(columns, predictions["labels"]), test)
    hard = bad in ("tree", "nearest")
    assert (found.name, found.classifier) == (bad, NAMES.index(bad))
    assert found.rule == (
        "test log-loss" if with_labels else "near-perfect" if hard else "test uncertainty"
    )
    figure = column_scores(ensemble(columns, predictions["labels"]))[found.classifier]
    shown = f"{figure.error_rate:.2%}" if found.rule == "near-perfect" else f"{figure.log_loss:.4f}"
    assert shown in found.evidence


def test_columns_that_are_all_in_sample_do_not_excuse_each_other(predictions):
    found = suspicious_columns(
        ensemble(predictions["in-sample"], predictions["labels"]), ensemble(predictions["test"])
    )
    assert {"forest", "extra"} <= names(found) <= OVERFITTING


def test_without_test_rows_only_near_perfect_columns_are_found(predictions):
    columns = list(predictions["honest"])
    columns[0] = predictions["in-sample"][0]
    assert names(suspicious_columns(ensemble(columns, predictions["labels"]))) == {"forest"}
    # as good as the best learner can be is no reason
    columns[0] = predictions["in-sample"][NAMES.index("logistic")]
    assert suspicious_columns(ensemble(columns, predictions["labels"])) == []


def test_a_shift_of_all_columns_is_no_reason(predictions):
    """Test rows that are harder for everybody, and columns that were underconfident before."""
    shrunk = [0.5 * p + 0.5 / p.shape[1] for p in predictions["honest"]]
    test = [0.35 * p + 0.65 / p.shape[1] for p in predictions["test"]]
    assert suspicious_columns(ensemble(shrunk, predictions["labels"]), ensemble(test)) == []


def test_few_rows_prove_nothing(predictions):
    columns = [p[:29] for p in predictions["in-sample"]]
    data = ensemble(columns, predictions["labels"][:29])
    assert suspicious_columns(data, ensemble(predictions["test"])) == []


def test_missing_cells_are_left_out(predictions):
    columns = [p.copy() for p in predictions["in-sample"]]
    columns[0][::2] = np.nan
    labels = np.where(np.arange(len(predictions["labels"])) % 3 == 0, -1, predictions["labels"])
    data = ensemble(columns, labels)
    score = column_scores(data)[0]
    rows = ~np.isnan(columns[0][:, 0]) & (labels >= 0)
    assert (score.n, score.n_predicted) == (rows.sum(), len(labels) // 2)
    p, y = columns[0][rows], labels[rows]
    expected = -np.log(np.clip(p[np.arange(len(y)), y], 1e-3, 1)).mean()
    assert score.log_loss == pytest.approx(expected, rel=1e-12)
    assert "forest" in names(suspicious_columns(data, ensemble(predictions["test"])))


def test_other_classifiers_in_test_are_refused(predictions):
    data = ensemble(predictions["honest"], predictions["labels"])
    test = EnsembleData(np.stack(predictions["test"][:3]), classifier_names=NAMES[:3])
    with pytest.raises(ValueError, match="same classifiers and classes.*'forest'"):
        suspicious_columns(data, test)
