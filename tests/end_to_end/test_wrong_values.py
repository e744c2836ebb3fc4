"""Wrong values of every constructor parameter: an error that names it, before any work."""

import inspect
from importlib.util import find_spec

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from stacked_columns import stacked

from cfe_stack import (
    CFEnsembleClassifier,
    CFEnsemblePyTorchTrainer,
    CFEnsembleTrainer,
    CFEStackingClassifier,
    EnsembleData,
)

P, Y, R = stacked(4, 40, random_state=1)
BASES = [("a", GaussianNB()), ("b", GaussianNB(var_smoothing=0.1))]
WRONG = {
    "text": "nonsense",
    "bytes": b"x",
    "negative": -1.5,
    "nan": np.nan,
    "infinite": np.inf,
    "complex": 1 + 2j,
    "list": [1, 2],
    "empty": [],
    "array": np.array([1, 2]),
    "object": object(),
    "class": GaussianNB,
}
# values of which one is right for the parameter
RIGHT = {
    "missing_label": {"text", "bytes", "negative", "nan", "infinite", "complex", "object", "class"},
    "memory": {"text"},
}
ESTIMATORS = {
    "classifier": (CFEnsembleClassifier, {}, (P, Y)),
    "als": (CFEnsembleTrainer, {}, (EnsembleData(R, Y),)),
    "stack": (
        CFEStackingClassifier,
        {"estimators": BASES, "final_estimator": LogisticRegression(), "cv": 2},
        (P, Y),
    ),
}
if find_spec("torch"):
    ESTIMATORS["joint"] = (CFEnsemblePyTorchTrainer, {}, (EnsembleData(R, Y),))


def parameters():
    for kind, (estimator, _, _) in ESTIMATORS.items():
        names = set(inspect.signature(estimator).parameters)
        yield from (pytest.param(kind, name, id=f"{kind}-{name}") for name in sorted(names))


@pytest.mark.parametrize(("kind", "name"), list(parameters()))
def test_a_wrong_value_is_an_error_that_names_the_parameter(kind, name):
    estimator, given, data = ESTIMATORS[kind]
    for what, value in WRONG.items():
        if what in RIGHT.get(name, ()):
            continue
        model = estimator(**given | {name: value})
        # a schedule or a scorer that cannot be called like one says so in its own words, and a
        # list of learners speaks of its learners
        words = f"{name}|{'GaussianNB' if what == 'class' else 'learner'}"
        with pytest.raises((ValueError, TypeError), match=words):
            model.fit(*data)
        assert not [learned for learned in vars(model) if learned.endswith("_")], what
