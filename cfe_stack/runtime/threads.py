"""Threads over independent pieces of NumPy work, with BLAS held to one thread in each."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, TypeVar

from joblib import effective_n_jobs
from threadpoolctl import ThreadpoolController

from cfe_stack.runtime.progress import progress_bar

Item = TypeVar("Item")
Result = TypeVar("Result")


@lru_cache(maxsize=1)
def _blas() -> Any:
    """Return the controller of the BLAS libraries that NumPy and SciPy have loaded."""
    return ThreadpoolController().select(user_api="blas")


def one_blas_thread() -> AbstractContextManager[Any]:
    """Return a context in which BLAS uses one thread; small products are slower with more."""
    return _blas().limit(limits=1)


def n_threads(n_jobs: int | None) -> int:
    """Return the number of threads that `n_jobs` stands for.

    Parameters
    ----------
    n_jobs : int or None
        None for as many as BLAS may use, so that ``OMP_NUM_THREADS``, ``threadpool_limits`` and
        joblib's limit on its workers all hold; −1 for every processor.

    Examples
    --------
    >>> from cfe_stack.runtime.threads import n_threads
    >>> n_threads(3)
    3
    """
    if n_jobs is not None:
        return effective_n_jobs(n_jobs)
    return max((library["num_threads"] for library in _blas().info()), default=1)


def each(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    description: str = "",
    progress: bool = False,
) -> list[Result]:
    """Return what a function makes of every item, in their order, calculated on several threads.

    Parameters
    ----------
    function : callable
        Must not depend on what it does with other items.
    items : sequence
    description : str, default=""
        What is done, for the progress bar.
    progress : bool, default=False

    Examples
    --------
    >>> from cfe_stack.runtime.threads import each
    >>> each(lambda n: n * n, [3, 1, 2])
    [9, 1, 4]
    """
    threads = n_threads(None)
    with one_blas_thread():
        if threads == 1:
            results: Iterable[Result] = map(function, items)
            return list(progress_bar(results, len(items), description, progress))
        with ThreadPoolExecutor(threads) as pool:
            results = pool.map(function, items)
            return list(progress_bar(results, len(items), description, progress))
