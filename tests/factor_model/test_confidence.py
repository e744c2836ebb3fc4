import numpy as np
import pytest
from implementations import CONFIDENCES

from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.factor_model.confidence import (
    STRATEGIES,
    AdaptiveConfidence,
    CalibrationConfidence,
    CertaintyConfidence,
    LabelAwareConfidence,
    UniformConfidence,
    agreement,
    certainty,
    make_confidence,
    true_class_probability,
)

every_confidence = pytest.mark.parametrize("strategy", CONFIDENCES.values(), ids=CONFIDENCES)
nan = np.nan

R2 = np.array([[0.9, 0.2, nan], [0.6, 0.5, 0.3]])
LABELS2 = np.array([1, 0, -1])
R3 = np.array([[[0.7, 0.2, 0.1], [0, 0, 1]], [[1 / 3, 1 / 3, 1 / 3], [nan, nan, nan]]])
LABELS3 = np.array([1, 2])


@pytest.fixture(params=[2, 3], ids=["binary", "three classes"])
def data(request):
    """Six classifiers on forty instances, a quarter of the cells missing, half unlabeled."""
    rng = np.random.default_rng(1)
    R = rng.dirichlet(np.ones(request.param), size=(6, 40))
    R[rng.random((6, 40)) < 0.25] = nan
    labels = np.where(np.arange(40) % 2, rng.integers(request.param, size=40), -1)
    return EnsembleData(R, labels)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (UniformConfidence(), [[1, 1, 0], [1, 1, 1]]),
        (CertaintyConfidence(), [[0.4, 0.3, 0], [0.1, 0, 0.2]]),
        # Brier scores (0.01 + 0.04) / 2 and (0.16 + 0.25) / 2
        (CalibrationConfidence(), [[0.975, 0.975, 0], [0.795, 0.795, 0.795]]),
        (CalibrationConfidence(floor=0.8), [[0.975, 0.975, 0], [0.8, 0.8, 0.8]]),
        # spreads 0.15, 0.15, 0 of at most 0.5: agreement 0.7, 0.7, 1
        (AdaptiveConfidence(), [[0.6325, 0.5825, 0], [0.4285, 0.3785, 0.5385]]),
        (AdaptiveConfidence((0, 0, 1)), [[0.7, 0.7, 0], [0.7, 0.7, 1]]),
    ],
)
def test_binary_formulas(strategy, expected):
    fitted = strategy.fit(EnsembleData(R2, LABELS2))
    np.testing.assert_allclose(fitted.prediction_weights(R2), expected, atol=1e-15)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (LabelAwareConfidence(), [[0.4 * 1.9, 0.3 * 1.8, 0], [0.1 * 1.6, 0, 0.2]]),
        (LabelAwareConfidence(UniformConfidence(), 2.0), [[2.8, 2.6, 0], [2.2, 2.0, 1]]),
        (LabelAwareConfidence(alpha=0.0), [[0.4, 0.3, 0], [0.1, 0, 0.2]]),
        (
            LabelAwareConfidence(CalibrationConfidence()),
            [[0.975 * 1.9, 0.975 * 1.8, 0], [1.272, 1.1925, 0.795]],
        ),
    ],
)
def test_binary_label_aware_formula(strategy, expected):
    fitted = strategy.fit(EnsembleData(R2, LABELS2))
    np.testing.assert_allclose(fitted.training_weights(R2, LABELS2), expected, atol=1e-15)


DISTANCE = 0.5 * np.sqrt((11**2 + 4**2 + 7**2) / 30**2 / (2 / 3))
"""(0.7, 0.2, 0.1) is (11, −4, −7) / 30 away from the uniform distribution."""
BRIER = 0.5 * (0.49 + 0.64 + 0.01)
SPREAD = np.sqrt((11**2 + 4**2 + 7**2) / 60**2 / (2 / 3))
"""The two predictions of the first instance are half their difference away from their mean."""


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (UniformConfidence(), [[1, 1], [1, 0]]),
        (CertaintyConfidence(), [[DISTANCE, 0.5], [0, 0]]),
        (LabelAwareConfidence(), [[DISTANCE * 1.2, 0.5 * 2], [0, 0]]),
        (LabelAwareConfidence(UniformConfidence()), [[1.2, 2], [4 / 3, 0]]),
        (CalibrationConfidence(), [[1 - BRIER / 2] * 2, [1 - 0.5 * (2 / 9 + 4 / 9), 0]]),
        (AdaptiveConfidence((0, 0, 1)), [[1 - SPREAD, 1], [1 - SPREAD, 0]]),
    ],
)
def test_multiclass_formulas(strategy, expected):
    weights = strategy.fit(EnsembleData(R3, LABELS3)).training_weights(R3, LABELS3)
    np.testing.assert_allclose(weights, expected, atol=1e-14)


def test_two_classes_as_multiclass_have_the_binary_scale():
    as_multiclass = np.stack([1 - R2, R2], axis=2)
    for measure in (certainty, agreement):
        np.testing.assert_allclose(measure(as_multiclass), measure(R2), atol=1e-15)
    np.testing.assert_allclose(
        true_class_probability(as_multiclass, LABELS2), true_class_probability(R2, LABELS2)
    )


def test_bounds_of_the_measures():
    for n_classes in (2, 3, 10):
        corners = np.stack([np.eye(n_classes), np.eye(n_classes)[::-1]])
        R = corners[:, :, 1] if n_classes == 2 else corners
        np.testing.assert_allclose(certainty(R), 0.5)
        assert ((agreement(R) >= 0) & (agreement(R) <= 1)).all()
    np.testing.assert_allclose(agreement(np.array([[0.0, 1, nan], [1, 1, nan]])), [0, 1, 0])


@every_confidence
def test_weights_are_one_nonnegative_number_per_cell_and_zero_where_missing(strategy, data):
    fitted = strategy.fit(data)
    missing = np.isnan(data.R) if data.n_classes == 2 else np.isnan(data.R).any(axis=2)
    for weights in (
        fitted.prediction_weights(data.R),
        fitted.training_weights(data.R, data.labels),
    ):
        assert weights.shape == (6, 40)
        np.testing.assert_array_equal(weights[missing], 0)
        assert (weights[~missing] > 0).all()
        assert np.isfinite(weights).all()


@every_confidence
def test_a_cell_with_one_missing_class_is_missing(strategy):
    R = R3.copy()
    R[0, 0, 2] = nan
    weights = strategy.fit(EnsembleData(R, LABELS3)).training_weights(R, LABELS3)
    assert weights[0, 0] == weights[1, 1] == 0
    assert weights[0, 1] > 0


@every_confidence
def test_prediction_never_asks_for_labels_and_training_only_where_they_are_known(strategy, data):
    fitted = strategy.fit(data)
    free = fitted.prediction_weights(data.R)
    nobody = np.full(40, -1)
    np.testing.assert_array_equal(fitted.training_weights(data.R, nobody), free)
    known = data.labels >= 0
    trained = fitted.training_weights(data.R, data.labels)
    np.testing.assert_array_equal(trained[:, ~known], free[:, ~known])
    uses_labels = isinstance(strategy, LabelAwareConfidence)
    assert (trained[:, known] != free[:, known]).any() == uses_labels
    shuffled = np.random.default_rng(0).permutation(data.labels)
    fitted.training_weights(data.R, shuffled)
    np.testing.assert_array_equal(fitted.prediction_weights(data.R), free)


@every_confidence
def test_label_aware_weights_lie_between_the_base_and_its_multiple(strategy, data):
    fitted = strategy.fit(data)
    free, trained = fitted.prediction_weights(data.R), fitted.training_weights(data.R, data.labels)
    alpha = getattr(strategy, "alpha", 0.0)
    assert (trained >= free).all()
    assert (trained <= (1 + alpha) * free * (1 + 1e-15)).all()


@every_confidence
def test_blocks_are_weighed_as_the_whole(strategy, data):
    fitted = strategy.fit(data)
    whole = fitted.training_weights(data.R, data.labels)
    parts = [fitted.training_weights(b.R, b.labels) for b in data.blocks(size=7)]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-14)


@every_confidence
def test_dtype_is_kept_and_input_left_alone(strategy, data):
    R = data.R.astype(np.float32)
    before = R.copy()
    fitted = strategy.fit(EnsembleData(R, data.labels))
    single = fitted.training_weights(R, data.labels)
    assert single.dtype == fitted.prediction_weights(R).dtype == np.float32
    np.testing.assert_array_equal(R, before)
    double = strategy.fit(data).training_weights(data.R, data.labels)
    np.testing.assert_allclose(single, double, rtol=1e-5, atol=1e-6)


@every_confidence
def test_fit_returns_a_copy_and_sample_weights_are_frequencies(strategy, data):
    frequency = np.random.default_rng(2).integers(0, 3, size=40)
    rows = np.repeat(np.arange(40), frequency)
    weighted = strategy.fit(EnsembleData(data.R, data.labels, sample_weight=frequency))
    repeated = strategy.fit(EnsembleData(data.R[:, rows], data.labels[rows]))
    np.testing.assert_allclose(
        weighted.prediction_weights(data.R), repeated.prediction_weights(data.R), rtol=1e-13
    )
    if "calibration" in repr(strategy).lower():
        with pytest.raises(RuntimeError, match=r"CalibrationConfidence.fit must run before"):
            strategy.prediction_weights(data.R)


@every_confidence
def test_a_cell_without_confidence_counts_no_more_than_a_missing_one(strategy, data):
    drop = np.random.default_rng(3).random((6, 40)) < 0.3
    holed = data.R.copy()
    holed[drop] = nan
    excluded = strategy.fit(EnsembleData(data.R, data.labels, C=np.where(drop, 0.0, 1.0)))
    missing = strategy.fit(EnsembleData(holed, data.labels))
    R = np.random.default_rng(4).dirichlet(np.ones(data.n_classes), size=(6, 5))
    R = R[:, :, 1] if data.n_classes == 2 else R
    np.testing.assert_allclose(
        excluded.prediction_weights(R), missing.prediction_weights(R), rtol=1e-13
    )


@pytest.mark.parametrize("floor", [0.1, 0.3])
def test_calibration_floor(floor):
    R = np.array([[1.0, 1.0, 0.5], [nan, nan, 0.5], [0.0, 0.0, 0.5]])
    fitted = CalibrationConfidence(floor).fit(EnsembleData(R, [0, 0, -1]))
    np.testing.assert_allclose(fitted.classifier_weights, [floor, floor, 1.0])
    unlabeled = CalibrationConfidence(floor).fit(EnsembleData(R))
    np.testing.assert_allclose(unlabeled.classifier_weights, floor)


@pytest.mark.parametrize("shares", [(1, 0, 0), (0, 1, 0), (0.25, 0.25, 0.5)])
def test_adaptive_is_the_mixture_of_its_shares(shares, data):
    fitted = AdaptiveConfidence(shares).fit(data)
    parts = [certainty(data.R), CalibrationConfidence().fit(data).base(data.R), agreement(data.R)]
    mixture = sum(share * part for share, part in zip(shares, parts, strict=True))
    np.testing.assert_allclose(fitted.prediction_weights(data.R), np.nan_to_num(mixture), rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "options", "strategy"),
    [
        ("uniform", {}, UniformConfidence()),
        ("certainty", {}, CertaintyConfidence()),
        ("label_aware", {}, LabelAwareConfidence(CertaintyConfidence(), 1.0)),
        (
            "label_aware",
            {"label_aware_alpha": 2.0},
            LabelAwareConfidence(CertaintyConfidence(), 2.0),
        ),
        ("uniform", {"label_aware": True}, LabelAwareConfidence(UniformConfidence(), 1.0)),
        ("calibration", {}, CalibrationConfidence()),
        ("adaptive", {"adaptive_shares": (1.0, 0.0, 0.0)}, AdaptiveConfidence((1.0, 0.0, 0.0))),
    ],
)
def test_make_confidence(name, options, strategy):
    assert make_confidence(name, **options) == strategy


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sure", {}, r"confidence must be one of \['adaptive', .*'uniform'\], got 'sure'"),
        ("label_aware", {"label_aware_alpha": -1.0}, "label_aware_alpha must be .*>= 0, got -1.0"),
        ("label_aware", {"label_aware_alpha": nan}, "label_aware_alpha must be .*>= 0, got nan"),
        ("label_aware", {"label_aware_alpha": np.inf}, "label_aware_alpha must be .* got inf"),
        ("adaptive", {"adaptive_shares": (0.5, 0.5)}, r"sum to 1 .* got \(0.5, 0.5\)"),
        ("adaptive", {"adaptive_shares": (0.5, 0.4, 0.3)}, r"got \(0.5, 0.4, 0.3\)"),
        ("adaptive", {"adaptive_shares": (1.5, -0.3, -0.2)}, r"got \(1.5, -0.3, -0.2\)"),
        ("adaptive", {"adaptive_shares": 0.5}, "three numbers .* got 0.5"),
    ],
)
def test_bad_confidence(name, options, message):
    assert name == "sure" or name in STRATEGIES
    with pytest.raises(ValueError, match=message):
        make_confidence(name, **options)
