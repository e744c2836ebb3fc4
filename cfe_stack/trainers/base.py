"""Base class of the trainers: parameter checks, prediction by fold-in, warnings."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from cfe_stack.data.blocks import Block, labeled_instances, observed
from cfe_stack.data.ensemble_data import EnsembleData, default_names
from cfe_stack.data.missing import warn_about_count, warn_about_missing
from cfe_stack.factor_model.factor_model import FactorModel
from cfe_stack.losses.class_weight import prior_log_odds
from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.losses.link import make_link
from cfe_stack.losses.raw_scores import probabilities
from cfe_stack.losses.schedules import Schedule
from cfe_stack.runtime.parameter_checks import check_flag, check_integer, check_real, check_seed
from cfe_stack.runtime.persistence import Stamped
from cfe_stack.runtime.warning_location import user_stacklevel
from cfe_stack.trainers.aggregators import Aggregator
from cfe_stack.trainers.collapse import collapse_symptom, plain_average
from cfe_stack.trainers.history import TrainingHistory
from cfe_stack.trainers.labeled_features import LabeledFeatures
from cfe_stack.trainers.supervision import Supervision

MAX_RANKED_ROWS = 5000
"""Labeled instances that are looked at for a collapse, if there are more."""
EMPTY_ROWS = "they get the class frequencies of the training data"


class CollapsedAggregatorWarning(UserWarning):
    """Warning that the predictions of the aggregator are constant, or that its ranking is wrong."""


class BaseTrainer(Stamped, BaseEstimator):
    """Parameters, checks and predictions that do not depend on how the factors are trained."""

    _to_convergence = "aggregator_solver='converged'"

    history_: TrainingHistory
    factor_model_: FactorModel
    n_iter_: int
    _aggregator: Aggregator

    n_classifiers: int | None
    latent_dim: int
    rho: float
    lambda_reg: float
    use_class_weights: bool | Schedule
    class_weight: Any
    focal_gamma: float | Schedule
    focal_delta: float | None
    focal_alpha: float | None
    focal_gradient: Any
    aggregator_lr: float
    link: Any
    standardize: bool
    init_prior: bool
    random_state: Any
    verbose: int

    def check_parameters(self) -> None:
        """Raise ValueError where a parameter is out of range."""
        check_integer("latent_dim", self.latent_dim, 1)
        check_real("rho", self.rho, 0, 1)
        check_real("lambda_reg", self.lambda_reg, 0)
        check_real("aggregator_lr", self.aggregator_lr, 0)
        make_link(self.link, 2)
        for name in ("init_prior", "standardize"):
            check_flag(name, getattr(self, name))
        if not callable(self.use_class_weights):
            check_flag("use_class_weights", self.use_class_weights)
        check_seed(self.random_state)
        check_integer("verbose", self.verbose, 0)
        if self.n_classifiers is not None:
            check_integer("n_classifiers", self.n_classifiers, 1)
        for progress in (0.0, 1.0):
            gamma = self.focal_gamma(progress) if callable(self.focal_gamma) else self.focal_gamma
            check_real("focal_gamma", gamma, 0)
            if callable(self.use_class_weights):
                check_real("use_class_weights", self.use_class_weights(progress), 0, 1)
        if self.focal_delta is not None:
            check_real("focal_delta", self.focal_delta, 0)
        FocalLoss(0.0, self.focal_delta, self.focal_gradient)

    def _check_data(self, data: EnsembleData) -> np.ndarray:
        """Raise an error if the data do not match the parameters or contain no predictions.

        Store what new data are checked against, and return which instances have a prediction.
        """
        if not isinstance(data, EnsembleData):
            raise TypeError(
                f"fit expects an EnsembleData(R, labels), got {type(data).__name__}. For columns "
                "of stacked meta-features, use CFEnsembleClassifier."
            )
        if self.n_classifiers is not None and self.n_classifiers != data.n_classifiers:
            raise ValueError(
                f"n_classifiers is {self.n_classifiers!r}, but R has {data.n_classifiers} "
                "classifiers. Omit n_classifiers, or pass the number of rows of R."
            )
        if data.n_instances < data.n_classes:
            raise ValueError(
                f"R has {data.n_instances} instance(s), fewer than its {data.n_classes} classes."
            )
        if data.n_missing == data.n_classifiers * data.n_instances:
            raise ValueError("R contains no predictions: every cell is missing.")
        self._names = np.asarray(data.classifier_names)
        self._classes = np.asarray(data.classes)
        rows = labeled_instances(data.labels, data.sample_weight)
        self._prior_score = prior_log_odds(
            data.labels[rows], data.frequencies[rows], data.n_classes
        )
        return warn_about_missing(data, EMPTY_ROWS)

    @property
    def weights_(self) -> np.ndarray:
        """Weights of the aggregator, of shape (n_classifiers,)."""
        check_is_fitted(self, "factor_model_")
        return self._aggregator.weights_

    @property
    def intercept_(self) -> float | np.ndarray:
        """Intercept of the aggregator: a number, or one per class for more than two classes."""
        check_is_fitted(self, "factor_model_")
        return self._aggregator.intercept_

    @property
    def classifier_factors_(self) -> np.ndarray:
        """Classifier factors, of shape (latent_dim, n_classifiers[, n_classes])."""
        check_is_fitted(self, "factor_model_")
        model = self.factor_model_
        shape = (len(model.factors), model.n_classifiers, -1)
        factors = model.factors.reshape(shape)
        return factors[:, :, 0] if factors.shape[2] == 1 else factors

    def _new_data(self, R: EnsembleData | ArrayLike) -> EnsembleData:
        """Return checked data for prediction, with the classifiers and classes of training."""
        check_is_fitted(self, "factor_model_")
        data = R if isinstance(R, EnsembleData) else EnsembleData(R)
        model = self.factor_model_
        rows = data.n_classifiers * (data.n_classes if data.n_classes > 2 else 1)
        if data.n_classifiers != model.n_classifiers or rows != len(model.shift):
            classes = max(len(model.shift) // model.n_classifiers, 2)
            raise ValueError(
                f"R has {data.n_classifiers} classifiers and {data.n_classes} classes, but the "
                f"trainer was fitted to {model.n_classifiers} classifiers and {classes} classes."
            )
        if isinstance(R, EnsembleData):
            for name, given, fitted in (
                ("classifier_names", np.asarray(data.classifier_names), self._names),
                ("classes", np.asarray(data.classes), self._classes),
            ):
                unnamed = name == "classifier_names" and given.tolist() == default_names(len(given))
                if given.tolist() != fitted.tolist() and not unnamed:
                    raise ValueError(
                        f"{name} are {given.tolist()}, but the trainer was fitted with "
                        f"{fitted.tolist()}. Pass the same names in the same order."
                    )
        return data

    def transform(self, R: EnsembleData | ArrayLike) -> np.ndarray:
        """Return the label-free instance factors.

        Parameters
        ----------
        R : EnsembleData or array-like of shape (n_classifiers, n_instances[, n_classes])
            NaN marks missing predictions. Labels are never used.

        Returns
        -------
        ndarray of shape (latent_dim, n_instances)
        """
        data = self._new_data(R)
        return self.factor_model_.fold_in(data)

    def reconstruct(self, R: EnsembleData | ArrayLike) -> np.ndarray:
        """Return the reconstructed probabilities of all cells, by label-free fold-in.

        Parameters
        ----------
        R : EnsembleData or array-like of shape (n_classifiers, n_instances[, n_classes])
            NaN marks missing predictions. Labels are never used.

        Returns
        -------
        ndarray of the shape of R
        """
        data = self._new_data(R)
        model = self.factor_model_
        return model.link.inverse(model.reconstruct(model.fold_in(data)))

    def complete(self, R: EnsembleData | ArrayLike) -> np.ndarray:
        """Return `R` with its missing cells filled in by the label-free fold-in.

        Parameters
        ----------
        R : EnsembleData or array-like of shape (n_classifiers, n_instances[, n_classes])
            NaN marks missing predictions. Labels are never used.

        Returns
        -------
        ndarray of the shape of R
            Observed cells are as they were.
        """
        data, model = self._new_data(R), self.factor_model_
        return model.complete(data, model.fold_in(data))

    def decision_function(
        self, R: EnsembleData | ArrayLike, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Return raw scores of new instances, by label-free fold-in, block by block.

        Parameters
        ----------
        R : EnsembleData or array-like of shape (n_classifiers, n_instances[, n_classes])
            NaN marks missing predictions. Labels are never used.
        out : ndarray of shape (n_instances,) or (n_instances, n_classes), default=None
            Array that receives the result, for example a memory map.

        Returns
        -------
        ndarray of shape (n_instances,) or (n_instances, n_classes)
            Log-odds of class 1, or one score per class.
        """
        data = self._new_data(R)
        several = (data.n_classes,) if data.n_classes > 2 else ()
        return self._predict(data, (data.n_instances, *several), out, lambda scores: scores)

    def predict_proba(
        self, R: EnsembleData | ArrayLike, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Return class probabilities of new instances, by label-free fold-in, block by block.

        Parameters
        ----------
        R : EnsembleData or array-like of shape (n_classifiers, n_instances[, n_classes])
            NaN marks missing predictions. Labels are never used.
        out : ndarray of shape (n_instances, n_classes), default=None
            Array that receives the result, for example a memory map.

        Returns
        -------
        ndarray of shape (n_instances, n_classes)
        """
        data = self._new_data(R)
        return self._predict(data, (data.n_instances, data.n_classes), out, probabilities)

    def _predict(
        self,
        data: EnsembleData,
        shape: tuple[int, ...],
        out: np.ndarray | None,
        convert: Callable[[np.ndarray], np.ndarray],
    ) -> np.ndarray:
        """Convert the scores of every block, write them to `out`, and return it."""
        if out is None:
            out = np.empty(shape)
        elif out.shape != shape or out.dtype.kind != "f":
            raise ValueError(
                f"out must be a floating-point array of shape {shape}, got {out.dtype} of shape "
                f"{out.shape}."
            )
        result, empty = out, []

        def use(block: Block, Y: np.ndarray) -> None:
            seen = np.asarray(block.observed.any(axis=0))
            empty.append(int((~seen).sum()))
            result[block.start : block.stop] = convert(self._scores(Y, seen))

        self.factor_model_.each_folded_in(data, use, getattr(self, "n_jobs", None))
        warn_about_count(sum(empty), EMPTY_ROWS)
        return out

    def _scores(self, Y: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Return raw scores of instance factors, or the prior's score without predictions."""
        scores = LabeledFeatures(self.factor_model_, self._aggregator, Y).scores()
        scores[~predicted] = self._prior_score
        return scores

    def _warn_if_collapsed(
        self, data: EnsembleData, supervision: Supervision, trained_here: bool
    ) -> None:
        """Warn if the aggregator contradicts the classifiers or its predictions are constant.

        `trained_here` tells whether factors and aggregator were trained on label-free predictions.
        """
        known, model = supervision.rows, self.factor_model_
        if not self._aggregator.learns or not known.size:
            return
        block = data.block_of(known[:: -(-len(known) // MAX_RANKED_ROWS)])
        Y = model.solve(model.linked(block.R), model.weights(block, use_labels=False))
        predicted = np.asarray(observed(block.R).any(axis=0))
        proba = probabilities(self._scores(Y, predicted))[predicted]
        average = plain_average(block.R[:, predicted])
        symptom = collapse_symptom(
            proba, average, block.labels[predicted], trained_here=trained_here
        )
        if symptom is None:
            return
        warnings.warn(
            f"The aggregator has collapsed: {symptom}. Set use_class_weights=True or "
            f"init_prior=True, solve to convergence ({self._to_convergence}), or use "
            "aggregator_type='log_pool', whose weights cannot be negative.",
            CollapsedAggregatorWarning,
            stacklevel=user_stacklevel(),
        )
