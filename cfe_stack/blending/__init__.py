"""A blend of prediction files: its scores, submission file and report."""

from cfe_stack.blending.blend import (
    Blend,
    blend,
    format_scores,
    write_submission,
)
from cfe_stack.blending.report import (
    write_report,
)

# As an attribute, the function `blend` hides the module of the same name.
# Imports from the module still work.
__all__ = [
    "Blend",
    "blend",
    "format_scores",
    "write_report",
    "write_submission",
]
