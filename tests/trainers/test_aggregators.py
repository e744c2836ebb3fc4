import numpy as np
import pytest
from implementations import AGGREGATORS
from scipy.optimize import minimize
from scipy.special import expit, logit, softmax

from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.losses.labeled_rows import LabeledRows
from cfe_stack.losses.link import IdentityLink, LogitLink
from cfe_stack.losses.objective import supervised_loss
from cfe_stack.losses.raw_scores import margins, probabilities
from cfe_stack.pools.newton import CLASS_PRIOR
from cfe_stack.trainers.aggregators import (
    WEAK_PRIOR,
    LogPoolAggregator,
    MeanAggregator,
    WeightedAggregator,
    classifiers_last,
    held,
    make_aggregator,
    weight_gradient,
)

IDENTITY, LOGISTIC = IdentityLink(), FocalLoss(0.0)
LEARNERS = {name: make for name, make in AGGREGATORS.items() if make is not MeanAggregator}
every_aggregator = pytest.mark.parametrize("make", AGGREGATORS.values(), ids=AGGREGATORS)
both_class_counts = pytest.mark.parametrize("n_classes", [2, 3])


def made_rows(labels, weights, loss=LOGISTIC):
    return LabeledRows(labels, weights, weights, loss)


def made(n_classes, *, m=5, n=150, seed=0, turned=0):
    """Return R, labels and weights; the last `turned` classifiers rank the wrong way round."""
    rng = np.random.default_rng([seed, n_classes])
    labels = rng.integers(n_classes, size=n)
    sign = np.where(np.arange(m) < m - turned, 1.0, -1.0)
    truth = np.eye(n_classes)[labels]
    R = softmax(sign[:, None, None] * truth + rng.normal(size=(m, n, n_classes)), axis=2)
    return R[:, :, 1] if n_classes == 2 else R, labels, rng.uniform(0.2, 2, size=n)


def started(make, n_classes, m=5):
    aggregator = make(n_classes)
    aggregator.start(m, 0.0 if n_classes == 2 else np.zeros(n_classes))
    return aggregator


def loss_of(aggregator, features, labels, weights, loss=LOGISTIC):
    return supervised_loss(loss, margins(aggregator.scores(features), labels), weights)


@both_class_counts
@every_aggregator
def test_start_has_equal_weights_and_one_score_per_instance_and_class(make, n_classes):
    R = made(n_classes)[0]
    aggregator = started(make, n_classes)
    np.testing.assert_array_equal(aggregator.weights_, 0.2)
    np.testing.assert_array_equal(aggregator.intercept_, np.zeros(1 if n_classes == 2 else 3)[()])
    features = aggregator.features(classifiers_last(R), IDENTITY)
    assert features.shape == ((150, 5) if n_classes == 2 else (150, 3, 5))
    assert aggregator.scores(features).shape == ((150,) if n_classes == 2 else (150, 3))


@both_class_counts
@every_aggregator
def test_update_lowers_the_loss(make, n_classes):
    R, labels, weights = made(n_classes)
    aggregator = started(make, n_classes)
    features = aggregator.features(classifiers_last(R), IDENTITY)
    losses = []
    for _ in range(5):
        losses.append(loss_of(aggregator, features, labels, weights))
        aggregator.update(features, made_rows(labels, weights))
    assert (np.diff(losses) <= 1e-10).all()
    learns = not isinstance(aggregator, MeanAggregator)
    assert (losses[-1] < losses[0] - 1e-3) == learns


@both_class_counts
@every_aggregator
def test_weights_are_frequencies(make, n_classes):
    R, labels, _ = made(n_classes)
    frequency = np.random.default_rng(1).integers(0, 4, size=150)
    rows = np.repeat(np.arange(150), frequency)
    weighted, repeated = started(make, n_classes), started(make, n_classes)
    features = weighted.features(classifiers_last(R), IDENTITY)
    weighted.update(features, made_rows(labels, frequency.astype(float)))
    repeated.update(features[rows], made_rows(labels[rows], np.ones(len(rows))))
    np.testing.assert_allclose(weighted.weights_, repeated.weights_, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(weighted.intercept_, repeated.intercept_, rtol=1e-7, atol=1e-9)


@both_class_counts
@every_aggregator
def test_update_leaves_its_input_alone(make, n_classes):
    R, labels, weights = made(n_classes)
    aggregator = started(make, n_classes)
    intercept = aggregator.intercept_
    before = np.copy(intercept)
    features = aggregator.features(classifiers_last(R), IDENTITY)
    copies = features.copy(), labels.copy(), weights.copy()
    aggregator.update(features, made_rows(labels, weights))
    for array, copy in zip((features, labels, weights, intercept), (*copies, before), strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("loss", [LOGISTIC, FocalLoss(0.5), FocalLoss(2.0)])
@both_class_counts
@pytest.mark.parametrize("make", LEARNERS.values(), ids=LEARNERS)
def test_weight_gradient_is_the_numerical_one(make, n_classes, loss):
    R, labels, weights = made(n_classes)
    aggregator, step = started(make, n_classes), 1e-5
    features = aggregator.features(classifiers_last(R), IDENTITY)
    rng = np.random.default_rng(2)
    w, b = rng.normal(size=5), rng.normal(size=1 if n_classes == 2 else 3)

    def at(w, b):
        aggregator.weights_, aggregator.intercept_ = w, b[0] if n_classes == 2 else b
        return loss_of(aggregator, features, labels, weights, loss)

    in_w = [(at(w + step * e, b) - at(w - step * e, b)) / (2 * step) for e in np.eye(5)]
    in_b = [(at(w, b + step * e) - at(w, b - step * e)) / (2 * step) for e in np.eye(len(b))]
    at(w, b)
    gradient = weight_gradient(aggregator, features, made_rows(labels, weights, loss))
    np.testing.assert_allclose(gradient[0], in_w, atol=1e-9)
    np.testing.assert_allclose(np.atleast_1d(gradient[1]), in_b, atol=1e-9)


def test_weight_gradient_is_the_published_formula():
    R, labels, weights = made(2)
    aggregator = started(AGGREGATORS["weighted, one step"], 2)
    aggregator.weights_, aggregator.intercept_ = np.array([0.5, -1, 2, 0, 0.3]), 0.2
    p = expit(aggregator.weights_ @ R + 0.2)
    share = weights * (p - labels)
    gradient = weight_gradient(aggregator, classifiers_last(R), made_rows(labels, weights))
    np.testing.assert_allclose(gradient[0], R @ share / weights.sum(), rtol=1e-12)
    assert gradient[1] == pytest.approx(share.sum() / weights.sum(), rel=1e-12)
    # the sources' focal rule: (1 − p_t) ** γ as one more instance weight
    focal = weights * np.where(labels == 1, 1 - p, p) ** 2
    rule = FocalLoss(2.0, gradient="reweighted")
    gradient = weight_gradient(aggregator, classifiers_last(R), made_rows(labels, weights, rule))
    np.testing.assert_allclose(gradient[0], R @ (focal * (p - labels)) / focal.sum(), rtol=1e-12)


@both_class_counts
def test_gradient_step(n_classes):
    R, labels, weights = made(n_classes)
    aggregator = started(lambda _: WeightedAggregator(0.25, "gradient"), n_classes)
    features = aggregator.features(classifiers_last(R), IDENTITY)
    in_w, in_b = weight_gradient(aggregator, features, made_rows(labels, weights))
    aggregator.update(features, made_rows(labels, weights))
    np.testing.assert_allclose(aggregator.weights_, 0.2 - 0.25 * in_w, rtol=1e-14)
    np.testing.assert_allclose(aggregator.intercept_, -0.25 * np.asarray(in_b), rtol=1e-14)


@pytest.mark.parametrize("seed", [0, 1])
@both_class_counts
def test_weighted_solution_is_an_optimum_that_is_hardly_regularised(n_classes, seed):
    R, labels, weights = made(n_classes, seed=seed, turned=2)
    aggregator = started(AGGREGATORS["weighted, solved"], n_classes)
    features = aggregator.features(classifiers_last(R), IDENTITY)
    aggregator.update(features, made_rows(labels, weights))
    in_w, in_b = weight_gradient(aggregator, features, made_rows(labels, weights))
    # what is left are the pulls toward 0
    pull = (1 if n_classes == 2 else 2) * CLASS_PRIOR * np.asarray(aggregator.intercept_)
    np.testing.assert_allclose(-in_w * weights.sum(), WEAK_PRIOR * aggregator.weights_, atol=1e-4)
    np.testing.assert_allclose(-np.asarray(in_b) * weights.sum(), pull, atol=1e-4)
    assert WEAK_PRIOR <= 1
    # a classifier that ranks the wrong way round is turned
    assert (aggregator.weights_[:3] > 0).all()
    assert (aggregator.weights_[3:] < 0).all()


@pytest.mark.parametrize("strength", [0.5, 50.0, 5000.0])
@both_class_counts
def test_log_pool_is_the_minimum_that_scipy_finds(n_classes, strength):
    R, labels, weights = made(n_classes, turned=2)
    aggregator = started(lambda k: LogPoolAggregator(k, strength), n_classes)
    features = aggregator.features(classifiers_last(R), IDENTITY)
    aggregator.update(features, made_rows(labels, weights))
    n_intercepts = 1 if n_classes == 2 else n_classes
    prior = CLASS_PRIOR if n_classes == 2 else 2 * CLASS_PRIOR

    def penalized(theta):
        w, b = theta[:5], theta[5:]
        scores = features @ w + (b[0] if n_classes == 2 else b)
        pull = strength * np.square(w - 0.2).sum() + prior * np.square(b).sum()
        return weights @ LOGISTIC.value(margins(scores, labels)) + pull / 2

    start = np.concatenate([np.full(5, 0.2), np.zeros(n_intercepts)])
    bounds = [(0, None)] * 5 + [(None, None)] * n_intercepts
    options = {"ftol": 1e-15, "gtol": 1e-8, "maxfun": 100_000}
    reference = minimize(penalized, start, bounds=bounds, options=options)
    found = np.concatenate([aggregator.weights_, np.atleast_1d(aggregator.intercept_)])
    assert penalized(found) <= reference.fun * (1 + 1e-12)
    np.testing.assert_allclose(found, reference.x, atol=1e-4)
    assert (aggregator.weights_ >= 0).all()


@pytest.mark.parametrize("turned", [3, 5])
@both_class_counts
def test_nonnegative_weights_cannot_invert_a_ranking(n_classes, turned):
    R, labels, weights = made(n_classes, turned=turned)
    aggregator = started(AGGREGATORS["log pool, weak"], n_classes)
    features = aggregator.features(classifiers_last(R), IDENTITY)
    aggregator.update(features, made_rows(labels, weights))
    assert (aggregator.weights_ >= 0).all()
    np.testing.assert_allclose(aggregator.weights_[5 - turned :], 0, atol=1e-2)


@pytest.mark.parametrize("make", [AGGREGATORS["log pool"], AGGREGATORS["log pool, weak"]])
@pytest.mark.parametrize("loss", [LOGISTIC, FocalLoss(2.0)])
def test_log_pool_of_two_classes_as_multiclass_is_binary(make, loss):
    R, labels, weights = made(2)
    binary = started(make, 2)
    binary.update(binary.features(classifiers_last(R), IDENTITY), made_rows(labels, weights, loss))
    pair = LogPoolAggregator(3, binary.strength)
    pair.start(5, np.zeros(2))
    features = pair.features(classifiers_last(np.stack([1 - R, R], axis=2)), IDENTITY)
    pair.update(features, made_rows(labels, weights, loss))
    np.testing.assert_allclose(pair.weights_, binary.weights_, atol=1e-6)
    half = binary.intercept_ / 2
    np.testing.assert_allclose(pair.intercept_, [-half, half], atol=1e-6)
    scores = binary.scores(binary.features(classifiers_last(R), IDENTITY))
    np.testing.assert_allclose(
        probabilities(pair.scores(features)), probabilities(scores), atol=1e-6
    )


@both_class_counts
def test_mean_is_the_average_of_the_probabilities(n_classes):
    R, labels, weights = made(n_classes)
    aggregator = MeanAggregator(n_classes)
    aggregator.start(5, 3.0 if n_classes == 2 else np.arange(3.0))
    for Z, link in ((R, IDENTITY), (logit(R), LogitLink())):
        features = aggregator.features(classifiers_last(Z), link)
        aggregator.update(features, made_rows(labels, weights))
        average = R.mean(axis=0)
        expected = np.column_stack([1 - average, average]) if n_classes == 2 else average
        result = probabilities(aggregator.scores(features))
        np.testing.assert_allclose(result, expected, rtol=1e-12)


@both_class_counts
def test_log_pool_features_are_log_odds_whatever_the_link(n_classes):
    R = made(n_classes)[0]
    pool = LogPoolAggregator(n_classes)
    linked = pool.link.forward(R)
    np.testing.assert_allclose(
        pool.features(classifiers_last(linked), pool.link), classifiers_last(linked)
    )
    np.testing.assert_allclose(
        pool.features(classifiers_last(R), IDENTITY), classifiers_last(linked)
    )


def test_many_features_are_not_held(monkeypatch):
    features = np.ones((10, 3, 2))
    assert held(features).base is features
    monkeypatch.setattr("cfe_stack.trainers.aggregators.MAX_HELD_CELLS", 59)
    assert held(features) is features


@pytest.mark.parametrize(
    ("name", "solver", "message"),
    [
        ("median", "gradient", r"aggregator_type .*'log_pool', 'mean', 'weighted'\], got 'median'"),
        ("weighted", "newton", "aggregator_solver must be 'gradient' or 'converged', got 'newton'"),
    ],
)
def test_unknown_names(name, solver, message):
    with pytest.raises(ValueError, match=message):
        make_aggregator(name, 2, 0.1, solver)


@pytest.mark.parametrize("name", ["mean", "weighted", "log_pool"])
def test_make_aggregator(name):
    aggregator = make_aggregator(name, 3, 0.125, "converged")
    assert type(aggregator).__name__.lower().startswith(name.replace("_", ""))
    if name == "weighted":
        assert (aggregator.lr, aggregator.solver) == (0.125, "converged")
