"""Which rows are held out when: splits pinned once, sorted into repeats, inner splits for stopping.

The folds of an ensemble matrix must be the same for all its rows and for every later run, so they
are drawn once, from a copy of the user's splitter whose random state is fixed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, TimeSeriesSplit

from cfe_stack.cross_validation.inner_folds import check_groups
from cfe_stack.cross_validation.splitters import check_cv_option, pinned, row_numbers


@dataclass(frozen=True, eq=False)
class FoldPlan:
    """Training and held-out rows of every fold.

    Parameters
    ----------
    splits : tuple of (train, test)
        Row indices.
    fold_ids : ndarray of shape (n_repeats, n)
        Fold in which a row is held out, −1 for never. A fold belongs to the first repeat in which
        it overlaps with no other.
    ordered : bool
        Whether rows stand in the order of time, so that validation rows come last.
    """

    splits: tuple[tuple[np.ndarray, np.ndarray], ...]
    fold_ids: np.ndarray
    ordered: bool = False

    @property
    def n_folds(self) -> int:
        """Number of folds over all repeats."""
        return len(self.splits)

    def __len__(self) -> int:
        return self.n_folds

    @property
    def repeat_of(self) -> np.ndarray:
        """Repeat (n_folds,) to which every fold belongs."""
        found = np.empty(len(self), dtype=np.int64)
        for fold, (_, test) in enumerate(self.splits):
            found[fold] = np.flatnonzero((self.fold_ids[:, test] == fold).all(axis=1))[0]
        return found


def plan_folds(cv: Any, X: Any, y: np.ndarray, groups: ArrayLike | None = None) -> FoldPlan:
    """Draw the folds once.

    Parameters
    ----------
    cv : int, splitter, or iterable of (train, test)
        A number means stratified folds without shuffling, which keep groups together if there are
        any. A splitter is copied; a random state of None becomes 0, so that another run draws the
        same folds. Parts may be index arrays or masks.
    X : array-like of n rows
    y : ndarray of shape (n,)
    groups : array-like of shape (n,), default=None

    Returns
    -------
    FoldPlan

    Raises
    ------
    ValueError
        If `cv` is none of these, a part is empty or out of range, or a row is in both parts of a
        fold.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import TimeSeriesSplit
    >>> from cfe_stack.cross_validation.fold_plan import plan_folds
    >>> plan_folds(TimeSeriesSplit(2), np.zeros((6, 1)), np.zeros(6)).fold_ids
    array([[-1, -1,  0,  0,  1,  1]])
    """
    n = len(y)
    if not hasattr(cv, "split") and hasattr(cv, "__next__"):
        cv = list(cv)
        if not cv:
            raise ValueError(
                "cv is an iterator with nothing left: it can be read once. Pass list(cv), or the "
                "splitter itself."
            )
    check_cv_option(cv)
    if groups is not None:
        groups = check_groups(groups, n)
    if isinstance(cv, (int, np.integer)):
        cv = StratifiedKFold(int(cv)) if groups is None else StratifiedGroupKFold(int(cv))
    ordered = isinstance(cv, TimeSeriesSplit)
    given = pinned(cv).split(X, y, groups) if hasattr(cv, "split") else cv
    splits = tuple(
        (row_numbers(train, n, fold, "training"), row_numbers(test, n, fold, "test"))
        for fold, (train, test) in enumerate(given)
    )
    for fold, (train, test) in enumerate(splits):
        both = np.intersect1d(train, test)
        if both.size:
            raise ValueError(
                f"Fold {fold} of cv trains on {both.size} of the rows that it holds out, for "
                f"instance row {both[0]}: its predictions would not be out-of-fold."
            )
    return FoldPlan(splits, _repeats(splits, n), ordered)


def _repeats(splits: Sequence[tuple[np.ndarray, np.ndarray]], n: int) -> np.ndarray:
    """Return the fold (n_repeats, n) of every row, −1 where it is not held out."""
    repeats: list[np.ndarray] = []
    for fold, (_, test) in enumerate(splits):
        free = [ids for ids in repeats if (ids[test] < 0).all()]
        if not free:
            free = [np.full(n, -1)]
            repeats.append(free[0])
        free[0][test] = fold
    return np.stack(repeats)


def validation_split(
    rows: np.ndarray,
    codes: np.ndarray,
    fraction: float,
    *,
    groups: np.ndarray | None = None,
    ordered: bool = False,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Split training rows once more, into those that are fitted and those that say when to stop.

    Parameters
    ----------
    rows : ndarray of shape (k,)
        Training rows of a fold.
    codes : ndarray of shape (n,)
        Class codes of all rows.
    fraction : float
        Share of `rows` that is held back.
    groups : ndarray of shape (n,), default=None
        Rows of one group stay on one side.
    ordered : bool, default=False
        Hold back the last rows instead of random ones.
    seed : int, default=0

    Returns
    -------
    fitted, validation : ndarray
        Every class of the validation rows is among the fitted rows.

    Raises
    ------
    ValueError
        If there are too few rows or groups to hold any back.
    """
    generator = np.random.RandomState(seed)
    held = np.zeros(len(rows), dtype=bool)
    if ordered:
        held[len(rows) - max(1, round(fraction * len(rows))) :] = True
    elif groups is not None:
        names, inverse = np.unique(groups[rows], return_inverse=True)
        order = generator.permutation(len(names))
        reached = np.cumsum(np.bincount(inverse)[order]) - 1 < fraction * len(rows)
        reached[0], reached[-1] = True, False
        held = np.isin(inverse, order[reached])
    else:
        for code in np.unique(codes[rows]):
            members = np.flatnonzero(codes[rows] == code)
            count = min(max(1, round(fraction * len(members))), len(members) - 1)
            held[generator.permutation(members)[:count]] = True
    # a class that only validation rows have cannot be predicted, so it cannot say when to stop
    held &= np.isin(codes[rows], codes[rows][~held])
    if not held.any() or held.all():
        raise ValueError(
            f"early stopping needs validation rows, but the {len(rows)} training rows of this fold "
            "leave none whose class and group can be held back."
        )
    return rows[~held], rows[held]
