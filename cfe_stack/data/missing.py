"""Missing values, and warnings about rows and classifiers without predictions."""

import warnings
from typing import Any

import numpy as np

from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.runtime.warning_location import user_stacklevel


class MissingPredictionsWarning(UserWarning):
    """Instances or base learners without any prediction."""


def missing_entries(values: np.ndarray) -> np.ndarray:
    """Return which entries (n,) are None, NaN, or pandas' mark of a missing value.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.data.missing import missing_entries
    >>> missing_entries(np.array(["a", None, float("nan")], dtype=object))
    array([False,  True,  True])
    """
    if values.dtype.kind in "fiub":
        return np.isnan(values)
    return np.array([_is_missing(value) for value in values.tolist()], dtype=bool)


def _is_missing(value: Any) -> bool:
    try:
        return value is None or bool(value != value)
    except TypeError:  # pandas.NA is equal to nothing and different from nothing
        return True


def warn_about_missing(data: EnsembleData, consequence: str) -> np.ndarray:
    """Warn about classifiers and instances without any prediction.

    Parameters
    ----------
    data : EnsembleData
    consequence : str
        What happens with such instances.

    Returns
    -------
    ndarray of shape (n_instances,), bool
        Which instances have a prediction.
    """
    predicts, known = data.predicted()
    if not predicts.all() and known.any():
        warnings.warn(
            f"Base learner(s) {np.flatnonzero(~predicts).tolist()} have no prediction for any row "
            "and do not count. Remove them, or see why they failed.",
            MissingPredictionsWarning,
            stacklevel=user_stacklevel(),
        )
    warn_about_count(len(known) - int(np.count_nonzero(known)), consequence)
    return known


def warn_about_empty_rows(data: EnsembleData, consequence: str) -> np.ndarray:
    """Warn about instances that no classifier has predicted; return which have a prediction."""
    known = data.predicted()[1]
    warn_about_count(len(known) - int(np.count_nonzero(known)), consequence)
    return known


def warn_about_count(n_empty: int, consequence: str) -> None:
    """Warn if there are rows that no classifier has predicted."""
    if n_empty:
        warnings.warn(
            f"{n_empty} row(s) have no prediction of any base learner; {consequence}.",
            MissingPredictionsWarning,
            stacklevel=user_stacklevel(),
        )
