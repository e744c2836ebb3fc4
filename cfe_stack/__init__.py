"""CF-Ensemble: stacked predictions as a collaborative-filtering problem.

``CFEnsembleClassifier`` is the final estimator for stacks; ``CFEnsembleTrainer`` factorizes an
``EnsembleData`` (classifiers × instances) by alternating least squares, and
``CFEnsemblePyTorchTrainer`` by joint descent (needs torch, which is loaded when it is fitted).
``collect_out_of_fold`` makes an ``EnsembleData`` from base learners.
``compare_ensembles`` compares it with what people use, on the same folds.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

from cfe_stack.classifier.ensemble_classifier import CFEnsembleClassifier
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.data.missing import MissingPredictionsWarning
from cfe_stack.meta_features.layout_detection import LayoutWarning
from cfe_stack.runtime.version import __version__ as __version__
from cfe_stack.trainers.als import CFEnsembleTrainer
from cfe_stack.trainers.base import CollapsedAggregatorWarning
from cfe_stack.trainers.pytorch_trainer import CFEnsemblePyTorchTrainer

if _TYPE_CHECKING:
    from cfe_stack.comparison import compare_ensembles
    from cfe_stack.out_of_fold.collect import collect_out_of_fold
    from cfe_stack.stacking.stacking_classifier import CFEStackingClassifier

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
    "CFEStackingClassifier": "cfe_stack.stacking.stacking_classifier",
    "collect_out_of_fold": "cfe_stack.out_of_fold.collect",
    "compare_ensembles": "cfe_stack.comparison",
}


def __getattr__(name: str) -> object:
    if name in _LATER:
        found: object = getattr(_import_module(_LATER[name]), name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
