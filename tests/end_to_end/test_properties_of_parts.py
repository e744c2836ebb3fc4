"""Any input to the parts: calibration, gates, layouts with links and confidences, joint descent."""

import warnings
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stacked_columns import columns
from test_properties import (
    FIXED,
    FORMS,
    TIMES,
    check_probabilities,
    fitted_or_refused,
    matrices,
)

from cfe_stack import CFEnsembleClassifier, CFEnsemblePyTorchTrainer, EnsembleData
from cfe_stack.factor_model.confidence import STRATEGIES
from cfe_stack.pools.calibration import calibrate
from cfe_stack.pools.gates import Gates, linear_gate

pytestmark = pytest.mark.exhaustive

LAYOUTS_OF = {
    2: ["class1", "class0", "blocks", "margins", "labels", "scores"],
    3: ["blocks", "drop_first", "drop_last", "margins", "ovo", "labels"],
}
# log-odds as they come: ordinary, saturated, tiny, all equal, without information
SIZES_OF_SCORES = {"ordinary": 1.0, "sure": 40.0, "tiny": 1e-9, "huge": 1e6, "nothing": 0.0}
quick = settings(FIXED, max_examples=25 * TIMES)


@st.composite
def scores(draw):
    """Draw log-odds (n, m) or log-ratios (n, K, m), codes and weights, some of them 0."""
    m, n = draw(st.sampled_from([1, 2, 10, 60])), draw(st.sampled_from([2, 3, 30, 500]))
    n_classes = draw(st.sampled_from([2, 3, 7]))
    n = max(n, n_classes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    codes = rng.integers(0, n_classes, n) * (rng.random(n) < draw(st.sampled_from([1.0, 0.05])))
    codes[:n_classes] = np.arange(n_classes)
    shape = (n, m) if n_classes == 2 else (n, n_classes, m)
    Z = rng.normal(size=shape) * SIZES_OF_SCORES[draw(st.sampled_from(sorted(SIZES_OF_SCORES)))]
    if draw(st.booleans()):
        Z = np.round(Z)
    if n_classes == 2:
        Z += draw(st.sampled_from([0, 2])) * (2 * codes - 1)[:, None]
    else:
        Z -= Z.mean(axis=1, keepdims=True)
    weights = rng.integers(0, 3, n).astype(float) if draw(st.booleans()) else np.ones(n)
    weights[:n_classes] = 1
    return Z, codes, weights


def calibration_loss(Z, codes, weights, slope, offset):
    """Return what calibration minimises, of every classifier (m,)."""
    S = Z * slope + offset
    if Z.ndim == 2:
        losses = np.logaddexp(0, np.where(codes[:, None] == 1, -S, S))
    else:
        top = S.max(axis=1, keepdims=True)
        log_sum = top[:, 0] + np.log(np.exp(S - top).sum(axis=1))
        losses = log_sum - S[np.arange(len(S)), codes]
    return weights @ losses + 0.5 * ((slope - 1) ** 2 + offset**2)


@quick
@given(scores())
def test_calibration_is_finite_never_turns_a_learner_over_and_helps(made):
    Z, codes, weights = made
    before = Z.copy()
    found = calibrate(Z, codes, weights)
    np.testing.assert_array_equal(Z, before)
    assert np.isfinite([found.slope, found.offset]).all()
    assert (found.slope >= 0).all()
    if Z.ndim == 3:
        assert (found.offset == 0).all()
    best = calibration_loss(Z, codes, weights, found.slope, found.offset)
    # a classifier that says nothing keeps its offset at 0 instead of taking the class frequencies
    speaks = (Z != 0).reshape(-1, Z.shape[-1]).any(axis=0)
    for slope, offset in ((1.0, 0.0), (0.0, 0.0), (0.5, 0.0)):
        other = calibration_loss(Z, codes, weights, np.full(len(best), slope), offset)
        assert (best <= other + 1e-6 * (1 + np.abs(other)))[speaks].all()


@quick
@given(
    scores(),
    st.sampled_from([1, 3, 80]),
    st.sampled_from(["ordinary", "alike", "nothing", "one is all"]),
    st.sampled_from([np.float32, np.float64]),
)
def test_gates_are_finite_inside_one_and_standardised(made, latent_dim, kind, dtype):
    Z, _, weights = made
    rng = np.random.default_rng(len(Z))
    n_rows = Z[0].size
    factors = rng.normal(size=(latent_dim, n_rows))
    Y = rng.normal(size=(latent_dim, len(Z))).astype(dtype)
    if kind == "alike":
        Y[:] = Y[:, :1]
    if kind == "nothing":
        factors[:] = 0
    if kind == "one is all":
        Y[1:], factors[1:] = 0, 0
    gates = Gates.fit(factors, Y, Z, weights)
    values = gates.values(Y, Z)
    assert values.shape == (len(Z), 1 if Z.ndim == 2 else 2)
    assert np.isfinite(values).all()
    assert (np.abs(values) <= 1).all()
    if kind == "nothing":
        assert (values[:, 0] == 0).all()
    if kind == "ordinary":
        first = np.arctanh(np.clip(values[:, 0], -1 + 1e-15, 1 - 1e-15))
        seen = weights > 0
        if (np.abs(first[seen]) < 15).all():
            assert abs(first @ weights) < 1e-3 * weights.sum()
    direction = rng.normal(size=Z.shape[1:])
    gate = linear_gate(Z, direction, np.array([0.5]))
    assert gate.shape == (len(Z),)
    assert (np.abs(gate) <= 1).all()


@quick
@given(
    made=matrices(largest=2_000, most_learners=7, most_classes=5),
    link=st.sampled_from(["identity", "logit"]),
    confidence=st.sampled_from(sorted(STRATEGIES)),
    aggregator=st.sampled_from(["log_pool", "gated_pool", "weighted", "mean", "linear_pool"]),
    data=st.data(),
)
def test_every_layout_with_every_link_and_confidence(made, link, confidence, aggregator, data):
    R, codes = made
    n_classes = 2 if R.ndim == 2 else R.shape[2]
    layout = data.draw(st.sampled_from(LAYOUTS_OF[min(n_classes, 3)]))
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore")
        clipped = np.clip(R, 1e-4, 1 - 1e-4) if layout in ("margins", "ovo") else R
        P = columns(clipped, "class1" if layout == "scores" else layout)
        before = P.copy()
        P.flags.writeable = False
        model = CFEnsembleClassifier(
            aggregator=aggregator, layout=layout, link=link, confidence=confidence, cv=2
        )
        if not fitted_or_refused(model, P, codes):
            return
        check_probabilities(model.predict_proba(P), len(codes), n_classes)
        check_probabilities(model.predict_proba(P[:1]), 1, n_classes)
        reconstruction = model.transform(P)
        assert np.isfinite(reconstruction).all()
    np.testing.assert_array_equal(P, before)


@pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")
@quick
@given(
    made=matrices(largest=4_000, most_learners=30),
    dtype=st.sampled_from(["float32", "float64"]),
    form=st.sampled_from(sorted(FORMS)),
    link=st.sampled_from(["identity", "logit"]),
    confidence=st.sampled_from(sorted(set(STRATEGIES) - {"label_aware"})),
    aggregator=st.sampled_from(["weighted", "mean", "log_pool", "gated_pool"]),
    optimizer=st.sampled_from(["adam", "adamw", "sgd", "lbfgs"]),
    options=st.fixed_dictionaries(
        {},
        optional={
            "standardize": st.just(True),
            "init": st.just("random"),
            "focal_gamma": st.sampled_from([0.3, 2.0]),
            "instance_factors": st.just("free"),
            "lambda_reg": st.sampled_from([0.0, 1e-6, 10.0]),
            "rho": st.sampled_from([0.0, 1.0]),
            "lr": st.sampled_from([1e-3, 0.3]),
        },
    ),
)
def test_joint_descent_gives_probabilities_or_a_documented_error(
    made, dtype, form, link, confidence, aggregator, optimizer, options
):
    R, codes = made
    labels = np.where(np.arange(len(codes)) % 4 == 3, -1, codes)
    labels[: codes.max() + 1] = codes[: codes.max() + 1]
    given_R = FORMS[form](R.astype(dtype))
    given_R.flags.writeable = False
    trainer = CFEnsemblePyTorchTrainer(
        latent_dim=2, max_epochs=4, dtype=dtype, link=link, confidence=confidence,
        aggregator_type=aggregator, optimizer=optimizer, random_state=0, **options,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)
        if not fitted_or_refused(trainer, EnsembleData(given_R, labels)):
            return
        n_classes = 2 if R.ndim == 2 else R.shape[2]
        check_probabilities(trainer.predict_proba(given_R), len(codes), n_classes)
        check_probabilities(trainer.predict_proba(given_R[:, :1]), 1, n_classes)
        check_probabilities(trainer.transductive_proba_, len(codes), n_classes)
