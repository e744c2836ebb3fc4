"""Stored estimators: the stamp that every file carries, and the types that make one up."""

from typing import Any

FORMAT = 1
"""Number of the layout of stored estimators; a release that cannot read the last one raises it."""
VERSION_KEY, FORMAT_KEY = "_cfe_stack_version", "_cfe_stack_format"

TRUSTED_TYPES = (
    "cfe_stack.adapters.collection.Failure",
    "cfe_stack.adapters.early_stopping.EarlyStopping",
    "cfe_stack.adapters.fitted_models.FittedModels",
    "cfe_stack.adapters.learners.FittedLearner",
    "cfe_stack.adapters.out_of_fold_data.OutOfFoldData",
    "cfe_stack.adapters.shared_collections.SharedCollections",
    "cfe_stack.aggregators.GatedPoolAggregator",
    "cfe_stack.aggregators.LogPoolAggregator",
    "cfe_stack.aggregators.MeanAggregator",
    "cfe_stack.aggregators.WeightedAggregator",
    "cfe_stack.calibration.Calibration",
    "cfe_stack.classifier.CFEnsembleClassifier",
    "cfe_stack.column_reader.ColumnReader",
    "cfe_stack.comparison.problems.FoldSize",
    "cfe_stack.comparison.result.EnsembleComparison",
    "cfe_stack.comparison.result.HeldOut",
    "cfe_stack.confidence.Adaptive",
    "cfe_stack.confidence.Calibration",
    "cfe_stack.confidence.Certainty",
    "cfe_stack.confidence.LabelAware",
    "cfe_stack.confidence.Uniform",
    "cfe_stack.ensemble_data.EnsembleData",
    "cfe_stack.final_aggregators.MeanFinalAggregator",
    "cfe_stack.final_aggregators.PoolFinalAggregator",
    "cfe_stack.final_aggregators.WeightedFinalAggregator",
    "cfe_stack.gates.Gates",
    "cfe_stack.layout.ColumnGroup",
    "cfe_stack.layout.StackLayout",
    "cfe_stack.linear_pool.LinearFamily",
    "cfe_stack.linear_pool.LinearPool",
    "cfe_stack.link.CenteredLogRatioLink",
    "cfe_stack.link.IdentityLink",
    "cfe_stack.link.LogitLink",
    "cfe_stack.losses.CosineSchedule",
    "cfe_stack.losses.LinearSchedule",
    "cfe_stack.metrics.Metric",
    "cfe_stack.metrics.accuracy",
    "cfe_stack.metrics.brier",
    "cfe_stack.metrics.expected_calibration_error",
    "cfe_stack.metrics.log_loss",
    "cfe_stack.metrics.pr_auc",
    "cfe_stack.metrics.roc_auc",
    "cfe_stack.pool_selection.SelectedPool",
    "cfe_stack.pools.Family",
    "cfe_stack.pools.Pool",
    "cfe_stack.predictor.Predictor",
    "cfe_stack.score_calibration.ScoreCalibrator",
    "cfe_stack.stacking.CFEStackingClassifier",
    "cfe_stack.trainers.als.CFEnsembleTrainer",
    "cfe_stack.trainers.factor_model.FactorModel",
    "cfe_stack.trainers.history.TrainingHistory",
    "cfe_stack.trainers.joint_trainer.CFEnsemblePyTorchTrainer",
    "cfe_stack.trainers.majorization.MajorizedAggregator",
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
        from cfe_stack import __version__

        state = dict(super().__getstate__())  # type: ignore[call-overload]
        return state | {VERSION_KEY: __version__, FORMAT_KEY: FORMAT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        from cfe_stack import __version__

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
