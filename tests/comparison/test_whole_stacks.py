"""Whole classifiers as contenders: fitted to the training rows of X only, on the folds of all."""

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from stacked_columns import log_loss_of

from cfe_stack import CFEnsembleClassifier, CFEStackingClassifier, EnsembleData, compare_ensembles
from cfe_stack.comparison.whole_stacks import FeatureRows, resolve_stacks
from cfe_stack.cross_validation.repeated_folds import make_splits

LEARNERS = [("tree", DecisionTreeClassifier(max_depth=2, random_state=0)), ("bayes", GaussianNB())]
OPTIONS = {"cv": 3, "n_repeats": 1, "inner_cv": 3, "progress": False}


def rows(n_classes=2, n=150):
    X, codes = make_classification(
        n, 6, n_informative=4, n_classes=n_classes, flip_y=0.2, random_state=0
    )
    return X, np.array(["no", "yes", "later"])[codes]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_scores_are_those_of_a_cross_validation(n_classes):
    X, y = rows(n_classes)
    stacks = {
        "stack": StackingClassifier(LEARNERS, LogisticRegression(), cv=3),
        "vote": VotingClassifier(LEARNERS, voting="soft"),
        "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
    }
    found = compare_ensembles(X=X, y=y, stacks=stacks, **OPTIONS)
    assert (found.contenders, found.reference) == (tuple(stacks), "stack")
    classes, codes = np.unique(y, return_inverse=True)
    for f, (train, test, _) in enumerate(make_splits(codes, 3, n_repeats=1)):
        for k, model in enumerate(stacks.values()):
            proba = model.fit(X[train], y[train]).predict_proba(X[test])
            loss = log_loss_of(proba, codes[test])
            assert found.scores["log_loss"][k, f] == pytest.approx(loss, abs=1e-3)
    assert [fold.n_test for fold in found.folds] == [50] * 3


def test_stacks_take_part_beside_contenders_on_the_same_rows():
    X, y = rows()
    stacks = [
        ("ours", CFEStackingClassifier(LEARNERS, cv=3)),
        ("theirs", StackingClassifier(LEARNERS, CFEnsembleClassifier(), cv=3)),
        ("chance", DummyClassifier()),
    ]
    found = compare_ensembles(LEARNERS, X, y, contenders=["mean"], stacks=stacks, **OPTIONS)
    assert found.contenders == ("mean", "ours", "theirs", "chance")
    assert found.notes == ()
    loss = dict(zip(found.contenders, found.means("log_loss")[:, 0], strict=True))
    assert max(loss["mean"], loss["ours"], loss["theirs"]) < loss["chance"]
    held_out = found.held_out["data"]
    shares = [np.mean(np.unique(y, return_inverse=True)[1] == k) for k in (0, 1)]
    assert held_out.proba[3].mean(axis=0) == pytest.approx(shares, abs=0.02)


class Remembering(DummyClassifier):
    """Is sure of rows that it was fitted on; writes down what it was given."""

    seen: list = []

    def fit(self, X, y, sample_weight=None):
        self.rows_ = set(map(bytes, X))
        self.seen.append(y)
        return super().fit(X, y)

    def predict_proba(self, X):
        assert not self.rows_ & set(map(bytes, X))
        return super().predict_proba(X)


def test_no_row_is_predicted_that_was_seen_and_labels_are_the_given_ones():
    X, y = rows()
    model = Remembering()
    Remembering.seen.clear()
    compare_ensembles(X=X, y=y, stacks={"it": model}, on_error="raise", **OPTIONS)
    assert [len(labels) for labels in Remembering.seen] == [100] * 3
    assert set(Remembering.seen[0]) == {"no", "yes"}
    assert not hasattr(model, "classes_")


def test_a_class_absent_from_the_training_rows_has_probability_zero():
    (stack,) = resolve_stacks({"bayes": GaussianNB()})
    X = np.arange(8.0)[:, None]
    train = FeatureRows(X, 8, np.array(["a", "b", "c"]), np.array([0, 2] * 4))
    proba = stack.predict(train, FeatureRows(X[:2], 2, train.classes))
    assert proba.shape == (2, 3)
    assert (proba[:, 1] == 0).all()


def test_finished_folds_are_kept(tmp_path):
    X, y = rows()
    Remembering.seen.clear()
    for seed in (0, 0):
        options = OPTIONS | {"memory": tmp_path, "random_state": seed}
        compare_ensembles(X=X, y=y, stacks={"it": Remembering()}, **options)
    assert len(Remembering.seen) == 3
    compare_ensembles(X=X + 1, y=y, stacks={"it": Remembering()}, memory=tmp_path, **OPTIONS)
    assert len(Remembering.seen) == 6


def test_a_vote_without_probabilities_is_noted():
    X, y = rows()
    stacks = {"vote": VotingClassifier(LEARNERS), "bayes": GaussianNB()}
    found = compare_ensembles(X=X, y=y, stacks=stacks, **OPTIONS)
    assert found.notes[0].startswith("vote failed in 3 fold(s)")
    assert "has no attribute 'predict_proba'" in found.notes[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"X": np.ones((9, 1)), "y": [0, 1, 0] * 3}, "X and y need something to fit"),
        ({"stacks": {"a": GaussianNB()}}, "stacks are fitted to features: pass X and y"),
        ({"stacks": {"a": GaussianNB()}, "X": [[1.0]] * 9}, "need X and y"),
        ({"stacks": {"mean": GaussianNB()}, "data": LEARNERS}, r"share names: \['mean'\]"),
        ({"stacks": {"a": GaussianNB()}, "contenders": ["mean"]}, "contenders combine predictions"),
        ({"stacks": []}, "at least one learner"),
        ({}, "takes an EnsembleData, .* or stacks with X and y; got NoneType"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message):
    if {"data", "contenders"} & set(options):
        options = options | {"X": [[1.0]] * 9, "y": [0, 1, 0] * 3}
    with pytest.raises(ValueError, match=message):
        compare_ensembles(**options)
    matrix = EnsembleData([[0.5, 0.6]], [0, 1])
    with pytest.raises(TypeError, match="an instance, not a class"):
        compare_ensembles(matrix, stacks={"bayes": GaussianNB})
