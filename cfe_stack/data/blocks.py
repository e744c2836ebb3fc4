"""Runs of instances of the ensemble matrix: what every pass over the data works on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

Result = TypeVar("Result")

LABEL_BLOCK_ROWS = 1 << 18


@dataclass(frozen=True)
class Block:
    """A run of instances of the ensemble matrix: views, no copies."""

    start: int
    stop: int
    R: np.ndarray
    labels: np.ndarray
    C: np.ndarray | None
    sample_weight: np.ndarray
    known_complete: bool = False

    @cached_property
    def is_complete(self) -> bool:
        """Whether every cell holds a prediction and counts."""
        return self.known_complete or bool(self.observed.all())

    @cached_property
    def frequencies(self) -> np.ndarray | None:
        """Sample weights, None where all are 1."""
        return self.sample_weight if (self.sample_weight != 1).any() else None

    @property
    def n_cells(self) -> float:
        """Observed cells, counted with their instances' sample weights."""
        if self.is_complete:
            return len(self.R) * float(self.sample_weight.sum())
        return float(self.observed.sum(axis=0) @ self.sample_weight)

    @cached_property
    def observed(self) -> np.ndarray:
        """Mask (n_classifiers, n) of the cells that hold a prediction and count."""
        present = observed(self.R)
        return present if self.C is None else present & (self.C > 0)


def observed(R: np.ndarray) -> np.ndarray:
    """Return the mask (n_classifiers, n_instances) of cells that hold a prediction."""
    present = ~np.isnan(R)
    return present if R.ndim == 2 else present.all(axis=2)


def labeled_instances(labels: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray:
    """Return the instances (k,), int, with a label and a positive sample weight, if any is given.

    They are looked for in runs: where few are labeled_instances, no array of all instances is made.
    """
    found = []
    for start in range(0, len(labels), LABEL_BLOCK_ROWS):
        here = slice(start, start + LABEL_BLOCK_ROWS)
        known = labels[here] >= 0
        if sample_weight is not None:
            known &= sample_weight[here] > 0
        found.append(start + np.flatnonzero(known))
    return np.concatenate(found)


def make_block(
    start: int,
    R: Any,
    labels: np.ndarray,
    C: Any = None,
    sample_weight: np.ndarray | None = None,
    known_complete: bool = False,
) -> Block:
    """Return the block of a run of instances; cells without confidence are missing."""
    R = np.asarray(R)
    if C is not None:
        C = np.asarray(C)
        if (C == 0).any():
            R = np.where((C == 0) if R.ndim == 2 else (C == 0)[:, :, None], np.nan, R)
    weights = np.ones(R.shape[1]) if sample_weight is None else sample_weight
    codes = labels.astype(np.int64, copy=False)
    return Block(start, start + R.shape[1], R, codes, C, weights, known_complete)


def blocks_of_chunk(
    function: Callable[[Iterator[Block], Any], Result],
    R: np.ndarray,
    besides: tuple[Any, ...],
    start: int,
    extra: Any,
    *,
    size: int,
    complete: bool,
) -> Result:
    """Return what a function makes of the blocks of a chunk.

    Parameters
    ----------
    function : callable
        Called with the blocks and the chunk's extra.
    R : ndarray of shape (n_classifiers, n[, n_classes])
    besides : tuple of (labels, C, sample_weight)
        Those of the chunk; the last two may be None.
    start : int
        Its first instance.
    extra : object
    size : int
        Instances per block.
    complete : bool
        Whether it is known that no cell is missing.
    """
    labels, C, weights = besides

    def blocks() -> Iterator[Block]:
        for first in range(0, R.shape[1], size):
            here = slice(first, first + size)
            yield make_block(
                start + first,
                R[:, here],
                labels[here],
                None if C is None else C[:, here],
                None if weights is None else weights[here],
                complete,
            )

    return function(blocks(), extra)


def mapped(
    function: Callable[[Block], Result], blocks: Iterator[Block], extra: None
) -> list[Result]:
    """Return what a function makes of each of the blocks of a chunk."""
    return [function(block) for block in blocks]


def presence(block: Block) -> tuple[int, np.ndarray, np.ndarray]:
    """Return where a block begins, who predicts in it, and which instances are predicted."""
    seen = block.observed
    return block.start, np.asarray(seen.any(axis=1)), np.asarray(seen.any(axis=0))
