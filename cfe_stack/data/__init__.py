"""The ensemble matrix: R, labels, confidences, and the checks of them."""

from cfe_stack.data.ensemble_data import (
    EnsembleData,
)
from cfe_stack.data.in_sample import (
    Suspicion,
    SuspiciousPredictionsError,
    suspicious_columns,
)
from cfe_stack.data.missing import (
    MissingPredictionsWarning,
)

__all__ = [
    "EnsembleData",
    "MissingPredictionsWarning",
    "Suspicion",
    "SuspiciousPredictionsError",
    "suspicious_columns",
]
