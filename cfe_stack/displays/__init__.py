"""Pictures of ensembles, as scikit-learn's Display objects.

A display stores numbers; ``from_estimator``, ``from_data`` or ``from_predictions`` computes them,
and ``plot(ax=None)`` draws them, sets ``ax_`` and ``figure_`` and returns the display. Matplotlib
is loaded when something is drawn.
"""

from cfe_stack.displays.aggregator_weights import AggregatorWeightsDisplay
from cfe_stack.displays.classifier_map import ClassifierMapDisplay
from cfe_stack.displays.coverage import CoverageDisplay
from cfe_stack.displays.gradient_share import GradientShareDisplay
from cfe_stack.displays.instance_map import InstanceMapDisplay
from cfe_stack.displays.ranking_curves import RankingCurvesDisplay
from cfe_stack.displays.reliability import ReliabilityDisplay
from cfe_stack.displays.training_history import TrainingHistoryDisplay
from cfe_stack.displays.trust import TrustDisplay

__all__ = [
    "AggregatorWeightsDisplay",
    "ClassifierMapDisplay",
    "CoverageDisplay",
    "GradientShareDisplay",
    "InstanceMapDisplay",
    "RankingCurvesDisplay",
    "ReliabilityDisplay",
    "TrainingHistoryDisplay",
    "TrustDisplay",
]
