"""Calls on a dask cluster whose workers may die.

Joblib's dask backend never hears of a call whose worker died at every attempt, and would wait for
it for ever; so calls go to the cluster that it knows directly.
"""

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from typing import Any

MAX_WAIT_S = 60.0
"""Seconds for which a cluster may be without any worker."""
_LOOK = 5.0
_LARGE = "distributed.admin.large-graph-warning-threshold"


class NoWorkersError(RuntimeError):
    """A cluster has lost its last worker."""


def dask_results(
    backend: Any,
    calls: Iterable[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]],
    n_at_once: int,
) -> Generator[Any, None, None]:
    """Yield what calls return, as they come in.

    Parameters
    ----------
    backend : joblib's dask backend
    calls : iterable of (function, arguments, keyword arguments)
        The first argument goes to the cluster once for all of them.
    n_at_once : int
        Calls that are handed over before the first returns.

    Raises
    ------
    NoWorkersError
        If there is no worker for `MAX_WAIT_S` seconds.
    Exception
        What a call raises, or the scheduler in its place (`KilledWorker`, after several attempts);
        once all calls that were handed over have ended.
    """
    import dask
    from distributed import wait

    client, calls, shared = backend.client, iter(calls), None
    options = {"pure": False} | backend.submit_kwargs
    running: set[Any] = set()
    errors: list[BaseException] = []
    try:
        while True:
            while len(running) < n_at_once and not errors:
                following = next(calls, None)
                if following is None:
                    break
                function, (first, *others), named = following
                if shared is None:
                    # unlike scattered data, the result of a task is there again after a death
                    with dask.config.set({_LARGE: "1TB"}):
                        shared = client.submit(_itself, first, **options)
                running.add(client.submit(function, shared, *others, **named, **options))
            if not running:
                break
            with suppress(TimeoutError):
                wait(running, timeout=_LOOK, return_when="FIRST_COMPLETED")
            ended = {future for future in running if future.done()}
            if not ended:
                _await_workers(client)
            running -= ended
            for future in ended:
                error = future.exception()
                if error is None:
                    yield future.result()
                else:
                    errors.append(error)
    finally:
        client.cancel(list(running))
    if errors:
        raise errors[0]


def _itself(value: Any) -> Any:
    return value


def _await_workers(client: Any) -> None:
    # the scheduler is asked: what client and cluster know of it may be old when workers come and go
    start = time.monotonic()
    while not client.ncores():
        if time.monotonic() - start > MAX_WAIT_S:
            raise NoWorkersError(
                f"The dask cluster has had no worker for {MAX_WAIT_S:g} s. Start workers, with a "
                "nanny that starts them again; with memory= finished fits are not repeated."
            )
        time.sleep(_LOOK / 10)
