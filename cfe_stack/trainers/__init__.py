"""Trainers of the factor model: alternating least squares and joint descent."""

from cfe_stack.trainers.aggregators import (
    Aggregator,
    GatedPoolAggregator,
    LogPoolAggregator,
    MeanAggregator,
    WeightedAggregator,
    classifiers_last,
    held,
    make_aggregator,
    solve_weights,
    weight_gradient,
)
from cfe_stack.trainers.als import (
    CFEnsembleTrainer,
)
from cfe_stack.trainers.base import (
    CollapsedAggregatorWarning,
)
from cfe_stack.trainers.history import (
    TrainingHistory,
)
from cfe_stack.trainers.pytorch_trainer import (
    CFEnsemblePyTorchTrainer,
)

__all__ = [
    "Aggregator",
    "CFEnsemblePyTorchTrainer",
    "CFEnsembleTrainer",
    "CollapsedAggregatorWarning",
    "GatedPoolAggregator",
    "LogPoolAggregator",
    "MeanAggregator",
    "TrainingHistory",
    "WeightedAggregator",
    "classifiers_last",
    "held",
    "make_aggregator",
    "solve_weights",
    "weight_gradient",
]
