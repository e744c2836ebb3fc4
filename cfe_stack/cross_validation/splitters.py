"""What says which rows are held out: a number of folds, a splitter, or a list of splits."""

from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def check_cv_option(cv: Any) -> None:
    """Raise ValueError unless `cv` is a number of folds, a splitter, or a list of splits."""
    if isinstance(cv, (int, np.integer)) and not isinstance(cv, bool) and cv >= 2:
        return
    if hasattr(cv, "split") and not isinstance(cv, (str, bytes, type)):
        return
    if (
        isinstance(cv, (list, tuple))
        and cv
        and all(hasattr(s, "__len__") and len(s) == 2 for s in cv)
    ):
        return
    if isinstance(cv, str) and cv == "prefit":
        raise ValueError(
            "cv='prefit' would stack predictions of rows that learners may have been trained on. "
            "Pass unfitted learners; for models that were trained on other rows there is "
            "cfe_stack.out_of_fold.predictions_of_fitted."
        )
    raise ValueError(
        "cv must be an integer >= 2, a splitter object with a split method, or a list of "
        f"(train, test) index arrays; got {cv!r}."
    )


def pinned(splitter: Any) -> Any:
    """Return a copy of a splitter that draws the same folds in every run."""
    copy = deepcopy(splitter)
    # scikit-learn's splitters refuse a random state that they would not use
    if getattr(copy, "random_state", 0) is None and getattr(copy, "shuffle", True):
        copy.random_state = 0
    return copy


def row_numbers(part: ArrayLike, n: int, fold: int, name: str) -> np.ndarray:
    """Return the row numbers of one part of a split.

    Parameters
    ----------
    part : array-like of shape (k,) or (n,)
        Row numbers, or a mask.
    n : int
        Number of rows.
    fold : int
        Number of the split.
    name : {"training", "test"}
        What the part is for.

    Raises
    ------
    ValueError
        If it is empty, neither of these, or out of range, or a test part names a row twice.

    Examples
    --------
    >>> from cfe_stack.cross_validation.splitters import row_numbers
    >>> row_numbers([False, True, True], 3, 0, "test")
    array([1, 2])
    """
    rows = np.asarray(part)
    if rows.dtype == bool and rows.shape == (n,):
        rows = np.flatnonzero(rows)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or not rows.size:
        raise ValueError(
            f"The {name} part of fold {fold} of cv must be a non-empty array of row indices or a "
            f"mask of {n} rows; got shape {rows.shape} and type {rows.dtype}."
        )
    if rows.min() < 0 or rows.max() >= n:
        row = rows.min() if rows.min() < 0 else rows.max()
        raise ValueError(
            f"The {name} part of fold {fold} of cv names row {row}; X has the rows 0 … {n - 1}."
        )
    if name == "test" and len(np.unique(rows)) < len(rows):
        raise ValueError(f"The test part of fold {fold} of cv names a row twice.")
    return rows.astype(np.int64)
