import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    make_scorer,
    mean_squared_error,
    roc_auc_score,
)
from sklearn.metrics import log_loss as sklearn_log_loss

from cfe_stack.metrics import METRICS, Metric, resolve_metric, resolve_metrics


def problem(n_classes, n=200, seed=0):
    random = np.random.default_rng(seed)
    codes = random.integers(n_classes, size=n)
    proba = random.dirichlet(np.ones(n_classes), n) + 0.4 * np.eye(n_classes)[codes]
    return codes, proba / proba.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_metrics_are_those_of_scikit_learn(n_classes):
    codes, proba = problem(n_classes)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(codes))
    several = np.eye(n_classes)[codes]
    truth, score = (codes, proba[:, 1]) if n_classes == 2 else (several, proba)
    for w in (None, weights):
        expected = {
            "log_loss": sklearn_log_loss(codes, proba, sample_weight=w),
            "brier": mean_squared_error(truth, score, sample_weight=w) * score[0].size,
            "roc_auc": roc_auc_score(truth, score, sample_weight=w),
            "pr_auc": average_precision_score(truth, score, sample_weight=w),
        }
        for name, value in expected.items():
            assert METRICS[name].score(codes, proba, w) == pytest.approx(value, abs=2e-3), name


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_weight_of_two_is_the_row_twice(name, n_classes):
    codes, proba = problem(n_classes, 60)
    weights = np.where(np.arange(60) % 3 == 0, 2.0, 1.0)
    rows = np.repeat(np.arange(60), weights.astype(int))
    once, twice = (
        METRICS[name].score(codes, proba, weights),
        METRICS[name].score(codes[rows], proba[rows], None),
    )
    assert once == pytest.approx(twice, rel=1e-12)


def test_calibration_error_by_hand():
    proba = np.array([[0.05, 0.95]] * 4 + [[0.35, 0.65]] * 2)
    codes = np.array([1, 1, 1, 0, 1, 1])
    expected = (4 * abs(0.95 - 0.75) + 2 * abs(0.65 - 1.0)) / 6
    assert METRICS["ece"].score(codes, proba, None) == pytest.approx(expected)


def test_one_certain_error_does_not_decide():
    proba = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert METRICS["log_loss"].score(np.array([0, 1]), proba, None) == pytest.approx(
        (-np.log(1e-4) - np.log(1 - 1e-4)) / 2
    )
    assert proba[0, 1] == 0  # what was given is left alone


@pytest.mark.parametrize("name", ["roc_auc", "pr_auc"])
def test_areas_are_not_defined_without_both_classes(name):
    assert np.isnan(METRICS[name].score(np.zeros(3, dtype=int), np.full((3, 2), 0.5), None))
    assert np.isnan(METRICS[name].score(np.array([0, 1, 1]), np.full((3, 3), 1 / 3), None))


def test_scorers_see_the_predictions():
    codes, proba = problem(2)
    f1 = f1_score(codes, proba.argmax(axis=1))
    assert resolve_metric("f1").score(codes, proba, None) == f1
    assert resolve_metric(make_scorer(f1_score)).score(codes, proba, None) == f1
    assert resolve_metric(make_scorer(f1_score)).name == "f1_score"
    auc = resolve_metric("roc_auc_ovr").score(codes, proba, None)
    assert auc == pytest.approx(METRICS["roc_auc"].score(codes, proba, None))
    assert resolve_metric("neg_log_loss").greater_is_better


def test_losses_point_downwards():
    values = np.array([0.2, 0.8])
    assert (METRICS["log_loss"].losses(values) == values).all()
    assert METRICS["roc_auc"].losses(values).argmin() == 1


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ("logloss", "'logloss' is unknown; it must be one of"),
        ([], "at least one"),
        (["brier", "brier"], "none twice"),
        ([3], "must be a name, a Metric or a scorer, got 3"),
    ],
)
def test_what_is_no_metric_is_named(metrics, message):
    with pytest.raises(ValueError, match=message):
        resolve_metrics(metrics)


def test_one_metric_or_several():
    own = Metric("own", lambda codes, proba, weights: 0.0)
    assert [m.name for m in resolve_metrics("ece")] == ["ece"]
    assert resolve_metrics(own) == (own,)
    assert [m.name for m in resolve_metrics(["brier", own, "f1"])] == ["brier", "own", "f1"]
