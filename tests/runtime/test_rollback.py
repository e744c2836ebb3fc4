"""Fits that are cut short, by Ctrl-C or for want of memory: whole, or as if never begun."""

import pickle
from importlib.util import find_spec

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
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
from cfe_stack.classifier.predictor import Predictor

P, Y, R = stacked(5, 90)
OTHER, OTHER_Y, OTHER_R = stacked(4, 60, random_state=5)
ERRORS = [KeyboardInterrupt, MemoryError]
every_error = pytest.mark.parametrize("error", ERRORS)


def cut_short_at(monkeypatch, owner, name, calls, error):
    """Make a method raise an error in one of its calls."""
    original, seen = getattr(owner, name), []

    def counted(*args, **kwargs):
        seen.append(1)
        if len(seen) == calls:
            raise error("cut short")
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)


def check_untouched(model, fit, other_fit, X, error, cut):
    """Cut a first fit and a second one short, and compare with what was there before."""
    before = pickle.dumps(vars(model))
    with pytest.MonkeyPatch.context() as patch:
        cut(patch)
        with pytest.raises(error, match="cut short"):
            fit(model)
    assert pickle.dumps(vars(model)) == before
    with pytest.raises(NotFittedError):
        model.predict_proba(X)
    proba = fit(model).predict_proba(X)
    with pytest.MonkeyPatch.context() as patch:
        cut(patch)
        with pytest.raises(error, match="cut short"):
            other_fit(model)
    np.testing.assert_array_equal(model.predict_proba(X), proba)


@every_error
@pytest.mark.parametrize("options", [{}, {"supervision": "majorize"}], ids=["plain", "majorize"])
def test_alternating_least_squares(error, options):
    model = CFEnsembleTrainer(latent_dim=2, max_iter=9, tol=0, random_state=0, **options)
    check_untouched(
        model,
        lambda model: model.fit(EnsembleData(R, Y)),
        lambda model: model.fit(EnsembleData(OTHER_R, OTHER_Y)),
        R,
        error,
        lambda patch: cut_short_at(patch, CFEnsembleTrainer, "_record", 3, error),
    )


@pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")
def test_joint_descent_without_memory():
    """An interrupt keeps its best state instead: tests/trainers/test_pytorch_trainer.py."""
    check_untouched(
        CFEnsemblePyTorchTrainer(latent_dim=2, max_epochs=9, tol=0),
        lambda model: model.fit(EnsembleData(R, Y)),
        lambda model: model.fit(EnsembleData(OTHER_R, OTHER_Y)),
        R,
        MemoryError,
        lambda patch: cut_short_at(patch, CFEnsemblePyTorchTrainer, "_record", 3, MemoryError),
    )


@pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")
def test_joint_descent_interrupted_in_its_first_epoch_is_where_it_started(monkeypatch):
    model = CFEnsemblePyTorchTrainer(latent_dim=2, max_epochs=9)
    cut_short_at(monkeypatch, CFEnsemblePyTorchTrainer, "_record", 1, KeyboardInterrupt)
    proba = model.fit(EnsembleData(R, Y)).predict_proba(R)
    assert model.n_iter_ == 0
    assert np.isfinite(proba).all()


@every_error
@pytest.mark.parametrize("place", [(CFEnsembleTrainer, "fit"), (Predictor, "fit")], ids=str)
def test_the_classifier(error, place):
    def cut(patch):
        owner, name = place

        def refuse(*args, **kwargs):
            raise error("cut short")

        patch.setattr(owner, name, refuse)

    check_untouched(
        CFEnsembleClassifier(aggregator="log_pool"),
        lambda model: model.fit(P, Y),
        lambda model: model.fit(OTHER, OTHER_Y),
        P,
        error,
        cut,
    )


def test_a_refused_refit_leaves_the_last_fit():
    model = CFEnsembleClassifier(aggregator="log_pool").fit(P, Y)
    proba = model.predict_proba(P)
    for X, y in ((P + 2, np.zeros(90)), (OTHER[:, :2], OTHER_Y[:3]), (P[:, :3], Y * 0)):
        with pytest.raises(ValueError, match="."):
            model.fit(X, y)
        np.testing.assert_array_equal(model.predict_proba(P), proba)


def test_a_stack_keeps_what_it_has_collected(monkeypatch):
    fits = []
    original = GaussianNB.fit
    monkeypatch.setattr(GaussianNB, "fit", lambda *a, **k: fits.append(1) or original(*a, **k))
    bases = [("bayes", GaussianNB()), ("logistic", LogisticRegression())]
    stack = CFEStackingClassifier(bases, CFEnsembleClassifier(aggregator="log_pool"), cv=3)
    with monkeypatch.context() as patch:
        cut_short_at(patch, CFEnsembleClassifier, "fit", 1, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            stack.fit(P, Y)
    assert not any(name.endswith("_") for name in vars(stack))
    with pytest.raises(NotFittedError):
        stack.predict(P)
    done = len(fits)
    assert stack.fit(P, Y).predict_proba(P).shape == (90, 2)
    assert done == len(fits) == 4
