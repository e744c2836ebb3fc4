"""What goes into a stack and comes out of it: frames in the container that was asked for."""

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import KFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from cfe_stack import CFEnsembleClassifier, CFEStackingClassifier
from cfe_stack.out_of_fold.collection import FailedLearnerWarning

X, Y = load_wine(return_X_y=True)
BASES = [("bayes", GaussianNB()), ("tree", DecisionTreeClassifier(max_depth=2, random_state=0))]
FAST = CFEnsembleClassifier(aggregator="log_pool", cv=2)


def rows(n_classes, output):
    """Return a frame of four columns, with an index where there is one, and labels."""
    library = pytest.importorskip(output)
    kept = Y < n_classes
    frame = library.DataFrame({f"f{j}": X[kept, j] for j in range(4)})
    if output == "pandas":
        frame.index = np.arange(len(frame))[::-1] * 10
    return library, frame, Y[kept]


@pytest.mark.parametrize("passthrough", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_a_stack_gives_the_frames_that_it_is_asked_for(output, n_classes, passthrough):
    library, frame, y = rows(n_classes, output)
    stack = CFEStackingClassifier(BASES, FAST, cv=3, passthrough=passthrough, progress=False)
    plain = stack.fit(frame, y).transform(frame)
    proba = stack.predict_proba(frame)
    assert isinstance(plain, np.ndarray)
    made = stack.set_output(transform=output).transform(frame)
    assert isinstance(made, library.DataFrame)
    assert list(made.columns) == stack.get_feature_names_out().tolist()
    assert ("f3" in made.columns) == passthrough
    np.testing.assert_array_equal(made.to_numpy(), plain)
    if output == "pandas":
        assert made.index.equals(frame.index)
    # the container is for transform: fits and predictions stay as they are
    again = stack.fit(frame, y)
    assert isinstance(again.predict_proba(frame), np.ndarray)
    np.testing.assert_array_equal(again.predict_proba(frame), proba)


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_frames_go_from_one_stack_to_the_next(output):
    library, frame, y = rows(2, output)
    first = CFEStackingClassifier(BASES, FAST, cv=3, progress=False)
    pipe = make_pipeline(first, CFEnsembleClassifier(aggregator="log_pool", cv=2))
    proba = pipe.fit(frame, y).predict_proba(frame)
    named = pipe.set_output(transform=output).fit(frame, y)
    assert named[-1].feature_names_in_.tolist() == named[0].get_feature_names_out().tolist()
    np.testing.assert_array_equal(named.predict_proba(frame), proba)
    assert isinstance(named.transform(frame), library.DataFrame)


def test_a_class_that_nobody_predicts_is_named():
    """Margins of a fold that lacks a class have other columns, so that they are missing."""
    labels = np.array(["a", "b"] * 6 + ["rare"])
    X_rare = np.linspace(0, 1, len(labels))[:, None]
    stack = CFEStackingClassifier([("ridge", RidgeClassifier())], FAST, cv=KFold(3), progress=False)
    with (
        pytest.warns(FailedLearnerWarning),
        pytest.raises(ValueError, match="No row of class 'rare' has an out-of-fold prediction"),
    ):
        stack.fit(X_rare, labels)
