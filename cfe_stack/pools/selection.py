"""The default aggregator: averages along regularization paths, combined by a second level.

Inner cross-validation gives out-of-fold scores of every grid point of every family. Grid points are
averaged by their out-of-fold loss instead of picking the best one. Families are combined and
recalibrated on their averaged out-of-fold scores. The result is a single pool.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.special import softmax

from cfe_stack.cross_validation.content_keys import content_keys, rounded, seen_from_own_class
from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.losses.labeled_rows import LabeledRows
from cfe_stack.losses.raw_scores import margins
from cfe_stack.pools.calibration import Calibration
from cfe_stack.pools.inputs import PoolFeatures, PoolInputs
from cfe_stack.pools.linear_pool import LinearPool
from cfe_stack.pools.log_pool import Pool
from cfe_stack.pools.scoring import Scorer, mean_score
from cfe_stack.pools.second_level import combine, slope_on_all_rows
from cfe_stack.runtime.threads import each

STRENGTH_PRIOR = 0.3
"""Exponent of the strengths in the prior shares of grid points: strong penalties are safer."""

MAX_SELECTION_ROWS = 10_000
"""Maximum number of rows on which strengths and families are selected.

For more than two classes it is half of that, since every row has a score per class. With 20 000
rows and ten classes this saves two thirds of the time, and the log-loss of new rows changes by at
most 0.0002 with two, three and ten classes (`examples/benchmarks/selection_rows.py`).
"""
MIN_CLASS_ROWS = 500
"""Minimum number of rows of each class in the selection, if the class has that many."""
MIN_REFIT_SHARE = 0.01
"""Minimum share of a grid point that is refitted to all rows after selection on a subset."""


@dataclass(frozen=True, eq=False)
class SelectedPool:
    """A fitted pool, and the results of its selection.

    Parameters
    ----------
    pool : Pool or LinearPool
    cv_scores : dict of str to float
        Out-of-fold log-loss, or the scorer's value, of every family, averaged along its path.
    family_shares : dict of str to float
        Coefficients of the second level.
    path_shares : dict of str to ndarray
        Shares of the grid points along the path of every family.
    cv_logits : ndarray of shape (n,) or (n, n_classes)
        Out-of-fold scores of the combination on its training rows, averaged over repeats; NaN for
        rows outside the subset that the selection used.
    """

    pool: Pool | LinearPool
    cv_scores: dict[str, float]
    family_shares: dict[str, float]
    path_shares: dict[str, np.ndarray]
    cv_logits: np.ndarray


class PoolFamily(Protocol):
    """The contract of a family: pools along a grid of penalties, from strong to weak."""

    @property
    def name(self) -> str:
        """Name of the family."""

    @property
    def share(self) -> float:
        """Prior share where families are combined, relative to the others'."""

    @property
    def grid(self) -> Sequence[Any]:
        """Strengths of the penalties, point by point."""

    def features(self, instances: PoolFeatures) -> np.ndarray:
        """Return what the family pools, with the classifiers on the last axis."""

    def calibrate(self, inputs: PoolInputs) -> Calibration:
        """Return the calibration of every classifier on its own."""

    def fit_path(
        self, inputs: PoolInputs, calibration: Calibration, points: Sequence[int] | None = None
    ) -> list[Any]:
        """Fit a pool at every grid point, or at some."""


def out_of_fold_scores(
    families: Sequence[PoolFamily], inputs: PoolInputs, folds: np.ndarray, progress: bool = False
) -> list[np.ndarray]:
    """Return scores (n_points, n_repeats, n[, n_classes]) of every family, from other folds.

    Parameters
    ----------
    families : sequence of PoolFamily
        They share the calibration of the first.
    inputs : PoolInputs
    folds : ndarray of shape (n_repeats, n)
    progress : bool, default=False
        Show a progress bar over the inner folds on stderr, if that is a terminal.
    """
    shape = (len(folds), len(inputs.Z), *inputs.Z.shape[1:-1])
    results = [np.empty((len(family.grid), *shape)) for family in families]

    def hold_out(where: tuple[int, int]) -> None:
        repeat, fold = where
        held_out = folds[repeat] == fold
        training, Z, phi = inputs.take(~held_out), inputs.Z[held_out], inputs.phi[held_out]
        calibration = families[0].calibrate(training)
        for scores, family in zip(results, families, strict=True):
            for k, pool in enumerate(family.fit_path(training, calibration)):
                scores[k, repeat, held_out] = pool.scores(Z, phi)

    tasks = [(r, f) for r in range(len(folds)) for f in np.unique(folds[r]).tolist()]
    each(hold_out, tasks, "inner folds", progress)
    return results


def mean_loss(scores: np.ndarray, rows: LabeledRows) -> float:
    """Return the plain log-loss of scores (n_repeats, n[, K]), summed over rows."""
    losses = [rows.frequencies @ FocalLoss().value(margins(one, rows.labels)) for one in scores]
    return float(np.mean(losses))


def path_weights(
    scores: np.ndarray, rows: LabeledRows, scorer: Scorer | None, prior: np.ndarray
) -> np.ndarray:
    """Return the share of every grid point: by its out-of-fold loss, or all for the best score.

    Parameters
    ----------
    scores : ndarray of shape (n_points, n_repeats, n[, n_classes])
    rows : LabeledRows
        Labels and frequencies are used.
    scorer : callable or None
        None for the log-loss.
    prior : ndarray of shape (n_points,)
        Logarithms of prior shares, up to a constant; not for a scorer.
    """
    if scorer is not None:
        values = [mean_score(scorer, one, rows.labels, rows.frequencies) for one in scores]
        return np.eye(len(scores))[int(np.argmax(values))]
    return softmax(prior - [mean_loss(one, rows) for one in scores])


def strength_prior(family: PoolFamily, power: float = STRENGTH_PRIOR) -> np.ndarray:
    """Return logarithms of the prior shares of a family's grid points, up to a constant.

    Examples
    --------
    >>> from cfe_stack.pools.selection import strength_prior
    >>> from cfe_stack.pools import Family
    >>> strength_prior(Family("log_pool", (100.0, 1.0))).round(2)
    array([1.38, 0.  ])
    """
    strengths = np.reshape(family.grid, (len(family.grid), -1))
    return power * np.log(np.where(strengths > 0, strengths, 1.0)).sum(axis=1)


def select_pool(
    families: Sequence[PoolFamily],
    inputs: PoolInputs,
    folds: np.ndarray,
    *,
    scorer: Scorer | None = None,
    prior_power: float = STRENGTH_PRIOR,
    by_evidence: bool = True,
    progress: bool = False,
) -> SelectedPool:
    """Fit every family along its path and combine them.

    Parameters
    ----------
    families : sequence of PoolFamily
        Families of log-odds, or one linear family.
    inputs : PoolInputs
        With the features of the families.
    folds : ndarray of shape (n_repeats, n)
        Inner folds of every row.
    scorer : callable, default=None
        Metric that picks the grid point; None averages grid points by their log-loss.
    prior_power : float, default=STRENGTH_PRIOR
        0 for equal prior shares of all grid points.
    by_evidence : bool, default=True
        See `cfe_stack.pools.second_level.combine`.
    progress : bool, default=False
        Show a progress bar over the inner folds on stderr, if that is a terminal.

    Returns
    -------
    SelectedPool
    """
    names = [family.name for family in families]
    # selection may use a subset of the rows; the selected grid points are refitted to all of them
    chosen, scale = selection_rows(inputs.Z, inputs.rows.labels, inputs.rows.frequencies)
    selection = inputs.take(chosen, scale)
    rows = selection.rows
    path_shares, averaged, cv_scores = {}, [], {}
    out_of_fold = out_of_fold_scores(families, selection, folds[:, chosen], progress)
    for family, scores in zip(families, out_of_fold, strict=True):
        name = family.name
        shares = path_weights(scores, rows, scorer, strength_prior(family, prior_power))
        if len(chosen) < len(inputs.Z):
            shares[shares < MIN_REFIT_SHARE * shares.sum()] = 0.0
        path_shares[name] = shares / shares.sum()
        averaged.append(np.tensordot(path_shares[name], scores, axes=1))
        if scorer is None:
            cv_scores[name] = mean_loss(averaged[-1], rows) / float(rows.frequencies.sum())
        else:
            cv_scores[name] = mean_score(scorer, averaged[-1], rows.labels, rows.frequencies)

    stacked = np.stack(averaged, axis=-1)
    prior_shares = np.array([family.share for family in families])
    beta, shift = combine(stacked, rows, prior_shares, by_evidence)
    calibration = families[0].calibrate(selection)

    def refit(family: PoolFamily) -> Any:
        shares = path_shares[family.name]
        points = np.flatnonzero(shares).tolist()
        path = family.fit_path(inputs, calibration, points)
        return type(path[0]).average(path, shares[points])

    # the threads that ran the inner folds now run the families
    pools = each(refit, families)
    slope = beta.sum()
    stretch = slope_on_all_rows(slope, len(np.unique(folds[0, chosen]))) / (slope or 1.0)
    cv_logits = np.full((len(inputs.Z), *inputs.Z.shape[1:-1]), np.nan)
    # one intercept broadcasts over the rows, one per class over the classes
    cv_logits[chosen] = stacked.mean(axis=0) @ beta + shift
    return SelectedPool(
        pool=type(pools[0]).average(pools, beta * stretch).shifted(shift),
        cv_scores=cv_scores,
        family_shares=dict(zip(names, beta.tolist(), strict=True)),
        path_shares=path_shares,
        cv_logits=cv_logits,
    )


def selection_rows(
    Z: np.ndarray, labels: np.ndarray, frequencies: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to select on, and the factors that restore the shares of the classes.

    Parameters
    ----------
    Z : ndarray of shape (n, ...)
        The choice depends on the contents of the rows, not on their positions.
    labels, frequencies : ndarray of shape (n,)

    Returns
    -------
    rows : ndarray of shape (k,), int
        All rows, or about `MAX_SELECTION_ROWS` of them (half for more than two classes).
    scale : ndarray of shape (k,)
        1, or less for classes that are overrepresented in the subset.
    """
    n, many = len(labels), MAX_SELECTION_ROWS if Z.ndim == 2 else MAX_SELECTION_ROWS // 2
    if n <= many:
        return np.arange(n), np.ones(n)
    # neither the names of the classes nor rounding errors influence the choice
    keys = content_keys(rounded(seen_from_own_class(Z, labels) if Z.ndim == 2 else Z))
    chosen, scale = [], []
    for code in np.unique(labels):
        rows = np.flatnonzero(labels == code)
        share = len(rows) * many / n
        take = min(len(rows), max(int(share), MIN_CLASS_ROWS))
        chosen.append(rows[np.argsort(keys[rows], kind="stable")[:take]])
        scale.append(np.full(take, share / take))
    order = np.argsort(np.concatenate(chosen))
    return np.concatenate(chosen)[order], np.concatenate(scale)[order]
