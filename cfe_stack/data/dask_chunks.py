"""Chunks of a dask array: the same functions of blocks, mapped over chunks wherever they are.

Whatever scheduler dask uses runs them: threads on this machine, or the workers of an active
``dask.distributed.Client``. A chunk that is lost with its worker is made again by another one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from cfe_stack.data.lazy_matrix import LazyMatrix
from cfe_stack.runtime.optional_packages import import_extra

MAX_CHUNKS_IN_PROGRESS = 64
"""Chunks whose results are collected together, so that they never pile up."""


def is_dask(matrix: Any) -> bool:
    """Return whether a matrix is a dask array, read lazily."""
    if not isinstance(matrix, LazyMatrix):
        return False
    kind = type(matrix.source)
    return kind.__module__.split(".")[0] == "dask" and hasattr(matrix.source, "to_delayed")


def columns_of_chunks(array: Any) -> list[Any]:
    """Return the chunks of a dask array (m, n[, K]) as delayed arrays, cut along axis 1 only."""
    whole = {axis: -1 for axis in range(array.ndim) if axis != 1}
    return list(array.rechunk(whole).to_delayed().ravel())


@dataclass(frozen=True, eq=False)
class DaskChunks:
    """The parts of an ensemble matrix, on a cluster.

    Parameters
    ----------
    R : LazyMatrix
        Of a dask array.
    starts : list of int
        First instance of every chunk, and the number of instances.
    parts : list of delayed
        Chunks of R.
    besides : list of delayed
        Labels, C and sample weights of every chunk.
    """

    R: LazyMatrix
    starts: list[int]
    parts: list[Any]
    besides: list[Any]

    @classmethod
    def of(
        cls, R: LazyMatrix, labels: np.ndarray, C: Any, sample_weight: np.ndarray | None
    ) -> Self:
        """Return the chunks of a dask array, with what belongs to their instances.

        Raises
        ------
        MissingExtraError
            If dask is not installed.
        """
        dask = import_extra("dask", extra="dask")
        starts = [0, *np.cumsum(R.source.chunks[1]).tolist()]
        spans = [slice(a, b) for a, b in zip(starts[:-1], starts[1:], strict=True)]
        if is_dask(C):
            aligned = {1: R.source.chunks[1]}
            confidences = columns_of_chunks(C.source.rechunk(aligned))
        else:
            confidences = [None if C is None else np.asarray(C[:, span]) for span in spans]
        tuples = dask.delayed(tuple, pure=False)
        besides = [
            tuples([labels[span], c, None if sample_weight is None else sample_weight[span]])
            for span, c in zip(spans, confidences, strict=True)
        ]
        # they are small, and needed in every pass: sent once, they stay where the chunks are
        return cls(R, starts, columns_of_chunks(R.source), list(dask.persist(*besides)))

    def map(
        self,
        function: Callable[..., Any],
        extra: Callable[[int, int], Any] | None = None,
    ) -> Iterator[Any]:
        """Yield function(R, (labels, C, sample_weight), start, extra) of every chunk, in order.

        Parameters
        ----------
        function : callable
            Gets NumPy arrays; has to be picklable, like what it returns.
        extra : callable, default=None
            Makes the extra of a chunk out of its first instance and the one behind its last.
        """
        dask = import_extra("dask", extra="dask")
        for first in range(0, len(self.parts), MAX_CHUNKS_IN_PROGRESS):
            tasks = []
            for k in range(first, min(first + MAX_CHUNKS_IN_PROGRESS, len(self.parts))):
                start, stop = self.starts[k], self.starts[k + 1]
                more = None if extra is None else dask.delayed(extra(start, stop), pure=False)
                mapped = dask.delayed(_with_matrix, pure=False)
                settings = (function, self.R.dtype, self.R.reduce)
                tasks.append(mapped(settings, self.parts[k], self.besides[k], start, more))
            yield from dask.compute(*tasks)


def _with_matrix(settings: Any, part: Any, besides: Any, start: int, extra: Any) -> Any:
    function, dtype, reduce = settings
    part = np.asarray(part).astype(dtype, copy=False)
    part = part if reduce is None else reduce(part)
    return function(part, besides, start, extra)
