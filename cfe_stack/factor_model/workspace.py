"""Reusable buffers, so that the blocks of a pass do not allocate memory."""

import math

import numpy as np
from numpy.typing import DTypeLike


class Workspace:
    """Named arrays of one thread. Requesting a name again overwrites its last array.

    The system maps fresh memory page by page, which for arrays of a block costs as much as filling
    them.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.factor_model.workspace import Workspace
    >>> workspace = Workspace()
    >>> first = workspace.array("gram", (2, 8), np.float32)
    >>> again = workspace.array("gram", (3, 4), np.float32)
    >>> again.shape, np.shares_memory(first, again)
    ((3, 4), True)
    """

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, str], np.ndarray] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        """Return a contiguous array with arbitrary contents.

        Parameters
        ----------
        name : str
        shape : tuple of int
        dtype : dtype

        Returns
        -------
        ndarray of the given shape
        """
        dtype, size = np.dtype(dtype), math.prod(shape)
        key = (name, dtype.str)
        buffer = self._buffers.get(key)
        if buffer is None or buffer.size < size:
            buffer = self._buffers[key] = np.empty(size, dtype=dtype)
        return buffer[:size].reshape(shape)
