"""The default on matrices of real data sets, where they are at hand."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from stacked_columns import log_loss_of

from cfe_stack import CFEnsembleClassifier

FOLDER = Path(__file__).parents[2] / "shared" / "oof"
BINARY = ("abalone9-18", "australian", "haberman", "pima", "saheart", "vehicle1", "wdbc", "yeast4")
SEVERAL = ("contraceptive", "vehicle")
CLIP = 1e-4

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"{FOLDER} is not here")


def first_folds(name, n_folds=2):
    """Yield training and test matrices and codes of the first outer folds."""
    file = np.load(FOLDER / f"{name}.npz")
    for fold in range(n_folds):
        yield tuple(file[f"{part}{fold}"] for part in ("oof", "ytr", "test", "yte"))


def full(P):
    return np.stack([1 - P, P], axis=-1) if P.ndim == 2 else P


def flat(P):
    return P.reshape(len(P), -1).astype(np.float64)


def clipped_loss(proba, y):
    proba = np.clip(proba, CLIP, 1 - CLIP)
    return log_loss_of(proba / proba.sum(axis=1, keepdims=True), y)


def contenders(P, y, T):
    """Return test probabilities of the plain mean, logistic stacking and ours."""
    return {
        "mean": full(T).mean(axis=1),
        "logistic": LogisticRegression(max_iter=2000).fit(flat(P), y).predict_proba(flat(T)),
        "ours": CFEnsembleClassifier().fit(flat(P), y).predict_proba(flat(T)),
    }


@pytest.fixture(scope="module")
def losses():
    """Log-loss of every contender on every set, averaged over folds."""
    table = {}
    for name in BINARY + SEVERAL:
        folds = [
            {who: clipped_loss(proba, truth) for who, proba in contenders(P, y, T).items()}
            for P, y, T, truth in first_folds(name, 2 if name in BINARY else 1)
        ]
        table[name] = {who: np.mean([fold[who] for fold in folds]) for who in folds[0]}
    return table


@pytest.mark.parametrize("sets", [BINARY, SEVERAL], ids=["binary", "several classes"])
@pytest.mark.parametrize("other", ["mean", "logistic"])
def test_the_default_is_better_than_what_people_use(losses, sets, other):
    ours, theirs = (np.mean([losses[name][who] for name in sets]) for who in ("ours", other))
    assert ours < 0.99 * theirs


def test_the_default_is_never_a_disaster(losses):
    worst = {name: row["ours"] / row["mean"] for name, row in losses.items()}
    assert max(worst.values()) < 1.03, worst


def test_probabilities_are_calibrated_on_the_whole():
    """The slope of the labels on the log-odds of held-out rows, over sets."""
    slopes = []
    for name in BINARY:
        for P, y, T, truth in first_folds(name, 1):
            scores = CFEnsembleClassifier().fit(flat(P), y).decision_function(flat(T))
            slopes.append(LogisticRegression(C=np.inf).fit(scores[:, None], truth).coef_[0, 0])
    assert 0.75 < np.median(slopes) < 1.3


@pytest.mark.parametrize("name", ["german", "haberman", "pima", "saheart"])
def test_where_little_can_be_learned_it_is_no_worse_than_the_average(name):
    """The sets where the average is hardest to beat, over all folds: one alone is noise."""
    folds = [
        {who: clipped_loss(proba, truth) for who, proba in contenders(P, y, T).items()}
        for P, y, T, truth in first_folds(name, 5)
    ]
    ours, mean = (np.mean([fold[who] for fold in folds]) for who in ("ours", "mean"))
    assert ours < 1.02 * mean
