"""CFEnsembleClassifier, the final estimator: meta-features in, calibrated probabilities out."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from cfe_stack.classifier.column_reader import ColumnReader
from cfe_stack.classifier.final_aggregators import FinalAggregator, make_final_aggregator
from cfe_stack.classifier.input_checks import StackedRows, check_columns, densify, numeric_labels
from cfe_stack.classifier.predictor import Predictor
from cfe_stack.cross_validation.inner_folds import inner_folds
from cfe_stack.cross_validation.splitters import check_cv_option
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.data.missing import warn_about_empty_rows
from cfe_stack.losses.class_weight import ClassWeight, class_weights
from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.losses.labeled_rows import LossSettings
from cfe_stack.losses.link import LinkName
from cfe_stack.losses.raw_scores import probabilities
from cfe_stack.meta_features.layout import check_layout_options, resolve_layout
from cfe_stack.pools.scoring import Scorer, make_scorer
from cfe_stack.runtime.callbacks import Observed, reports_to_callbacks
from cfe_stack.runtime.parameter_checks import check_flag, check_real, check_seed
from cfe_stack.runtime.persistence import Stamped
from cfe_stack.runtime.rollback import restore_on_failure
from cfe_stack.trainers.base import EMPTY_ROWS, BaseTrainer
from cfe_stack.trainers.factory import make_trainer

OPTIONAL = frozenset("gate_ calibration_ cv_scores_ cv_logits_ transductive_proba_".split())


class CFEnsembleClassifier(Stamped, Observed, ClassifierMixin, TransformerMixin, BaseEstimator):
    r"""Combine the predictions of base learners by collaborative filtering.

    A final estimator for stacks, and a drop-in replacement for ``LogisticRegression()``. It takes
    columns of out-of-fold predictions and returns calibrated probabilities. The predictions are
    factorized without labels, missing predictions are completed, and the log-odds are combined by
    an opinion pool.

    Parameters
    ----------
    trainer : {"als", "pytorch"} or trainer, default="als"
        Trainer of the factors: alternating least squares, or joint descent with PyTorch. A trainer
        object is cloned and keeps its own parameters; those of this estimator are not passed on.
    aggregator : str, default="auto"
        Pools of log-odds: ``"auto"`` combines ``"log_pool"``, ``"gated_pool"``, ``"signed_pool"``
        and ``"bounded_pool"``. Pools of probabilities: ``"linear_pool"``, ``"greedy_selection"``,
        and ``"mean"``, the average. ``"weighted"``: the logistic unit of the original method on the
        reconstruction, solved to convergence. All except the average are recalibrated.
    latent_dim : int, default=None
        Number of factors. None uses 3, or the number of classes minus 1 if that is larger.
    rho : float, default=0.5
        Share of reconstruction in the objective. With ``"als"`` it only affects when to stop.
    lambda_reg : float, default=1.0
        Ridge on the factors.
    link : {"logit", "identity"}, default="logit"
        Factorize log-odds, or probabilities.
    confidence : {"uniform", "certainty", "calibration", "adaptive"}, default="uniform"
        Weight of a cell in the factorization.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in the loss, and in `predict`, which returns the class with the
        largest weight × probability. Probabilities are recalibrated.
    focal_gamma : float, default=0.0
        Focusing parameter of the focal loss in training; probabilities are recalibrated.
    focal_delta : float, default=None
        Smoothing constant; None means 1e-3 for 0 < gamma < 1 and 0 otherwise.
    focal_alpha : float, default=None
        Weight α of the positive class, 1 − α of the other, in the focal loss.
    layout : str, default="auto"
        Meaning of the columns, see :data:`cfe_stack.meta_features.LAYOUTS`.
    n_classifiers : int, default=None
        Number of base learners, for columns that do not determine it.
    passthrough : {None, "after", "before"}, default=None
        Position of columns that are not predictions (they are not used): after the predictions as
        in scikit-learn, or before them as in mlxtend. None detects it.
    cv : int, splitter or list of (train, test), default=5
        Inner folds that choose the penalties and the second level. A number gives stratified folds,
        which are repeated if there are few rows. If `fit` receives groups, folds keep them intact.
    scoring : str or callable, default=None
        scikit-learn scorer that picks the penalties of pools; None averages over penalties by
        log-loss. Pools are always combined and calibrated by log-loss.
    missing_label : object, default="auto"
        Label of rows whose class is unknown. ``"auto"``: NaN and None, and −1 if the other labels
        are 0 … K−1 (with a warning). None: every value is a class.
    max_iter : int, default=200
        Maximum number of sweeps or epochs of the trainer.
    tol : float, default=1e-4
        Relative change of the objective at which the trainer stops.
    progress : bool, default=False
        Show a progress bar over the inner folds in a terminal (needs tqdm).
    random_state : int, RandomState or None, default=None
        Seed of the PyTorch trainer; ``"als"`` starts from principal axes and draws nothing.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    n_features_in_ : int
    layout_ : StackLayout
        Detected or given layout of the columns.
    trainer_ : trainer
        The fitted trainer, with its factors and history.
    n_iter_ : int
        Number of sweeps or epochs of the trainer.
    weights_ : ndarray of shape (n_classifiers,)
        Weights of the base learners' calibrated log-odds at gate 0, averaged over labeled rows.
        With ``"mean"`` and linear pools they are weights of probabilities, with ``"weighted"`` of
        the reconstruction.
    intercept_ : ndarray of shape (1,) or (n_classes,)
    gate_ : ndarray of shape (n_gates, n_classifiers)
        Change of the weights per unit of each gate; only with pools of log-odds.
    calibration_ : Calibration
        Slope and offset of every base learner's log-odds; only with pools of log-odds.
    cv_scores_ : dict of str to float
        Out-of-fold log-loss, or `scoring`, of every family of pools; only with pools.
    cv_logits_ : ndarray of shape (n_labeled,) or (n_labeled, n_classes)
        Out-of-fold scores of the ensemble on its labeled training rows; only with pools.
    transductive_proba_ : ndarray of shape (n_samples, n_classes)
        Probabilities of all rows given to `fit`; only if some had no label.

    Raises
    ------
    ValueError
        If parameters, columns or labels are not as described. All checks precede the work.

    Warns
    -----
    LayoutWarning, MissingPredictionsWarning
        If the layout rests on an assumption, or a base learner or a row has no predictions.

    Notes
    -----
    Everything that a prediction uses is computed without labels, by the same fold-in in training
    and in prediction. Multilabel targets are not supported.

    See Also
    --------
    CFEStackingClassifier : A stack that includes its base learners.

    References
    ----------
    .. [1] C. Genest, J. Zidek, "Combining Probability Distributions: A Critique and an Annotated
       Bibliography", Statistical Science 1986, section 3 (logarithmic pools).

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.ensemble import RandomForestClassifier, StackingClassifier
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from cfe_stack import CFEnsembleClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> bases = [("forest", RandomForestClassifier(20, random_state=0)), ("bayes", GaussianNB())]
    >>> stack = StackingClassifier(bases, final_estimator=CFEnsembleClassifier())
    >>> stack.fit(X[:400], y[:400]).predict_proba(X[400:]).shape
    (169, 2)
    """

    def __init__(
        self,
        trainer: Literal["als", "pytorch"] | BaseTrainer = "als",
        aggregator: str = "auto",
        *,
        latent_dim: int | None = None,
        rho: float = 0.5,
        lambda_reg: float = 1.0,
        link: LinkName = "logit",
        confidence: str = "uniform",
        class_weight: ClassWeight = None,
        focal_gamma: float = 0.0,
        focal_delta: float | None = None,
        focal_alpha: float | None = None,
        layout: str = "auto",
        n_classifiers: int | None = None,
        passthrough: Literal["after", "before"] | None = None,
        cv: Any = 5,
        scoring: Any = None,
        missing_label: Any = "auto",
        max_iter: int = 200,
        tol: float = 1e-4,
        progress: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.trainer = trainer
        self.aggregator = aggregator
        self.latent_dim = latent_dim
        self.rho = rho
        self.lambda_reg = lambda_reg
        self.link = link
        self.confidence = confidence
        self.class_weight = class_weight
        self.focal_gamma = focal_gamma
        self.focal_delta = focal_delta
        self.focal_alpha = focal_alpha
        self.layout = layout
        self.n_classifiers = n_classifiers
        self.passthrough = passthrough
        self.cv = cv
        self.scoring = scoring
        self.missing_label = missing_label
        self.max_iter = max_iter
        self.tol = tol
        self.progress = progress
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        tags.target_tags.required = True
        return tags

    @restore_on_failure()
    @reports_to_callbacks
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Fit on out-of-fold predictions.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Meta-features; NaN marks missing predictions.
        y : array-like of shape (n_samples,)
            Labels. Rows without a label are used in the factorization only.
        sample_weight : array-like of shape (n_samples,), default=None
            An integer weight *w* is equivalent to repeating the row *w* times. Rows of weight zero
            are ignored, but their classes are kept.
        groups : array-like of shape (n_samples,), default=None
            Rows of the same group are kept in the same inner fold.
        """
        loss, aggregator, scorer = self._check_parameters()
        for name in OPTIONAL & vars(self).keys():
            delattr(self, name)
        rows = StackedRows.check(
            self,
            X,
            y,
            sample_weight,
            missing_label=self.missing_label,
            n_classifiers=self.n_classifiers,
            passthrough=self.passthrough,
        )
        self.classes_, self._columns = rows.classes, rows.columns
        P, codes, weights = rows.P, rows.codes, rows.weights
        # rows of weight 0 are ignored throughout
        present = weights > 0
        self._fit_reader(P[present], codes[present], weights[present])
        folds = inner_folds(self._reader.content(P, codes), codes, weights, self.cv, groups)
        R = self._reader.training_matrix(P, codes, weights, folds[0])
        data = EnsembleData(R[:, present], codes[present], sample_weight=weights[present])
        self.trainer_ = self._make_trainer(len(self.classes_)).fit(data)
        self.n_iter_ = self.trainer_.n_iter_
        self._class_weights = class_weights(
            data.labels[data.labels >= 0],
            weights[codes >= 0],
            len(self.classes_),
            self.class_weight,
            self.classes_,
        )
        settings = LossSettings(loss, self.class_weight, self.focal_alpha, self.classes_)
        self._predictor = Predictor.fit(
            aggregator,
            self.trainer_.factor_model_,
            data,
            folds[:, present],
            settings,
            scorer=scorer,
            progress=self.progress,
        )
        fitted = self._predictor.aggregator
        self.weights_, self.intercept_ = fitted.weights, fitted.intercept
        for name, value in fitted.fitted_attributes.items():
            setattr(self, name, value)
        if (codes < 0).any():
            self.transductive_proba_ = probabilities(self._predictor.scores(EnsembleData(R)))
        return self

    def _check_parameters(self) -> tuple[FocalLoss, FinalAggregator, Scorer | None]:
        """Raise ValueError for invalid parameters; return the loss, aggregator and scorer."""
        check_layout_options(self.layout, self.n_classifiers, self.passthrough)
        check_cv_option(self.cv)
        check_real("focal_gamma", self.focal_gamma, 0)
        check_seed(self.random_state)
        check_flag("progress", self.progress)
        self._make_trainer(n_classes=2).check_parameters()
        loss = FocalLoss(self.focal_gamma, self.focal_delta)
        return loss, make_final_aggregator(self.aggregator), make_scorer(self.scoring)

    def _make_trainer(self, n_classes: int) -> BaseTrainer:
        if isinstance(self.trainer, BaseTrainer):
            return clone(self.trainer)
        return make_trainer(self.trainer, n_classes, self)

    def _fit_reader(self, P: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> None:
        """Determine the layout of the columns, and fit the calibrators of scores."""
        cut_out = self._columns.stop - self._columns.start < self.n_features_in_
        self.layout_ = resolve_layout(
            P,
            codes,
            len(self.classes_),
            self.layout,
            n_classifiers=self.n_classifiers,
            # the range cut out of sparse columns may still contain passthrough columns
            passthrough=None if cut_out and self.n_classifiers is None else self.passthrough,
            classes=self.classes_,
        )
        self._reader = ColumnReader.fit(self.layout_, P, codes, weights)

    def _new_data(self, X: Any) -> EnsembleData:
        check_is_fitted(self, "layout_")
        columns = check_columns(self, numeric_labels(X, self.classes_), reset=False)
        data = EnsembleData(self._reader.matrix(densify(columns, self._columns)))
        warn_about_empty_rows(data, EMPTY_ROWS)
        return data

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Return log-odds of class 1, of shape (n_samples,), or scores (n_samples, n_classes).

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        """
        data = self._new_data(X)
        return self._predictor.scores(data)

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Return calibrated probabilities, of shape (n_samples, n_classes).

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            NaN marks missing predictions. A row without predictions gets the class frequencies.
        """
        return probabilities(self.decision_function(X))

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Return the class with the largest class weight × probability, of shape (n_samples,).

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        """
        weighted = self.predict_proba(X) * self._class_weights
        return self.classes_[weighted.argmax(axis=1)]

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Return the reconstruction of the ensemble matrix by label-free fold-in.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classifiers) or (n_samples, n_classifiers · n_classes)
            P(class 1) of every base learner, or all classes, base learner after base learner.
        """
        data = self._new_data(X)
        R = self.trainer_.reconstruct(data)
        return R.T if R.ndim == 2 else R.transpose(1, 0, 2).reshape(data.n_instances, -1)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Return names of the columns of :meth:`transform`.

        Parameters
        ----------
        input_features : None
            Ignored. Names are derived from the number of base learners and the classes.

        Returns
        -------
        ndarray of shape (n_columns,), object
        """
        check_is_fitted(self, "layout_")
        learners = [f"classifier{u}" for u in range(self.layout_.n_classifiers)]
        if len(self.classes_) == 2:
            return np.array(learners, dtype=object)
        return np.array([f"{u}_{k}" for u in learners for k in self.classes_], dtype=object)

    def explain(self, X: ArrayLike) -> np.ndarray:
        """Return the contribution of every base learner to the score of every row.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classifiers) or (n_samples, n_classes, n_classifiers)
            The contributions sum to :meth:`decision_function`; each includes an equal share of the
            intercept.
        """
        data = self._new_data(X)
        return self._predictor.contributions(data)
