import warnings

import numpy as np
import pytest

from cfe_stack import CFEnsembleTrainer, CollapsedAggregatorWarning, EnsembleData
from cfe_stack.datasets import make_ensemble
from cfe_stack.trainers.collapse import collapse_symptom, plain_average

AVERAGE = np.array([0.1, 0.2, 0.3, 0.6, 0.7, 0.9])
LABELS = np.array([0, 0, 1, 0, 1, 1])


def two(positive):
    return np.column_stack([1 - positive, positive])


def test_agreement_with_the_average_is_no_collapse():
    assert collapse_symptom(two(AVERAGE**3), two(AVERAGE), LABELS) is None
    assert collapse_symptom(two(0.5 + 0.01 * AVERAGE), two(AVERAGE), LABELS) is None


def test_an_inverted_ranking_is_a_collapse():
    symptom = collapse_symptom(two(1 - AVERAGE), two(AVERAGE), LABELS)
    assert "rank correlation -1.00" in symptom
    assert "ROC-AUC 0.11 instead of 0.89" in symptom


def test_a_ranking_half_lost_is_a_collapse_of_who_was_trained_on_it():
    lost = np.array([0.5, 0.2, 0.3, 0.6, 0.4, 0.9])
    symptom = collapse_symptom(two(lost), two(AVERAGE), LABELS)
    assert "far worse than the plain average (ROC-AUC 0.56 instead of 0.89)" in symptom
    assert collapse_symptom(two(lost), two(AVERAGE), LABELS, trained_here=False) is None


def test_wrong_classifiers_may_be_turned_over():
    assert collapse_symptom(two(1 - AVERAGE), two(AVERAGE), 1 - LABELS) is None


def test_one_class_has_no_labels_to_side_with():
    assert "rank correlation" in collapse_symptom(two(1 - AVERAGE), two(AVERAGE), 0 * LABELS)


def test_constant_predictions_are_a_collapse_and_one_instance_is_not():
    assert "constant" in collapse_symptom(two(0.3 + 1e-4 * AVERAGE), two(AVERAGE), LABELS)
    assert collapse_symptom(two(AVERAGE[:1]), two(AVERAGE[:1]), LABELS[:1]) is None


def test_three_classes_are_judged_together():
    average = np.random.default_rng(0).dirichlet(np.ones(3), size=50)
    labels = average.argmax(axis=1)
    turned = (1 - average) / 2
    assert "against the plain average" in collapse_symptom(turned, average, labels)
    swapped = average[:, [0, 1, 2]] ** 2
    assert collapse_symptom(swapped / swapped.sum(1)[:, None], average, labels) is None


def test_the_plain_average_leaves_missing_cells_out():
    R = np.array([[0.2, np.nan], [0.4, 0.8]])
    np.testing.assert_allclose(plain_average(R), [[0.7, 0.3], [0.2, 0.8]])


def published(seed):
    """Return the imbalanced set-up of the published collapse."""
    random = np.random.default_rng(seed)
    truth = (random.random(500) < 0.1).astype(int)
    evidence = np.where(truth == 1, 0.6, -0.6) + 0.2 * random.standard_normal(500)
    log_odds = evidence + 0.3 * random.standard_normal((10, 500))
    return EnsembleData(1 / (1 + np.exp(-log_odds)), np.where(np.arange(500) < 250, truth, -1))


def trainers():
    """Return trainers by name: ALS, and joint descent with weights of both signs."""
    made = {"als": lambda **s: CFEnsembleTrainer(tol=0, random_state=0, **s)}
    if pytest.importorskip("torch"):
        from cfe_stack import CFEnsemblePyTorchTrainer

        for factors in ("free", "projected"):
            made[factors] = lambda f=factors, **s: CFEnsemblePyTorchTrainer(
                max_epochs=50, tol=0, instance_factors=f, **s
            )
    return made


@pytest.mark.first_cases
@pytest.mark.parametrize("name", ["als", "free", "projected"])
@pytest.mark.parametrize("seed", [0, 1])
def test_both_trainers_say_that_they_collapsed(name, seed):
    make = trainers()[name]
    with pytest.warns(CollapsedAggregatorWarning, match="against the plain average"):
        model = make(latent_dim=15, use_class_weights=False, init_prior=False).fit(published(seed))
    if name == "free":
        assert model.weights_.max() > 0 > model.weights_.min()
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapsedAggregatorWarning)
        make(latent_dim=15, use_class_weights=True).fit(published(seed))
        make(latent_dim=15, use_class_weights=False, init_prior=True).fit(published(seed))


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_healthy_fits_are_silent(n_classes, seed):
    made = make_ensemble(8, 300, n_classes, missing_rate=0.3, random_state=seed)
    data = EnsembleData(made.R, made.labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapsedAggregatorWarning)
        CFEnsembleTrainer(aggregator_solver="converged", max_iter=20, tol=0, random_state=0).fit(
            data
        )
