import numpy as np
import pytest
from scipy.optimize import minimize

from cfe_stack.comparison import blends
from cfe_stack.datasets import make_ensemble

BLENDS = {
    "best single": blends.best_single,
    "greedy": blends.greedy_weights,
    "hill": blends.hill_climbing,
    "hill, negative": lambda P, y, w: blends.hill_climbing(P, y, w, negative=True),
    "least squares": blends.nonnegative_least_squares,
}


def ensemble(n_classes=2, seed=0, n=150, m=5):
    made = make_ensemble(m, n, n_classes, correlation=0.2, random_state=seed)
    R = np.stack([1 - made.R, made.R], axis=2) if n_classes == 2 else made.R
    return R.transpose(1, 0, 2), made.labels, np.ones(n)


def loss(P, codes, found):
    given = np.einsum("nm,m->n", blends.true_class(P, codes), found)
    return -np.log(np.maximum(given, 1e-6)).mean()


@pytest.mark.parametrize("find", BLENDS.values(), ids=BLENDS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_weights_sum_to_one_and_beat_the_best_single(find, n_classes):
    P, codes, weights = ensemble(n_classes)
    found = find(P, codes, weights)
    assert found.shape == (5,)
    assert found.sum() == pytest.approx(1)
    if find is not blends.nonnegative_least_squares:
        assert loss(P, codes, found) <= loss(P, codes, blends.best_single(P, codes, weights))


@pytest.mark.parametrize("find", BLENDS.values(), ids=BLENDS)
def test_a_weight_of_two_is_the_row_twice(find):
    P, codes, weights = ensemble()
    weights[::3] = 2
    rows = np.repeat(np.arange(len(codes)), weights.astype(int))
    twice = find(P[rows], codes[rows], np.ones(len(rows)))
    np.testing.assert_allclose(find(P, codes, weights), twice, atol=1e-8)


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_best_step_is_the_best_of_all_steps(negative, seed):
    P, codes, weights = ensemble(seed=seed)
    given = blends.true_class(P, codes)
    current = given.mean(axis=1)
    steps, losses = blends._best_steps(current, given, weights, negative)
    everything = np.arange(-50 if negative else 0, 51) / 100
    trials = np.array(
        [
            -np.log(np.maximum((1 - s) * current[:, None] + s * given, 1e-6)).mean(axis=0)
            for s in everything
        ]
    )
    np.testing.assert_allclose(losses, trials.min(axis=0), rtol=1e-12)
    np.testing.assert_allclose(steps, everything[trials.argmin(axis=0)])


def test_hill_climbing_comes_near_the_best_weights():
    P, codes, weights = ensemble(n=400)
    best = minimize(
        lambda v: loss(P, codes, np.abs(v) / np.abs(v).sum()), np.ones(5), method="Nelder-Mead"
    ).fun
    assert loss(P, codes, blends.hill_climbing(P, codes, weights)) < best + 1e-3


def test_only_negative_steps_give_negative_weights():
    random = np.random.default_rng(0)
    evidence, shared = random.normal(size=(2, 500))
    codes = (evidence + 0.3 * random.normal(size=500) > 0).astype(int)
    p = 1 / (1 + np.exp(-np.stack([evidence + shared, shared], axis=1)))
    P = np.stack([1 - p, p], axis=2)
    assert blends.hill_climbing(P, codes, np.ones(500)).min() >= 0
    assert blends.hill_climbing(P, codes, np.ones(500), negative=True)[1] < -0.1


def test_a_blend_is_made_positive():
    P = np.array([[[1.0, 0.0], [0.0, 1.0]]])
    proba = blends.blend_probabilities(P, np.array([1.5, -0.5]))
    assert proba.sum() == pytest.approx(1)
    assert 0 < proba[0, 1] < 1e-5
