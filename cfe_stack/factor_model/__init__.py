"""Classifier and instance factors: normal equations, confidences and the label-free fold-in."""

from cfe_stack.factor_model.confidence import (
    Adaptive,
    Calibration,
    Certainty,
    Confidence,
    LabelAware,
    Uniform,
    agreement,
    certainty,
    make_confidence,
    true_class_probability,
)
from cfe_stack.factor_model.factor_model import (
    FactorModel,
)

__all__ = [
    "Adaptive",
    "Calibration",
    "Certainty",
    "Confidence",
    "FactorModel",
    "LabelAware",
    "Uniform",
    "agreement",
    "certainty",
    "make_confidence",
    "true_class_probability",
]
