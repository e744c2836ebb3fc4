"""Inner folds that depend on what a row holds, not on where it stands.

Rows are ordered by a hash of their cells, class by class, and dealt out to the folds in turn. So
permuting rows or classifiers permutes the folds with them, without a random number, equal rows are
spread over the folds, and the names of the classes do not matter.
"""

from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cfe_stack.cross_validation.content_keys import content_keys
from cfe_stack.data.missing import missing_entries

MAX_REPEATED_ROWS = 2000
"""Inner folds are repeated about this many times, divided by rows × (classes − 1) …"""
MAX_REPEATS = 3
"""… but never more often than this."""


def stratified_folds(
    keys: np.ndarray, labels: np.ndarray, weights: np.ndarray, n_folds: int
) -> np.ndarray:
    """Return the fold of every row, stratified by class and balanced by weight.

    Parameters
    ----------
    keys : ndarray of shape (n,)
        What the rows of a class are ordered by.
    labels : ndarray of shape (n,)
        Class codes.
    weights : ndarray of shape (n,)
        Frequencies, at least 0.
    n_folds : int

    Returns
    -------
    ndarray of shape (n,), int

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.cross_validation.content_keys import content_keys
    >>> from cfe_stack.cross_validation.inner_folds import stratified_folds
    >>> keys = content_keys(np.linspace(0, 1, 6)[:, None])
    >>> folds = stratified_folds(keys, np.array([0, 0, 0, 1, 1, 1]), np.ones(6), 3)
    >>> np.bincount(folds).tolist()
    [2, 2, 2]
    """
    folds = np.zeros(len(keys), dtype=np.int64)
    of_class = [np.flatnonzero(labels == code) for code in np.unique(labels)]
    # in an order that is not that of their names
    for offset, rows in enumerate(sorted(of_class, key=lambda rows: int(keys[rows].sum()))):
        rows = rows[np.argsort(keys[rows], kind="stable")]
        mass = weights[rows] / max(weights[rows].mean(), np.finfo(float).tiny)
        middle = np.cumsum(mass) - mass / 2
        # rare classes start at different folds, so that no fold collects all their leftovers
        folds[rows] = (np.floor(middle).astype(np.int64) + offset) % n_folds
    return folds


def group_folds(groups: np.ndarray, weights: np.ndarray, n_folds: int) -> np.ndarray:
    """Return the fold of every row so that no group is split and folds weigh about the same.

    Raises
    ------
    ValueError
        If there are fewer than two groups.
    """
    names, inverse = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise ValueError("groups must hold at least two different groups to be cross-validated.")
    mass = np.bincount(inverse, weights)
    load, of_group = np.zeros(min(n_folds, len(names))), np.empty(len(names), dtype=np.int64)
    for group in np.argsort(-mass, kind="stable"):
        of_group[group] = load.argmin()
        load[of_group[group]] += mass[group]
    return of_group[inverse]


def inner_folds(
    P: np.ndarray,
    codes: np.ndarray,
    weights: np.ndarray,
    cv: Any,
    groups: ArrayLike | None = None,
) -> np.ndarray:
    """Return inner folds of every labeled row of positive weight, −1 for the others.

    A number of folds is repeated with other folds where there are few rows: what is chosen from
    one split of a few hundred rows depends more on the split than on anything else.

    Parameters
    ----------
    P : ndarray of shape (n, p)
        Predictions; what the rows hold decides on their fold where `cv` is a number.
    codes : ndarray of shape (n,)
        Class codes, −1 for unknown.
    weights : ndarray of shape (n,)
    cv : int, splitter, or iterable of (train, test) index arrays
        A number gives stratified folds, or folds that keep groups together. A splitter is copied
        and splits the labeled rows. Test parts must not overlap and must cover those rows.
    groups : array-like of shape (n,), default=None

    Returns
    -------
    ndarray of shape (n_repeats, n), int

    Raises
    ------
    ValueError
        If test parts overlap or leave a row out.
    """
    known = (codes >= 0) & (weights > 0)
    given = None if groups is None else check_groups(groups, len(codes))[known]
    if isinstance(cv, (int, np.integer)):
        if given is not None:
            return _scattered(group_folds(given, weights[known], int(cv)), known)[None]
        size = weights[known].sum() * max(len(np.unique(codes[known])) - 1, 1)
        repeats = int(np.clip(round(MAX_REPEATED_ROWS / size), 1, MAX_REPEATS))
        all_keys = (content_keys(P[known], seed) for seed in range(repeats))
        return np.stack(
            [
                _scattered(stratified_folds(keys, codes[known], weights[known], int(cv)), known)
                for keys in all_keys
            ]
        )
    try:
        if hasattr(cv, "split"):
            rows = np.flatnonzero(known)
            splits = deepcopy(cv).split(P[known], codes[known], given)
            tests = [rows[test] for _, test in splits]
        else:
            tests = [np.arange(len(codes))[test] for _, test in cv]
    except IndexError as error:
        raise ValueError(f"cv holds out rows beyond the {len(codes)} of X: {error}.") from error
    counts = np.bincount(np.concatenate(tests), minlength=len(codes))[known]
    if (counts != 1).any():
        raise ValueError(
            f"cv must hold out every labeled row exactly once; {int((counts == 0).sum())} rows "
            f"are never held out and {int((counts > 1).sum())} more than once. Use k-fold splits "
            "or a number of folds."
        )
    if len(tests) < 2:
        raise ValueError(f"cv must give at least two folds, got {len(tests)}.")
    folds = np.full(len(codes), -1)
    for fold, test in enumerate(tests):
        folds[test] = fold
    return np.where(known, folds, -1)[None]


def _scattered(folds: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return folds of all rows from those of the known ones, −1 elsewhere."""
    everywhere = np.full(len(known), -1)
    everywhere[known] = folds
    return everywhere


def check_groups(groups: ArrayLike, n: int) -> np.ndarray:
    """Return the group of every row.

    Parameters
    ----------
    groups : array-like of shape (n,)
    n : int

    Raises
    ------
    ValueError
        If there are more or fewer, or a row has none.

    Examples
    --------
    >>> from cfe_stack.cross_validation.inner_folds import check_groups
    >>> check_groups(["a", "b", "a"], 3)
    array(['a', 'b', 'a'], dtype='<U1')
    """
    named = np.asarray(groups)
    if named.shape != (n,):
        raise ValueError(f"groups must have shape ({n},), one entry per row; got {named.shape}.")
    missing = np.flatnonzero(missing_entries(named))
    if missing.size:
        raise ValueError(
            f"groups holds no group in {missing.size} of {n} rows, the first is row {missing[0]}. "
            "Leave these rows out, or give each a group of its own."
        )
    return named
