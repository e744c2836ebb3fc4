"""The default on matrices of real data sets, where they are at hand."""

import functools
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from stacked_columns import log_loss_of

from cfe_stack import CFEnsembleClassifier

FOLDER = Path(__file__).parents[3] / "shared" / "oof"
BINARY = ("abalone9-18", "australian", "haberman", "pima", "saheart", "vehicle1", "wdbc", "yeast4")
SEVERAL = ("contraceptive", "vehicle")
SETS = sorted(path.stem for path in FOLDER.glob("*.npz"))
# where the average is hardest to beat, one fold is noise
CLOSE = ("german", "haberman", "pima", "saheart")
CLIP = 1e-4

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(not FOLDER.is_dir(), reason=f"{FOLDER} is not here"),
]


def outer_fold(name, fold):
    """Return training and test matrices and codes."""
    file = np.load(FOLDER / f"{name}.npz")
    return tuple(file[f"{part}{fold}"] for part in ("oof", "ytr", "test", "yte"))


def full(P):
    return np.stack([1 - P, P], axis=-1) if P.ndim == 2 else P


def flat(P):
    return P.reshape(len(P), -1).astype(np.float64)


CONTENDERS = {
    "mean": lambda P, y, T: full(T).mean(axis=1),
    "logistic": lambda P, y, T: (
        LogisticRegression(max_iter=2000).fit(flat(P), y).predict_proba(flat(T))
    ),
    "ours": lambda P, y, T: CFEnsembleClassifier().fit(flat(P), y).predict_proba(flat(T)),
}


@functools.cache
def held_out(who, name, fold):
    """Return test probabilities of a contender and the truth."""
    P, y, T, truth = outer_fold(name, fold)
    return CONTENDERS[who](P, y, T), truth


def loss(who, name, n_folds):
    """Return the log-loss of a contender, averaged over the first folds."""
    losses = []
    for fold in range(n_folds):
        proba, truth = held_out(who, name, fold)
        clipped = np.clip(proba, CLIP, 1 - CLIP)
        losses.append(log_loss_of(clipped / clipped.sum(axis=1, keepdims=True), truth))
    return np.mean(losses)


@pytest.mark.parametrize("sets", [BINARY, SEVERAL], ids=["binary", "several classes"])
@pytest.mark.parametrize("other", ["mean", "logistic"])
def test_the_default_is_better_than_what_people_use(sets, other):
    ours, theirs = (np.mean([loss(who, name, 1) for name in sets]) for who in ("ours", other))
    assert ours < 0.99 * theirs


@pytest.mark.parametrize("name", SETS)
def test_nowhere_is_it_worse_than_the_average_by_two_percent(name):
    n_folds = 5 if name in CLOSE else 1
    assert loss("ours", name, n_folds) < 1.02 * loss("mean", name, n_folds)


def test_probabilities_are_calibrated_on_the_whole():
    """The slope of the labels on the log-odds of held-out rows, over sets."""
    slopes = []
    for name in BINARY:
        proba, truth = held_out("ours", name, 0)
        scores = logit(proba[:, 1:])
        slopes.append(LogisticRegression(C=np.inf).fit(scores, truth).coef_[0, 0])
    assert 0.75 < np.median(slopes) < 1.3
