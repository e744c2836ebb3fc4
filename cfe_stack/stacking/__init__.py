"""The stack: base learners and final estimator in one."""

from cfe_stack.stacking.stacking_classifier import (
    CFEStackingClassifier,
)

__all__ = [
    "CFEStackingClassifier",
]
