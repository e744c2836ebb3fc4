"""Averaging along regularisation paths, and an honest second level: the default aggregator.

Inner cross-validation gives out-of-fold scores of every grid point of every family. Points are
averaged by their out-of-fold loss instead of picked, families are combined and recalibrated on
their averaged out-of-fold scores, and the whole collapses into one pool.
"""

from dataclasses import dataclass

import numpy as np

from cfe_stack.calibration import calibrate
from cfe_stack.losses import FocalLoss, margins
from cfe_stack.pools import Family, Pool, fit_path, fit_scale

SECOND_LEVEL_PRIOR = 10.0
"""Strength, in observations, of the pull of the families' coefficients towards equal shares."""


@dataclass(frozen=True, eq=False)
class SelectedPool:
    """The pool that predicts, and how it came about.

    Parameters
    ----------
    pool : Pool
    cv_scores : dict of str to float
        Out-of-fold log-loss of every family, averaged along its path.
    family_shares : dict of str to float
        Coefficients of the second level.
    path_shares : dict of str to ndarray
        Shares of the grid points of every family.
    cv_logits : ndarray of shape (n,) or (n, n_classes)
        Out-of-fold scores of the combination on its training rows, averaged over repeats.
    """

    pool: Pool
    cv_scores: dict[str, float]
    family_shares: dict[str, float]
    path_shares: dict[str, np.ndarray]
    cv_logits: np.ndarray


def select_pool(
    families: list[Family],
    Z: np.ndarray,
    phi: np.ndarray,
    labels: np.ndarray,
    frequencies: np.ndarray,
    folds: np.ndarray,
    *,
    loss_weights: np.ndarray,
    loss: FocalLoss,
) -> SelectedPool:
    """Fit every family along its path and combine them.

    Parameters
    ----------
    families : list of Family
    Z : ndarray of shape (n, n_classifiers) or (n, n_classes, n_classifiers)
        Log-odds or centred log-ratios without missing values.
    phi : ndarray of shape (n, n_gates)
    labels, frequencies, loss_weights : ndarray of shape (n,)
        Class codes, sample weights, and sample weights × class weights.
    folds : ndarray of shape (n_repeats, n)
        Inner folds of every row.
    loss : FocalLoss

    Returns
    -------
    SelectedPool
    """

    def paths(rows: np.ndarray | slice) -> list[list[Pool]]:
        calibration = calibrate(Z[rows], labels[rows], frequencies[rows])
        return [
            fit_path(
                family,
                Z[rows],
                phi[rows],
                labels[rows],
                frequencies[rows],
                loss_weights=loss_weights[rows],
                loss=loss,
                calibration=calibration,
            )
            for family in families
        ]

    n_repeats = len(folds)
    out_of_fold = [np.empty((len(family.grid), n_repeats, *Z.shape[:-1])) for family in families]
    for repeat, fold in ((r, f) for r in range(n_repeats) for f in np.unique(folds[r])):
        held_out = folds[repeat] == fold
        for scores, path in zip(out_of_fold, paths(~held_out), strict=True):
            for k, pool in enumerate(path):
                scores[k, repeat, held_out] = pool.scores(Z[held_out], phi[held_out])

    plain = FocalLoss()

    def total_loss(scores: np.ndarray) -> float:
        """Return the log-loss summed over rows and averaged over repeats."""
        losses = [frequencies @ plain.value(margins(one, labels)) for one in scores]
        return float(np.mean(losses))

    path_shares, averaged, cv_scores = {}, [], {}
    for family, scores in zip(families, out_of_fold, strict=True):
        losses = np.array([total_loss(one) for one in scores])
        shares = np.exp(losses.min() - losses)
        path_shares[family.name] = shares / shares.sum()
        averaged.append(np.tensordot(path_shares[family.name], scores, axes=1))
        cv_scores[family.name] = total_loss(averaged[-1]) / float(frequencies.sum())

    stacked = np.stack(averaged, axis=-1)
    beta, shift = fit_scale(
        stacked.reshape(-1, *stacked.shape[2:]),
        np.tile(labels, n_repeats),
        np.tile(frequencies / n_repeats, n_repeats),
        np.full(len(families), 1 / len(families)),
        SECOND_LEVEL_PRIOR,
    )
    pools = [
        Pool.average(path, path_shares[family.name])
        for family, path in zip(families, paths(slice(None)), strict=True)
    ]
    pool = Pool.average(pools, beta).shifted(shift)
    return SelectedPool(
        pool=pool,
        cv_scores=cv_scores,
        family_shares=dict(zip((f.name for f in families), beta.tolist(), strict=True)),
        path_shares=path_shares,
        cv_logits=stacked.mean(axis=0) @ beta + (shift[0] if Z.ndim == 2 else shift),
    )
