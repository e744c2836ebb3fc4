"""Columns of stacked predictions: their layout, its detection, and calibration of scores."""

from cfe_stack.meta_features.layout import (
    LAYOUTS,
    ColumnGroup,
    StackLayout,
    check_layout_options,
    check_values,
    describe_layouts,
    resolve_layout,
    width,
)
from cfe_stack.meta_features.layout_detection import (
    LayoutWarning,
)
from cfe_stack.meta_features.stacked_columns import (
    side_by_side,
    stacked_columns,
)

# As an attribute, the function `stacked_columns` hides the module of the same name.
# Imports from the module still work.
__all__ = [
    "ColumnGroup",
    "LAYOUTS",
    "LayoutWarning",
    "StackLayout",
    "check_layout_options",
    "check_values",
    "describe_layouts",
    "resolve_layout",
    "side_by_side",
    "stacked_columns",
    "width",
]
