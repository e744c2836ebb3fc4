import io
import sys

import numpy as np
import pytest
from scipy.special import expit, logit, softmax
from stacked_columns import log_loss_of

from cfe_stack import CFEnsembleTrainer, EnsembleData
from cfe_stack.classifier.final_aggregators import (
    FINAL_AGGREGATORS,
    FoldedIn,
    PlainMean,
    make_final_aggregator,
)
from cfe_stack.datasets import make_ensemble
from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.losses.labeled_rows import LabeledRows
from cfe_stack.losses.raw_scores import probabilities
from cfe_stack.pools.gates import Gates

M, N = 6, 240
TRAINER = CFEnsembleTrainer(
    latent_dim=3, lambda_reg=1.0, link="logit", standardize=True, init="spectral",
    confidence="uniform", use_label_aware_confidence=False, aggregator_type="mean", max_iter=500,
)  # fmt: skip


def folded_in(n_classes=2, order=None, **settings):
    """Return folded-in instances, their labels, and the data."""
    made = make_ensemble(M, N, n_classes, random_state=0, **settings)
    R = made.R if order is None else made.R[order]
    data = EnsembleData(R, made.labels)
    model = TRAINER.fit(data).factor_model_
    instances = FoldedIn.of(data, model)
    gates = Gates.fit(model.factors, instances.Y, instances.Z, np.ones(N))
    return instances.gated(gates), made.labels, data


def target(labels, weights=None, bend=1.0, loss=FocalLoss()):  # noqa: B008 - immutable
    frequencies = np.ones(N) if weights is None else weights
    folds = np.stack([np.arange(N) % 5, np.arange(N) // 3 % 5])
    return LabeledRows(labels, frequencies, frequencies * bend, loss), folds


def fitted(name, instances, given):
    return make_final_aggregator(name).fit(instances, *given)


@pytest.mark.filterwarnings("ignore::cfe_stack.MissingPredictionsWarning")
@pytest.mark.parametrize("n_classes", [2, 3])
def test_completion_keeps_what_was_observed(n_classes):
    instances, _, data = folded_in(n_classes, missing_rate=0.3)
    seen = ~np.isnan(data.R)
    assert np.isfinite(instances.R).all()
    np.testing.assert_array_equal(instances.R[seen], data.R[seen])
    if n_classes == 2:
        np.testing.assert_allclose(expit(instances.Z.T), np.clip(instances.R, 1e-3, 1 - 1e-3))
    else:
        clipped = np.maximum(instances.R, 1e-3)
        expected = clipped / clipped.sum(axis=2, keepdims=True)
        np.testing.assert_allclose(softmax(instances.Z, axis=1).transpose(2, 0, 1), expected)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_some_instances_are_as_they_were_among_all(n_classes):
    instances, _, data = folded_in(n_classes, missing_rate=0.2)
    rows = np.array([5, 2, 100])
    part = instances.take(rows)
    np.testing.assert_array_equal(part.Z, instances.Z[rows])
    np.testing.assert_array_equal(part.phi, instances.phi[rows])
    np.testing.assert_allclose(part.Z_hat, instances.Z_hat[rows])
    alone = FoldedIn.of(EnsembleData(data.R[:, rows]), instances.model)
    for name in ("Y", "R", "Z"):
        np.testing.assert_allclose(getattr(alone, name), getattr(part, name), atol=1e-9)


def test_folding_in_uses_no_label():
    made = make_ensemble(M, N, random_state=0, missing_rate=0.2)
    model = TRAINER.fit(EnsembleData(made.R, made.labels)).factor_model_
    with_labels = FoldedIn.of(EnsembleData(made.R, made.labels), model)
    without = FoldedIn.of(EnsembleData(made.R), model)
    np.testing.assert_array_equal(with_labels.Z, without.Z)
    np.testing.assert_array_equal(with_labels.Y, without.Y)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", FINAL_AGGREGATORS)
def test_the_contract(name, n_classes):
    instances, labels, _ = folded_in(n_classes)
    aggregator = fitted(name, instances, target(labels))
    scores = aggregator.scores(instances)
    assert scores.shape == ((N,) if n_classes == 2 else (N, n_classes))
    assert aggregator.weights.shape == (M,)
    assert np.isfinite(scores).all()
    chance = np.log(n_classes)
    assert log_loss_of(probabilities(scores), labels) < 0.9 * chance
    rows = np.array([7, 3])
    np.testing.assert_allclose(aggregator.scores(instances.take(rows)), scores[rows])


@pytest.mark.first_cases
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", FINAL_AGGREGATORS)
def test_the_order_of_classifiers_does_not_matter(name, n_classes):
    order = np.random.default_rng(0).permutation(M)
    instances, labels, _ = folded_in(n_classes)
    moved, _, _ = folded_in(n_classes, order)
    first = fitted(name, instances, target(labels))
    second = fitted(name, moved, target(labels))
    np.testing.assert_allclose(second.weights, first.weights[order], atol=1e-6)
    np.testing.assert_allclose(second.scores(moved), first.scores(instances), atol=1e-6)


@pytest.mark.exhaustive
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", FINAL_AGGREGATORS)
@pytest.mark.parametrize("bend", ["class weights", "focal loss"])
def test_bent_losses_leave_the_probabilities_calibrated(name, n_classes, bend):
    prior = np.array([0.8, 0.2]) if n_classes == 2 else np.array([0.7, 0.2, 0.1])
    instances, labels, _ = folded_in(n_classes, class_prior=prior)
    given = (
        target(labels, loss=FocalLoss(3.0))
        if bend == "focal loss"
        else target(labels, bend=np.where(labels == 0, 0.2, 3.0))
    )
    plain = probabilities(fitted(name, instances, target(labels)).scores(instances))
    bent = probabilities(fitted(name, instances, given).scores(instances))
    assert log_loss_of(bent, labels) < 1.1 * log_loss_of(plain, labels)
    if name != "mean":
        rate = np.bincount(labels) / N
        np.testing.assert_allclose(bent.mean(axis=0), rate, atol=0.02)
        assert np.abs(bent - plain).max() > 1e-4


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_mean_is_the_mean(n_classes):
    instances, labels, data = folded_in(n_classes)
    aggregator = fitted("mean", instances, target(labels))
    average = data.R.mean(axis=0)
    proba = probabilities(aggregator.scores(instances))
    np.testing.assert_allclose(proba[:, 1] if n_classes == 2 else proba, average, atol=1e-12)
    np.testing.assert_allclose(aggregator.weights, 1 / M)


def test_the_mean_of_extreme_probabilities_stays_finite():
    instances, labels, _ = folded_in()
    extreme = np.round(instances.R)
    scores = PlainMean().fit(instances, *target(labels))
    values = scores.scores(
        FoldedIn(instances.model, instances.Y, extreme, instances.Z, instances.phi)
    )
    assert np.isfinite(values).all()
    middle = np.abs(extreme.mean(axis=0) - 0.5) < 0.49
    np.testing.assert_allclose(values[middle], logit(extreme.mean(axis=0)[middle]))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_weighted_aggregator_is_logistic_regression_on_the_reconstruction(n_classes):
    instances, labels, _ = folded_in(n_classes)
    aggregator = fitted("weighted", instances, target(labels))
    scores = instances.Z_hat @ aggregator.weights + aggregator.intercept
    np.testing.assert_allclose(aggregator.scores(instances), scores)
    proba = probabilities(scores)
    residual = proba - np.eye(n_classes)[labels]
    # stationary up to the weak priors: residuals are orthogonal to the features
    on_features = (
        instances.Z_hat.T @ residual[:, 1]
        if n_classes == 2
        else np.einsum("nkm,nk->m", instances.Z_hat, residual)
    )
    assert np.abs(on_features).max() < 0.5
    assert np.abs(residual.sum(axis=0)).max() < 0.5


@pytest.mark.parametrize("name", ["best", "", None, "AUTO"])
def test_unknown_names_are_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match="aggregator must be one of .*'auto'.*'weighted'"):
        make_final_aggregator(name)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("progress", [True, False])
def test_a_pool_shows_its_progress_where_it_is_asked_to(monkeypatch, progress):
    pytest.importorskip("tqdm")
    instances, labels, _ = folded_in()
    given = target(labels)
    quiet = fitted("log_pool", instances, given)
    monkeypatch.setattr(sys, "stderr", Terminal())
    shown = make_final_aggregator("log_pool").fit(instances, *given, progress=progress)
    assert ("inner folds" in sys.stderr.getvalue()) == progress
    np.testing.assert_array_equal(shown.weights, quiet.weights)
