import numpy as np
import pytest
from naive_pools import M, N, hessian, log_odds, minimizer, plain_loss

from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.losses.labeled_rows import LabeledRows
from cfe_stack.pools.calibration import calibrate
from cfe_stack.pools.inputs import PoolInputs
from cfe_stack.pools.log_pool import FAMILIES, LOG_POOL, Family, Pool
from cfe_stack.pools.newton import CLASS_PRIOR
from cfe_stack.pools.second_level import SECOND_LEVEL_PRIOR
from cfe_stack.pools.selection import STRENGTH_PRIOR, select_pool, selection_rows

FOLDS = np.arange(N)[None] % 5
TWICE = np.stack([np.arange(N) % 5, np.arange(N) // 7 % 5])
ALL = list(FAMILIES.values())
ONE_POINT = [
    Family("log_pool", (5.0,)),
    Family("gated_pool", (5.0,), (15.0,)),
    Family("signed_pool", (5.0,), signed=True),
]


def problem(n_classes=2, seed=0, informative=True):
    return log_odds(n_classes, seed, np.linspace(0.1, 0.7, M) * informative)


def select(families, Z, phi, labels, weights, folds=FOLDS, **settings):
    given = {"loss_weights": weights, "loss": FocalLoss()} | settings
    return select_pool(families, PoolInputs(Z, phi, LabeledRows(labels, weights, **given)), folds)


def by_hand(family, Z, phi, labels, weights, rows):
    """Return the path of a family on some rows."""
    inputs = PoolInputs(Z[rows], phi[rows], LabeledRows.plain(labels[rows], weights[rows]))
    return family.fit_path(inputs, calibrate(Z[rows], labels[rows], weights[rows]))


def out_of_fold(family, Z, phi, labels, weights, folds):
    scores = np.empty((len(family.grid), *Z.shape[:-1]))
    for fold in range(5):
        held = folds == fold
        for k, pool in enumerate(by_hand(family, Z, phi, labels, weights, ~held)):
            scores[k, held] = pool.scores(Z[held], phi[held])
    return scores


@pytest.mark.parametrize("folds", [FOLDS, TWICE], ids=["once", "twice"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_steps_are_those_of_the_method(n_classes, folds):
    """Folds, paths, averages, second level and collapse, once more and naively."""
    data = Z, phi, labels, weights = problem(n_classes)
    chosen = select(ALL, *data, folds)
    averaged, pools = [], []
    for family in ALL:
        scores = np.stack([out_of_fold(family, *data, once) for once in folds], axis=1)
        losses = [np.mean([plain_loss(s, labels, weights) for s in point]) for point in scores]
        strengths = np.array([weight * (gate or 1.0) for weight, gate in family.grid])
        shares = strengths**STRENGTH_PRIOR * np.exp(-(np.array(losses) - np.min(losses)))
        shares /= shares.sum()
        np.testing.assert_allclose(chosen.path_shares[family.name], shares, atol=1e-8)
        averaged.append(np.tensordot(shares, scores, axes=1))
        pools.append(Pool.average(by_hand(family, *data, slice(None)), shares))
        score = np.mean([plain_loss(s, labels, weights) for s in averaged[-1]]) / weights.sum()
        assert chosen.cv_scores[family.name] == pytest.approx(score)
    f, k, prior = len(ALL), *((1, CLASS_PRIOR) if n_classes == 2 else (n_classes, 2 * CLASS_PRIOR))

    def combined(theta, scores):
        shift = theta[f] if k == 1 else theta[f:]
        return sum(b * s for b, s in zip(theta, scores, strict=False)) + shift

    def loss(theta):
        each = zip(*averaged, strict=True)
        return np.mean([plain_loss(combined(theta, scores), labels, weights) for scores in each])

    given = np.array([family.share for family in ALL])
    start = np.concatenate([given / given.sum(), np.zeros(k)])
    precision = np.repeat([SECOND_LEVEL_PRIOR, prior], [f, k])
    bounds = [(0, None)] * f + [(None, None)] * k
    theta = minimizer(lambda t: loss(t) + precision @ (t - start) ** 2 / 2, start, bounds)
    # along every direction from prior shares as far as its evidence goes
    unit = precision**-0.5
    h, V = np.linalg.eigh(hessian(loss, theta) * np.outer(unit, unit))
    moved = V.T @ ((theta - start) / unit)
    factors = np.exp((1 + h) * moved**2 / 2) / np.sqrt(1 + h)
    theta = start + unit * (V @ (moved * factors / (1 + factors)))
    np.testing.assert_allclose(list(chosen.family_shares.values()), theta[:f], atol=1e-3)
    over_repeats = [scores.mean(axis=0) for scores in averaged]
    np.testing.assert_allclose(chosen.cv_logits, combined(theta, over_repeats), atol=5e-3)
    # the whole collapses into one pool, its slope that of five quarters of the rows
    each = [pool.scores(Z, phi) for pool in pools]
    total = theta[:f].sum()
    theta[:f] *= max(total, 1 - 0.8 * (1 - total)) / total
    np.testing.assert_allclose(chosen.pool.scores(Z, phi), combined(theta, each), atol=5e-3)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("family", ONE_POINT, ids=lambda family: family.name)
def test_labels_of_a_fold_do_not_reach_the_scores_of_that_fold(family, n_classes):
    """With one grid point the fold's scores may only be scaled and shifted as a whole."""
    Z, phi, labels, weights = problem(n_classes)
    held = FOLDS[0] == 3
    flipped = np.where(held & (np.arange(N) % 2 == 0), (labels + 1) % n_classes, labels)
    before = select([family], Z, phi, labels, weights).cv_logits
    after = select([family], Z, phi, flipped, weights).cv_logits
    residual = {}
    for name, rows in (("held out", held), ("others", ~held)):
        x, y = before[rows], after[rows]
        x, y = (v - v.mean(axis=0) for v in (x, y))
        slope = (x * y).sum() / (x * x).sum()
        residual[name] = np.abs(y - slope * x).max()
    assert residual["held out"] < 1e-8
    assert residual["others"] > 1e-3


@pytest.mark.parametrize("n_classes", [2, 3])
def test_out_of_fold_scores_of_noise_are_no_better_than_the_prior(n_classes):
    losses = []
    for seed in range(8):
        Z, phi, labels, weights = problem(n_classes, seed, informative=False)
        scores = select([LOG_POOL, ALL[1]], Z, phi, labels, weights).cv_logits
        rate = np.bincount(labels, weights) / weights.sum()
        prior = -(rate * np.log(rate)).sum()
        losses.append(plain_loss(scores, labels, weights) / weights.sum() - prior)
    assert np.mean(losses) > -0.005
    assert np.max(losses) < 0.03


@pytest.mark.parametrize("n_classes", [2, 3])
def test_weights_are_frequencies_and_rows_have_no_order(n_classes):
    Z, phi, labels, weights = problem(n_classes)
    rows = np.random.default_rng(1).permutation(np.repeat(np.arange(N), weights.astype(int)))
    ones = np.ones(len(rows))
    chosen = select(ALL, Z, phi, labels, weights)
    repeated = select(ALL, Z[rows], phi[rows], labels[rows], ones, FOLDS[:, rows])
    for name in ("weights", "gates", "intercept"):
        first, second = getattr(chosen.pool, name), getattr(repeated.pool, name)
        np.testing.assert_allclose(first, second, atol=1e-7)
    np.testing.assert_allclose(repeated.cv_logits, chosen.cv_logits[rows], atol=1e-7)


@pytest.mark.parametrize("name", ["log_pool", "gated_pool"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_pools_without_signs_have_no_negative_weight(name, n_classes):
    data = problem(n_classes)
    chosen = select([FAMILIES[name]], *data)
    assert (chosen.pool.weights >= 0).all()
    assert np.any(chosen.pool.gates) == (name == "gated_pool")
    assert chosen.family_shares[name] > 0


def test_learners_that_know_different_instances_need_gates():
    Z, phi, labels, weights = problem()
    truth = np.where(labels == 1, 4.0, -4.0)
    Z[:, 1] += truth * (phi[:, 0] > 0)
    Z[:, 2] += truth * (phi[:, 0] <= 0)
    chosen = select(ALL, Z, phi, labels, weights)
    assert chosen.cv_scores["gated_pool"] < 0.9 * chosen.cv_scores["log_pool"]
    assert chosen.family_shares["gated_pool"] > chosen.family_shares["log_pool"]
    assert chosen.pool.gates[0, 1] > 0 > chosen.pool.gates[0, 2]


def test_a_class_that_is_missing_from_a_training_part_is_no_disaster():
    Z, phi, labels, weights = problem(3)
    labels = np.where(labels == 2, 0, labels)
    labels[[0, 5, 10]] = 2  # all in fold 0
    chosen = select(ALL, Z, phi, labels, weights)
    assert np.isfinite(chosen.cv_logits).all()
    assert np.isfinite(chosen.pool.scores(Z, phi)).all()


def test_very_many_rows_are_selected_on_a_part_that_keeps_the_classes():
    rng = np.random.default_rng(0)
    Z, labels = rng.normal(size=(30_000, 3)), (rng.random(30_000) < 0.01).astype(int)
    rows, scale = selection_rows(Z, labels, np.ones(30_000))
    assert 10_000 <= len(rows) < 10_600
    assert len(set(rows.tolist())) == len(rows)
    share = scale[labels[rows] == 1].sum() / scale.sum()
    assert share == pytest.approx(labels.mean(), abs=1e-4)
    order = rng.permutation(30_000)
    moved, _ = selection_rows(Z[order], labels[order], np.ones(30_000))
    np.testing.assert_array_equal(np.sort(order[moved]), rows)
    everything, ones = selection_rows(Z[:500], labels[:500], np.ones(500))
    np.testing.assert_array_equal(everything, np.arange(500))
    assert (ones == 1).all()
