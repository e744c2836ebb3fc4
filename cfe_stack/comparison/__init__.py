"""Ensembles against what people use today, on the same folds: contenders, scores and tests."""

from cfe_stack.comparison.compare import DEFAULT_METRICS, compare_ensembles, five_by_two_cv
from cfe_stack.comparison.contenders import CONTENDERS
from cfe_stack.comparison.result import EnsembleComparison

__all__ = [
    "CONTENDERS",
    "DEFAULT_METRICS",
    "EnsembleComparison",
    "compare_ensembles",
    "five_by_two_cv",
]
