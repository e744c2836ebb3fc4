import pickle

import numpy as np
import pytest
from implementations import GAMMAS, LOSSES
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logit, softmax
from sklearn.utils.class_weight import compute_sample_weight

from cfe_stack.losses.class_weight import class_weights, instance_weights, prior_log_odds
from cfe_stack.losses.focal_loss import FocalLoss, loss_gradient
from cfe_stack.losses.raw_scores import margin_directions, margins, probabilities
from cfe_stack.losses.schedules import CosineSchedule, LinearSchedule, scheduled

MODERATE = np.linspace(-9, 9, 61)
EXTREME = np.array([-1e4, -1e3, -100.0, -20.0, -1.0, 0.0, 1.0, 20.0, 100.0, 1e3, 1e4])
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def slope(function, x, step=1e-3):
    """Four-point derivative: about step**4 from truncation and 1e-13 from rounding."""
    near = function(x + step) - function(x - step)
    far = function(x + 2 * step) - function(x - 2 * step)
    return (8 * near - far) / (12 * step)


@pytest.mark.parametrize(
    ("gamma", "delta", "p", "value"),
    [
        (0.0, None, 0.5, np.log(2)),
        (0.0, 0.1, 0.25, np.log(4)),
        (1.0, None, 0.9, 0.1 * np.log(10 / 9)),
        (2.0, None, 0.5, 0.25 * np.log(2)),
        (2.0, 0.1, 0.6, 0.25 * np.log(5 / 3)),
        (0.5, None, 0.75, np.sqrt(0.251) * np.log(4 / 3)),
        (0.5, 0.0, 0.75, 0.5 * np.log(4 / 3)),
        (5.0, None, 0.1, 0.59049 * np.log(10)),
    ],
)
def test_known_values(gamma, delta, p, value):
    assert FocalLoss(gamma, delta).value(logit(p)) == pytest.approx(value, rel=1e-12)


@every_loss
def test_value_is_the_formula_of_probabilities(loss):
    p = expit(MODERATE)
    formula = -((1 - p + loss.smoothing) ** loss.gamma) * np.log(p)
    # 1 − p near 1 loses what p = 0.9999 leaves of the digits
    np.testing.assert_allclose(loss.value(MODERATE), formula, rtol=1e-10)


@every_loss
def test_derivative_and_curvature_are_numerical_ones(loss):
    np.testing.assert_allclose(loss.derivative(MODERATE), slope(loss.value, MODERATE), atol=1e-10)
    numerical = slope(loss.derivative, MODERATE)
    np.testing.assert_allclose(loss.curvature(MODERATE), np.maximum(numerical, 0), atol=1e-10)


@every_loss
def test_loss_falls_as_the_margin_grows_to_nothing_for_a_perfect_prediction(loss):
    assert (np.diff(loss.value(MODERATE)) < 0).all()
    assert (loss.derivative(EXTREME) <= 0).all()
    assert loss.value(np.array([40.0])) < 1e-17
    assert loss.value(np.array([1e4])) == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@every_loss
def test_extreme_margins_are_finite(loss, dtype):
    margin = EXTREME.astype(dtype)
    for result in (loss.value(margin), loss.derivative(margin), loss.curvature(margin)):
        assert np.isfinite(result).all()
        assert result.dtype == dtype
    worst = 1e4 * (1 + loss.smoothing) ** loss.gamma
    assert loss.value(margin)[0] == pytest.approx(worst, rel=1e-5)
    assert loss.derivative(margin)[0] == pytest.approx(-worst / 1e4, rel=1e-5)


@every_loss
def test_weights_multiply_and_count_rows(loss):
    weights = np.array([2.0, 0.0, 1.0, 3.0])
    margin = np.array([-1.0, 5.0, 0.5, 2.0])
    for rule in ("exact", "reweighted"):
        law = FocalLoss(loss.gamma, loss.delta, rule)
        repeated = np.repeat(margin, weights.astype(int))
        assert law.normalizer(margin, weights) == pytest.approx(
            law.normalizer(repeated, np.ones(6)), rel=1e-14
        )
        assert law.normalizer(margin, 7 * weights) == pytest.approx(
            7 * law.normalizer(margin, weights), rel=1e-14
        )


@every_loss
def test_pickle(loss):
    assert pickle.loads(pickle.dumps(loss)) == loss


@pytest.mark.parametrize("delta", [None, 0.0, 0.1])
def test_gamma_zero_is_the_logistic_loss(delta):
    loss = FocalLoss(0.0, delta)
    np.testing.assert_array_equal(loss.value(EXTREME), np.logaddexp(0, -EXTREME))
    np.testing.assert_array_equal(loss.derivative(EXTREME), -expit(-EXTREME))
    np.testing.assert_array_equal(loss.modulation(EXTREME), 1)


@pytest.mark.parametrize(
    ("p", "share"),
    [(0.95, 0.0025), (0.80, 0.04), (0.60, 0.16), (0.51, 0.24), (0.30, 0.49), (0.10, 0.81)],
)
def test_gradient_share_of_the_reweighted_rule(p, share):
    focal = FocalLoss(2.0, gradient="reweighted").derivative(logit(p))
    kept = focal / FocalLoss(0.0).derivative(logit(p))
    assert kept == pytest.approx(share, abs=1e-12 if p != 0.51 else 2e-4)


@pytest.mark.parametrize(("confidence", "fold"), [(0.5, 4), (0.9, 100)])
def test_how_much_focal_loss_cuts(confidence, fold):
    margin = logit(confidence)
    cut = FocalLoss(0.0).value(margin) / FocalLoss(2.0).value(margin)
    assert cut == pytest.approx(fold, rel=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_reweighted_rule_is_no_gradient_of_the_loss_and_has_its_own_normaliser(gamma):
    exact, rule = FocalLoss(gamma), FocalLoss(gamma, gradient="reweighted")
    np.testing.assert_array_equal(exact.value(MODERATE), rule.value(MODERATE))
    np.testing.assert_allclose(
        rule.derivative(MODERATE), -rule.modulation(MODERATE) * expit(-MODERATE), rtol=1e-14
    )
    assert np.abs(rule.derivative(MODERATE) - slope(rule.value, MODERATE)).max() > 0.1
    weights = np.linspace(1, 2, len(MODERATE))
    assert exact.normalizer(MODERATE, weights) == pytest.approx(weights.sum())
    assert rule.normalizer(MODERATE, weights) == pytest.approx(
        (weights * rule.modulation(MODERATE)).sum()
    )


@pytest.mark.parametrize(("gamma", "used"), [(0, 0), (0.5, 1e-3), (0.99, 1e-3), (1, 0), (2, 0)])
def test_default_smoothing_is_where_the_derivative_is_singular(gamma, used):
    assert FocalLoss(gamma).smoothing == used
    assert FocalLoss(gamma, 0.25).smoothing == 0.25


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"gamma": -0.1}, "focal_gamma must be .*number >= 0, got -0.1"),
        ({"gamma": np.inf}, "focal_gamma must be .*number >= 0, got inf"),
        ({"gamma": np.nan}, "focal_gamma must be .*number >= 0, got nan"),
        ({"delta": -1e-3}, "focal_delta must be .*number >= 0, got -0.001"),
        ({"delta": np.nan}, "focal_delta must be .*number >= 0, got nan"),
        ({"gradient": "sources"}, "focal_gradient must be 'exact' or 'reweighted', got 'sources'"),
    ],
)
def test_bad_loss_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        FocalLoss(**parameters)


@pytest.fixture
def multiclass():
    rng = np.random.default_rng(0)
    return rng.normal(scale=3, size=(40, 4)), rng.integers(4, size=40)


def test_margins_of_two_classes():
    scores, labels = np.array([1.5, -2.0, 0.5]), np.array([1, 0, 0])
    np.testing.assert_array_equal(margins(scores, labels), [1.5, 2.0, -0.5])
    np.testing.assert_array_equal(margin_directions(scores, labels), [1, -1, -1])


def test_multiclass_cross_entropy(multiclass):
    scores, labels = multiclass
    expected = -log_softmax(scores, axis=1)[np.arange(40), labels]
    value = FocalLoss(0.0).value(margins(scores, labels))
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("shift", [-0.5, 0.0, 3.0])
def test_two_classes_as_multiclass_are_binary(shift):
    binary, labels = np.array([1.5, -2.0, 0.5, 700.0]), np.array([1, 0, 0, 1])
    scores = np.column_stack([np.full(4, shift), binary + shift])
    np.testing.assert_allclose(margins(scores, labels), margins(binary, labels), rtol=1e-14)
    np.testing.assert_allclose(probabilities(scores), probabilities(binary), rtol=1e-13)
    expected = margin_directions(binary, labels)
    np.testing.assert_allclose(margin_directions(scores, labels)[:, 1], expected)
    np.testing.assert_allclose(margin_directions(scores, labels)[:, 0], -expected)


def test_margin_directions_are_the_numerical_gradient(multiclass):
    scores, labels = multiclass
    numerical = np.empty_like(scores)
    for k, unit in enumerate(np.eye(4)):
        numerical[:, k] = slope(lambda t, unit=unit: margins(scores + t * unit, labels), 0.0)
    np.testing.assert_allclose(margin_directions(scores, labels), numerical, atol=1e-10)


@pytest.mark.parametrize("loss", [FocalLoss(), FocalLoss(0.5), FocalLoss(2.0)])
def test_the_gradient_in_the_scores_is_numerical(multiclass, loss):
    scores, labels = multiclass
    for raw, codes in ((scores, labels), (scores[:, 0], labels % 2)):
        gradient = loss_gradient(raw, codes, loss).reshape(len(raw), -1)
        for k, step in enumerate(1e-6 * np.eye(raw[0].size).reshape(-1, *raw.shape[1:])):
            above, below = (loss.value(margins(raw + s, codes)) for s in (step, -step))
            np.testing.assert_allclose(gradient[:, k], (above - below) / 2e-6, atol=1e-8)


def test_margins_leave_the_scores_alone_and_bear_large_ones(multiclass):
    scores, labels = multiclass
    before = scores.copy()
    margins(scores, labels), margin_directions(scores, labels), probabilities(scores)
    np.testing.assert_array_equal(scores, before)
    margin = margins(1e4 * scores, labels)
    others = np.where(np.eye(4, dtype=bool)[labels], -np.inf, scores).max(axis=1)
    expected = 1e4 * (scores[np.arange(40), labels] - others)
    np.testing.assert_allclose(margin, expected, rtol=1e-12, atol=np.log(3))
    assert np.isfinite(margin_directions(1e4 * scores, labels)).all()


def test_probabilities(multiclass):
    scores = multiclass[0]
    np.testing.assert_allclose(probabilities(scores), softmax(scores, axis=1), rtol=1e-13)
    np.testing.assert_allclose(probabilities(np.array([0.0, np.log(4)])), [[0.5, 0.5], [0.2, 0.8]])
    for extreme in (EXTREME, np.outer(EXTREME, [1, -1, 0.5])):
        np.testing.assert_allclose(probabilities(extreme).sum(axis=1), 1, rtol=1e-14)


LABELS = np.array([0, 0, 0, 1, 2, 2])


@pytest.mark.parametrize("choice", [None, "balanced", {0: 2.0, 2: 0.5}, {0: 0, 1: 1, 2: 3}])
@pytest.mark.parametrize("labels", [LABELS, LABELS[[0, 1, 4]]], ids=["all", "a class is absent"])
def test_class_weights_are_those_of_scikit_learn(choice, labels):
    expected = compute_sample_weight(choice, labels)
    np.testing.assert_allclose(instance_weights(labels, 3, class_weight=choice), expected)


def test_class_weight_dict_is_keyed_by_the_labels():
    classes = np.array(["no", "maybe", "yes"])
    weights = instance_weights(LABELS, 3, class_weight={"yes": 4.0}, classes=classes)
    np.testing.assert_array_equal(weights, [1, 1, 1, 1, 4, 4])


@pytest.mark.parametrize("choice", ["balanced", {0: 2.0, 1: 5.0}, None])
def test_sample_weights_are_frequencies(choice):
    frequency = np.array([2, 0, 1, 3, 0, 0])
    weighted = instance_weights(LABELS, 3, class_weight=choice, sample_weight=frequency)
    rows = np.repeat(np.arange(6), frequency)
    repeated = instance_weights(LABELS[rows], 3, class_weight=choice)
    np.testing.assert_allclose(weighted, np.bincount(rows, repeated, minlength=6), rtol=1e-14)
    assert prior_log_odds(LABELS, frequency, 3) == pytest.approx(
        prior_log_odds(LABELS[rows], np.ones(len(rows)), 3)
    )


def test_balanced_weights_give_every_class_the_same_share():
    frequency = np.array([0.5, 2, 1, 3, 1, 1.5])
    weights = instance_weights(LABELS, 3, class_weight="balanced", sample_weight=frequency)
    np.testing.assert_allclose(np.bincount(LABELS, weights), [3, 3, 3], rtol=1e-14)


@pytest.mark.parametrize("choice", ["balanced", {0: 2.0, 1: 5.0}])
@pytest.mark.parametrize("frequency", [[1, 1, 1, 0], [2, 0, 3, 0]])
def test_one_class_only_weighs_one(choice, frequency):
    labels, frequency = np.array([1, 1, 1, 0]), np.array(frequency, dtype=float)
    np.testing.assert_array_equal(class_weights(labels, frequency, 2, choice), [1, 1])


@pytest.mark.parametrize("alpha", [0, 1, 1.0])
def test_focal_alpha_may_leave_one_class_out(alpha):
    weights = instance_weights(np.array([0, 1]), 2, focal_alpha=alpha)
    np.testing.assert_array_equal(weights, [1 - alpha, alpha])


def test_focal_alpha_multiplies_the_class_weight():
    labels = np.array([0, 0, 0, 1])
    np.testing.assert_allclose(
        instance_weights(labels, 2, focal_alpha=0.25), [0.75, 0.75, 0.75, 0.25]
    )
    both = instance_weights(labels, 2, class_weight="balanced", focal_alpha=0.25)
    np.testing.assert_allclose(both, [0.5, 0.5, 0.5, 0.5])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"class_weight": "even"}, "must be None, 'balanced' or a dict .* got 'even'"),
        ({"class_weight": {3: 1.0}}, r"got \{3: 1.0\} for the classes \[0, 1, 2\]"),
        ({"class_weight": {0: -1.0}}, "weights >= 0; got {0: -1.0}"),
        ({"class_weight": {0: np.nan}}, "weights >= 0; got {0: nan}"),
        ({"class_weight": {0: np.inf}}, "weights >= 0; got {0: inf}"),
        ({"class_weight": {0: "1"}}, "weights >= 0; got {0: '1'}"),
        ({"focal_alpha": 0.5}, "needs two classes, got 3"),
        ({"focal_alpha": 1.5, "n_classes": 2}, r"must lie in \[0, 1\], got 1.5"),
        ({"focal_alpha": np.nan, "n_classes": 2}, r"must lie in \[0, 1\], got nan"),
    ],
)
def test_bad_weights(parameters, message):
    labels = np.minimum(LABELS, parameters.get("n_classes", 3) - 1)
    with pytest.raises(ValueError, match=message):
        instance_weights(labels, **({"n_classes": 3} | parameters))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_best_intercept_is_the_prior_log_odds(n_classes):
    labels = np.minimum(LABELS, n_classes - 1)
    weights = np.array([1, 2, 0.5, 1, 0, 3.0])
    # half an observation more of every class
    padded = np.concatenate([labels, np.arange(n_classes)])
    counted = np.concatenate([weights, np.full(n_classes, 0.5)])

    def total(b):
        scores = np.full(len(padded), b[0]) if n_classes == 2 else np.tile(b, (len(padded), 1))
        return counted @ FocalLoss(0.0).value(margins(scores, padded))

    best = minimize(total, np.zeros(1 if n_classes == 2 else n_classes), tol=1e-10).x
    prior = prior_log_odds(labels, weights, n_classes)
    np.testing.assert_allclose(best - (best.mean() if n_classes > 2 else 0), prior, atol=1e-4)


def test_prior_log_odds_of_many_instances_and_of_an_absent_class():
    labels = np.repeat([0, 1], [87_000, 13_000])
    assert prior_log_odds(labels, np.ones(100_000), 2) == pytest.approx(logit(0.13), abs=1e-4)
    assert prior_log_odds(np.zeros(9, int), np.ones(9), 2) == pytest.approx(np.log(0.5 / 9.5))
    assert np.isfinite(prior_log_odds(np.zeros(9, int), np.ones(9), 3)).all()


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (2.0, [2, 2, 2]),
        (LinearSchedule(0.5, 2.5), [0.5, 1.5, 2.5]),
        (CosineSchedule(0.5, 2.5), [0.5, 1.5, 2.5]),
        (lambda progress: 4 * progress**2, [0, 1, 4]),
    ],
)
def test_schedules(schedule, values):
    reached = [scheduled(schedule, progress) for progress in (0.0, 0.5, 1.0)]
    assert reached == pytest.approx(values, abs=1e-15)


def test_cosine_schedule_is_slow_at_both_ends():
    steps = np.diff([CosineSchedule(0, 1)(t) for t in np.linspace(0, 1, 11)])
    assert steps.argmax() in (4, 5)
    np.testing.assert_allclose(steps, steps[::-1], rtol=1e-12)


@every_loss
def test_torch_evaluates_the_same_formula(loss):
    torch = pytest.importorskip("torch")
    margin = torch.tensor(np.concatenate([MODERATE, EXTREME]), requires_grad=True)
    value = loss.value(margin, torch)
    value.sum().backward()
    for ours, theirs in (
        (loss.value(margin.detach().numpy()), value.detach().numpy()),
        (loss.derivative(margin.detach().numpy()), margin.grad.numpy()),
    ):
        np.testing.assert_allclose(theirs, ours, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("delta", [None, 0.0])
@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_margins_never_give_a_nan_gradient(gamma, delta, dtype):
    torch = pytest.importorskip("torch")
    margin = torch.tensor(EXTREME, dtype=getattr(torch, dtype), requires_grad=True)
    FocalLoss(gamma, delta).value(margin, torch).sum().backward()
    assert torch.isfinite(margin.grad).all()


@pytest.mark.parametrize("gamma", [gamma for gamma in GAMMAS if 0 < gamma < 1])
def test_probabilities_give_nan_gradients_unless_smoothed(gamma):
    torch = pytest.importorskip("torch")

    def gradient(margin, delta, log):
        margin = torch.tensor(margin, dtype=torch.float32, requires_grad=True)
        p = torch.sigmoid(margin)
        (-((1 - p + delta) ** gamma) * log(p, margin)).sum().backward()
        return margin.grad

    def log_p(p, margin):
        return torch.log(p)

    def log_sigmoid(p, margin):
        return torch.nn.functional.logsigmoid(margin)

    assert torch.isnan(gradient([20.0, 100.0, 1e4], 0.0, log_p)).all()
    assert torch.isnan(gradient([20.0, 100.0, 1e4], 0.0, log_sigmoid)).all()
    assert torch.isfinite(gradient([20.0, 100.0, 1e4], 1e-3, log_p)).all()
    assert torch.isfinite(gradient(EXTREME, 1e-3, log_sigmoid)).all()
