"""Any X, y and learners: valid probabilities, or an error that is documented."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid
from sklearn.tree import DecisionTreeClassifier
from test_properties import CONTAINERS, FIXED, TIMES, check_probabilities

from cfe_stack import CFEnsembleClassifier, CFEStackingClassifier

pytestmark = pytest.mark.exhaustive

LEARNERS = {
    "tree": DecisionTreeClassifier(max_depth=2, random_state=0),
    "the same": DecisionTreeClassifier(max_depth=2, random_state=0),
    "constant": DummyClassifier(strategy="prior"),
    "bayes": GaussianNB(),
    "margins": RidgeClassifier(),
    "labels": NearestCentroid(metric="manhattan"),
}
FEATURES = {
    "ordinary": lambda X: X,
    "constant": lambda X: np.ones_like(X),
    "copies": lambda X: np.repeat(X[:, :1], X.shape[1], axis=1),
    "zeros and ones": lambda X: (X > 0).astype(float),
    "huge": lambda X: X * 1e4,
}
# what may be refused, in the words of the error
DOCUMENTED = (
    "a classifier needs two", "At least two classes", "greater than the number of",
    "need dense rows", "No learner has any out-of-fold prediction",
    "has an out-of-fold prediction to learn from",
)  # fmt: skip


@settings(FIXED, max_examples=25 * TIMES)
@given(
    n=st.sampled_from([1, 3, 12, 30, 200, 200]),
    n_classes=st.sampled_from([1, 2, 2, 3, 6]),
    rare=st.booleans(),
    features=st.sampled_from(sorted(FEATURES)),
    container=st.sampled_from(sorted(CONTAINERS)),
    names=st.lists(st.sampled_from(sorted(LEARNERS)), min_size=1, max_size=4, unique=True),
    aggregator=st.sampled_from(["auto", "mean", "weighted", "linear_pool"]),
    options=st.fixed_dictionaries(
        {},
        optional={
            "refit": st.just("bag"),
            "passthrough": st.just(True),
            "cv": st.sampled_from([2, 3]),
        },
    ),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_stack_gives_probabilities_or_a_documented_error(
    n, n_classes, rare, features, container, names, aggregator, options, seed
):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2 if rare else n_classes, n) % n_classes
    first = np.arange(n_classes)[:n]
    codes[: len(first)] = first
    P = FEATURES[features](rng.normal(size=(n, 3)) + codes[:, None])
    X, y = CONTAINERS[container](P), np.array(list("cbadef"))[codes]
    before = np.array(P)
    if isinstance(X, np.ndarray):
        X.flags.writeable = False
    model = CFEStackingClassifier(
        [(name, LEARNERS[name]) for name in names],
        CFEnsembleClassifier(aggregator=aggregator, cv=2),
        progress=False,
        **options,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.fit(X, y)
        except (ValueError, TypeError, RuntimeError) as error:
            if not any(words in str(error) for words in DOCUMENTED):
                raise
            return
        check_probabilities(model.predict_proba(X), n, len(set(y)))
        assert set(model.predict(X)) <= set(y)
    np.testing.assert_array_equal(P, before)
