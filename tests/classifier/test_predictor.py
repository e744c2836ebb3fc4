import numpy as np
import pytest

from cfe_stack import CFEnsembleTrainer, EnsembleData
from cfe_stack.classifier.final_aggregators import FINAL_AGGREGATORS, make_final_aggregator
from cfe_stack.classifier.predictor import Predictor
from cfe_stack.datasets import make_ensemble
from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.losses.labeled_rows import LossSettings
from cfe_stack.losses.raw_scores import probabilities

M, N = 5, 200
NAN = np.nan
POOLS = [name for name in FINAL_AGGREGATORS if name not in ("mean", "weighted")]


def trained(data, name="log_pool", n_classes=2, folds=None, **settings):
    trainer = CFEnsembleTrainer(
        latent_dim=3, lambda_reg=1.0, link="logit", standardize=True, init="spectral",
        confidence="uniform", use_label_aware_confidence=False, aggregator_type="mean",
        max_iter=500,
    ).fit(data)  # fmt: skip
    given = {"loss": FocalLoss(), "class_weight": None, "focal_alpha": None} | settings
    folds = np.arange(data.n_instances)[None] % 5 if folds is None else folds
    return Predictor.fit(
        make_final_aggregator(name),
        trainer.factor_model_,
        data,
        folds,
        LossSettings(**given, classes=np.arange(n_classes)),
    )


def simulated(n_classes=2, **settings):
    return make_ensemble(M, N, n_classes, random_state=0, **settings)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", FINAL_AGGREGATORS)
def test_old_and_new_rows_take_the_same_road(name, n_classes):
    made = simulated(n_classes, missing_rate=0.1)
    labels = np.where(np.arange(N) < 40, -1, made.labels)
    predictor = trained(EnsembleData(made.R, labels), name, n_classes)
    scores = predictor.scores(EnsembleData(made.R, labels))
    np.testing.assert_array_equal(predictor.scores(EnsembleData(made.R)), scores)
    np.testing.assert_array_equal(
        predictor.scores(EnsembleData(made.R, (made.labels + 1) % n_classes)), scores
    )
    np.testing.assert_allclose(predictor.scores(EnsembleData(made.R[:, :7])), scores[:7], atol=1e-9)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_rows_nobody_has_predicted_get_the_weighted_class_frequencies(n_classes):
    made = simulated(n_classes)
    weights = np.random.default_rng(0).integers(1, 4, N).astype(float)
    labels = np.where(np.arange(N) < 40, -1, made.labels)
    predictor = trained(EnsembleData(made.R, labels, sample_weight=weights), n_classes=n_classes)
    rate = np.bincount(labels[40:], weights[40:]) / weights[40:].sum()
    np.testing.assert_allclose(predictor.prior, rate)
    empty = np.full_like(made.R[:, :2], NAN)
    np.testing.assert_allclose(probabilities(predictor.scores(EnsembleData(empty))), [rate, rate])
    mixed = np.concatenate([made.R[:, :1], empty], axis=1)
    expected = predictor.scores(EnsembleData(made.R[:, :1]))
    np.testing.assert_allclose(predictor.scores(EnsembleData(mixed))[:1], expected)


@pytest.mark.filterwarnings("ignore::cfe_stack.MissingPredictionsWarning")
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", FINAL_AGGREGATORS)
def test_contributions_sum_to_the_scores(name, n_classes):
    made = simulated(n_classes, missing_rate=0.2)
    R = made.R.copy()
    R[:, :3], R[:, 3] = NAN, 1 / n_classes
    data = EnsembleData(R, made.labels)
    predictor = trained(data, name, n_classes)
    parts = predictor.contributions(data)
    assert parts.shape == ((N, M) if n_classes == 2 else (N, n_classes, M))
    np.testing.assert_allclose(parts.sum(axis=-1), predictor.scores(data), atol=1e-12)


@pytest.mark.filterwarnings("ignore::cfe_stack.MissingPredictionsWarning")
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("aggregator", ["log_pool", "bounded_pool"])
def test_empty_and_unlabelled_rows_teach_the_aggregator_nothing(aggregator, n_classes):
    made = simulated(n_classes)
    R, labels = made.R.copy(), made.labels.copy()
    R[:, :30] = NAN
    first = trained(EnsembleData(R, labels), aggregator, n_classes)
    labels[:30] = (labels[:30] + 1) % n_classes
    second = trained(EnsembleData(R, labels), aggregator, n_classes)
    np.testing.assert_array_equal(first.aggregator.weights, second.aggregator.weights)
    labels[:30] = -1
    third = trained(EnsembleData(R, labels), aggregator, n_classes)
    np.testing.assert_allclose(first.aggregator.weights, third.aggregator.weights, rtol=1e-9)


@pytest.mark.parametrize(
    "settings",
    [
        {"class_weight": "balanced"},
        {"class_weight": {0: 1, 1: 5}},
        {"focal_alpha": 0.8},
        {"loss": FocalLoss(2.0)},
    ],
    ids=["balanced", "dict", "alpha", "gamma"],
)
@pytest.mark.parametrize("aggregator", ["log_pool", "bounded_pool"])
def test_the_settings_of_the_loss_reach_the_aggregator(aggregator, settings):
    made = simulated(class_prior=0.1)
    data = EnsembleData(made.R, made.labels)
    plain, bent = trained(data, aggregator), trained(data, aggregator, **settings)
    assert np.abs(plain.aggregator.weights - bent.aggregator.weights).max() > 1e-4
