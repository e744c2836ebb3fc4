"""Optional packages: loaded when they are needed, and named plainly when they are missing."""

import importlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any, TypeVar

Item = TypeVar("Item")
_show: ContextVar[Callable[[Iterable[Any], int, str], Iterable[Any]] | None] = ContextVar(
    "_show", default=None
)


class MissingExtraError(ImportError):
    """An optional package is needed that is not installed, or that does not load.

    The message is one sentence that holds the command to type.

    Examples
    --------
    >>> from cfe_stack.extras import MissingExtraError, import_extra
    >>> try:
    ...     import_extra("no_such_booster", extra="boosting")
    ... except MissingExtraError as error:
    ...     print(error)
    no_such_booster is not installed: run `python -m pip install "cfe-stack[boosting]"`.
    """


def import_extra(module: str, *, extra: str) -> ModuleType:
    """Import an optional package, or say in one sentence how to get it.

    Parameters
    ----------
    module : str
        Name of the module to import.
    extra : str
        Extra of ``cfe-stack`` that installs it, for instance ``"boosting"``.

    Returns
    -------
    module : module
        The imported module.

    Raises
    ------
    MissingExtraError
        If the package is not installed, or if a library that it links to is missing.

    Examples
    --------
    >>> from cfe_stack.extras import import_extra
    >>> import_extra("math", extra="boosting").sqrt(4.0)
    2.0
    """
    command = f'`python -m pip install "cfe-stack[{extra}]"`'
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A package that is there but lacks something of its own has another cause and another cure.
        package = module.split(".")[0]
        if error.name is None or error.name.split(".")[0] != package:
            raise MissingExtraError(
                f"{module} does not load because {error.name} is missing: run {command}."
            ) from error
        raise MissingExtraError(f"{package} is not installed: run {command}.") from error
    except OSError as error:
        # Boosters load a compiled library that may need a system package, for instance libgomp.
        raise MissingExtraError(
            f"{module} is installed but its compiled library does not load ({error}): "
            f"install what it names with the system's package manager."
        ) from error


@contextmanager
def bars_shown_by(show: Callable[[Iterable[Any], int, str], Iterable[Any]]) -> Iterator[None]:
    """Let something else take the place of the progress bars of this thread.

    Parameters
    ----------
    show : callable
        ``show(items, total, description)`` yields the items, and shows them as it likes.

    Examples
    --------
    >>> from cfe_stack.extras import bars_shown_by, progress_bar
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
    >>> from cfe_stack.extras import progress_bar
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
