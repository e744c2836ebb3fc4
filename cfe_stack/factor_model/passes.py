"""One pass over the data: threads over fixed runs of blocks, their results in a fixed order.

A run is a fixed number of blocks, whatever the number of threads, and what the runs return comes
back in their order. So sums over a pass are the same to the last bit for any number of threads.
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

RUN_BLOCKS = 4
"""Blocks per run: enough that what a run returns is small beside what it reads."""
AHEAD = 2
"""Runs per thread that are under way or wait to be collected."""
LARGEST_BLOCK = 8192
"""Instances per block of a sweep, at most: beyond, calls cost nothing any more."""
CACHE_SHARE = 16
"""A sweep's buffers may take so many times what plain reading keeps in the cache."""


def pass_block_size(data: EnsembleData, latent_dim: int) -> int:
    """Return the number of instances per block of a pass that solves for their factors."""
    rows = data.n_classifiers * (1 if data.R.ndim == 2 else data.n_classes)
    numbers = 1.5 * latent_dim**2 + 3 * rows
    return min(LARGEST_BLOCK, data.block_size(numbers / CACHE_SHARE))


def check_engine(n_jobs: Any, store: Any) -> None:
    """Raise ValueError for a number of threads or a storing rule that is none."""
    check_n_jobs(n_jobs)
    if not (isinstance(store, bool) or str(store) == "auto"):
        raise ValueError(f"store_instance_factors must be a bool or 'auto', got {store!r}.")


def _on_worker(function: Callable[..., Result], blocks: Iterator[Block], extra: Any) -> Result:
    """Do on a chunk's worker what a thread does for a run."""
    with one_blas_thread():
        return function(blocks, Workspace(), extra)


class Passes:
    """Runs functions over the blocks of the data, with BLAS held to one thread in each.

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
        """Yield what a function makes of every run of blocks, in the order of the runs.

        Parameters
        ----------
        data : EnsembleData
        function : callable
            Called with the blocks of a run, the workspace of its thread and the run's extra;
            what it returns must not live in the workspace.
        size : int
            Instances per block.
        extra : callable, default=None
            Makes the extra of a run out of its first instance and the one behind its last; called
            in the order of the runs.
        here : bool, default=False
            Read the chunks of a dask array in this process, for a function that cannot travel.

        Notes
        -----
        Otherwise the runs of a dask array are its chunks, and `function` travels to them.
        """
        if data.chunks is not None and not here:
            step = partial(_on_worker, function)
            yield from data.map_chunks(step, size=size, extra=extra)
            return
        length = size * RUN_BLOCKS
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
                if len(waiting) >= AHEAD * self.n_threads:
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
