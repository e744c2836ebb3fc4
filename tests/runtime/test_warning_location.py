import inspect
import tempfile
import warnings

import numpy as np
import pytest
from counting_learners import Misbehaving
from sklearn.datasets import load_iris
from sklearn.model_selection import KFold
from sklearn.naive_bayes import GaussianNB

from cfe_stack import (
    CFEnsembleClassifier,
    CFEnsembleTrainer,
    CFEStackingClassifier,
    EnsembleData,
    collect_out_of_fold,
)
from cfe_stack.runtime.warning_location import user_stacklevel

X, Y = load_iris(return_X_y=True)
MARKED = np.column_stack([np.arange(150), X])
BASES = [("bayes", GaussianNB()), ("bad", Misbehaving("raises"))]
RNG = np.random.default_rng(0)
P = np.clip(RNG.normal(0.5, 0.2, (100, 4)), 0, 1)
CODES = (P.mean(axis=1) > 0.5).astype(int)


def broken_stack():
    """Return a fitted stack, one of whose learners cannot predict any more."""
    stack = CFEStackingClassifier(
        [("one", GaussianNB()), ("two", GaussianNB(var_smoothing=0.1))],
        CFEnsembleClassifier(aggregator="mean"),
        cv=3,
        progress=False,
    ).fit(X, Y)
    del stack.named_estimators_.one.theta_
    return stack


def lazy_data():
    """Return a collection whose models are fitted when somebody looks at them."""
    with tempfile.TemporaryDirectory() as folder:
        return collect_out_of_fold(
            [("fine", GaussianNB()), ("bad", FailsOnAllRows())],
            X,
            Y,
            cv=3,
            memory=folder,
            progress=False,
        )


class FailsOnAllRows(GaussianNB):
    def fit(self, X, y, sample_weight=None):
        if len(X) == 150:
            raise MemoryError
        return super().fit(X, y, sample_weight)


BROKEN = broken_stack()
CALLS = {
    "layout": lambda: CFEnsembleClassifier(aggregator="mean").fit(np.hstack([P, 9 * P]), CODES),
    "rows": lambda: CFEnsembleClassifier(aggregator="mean").fit(
        np.vstack([P, np.full((1, 4), np.nan)]), [*CODES, 0]
    ),
    "trainer": lambda: CFEnsembleTrainer(4, latent_dim=1, max_iter=2, tol=1e-12).fit(
        EnsembleData(P.T, CODES)
    ),
    "collection": lambda: collect_out_of_fold(BASES, MARKED, Y, cv=KFold(5), progress=False),
    "stack": lambda: CFEStackingClassifier(
        BASES, CFEnsembleClassifier(aggregator="mean"), cv=KFold(5), progress=False
    ).fit(MARKED, Y),
    "model": lambda: list(lazy_data().models),
    "prediction": lambda: BROKEN.predict(X),
}


@pytest.mark.parametrize("name", CALLS)
def test_warnings_point_to_the_line_of_the_user(name):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        CALLS[name]()
    assert caught
    lines, first = inspect.getsourcelines(CALLS[name])
    for warning in caught:
        assert warning.filename == __file__
        assert first <= warning.lineno < first + len(lines)


def test_outside_the_package_it_is_the_line_itself():
    assert user_stacklevel() == 1
