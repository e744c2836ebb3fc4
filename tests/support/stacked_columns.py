"""What hosts make of an ensemble matrix: columns of meta-features, in every layout."""

import numpy as np
from scipy.special import logit

from cfe_stack.datasets import make_ensemble


def all_classes(R):
    """Return probabilities (n, m, K) of a matrix (m, n) or (m, n, K)."""
    full = np.stack([1 - R, R], axis=2) if R.ndim == 2 else R
    return full.transpose(1, 0, 2)


def columns(R, layout):
    """Return the columns of an ensemble matrix in a layout, base learner after base learner."""
    P = all_classes(R)
    one_against_one = [(i, j) for i in range(P.shape[2]) for j in range(i)]
    parts = {
        "class1": lambda: P[:, :, 1:],
        "class0": lambda: P[:, :, :1],
        "blocks": lambda: P,
        "drop_first": lambda: P[:, :, 1:],
        "drop_last": lambda: P[:, :, :-1],
        "labels": lambda: np.where(np.isnan(P).any(axis=2), np.nan, P.argmax(axis=2))[:, :, None],
        "margins": lambda: logit(P[:, :, 1:]) if P.shape[2] == 2 else logit(P),
        "ovo": lambda: np.stack(
            [np.log(P[:, :, i] / P[:, :, j]) for i, j in one_against_one], axis=2
        ),
    }[layout]()
    return parts.reshape(len(P), -1).copy()


def stacked(n_classifiers=5, n_instances=200, n_classes=2, layout=None, **settings):
    """Return columns, class codes and the ensemble matrix of simulated classifiers."""
    settings.setdefault("random_state", 0)
    made = make_ensemble(n_classifiers, n_instances, n_classes, **settings)
    default = "class1" if n_classes == 2 else "blocks"
    return columns(made.R, layout or default), made.labels, made.R


def log_loss_of(proba, codes):
    """Return the mean log-loss of class probabilities (n, K)."""
    return float(-np.log(proba[np.arange(len(codes)), codes]).mean())
