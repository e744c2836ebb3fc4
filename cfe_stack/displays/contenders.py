"""Named predictions to compare: checked, and those that a fitted estimator suggests."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cfe_stack.data.cell_checks import RANGE_TOLERANCE, ROW_SUM_TOLERANCE
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.displays.reading import (
    Reading,
    average_prediction,
    encode,
    labeled_rows,
    names_of,
    read,
)

ENSEMBLE = "CF-Ensemble"
AVERAGE = "plain mean"


def ensemble_and_average(
    estimator: Any, X: ArrayLike | EnsembleData, y: ArrayLike | None
) -> tuple[Reading, np.ndarray, dict[str, np.ndarray]]:
    """Return the reading, the rows to compare on, and contenders: ours and the mean.

    Raises
    ------
    ValueError
        If no row has both.
    """
    reading = read(estimator, X, y)
    rows = labeled_rows(reading.data)
    return reading, rows, _ensemble_and_average(reading, rows)


def with_learners(
    estimator: Any,
    X: ArrayLike | EnsembleData,
    y: ArrayLike | None,
    names: Sequence[str] | None,
) -> tuple[Reading, np.ndarray, dict[str, np.ndarray]]:
    """Return the reading, the rows to compare on, and contenders: ours, the mean, every learner.

    A learner's missing cells take the mean of the others, as nothing else is known of them.
    """
    reading = read(estimator, X, y, names)
    data, rows = reading.data, labeled_rows(reading.data)
    contenders = _ensemble_and_average(reading, rows)
    average = contenders[AVERAGE]
    for u, name in enumerate(names_of(data)):
        own = data.R[u, rows]
        own = own if own.ndim == 2 else np.column_stack([1 - own, own])
        contenders[str(name)] = np.where(np.isnan(own).any(axis=1)[:, None], average, own)
    return reading, rows, contenders


def _ensemble_and_average(reading: Reading, rows: np.ndarray) -> dict[str, np.ndarray]:
    return {
        AVERAGE: average_prediction(reading.data)[rows],
        ENSEMBLE: reading.predict_proba()[rows],
    }


def checked_contenders(
    y: ArrayLike,
    contenders: Mapping[str, ArrayLike],
    classes: ArrayLike | None,
    sample_weight: ArrayLike | None,
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Return class codes (n,), probabilities (n, K) of every contender, and weights (n,).

    Raises
    ------
    ValueError
        If shapes disagree, a prediction is not a probability, or there are fewer than two classes.
    """
    if not isinstance(contenders, Mapping) or not contenders:
        raise ValueError(
            "contenders must be a dict with at least one entry, name to probabilities; got "
            f"{type(contenders).__name__}."
        )
    known = np.unique(np.asarray(y)) if classes is None else np.asarray(classes)
    codes = encode(y, known)
    if (codes < 0).any():
        raise ValueError("y must hold a class for every row; drop the rows without one.")
    if len(known) < 2:
        raise ValueError(f"y holds one class only, {known.tolist()}; pass classes, or more rows.")
    checked = {
        name: _checked(name, np.asarray(proba, dtype=np.float64), len(codes), len(known))
        for name, proba in contenders.items()
    }
    weight = np.ones(len(codes)) if sample_weight is None else np.asarray(sample_weight, float)
    if weight.shape != codes.shape or not (weight >= 0).all() or not weight.sum() > 0:
        raise ValueError(f"sample_weight must hold {len(codes)} numbers >= 0 that are not all 0.")
    present = weight > 0
    return codes[present], {name: P[present] for name, P in checked.items()}, weight[present]


def _checked(name: str, proba: np.ndarray, n: int, n_classes: int) -> np.ndarray:
    if proba.shape != (n, n_classes) and not (proba.shape == (n,) and n_classes == 2):
        raise ValueError(
            f"The predictions of {name!r} must have shape {(n, n_classes)}"
            + (f" or {(n,)}" if n_classes == 2 else "")
            + f", got {proba.shape}."
        )
    inside = (proba >= -RANGE_TOLERANCE) & (proba <= 1 + RANGE_TOLERANCE)
    if not inside.all():
        place = tuple(np.argwhere(~inside)[0])
        raise ValueError(
            f"The predictions of {name!r} hold {proba[place]:.6g} in row {place[0]}; allowed are "
            "probabilities in [0, 1] without missing values."
        )
    if proba.ndim == 1:
        return np.column_stack([1 - proba, proba])
    off = np.abs(proba.sum(axis=1) - 1) > ROW_SUM_TOLERANCE
    if off.any():
        row = int(np.flatnonzero(off)[0])
        raise ValueError(
            f"The class probabilities of {name!r} sum to {proba[row].sum():.6g} in row {row}; they "
            "must sum to 1."
        )
    return proba
