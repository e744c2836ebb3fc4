"""Contracts of every setting of the classifier: scikit-learn's, then our own."""

import pickle
import warnings
from importlib.util import find_spec

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks
from stacked_columns import log_loss_of, stacked

from cfe_stack import CFEnsembleClassifier, CFEnsembleTrainer

TRAINER = CFEnsembleTrainer(
    latent_dim=2, lambda_reg=1.0, link="logit", standardize=True, init="spectral",
    aggregator_type="log_pool", confidence="certainty", max_iter=300,
)  # fmt: skip
SETTINGS = {
    "default": {},
    "trainer": {"trainer": TRAINER, "aggregator": "log_pool"},
    "gated": {"aggregator": "gated_pool", "link": "identity", "confidence": "label_aware", "cv": 2},
    "signed": {"aggregator": "signed_pool", "focal_gamma": 2.0, "confidence": "adaptive", "cv": 2},
    "linear": {"aggregator": "linear_pool", "scoring": "neg_log_loss", "cv": 2},
    "greedy": {"aggregator": "greedy_selection", "cv": 2, "confidence": "calibration"},
    "mean": {"aggregator": "mean", "confidence": "adaptive"},
    "weighted": {
        "aggregator": "weighted",
        "link": "identity",
        "latent_dim": 2,
        "class_weight": "balanced",
        "focal_gamma": 0.5,
    },
}
if find_spec("torch"):
    SETTINGS["pytorch"] = {"trainer": "pytorch"}


# of two pools that are fitted by the same code, scikit-learn's checks see one
CHECKED = [CFEnsembleClassifier(**SETTINGS[name]) for name in SETTINGS if name != "signed"]


# scikit-learn checks with random numbers, which are not predictions: their layout is a guess, and
# there may be nothing to learn from them
@pytest.mark.first_cases("estimator")
@pytest.mark.filterwarnings("ignore::cfe_stack.LayoutWarning")
@pytest.mark.filterwarnings("ignore::cfe_stack.trainers.CollapsedAggregatorWarning")
@parametrize_with_checks(CHECKED)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.fixture(params=SETTINGS)
def classifier(request):
    return CFEnsembleClassifier(**SETTINGS[request.param])


@pytest.fixture(params=[2, 3], ids=["binary", "three classes"])
def problem(request):
    """Return columns with missing cells, codes and weights."""
    P, codes, _ = stacked(6, 100, request.param, missing_rate=0.1)
    weights = np.random.default_rng(0).integers(0, 4, len(P)).astype(float)
    return P, codes, weights


def permuted_learners(P, n_classes, seed=0):
    k = 1 if n_classes == 2 else n_classes
    order = np.random.default_rng(seed).permutation(P.shape[1] // k)
    return np.concatenate([P[:, u * k : (u + 1) * k] for u in order], axis=1), order


@pytest.mark.first_cases("problem")
def test_equal_data_give_equal_bits_and_stay_as_they_are(classifier, problem):
    P, codes, weights = problem
    copies = P.copy(), codes.copy(), weights.copy()
    for array in problem:
        array.flags.writeable = False
    first = clone(classifier).fit(P, codes, sample_weight=weights)
    proba = first.predict_proba(P)
    again = clone(classifier).fit(P, codes, sample_weight=weights).predict_proba(P)
    np.testing.assert_array_equal(again, proba)
    np.testing.assert_array_equal(
        first.fit(P, codes, sample_weight=weights).predict_proba(P), proba
    )
    for array, copy in zip(problem, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.first_cases("problem")
def test_sample_weights_are_frequencies(classifier, problem):
    P, codes, weights = problem
    rows = np.repeat(np.arange(len(P)), weights.astype(int))
    folds = np.arange(len(P)) % 5

    def with_folds(given):
        splits = [(np.flatnonzero(given != f), np.flatnonzero(given == f)) for f in range(5)]
        return clone(classifier).set_params(cv=splits)

    weighted = with_folds(folds).fit(P, codes, sample_weight=weights)
    repeated = with_folds(folds[rows]).fit(P[rows], codes[rows])
    np.testing.assert_allclose(repeated.predict_proba(P), weighted.predict_proba(P), atol=1e-7)
    np.testing.assert_allclose(repeated.transform(P), weighted.transform(P), atol=1e-7)


@pytest.mark.first_cases("problem")
def test_the_order_of_rows_does_not_matter(classifier, problem):
    P, codes, weights = problem
    order = np.random.default_rng(0).permutation(len(P))
    first = clone(classifier).fit(P, codes, sample_weight=weights)
    second = clone(classifier).fit(P[order], codes[order], sample_weight=weights[order])
    np.testing.assert_allclose(second.predict_proba(P), first.predict_proba(P), atol=1e-8)


@pytest.mark.first_cases("problem")
def test_the_order_of_base_learners_does_not_matter(classifier, problem):
    P, codes, _ = problem
    moved, order = permuted_learners(P, codes.max() + 1)
    first, second = clone(classifier).fit(P, codes), clone(classifier).fit(moved, codes)
    np.testing.assert_allclose(second.predict_proba(moved), first.predict_proba(P), atol=1e-8)
    np.testing.assert_allclose(second.weights_, first.weights_[order], atol=1e-7)


@pytest.mark.first_cases("problem")
def test_a_row_is_predicted_alone_as_among_others(classifier, problem):
    P, codes, _ = problem
    model = classifier.fit(P, codes)
    every = model.predict_proba(P)
    each = np.concatenate([model.predict_proba(P[[i]]) for i in range(10)])
    np.testing.assert_allclose(each, every[:10], atol=1e-10)


@pytest.mark.first_cases("problem")
@pytest.mark.parametrize("through", [pickle, joblib], ids=["pickle", "joblib"])
def test_models_survive_storage(classifier, problem, through, tmp_path):
    P, codes, _ = problem
    model = classifier.fit(P, codes)
    if through is pickle:
        loaded = pickle.loads(pickle.dumps(model))
    else:
        joblib.dump(model, tmp_path / "model")
        loaded = joblib.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_proba(P), model.predict_proba(P))
    assert repr(loaded) == repr(model)


@pytest.mark.first_cases("problem")
@pytest.mark.parametrize("form", ["float32", "fortran", "csr", "csc array", "list"])
def test_the_form_of_the_columns_does_not_matter(problem, form):
    P, codes, _ = problem
    classifier = CFEnsembleClassifier(aggregator="log_pool")
    P = np.nan_to_num(P, nan=0.5 if codes.max() == 1 else 1 / 3).astype(np.float32)
    make = {
        "float32": np.array,
        "fortran": lambda A: np.asfortranarray(A, dtype=float),
        "csr": lambda A: sparse.csr_matrix(A.astype(float)),
        "csc array": lambda A: sparse.csc_array(A.astype(float)),
        "list": lambda A: A.astype(float).tolist(),
    }[form]
    plain = clone(classifier).fit(P.astype(float), codes).predict_proba(P.astype(float))
    other = clone(classifier).fit(make(P), codes).predict_proba(make(P))
    np.testing.assert_allclose(other, plain, atol=1e-3 if form == "float32" else 1e-10)


def test_methods_before_fit_say_so(classifier, problem):
    P = problem[0]
    for method in ("predict", "predict_proba", "decision_function", "transform", "explain"):
        with pytest.raises(NotFittedError):
            getattr(classifier, method)(P)
    with pytest.raises(NotFittedError):
        classifier.get_feature_names_out()


@pytest.mark.first_cases("problem")
def test_something_is_learned(classifier, problem):
    P, codes, _ = problem
    proba = classifier.fit(P, codes).predict_proba(P)
    assert log_loss_of(proba, codes) < 0.95 * np.log(codes.max() + 1)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert np.isfinite(classifier.decision_function(P)).all()


@pytest.mark.first_cases("problem")
def test_classifiers_explain_themselves(classifier, problem):
    P, codes, _ = problem
    model = classifier.fit(P, codes)
    np.testing.assert_allclose(model.explain(P).sum(axis=-1), model.decision_function(P))
    signed = ("auto", "signed_pool", "bounded_pool", "weighted")
    assert (model.weights_ >= 0).all() or model.aggregator in signed


@pytest.mark.first_cases("problem")
def test_fitting_is_silent_and_touches_no_global_state(classifier, problem, capsys):
    P, codes, _ = problem
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - the state that must not change
    params = repr(classifier.get_params())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier.fit(P, codes).predict(P)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert repr(classifier.get_params()) == params
    assert capsys.readouterr() == ("", "")
