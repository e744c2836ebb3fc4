"""The ALS trainer: closed-form factors with label-aware confidence, and an aggregator."""

import logging
import warnings
from collections.abc import Iterator
from typing import Any, Literal, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.factor_model.confidence import AdaptiveConfidence, ConfidenceName, make_confidence
from cfe_stack.factor_model.factor_model import FactorModel
from cfe_stack.factor_model.normal_equations import ClassifierEquations
from cfe_stack.factor_model.passes import Passes, check_engine
from cfe_stack.losses import objective
from cfe_stack.losses.class_weight import ClassWeight
from cfe_stack.losses.link import LinkName
from cfe_stack.losses.raw_scores import probabilities
from cfe_stack.losses.schedules import Schedule
from cfe_stack.runtime.parameter_checks import check_flag, check_integer, check_real
from cfe_stack.runtime.progress import progress_bar
from cfe_stack.runtime.rollback import restore_on_failure
from cfe_stack.runtime.warning_location import user_stacklevel
from cfe_stack.trainers.aggregators import Aggregator, Solver, make_aggregator
from cfe_stack.trainers.base import BaseTrainer
from cfe_stack.trainers.history import TrainingHistory
from cfe_stack.trainers.initial_factors import spectral_factors, start_model
from cfe_stack.trainers.labeled_features import LabeledFeatures
from cfe_stack.trainers.majorization import MajorizedAggregator, check_majorizable, run_majorized
from cfe_stack.trainers.supervision import Supervision
from cfe_stack.trainers.sweep import StartFactors, Sweep, SweepStep, keeps_factors, passed_over

logger = logging.getLogger(__name__)

OPTIONAL_ATTRIBUTES = frozenset(("instance_factors_", "transductive_proba_"))
"""Attributes that grow with the number of instances and are kept on request."""


class CFEnsembleTrainer(BaseTrainer):
    r"""Factorize the ensemble matrix by alternating least squares, and train an aggregator.

    Every sweep solves the classifier factors and then the instance factors in closed form. The
    aggregator then takes a gradient step, or is solved. Class weights and the focal loss act on the
    aggregator only; labels affect the factors through label-aware confidence.

    Parameters
    ----------
    n_classifiers : int, default=None
        Expected number of classifiers; None accepts any.
    latent_dim : int, default=20
        Dimension d of the factors.
    rho : float, default=0.5
        Share of reconstruction in the objective, in [0, 1]. Unless ``supervision="majorize"``, it
        affects the history and the stopping rule only, not the updates.
    lambda_reg : float, default=0.01
        Ridge on the factors, at least 0.
    max_iter : int, default=100
        Maximum number of sweeps.
    tol : float, default=1e-4
        Relative change of the objective at which training stops; 0 runs all sweeps.
    aggregator_type : {"weighted", "mean", "log_pool"}, default="weighted"
        Logistic unit on the reconstruction, plain average, or logarithmic opinion pool.
    aggregator_lr : float, default=0.01
        Size of the weighted aggregator's gradient step.
    aggregator_solver : {"gradient", "converged"}, default="gradient"
        One gradient step of the weighted aggregator per sweep, or its optimum.
    freeze_aggregator_iters : int, default=0
        Number of initial sweeps in which the aggregator keeps its initial weights.
    confidence : {"certainty", "uniform", "calibration", "adaptive"}, default="certainty"
        Base weight of a cell.
    adaptive_shares : tuple of three floats, default=(0.5, 0.3, 0.2)
        Shares of certainty, calibration and agreement in ``confidence="adaptive"``.
    use_label_aware_confidence : bool, default=True
        Multiply confidences in training by 1 + α · (probability of the true class).
    label_aware_alpha : float, default=1.0
        Strength α of label-aware confidence.
    supervision : {"confidence", "majorize"}, default="confidence"
        How labels affect the factors: through label-aware confidence, or through the supervised
        part of the objective (see Notes), which disables label-aware confidence.
    use_class_weights : bool or callable, default=True
        Whether the supervised loss uses `class_weight`. A schedule maps progress in [0, 1] to the
        exponent of these weights, from 0 (no weights) to 1 (full weights).
    class_weight : dict, "balanced" or None, default="balanced"
    focal_gamma : float or callable, default=0.0
        Focusing parameter, or a schedule that maps progress in [0, 1] to it, such as
        :class:`cfe_stack.losses.LinearSchedule`.
    focal_delta : float, default=None
        Smoothing constant; None means 1e-3 for 0 < gamma < 1 and 0 otherwise.
    focal_alpha : float, default=None
        Weight α of the positive class, 1 − α of the other, times the class weight.
    focal_gradient : {"exact", "reweighted"}, default="exact"
        Gradient of the loss, or the published rule, which is not the gradient of any loss.
    init : {"random", "spectral"}, default="random"
        Random instance factors, as in the original method, or the leading principal axes of the
        linked predictions, which are deterministic and independent of the order of rows.
    init_prior : bool, default=True
        Initialize the intercept with the weighted log-odds of the classes instead of 0.
    link : {"identity", "logit"}, default="identity"
        Scale of the factorization.
    standardize : bool, default=False
        Center and scale the linked predictions of every classifier, and learn a bias for each.
    n_jobs : int, default=None
        Number of threads over blocks of instances. It does not change a bit of the result. None
        uses as many as BLAS may use (respecting ``OMP_NUM_THREADS``), −1 all processors.
    store_instance_factors : bool or "auto", default="auto"
        Keep `instance_factors_` and `transductive_proba_`, which grow with the number of
        instances. ``"auto"`` keeps them up to 128 MiB.
    random_state : int, RandomState or None, default=None
        Seed of the start factors.
    verbose : int, default=0
        Log every `verbose`-th sweep at level INFO.
    progress : bool, default=False
        Show a progress bar over the sweeps in a terminal (needs tqdm).

    Attributes
    ----------
    classifier_factors_ : ndarray of shape (latent_dim, n_classifiers[, n_classes])
    instance_factors_ : ndarray of shape (latent_dim, n_instances)
        Factors of the training instances. With label-aware confidence they depend on labels. Only
        available if stored, like `transductive_proba_`.
    weights_ : ndarray of shape (n_classifiers,)
    intercept_ : float or ndarray of shape (n_classes,)
    transductive_proba_ : ndarray of shape (n_instances, n_classes)
        Probabilities of all training instances, labeled or not, computed from their factors.
    factor_model_ : FactorModel
        The label-free fold-in.
    history_ : TrainingHistory
        Objective, its parts and the aggregator's γ after every sweep.
    n_iter_ : int

    Raises
    ------
    ValueError
        In `fit`, if a parameter is outside its range or does not fit the data.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        If training did not converge to `tol` within `max_iter` sweeps.
    CollapsedAggregatorWarning
        If the predictions of the aggregator are constant, or its ranking is reversed.

    Notes
    -----
    The objective is ρ · L_recon + (1 − ρ) · L_sup, see :mod:`cfe_stack.losses.objective`. At fixed
    weights C the reconstruction never rises over a sweep:

    .. math:: x_u = (Y C_u Y^T + \lambda I)^{-1} Y C_u z_u, \qquad
        y_i = (X C_i X^T + \lambda I)^{-1} X C_i z_i.

    ``supervision="majorize"`` minimizes the full objective, which then never rises. A parabola that
    bounds the loss from above enters the classifiers' equations as one more row
    (:mod:`cfe_stack.trainers.majorization`). Aggregator and instance factors are solved together
    (:mod:`cfe_stack.trainers.elimination`); this takes d² numbers of memory per labeled instance if
    confidences differ between instances. Instance factors absorb the labels. An aggregator for new
    instances must therefore be fitted to label-free fold-ins, as
    :class:`cfe_stack.CFEnsembleClassifier` does.

    References
    ----------
    .. [1] Y. Hu, Y. Koren, C. Volinsky, "Collaborative Filtering for Implicit Feedback Datasets",
       ICDM 2008, equations 4 and 5.

    Examples
    --------
    >>> from cfe_stack import CFEnsembleTrainer, EnsembleData
    >>> from cfe_stack.datasets import make_ensemble
    >>> made = make_ensemble(n_classifiers=5, n_instances=200, random_state=0)
    >>> trainer = CFEnsembleTrainer(latent_dim=2, random_state=0)
    >>> trainer.fit(EnsembleData(made.R, made.labels)).predict_proba(made.R).shape
    (200, 2)
    """

    def __init__(
        self,
        n_classifiers: int | None = None,
        latent_dim: int = 20,
        rho: float = 0.5,
        lambda_reg: float = 0.01,
        max_iter: int = 100,
        tol: float = 1e-4,
        *,
        aggregator_type: str = "weighted",
        aggregator_lr: float = 0.01,
        aggregator_solver: Solver = "gradient",
        freeze_aggregator_iters: int = 0,
        confidence: ConfidenceName = "certainty",
        adaptive_shares: tuple[float, float, float] = (0.5, 0.3, 0.2),
        use_label_aware_confidence: bool = True,
        label_aware_alpha: float = 1.0,
        supervision: Literal["confidence", "majorize"] = "confidence",
        use_class_weights: bool | Schedule = True,
        class_weight: ClassWeight = "balanced",
        focal_gamma: float | Schedule = 0.0,
        focal_delta: float | None = None,
        focal_alpha: float | None = None,
        focal_gradient: Literal["exact", "reweighted"] = "exact",
        init: Literal["random", "spectral"] = "random",
        init_prior: bool = True,
        link: LinkName = "identity",
        standardize: bool = False,
        n_jobs: int | None = None,
        store_instance_factors: bool | Literal["auto"] = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        progress: bool = False,
    ) -> None:
        self.n_classifiers = n_classifiers
        self.latent_dim = latent_dim
        self.rho = rho
        self.lambda_reg = lambda_reg
        self.max_iter = max_iter
        self.tol = tol
        self.aggregator_type = aggregator_type
        self.aggregator_lr = aggregator_lr
        self.aggregator_solver = aggregator_solver
        self.freeze_aggregator_iters = freeze_aggregator_iters
        self.confidence, self.adaptive_shares = confidence, adaptive_shares
        self.use_label_aware_confidence = use_label_aware_confidence
        self.label_aware_alpha = label_aware_alpha
        self.supervision = supervision
        self.use_class_weights, self.class_weight = use_class_weights, class_weight
        self.focal_gamma, self.focal_delta = focal_gamma, focal_delta
        self.focal_alpha = focal_alpha
        self.focal_gradient = focal_gradient
        self.init, self.init_prior = init, init_prior
        self.link = link
        self.standardize = standardize
        self.n_jobs = n_jobs
        self.store_instance_factors = store_instance_factors
        self.random_state = random_state
        self.verbose, self.progress = verbose, progress

    @restore_on_failure()
    def fit(self, data: EnsembleData, y: None = None) -> Self:
        """Learn factors and aggregator.

        Parameters
        ----------
        data : EnsembleData
            Instances without a label are used in the factorization only.
        y : None
            Ignored; labels are part of `data`.
        """
        self.check_parameters()
        predicted = self._check_data(data)
        supervision = Supervision.of(self, data)
        aggregator = self._make_aggregator(data)
        intercept = supervision.intercept(data.n_classes, self.init_prior)
        aggregator.start(data.n_classifiers, intercept)
        self._aggregator, self.history_ = aggregator, TrainingHistory()
        for name in OPTIONAL_ATTRIBUTES & vars(self).keys():
            delattr(self, name)
        run = run_majorized if self.supervision == "majorize" else run_plain
        with Passes(self.n_jobs) as passes:
            model, Y = run(self, data, supervision, passes)
        self.n_iter_ = len(self.history_)
        self.factor_model_ = model
        if Y is not None and keeps_factors(self.store_instance_factors, self.latent_dim, data):
            self.instance_factors_ = Y
            self.transductive_proba_ = probabilities(self._scores(Y, predicted))
        self._warn_if_collapsed(data, supervision, False)
        return self

    def _sweeps(self, supervision: Supervision) -> Iterator[int]:
        """Yield sweep numbers until the objective has converged; warn if it has not."""
        numbers = range(self.max_iter)
        for sweep in progress_bar(numbers, self.max_iter, "ALS", self.progress, "sweep"):
            yield sweep
            # an aggregator that has just been freed is given one sweep to change the objective
            moving = sweep > self.freeze_aggregator_iters or not len(supervision.rows)
            if moving and 0 < self.tol and self.history_.relative_change() < self.tol:
                return
        self._warn_not_converged()

    def check_parameters(self) -> None:
        """Raise ValueError if a parameter is invalid."""
        super().check_parameters()
        make_aggregator(self.aggregator_type, 2, self.aggregator_lr, self.aggregator_solver)
        make_confidence(self.confidence, label_aware_alpha=self.label_aware_alpha, label_aware=True)
        AdaptiveConfidence(self.adaptive_shares)
        if str(self.init) not in ("random", "spectral"):
            raise ValueError(f"init must be 'random' or 'spectral', got {self.init!r}.")
        if str(self.supervision) not in ("confidence", "majorize"):
            raise ValueError(
                f"supervision must be 'confidence' or 'majorize', got {self.supervision!r}."
            )
        check_flag("use_label_aware_confidence", self.use_label_aware_confidence)
        check_flag("progress", self.progress)
        if self.confidence == "label_aware" and not self._label_aware:
            raise ValueError(
                "confidence='label_aware' needs use_label_aware_confidence=True and "
                "supervision='confidence'; got "
                f"use_label_aware_confidence={self.use_label_aware_confidence!r} and "
                f"supervision={self.supervision!r}. Pass confidence='certainty' to go without "
                "labels."
            )
        check_integer("max_iter", self.max_iter, 1)
        check_integer("freeze_aggregator_iters", self.freeze_aggregator_iters, 0)
        check_real("tol", self.tol, 0)
        check_engine(self.n_jobs, self.store_instance_factors)

    @property
    def _label_aware(self) -> bool:
        """Whether labels increase the confidence of cells in training."""
        return self.use_label_aware_confidence and self.supervision == "confidence"

    def _make_aggregator(self, data: EnsembleData) -> Aggregator:
        if self.supervision == "majorize":
            check_majorizable(self)
            return MajorizedAggregator()
        return make_aggregator(
            self.aggregator_type, data.n_classes, self.aggregator_lr, self.aggregator_solver
        )

    def _start(self, data: EnsembleData, passes: Passes) -> tuple[FactorModel, ClassifierEquations]:
        """Return a model without factors, and the classifiers' equations of the initial ones."""
        strategy = make_confidence(
            self.confidence,
            label_aware=self._label_aware,
            label_aware_alpha=self.label_aware_alpha,
            adaptive_shares=self.adaptive_shares,
        )
        model, start = start_model(self, data, strategy.fit(data)), None
        if self.init == "spectral":
            model = model.with_factors(spectral_factors(model, data), model.bias)
        else:
            random = check_random_state(self.random_state)
            # The original code draws the classifiers' factors first, although the first half-sweep
            # overwrites them. Doing the same reproduces the published figures exactly.
            random.standard_normal(model.factors.shape)
            start = StartFactors(random, self.latent_dim, data)
        return model, passed_over(data, passes, SweepStep(model, self.standardize), start).equations

    def _record(
        self, sweep: int, model: FactorModel, passed: Sweep, supervision: Supervision
    ) -> None:
        """Update the aggregator, and record the objective."""
        progress = sweep / max(self.max_iter - 1, 1)
        supervised, rows = 0.0, supervision.rows_at(progress)
        if len(supervision.rows):
            features = LabeledFeatures.of(model, self._aggregator, passed.labeled)
            if sweep >= self.freeze_aggregator_iters:
                self._aggregator.update(features, rows)
            supervised = features.supervised_loss(rows)
        reconstruction = passed.reconstruction_loss(model)
        self.history_.append(
            objective=objective.combined(supervision.rho, reconstruction, supervised),
            reconstruction=reconstruction,
            supervised=supervised,
            focal_gamma=rows.loss.gamma,
        )
        if self.verbose and sweep % self.verbose == 0:
            logger.info("sweep %d: %s", sweep, self.history_.records[-1])

    def __getattr__(self, name: str) -> Any:
        if name in OPTIONAL_ATTRIBUTES and "factor_model_" in vars(self):
            raise AttributeError(
                f"{name} was not stored, since it grows with the number of instances. Set "
                "store_instance_factors=True, or use predict_proba and transform, which compute "
                "label-free fold-ins."
            )
        return super().__getattribute__(name)

    def _warn_not_converged(self) -> None:
        if self.tol == 0:
            return
        warnings.warn(
            f"ALS did not converge: the objective changed by {self.history_.relative_change():.1e} "
            f"of its size in the last of {self.max_iter} sweeps, more than tol={self.tol:g}. "
            "Increase max_iter or tol. A larger lambda_reg or a smaller latent_dim converges "
            "faster.",
            ConvergenceWarning,
            stacklevel=user_stacklevel(),
        )


def run_plain(
    trainer: CFEnsembleTrainer, data: EnsembleData, supervision: Supervision, passes: Passes
) -> tuple[FactorModel, np.ndarray | None]:
    """Alternate between classifiers and instances, with the aggregator beside them.

    A sweep is one pass over the data: every block solves its instance factors and adds what they
    contribute to the classifiers' normal equations, which the next sweep starts by solving.

    Returns
    -------
    model : FactorModel
        With the classifier factors of the last sweep.
    Y : ndarray of shape (latent_dim, n_instances) or None
        Instance factors, if they are kept.
    """
    Y = None
    if keeps_factors(trainer.store_instance_factors, trainer.latent_dim, data):
        Y = np.full((trainer.latent_dim, data.n_instances), np.nan, dtype=data.R.dtype)
    model, equations = trainer._start(data, passes)
    for sweep in trainer._sweeps(supervision):
        # x_u = (Y C_u Yᵀ + λI)⁻¹ Y C_u z_u, with a last factor that is 1 for the bias
        model = model.with_solution(equations.solve(trainer.lambda_reg))
        passed = passed_over(data, passes, SweepStep(model, trainer.standardize, Y))
        equations = passed.equations
        trainer._record(sweep, model, passed, supervision)
    return model, Y
