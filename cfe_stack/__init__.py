"""CF-Ensemble: stacked predictions as a collaborative-filtering problem.

``CFEnsembleClassifier`` is the final estimator for stacks; ``CFEnsembleTrainer`` factorises an
``EnsembleData`` (classifiers × instances) by alternating least squares, and
``CFEnsemblePyTorchTrainer`` by joint descent (needs torch, which is loaded when it is fitted).
``collect_out_of_fold`` makes an ``EnsembleData`` from base learners.
``compare_ensembles`` compares it with what people use, on the same folds.
"""

from cfe_stack.adapters.out_of_fold import collect_out_of_fold
from cfe_stack.classifier import CFEnsembleClassifier
from cfe_stack.comparison import compare_ensembles
from cfe_stack.ensemble_data import EnsembleData
from cfe_stack.layout_detection import LayoutWarning
from cfe_stack.meta_features import MissingPredictionsWarning
from cfe_stack.stacking import CFEStackingClassifier
from cfe_stack.trainers.als import CFEnsembleTrainer
from cfe_stack.trainers.base import CollapsedAggregatorWarning
from cfe_stack.trainers.joint_trainer import CFEnsemblePyTorchTrainer

__version__ = "0.1.0"

__all__ = [
    "CFEStackingClassifier",
    "CFEnsembleClassifier",
    "CFEnsemblePyTorchTrainer",
    "CFEnsembleTrainer",
    "CollapsedAggregatorWarning",
    "EnsembleData",
    "LayoutWarning",
    "MissingPredictionsWarning",
    "collect_out_of_fold",
    "compare_ensembles",
]
