import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss, roc_auc_score
from stacked_columns import stacked

from cfe_stack import CFEnsembleClassifier
from cfe_stack.losses.raw_scores import probabilities
from cfe_stack.pools.scoring import make_scorer, mean_score

RNG = np.random.default_rng(0)
LABELS = np.arange(60) % 3
SCORES = RNG.normal(size=(2, 60, 3)) + np.eye(3)[LABELS]
WEIGHTS = RNG.integers(1, 5, 60).astype(float)
NAMED = {
    "balanced_accuracy": lambda y, p, w: balanced_accuracy_score(
        y, p.argmax(axis=1), sample_weight=w
    ),
    "neg_log_loss": lambda y, p, w: -log_loss(y, p, sample_weight=w),
    "roc_auc_ovr_weighted": lambda y, p, w: roc_auc_score(
        y, p, multi_class="ovr", average="weighted", sample_weight=w
    ),
}


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("weights", [np.ones(60), WEIGHTS], ids=["plain", "weighted"])
def test_scorers_see_probabilities_and_weights(name, weights):
    if "roc_auc" in name:
        weights = np.ones(60)  # scikit-learn's does not take weights for more than two classes
    expected = np.mean([NAMED[name](LABELS, probabilities(one), weights) for one in SCORES])
    assert mean_score(make_scorer(name), SCORES, LABELS, weights) == pytest.approx(expected)


@pytest.mark.parametrize("left", [(0, 2), (0, 1, 2)], ids=["two of four", "three of four"])
def test_classes_that_no_row_has_are_left_out(left):
    rows = np.isin(LABELS, left)
    scores, labels = np.insert(SCORES[:, rows], 1, 3.0, axis=2), LABELS[rows]
    labels = np.where(labels > 0, labels + 1, labels)  # class 1 of four has no row
    kept = np.unique(labels, return_inverse=True)[1]
    expected = np.mean([-log_loss(kept, probabilities(one[rows][:, left])) for one in SCORES])
    found = mean_score(make_scorer("neg_log_loss"), scores, labels, np.ones(len(labels)))
    assert found == pytest.approx(expected)
    column = probabilities(SCORES[0][rows][:, left])
    auc = mean_score(make_scorer("roc_auc_ovr"), scores[:1], labels, np.ones(len(labels)))
    shown = column[:, 1] if len(left) == 2 else column
    assert auc == pytest.approx(roc_auc_score(kept, shown, multi_class="ovr"))


@pytest.mark.parametrize(
    ("scoring", "weights", "words"),
    [
        ("roc_auc", np.ones(60), "fails on predictions of 3 classes: multi_class must be"),
        (lambda e, X, y: 1.0, WEIGHTS, "3 classes with sample weights: .*'sample_weight'"),
        (lambda e, X, y: np.nan, np.ones(60), "scoring must return finite numbers, got nan"),
    ],
    ids=["not for so many classes", "no weights", "no number"],
)
def test_a_scorer_that_cannot_score_is_named(scoring, weights, words):
    with pytest.raises(ValueError, match=words):
        mean_score(make_scorer(scoring), SCORES, LABELS, weights)


def test_two_classes_are_scored_by_log_odds():
    scores, labels = RNG.normal(size=(1, 40)), np.arange(40) % 2
    found = mean_score(make_scorer("roc_auc"), scores, labels, np.ones(40))
    assert found == pytest.approx(roc_auc_score(labels, scores[0]))
    found = mean_score(make_scorer("f1"), scores, labels, np.ones(40))
    assert found == pytest.approx(f1_score(labels, scores[0] > 0))


@pytest.mark.parametrize("scoring", ["log-loss", 3, ["roc_auc"]])
def test_unknown_scoring_is_refused(scoring):
    with pytest.raises(ValueError, match="scoring must be None .* got"):
        make_scorer(scoring)


@pytest.mark.parametrize("aggregator", ["auto", "linear_pool"])
def test_scoring_decides_on_the_strengths_and_leaves_probabilities_calibrated(aggregator):
    P, codes, _ = stacked(6, 3300, random_state=0)
    P, codes, T, truth = P[:300], codes[:300], P[300:], codes[300:]
    plain = CFEnsembleClassifier(aggregator=aggregator).fit(P, codes)
    seen = []

    def worst(estimator, X, y):
        seen.append(estimator.predict_proba(X).shape)
        return float(log_loss(y, estimator.predict_proba(X)))

    found = CFEnsembleClassifier(aggregator=aggregator, scoring=worst).fit(P, codes)
    assert set(seen) == {(300, 2)}
    assert all(found.cv_scores_[name] > plain.cv_scores_[name] for name in found.cv_scores_)
    assert np.abs(found.weights_ - plain.weights_).max() > 1e-3
    losses = [log_loss(truth, model.predict_proba(T)) for model in (plain, found)]
    assert losses[1] < 1.1 * losses[0]


def test_the_score_of_every_family_can_be_read_off():
    P, codes, _ = stacked(6, 300, random_state=0)
    model = CFEnsembleClassifier(scoring="roc_auc").fit(P, codes)
    assert all(0.5 < score <= 1 for score in model.cv_scores_.values())
