from dataclasses import replace

import numpy as np
import pytest
from naive_pools import M, N, log_odds, minimizer, plain_loss
from scipy.special import logsumexp

from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.losses.labeled_rows import LabeledRows
from cfe_stack.pools.calibration import Calibration
from cfe_stack.pools.design import PoolDesign
from cfe_stack.pools.inputs import PoolInputs
from cfe_stack.pools.log_pool import (
    BOUNDED_POOL,
    FAMILIES,
    GATED_POOL,
    Family,
    Pool,
    bounded_log_odds,
    fit_scale,
    recalibrated,
)
from cfe_stack.pools.newton import CLASS_PRIOR

GIVEN = Calibration(np.array([1.2, 0.8, 1.0, 0.5, 0.0]), np.array([0.1, -0.2, 0.0, 0.3, -0.1]))


def paths(family, Z, phi, labels, frequencies, calibration, **settings):
    given = {"loss_weights": frequencies, "loss": FocalLoss()} | settings
    points = given.pop("points", None)
    rows = LabeledRows(labels, frequencies, **given)
    return family.fit_path(PoolInputs(Z, phi, rows), calibration, points)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_neighbours_on_the_grid_differ_in_one_strength(family):
    gates = family.gate_strengths or (0.0,)
    assert sorted(family.grid) == sorted((w, g) for w in family.weight_strengths for g in gates)
    for (w, g), (w2, g2) in zip(family.grid, family.grid[1:], strict=False):
        assert (w == w2) != (g == g2)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "family",
    [
        Family("log", (30.0, 3.0)),
        Family("gated", (30.0, 3.0), (100.0, 10.0)),
        Family("signed", (30.0, 3.0), signed=True),
        Family("bounded", (30.0, 3.0), bounded=True),
    ],
    ids=lambda family: family.name,
)
def test_paths_are_what_a_generic_optimiser_finds(family, n_classes):
    Z, phi, labels, frequencies = log_odds(n_classes)
    calibration = GIVEN if n_classes == 2 else Calibration(GIVEN.slope, np.zeros(M))
    n_gates = phi.shape[1] if family.gate_strengths else 0
    k = 1 if n_classes == 2 else n_classes
    prior = CLASS_PRIOR * (1 if n_classes == 2 else 2)
    path = paths(family, Z, phi, labels, frequencies, calibration)
    assert len(path) == len(family.grid)
    for (strength, gate_strength), pool in zip(family.grid, path, strict=True):

        def loss(theta, strength=strength, gate_strength=gate_strength):
            w, g, b = np.split(theta, [M, M * (1 + n_gates)])
            gates = g.reshape(n_gates, M) if n_gates else np.zeros((phi.shape[1], M))
            parts = (
                (0 * w, gates, b, calibration, w) if family.bounded else (w, gates, b, calibration)
            )
            scores = Pool(*parts).scores(Z, phi)
            penalty = strength * ((w - 1 / M) ** 2).sum() + gate_strength * (g**2).sum()
            return plain_loss(scores, labels, frequencies) + 0.5 * penalty + 0.5 * prior * b @ b

        bounds = [(None if family.signed else 0, None)] * M + [(None, None)] * (M * n_gates + k)
        start = np.concatenate([np.full(M, 1 / M), np.zeros(M * n_gates + k)])
        expected = minimizer(loss, start, bounds)
        weights = pool.bounded if family.bounded else pool.weights
        got = np.concatenate([weights, pool.gates.ravel()[: M * n_gates], pool.intercept])
        assert loss(got) <= loss(expected) + 1e-8
        np.testing.assert_allclose(got, expected, atol=2e-4)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_only_signed_families_have_negative_weights(family, n_classes, gamma):
    Z, phi, labels, frequencies = log_odds(n_classes)
    given = Calibration(np.ones(M), np.zeros(M))
    settings = {"loss": FocalLoss(gamma)}
    pools = paths(family, Z, phi, labels, frequencies, given, **settings)
    weights = [p.bounded if family.bounded else p.weights for p in pools]
    assert (np.min(weights) < 0) == family.signed
    assert np.any([p.gates for p in pools]) == (family is GATED_POOL)


def test_a_strong_pull_means_equal_weights_and_no_gate():
    Z, phi, labels, frequencies = log_odds()
    for family in (
        Family("f", (1e9,)),
        Family("f", (1e9,), (1e9,)),
        Family("f", (1e9,), signed=True),
    ):
        pool = paths(family, Z, phi, labels, frequencies, GIVEN)[0]
        np.testing.assert_allclose(pool.weights, 1 / M, atol=1e-6)
        np.testing.assert_allclose(pool.gates, 0, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_two_classes_as_centred_log_ratios_give_the_pool_of_log_odds(family):
    Z, phi, labels, frequencies = log_odds()
    both = np.stack([-Z / 2, Z / 2], axis=1)
    given = Calibration(GIVEN.slope, np.zeros(M))
    two = paths(family, Z, phi, labels, frequencies, given)
    full = paths(family, both, phi, labels, frequencies, given)
    for binary, several in zip(two, full, strict=True):
        np.testing.assert_allclose(several.weights, binary.weights, atol=1e-6)
        if family.bounded:
            np.testing.assert_allclose(several.bounded, binary.bounded, atol=1e-6)
        np.testing.assert_allclose(several.gates, binary.gates, atol=1e-6)
        np.testing.assert_allclose(np.diff(several.intercept), binary.intercept, atol=1e-6)
        np.testing.assert_allclose(
            np.diff(several.scores(both, phi), axis=1)[:, 0], binary.scores(Z, phi), atol=1e-5
        )


@pytest.mark.parametrize("n_classes", [2, 3])
def test_averaging_pools_averages_their_scores(n_classes):
    Z, phi, labels, frequencies = log_odds(n_classes)
    path = [
        *paths(GATED_POOL, Z, phi, labels, frequencies, GIVEN),
        *paths(BOUNDED_POOL, Z, phi, labels, frequencies, GIVEN),
    ]
    shares = np.random.default_rng(0).dirichlet(np.ones(len(path)))
    each = np.stack([pool.scores(Z, phi) for pool in path])
    average = Pool.average(path, shares)
    assert Pool.average(path, shares * [pool.bounded is None for pool in path]).bounded is None
    np.testing.assert_allclose(average.scores(Z, phi), np.tensordot(shares, each, axes=1))
    shift = np.arange(len(average.intercept)) + 0.5
    np.testing.assert_allclose(
        average.shifted(shift).scores(Z, phi) - average.scores(Z, phi),
        np.broadcast_to(shift if n_classes > 2 else shift[0], each[0].shape),
    )


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_score_is_the_sum_of_contributions(n_classes):
    Z, phi, _, _ = log_odds(n_classes)
    n_gates = phi.shape[1]
    gates = np.arange(1, n_gates + 1)[:, None] * np.ones(M)
    pool = Pool(np.arange(5.0), gates, np.ones(1 if n_classes == 2 else 3), GIVEN)
    parts = pool.contributions(Z, phi)
    assert parts.shape == Z.shape
    np.testing.assert_allclose(parts.sum(axis=-1) + 1, pool.scores(Z, phi))
    change = phi @ np.arange(1, n_gates + 1)
    np.testing.assert_allclose(pool.instance_weights(Z, phi), np.arange(5.0) + change[:, None])
    expected = (3.0 + change[7]) * (Z[7, ..., 3] * 0.5 + 0.3)
    np.testing.assert_allclose(parts[7, ..., 3], expected)
    both = replace(pool, bounded=np.full(M, 2.0))
    parts = both.contributions(Z, phi)
    np.testing.assert_allclose(parts.sum(axis=-1) + 1, both.scores(Z, phi))
    expected += 2 * (bounded_log_odds(Z)[7, ..., 3] * 0.5 + 0.3)
    np.testing.assert_allclose(parts[7, ..., 3], expected)


@pytest.mark.parametrize("n_classes", [2, 3, 11])
def test_bounded_log_odds_are_log_odds_near_indifference_and_end(n_classes):
    Z = np.random.default_rng(0).normal(size=(9, M) if n_classes == 2 else (9, n_classes, M))
    if n_classes > 2:
        Z -= Z.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(bounded_log_odds(1e-5 * Z), 1e-5 * Z, atol=1e-9)
    assert np.abs(bounded_log_odds(1e3 * Z)).max() <= max(2, n_classes - 1)


def test_bounded_log_odds_of_two_classes_weigh_less_the_surer_a_classifier_is():
    Z = np.array([0.0, 1e-4, 1.0, 2.0, 50.0])[:, None]
    pool = Pool(np.zeros(1), np.zeros((1, 1)), np.zeros(1), GIVEN, np.array([2.0]))
    weights = pool.instance_weights(Z, np.zeros((5, 1)))[:, 0]
    np.testing.assert_allclose(weights[:2], 2, rtol=1e-6)
    assert (np.diff(weights[1:]) < 0).all()
    assert weights[-1] > 0


def test_a_bounded_family_has_no_gates():
    with pytest.raises(ValueError, match="mine: a pool of bounded log-odds has no gates"):
        Family("mine", (5.0,), (15.0,), bounded=True)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("bend", ["class weights", "focal loss"])
@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_bent_pools_are_straightened(n_classes, bend, family):
    Z, phi, labels, frequencies = log_odds(n_classes)
    frequencies = np.where(labels == 0, 3 * frequencies, frequencies)
    given = Calibration(np.ones(M), np.zeros(M))
    settings = (
        {"loss": FocalLoss(3.0)}
        if bend == "focal loss"
        else {"loss_weights": frequencies * np.where(labels == 0, 0.2, 4)}
    )
    plain = paths(family, Z, phi, labels, frequencies, given)
    bent = paths(family, Z, phi, labels, frequencies, given, **settings)
    assert not np.allclose(bent[-1].scores(Z, phi), plain[-1].scores(Z, phi), rtol=1e-3)
    for pool, other in zip(bent, plain, strict=True):
        scores = pool.scores(Z, phi)
        full = np.column_stack([np.zeros(N), scores]) if n_classes == 2 else scores
        proba = np.exp(full - logsumexp(full, axis=1, keepdims=True))
        mean = frequencies @ proba / frequencies.sum()
        rate = np.bincount(labels, frequencies) / frequencies.sum()
        np.testing.assert_allclose(mean, rate, atol=0.01)
        best = plain_loss(other.scores(Z, phi), labels, frequencies)
        assert plain_loss(scores, labels, frequencies) < 1.1 * best


@pytest.mark.parametrize("n_classes", [2, 3])
def test_recalibration_is_a_slope_and_a_shift_that_undo_a_distortion(n_classes):
    Z, _, labels, frequencies = log_odds(n_classes)
    k = 1 if n_classes == 2 else 3
    constants = np.ones((N, 1)) if n_classes == 2 else np.broadcast_to(np.eye(3), (N, 3, 3))
    design = np.concatenate([Z, constants], axis=-1)
    rng = np.random.default_rng(0)
    theta = np.concatenate([rng.random(M), 3 * rng.normal(size=k)])
    straight = recalibrated(theta, PoolDesign(Z), LabeledRows.plain(labels, frequencies))
    slope = straight[0] / theta[0]
    np.testing.assert_allclose(straight[:M], slope * theta[:M])
    shift = straight[M:] - slope * theta[M:]
    before, after = (plain_loss(design @ t, labels, frequencies) for t in (theta, straight))
    assert after < before

    def penalized(parameters):
        prior = CLASS_PRIOR * (1 if n_classes == 2 else 2)
        moved = parameters[0] * (design @ theta) + (parameters[1] if k == 1 else parameters[1:])
        penalty = 0.5 * (parameters[0] - 1) ** 2 + 0.5 * prior * (parameters[1:] ** 2).sum()
        return plain_loss(moved, labels, frequencies) + penalty

    expected = minimizer(
        penalized, np.concatenate([[1.0], np.zeros(k)]), [(0, None)] + [(None, None)] * k
    )
    np.testing.assert_allclose(np.concatenate([[slope], shift]), expected, atol=1e-3)
    again = recalibrated(straight, PoolDesign(Z), LabeledRows.plain(labels, frequencies))
    np.testing.assert_allclose(again, straight, rtol=0.02, atol=0.02)


def test_the_scale_of_columns_has_no_negative_slope():
    Z, _, labels, frequencies = log_odds()
    slopes, intercept = fit_scale(Z, LabeledRows.plain(labels, frequencies), np.full(M, 1 / M), 1.0)
    assert intercept.shape == (1,)
    assert (slopes >= 0).all()
    assert slopes[-1] == 0
    assert slopes[0] > slopes[3]
