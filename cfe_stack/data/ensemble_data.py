"""The ensemble matrix with its labels, and every check of range and shape."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np

from cfe_stack.data.blocks import Block, blocks_of_chunk, make_block, mapped, presence
from cfe_stack.data.blocks import observed as observed
from cfe_stack.data.cell_checks import (
    check_cells,
    check_row_sums,
    check_weights,
    label_codes,
    place_of,
)
from cfe_stack.data.dask_chunks import DaskChunks, is_dask
from cfe_stack.data.lazy_matrix import LazyMatrix, as_matrix, is_lazy, second_class

Result = TypeVar("Result")
BLOCK_CELLS = 1 << 18
"""Cells per block when the matrix is streamed: about what a core's cache holds."""
MIN_BLOCK_ROWS = 256
"""Blocks hold a multiple of this many instances."""


@dataclass(frozen=True, eq=False, repr=False)
class EnsembleData:
    """Predictions of m classifiers on n instances, and the labels that are known.

    Parameters
    ----------
    R : array-like of shape (n_classifiers, n_instances) or (n_classifiers, n_instances, n_classes)
        Probability of class 1 (two classes), or of every class. NaN marks a missing prediction; a
        cell with a NaN in any class is missing. Two-class input of the second shape is reduced to
        the first. Floating-point arrays and memory maps are kept as they are, without a copy. The
        path of an ``.npy`` or ``.parquet`` file (one column per classifier), zarr and dask arrays,
        and whatever else has a shape, a dtype and slices are read in runs of instances.
    labels : array-like of shape (n_instances,), default=None
        Class codes 0 … K−1, with NaN (floats) or −1 (integers) for unknown; or entries of
        `classes`, with None or NaN for unknown, if they are not numbers. Signed integers are kept
        as they are, without a copy.
    C : array-like of shape (n_classifiers, n_instances), default=None
        Weight of every cell, at least 0, which multiplies the confidence strategy's.
    sample_weight : array-like of shape (n_instances,), default=None
        Frequencies: an instance of weight 2 counts as two, of weight 0 as absent.
    classifier_names : sequence of str, default=None
        Unique names; ``classifier_0`` … if not given.
    classes : array-like of shape (n_classes,), default=None
        Labels behind the codes; the codes themselves if not given.
    instance_ids : array-like of shape (n_instances,), default=None
        Row identifiers; None means the positions 0 … n−1.

    Attributes
    ----------
    labels : ndarray of shape (n_instances,), int
        Class codes, −1 for unknown.
    n_classifiers, n_instances, n_classes : int

    Raises
    ------
    ValueError
        If shapes disagree, a file is of another kind, a value is infinite or outside [0, 1], class
        probabilities do not sum to 1 within 1e-3, a confidence or a sample weight is negative, a
        label is not a class code, or names repeat. The message names the first offending place.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack import EnsembleData
    >>> EnsembleData(np.array([[0.9, 0.2, np.nan], [0.7, 0.4, 0.6]]), [1, 0, -1])
    EnsembleData(2 classifiers, 3 instances, 2 classes; 2 labeled, 1 cell missing)
    """

    R: Any
    labels: np.ndarray = None  # type: ignore[assignment]
    C: np.ndarray | None = None
    sample_weight: np.ndarray | None = None
    classifier_names: Sequence[str] | None = None
    classes: np.ndarray | None = None
    instance_ids: np.ndarray | None = None
    n_missing: int = field(init=False, default=-1)
    chunks: DaskChunks | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        R = as_matrix(self.R)
        n_classes = 2 if R.ndim == 2 else R.shape[2]
        if R.ndim == 3 and n_classes == 2:
            R = _second_class(R)
        classes = np.arange(n_classes) if self.classes is None else np.asarray(self.classes)
        if classes.shape != (n_classes,) or len(set(classes.tolist())) != n_classes:
            raise ValueError(
                f"classes must hold {n_classes} different labels, one per class of R; got "
                f"{classes.tolist()!r}."
            )
        n = R.shape[1]
        self._set("R", R)
        self._set("classes", classes)
        self._set("labels", label_codes(self.labels, classes, n))
        self._set("sample_weight", check_weights(self.sample_weight, n))
        self._set("C", _check_confidence(self.C, R))
        names = getattr(R, "names", None) if self.classifier_names is None else None
        self._set("classifier_names", _check_names(names or self.classifier_names, R.shape[0]))
        if self.instance_ids is not None:
            ids = np.asarray(self.instance_ids)
            if ids.shape != (n,):
                raise ValueError(f"instance_ids must have shape ({n},), got {ids.shape}.")
            self._set("instance_ids", ids)
        if is_dask(R):
            self._set("chunks", DaskChunks.of(R, self.labels, self.C, self.sample_weight))
        self._set("n_missing", sum(self.map(check_cells)))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def is_complete(self) -> bool:
        """Whether it is known that every cell holds a prediction and counts."""
        return self.C is None and self.n_missing == 0

    @property
    def n_classifiers(self) -> int:
        """Number of classifiers m."""
        return self.R.shape[0]

    @property
    def n_instances(self) -> int:
        """Number of instances n."""
        return self.R.shape[1]

    @property
    def n_classes(self) -> int:
        """Number of classes K."""
        return 2 if self.R.ndim == 2 else self.R.shape[2]

    @property
    def frequencies(self) -> np.ndarray:
        """Sample weights, ones (that take no memory) where none were given."""
        if self.sample_weight is None:
            return np.broadcast_to(1.0, self.n_instances)
        return self.sample_weight

    def predicted(self) -> tuple[np.ndarray, np.ndarray]:
        """Return which classifiers (m,) and which instances (n,) have a prediction at all."""
        predicts = np.zeros(self.n_classifiers, dtype=bool)
        if self.is_complete:
            return ~predicts, np.broadcast_to(True, self.n_instances)
        known = np.empty(self.n_instances, dtype=bool)
        for start, present, seen in self.map(presence):
            predicts |= present
            known[start : start + len(seen)] = seen
        return predicts, known

    def block_size(self, numbers: float | None = None) -> int:
        """Return how many instances fit into a core's cache.

        Parameters
        ----------
        numbers : float, default=None
            Numbers to keep per instance; those of R if None.

        Returns
        -------
        int
            A multiple of 256.
        """
        if numbers is None:
            numbers = self.n_classifiers * max(self.n_classes - 1, 1)
        return max(MIN_BLOCK_ROWS, int(BLOCK_CELLS / numbers) // MIN_BLOCK_ROWS * MIN_BLOCK_ROWS)

    def blocks(
        self, size: int | None = None, start: int = 0, stop: int | None = None
    ) -> Iterator[Block]:
        """Yield the matrix in runs of instances, so that it is never loaded whole.

        Parameters
        ----------
        size : int, default=None
            Instances per run; None fits a run into a core's cache.
        start, stop : int, default=0 and None
            The instances to yield; all of them if left out.

        Yields
        ------
        Block
        """
        size = self.block_size() if size is None else size
        end = self.n_instances if stop is None else min(stop, self.n_instances)
        for first in range(start, end, size):
            yield self.block_of(slice(first, min(first + size, end)), first)

    def block_of(self, rows: slice | np.ndarray, start: int = 0) -> Block:
        """Return the given instances as a block of their own, which begins at `start`.

        Parameters
        ----------
        rows : slice or ndarray of int
            Of a memory map, nothing else is read.
        start : int, default=0

        Returns
        -------
        Block
        """
        C = None if self.C is None else self.C[:, rows]
        weights = None if self.sample_weight is None else self.sample_weight[rows]
        return make_block(start, self.R[:, rows], self.labels[rows], C, weights, self.is_complete)

    def map(self, function: Callable[[Block], Result]) -> Iterator[Result]:
        """Yield what a function makes of every block, in their order.

        Parameters
        ----------
        function : callable
            Called where the block is: for a dask array, on the cluster.

        Yields
        ------
        object
        """
        if self.chunks is None:
            yield from (function(block) for block in self.blocks())
            return
        run = partial(mapped, function)
        for results in self.map_chunks(run, size=self.block_size()):
            yield from results

    def map_chunks(
        self,
        function: Callable[[Iterator[Block], Any], Result],
        *,
        size: int,
        extra: Callable[[int, int], Any] | None = None,
    ) -> Iterator[Result]:
        """Yield what a function makes of the blocks of every chunk of a dask array, in order.

        Parameters
        ----------
        function : callable
            Called on the cluster with the blocks of a chunk and the chunk's extra.
        size : int
            Instances per block.
        extra : callable, default=None
            Makes the extra of a chunk out of its first instance and the one behind its last.

        Yields
        ------
        object
        """
        assert self.chunks is not None
        run = partial(blocks_of_chunk, function, size=size, complete=self.is_complete)
        yield from self.chunks.map(run, extra)

    def __repr__(self) -> str:
        labeled = int((self.labels >= 0).sum())
        cells = "cell" if self.n_missing == 1 else "cells"
        return (
            f"EnsembleData({self.n_classifiers} classifiers, {self.n_instances} instances, "
            f"{self.n_classes} classes; {labeled} labeled, {self.n_missing} {cells} missing)"
        )


def _second_class(R: Any) -> Any:
    """Return the probabilities of class 1, missing where one of the two is."""
    size = max(1, BLOCK_CELLS // R.shape[0])
    holed = False
    for start in range(0, R.shape[1], size):
        part = np.asarray(R[:, start : start + size])
        check_row_sums(part, start)
        holed = holed or bool(np.isnan(part[:, :, 0]).any())
    if isinstance(R, LazyMatrix) or (holed and isinstance(R, np.memmap)):
        return LazyMatrix(getattr(R, "source", R), second_class)
    return second_class(R) if holed else R[:, :, 1]


def _check_confidence(C: Any, R: Any) -> Any:
    if C is None:
        return None
    weights = LazyMatrix(C) if is_lazy(C) else C
    if not is_lazy(weights) and not isinstance(weights, np.ndarray):
        weights = np.asarray(weights, dtype=R.dtype)
    if weights.shape != R.shape[:2]:
        raise ValueError(f"C must have the shape of R's cells, {R.shape[:2]}; got {weights.shape}.")
    size = max(1, BLOCK_CELLS // R.shape[0])
    for start in range(0, R.shape[1], size):
        part = np.asarray(weights[:, start : start + size])
        if not (np.isfinite(part).all() and (part >= 0).all()):
            wrong = ~(np.isfinite(part) & (part >= 0))
            raise ValueError(
                f"C holds {part[tuple(np.argwhere(wrong)[0])]} at {place_of(wrong, start)}; "
                "confidences must be finite and >= 0 (0 = missing)."
            )
    return weights


def default_names(m: int) -> list[str]:
    """Return the names of m classifiers that were given none."""
    return [f"classifier_{u}" for u in range(m)]


def _check_names(names: Sequence[str] | None, m: int) -> tuple[str, ...]:
    if names is None:
        return tuple(default_names(m))
    names = tuple(str(name) for name in names)
    if len(names) != m or len(set(names)) != m:
        raise ValueError(
            f"classifier_names must hold {m} different names, one per row of R; got "
            f"{len(names)}: {list(names)[:10]}."
        )
    return names


def take(data: EnsembleData, rows: np.ndarray) -> EnsembleData:
    """Return some instances of an ensemble matrix."""
    return EnsembleData(
        data.R[:, rows],
        data.labels[rows],
        None if data.C is None else data.C[:, rows],
        None if data.sample_weight is None else data.sample_weight[rows],
        data.classifier_names,
        data.classes,
        None if data.instance_ids is None else data.instance_ids[rows],
    )
