"""The second level of the default aggregator, which combines and recalibrates the families.

It is fitted to out-of-fold scores only. Few rows carry little evidence about a slope or an
intercept; without evidence, the second level keeps the prior values.
"""

import numpy as np
from scipy.special import expit

from cfe_stack.losses.labeled_rows import LabeledRows
from cfe_stack.pools.log_pool import scale_problem
from cfe_stack.pools.newton import NewtonPath, PoolProblem

SECOND_LEVEL_PRIOR = 10.0
"""Strength, in observations, of the penalty that pulls coefficients toward the prior shares."""


def combine(
    scores: np.ndarray, rows: LabeledRows, shares: np.ndarray, by_evidence: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Return coefficients ≥ 0 of the families' scores, and intercepts, by the plain logistic loss.

    Parameters
    ----------
    scores : ndarray of shape (n_repeats, n, n_families) or (n_repeats, n, n_classes, n_families)
        Out-of-fold scores.
    rows : LabeledRows
        Labels and frequencies are used.
    shares : ndarray of shape (n_families,)
        Prior shares, relative to each other.
    by_evidence : bool, default=True
        Move from the prior shares only as far as the evidence goes; False takes the minimizer.

    Returns
    -------
    coefficients : ndarray of shape (n_families,)
    intercept : ndarray of shape (1,) or (n_classes,)
    """
    n_repeats, n_families = len(scores), len(shares)
    # a row that has scores from several repeats is still one observation
    repeated = LabeledRows.plain(
        np.tile(rows.labels, n_repeats), np.tile(rows.frequencies / n_repeats, n_repeats)
    )
    flat = scores.reshape(-1, *scores.shape[2:])
    problem = scale_problem(flat, repeated, shares / shares.sum(), SECOND_LEVEL_PRIOR)
    theta = NewtonPath().minimize(problem, problem.center)
    if by_evidence:
        theta = shrink_by_evidence(problem, theta)
    return theta[:n_families], theta[n_families:]


def shrink_by_evidence(problem: PoolProblem, theta: np.ndarray) -> np.ndarray:
    """Return `theta` shrunk toward the problem's center by the evidence for each direction.

    Parameters
    ----------
    problem : PoolProblem
        Its penalties are all above 0: they are the precisions of a prior around the center.
    theta : ndarray of shape (p,)

    Notes
    -----
    In every principal direction of the curvature, relative to the prior, the model at the center
    and the fitted model are averaged by their evidence. With eigenvalue h and a minimizer at δ,
    both in units of the prior, the logarithm of the Bayes factor is ½(1 + h)δ² − ½ log(1 + h) in
    Laplace's approximation. With many rows the fitted model prevails.

    References
    ----------
    R. E. Kass and A. E. Raftery, "Bayes factors", Journal of the American Statistical Association
    90, 1995, section 4.
    """
    unit = 1 / np.sqrt(problem.penalty)
    curvature = problem.at(theta).curvature()
    h, directions = np.linalg.eigh(unit[:, None] * curvature * unit)
    information = 1 + np.maximum(h, 0.0)
    moved = directions.T @ ((theta - problem.center) / unit)
    share = expit(0.5 * information * moved**2 - 0.5 * np.log(information))
    shrunk = problem.center + unit * (directions @ (share * moved))
    return np.where(problem.nonnegative, np.maximum(shrunk, 0.0), shrunk)


def slope_on_all_rows(slope: float, n_folds: int) -> float:
    """Correct the slope of out-of-fold scores for models that are refitted to all rows.

    Scores of overfitted models need shrinkage of about a constant divided by the number of training
    rows, of which the refit has more. A slope above 1 has other causes and is returned unchanged.

    References
    ----------
    J. C. van Houwelingen and S. le Cessie, "Predictive value of statistical models", Statistics in
    Medicine 9, 1990.

    Examples
    --------
    >>> from cfe_stack.pools.second_level import slope_on_all_rows
    >>> slope_on_all_rows(0.9, 5)
    0.92
    """
    return slope + max(1 - slope, 0.0) / n_folds
