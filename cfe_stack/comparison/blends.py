"""Blends that people build by hand: one weight per classifier, found on out-of-fold predictions.

Every function takes probabilities P of shape (n, n_classifiers, n_classes) without missing values,
class codes and sample weights (n,), and returns weights (n_classifiers,). What is searched for is a
low log-loss, except with least squares.
"""

import numpy as np
from scipy.optimize import nnls

from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.pools import linear_pool
from cfe_stack.pools.linear_pool import MIN_PROBABILITY

N_ROUNDS = 50
STEP = 0.01
MAX_STEP = 0.5
MIN_GAIN = 1e-5


def true_class(P: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the probability (n, n_classifiers) that every classifier gave to the true class."""
    return np.take_along_axis(P, codes[:, None, None], axis=2)[:, :, 0]


def _losses(given: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the log-loss of every column."""
    return weights @ -np.log(np.maximum(given, MIN_PROBABILITY)) / weights.sum()


def blend_probabilities(P: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return probabilities (n, n_classes) of a weighted sum, made positive and rescaled.

    Parameters
    ----------
    P : ndarray of shape (n, n_classifiers, n_classes)
    weights : ndarray of shape (n_classifiers,)
    """
    proba = np.maximum(np.einsum("nmk,m->nk", P, weights), MIN_PROBABILITY)
    return proba / proba.sum(axis=1, keepdims=True)


def equal_weights(P: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return 1/m for everybody."""
    return np.full(P.shape[1], 1 / P.shape[1])


def best_single(P: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return weight 1 for the classifier of lowest log-loss."""
    return np.eye(P.shape[1])[_losses(true_class(P, codes), weights).argmin()]


def greedy_weights(P: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weights of greedy ensemble selection, as `cfe_stack.pools.linear_pool` defines it.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.comparison.blends import greedy_weights
    >>> right, wrong = [[0.1, 0.9], [0.9, 0.1]], [[0.9, 0.1], [0.1, 0.9]]
    >>> P = np.array([right, wrong]).swapaxes(0, 1)
    >>> greedy_weights(P, np.array([1, 0]), np.ones(2))
    array([1., 0.])
    """
    return linear_pool.greedy_selection(true_class(P, codes), weights, FocalLoss())


def hill_climbing(
    P: np.ndarray,
    codes: np.ndarray,
    weights: np.ndarray,
    *,
    negative: bool = False,
    n_rounds: int = N_ROUNDS,
) -> np.ndarray:
    """Return the weights of hill climbing, as it is done in notebooks of competitions.

    Start from the best classifier; mix in one more at a time, with the step that lowers the loss
    most, until nothing gains.

    Parameters
    ----------
    P : ndarray of shape (n, n_classifiers, n_classes)
    codes, weights : ndarray of shape (n,)
    negative : bool, default=False
        Allow steps from −0.5 instead of from 0, which lets weights become negative.
    n_rounds : int, default=50

    Notes
    -----
    Steps are multiples of 0.01 up to 0.5. The loss is convex along a step, so that the best step of
    every classifier is found by bisection and not by trying all of them.
    """
    given = true_class(P, codes)
    single = _losses(given, weights)
    found = np.eye(P.shape[1])[single.argmin()]
    current, best = given @ found, single.min()
    for _ in range(n_rounds):
        steps, trials = _best_steps(current, given, weights, negative)
        u = int(trials.argmin())
        if best - trials[u] < MIN_GAIN:
            break
        best = trials[u]
        found = (1 - steps[u]) * found
        found[u] += steps[u]
        current = given @ found
    return found


def _best_steps(
    current: np.ndarray, given: np.ndarray, weights: np.ndarray, negative: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best step toward every classifier, and the log-loss after it."""
    largest = round(MAX_STEP / STEP)
    low = np.full(given.shape[1], -largest if negative else 0)
    high = np.full(given.shape[1], largest)

    def loss(step: np.ndarray) -> np.ndarray:
        return _losses(current[:, None] + STEP * step * (given - current[:, None]), weights)

    while (low < high).any():
        middle = (low + high) // 2
        rising = loss(middle) <= loss(middle + 1)
        low, high = (
            np.where(rising | (low == high), low, middle + 1),
            np.where(rising, middle, high),
        )
    return STEP * low, loss(low)


def nonnegative_least_squares(P: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return weights >= 0 of the least squared error of the class indicators, with sum 1."""
    root = np.sqrt(weights)
    columns = (P * root[:, None, None]).transpose(0, 2, 1).reshape(-1, P.shape[1])
    found = nnls(columns, (np.eye(P.shape[2])[codes] * root[:, None]).ravel())[0]
    return found / found.sum() if found.any() else equal_weights(P, codes, weights)
