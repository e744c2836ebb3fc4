import sys

import numpy as np
import pytest

from cfe_stack.comparison.dynamic_selection import ColumnClassifier, dynamic_selection
from cfe_stack.datasets import make_ensemble
from cfe_stack.runtime.optional_packages import MissingExtraError


def test_a_column_classifier_hands_out_its_columns():
    X = np.array([[0.1, 0.9, 0.7, 0.3]])
    second = ColumnClassifier(2, 2)
    np.testing.assert_array_equal(second.predict_proba(X), [[0.7, 0.3]])
    assert second.fit(X, [1]).predict(X) == [0]


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "deslib.des", None)
    P = np.full((4, 2, 2), 0.5)
    with pytest.raises(MissingExtraError, match=r"cfe-stack\[comparison\]"):
        dynamic_selection("KNORAU", P, np.array([0, 1, 0, 1]), P)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", ["KNORAU", "METADES"])
def test_selection_is_better_than_a_learner_without_skill(name, n_classes):
    pytest.importorskip("deslib")
    skill = np.array([0.0, 0.0, 0.0, 2.0, 2.0])
    made = make_ensemble(5, 400, n_classes, skill=skill, random_state=0)
    R = np.stack([1 - made.R, made.R], axis=2) if n_classes == 2 else made.R
    P, codes = R.transpose(1, 0, 2), made.labels
    proba = dynamic_selection(name, P[:250], codes[:250], P[250:])
    assert proba.shape == (150, n_classes)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert np.mean(proba.argmax(axis=1) == codes[250:]) > 1.5 / n_classes
