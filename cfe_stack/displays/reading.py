"""What displays read from a fitted estimator: the ensemble matrix of rows, names, and factors.

The private parts of :class:`cfe_stack.CFEnsembleClassifier` that displays need are touched here
and nowhere else.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from cfe_stack.classifier.ensemble_classifier import CFEnsembleClassifier
from cfe_stack.classifier.predictor import Predictor
from cfe_stack.data.blocks import observed
from cfe_stack.data.ensemble_data import EnsembleData, default_names
from cfe_stack.factor_model.factor_model import FactorModel
from cfe_stack.losses.raw_scores import probabilities
from cfe_stack.trainers.base import BaseTrainer


@dataclass(frozen=True, eq=False)
class Reading:
    """Rows as a fitted estimator sees them.

    Parameters
    ----------
    data : EnsembleData
        With labels where they were given, names of the classifiers, and the classes.
    model : FactorModel
        The label-free fold-in, scaled so that instance factors have unit variance.
    estimator : CFEnsembleClassifier or trainer
    """

    data: EnsembleData
    model: FactorModel
    estimator: Any

    def predict_proba(self) -> np.ndarray:
        """Return the estimator's probabilities (n_instances, n_classes) of the rows."""
        if isinstance(self.estimator, CFEnsembleClassifier):
            return probabilities(self._predictor.scores(self.data))
        return self.estimator.predict_proba(self.data.R)

    def trust(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights (n, m) of every classifier on every row, and gate values (n, n_gates).

        Raises
        ------
        TypeError
            If the estimator is not a classifier that ends in a pool of log-odds.
        """
        predictor, weights = getattr(self.estimator, "_predictor", None), None
        if predictor is not None:
            instances = predictor.folded_in(self.data)
            weights = predictor.aggregator.instance_weights(instances)
        if weights is None:
            raise TypeError(
                "Weights that depend on the instance are those of a pool of log-odds: fit a "
                "CFEnsembleClassifier with aggregator='auto', 'gated_pool' or another of them."
            )
        return weights, instances.phi

    @property
    def _predictor(self) -> Predictor:
        return self.estimator._predictor


def read(
    estimator: Any, X: Any, y: ArrayLike | None = None, names: Sequence[str] | None = None
) -> Reading:
    """Return rows as a fitted estimator sees them.

    Parameters
    ----------
    estimator : fitted estimator
        A `CFEnsembleClassifier`; a stack of scikit-learn or mlxtend, a pipeline or a search that
        ends in one; or a trainer.
    X : array-like of shape (n_samples, n_features) or EnsembleData
        What the estimator predicts from; an `EnsembleData` for a trainer, and possible for a
        classifier.
    y : array-like of shape (n_samples,), default=None
        Classes, with NaN or None for unknown; the labels of an `EnsembleData` if not given.
    names : sequence of str, default=None
        Names of the base learners; by default those of the stack, the columns or the data.

    Raises
    ------
    TypeError
        If the estimator is none of these.
    ValueError
        If `y` holds a class that the estimator has not seen, or is of another length.
    """
    if isinstance(estimator, BaseTrainer):
        data = estimator._new_data(X)
        data = _labelled(data, y, np.asarray(data.classes), names or names_of(data))
        model = estimator.factor_model_.with_estimated_ridge(data)
        return Reading(data, model, estimator)
    classes = getattr(estimator, "classes_", None)
    final, columns, found = final_estimator_of(estimator, X)
    check_is_fitted(final, "layout_")
    classes = final.classes_ if classes is None else classes
    if isinstance(columns, EnsembleData):
        data, found = _same_shape(columns, final), names_of(columns)
        classes = data.classes if y is None else classes
    else:
        data, found = final._new_data(columns), found or _column_names(final)
    m = data.n_classifiers
    if names is None:
        names = found if found is not None and len(found) == m else default_names(m)
    data = _labelled(data, y, np.asarray(classes), names)
    return Reading(data, final._predictor.model, final)


def final_estimator_of(
    estimator: Any, X: Any
) -> tuple[CFEnsembleClassifier, Any, list[str] | None]:
    """Return the final estimator inside `estimator`, its columns for `X`, and learners' names."""
    names: list[str] | None = None
    while not isinstance(estimator, CFEnsembleClassifier):
        check_is_fitted(estimator)
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif isinstance(estimator, Pipeline):
            X = estimator[:-1].transform(X) if X is not None and len(estimator) > 1 else X
            estimator = estimator[-1]
        elif hasattr(estimator, "final_estimator_"):
            names = [str(name) for name, base in estimator.estimators if not _dropped(base)]
            X = None if X is None else estimator.transform(X)
            estimator = estimator.final_estimator_
        elif hasattr(estimator, "meta_clf_"):
            names = [str(name) for name in dict(estimator.named_classifiers)]
            X = None if X is None else _mlxtend_columns(estimator, X)
            estimator = estimator.meta_clf_
        else:
            raise TypeError(
                f"{type(estimator).__name__} is not and does not end in a CFEnsembleClassifier; "
                "displays read one, a stack, pipeline or search that ends in one, or a trainer."
            )
    return estimator, X, names


def names_of(data: EnsembleData) -> list[str]:
    """Return the names of the classifiers, given or made up."""
    return list(data.classifier_names or ())


def average_prediction(data: EnsembleData) -> np.ndarray:
    """Return the plain mean (n_instances, n_classes) of observed cells; NaN where there is none."""
    present = observed(data.R)
    R = data.R if data.R.ndim == 3 else data.R[:, :, None]
    total = np.where(present[:, :, None], R, 0.0).sum(axis=0)
    with np.errstate(invalid="ignore"):
        mean = total / present.sum(axis=0)[:, None]
    return mean if data.R.ndim == 3 else np.column_stack([1 - mean[:, 0], mean[:, 0]])


def encode(y: ArrayLike, classes: np.ndarray) -> np.ndarray:
    """Return class codes of `y`, −1 for NaN and None.

    Raises
    ------
    ValueError
        If `y` holds a value that is not a class.
    """
    codes = {name: k for k, name in enumerate(np.asarray(classes).tolist())}
    values = np.asarray(y).tolist()
    unknown_labels = sorted({str(v) for v in values if v is not None and v == v and v not in codes})
    if unknown_labels:
        raise ValueError(
            f"y holds {unknown_labels[:5]}, which are not among the classes {list(codes)}."
        )
    return np.array([codes.get(v, -1) for v in values], dtype=np.int64)


def labeled_rows(data: EnsembleData) -> np.ndarray:
    """Return the rows that have a label and a prediction.

    Raises
    ------
    ValueError
        If there is none.
    """
    rows = np.flatnonzero((data.labels >= 0) & observed(data.R).any(axis=0))
    if not len(rows):
        raise ValueError("No row has both a label and a prediction: pass y, or data with labels.")
    return rows


def _same_shape(data: EnsembleData, final: CFEnsembleClassifier) -> EnsembleData:
    m, n_classes = final.layout_.n_classifiers, len(final.classes_)
    if (data.n_classifiers, data.n_classes) != (m, n_classes):
        raise ValueError(
            f"The data have {data.n_classifiers} classifiers and {data.n_classes} classes; the "
            f"estimator was fitted on {m} and {n_classes}."
        )
    return data


def _labelled(
    data: EnsembleData, y: ArrayLike | None, classes: np.ndarray, names: Sequence[str]
) -> EnsembleData:
    labels = data.labels if y is None else encode(y, classes)
    return EnsembleData(
        data.R, labels, data.C, data.sample_weight, classifier_names=names, classes=classes
    )


def _dropped(base: Any) -> bool:
    return isinstance(base, str) and base == "drop"


def _mlxtend_columns(stack: Any, X: Any) -> Any:
    columns = stack.predict_meta_features(X)
    if getattr(stack, "use_features_in_secondary", False):
        return stack._stack_first_level_features(X, columns)
    return columns


def _column_names(final: CFEnsembleClassifier) -> list[str] | None:
    """Return what the columns of every base learner have in common in their names."""
    columns = getattr(final, "feature_names_in_", None)
    if columns is None:
        return None
    names = [
        os.path.commonprefix(columns[group.start : group.stop].tolist()).rstrip("_- .")
        for group in final.layout_.groups
    ]
    return names if all(names) and len(set(names)) == len(names) else None
