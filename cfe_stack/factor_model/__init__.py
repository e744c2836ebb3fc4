"""Classifier and instance factors: normal equations, confidences and the label-free fold-in."""

from cfe_stack.factor_model.confidence import (
    AdaptiveConfidence,
    CalibrationConfidence,
    CertaintyConfidence,
    Confidence,
    LabelAwareConfidence,
    UniformConfidence,
    agreement,
    certainty,
    make_confidence,
    true_class_probability,
)
from cfe_stack.factor_model.factor_model import (
    FactorModel,
)

__all__ = [
    "AdaptiveConfidence",
    "CalibrationConfidence",
    "CertaintyConfidence",
    "Confidence",
    "FactorModel",
    "LabelAwareConfidence",
    "UniformConfidence",
    "agreement",
    "certainty",
    "make_confidence",
    "true_class_probability",
]
