"""Progress bars, shown by tqdm where it is installed."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

Item = TypeVar("Item")
_show: ContextVar[Callable[[Iterable[Any], int, str], Iterable[Any]] | None] = ContextVar(
    "_show", default=None
)


@contextmanager
def bars_shown_by(show: Callable[[Iterable[Any], int, str], Iterable[Any]]) -> Iterator[None]:
    """Let something else take the place of the progress bars of this thread.

    Parameters
    ----------
    show : callable
        ``show(items, total, description)`` yields the items, and shows them as it likes.

    Examples
    --------
    >>> from cfe_stack.runtime import bars_shown_by, progress_bar
    >>> with bars_shown_by(lambda items, total, description: [description, *items]):
    ...     list(progress_bar(range(3), 3, "count"))
    ['count', 0, 1, 2]
    """
    token = _show.set(show)
    try:
        yield
    finally:
        _show.reset(token)


def progress_bar(
    items: Iterable[Item],
    total: int,
    description: str,
    progress: bool = True,
    unit: str = "it",
) -> Iterable[Item]:
    """Return `items`, with a progress bar on stderr while they are gone through.

    There is no bar where `progress` is off, where stderr is not a terminal, or where tqdm is not
    installed: nobody needs it for the result. Within `bars_shown_by` it is shown in another way.

    Parameters
    ----------
    items : iterable
    total : int
        How many items there are.
    description, unit : str
        What is done, and what an item is.
    progress : bool, default=True

    Returns
    -------
    iterable

    Examples
    --------
    >>> from cfe_stack.runtime import progress_bar
    >>> list(progress_bar(range(3), 3, "count", progress=False))
    [0, 1, 2]
    """
    show = _show.get()
    if show is not None and description:
        return show(items, total, description)
    if not progress:
        return items
    try:
        from tqdm import tqdm
    except ImportError:
        return items
    # disable=None hides the bar where stderr is not a terminal
    return tqdm(items, total=total, desc=description, unit=unit, leave=False, disable=None)
