"""Models that are fitted already: their predictions, and whether these can be out-of-fold.

A fitted model does not say which rows it was trained on. But a copy of it can be trained on the
rows at hand: if the model predicts them as well as that copy does, and much better than copies
that did not see them, then it has seen them too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import _safe_indexing

from cfe_stack.base_learners.fitted_learner import (
    FittedLearner,
    UnusableOutputError,
    response_method,
)
from cfe_stack.base_learners.native_boosters import booster_proba
from cfe_stack.cross_validation.fold_plan import plan_folds
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.data.in_sample import SuspiciousPredictionsError
from cfe_stack.out_of_fold.fitting import LearnerPlan, TrainingRows, fit_learner, own_rows
from cfe_stack.out_of_fold.input_checks import check_rows

MIN_EVIDENCE_Z = 4.0
"""Standard errors by which a model must beat unseeing copies before it is suspected."""
MAX_CHECKED_ROWS = 2000
"""Rows, at most, on which copies are trained for the check."""
_FLOOR = 1e-4


@dataclass(frozen=True)
class Evidence:
    """Evidence that a model was trained on the rows.

    Parameters
    ----------
    model : float
        Log-loss of the model on the rows.
    held_out : float
        Log-loss of copies on rows that they were not trained on.
    in_sample : float
        Log-loss of a copy on the rows that it was trained on.
    standard_error : float
        Of the difference between `model` and `held_out`.
    """

    model: float
    held_out: float
    in_sample: float
    standard_error: float

    @property
    def suspicious(self) -> bool:
        """Whether the model is clearly better than copies, and nearer to having seen the rows."""
        gap = self.held_out - self.model
        return gap > MIN_EVIDENCE_Z * self.standard_error and gap > 0.5 * (
            self.held_out - self.in_sample
        )


def predictions_of_fitted(
    models: Sequence[tuple[str, Any]] | Mapping[str, Any],
    X: Any,
    y: ArrayLike,
    *,
    classes: ArrayLike | None = None,
    allow_suspicious: bool = False,
) -> EnsembleData:
    """Return predictions of models that were fitted on other rows.

    Parameters
    ----------
    models : list of (str, model) or mapping of str to model
        Fitted classifiers with ``predict_proba`` or ``predict``, or boosters of ``xgboost.train``
        and ``lightgbm.train``, which predict up to their best iteration.
    X : array-like, sparse matrix or data frame of n rows
        Rows that no model was trained on.
    y : array-like of shape (n,)
    classes : array-like of shape (n_classes,), default=None
        Classes of boosters in the order of their codes; the sorted labels of y if not given.
    allow_suspicious : bool, default=False
        Take predictions that look like those of training rows.

    Returns
    -------
    EnsembleData

    Raises
    ------
    SuspiciousPredictionsError
        If a model predicts the rows as well as a copy that was trained on them. Copies are trained
        on at most 2000 rows. Boosters cannot be copied; they are not checked.
    ValueError
        If predictions have another shape, or other classes, than y.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from cfe_stack.out_of_fold import predictions_of_fitted
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> predictions_of_fitted({"bayes": GaussianNB().fit(X[:300], y[:300])}, X[300:], y[300:])
    EnsembleData(1 classifiers, 269 instances, 2 classes; 269 labeled, 0 cells missing)
    """
    pairs = list(models.items()) if isinstance(models, Mapping) else list(models)
    rows = check_rows(X, y)
    known = rows.classes if classes is None else np.asarray(classes)
    if not np.isin(rows.classes, known).all():
        raise ValueError(
            f"y holds {np.setdiff1d(rows.classes, known).tolist()}, which are not in classes "
            f"{known.tolist()}."
        )
    codes = np.array([known.tolist().index(label) for label in rows.classes.tolist()])[rows.codes]
    blocks = []
    for name, model in pairs:
        proba = _predictions(name, model, own_rows(rows.X), known)
        if not allow_suspicious:
            found = in_sample_evidence(model, rows, proba[np.arange(len(codes)), codes])
            if found is not None and found.suspicious:
                raise SuspiciousPredictionsError(
                    f"{name!r} has probably been trained on these rows: its log-loss on them is "
                    f"{found.model:.3f}; copies that have not seen them reach {found.held_out:.3f} "
                    f"(± {found.standard_error:.3f}), one that has {found.in_sample:.3f}. Pass "
                    "rows that it was not trained on, or the unfitted model to "
                    "collect_out_of_fold; allow_suspicious=True takes them as they are."
                )
        blocks.append(proba)
    R = np.stack(blocks)
    return EnsembleData(
        R[:, :, 1] if len(known) == 2 else R,
        codes,
        classifier_names=[name for name, _ in pairs],
        classes=known,
    )


def _predictions(name: str, model: Any, X: Any, classes: np.ndarray) -> np.ndarray:
    """Return probabilities (n, n_classes) of a fitted model, its columns at their classes."""
    if type(model).__name__ == "Booster":
        proba = booster_proba(model, X)
        if proba.shape[1] != len(classes):
            raise ValueError(
                f"The booster {name!r} predicts {proba.shape[1]} classes, there are "
                f"{len(classes)}: {classes.tolist()}. Pass `classes` in the order of its codes."
            )
        return proba
    own = np.asarray(getattr(model, "classes_", classes))
    unknown_classes = np.setdiff1d(own, classes)
    if unknown_classes.size:
        raise ValueError(
            f"{name!r} was fitted to the classes {own.tolist()}, of which "
            f"{unknown_classes.tolist()} are not among {classes.tolist()}."
        )
    codes = np.array([classes.tolist().index(label) for label in own.tolist()])
    method = response_method(model, "auto")
    if method == "decision_function":
        method = "predict"  # margins need held-out rows to be calibrated on, labels do not
    try:
        return FittedLearner(name, model, method, codes, own, len(classes)).predict_proba(X)
    except UnusableOutputError as error:
        raise ValueError(f"{name!r}: {error}.") from error


def in_sample_evidence(model: Any, rows: TrainingRows, likelihood: np.ndarray) -> Evidence | None:
    """Return the evidence that a model was trained on the rows, or None if it cannot be copied.

    Parameters
    ----------
    model : estimator
    rows : TrainingRows
    likelihood : ndarray of shape (n,)
        Probability that it gives to the true class of every row.
    """
    template = getattr(model, "estimator", model) if _is_frozen(model) else model
    if not hasattr(template, "get_params") or np.bincount(rows.codes).min() < 2:
        return None
    chosen = np.random.RandomState(0).permutation(len(rows))[:MAX_CHECKED_ROWS]
    learner = LearnerPlan("copy", template)
    held_out = np.full(len(rows), np.nan)
    in_sample = np.full(len(rows), np.nan)
    try:
        plan = plan_folds(3, np.zeros((len(chosen), 1)), rows.codes[chosen])
        for train, test in plan.splits:
            part = chosen[test]
            held_out[part] = _likelihood_of_copy(rows, learner, chosen[train], part)
        in_sample[chosen] = _likelihood_of_copy(rows, learner, chosen, chosen)
    except Exception:
        return None  # a copy that does not train proves nothing
    losses = [-np.log(np.maximum(p[chosen], _FLOOR)) for p in (likelihood, held_out, in_sample)]
    difference = losses[0] - losses[1]
    error = float(difference.std() / np.sqrt(len(chosen)))
    seen, unseen, copy = (float(loss.mean()) for loss in losses)
    return Evidence(seen, unseen, copy, error)


def _likelihood_of_copy(
    rows: TrainingRows, learner: LearnerPlan, train: np.ndarray, test: np.ndarray
) -> np.ndarray:
    model, _ = fit_learner(rows, learner, train)
    if model.method == "decision_function":
        labels = model.estimator.predict(_safe_indexing(rows.X, test))
        return (np.asarray(labels) == rows.labels[test]).astype(float)
    proba = model.predict_proba(_safe_indexing(rows.X, test))
    return proba[np.arange(len(test)), rows.codes[test]]


def _is_frozen(model: Any) -> bool:
    return type(model).__name__ == "FrozenEstimator"
