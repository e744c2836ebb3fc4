"""One pass over the data: threads over fixed runs of blocks, with results in a fixed order.

A run is a fixed number of blocks, independent of the number of threads, and the results of the runs
are returned in order. Therefore sums over a pass are the same to the last bit for any number of
threads.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any, Self, TypeVar

from cfe_stack.data.blocks import Block
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.factor_model.workspace import Workspace
from cfe_stack.runtime.parameter_checks import check_n_jobs
from cfe_stack.runtime.threads import n_threads, one_blas_thread

Result = TypeVar("Result")

N_RUN_BLOCKS = 4
"""Number of blocks per run, so that the result of a run is small compared with its data."""
MAX_RUNS_PER_THREAD = 2
"""Maximum number of runs per thread that are in progress or wait to be collected."""
MAX_BLOCK_ROWS = 8192
"""Maximum number of instances per block; larger blocks no longer reduce the overhead of calls."""
CACHE_SHARE = 16
"""Size of a sweep's buffers, as a multiple of the block that plain reading keeps in the cache."""


def pass_block_size(data: EnsembleData, latent_dim: int) -> int:
    """Return the number of instances per block of a pass that solves for their factors."""
    rows = data.n_classifiers * (1 if data.R.ndim == 2 else data.n_classes)
    numbers = 1.5 * latent_dim**2 + 3 * rows
    return min(MAX_BLOCK_ROWS, data.block_size(numbers / CACHE_SHARE))


def check_engine(n_jobs: Any, store: Any) -> None:
    """Raise ValueError for an invalid number of threads or an invalid storing rule."""
    check_n_jobs(n_jobs)
    if not (isinstance(store, bool) or str(store) == "auto"):
        raise ValueError(f"store_instance_factors must be a bool or 'auto', got {store!r}.")


def _on_worker(function: Callable[..., Result], blocks: Iterator[Block], extra: Any) -> Result:
    """Process a chunk of a dask array on its worker, as a thread does for a run."""
    with one_blas_thread():
        return function(blocks, Workspace(), extra)


class Passes:
    """Functions over the blocks of the data, run on several threads with one BLAS thread each.

    Parameters
    ----------
    n_jobs : int or None, default=None
        Number of threads, see :func:`cfe_stack.runtime.threads.n_threads`.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack import EnsembleData
    >>> from cfe_stack.factor_model.passes import Passes
    >>> data = EnsembleData(np.full((2, 5000), 0.25))
    >>> def count(blocks, workspace, extra):
    ...     return sum(block.R.size for block in blocks)
    >>> with Passes(n_jobs=2) as passes:
    ...     list(passes.over(data, count, size=1000))
    [8000, 2000]
    """

    def __init__(self, n_jobs: int | None = None) -> None:
        self.n_threads = n_threads(n_jobs)
        self._local = threading.local()
        self._stack = ExitStack()
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        self._stack.enter_context(one_blas_thread())
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        self._pool = None

    def over(
        self,
        data: EnsembleData,
        function: Callable[[Iterator[Block], Workspace, Any], Result],
        *,
        size: int,
        extra: Callable[[int, int], Any] | None = None,
        here: bool = False,
    ) -> Iterator[Result]:
        """Yield the results of a function over runs of blocks, in the order of the runs.

        Parameters
        ----------
        data : EnsembleData
        function : callable
            Called with the blocks of a run, the workspace of its thread and the run's extra. Its
            result must not refer to the workspace.
        size : int
            Instances per block.
        extra : callable, default=None
            Returns the extra of a run, given its first instance and the end of its range. It is
            called in the order of the runs.
        here : bool, default=False
            Read the chunks of a dask array in this process, for functions that cannot be pickled.

        Notes
        -----
        Otherwise the runs of a dask array are its chunks, and `function` runs on their workers.
        """
        if data.chunks is not None and not here:
            step = partial(_on_worker, function)
            yield from data.map_chunks(step, size=size, extra=extra)
            return
        length = size * N_RUN_BLOCKS
        starts = range(0, data.n_instances, length)
        runs = ((start, min(start + length, data.n_instances)) for start in starts)
        tasks = ((run, None if extra is None else extra(*run)) for run in runs)
        if self.n_threads == 1 or len(starts) == 1:
            for run, more in tasks:
                yield self._run(data, function, size, run, more)
            return
        if self._pool is None:
            self._pool = self._stack.enter_context(ThreadPoolExecutor(self.n_threads))
        waiting: deque[Future[Result]] = deque()
        try:
            for run, more in tasks:
                waiting.append(self._pool.submit(self._run, data, function, size, run, more))
                if len(waiting) >= MAX_RUNS_PER_THREAD * self.n_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def _run(
        self,
        data: EnsembleData,
        function: Callable[[Iterator[Block], Workspace, Any], Result],
        size: int,
        run: tuple[int, int],
        extra: Any,
    ) -> Result:
        if not hasattr(self._local, "workspace"):
            self._local.workspace = Workspace()
        return function(data.blocks(size, *run), self._local.workspace, extra)
