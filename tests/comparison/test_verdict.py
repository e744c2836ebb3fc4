import numpy as np
import pytest

from cfe_stack.comparison.verdict import Values, differences_from, legend, verdict
from cfe_stack.metrics import METRICS


def values(offsets, n=12, metric="log_loss", single=False, noise=0.01, seed=0):
    random = np.random.default_rng(seed)
    base = random.uniform(0.3, 0.6, n)
    scores = np.stack([base + offset + noise * random.normal(size=n) for offset in offsets])
    return Values(METRICS[metric], tuple("abcdef"[: len(offsets)]), scores, single, 0.25)


def told(given, reference="a"):
    found = differences_from(given, reference)
    ranks = dict(zip(given.names, range(1, 10), strict=False))
    return verdict(given, reference, found, ranks)


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize(("metric", "sign"), [("log_loss", 1), ("roc_auc", -1)])
def test_better_and_worse_follow_the_metric(single, metric, sign):
    given = values([0.0, sign * 0.2, -sign * 0.2], metric=metric, single=single)
    worse, better = differences_from(given, "a")
    assert (worse.wins, worse.losses, better.wins, better.losses) == (12, 0, 0, 12)
    assert worse.paired.difference == pytest.approx(sign * 0.2, abs=0.02)
    assert worse.posterior.higher > 0.99
    assert better.posterior.lower > 0.99
    assert worse.p_adjusted >= worse.paired.p_value
    text = told(given)
    assert "a is better than b (p ≤ 0.05 after Holm)." in text
    assert "a is worse than c (p ≤ 0.05 after Holm)." in text


@pytest.mark.parametrize("single", [True, False])
def test_equal_needs_evidence(single):
    alike = told(values([0.0, 0.0], single=single, noise=1e-5))
    assert "Practically equal to a, with probability 0.95 or more: b." in alike
    noisy = told(values([0.0, 0.0], single=single, noise=0.3, seed=1))
    assert "Not settled against b: these data do not tell them apart, which does not show" in noisy
    assert "equal to a" not in noisy


def test_what_must_not_be_concluded_is_said():
    assert "says nothing about others" in told(values([0, 0.2], single=True))
    assert "With 4 data sets no difference can be significant" in told(values([0, 0.2], 4))
    assert "looks better than it will be elsewhere" in told(values([0, 0.2]))


def test_one_fold_settles_nothing():
    text = told(values([0.0, 0.5], 1, single=True))
    assert "Not settled against b" in text
    assert "better than" not in text


def test_the_region_may_be_given():
    given = values([0.0, 0.05])
    assert differences_from(given, "a", rope=0.2)[0].posterior.equal > 0.99
    assert differences_from(given, "a", rope=0.001)[0].posterior.higher > 0.99


def test_the_legend_names_the_test():
    assert "corrected resampled t-test" in legend(values([0, 1], single=True), "a")
    assert "signed-rank test" in legend(values([0, 1]), "a")
