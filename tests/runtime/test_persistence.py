"""Stored models: equal bits, a stamp that is checked, and files that run nothing."""

import copy
import importlib
import io
import pickle
from importlib.util import find_spec
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.naive_bayes import GaussianNB
from stacked_columns import stacked

import cfe_stack
from cfe_stack import (
    CFEnsembleClassifier,
    CFEnsemblePyTorchTrainer,
    CFEnsembleTrainer,
    CFEStackingClassifier,
    EnsembleData,
    compare_ensembles,
)
from cfe_stack.comparison.problems import StoredProblem
from cfe_stack.out_of_fold.cache import DamagedEntryError, FoldCache
from cfe_stack.prediction_files.files import read_predictions
from cfe_stack.runtime.persistence import FORMAT, TRUSTED_TYPES, Stamped, StoredFormatError

GOLDEN = Path(__file__).parent / "golden"
P, Y, R = stacked(4, 80, missing_rate=0.1)
P3, Y3, R3 = stacked(4, 80, 3, missing_rate=0.1)
IRIS = load_iris(return_X_y=True)
BASES = [("logistic", LogisticRegression(max_iter=500)), ("bayes", GaussianNB())]


def stack(refit):
    quick = CFEnsembleClassifier(aggregator="log_pool", cv=2)
    return CFEStackingClassifier(BASES, quick, cv=3, refit=refit).fit(*IRIS), IRIS[0]


def trained(trainer, R=R, codes=Y):
    return trainer.fit(EnsembleData(R, codes)), R


MADE = {
    "classifier": lambda: (CFEnsembleClassifier().fit(P, Y), P),
    "three classes": lambda: (CFEnsembleClassifier(aggregator="signed_pool").fit(P3, Y3), P3),
    "linear": lambda: (CFEnsembleClassifier(aggregator="linear_pool", cv=2).fit(P, Y), P),
    "margins": lambda: (CFEnsembleClassifier(cv=2, layout="margins").fit(P, Y), P),
    "weighted": lambda: (CFEnsembleClassifier(aggregator="weighted").fit(P, Y), P),
    "als": lambda: trained(CFEnsembleTrainer(latent_dim=2, random_state=0)),
    "majorize": lambda: trained(
        CFEnsembleTrainer(latent_dim=2, supervision="majorize", tol=1e-2), R3, Y3
    ),
    "stack": lambda: stack("full"),
    "bagged stack": lambda: stack("bag"),
}
if find_spec("torch"):
    MADE["joint"] = lambda: trained(CFEnsemblePyTorchTrainer(latent_dim=2, optimizer="lbfgs"))
    MADE["gated joint"] = lambda: trained(
        CFEnsemblePyTorchTrainer(
            latent_dim=2, link="logit", aggregator_type="gated_pool", optimizer="lbfgs"
        )
    )


@pytest.fixture(scope="module", params=MADE)
def made(request):
    return MADE[request.param]()


def through_joblib(model):
    buffer = io.BytesIO()
    joblib.dump(model, buffer, compress=3)
    buffer.seek(0)
    return joblib.load(buffer)


def through_skops(model):
    skops = pytest.importorskip("skops.io")
    return skops.loads(skops.dumps(model), trusted=TRUSTED_TYPES)


WAYS = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "joblib": through_joblib,
    "skops": through_skops,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.first_cases
@pytest.mark.parametrize("way", WAYS)
def test_a_stored_model_predicts_the_same_bits(made, way):
    model, X = made
    loaded = WAYS[way](model)
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert repr(loaded) == repr(model)
    assert {name for name in vars(loaded) if name.startswith("_cfe")} == set()
    # and again, so that loading has lost nothing that storing needs
    np.testing.assert_array_equal(WAYS[way](loaded).predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_model_moves_between_precisions(dtype):
    other = np.float64 if dtype is np.float32 else np.float32
    for fit in (
        lambda P, R: CFEnsembleClassifier(aggregator="log_pool").fit(P, Y).predict_proba,
        lambda P, R: CFEnsembleTrainer(latent_dim=2, random_state=0, lambda_reg=1.0).fit(
            EnsembleData(R, Y)
        ),
    ):
        model = fit(P.astype(dtype), R.astype(dtype))
        same, new = (
            (model(P.astype(t)) if callable(model) else model.predict_proba(R.astype(t)))
            for t in (dtype, other)
        )
        np.testing.assert_allclose(new, same, atol=2e-5)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_stored_does_not_depend_on_what_was_predicted_before(way):
    whole, codes, _ = stacked(4, 80)
    model = CFEnsembleClassifier(aggregator="log_pool", cv=2).fit(whole, codes)
    before = pickle.dumps(model)
    proba = model.predict_proba(whole)
    assert pickle.dumps(model) == before
    np.testing.assert_array_equal(WAYS[way](model).predict_proba(whole), proba)


def test_a_stack_with_a_model_of_torch_goes_through_skops():
    pytest.importorskip("torch")
    model = CFEStackingClassifier(
        BASES, CFEnsembleClassifier("pytorch", aggregator="log_pool", cv=2), cv=2, progress=False
    ).fit(*IRIS)
    proba = model.predict_proba(IRIS[0])
    np.testing.assert_array_equal(through_skops(model).predict_proba(IRIS[0]), proba)


def test_a_comparison_goes_through_skops():
    data = EnsembleData(R, Y)
    made = compare_ensembles(data, contenders=["mean"], cv=2, progress=False)
    assert str(through_skops(made)) == str(made)


def test_every_trusted_type_exists():
    for name in TRUSTED_TYPES:
        module, kind = name.rsplit(".", 1)
        assert callable(getattr(importlib.import_module(module), kind))
    assert list(TRUSTED_TYPES) == sorted(TRUSTED_TYPES)


def test_types_of_others_are_not_trusted():
    skops = pytest.importorskip("skops.io")
    scorer = get_scorer("roc_auc")
    model = CFEnsembleClassifier(aggregator="linear_pool", cv=2, scoring=scorer).fit(P, Y)
    stored = skops.dumps(model)
    others = set(skops.get_untrusted_types(data=stored)) - set(TRUSTED_TYPES)
    assert others
    assert all(name.startswith("sklearn.metrics.") for name in others)
    with pytest.raises(Exception, match="sklearn.metrics"):
        skops.loads(stored, trusted=TRUSTED_TYPES)


class FromAnotherVersion(CFEnsembleClassifier):
    """A classifier whose file says whatever a test wants it to say."""

    stamp = {}

    def __getstate__(self):
        state = super().__getstate__()
        for name in ("_cfe_stack_version", "_cfe_stack_format"):
            state.pop(name)
        return state | self.stamp


@pytest.mark.parametrize(
    ("stamp", "words"),
    [
        ({"_cfe_stack_version": "9.1", "_cfe_stack_format": FORMAT + 1}, "stored by cfe_stack 9.1"),
        ({"_cfe_stack_version": "9.1"}, "stored by cfe_stack 9.1 in format None"),
        ({}, "a version that left no stamp"),
    ],
)
def test_a_file_of_another_format_is_refused_with_both_versions(monkeypatch, stamp, words):
    monkeypatch.setattr(FromAnotherVersion, "stamp", stamp)
    stored = pickle.dumps(FromAnotherVersion())
    with pytest.raises(StoredFormatError, match=words) as caught:
        pickle.loads(stored)
    assert f"cfe_stack {cfe_stack.__version__} reads format {FORMAT}" in str(caught.value)


def test_a_later_version_of_the_same_format_is_read(monkeypatch):
    stamp = {"_cfe_stack_version": "9.1", "_cfe_stack_format": FORMAT}
    monkeypatch.setattr(FromAnotherVersion, "stamp", stamp)
    assert pickle.loads(pickle.dumps(FromAnotherVersion(cv=7))).cv == 7


def test_copies_carry_no_stamp():
    model = CFEnsembleClassifier()
    assert vars(clone(model)) == vars(model) == vars(copy.copy(model))


def test_every_public_estimator_is_stamped():
    public = [getattr(cfe_stack, name) for name in cfe_stack.__all__]
    estimators = [kind for kind in public if hasattr(kind, "get_params")]
    assert len(estimators) == 4
    assert all(issubclass(kind, Stamped) for kind in estimators)


def golden():
    models = pickle.loads((GOLDEN / "models.pickle").read_bytes())
    with np.load(GOLDEN / "predictions.npz", allow_pickle=False) as arrays:
        return [(n, m, arrays[f"{n}.X"], arrays[f"{n}.p"]) for n, m in models.items()]


@pytest.mark.skipif(np.__version__ < "2", reason="NumPy 1 does not read pickles of NumPy 2")
def test_models_of_the_first_release_predict_what_they_did():
    """A failure here means a new FORMAT, or that old files have to be read."""
    read = golden()
    assert len(read) == 6
    for name, model, X, proba in read:
        np.testing.assert_allclose(model.predict_proba(X), proba, atol=1e-10, err_msg=name)


def test_golden_files_are_small():
    assert sum(path.stat().st_size for path in GOLDEN.iterdir()) < 50_000


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (Path(self.mark),)


def test_a_pickle_in_an_array_file_is_not_run(tmp_path):
    mark = tmp_path / "mark"
    bomb = np.array([Bomb(str(mark))], dtype=object)
    np.save(tmp_path / "oof.npy", bomb)
    with pytest.raises(ValueError, match="need pickle are not opened"):
        read_predictions([tmp_path / "oof.npy"])
    with pytest.raises(ValueError, match="R must be|pickle|[Oo]bject"):
        EnsembleData(tmp_path / "oof.npy", [0])
    np.savez(tmp_path / "problem.npz", n_classes=2, ytr0=bomb)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        StoredProblem.open(tmp_path / "problem.npz")
    cache = FoldCache(tmp_path / "cache")
    cache.path("abc").parent.mkdir(parents=True)
    for part in ("scores", "details", "checksum"):
        parts = {"scores": np.ones((1, 2)), "details": np.array("{}"), "checksum": np.array("")}
        np.savez(cache.path("abc"), **(parts | {part: bomb}))
        with pytest.raises(DamagedEntryError, match="allow_pickle=False"):
            cache.load("abc")
    assert not mark.exists()
    # the bomb is live: this is what must not happen
    pickle.loads(pickle.dumps(bomb))
    assert mark.exists()
