"""Stored estimators: the stamp that every file carries, and the types that make one up."""

from typing import Any

from cfe_stack.runtime.version import __version__

FORMAT = 2
"""Number of the layout of stored estimators; a release that cannot read the last one raises it."""
VERSION_KEY, FORMAT_KEY = "_cfe_stack_version", "_cfe_stack_format"

TRUSTED_TYPES = (
    "cfe_stack.base_learners.early_stopping.EarlyStopping",
    "cfe_stack.base_learners.fitted_learner.FittedLearner",
    "cfe_stack.classifier.column_reader.ColumnReader",
    "cfe_stack.classifier.ensemble_classifier.CFEnsembleClassifier",
    "cfe_stack.classifier.final_aggregators.FittedLogisticUnit",
    "cfe_stack.classifier.final_aggregators.FittedPool",
    "cfe_stack.classifier.predictor.Predictor",
    "cfe_stack.comparison.problems.FoldSize",
    "cfe_stack.comparison.result.EnsembleComparison",
    "cfe_stack.comparison.result.HeldOut",
    "cfe_stack.data.ensemble_data.EnsembleData",
    "cfe_stack.factor_model.confidence.AdaptiveConfidence",
    "cfe_stack.factor_model.confidence.CalibrationConfidence",
    "cfe_stack.factor_model.confidence.CertaintyConfidence",
    "cfe_stack.factor_model.confidence.LabelAwareConfidence",
    "cfe_stack.factor_model.confidence.UniformConfidence",
    "cfe_stack.factor_model.factor_model.FactorModel",
    "cfe_stack.losses.link.CenteredLogRatioLink",
    "cfe_stack.losses.link.IdentityLink",
    "cfe_stack.losses.link.LogitLink",
    "cfe_stack.losses.schedules.CosineSchedule",
    "cfe_stack.losses.schedules.LinearSchedule",
    "cfe_stack.meta_features.layout.ColumnGroup",
    "cfe_stack.meta_features.layout.StackLayout",
    "cfe_stack.meta_features.score_calibration.ScoreCalibrator",
    "cfe_stack.metrics.Metric",
    "cfe_stack.metrics.accuracy",
    "cfe_stack.metrics.brier",
    "cfe_stack.metrics.expected_calibration_error",
    "cfe_stack.metrics.log_loss",
    "cfe_stack.metrics.pr_auc",
    "cfe_stack.metrics.roc_auc",
    "cfe_stack.out_of_fold.collection.Failure",
    "cfe_stack.out_of_fold.fitted_models.FittedModels",
    "cfe_stack.out_of_fold.out_of_fold_data.OutOfFoldData",
    "cfe_stack.out_of_fold.shared_collections.SharedCollections",
    "cfe_stack.pools.calibration.Calibration",
    "cfe_stack.pools.gates.Gates",
    "cfe_stack.pools.linear_pool.LinearFamily",
    "cfe_stack.pools.linear_pool.LinearPool",
    "cfe_stack.pools.log_pool.Family",
    "cfe_stack.pools.log_pool.Pool",
    "cfe_stack.pools.selection.SelectedPool",
    "cfe_stack.stacking.stacking_classifier.CFEStackingClassifier",
    "cfe_stack.trainers.aggregators.Gate",
    "cfe_stack.trainers.aggregators.GatedPoolAggregator",
    "cfe_stack.trainers.aggregators.LogPoolAggregator",
    "cfe_stack.trainers.aggregators.MeanAggregator",
    "cfe_stack.trainers.aggregators.WeightedAggregator",
    "cfe_stack.trainers.als.CFEnsembleTrainer",
    "cfe_stack.trainers.history.TrainingHistory",
    "cfe_stack.trainers.majorization.MajorizedAggregator",
    "cfe_stack.trainers.pytorch_trainer.CFEnsemblePyTorchTrainer",
)
"""Types of this package in stored objects: ``skops.io.load(file, trusted=TRUSTED_TYPES)``.

They are those of estimators and comparisons, and none runs anything when it is made. Learners and
scorers of other packages bring types of their own, which ``skops.io.get_untrusted_types`` names.
"""


class StoredFormatError(ValueError):
    """A stored estimator was written in a format that this version does not read."""


class Stamped:
    """Estimators that are stored with the version that wrote them.

    To be put before ``BaseEstimator`` among the bases, whose way of storing it extends: pickle,
    joblib, skops, and copies all go through it.
    """

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())  # type: ignore[call-overload]
        return state | {VERSION_KEY: __version__, FORMAT_KEY: FORMAT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        version, written = state.pop(VERSION_KEY, None), state.pop(FORMAT_KEY, None)
        if written != FORMAT:
            by = "a version that left no stamp" if version is None else f"cfe_stack {version}"
            raise StoredFormatError(
                f"This {type(self).__name__} was stored by {by} in format {written}; "
                f"cfe_stack {__version__} reads format {FORMAT}. Load it with the version that "
                "wrote it, or fit it again."
            )
        super().__setstate__(state)  # type: ignore[misc]
