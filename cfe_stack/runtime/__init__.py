"""Threads, callbacks, progress bars, optional packages, stored estimators and warnings."""

from cfe_stack.runtime.optional_packages import (
    MissingExtraError,
    import_extra,
)
from cfe_stack.runtime.progress import (
    bars_shown_by,
    progress_bar,
)

__all__ = [
    "MissingExtraError",
    "bars_shown_by",
    "import_extra",
    "progress_bar",
]
