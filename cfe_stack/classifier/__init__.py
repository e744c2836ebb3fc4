"""The final estimator."""

from cfe_stack.classifier.ensemble_classifier import (
    CFEnsembleClassifier,
)

__all__ = [
    "CFEnsembleClassifier",
]
