"""A blend of prediction files: its scores, submission file and report."""

from cfe_stack.blending.report import (
    write_report,
)
from cfe_stack.blending.submission import (
    Blend,
    blend,
    format_scores,
    write_submission,
)

__all__ = [
    "Blend",
    "blend",
    "format_scores",
    "write_report",
    "write_submission",
]
