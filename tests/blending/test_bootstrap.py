import numpy as np
import pytest

from cfe_stack.blending.bootstrap import bootstrap_scores
from cfe_stack.metrics import resolve_metric


def noisy(codes, noise, seed):
    score = (2 * codes - 1) + noise * np.random.default_rng(seed).standard_normal(len(codes))
    p = 1 / (1 + np.exp(-score))
    return np.column_stack([1 - p, p])


def test_intervals_hold_the_true_score_about_as_often_as_they_say():
    metric, n_sets = resolve_metric("log_loss"), 60
    many = np.tile([0, 1], 50_000)
    truth = metric.score(many, noisy(many, 1.0, 999), None)
    inside = 0
    for seed in range(n_sets):
        codes = np.tile([0, 1], 100)
        (found,) = bootstrap_scores(
            codes, {"a": noisy(codes, 1.0, seed)}, metric, "a", n_draws=100, random_state=seed
        )
        assert found.low <= found.score <= found.high
        inside += found.low <= truth <= found.high
    assert 0.85 <= inside / n_sets < 1


@pytest.mark.exhaustive
@pytest.mark.parametrize("metric", ["log_loss", "roc_auc"])
def test_the_better_contender_comes_first_and_wins_most_draws(metric):
    codes = np.tile([0, 1], 150)
    proba = {"worse": noisy(codes, 2.0, 1), "better": noisy(codes, 0.5, 2)}
    first, second = bootstrap_scores(codes, proba, resolve_metric(metric), "better", random_state=0)
    assert (first.contender, second.contender) == ("better", "worse")
    assert np.isnan(first.reference_better)
    assert second.reference_better > 0.99
    reverse = bootstrap_scores(codes, proba, resolve_metric(metric), "worse", n_draws=100)
    assert reverse[0].reference_better < 0.01


def test_draws_are_paired():
    """A contender that is better by a hair on every row wins every draw."""
    codes = np.tile([0, 1], 50)
    a = noisy(codes, 1.0, 0)
    b = 0.99 * a + 0.01 * np.eye(2)[codes]
    found = bootstrap_scores(codes, {"a": a, "b": b}, resolve_metric("log_loss"), "b")
    assert found[1].reference_better == 1


def test_the_seed_decides_and_a_rare_class_is_in_every_draw():
    codes = np.zeros(100, dtype=int)
    codes[:2] = 1
    p, metric = noisy(codes, 1, 0), resolve_metric("pr_auc")
    one, two, other = (
        bootstrap_scores(codes, {"a": p}, metric, "a", n_draws=50, random_state=seed)[0]
        for seed in (0, 0, 1)
    )
    assert (one.low, one.high) == (two.low, two.high)
    assert (one.low, one.high) != (other.low, other.high)
    assert not np.isnan([one.low, one.high]).any()
