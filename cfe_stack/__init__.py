"""CF-Ensemble: stacked predictions as a collaborative-filtering problem.

``CFEnsembleClassifier`` is the final estimator for stacks; ``CFEnsembleTrainer`` factorises an
``EnsembleData`` (classifiers × instances) by alternating least squares, and
``CFEnsemblePyTorchTrainer`` by joint descent (needs torch, which is loaded when it is fitted).
``collect_out_of_fold`` makes an ``EnsembleData`` from base learners.
``compare_ensembles`` compares it with what people use, on the same folds.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

from cfe_stack.classifier import CFEnsembleClassifier
from cfe_stack.ensemble_data import EnsembleData
from cfe_stack.layout_detection import LayoutWarning
from cfe_stack.meta_features import MissingPredictionsWarning
from cfe_stack.trainers.als import CFEnsembleTrainer
from cfe_stack.trainers.base import CollapsedAggregatorWarning
from cfe_stack.trainers.joint_trainer import CFEnsemblePyTorchTrainer

if _TYPE_CHECKING:
    from cfe_stack.adapters.out_of_fold import collect_out_of_fold
    from cfe_stack.comparison import compare_ensembles
    from cfe_stack.stacking import CFEStackingClassifier

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

# loaded when they are first asked for: a final estimator alone needs none of them
_LATER = {
    "CFEStackingClassifier": "cfe_stack.stacking",
    "collect_out_of_fold": "cfe_stack.adapters.out_of_fold",
    "compare_ensembles": "cfe_stack.comparison",
}


def __getattr__(name: str) -> object:
    if name in _LATER:
        found: object = getattr(_import_module(_LATER[name]), name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
