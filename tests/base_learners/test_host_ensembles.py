import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from cfe_stack import CFEnsembleClassifier, CFEStackingClassifier, collect_out_of_fold
from cfe_stack.base_learners.host_ensembles import base_learners

X, CODES = load_wine(return_X_y=True)
Y = np.array(["c", "a", "b"])[CODES]
TREE = DecisionTreeClassifier(max_depth=2, random_state=0)
LEARNERS = [GaussianNB(), TREE, GaussianNB(var_smoothing=0.1)]
NAMED = list(zip(["bayes", "tree", "smooth"], LEARNERS, strict=True))
MLXTEND_NAMES = ["gaussiannb-1", "decisiontreeclassifier", "gaussiannb-2"]


@pytest.mark.parametrize(
    "ensemble",
    [
        StackingClassifier([*NAMED, ("none", "drop")], LogisticRegression()),
        VotingClassifier([*NAMED, ("none", "drop")], weights=[1, 2, 3, 1]),
        CFEStackingClassifier(NAMED),
    ],
    ids=lambda ensemble: type(ensemble).__name__,
)
def test_learners_of_scikit_learns_ensembles(ensemble):
    assert base_learners(ensemble) == NAMED


@pytest.mark.parametrize(
    "name", ["StackingClassifier", "StackingCVClassifier", "EnsembleVoteClassifier"]
)
def test_classifiers_of_mlxtends_ensembles_are_collected_as_they_are(name):
    module = pytest.importorskip("mlxtend.classifier")
    meta = () if name == "EnsembleVoteClassifier" else (LogisticRegression(max_iter=5000),)
    ensemble = getattr(module, name)(LEARNERS, *meta)
    pairs = base_learners(ensemble)
    assert [name for name, _ in pairs] == MLXTEND_NAMES
    assert all(taken is given for (_, taken), given in zip(pairs, LEARNERS, strict=True))
    assert {f"{name}__{key}" for name, e in pairs for key in e.get_params()} <= set(
        ensemble.get_params()
    )
    # what is found is the same after the ensemble was fitted
    assert base_learners(ensemble.fit(X, CODES)) == pairs
    data = collect_out_of_fold(pairs, X, Y, cv=3)
    np.testing.assert_array_equal(data.R, collect_out_of_fold(NAMED, X, Y, cv=3).R)
    stack = CFEStackingClassifier(pairs, CFEnsembleClassifier(aggregator="mean"), cv=3).fit(X, Y)
    assert stack.score(X, Y) > 0.9


@pytest.mark.parametrize("stranger", [GaussianNB(), "drop", None, StackingClassifier])
def test_what_holds_no_learners_is_refused(stranger):
    with pytest.raises(TypeError, match="holds no base learners"):
        base_learners(stranger)
