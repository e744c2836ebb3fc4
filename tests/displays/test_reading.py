"""Displays read the same from a final estimator, a stack around it, and columns with names."""

import numpy as np
import pytest
from optional_packages import mlxtend_classifier as mlxtend
from optional_packages import pandas as pd
from sklearn.datasets import make_classification
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from stacked_columns import stacked

from cfe_stack import CFEnsembleClassifier, CFEnsembleTrainer, EnsembleData
from cfe_stack.displays.reading import average_prediction, encode, labeled_rows, read

LEARNERS = [("bayes", GaussianNB()), ("tree", DecisionTreeClassifier(max_depth=3))]
FINAL = CFEnsembleClassifier(aggregator="log_pool", cv=2)


@pytest.fixture(scope="module")
def table():
    X, y = make_classification(150, n_informative=4, random_state=0)
    return X, np.where(y == 1, "yes", "no")


def mlxtend_stack():
    return mlxtend.StackingCVClassifier(
        [GaussianNB(), DecisionTreeClassifier(max_depth=3, random_state=0)],
        FINAL, use_probas=True, use_features_in_secondary=True, random_state=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("outer", "names"),
    [
        (StackingClassifier(LEARNERS, FINAL, cv=2), ["bayes", "tree"]),
        (
            StackingClassifier([*LEARNERS, ("gone", "drop")], make_pipeline(FINAL), cv=2),
            ["bayes", "tree"],
        ),
        (
            make_pipeline(StandardScaler(), StackingClassifier(LEARNERS, FINAL, cv=2)),
            ["bayes", "tree"],
        ),
        (
            GridSearchCV(
                StackingClassifier(LEARNERS, FINAL, cv=2), {"final_estimator__cv": [2]}, cv=2
            ),
            ["bayes", "tree"],
        ),
    ],
    ids=["stack", "pipeline inside", "pipeline around", "search"],
)
def test_a_stack_is_unwrapped(table, outer, names):
    X, y = table
    reading = read(outer.fit(X, y), X, y)
    assert list(reading.data.classifier_names) == names
    assert reading.data.classes.tolist() == ["no", "yes"]
    assert (reading.data.labels == (y == "yes")).all()
    np.testing.assert_allclose(reading.predict_proba(), outer.predict_proba(X))


@pytest.mark.filterwarnings("ignore::cfe_stack.LayoutWarning")
def test_a_stack_of_mlxtend_is_unwrapped(table):
    X, y = table
    stack = mlxtend_stack().fit(X, y)
    reading = read(stack, X, y)
    assert list(reading.data.classifier_names) == ["gaussiannb", "decisiontreeclassifier"]
    np.testing.assert_allclose(reading.predict_proba(), stack.predict_proba(X))


def test_names_come_from_columns_arguments_and_data():
    P, y, R = stacked(3, 80, 3)
    columns = [f"{u}_{k}" for u in ("xgb", "knn", "bayes") for k in range(3)]
    frame = pd.DataFrame(P, columns=columns)
    classifier = CFEnsembleClassifier(aggregator="log_pool", cv=2).fit(frame, y)
    assert list(read(classifier, frame).data.classifier_names) == ["xgb", "knn", "bayes"]
    given = read(classifier, frame, names=["a", "b", "c"]).data
    assert given.classifier_names == ("a", "b", "c")
    data = EnsembleData(R, y, classifier_names=["x", "y", "z"])
    reading = read(classifier, data)
    assert reading.data.classifier_names == ("x", "y", "z")
    assert (reading.data.labels == y).all()
    np.testing.assert_allclose(reading.predict_proba(), classifier.predict_proba(frame))


def test_a_trainer_is_read():
    _, y, R = stacked(4, 80)
    data = EnsembleData(R, y)
    trainer = CFEnsembleTrainer(
        latent_dim=2, aggregator_type="log_pool", max_iter=300, random_state=0
    ).fit(data)
    reading = read(trainer, data)
    np.testing.assert_allclose(reading.predict_proba(), trainer.predict_proba(data))
    spread = np.square(reading.model.fold_in(reading.data)).mean(axis=1)
    assert ((0.1 < spread) & (spread < 1.05)).all()
    with pytest.raises(TypeError, match="those of a pool of log-odds"):
        reading.trust()


def test_trust_is_what_the_pool_uses():
    P, y, _ = stacked(4, 150)
    classifier = CFEnsembleClassifier(aggregator="gated_pool", cv=2).fit(P, y)
    weights, gates = read(classifier, P).trust()
    expected = classifier.weights_ + gates @ classifier.gate_
    np.testing.assert_allclose(weights, expected)
    z = classifier.calibration_.apply(np.log(P / (1 - P)))
    scores = (weights * z).sum(axis=1) + classifier.intercept_
    np.testing.assert_allclose(scores, classifier.decision_function(P), atol=1e-8)


def test_what_is_no_ensemble_is_refused():
    P, y, R = stacked(3, 60)
    with pytest.raises(TypeError, match="LogisticRegression is not and does not end in a CFEns"):
        read(LogisticRegression().fit(P, y), P)
    with pytest.raises(NotFittedError):
        read(CFEnsembleClassifier(), P)
    classifier = CFEnsembleClassifier(aggregator="mean").fit(P, y)
    with pytest.raises(ValueError, match="2 classifiers and 2 classes; .* fitted on 3 and 2"):
        read(classifier, EnsembleData(R[:2]))
    with pytest.raises(ValueError, match=r"y holds \['7'\], which are not among the classes"):
        read(classifier, P, np.full(60, 7))
    with pytest.raises(ValueError, match="No row has both a label and a prediction"):
        labeled_rows(read(classifier, P).data)


def test_labels_are_encoded():
    assert encode(["b", None, "a"], np.array(["a", "b"])).tolist() == [1, -1, 0]
    assert encode([2.0, np.nan], np.array([1, 2])).tolist() == [1, -1]


def test_the_plain_mean_is_that_of_observed_cells():
    data = EnsembleData(np.array([[0.2, np.nan, np.nan], [0.4, 0.6, np.nan]]))
    mean = average_prediction(data)
    np.testing.assert_allclose(mean, [[0.7, 0.3], [0.4, 0.6], [np.nan, np.nan]])
