"""Outer folds of a comparison: repeated and stratified, with groups kept together, or as given."""

from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from cfe_stack.cross_validation.inner_folds import check_groups
from cfe_stack.cross_validation.splitters import check_cv_option, pinned, row_numbers

N_REPEATS = 3

Split = tuple[np.ndarray, np.ndarray, int]
"""Training rows, held-out rows, and how often those were held out before."""


def make_splits(
    codes: np.ndarray,
    cv: Any,
    *,
    groups: np.ndarray | None = None,
    n_repeats: int = N_REPEATS,
    random_state: int = 0,
) -> list[Split]:
    """Return (train, test, repeat) row numbers; rows without a label are in neither part.

    Parameters
    ----------
    codes : ndarray of shape (n,)
        Class codes, −1 for unknown.
    cv : int, splitter or list of (train, test)
        A number gives shuffled stratified folds, with groups kept together if there are any. A
        splitter is copied and splits the labeled rows, a random state of None becoming 0; a list
        numbers all rows, or masks them.
    groups : ndarray of shape (n,), default=None
    n_repeats : int, default=3
        How often a number of folds is repeated with other folds.
    random_state : int, default=0

    Raises
    ------
    ValueError
        If a class has fewer rows than there are folds, a part of a split is empty or out of range,
        or a row is on both sides of it.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.cross_validation.repeated_folds import make_splits
    >>> splits = make_splits(np.array([0, 1] * 6), 3, n_repeats=2)
    >>> [(len(train), len(test), repeat) for train, test, repeat in splits[2:4]]
    [(8, 4, 0), (8, 4, 1)]
    """
    check_cv_option(cv)
    rows = np.flatnonzero(codes >= 0)
    y, given = codes[rows], None if groups is None else groups[rows]
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    if isinstance(cv, (int, np.integer)):
        present, counts = np.unique(y, return_counts=True)
        if len(present) < 2 or counts.min() < cv:
            raise ValueError(
                f"cv={cv} needs two classes with {cv} labeled rows each; the rows per class are "
                f"{dict(zip(present.tolist(), counts.tolist(), strict=True))}."
            )
        make = StratifiedKFold if given is None else StratifiedGroupKFold
        for repeat in range(n_repeats):
            folds = make(int(cv), shuffle=True, random_state=random_state + repeat)
            pairs += [(rows[a], rows[b]) for a, b in folds.split(rows, y, given)]
    elif hasattr(cv, "split"):
        pairs = [(rows[a], rows[b]) for a, b in pinned(cv).split(rows[:, None], y, given)]
    else:
        for fold, (train, test) in enumerate(cv):
            a = row_numbers(train, len(codes), fold, "training")
            b = row_numbers(test, len(codes), fold, "test")
            pairs.append((a[codes[a] >= 0], b[codes[b] >= 0]))
    return _with_repeats(pairs, len(codes))


def _with_repeats(pairs: list[tuple[np.ndarray, np.ndarray]], n: int) -> list[Split]:
    """Return the splits with how often their held-out rows were held out before."""
    held_out, splits = np.zeros(n, dtype=int), []
    for fold, (train, test) in enumerate(pairs):
        if np.intersect1d(train, test).size or not (len(train) and len(test)):
            raise ValueError(
                f"Split {fold} of cv has {len(train)} training and {len(test)} held-out rows, "
                f"{np.intersect1d(train, test).size} of them in both parts."
            )
        splits.append((train, test, int(held_out[test].max())))
        held_out[test] += 1
    return splits


@dataclass(frozen=True)
class SplitSettings:
    """How rows are held out.

    Parameters
    ----------
    cv : int, splitter or list of (train, test)
    n_repeats : int
    inner_cv : int
        Folds of the out-of-fold predictions inside a training part, where base learners are given.
    random_state : int
    memory : path-like or None
        Folder for finished fits of base learners.
    """

    cv: Any = 5
    n_repeats: int = N_REPEATS
    inner_cv: int = 5
    random_state: int = 0
    memory: str | PathLike[str] | None = None

    def splits(self, codes: np.ndarray, groups: ArrayLike | None) -> list[Split]:
        """Return (train, test, repeat) row numbers."""
        given = None if groups is None else check_groups(groups, len(codes))
        return make_splits(
            codes,
            self.cv,
            groups=given,
            n_repeats=self.n_repeats,
            random_state=self.random_state,
        )
