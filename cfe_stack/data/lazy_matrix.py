"""Matrices that are read in runs of instances: files, zarr and dask arrays, memory maps."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from cfe_stack.data.foreign_arrays import as_numpy, without_mask
from cfe_stack.runtime.optional_packages import import_extra

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
GATHER_BLOCK_ROWS = 1 << 12
"""Single instances are picked from runs of this length."""
MAX_KEPT_CHUNKS = 4
"""Chunks that are kept after they were read: threads read neighbouring ones."""


def float_type(dtype: np.dtype) -> np.dtype:
    """Return the floating-point type in which numbers of a type are calculated with."""
    return dtype if dtype in FLOATS else FLOATS[0] if dtype == np.float16 else FLOATS[1]


def is_lazy(matrix: Any) -> bool:
    """Return whether a matrix can be sliced without being an array in memory.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.data.lazy_matrix import is_lazy
    >>> is_lazy(np.zeros(2)), is_lazy([[0.5]])
    (False, False)
    """
    if isinstance(matrix, (np.ndarray, np.generic)) or sparse.issparse(matrix):
        return False
    if not all(hasattr(matrix, name) for name in ("shape", "dtype", "__getitem__")):
        return False
    try:
        np.dtype(matrix.dtype)
    except TypeError:  # a tensor, which is in memory
        return False
    return len(matrix.shape) in (2, 3)


def second_class(pair: np.ndarray) -> np.ndarray:
    """Return P(class 1) of (..., 2) class probabilities, NaN where one of the two is."""
    return np.where(np.isnan(pair[..., 0]), np.nan, pair[..., 1]).astype(pair.dtype, copy=False)


class LazyMatrix:
    """A matrix whose runs of instances are read when they are asked for.

    Chunks are read whole and the last ones kept, so that a pass in small blocks decodes each once.

    Parameters
    ----------
    source : object
        Has a shape (n_classifiers, n_instances[, n_classes]) and can be sliced; `chunks`, if it has
        them, are those of dask (sizes on every axis) or zarr (one size per axis).
    reduce : callable, default=None
        Applied to what was read; takes away the last axis.

    Attributes
    ----------
    dtype : dtype
        Type of what is read.
    shape : tuple of int

    Raises
    ------
    ValueError
        If the source does not hold numbers.
    """

    def __init__(
        self, source: Any, reduce: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> None:
        dtype, shape = np.dtype(source.dtype), tuple(int(size) for size in source.shape)
        if dtype.kind not in "fiub":
            raise ValueError(f"its type is {dtype}")
        self.source, self.reduce, self.dtype = source, reduce, float_type(dtype)
        self.shape = shape if reduce is None else shape[:-1]
        self._starts = _chunk_starts(getattr(source, "chunks", None), shape[1])
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.source, self.reduce)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of entries."""
        return int(np.prod(self.shape))

    @property
    def names(self) -> list[str] | None:
        """Names of the classifiers, if the source has any."""
        return getattr(self.source, "names", None)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: tuple[Any, Any]) -> np.ndarray:
        rows, instances = key
        if not isinstance(instances, slice):
            picked = np.asarray(instances)
            picked = np.flatnonzero(picked) if picked.dtype == bool else picked
            return self._gather(np.where(picked < 0, picked + self.shape[1], picked))[rows]
        if instances.step not in (None, 1):
            return self._gather(np.arange(*instances.indices(self.shape[1])))[rows]
        if self._starts is None:
            return self.read(key)
        start, stop, _ = instances.indices(self.shape[1])
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        last = int(np.searchsorted(self._starts, stop, side="left"))
        parts = []
        for k in range(first, last):
            offset = self._starts[k]
            parts.append(self._chunk(k)[:, max(start - offset, 0) : stop - offset])
        whole = np.concatenate(parts, axis=1) if len(parts) != 1 else parts[0]
        return whole[rows]

    def _gather(self, instances: np.ndarray) -> np.ndarray:
        """Return single instances, in the order given."""
        everyone = slice(None)
        if hasattr(self.source, "to_delayed"):  # dask gathers where the chunks are
            return self.read((everyone, instances))
        gathered = np.empty((self.shape[0], len(instances), *self.shape[2:]), dtype=self.dtype)
        spans = instances // GATHER_BLOCK_ROWS
        for span in np.unique(spans):
            first, here = int(span) * GATHER_BLOCK_ROWS, spans == span
            part = self[everyone, first : first + GATHER_BLOCK_ROWS]
            gathered[:, here] = part[:, instances[here] - first]
        return gathered

    def read(self, key: tuple[Any, Any]) -> np.ndarray:
        """Return a slice of the source as an array."""
        return self.as_read(np.asarray(self.source[key]))

    def as_read(self, part: np.ndarray) -> np.ndarray:
        """Return an array of the source in the type and with the axes of this matrix."""
        part = part.astype(self.dtype, copy=False)
        return part if self.reduce is None else self.reduce(part)

    def _chunk(self, k: int) -> np.ndarray:
        with self._lock:
            if k not in self._kept:
                span = slice(int(self._starts[k]), int(self._starts[k + 1]))
                self._kept[k] = self.read((slice(None), span))
                while len(self._kept) > MAX_KEPT_CHUNKS:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(k)
            return self._kept[k]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = self.read((slice(None), slice(None)))
        return whole.astype(self.dtype if dtype is None else dtype, copy=False)


def _chunk_starts(chunks: Any, n: int) -> Any:
    """Return where chunks begin on the second axis, and n; None if there are no chunks."""
    if not chunks or len(chunks) < 2:
        return None
    sizes = chunks[1]
    if np.ndim(sizes) == 0:
        return np.append(np.arange(0, n, int(sizes)), n)
    return np.concatenate([[0], np.cumsum(sizes)])


class ParquetMatrix:
    """A Parquet file with one row per instance and one column per classifier, as (m, n).

    Parameters
    ----------
    path : path-like

    Raises
    ------
    ValueError
        If a column does not hold numbers.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        parquet = import_extra("pyarrow.parquet", extra="files")
        self.path = Path(path)
        self._file = parquet.ParquetFile(path)
        schema, groups = self._file.schema_arrow, self._file.metadata
        self.names = list(schema.names)
        types = [np.dtype(field.type.to_pandas_dtype()) for field in schema]
        wrong = [n for n, t in zip(self.names, types, strict=True) if t.kind not in "fiub"]
        if wrong:
            raise ValueError(
                f"the columns {wrong[:5]} of {self.path.name} hold no numbers; write the "
                "predictions, one column per classifier, to a file of their own"
            )
        self.dtype = np.result_type(*types)
        sizes = tuple(groups.row_group(k).num_rows for k in range(groups.num_row_groups))
        self.chunks = ((len(self.names),), sizes)
        self.shape = (len(self.names), sum(sizes))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path,)

    def __getitem__(self, key: tuple[Any, Any]) -> np.ndarray:
        rows, instances = key
        start, stop, step = instances.indices(self.shape[1])
        bounds = np.concatenate([[0], np.cumsum(self.chunks[1])])
        groups = [k for k in range(len(bounds) - 1) if bounds[k] < stop and bounds[k + 1] > start]
        table = self._file.read_row_groups(groups)
        columns = [column.to_numpy().astype(self.dtype, copy=False) for column in table.columns]
        offset = int(bounds[groups[0]]) if groups else 0
        return np.stack(columns)[rows, start - offset : stop - offset : step]


def open_matrix(path: str | os.PathLike[str]) -> Any:
    """Return what is in a file, to be read in runs of instances.

    Parameters
    ----------
    path : path-like
        An ``.npy`` file, memory-mapped, or a ``.parquet`` file.

    Raises
    ------
    ValueError
        If the file is of another kind.
    FileNotFoundError
        If there is no such file.
    MissingExtraError
        If pyarrow is needed and not installed.
    """
    suffix = Path(path).suffix
    if suffix == ".npy":
        return np.load(path, mmap_mode="r")
    if suffix == ".parquet":
        return ParquetMatrix(path)
    raise ValueError(
        f"R is the path {os.fspath(path)!r}; files that can be read are .npy and .parquet."
    )


def as_matrix(R: Any) -> Any:
    """Return what was given as R as a floating-point array or as a lazy matrix.

    Raises
    ------
    ValueError
        If it does not hold numbers, or has not two or three axes.
    """
    if isinstance(R, (str, os.PathLike)):
        R = open_matrix(R)
    try:
        if sparse.issparse(R):
            raise TypeError("it is sparse; pass R.toarray()")
        R = as_numpy(R)
        mapped = isinstance(R, np.memmap)
        if is_lazy(R) or (mapped and R.dtype not in FLOATS):
            R = LazyMatrix(R)
        elif not mapped:
            R = without_mask(R) if np.ma.isMaskedArray(R) else np.asarray(R)
            if R.dtype.kind == "c":
                raise TypeError("it holds complex numbers")
            R = R.astype(float_type(R.dtype), copy=False)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).rstrip(".")
        raise ValueError(f"R must be an array of numbers: {reason}.") from error
    if R.ndim not in (2, 3) or 0 in R.shape or (R.ndim == 3 and R.shape[2] < 2):
        raise ValueError(
            "R must have shape (n_classifiers, n_instances) or (n_classifiers, n_instances, "
            f"n_classes >= 2), none of them 0; got {R.shape}."
        )
    return R
