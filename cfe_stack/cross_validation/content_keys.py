"""Keys of rows that depend on what a row holds, not on where it stands."""

import numpy as np

BLOCK_CELLS = 1 << 14
"""Number of cells per block, so that temporaries fit in the CPU cache."""
DIGITS = 2.0**20
"""Resolution at which probabilities and log-odds are distinguished."""


_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def _mix(values: np.ndarray) -> np.ndarray:
    """Return well-mixed 64-bit integers (the finaliser of the SplitMix64 generator)."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * _MULTIPLIERS[0]
        values = (values ^ (values >> np.uint64(27))) * _MULTIPLIERS[1]
    return values ^ (values >> np.uint64(31))


def content_keys(P: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return one 64-bit key per row that depends neither on the order of columns nor of rows.

    Parameters
    ----------
    P : ndarray of shape (n, ...)
        Floating-point values; NaN is a value like any other.
    seed : int, default=0
        Another seed gives other keys.

    Returns
    -------
    ndarray of shape (n,), uint64
    """
    salt = _mix(np.array([seed + 1], dtype=np.uint64))
    size = max(1, BLOCK_CELLS // max(P[:1].size, 1))
    parts = [slice(start, start + size) for start in range(0, len(P), size)]
    keys, columns = np.empty(len(P), dtype=np.uint64), np.zeros(P[:1].size, dtype=np.uint64)
    with np.errstate(over="ignore"):
        # rows of few different values need to know which column holds which: a column is called
        # by what it holds
        for part in parts:
            salted = _bits(P[part]) + salt
            rows = _mix(salted).sum(axis=1, keepdims=True, dtype=np.uint64)
            columns += _mix(salted ^ rows).sum(axis=0, dtype=np.uint64)
        for part in parts:
            salted = _bits(P[part]) + salt
            keys[part] = _mix(_mix(salted ^ columns).sum(axis=1, dtype=np.uint64))
    return keys


def _bits(P: np.ndarray) -> np.ndarray:
    """Return the cells of some rows as integers (n, p) that are equal where the cells are."""
    cells = np.ascontiguousarray(P, dtype=np.float64).reshape(len(P), -1) + 0.0  # −0 becomes 0
    cells[np.isnan(cells)] = np.nan
    return cells.view(np.uint64)


def rounded(scores: np.ndarray) -> np.ndarray:
    """Return scores to the digits that roundoff leaves alone, in units of the last one."""
    return np.rint(scores * DIGITS)


def seen_from_own_class(scores: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return scores for or against the class of each row, whichever class is called 1.

    Parameters
    ----------
    scores : ndarray of shape (n, p)
        Positive for class 1 and negative for class 0.
    codes : ndarray of shape (n,)
        Class codes 0 and 1.

    Returns
    -------
    ndarray of shape (n, p)
    """
    return np.where(codes[:, None] == 1, scores, -scores)
