"""Where a warning belongs: to the line outside this package that led to it."""

import sys
from typing import Any


def users_line() -> int:
    """Return the `stacklevel` for a warning of the first caller outside this package.

    How many calls lie between differs: the same check runs in a stack, in its final estimator, and
    for somebody who calls it directly.

    Examples
    --------
    >>> import warnings
    >>> from cfe_stack.callers import users_line
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warnings.warn("a word", stacklevel=users_line())
    >>> caught[0].message
    UserWarning('a word')
    """
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _package(frame.f_globals) == _package(globals()):
        level, frame = level + 1, frame.f_back
    return level


def _package(names: dict[str, Any]) -> str:
    return str(names.get("__name__", "")).partition(".")[0]
