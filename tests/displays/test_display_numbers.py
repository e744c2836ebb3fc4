"""What displays compute, against values known from the definition."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import average_precision_score, roc_auc_score
from stacked_columns import log_loss_of, stacked

from cfe_stack import CFEnsembleClassifier, CFEnsembleTrainer, EnsembleData
from cfe_stack.displays import (
    AggregatorWeightsDisplay,
    ClassifierMapDisplay,
    CoverageDisplay,
    GradientShareDisplay,
    InstanceMapDisplay,
    RankingCurvesDisplay,
    ReliabilityDisplay,
    TrainingHistoryDisplay,
    TrustDisplay,
)
from cfe_stack.displays.factor_axes import classifier_distances, classifier_plane
from cfe_stack.displays.reading import read


@pytest.fixture(scope="module")
def fitted():
    P, y, R = stacked(5, 150, missing_rate=0.05)
    return CFEnsembleClassifier(aggregator="gated_pool", cv=2).fit(P, y), P, y, R


def test_the_parts_of_the_history_add_up():
    _, y, R = stacked(4, 100)
    trainer = CFEnsembleTrainer(latent_dim=2, rho=0.3, random_state=0).fit(EnsembleData(R, y))
    display = TrainingHistoryDisplay.from_estimator(trainer)
    parts = 0.3 * display.reconstruction + 0.7 * display.supervised
    np.testing.assert_allclose(parts, display.objective)
    assert display.step_name == "sweep"


def test_without_labels_reconstruction_is_the_objective():
    _, _, R = stacked(4, 100)
    with pytest.warns(UserWarning, match="rho is treated as 1"):
        trainer = CFEnsembleTrainer(latent_dim=2, random_state=0).fit(EnsembleData(R))
    display = TrainingHistoryDisplay.from_estimator(trainer)
    assert display.rho == 1.0
    np.testing.assert_allclose(display.objective, display.reconstruction)


def test_a_bootstrap_draws_every_class_and_is_repeatable(fitted):
    classifier, P, y, R = fitted
    rare = np.where(np.arange(len(y)) < 4, y, np.where(y == 1, np.nan, y))
    settings = {"n_bootstrap": 3, "random_state": 0, "progress": False}
    one = AggregatorWeightsDisplay.from_estimator(classifier, P, rare, **settings)
    two = AggregatorWeightsDisplay.from_estimator(
        classifier, EnsembleData(R, np.nan_to_num(rare, nan=-1).astype(int)), **settings
    )
    np.testing.assert_allclose(one.samples, two.samples)
    assert np.ptp(one.samples, axis=0).min() > 0
    np.testing.assert_array_equal(one.weights, classifier.weights_)


def test_weights_are_read_without_rows(fitted):
    classifier, *_ = fitted
    display = AggregatorWeightsDisplay.from_estimator(classifier, names=list("abcde"))
    assert display.samples is None
    assert display.names == list("abcde")


def test_a_stack_keeps_no_columns_to_resample(fitted):
    _, P, y, R = fitted
    trainer = CFEnsembleTrainer(latent_dim=2, aggregator_type="mean", random_state=0).fit(
        EnsembleData(R, y)
    )
    with pytest.raises(TypeError, match="a CFEnsembleTrainer does not keep"):
        AggregatorWeightsDisplay.from_estimator(trainer, P, y)


def test_map_distances_are_those_of_the_reconstruction(fitted):
    classifier, P, _, _ = fitted
    reading = read(classifier, P)
    positions, shares = classifier_plane(reading.model)
    F = reading.model.factors
    true = np.linalg.norm(F[:, :, None] - F[:, None, :], axis=0)
    flat = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    assert (flat <= true + 1e-9).all()
    assert np.square(flat).sum() / np.square(true).sum() == pytest.approx(shares.sum())
    Y = reading.model.fold_in(reading.data)
    differences = reading.model.predicted(Y)[:, None] - reading.model.predicted(Y)[None]
    between = np.linalg.norm((F - F[:, :1])[:, 1:], axis=0)
    # the fold-in shrinks all instances alike
    ratio = np.sqrt(np.square(differences[0, 1:]).mean(axis=1)) / between
    assert 0.7 < ratio.min() < ratio.max() < min(1.05, 1.05 * ratio.min())


@pytest.mark.parametrize("n_classes", [2, 3])
def test_near_duplicates_are_those_whose_predictions_agree(n_classes):
    _, y, R = stacked(6, 200, n_classes, missing_rate=0.1)
    R = np.concatenate([R, R[1:2], 0.99 * R[2:3] + 0.01 / n_classes, R[1:2]])
    data = EnsembleData(R, y)
    P = np.moveaxis(R, 0, 1).reshape(len(y), -1)
    classifier = CFEnsembleClassifier(
        aggregator="mean", layout="class1" if n_classes == 2 else "blocks"
    ).fit(P, y)
    display = ClassifierMapDisplay.from_estimator(classifier, data)
    assert display.duplicates == [[1, 6, 8], [2, 7]]
    distances = classifier_distances(read(classifier, data).model, data)
    np.testing.assert_allclose(distances, distances.T)
    assert distances[1, 6] < 1e-6 < 0.3 < distances[0, 3]


def test_scores_of_the_map(fitted):
    classifier, P, y, _ = fitted
    display = ClassifierMapDisplay.from_estimator(classifier, P, y)
    u, there = 2, ~np.isnan(P[:, 2])
    p = P[there, u]
    expected = log_loss_of(np.column_stack([1 - p, p]), y[there])
    assert display.scores[u] == pytest.approx(expected, rel=1e-6)
    auc = ClassifierMapDisplay.from_estimator(classifier, P, y, score=roc_auc_score)
    assert auc.scores[u] == pytest.approx(roc_auc_score(y[there], p))
    assert auc.score_name == "roc auc score"
    weight = ClassifierMapDisplay.from_estimator(classifier, P, score="weight")
    np.testing.assert_array_equal(weight.scores, classifier.weights_)
    with pytest.raises(ValueError, match="pass y, or score='weight'"):
        ClassifierMapDisplay.from_estimator(classifier, P)


def test_the_instance_map_orders_by_the_common_opinion(fitted):
    classifier, P, y, R = fitted
    display = InstanceMapDisplay.from_estimator(classifier, P, y)
    mean = np.nanmean(P, axis=1)
    assert np.corrcoef(display.positions[:, 0], mean)[0, 1] > 0.9
    expected = 1 - np.where(y == 1, mean, 1 - mean)
    np.testing.assert_allclose(display.difficulty, expected)
    np.testing.assert_allclose(display.disagreement, 2 * np.nanstd(P, axis=1))
    alone = InstanceMapDisplay.from_data(EnsembleData(R))
    for axis in range(2):
        assert np.corrcoef(alone.positions[:, axis], display.positions[:, axis])[0, 1] > 0.99


def test_trust_averages_the_instance_weights(fitted):
    classifier, P, *_ = fitted
    display = TrustDisplay.from_estimator(classifier, P, n_runs=5)
    weights, gates = read(classifier, P).trust()
    order = np.argsort(gates[:, 0])
    np.testing.assert_allclose(display.weights[:, 0], weights[order[:30]].mean(axis=0))
    assert (np.diff(display.positions) > 0).all()
    first = np.arctanh(gates[order[:30], 0])
    assert display.positions[0] == pytest.approx(first.mean())
    with pytest.raises(ValueError, match="needs three classes or more"):
        TrustDisplay.from_estimator(classifier, P, along="entropy")


def test_trust_refuses_an_aggregator_without_a_pool(fitted):
    _, P, y, _ = fitted
    for aggregator in ("mean", "linear_pool"):
        classifier = CFEnsembleClassifier(aggregator=aggregator, cv=2).fit(P, y)
        with pytest.raises(TypeError, match="fit a CFEnsembleClassifier with aggregator='auto'"):
            TrustDisplay.from_estimator(classifier, P)


def test_reliability_of_known_predictions():
    y = np.repeat([0, 1, 0, 1], [8, 2, 1, 9])
    p = np.repeat([0.3, 0.8], 10)
    display = ReliabilityDisplay.from_predictions(y, {"p": p}, n_runs=7, level=0.95)
    curve = display.curves["p"]
    np.testing.assert_allclose(curve.predicted, [0.3, 0.8])
    np.testing.assert_allclose(curve.observed, [0.2, 0.9])
    assert curve.mean_gap == pytest.approx(0.1)
    # Wilson's interval of 2 in 10, from a table
    assert (curve.low[0], curve.high[0]) == pytest.approx((0.0567, 0.5098), abs=1e-4)


def test_weights_of_rows_count_as_rows():
    random = np.random.default_rng(0)
    p, weight = random.uniform(size=40), random.integers(0, 4, 40)
    y = (random.uniform(size=40) < p).astype(int)
    weighted = ReliabilityDisplay.from_predictions(y, {"p": p}, sample_weight=weight, n_runs=3)
    repeated = ReliabilityDisplay.from_predictions(
        np.repeat(y, weight), {"p": np.repeat(p, weight)}, n_runs=3
    )
    for name in ("predicted", "observed", "weight", "low"):
        np.testing.assert_allclose(
            getattr(weighted.curves["p"], name), getattr(repeated.curves["p"], name), rtol=0.35
        )
    assert weighted.curves["p"].weight.sum() == weight.sum()


def test_several_classes_are_judged_by_their_largest_probability():
    proba = np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.1, 0.1, 0.8]])
    display = ReliabilityDisplay.from_predictions(
        ["a", "b", "c", "c"], {"p": proba}, classes=["a", "b", "c"], n_runs=2
    )
    np.testing.assert_allclose(display.curves["p"].observed, [0.5, 1.0])


def test_gradient_shares_follow_the_published_reweighting():
    """The factors of METHOD: by the reweighted rule γ = 2 keeps (1 − p)² of the gradient."""
    p_true = np.array([0.1, 0.3, 0.5, 0.7, 0.95])
    y = np.array([1, 0, 1, 0, 1])
    p = np.where(y == 1, p_true, 1 - p_true)
    display = GradientShareDisplay.from_predictions(y, p, class_weight={0: 3.0})
    pull = 1 - p_true
    np.testing.assert_allclose(display.shares["cross-entropy"], pull / pull.sum())
    np.testing.assert_allclose(display.shares["instances"], np.full(5, 0.2))
    weighted = np.where(y == 0, 3.0, 1.0) * pull
    np.testing.assert_allclose(display.shares["class weights"], weighted / weighted.sum())
    focal = (1 - p_true) ** 2 * (1 - p_true - 2 * p_true * np.log(p_true))
    np.testing.assert_allclose(display.shares["focal γ = 2"], focal / focal.sum())


def test_gradient_shares_of_several_classes_use_the_probability_of_the_truth():
    proba = np.array([[0.9, 0.05, 0.05], [0.1, 0.3, 0.6], [0.5, 0.25, 0.25]])
    display = GradientShareDisplay.from_predictions([0, 1, 2], proba, class_weight=None)
    pull = np.array([0, 0.7 + 0.75, 0, 0, 0.1])
    np.testing.assert_allclose(display.shares["cross-entropy"], pull / pull.sum(), atol=1e-9)


def test_coverage_counts_cells():
    R = np.full((3, 1000), 0.5)
    R[0, :500] = np.nan
    R[1, 250:500] = np.nan
    C = np.ones_like(R)
    C[2, 250:500] = 0
    display = CoverageDisplay.from_data(EnsembleData(R, C=C))
    np.testing.assert_allclose(display.classifiers, [0.5, 0.75, 0.75])
    assert display.predictions.tolist() == [250, 0, 250, 500]
    assert display.cells.shape == (3, 200)
    np.testing.assert_allclose(display.cells[1], np.repeat([1, 0, 1], [50, 50, 100]))


def test_curves_agree_with_scikit_learn(fitted):
    classifier, P, y, _ = fitted
    display = RankingCurvesDisplay.from_estimator(classifier, P, y, n_learners=2)
    proba = classifier.predict_proba(P)[:, 1]
    curve = display.curves["CF-Ensemble"]
    assert curve.average_precision == pytest.approx(average_precision_score(y, proba))
    assert curve.roc_auc == pytest.approx(roc_auc_score(y, proba))
    assert [name.startswith("_") for name in display.curves] == [False] * 4 + [True] * 3
    assert display.prevalence == pytest.approx(y.mean())


@pytest.mark.parametrize(
    ("y", "contenders", "settings", "message"),
    [
        ([0, 1, 2], {"p": np.full((3, 3), 1 / 3)}, {}, r"one of the 3 classes \[0, 1, 2\], got N"),
        ([0, 0, 0], {"p": [0.1, 0.2, 0.3]}, {"classes": [0, 1]}, "needs rows of class 1 and of an"),
        ([0, 1], {"p": [0.1, 1.2]}, {}, "'p' hold 1.2 in row 1"),
        ([0, 1], {"p": [0.1, np.nan]}, {}, "'p' hold nan in row 1"),
        ([0, 1], {"p": [0.1]}, {}, r"'p' must have shape \(2, 2\) or \(2,\), got \(1,\)"),
        ([0, 1], {"p": [[0.1, 0.8], [0.5, 0.5]]}, {}, "of 'p' sum to 0.9 in row 0"),
        ([0, 1], [0.1, 0.2], {}, "contenders must be a dict"),
        ([0, None], {"p": [0.1, 0.2]}, {"classes": [0, 1]}, "must hold a class for every row"),
        ([0, 1], {"p": [0.1, 0.2]}, {"sample_weight": [0, 0]}, "2 numbers >= 0 that are not all"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(y, contenders, settings, message):
    with pytest.raises(ValueError, match=message):
        RankingCurvesDisplay.from_predictions(y, contenders, **settings)


def test_rows_without_label_or_prediction_are_left_out(fitted):
    classifier, P, y, _ = fitted
    P, labels = P.copy(), y.astype(float)
    P[:10], labels[10:20] = np.nan, np.nan
    with pytest.warns(UserWarning, match="10 row"):
        display = ReliabilityDisplay.from_estimator(classifier, P, labels)
    assert display.curves["plain mean"].weight.sum() == len(y) - 20


def test_shares_sum_to_one_whatever_the_scores():
    random = np.random.default_rng(0)
    p = expit(random.normal(scale=20, size=300))
    display = GradientShareDisplay.from_predictions(random.integers(0, 2, 300), p)
    for share in display.shares.values():
        assert share.sum() == pytest.approx(1)
