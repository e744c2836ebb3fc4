"""Any matrix: valid probabilities, or an error that is documented; never a changed input."""

import os
import warnings

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optional_packages import pandas as pd
from scipy import sparse

from cfe_stack import CFEnsembleClassifier, CFEnsembleTrainer, EnsembleData
from cfe_stack.classifier.final_aggregators import FINAL_AGGREGATORS
from cfe_stack.factor_model.confidence import STRATEGIES

pytestmark = pytest.mark.exhaustive

# PROPERTY_EXAMPLES=10 draws ten times as many examples, others in every run
TIMES = int(os.environ.get("PROPERTY_EXAMPLES", "1"))
# the same examples every time: a test that fails by chance helps nobody
FIXED = settings(
    derandomize=TIMES == 1,
    deadline=None,
    max_examples=40 * TIMES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
SIZES = st.sampled_from([1, 2, 3, 7, 30, 100, 300])
ROWS = st.sampled_from([2, 3, 5, 11, 40, 200, 1000, 5000])
CLASSES = st.sampled_from([2, 2, 2, 3, 5, 30])
SPOILERS = {
    "nothing": lambda R, rng: R,
    "holes": lambda R, rng: _holed(R, rng.random(R.shape[:2]) < 0.4),
    "empty rows": lambda R, rng: _holed(R, np.arange(R.shape[1]) % 3 == 1),
    "silent learner": lambda R, rng: _holed(R, (np.arange(len(R)) == 0)[:, None]),
    "hard": lambda R, rng: np.round(R) if R.ndim == 2 else np.eye(R.shape[2])[R.argmax(axis=2)],
    "constant": lambda R, rng: np.broadcast_to(R[:, :1], R.shape).copy(),
    "copies": lambda R, rng: np.broadcast_to(R[:1], R.shape).copy(),
    "equal": lambda R, rng: np.full_like(R, 1 / (2 if R.ndim == 2 else R.shape[2])),
    "zeros and ones": lambda R, rng: _saturated(R, rng),
}
CONTAINERS = {
    "array": lambda P: P,
    "Fortran": np.asfortranarray,
    "strided": lambda P: np.repeat(P, 2, axis=1)[:, ::2],
    "backwards": lambda P: P[::-1].copy()[::-1],
    "float32": lambda P: P.astype(np.float32),
    "float16": lambda P: P.astype(np.float16),
    "list": lambda P: P.tolist(),
    "pandas": pd.DataFrame,
    "polars": lambda P: pl.DataFrame(P, schema=[f"c{j}" for j in range(P.shape[1])]),
    "sparse": sparse.csr_matrix,
}
FORMS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "strided": lambda R: np.repeat(R, 2, axis=1)[:, ::2],
}


def _holed(R, holes):
    holes = np.broadcast_to(holes, R.shape[:2])
    return np.where(holes if R.ndim == 2 else holes[:, :, None], np.nan, R)


def _saturated(R, rng):
    sure = rng.random(R.shape[:2]) < 0.5
    extreme = SPOILERS["hard"](R, rng)
    return np.where(sure if R.ndim == 2 else sure[:, :, None], extreme, R)


@st.composite
def matrices(draw, largest=40_000, most_learners=300, most_classes=30):
    """Draw an ensemble matrix of about so many cells at most with labels: (R, codes)."""
    m, n, n_classes = (
        draw(SIZES.filter(lambda m: m <= most_learners)),
        draw(ROWS),
        draw(CLASSES.filter(lambda k: k <= most_classes)),
    )
    # no more cells than a test can wait for
    n = max(min(n, largest // (m * n_classes)), n_classes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rate = draw(st.sampled_from([0.5, 0.02, 1e-4]))
    if n_classes == 2:
        codes = (rng.random(n) < rate).astype(int)
        logits = 2 * codes - 1 + rng.normal(size=(m, n)) * 2
        R = 1 / (1 + np.exp(-logits))
    else:
        codes = rng.integers(0, n_classes, n)
        weights = np.exp(rng.normal(size=(m, n, n_classes)) + 2 * np.eye(n_classes)[codes])
        R = weights / weights.sum(axis=2, keepdims=True)
    codes[:n_classes] = np.arange(n_classes)
    return SPOILERS[draw(st.sampled_from(sorted(SPOILERS)))](R, rng), codes


def fitted_or_refused(estimator, *data):
    """Fit, and tell whether that worked; any error but a documented one is raised."""
    try:
        estimator.fit(*data)
    except ValueError as error:
        if "contains no predictions" not in str(error):
            raise
        return False
    return True


def check_probabilities(proba, n, n_classes):
    assert proba.shape == (n, n_classes)
    assert np.isfinite(proba).all()
    assert (proba >= 0).all()
    assert (proba <= 1).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-9)


@FIXED
@given(
    made=matrices(),
    aggregator=st.sampled_from(sorted(FINAL_AGGREGATORS)),
    container=st.sampled_from(sorted(CONTAINERS)),
    options=st.fixed_dictionaries(
        {},
        optional={
            "class_weight": st.just("balanced"),
            "focal_gamma": st.sampled_from([0.3, 2.0]),
            "link": st.just("identity"),
            "confidence": st.sampled_from(sorted(STRATEGIES)),
            "latent_dim": st.sampled_from([1, 20]),
            "cv": st.just(2),
        },
    ),
)
def test_the_classifier_gives_probabilities_or_a_documented_error(
    made, aggregator, container, options
):
    R, codes = made
    n_classes = 2 if R.ndim == 2 else R.shape[2]
    P = R.T if n_classes == 2 else R.transpose(1, 0, 2).reshape(len(codes), -1)
    layout = "class1" if n_classes == 2 else "blocks"
    X = CONTAINERS[container](np.ascontiguousarray(P))
    before = np.array(P)
    if isinstance(X, np.ndarray):
        X.flags.writeable = False
    model = CFEnsembleClassifier(aggregator=aggregator, layout=layout, **options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)
        if not fitted_or_refused(model, X, codes):
            return
        check_probabilities(model.predict_proba(X), len(codes), n_classes)
        assert set(model.predict(X)) <= set(range(n_classes))
        if aggregator != "mean":
            np.testing.assert_allclose(
                model.explain(X).sum(axis=-1)[:50], model.decision_function(X)[:50], atol=1e-8
            )
    np.testing.assert_array_equal(np.array(P), before)


@FIXED
@given(
    made=matrices(),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    form=st.sampled_from(sorted(FORMS)),
    link=st.sampled_from(["identity", "logit"]),
    confidence=st.sampled_from(sorted(STRATEGIES)),
    aggregator=st.sampled_from(["weighted", "mean", "log_pool"]),
    options=st.fixed_dictionaries(
        {},
        optional={
            "standardize": st.just(True),
            "init": st.just("spectral"),
            "focal_gamma": st.sampled_from([0.3, 2.0]),
            "aggregator_solver": st.just("converged"),
            "latent_dim": st.sampled_from([1, 5]),
            "lambda_reg": st.sampled_from([1e-6, 10.0]),
        },
    ),
)
def test_the_trainer_gives_probabilities_or_a_documented_error(
    made, dtype, form, link, confidence, aggregator, options
):
    check_trainer(
        made, dtype, form, link=link, confidence=confidence, aggregator_type=aggregator, **options
    )


@settings(FIXED, max_examples=20 * TIMES)
@given(
    made=matrices(largest=2_000, most_learners=30, most_classes=5),
    form=st.sampled_from(sorted(FORMS)),
    link=st.sampled_from(["identity", "logit"]),
    confidence=st.sampled_from(sorted(set(STRATEGIES) - {"label_aware"})),
    gamma=st.sampled_from([0.0, 0.3, 2.0]),
)
def test_majorised_supervision_gives_probabilities_or_a_documented_error(
    made, form, link, confidence, gamma
):
    settings = {"link": link, "confidence": confidence, "focal_gamma": gamma, "latent_dim": 3}
    check_trainer(made, np.float64, form, supervision="majorize", **settings)


def check_trainer(made, dtype, form, **settings):
    R, codes = made
    labels = np.where(np.arange(len(codes)) % 4 == 3, -1, codes)
    labels[: codes.max() + 1] = codes[: codes.max() + 1]
    n_classes = 2 if R.ndim == 2 else R.shape[2]
    given_R = FORMS[form](R.astype(dtype))
    given_R.flags.writeable = False
    trainer = CFEnsembleTrainer(max_iter=5, random_state=0, **settings)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)
        if not fitted_or_refused(trainer, EnsembleData(given_R, labels)):
            return
        check_probabilities(trainer.predict_proba(given_R), len(codes), n_classes)
        check_probabilities(trainer.predict_proba(given_R[:, :1]), 1, n_classes)
    check_probabilities(trainer.transductive_proba_, len(codes), n_classes)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_positive_in_ten_thousand(dtype):
    rng = np.random.default_rng(0)
    codes = np.zeros(20_000, dtype=int)
    codes[[17, 12_000]] = 1
    P = (0.05 * rng.random((20_000, 5)) + 0.9 * codes[:, None] * rng.random((20_000, 5))).astype(
        dtype
    )
    proba = CFEnsembleClassifier(layout="class1").fit(P, codes).predict_proba(P)
    check_probabilities(proba, 20_000, 2)
    assert proba[codes == 1, 1].min() > np.quantile(proba[codes == 0, 1], 0.99)
    assert 0.5 < proba[:, 1].sum() / codes.sum() < 2
