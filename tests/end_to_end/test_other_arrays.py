"""Tensors, and arrays of other libraries than NumPy."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from cfe_stack import CFEnsembleClassifier, CFEnsembleTrainer, CFEStackingClassifier, EnsembleData


def test_tensors_are_read_in_training_and_prediction():
    torch = pytest.importorskip("torch")
    R, labels = np.random.default_rng(0).random((3, 40)), np.arange(40) % 2
    trainer = CFEnsembleTrainer(latent_dim=2, max_iter=3, tol=0, random_state=0)
    trainer.fit(EnsembleData(torch.tensor(R), torch.tensor(labels)))
    proba = trainer.predict_proba(R)
    np.testing.assert_array_equal(trainer.predict_proba(torch.tensor(R)), proba)
    with pytest.raises(ValueError, match="R must be an array of numbers: "):
        trainer.predict_proba(torch.tensor(R).to_sparse())
    P = R.T
    model = CFEnsembleClassifier(aggregator="log_pool", cv=2)
    proba = clone(model).fit(P, labels).predict_proba(P)
    found = model.fit(torch.tensor(P), torch.tensor(labels)).predict_proba(torch.tensor(P))
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, proba)
    rounded = torch.tensor(R, dtype=torch.bfloat16)
    for tensor, same in (
        (torch.tensor(R, requires_grad=True), R),
        (rounded, rounded.float().numpy()),
    ):
        np.testing.assert_array_equal(EnsembleData(tensor).R, same)
        np.testing.assert_array_equal(trainer.predict_proba(tensor), trainer.predict_proba(same))
        expected = clone(model).fit(same.T, labels).predict_proba(same.T)
        found = clone(model).fit(tensor.T, labels).predict_proba(tensor.T)
        np.testing.assert_array_equal(found, expected)


def check_array_api(dispatch):
    """Compare what arrays of array_api_strict give with what NumPy's give."""
    import array_api_strict as xp
    import sklearn

    R, labels = np.random.default_rng(0).random((3, 40)), np.arange(40) % 2
    P = np.ascontiguousarray(R.T)
    bases = [("bayes", GaussianNB()), ("tree", DecisionTreeClassifier(random_state=0))]
    final = CFEnsembleClassifier(aggregator="log_pool", cv=2, layout="class1")
    with sklearn.config_context(array_api_dispatch=dispatch):
        for model in (final, CFEStackingClassifier(bases, final, cv=2, progress=False)):
            expected = clone(model).fit(P, labels)
            found = clone(model).fit(xp.asarray(P), xp.asarray(labels))
            for method in ("predict_proba", "predict", "transform"):
                one, other = (getattr(m, method) for m in (found, expected))
                assert isinstance(one(xp.asarray(P)), np.ndarray)
                np.testing.assert_array_equal(one(xp.asarray(P)), other(P))
        trainer = CFEnsembleTrainer(latent_dim=2, max_iter=3, tol=0, random_state=0)
        trainer.fit(EnsembleData(xp.asarray(R), xp.asarray(labels)))
        proba = trainer.predict_proba(R)
        np.testing.assert_array_equal(trainer.predict_proba(xp.asarray(R)), proba)


def test_arrays_of_the_array_api_are_read():
    pytest.importorskip("array_api_strict")
    check_array_api(dispatch=False)


def test_arrays_of_the_array_api_are_read_under_dispatch():
    pytest.importorskip("array_api_strict")
    pytest.importorskip("sklearn", minversion="1.9", reason="older versions need array_api_compat")
    # SciPy looks at the variable when it is imported
    code = (
        "import os, sys; os.environ['SCIPY_ARRAY_API'] = '1'; sys.path.insert(0, sys.argv[1]);"
        "import test_other_arrays as tests; tests.check_array_api(dispatch=True)"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
