"""Checks of the cells, row sums, labels and weights of an ensemble matrix."""

import numpy as np
from numpy.typing import ArrayLike

from cfe_stack.data.blocks import Block

RANGE_TOLERANCE = 1e-6
ROW_SUM_TOLERANCE = 1e-3


def place_of(mask: np.ndarray, start: int) -> str:
    """Name the first true cell of a block's mask."""
    cell = np.argwhere(mask)[0]
    return f"classifier {cell[0]}, instance {start + cell[1]}"


def check_cells(block: Block) -> int:
    """Refuse infinite and out-of-range values of a block; return its number of missing cells."""
    R = block.R
    lowest, highest = np.fmin.reduce(R, axis=None), np.fmax.reduce(R, axis=None)
    inside = -RANGE_TOLERANCE <= lowest and highest <= 1 + RANGE_TOLERANCE
    if inside and R.ndim == 2 and not np.isnan(R.sum()):
        return 0
    if np.isinf(R).any():
        raise ValueError(
            f"R holds an infinite value at {place_of(np.isinf(R), block.start)}; allowed are "
            "probabilities in [0, 1], and NaN for a missing prediction."
        )
    outside = (R < -RANGE_TOLERANCE) | (R > 1 + RANGE_TOLERANCE)
    if outside.any():
        value = R[tuple(np.argwhere(outside)[0])]
        raise ValueError(
            f"R holds {value:.6g} at {place_of(outside, block.start)}; allowed are probabilities "
            "in [0, 1], and NaN for a missing prediction. Turn margins into probabilities first."
        )
    if R.ndim == 3:
        check_row_sums(R, block.start)
    missing = np.isnan(R) if R.ndim == 2 else np.isnan(R).any(axis=2)
    return int(missing.sum())


def check_row_sums(R: np.ndarray, start: int = 0) -> None:
    """Refuse class probabilities (m, n, K) that do not sum to 1, from instance `start` on."""
    off = np.abs(R.sum(axis=2) - 1) > ROW_SUM_TOLERANCE
    if off.any():
        total = R[tuple(np.argwhere(off)[0])].sum()
        raise ValueError(
            f"The class probabilities at {place_of(off, start)} sum to {total:.6g}; they must sum "
            f"to 1 within {ROW_SUM_TOLERANCE}."
        )


def label_codes(labels: ArrayLike | None, classes: np.ndarray, n: int) -> np.ndarray:
    """Return class codes with −1 for unknown."""
    if labels is None:
        return np.broadcast_to(np.int8(-1), n)
    values = np.asarray(labels)
    if values.shape != (n,):
        raise ValueError(
            f"labels must have shape ({n},), one per instance of R; got {values.shape}."
        )
    if values.dtype.kind not in "fiub":
        unknown = np.array([v is None or v != v for v in values.tolist()], dtype=bool)
        codes = np.full(n, -1)
        lookup = {name: code for code, name in enumerate(classes.tolist())}
        unknown_labels = {v for v in values[~unknown].tolist() if v not in lookup}
        if unknown_labels:
            raise ValueError(
                f"labels hold {sorted(map(str, unknown_labels))[:5]}, which are not in classes "
                f"{classes.tolist()}; pass `classes` in the order of R."
            )
        codes[~unknown] = [lookup[v] for v in values[~unknown].tolist()]
        return codes
    if values.dtype.kind == "i" and -1 <= values.min() and values.max() < len(classes):
        return values
    values = np.where(np.isnan(values), -1, values) if values.dtype.kind == "f" else values
    allowed = (values >= -1) & (values < len(classes)) & (values == np.floor(values))
    if not allowed.all():
        raise ValueError(
            f"labels hold {values[~allowed][0]} at instance {np.flatnonzero(~allowed)[0]}; "
            f"allowed are the class codes 0 … {len(classes) - 1}, and NaN or −1 for unknown."
        )
    return values.astype(np.int64)


def check_weights(sample_weight: ArrayLike | None, n: int) -> np.ndarray | None:
    """Return sample weights (n,) as floating-point numbers, None if there are none."""
    if sample_weight is None:
        return None
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (n,):
        raise ValueError(f"sample_weight must have shape ({n},), got {weights.shape}.")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError("sample_weight must hold finite numbers >= 0 (frequencies).")
    return weights
