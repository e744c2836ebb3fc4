import dataclasses
import tracemalloc

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.metrics import log_loss, roc_auc_score

from cfe_stack.datasets import load_demo_problems, make_ensemble


def evidence(ensemble):
    """Log-odds of every classifier beyond the prior, of two classes."""
    return logit(ensemble.R) - logit(ensemble.class_prior[1])


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_shapes_and_ranges(n_classes):
    ensemble = make_ensemble(4, 50, n_classes, random_state=0)
    per_class = () if n_classes == 2 else (n_classes,)
    assert ensemble.R.shape == (4, 50, *per_class)
    assert ensemble.posterior.shape == (50, *per_class)
    assert ensemble.labels.dtype == np.int64
    assert set(ensemble.labels) <= set(range(n_classes))
    assert ensemble.skill.shape == (4,)
    assert ensemble.difficulty.shape == (50,)
    assert ((ensemble.R >= 0) & (ensemble.R <= 1)).all()
    if n_classes > 2:
        np.testing.assert_allclose(ensemble.R.sum(axis=2), 1.0)
        np.testing.assert_allclose(ensemble.posterior.sum(axis=1), 1.0)


def test_the_seed_decides_everything_and_the_global_state_nothing():
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the state that must not change
    first, again, other = (make_ensemble(random_state=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.R, again.R)
    assert not np.array_equal(first.R, other.R)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_uncorrelated_opinions_multiply():
    ensemble = make_ensemble(6, 100, class_prior=0.2, random_state=0)
    joint = expit(logit(0.2) + evidence(ensemble).sum(axis=0))
    np.testing.assert_allclose(ensemble.posterior, joint, rtol=1e-10)


def test_uncorrelated_opinions_multiply_with_three_classes():
    prior = np.array([0.5, 0.3, 0.2])
    ensemble = make_ensemble(6, 100, 3, class_prior=prior, random_state=0)
    joint = prior * np.prod(ensemble.R / prior, axis=0)
    np.testing.assert_allclose(ensemble.posterior, joint / joint.sum(axis=1, keepdims=True))


def test_posterior_undoes_the_correlation():
    ensemble = make_ensemble(5, 80, correlation=0.6, class_prior=0.3, random_state=0)
    strength = np.outer(ensemble.skill, 1 - ensemble.difficulty)
    covariance = np.full((5, 5), 0.6) + 0.4 * np.eye(5)
    weights = np.linalg.solve(covariance, strength)
    joint = logit(0.3) + (weights * evidence(ensemble) / strength).sum(axis=0)
    np.testing.assert_allclose(logit(ensemble.posterior), joint, rtol=1e-8, atol=1e-8)


def test_nothing_beats_the_posterior():
    ensemble = make_ensemble(8, 20_000, correlation=0.3, class_prior=0.15, random_state=0)
    best = log_loss(ensemble.labels, ensemble.posterior)
    pooled = expit(logit(0.15) + evidence(ensemble).sum(axis=0))
    for contender in (*ensemble.R, ensemble.R.mean(axis=0), pooled):
        assert log_loss(ensemble.labels, contender) > best + 0.002


@pytest.mark.parametrize("source", ["classifier", "posterior"])
def test_predictions_are_calibrated(source):
    ensemble = make_ensemble(3, 60_000, correlation=0.4, class_prior=0.3, random_state=0)
    proba = ensemble.R[0] if source == "classifier" else ensemble.posterior
    for rows in np.array_split(np.argsort(proba), 10):
        rate, forecast = ensemble.labels[rows].mean(), proba[rows].mean()
        assert abs(rate - forecast) < 4 * np.sqrt(forecast * (1 - forecast) / len(rows))


@pytest.mark.parametrize("skill", [0.5, 1.0, 2.0])
def test_skill_sets_the_ranking(skill):
    ensemble = make_ensemble(1, 40_000, skill=skill, difficulty=0.0, random_state=0)
    assert roc_auc_score(ensemble.labels, ensemble.R[0]) == pytest.approx(norm.cdf(skill), abs=0.01)


def test_the_hardest_instances_show_nothing_but_the_prior():
    ensemble = make_ensemble(4, 30, difficulty=np.repeat([0.0, 1.0], 15), class_prior=0.1)
    np.testing.assert_allclose(ensemble.R[:, 15:], 0.1)
    assert (np.abs(ensemble.R[:, :15] - 0.1) > 1e-6).all()


def test_correlation_is_the_correlation_of_the_errors():
    ensemble = make_ensemble(2, 50_000, skill=1.0, difficulty=0.0, correlation=0.7, random_state=0)
    errors = evidence(ensemble) - np.where(ensemble.labels == 1, 1.0, -1.0)
    assert np.corrcoef(errors)[0, 1] == pytest.approx(0.7, abs=0.01)


def test_class_prior_is_the_rate_of_the_labels():
    prior = np.array([0.7, 0.2, 0.1])
    ensemble = make_ensemble(2, 50_000, 3, class_prior=prior, random_state=0)
    np.testing.assert_allclose(np.bincount(ensemble.labels) / 50_000, prior, atol=0.01)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_missing_cells_lose_all_classes_and_change_nothing_else(n_classes):
    full = make_ensemble(5, 4000, n_classes, random_state=0)
    holed = make_ensemble(5, 4000, n_classes, missing_rate=0.25, random_state=0)
    missing = np.isnan(holed.R)
    assert missing.mean() == pytest.approx(0.25, abs=0.02)
    if n_classes > 2:
        assert (missing.all(axis=2) == missing.any(axis=2)).all()
    np.testing.assert_array_equal(holed.R[~missing], full.R[~missing])
    np.testing.assert_array_equal(holed.posterior, full.posterior)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_single_precision_holds_the_same_values_and_little_else_takes_memory(n_classes):
    settings = {"n_classifiers": 100, "n_instances": 2000, "n_classes": n_classes}
    tracemalloc.start()
    narrow = make_ensemble(**settings, dtype="float32", missing_rate=0.1, random_state=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert narrow.R.dtype == np.float32
    assert peak < 2 * narrow.R.nbytes
    wide = make_ensemble(**settings, missing_rate=0.1, random_state=0)
    assert wide.R.dtype == np.float64
    np.testing.assert_allclose(narrow.R, wide.R, rtol=1e-6)
    np.testing.assert_array_equal(narrow.posterior, wide.posterior)


def test_the_stream_of_random_numbers_is_that_of_whole_arrays():
    random = np.random.RandomState(0)  # noqa: NPY002 - the stream that a seed stands for
    made = make_ensemble(3, 20, correlation=0.4, missing_rate=0.5, random_state=0)
    skill, difficulty = random.uniform(0.3, 1.3, 3), random.uniform(size=20)
    labels = random.choice(2, 20, p=[0.5, 0.5])
    shared, own = random.standard_normal((1, 20, 2)), random.standard_normal((3, 20, 2))
    strength = np.outer(skill, 1 - difficulty)[:, :, None]
    seen = np.sqrt(0.4) * shared + np.sqrt(0.6) * own + strength * np.eye(2)[labels]
    R = expit(strength[:, :, 0] * (seen[:, :, 1] - seen[:, :, 0]))
    R[random.uniform(size=(3, 20)) < 0.5] = np.nan
    np.testing.assert_allclose(made.R, R, rtol=1e-12)
    np.testing.assert_array_equal(made.labels, labels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_classifiers": 0}, "n_classifiers must be an integer of at least 1; got 0"),
        ({"n_instances": 2.5}, "n_instances must be an integer"),
        ({"n_classes": 1}, "n_classes must be an integer of at least 2; got 1"),
        ({"n_classes": True}, "n_classes must be an integer"),
        ({"correlation": 1.0}, r"correlation must be in \[0, 1\); got 1.0"),
        ({"correlation": -0.1}, "correlation must be"),
        ({"missing_rate": 1.5}, r"missing_rate must be in \[0, 1\]; got 1.5"),
        ({"dtype": "float16"}, "dtype must be 'float64' or 'float32'; got 'float16'"),
        ({"missing_rate": np.nan}, "missing_rate must be"),
        ({"skill": [1.0, 2.0]}, "skill must be a number or hold 10 values"),
        ({"skill": -1.0}, "skill must be finite and between 0 and inf"),
        ({"difficulty": 1.2}, "difficulty must be finite and between 0 and 1"),
        ({"difficulty": np.nan}, "difficulty must be finite"),
        ({"class_prior": 1.2}, "class_prior must hold 2 probabilities"),
        ({"class_prior": [0.5, np.nan]}, "class_prior must hold 2 probabilities"),
        ({"class_prior": [0.5, 0.4]}, "sum to 1"),
        ({"class_prior": 0.5, "n_classes": 3}, "class_prior must hold 3 probabilities"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_ensemble(**arguments)


def test_demo_problems_are_what_they_say():
    cancer, digits, eight = load_demo_problems()
    for problem in (cancer, digits, eight):
        classes = np.unique(problem.y)
        np.testing.assert_array_equal(classes, np.arange(len(classes)))
        assert len(problem.X) == len(problem.y)
        assert problem.description
    # The first feature is the radius, and malignant tumours are the larger ones.
    radius = cancer.X[:, 0]
    assert radius[cancer.y == 1].mean() > radius[cancer.y == 0].mean()
    assert len(np.unique(digits.y)) == 10
    np.testing.assert_array_equal(eight.y, digits.y == 8)
    assert 0.05 < eight.y.mean() < 0.15


def test_results_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_ensemble(random_state=0).labels = None
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_demo_problems()[0].name = "other"
