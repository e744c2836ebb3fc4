"""Where a warning belongs: to the line outside this package that led to it."""

import sys


def user_stacklevel() -> int:
    """Return the `stacklevel` of the line that called this package, for a warning.

    How many calls lie between differs: the same check runs in a stack, in its final estimator, and
    for somebody who calls it directly; and learners of other packages may lie between.

    Examples
    --------
    >>> import warnings
    >>> from cfe_stack.runtime.warning_location import user_stacklevel
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warnings.warn("a word", stacklevel=user_stacklevel())
    >>> caught[0].message
    UserWarning('a word')
    """
    level, found, frame = 1, 1, sys._getframe(1)
    package = __name__.partition(".")[0]
    while frame.f_back is not None:
        level, inside = level + 1, str(frame.f_globals.get("__name__", "")).partition(".")[0]
        frame = frame.f_back
        found = level if inside == package else found
    return found
