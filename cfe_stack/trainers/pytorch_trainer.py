"""The PyTorch trainer: parameters, checks and results; the descent is in torch_descent."""

import logging
import warnings
from collections.abc import Iterable
from typing import Literal, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.factor_model.confidence import AdaptiveConfidence, ConfidenceName, make_confidence
from cfe_stack.losses import objective
from cfe_stack.losses.class_weight import ClassWeight
from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.losses.link import LinkName
from cfe_stack.losses.raw_scores import probabilities
from cfe_stack.losses.schedules import Schedule
from cfe_stack.runtime.optional_packages import import_extra
from cfe_stack.runtime.parameter_checks import check_flag, check_integer, check_real
from cfe_stack.runtime.progress import progress_bar
from cfe_stack.runtime.rollback import restore_on_failure
from cfe_stack.runtime.warning_location import user_stacklevel
from cfe_stack.trainers.aggregators import JOINT_AGGREGATORS, Aggregator, make_aggregator
from cfe_stack.trainers.base import BaseTrainer
from cfe_stack.trainers.history import TrainingHistory
from cfe_stack.trainers.initial_factors import start_model
from cfe_stack.trainers.joint_objective import DescentResult, Plateau
from cfe_stack.trainers.supervision import Supervision

logger = logging.getLogger(__name__)

SCORE_BLOCK_ROWS = 1 << 16
"""Number of instances that are scored at a time."""
CHOICES = {
    "optimizer": ("adam", "adamw", "sgd", "lbfgs"),
    "instance_factors": ("free", "projected"),
    "init": ("random", "spectral"),
    "dtype": ("float32", "float64"),
    "device": ("auto", "cpu", "cuda"),
}


class CFEnsemblePyTorchTrainer(BaseTrainer):
    r"""Factorize the ensemble matrix and train the aggregator by joint gradient descent.

    Gradient descent minimizes ρ · L_recon + (1 − ρ) · L_sup, the objective of
    :mod:`cfe_stack.losses.objective`, over factors and aggregator together. Class weights and the
    focal loss act on all parameters. Label-aware confidence is not needed and not available.

    Parameters
    ----------
    n_classifiers : int, default=None
        Expected number of classifiers; None accepts any.
    latent_dim : int, default=20
        Dimension d of the factors.
    rho : float, default=0.5
        Share of reconstruction in the objective, in [0, 1].
    lambda_reg : float, default=0.01
        Ridge on the factors, at least 0.
    max_epochs : int, default=300
        Maximum number of passes over the data; for L-BFGS, of runs of up to 20 steps.
    tol : float, default=1e-4
        Minimum relative decrease of the objective that counts as an improvement; 0 runs all epochs.
    optimizer : {"adam", "adamw", "sgd", "lbfgs"}, default="adam"
        ``"adamw"`` adds weight decay to the ridge of the objective; ``"sgd"`` has momentum 0.9.
    lr : float, default=None
        Learning rate; None means 0.01 for Adam and AdamW, 0.1 for SGD, 1 for L-BFGS.
    batch_size : int, default=None
        Number of instances per step; None uses all at once. With a batch size, large matrices and
        memory maps are read batch by batch.
    patience : int, default=10
        Number of epochs without an improvement after which training stops. The learning rate is
        halved after half of them. The best state is restored.
    instance_factors : {"projected", "free"}, default="projected"
        ``"projected"``: the label-free fold-in, as a differentiable function of the classifier
        factors, so that training uses the same factors as prediction. ``"free"``: parameters, as in
        the original method; they absorb the labels.
    aggregator_type : {"weighted", "mean", "log_pool", "gated_pool"}, default="weighted"
        Logistic unit on the reconstruction, plain average, logarithmic opinion pool, or gated pool.
        The weights of a gated pool change with tanh of a linear function of the instance factors,
        which is initialized with the first factor.
    confidence : {"certainty", "uniform", "calibration", "adaptive"}, default="certainty"
        Weight of a cell.
    adaptive_shares : tuple of three floats, default=(0.5, 0.3, 0.2)
        Shares of certainty, calibration and agreement in ``confidence="adaptive"``.
    use_class_weights : bool or callable, default=True
        Whether the supervised loss uses `class_weight`. A schedule maps progress in [0, 1] to the
        exponent of these weights, from 0 (no weights) to 1 (full weights).
    class_weight : dict, "balanced" or None, default="balanced"
        Weights of the classes; ``"balanced"`` gives all classes the same total weight.
    focal_gamma : float or callable, default=0.0
        Focusing parameter, or a schedule that maps progress in [0, 1] to it, such as
        :class:`cfe_stack.losses.LinearSchedule`. With a schedule all epochs are run.
    focal_delta : float, default=None
        Smoothing constant; None means 1e-3 for 0 < gamma < 1 and 0 otherwise.
    focal_alpha : float, default=None
        Weight α of the positive class, 1 − α of the other, times the class weight.
    init : {"spectral", "random"}, default="spectral"
        Leading principal axes of the linked predictions, or small random factors.
    init_prior : bool, default=True
        Initialize the intercept with the weighted log-odds of the classes instead of 0.
    link : {"identity", "logit"}, default="identity"
        Scale of the factorization.
    standardize : bool, default=False
        Center and scale the linked predictions of every classifier, and learn a bias for each.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Device of the computation; ``"auto"`` uses a GPU if there is one.
    dtype : {"float32", "float64"}, default="float32"
        Precision of the descent.
    compile : bool, default=False
        Compile the objective with ``torch.compile``, which pays off on large data only.
    progress : bool, default=False
        Show a progress bar on stderr, if that is a terminal (needs tqdm).
    random_state : int, RandomState or None, default=None
        Seed of random factors and of the batches.
    verbose : int, default=0
        Log every `verbose`-th epoch at level INFO.

    Attributes
    ----------
    classifier_factors_ : ndarray of shape (latent_dim, n_classifiers[, n_classes])
    instance_factors_ : ndarray of shape (latent_dim, n_instances)
        Factors of the training instances. Free factors depend on labels.
    weights_ : ndarray of shape (n_classifiers,)
    intercept_ : float or ndarray of shape (n_classes,)
    gate_ : ndarray of shape (n_classifiers,)
        Change of the weights per unit of the gate; only with the gated pool.
    transductive_proba_ : ndarray of shape (n_instances, n_classes)
        Probabilities of all training instances, labeled or not, computed from their factors.
    factor_model_ : FactorModel
        The label-free fold-in.
    history_ : TrainingHistory
        Objective, its parts and γ after every epoch.
    n_iter_ : int

    Raises
    ------
    ValueError
        In `fit`, if a parameter is outside its range or does not fit the data.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        If the descent diverged, or did not converge within `max_epochs` epochs.
    CollapsedAggregatorWarning
        If the predictions of the aggregator are constant, or its ranking is reversed or lost.

    Notes
    -----
    A fitted trainer contains NumPy arrays only and predicts without torch. A keyboard interrupt
    ends the descent and keeps the best state so far.

    References
    ----------
    .. [1] T.-Y. Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017.

    Examples
    --------
    >>> from cfe_stack import CFEnsemblePyTorchTrainer, EnsembleData
    >>> from cfe_stack.datasets import make_ensemble
    >>> made = make_ensemble(n_classifiers=5, n_instances=200, random_state=0)
    >>> trainer = CFEnsemblePyTorchTrainer(latent_dim=2, optimizer="lbfgs", lambda_reg=1.0)
    >>> trainer.fit(EnsembleData(made.R, made.labels))  # doctest: +SKIP
    >>> trainer.predict_proba(made.R).shape  # doctest: +SKIP
    (200, 2)
    """

    # one learning rate `lr` for all parameters, and the gradient of the loss itself
    aggregator_lr = 0.0
    focal_gradient = "exact"
    _to_convergence = "optimizer='lbfgs', more epochs"

    def __init__(
        self,
        n_classifiers: int | None = None,
        latent_dim: int = 20,
        rho: float = 0.5,
        lambda_reg: float = 0.01,
        max_epochs: int = 300,
        tol: float = 1e-4,
        *,
        optimizer: Literal["adam", "adamw", "sgd", "lbfgs"] = "adam",
        lr: float | None = None,
        batch_size: int | None = None,
        patience: int = 10,
        instance_factors: Literal["free", "projected"] = "projected",
        aggregator_type: str = "weighted",
        confidence: ConfidenceName = "certainty",
        adaptive_shares: tuple[float, float, float] = (0.5, 0.3, 0.2),
        use_class_weights: bool | Schedule = True,
        class_weight: ClassWeight = "balanced",
        focal_gamma: float | Schedule = 0.0,
        focal_delta: float | None = None,
        focal_alpha: float | None = None,
        init: Literal["random", "spectral"] = "spectral",
        init_prior: bool = True,
        link: LinkName = "identity",
        standardize: bool = False,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        dtype: Literal["float32", "float64"] = "float32",
        compile: bool = False,
        progress: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.n_classifiers = n_classifiers
        self.latent_dim = latent_dim
        self.rho = rho
        self.lambda_reg = lambda_reg
        self.max_epochs = max_epochs
        self.tol = tol
        self.optimizer, self.lr = optimizer, lr
        self.batch_size = batch_size
        self.patience = patience
        self.instance_factors = instance_factors
        self.aggregator_type = aggregator_type
        self.confidence, self.adaptive_shares = confidence, adaptive_shares
        self.use_class_weights, self.class_weight = use_class_weights, class_weight
        self.focal_gamma, self.focal_delta = focal_gamma, focal_delta
        self.focal_alpha = focal_alpha
        self.init, self.init_prior = init, init_prior
        self.link = link
        self.standardize = standardize
        self.device, self.dtype = device, dtype
        self.compile = compile
        self.progress = progress
        self.random_state = random_state
        self.verbose = verbose

    @restore_on_failure()
    def fit(self, data: EnsembleData, y: None = None) -> Self:
        """Learn factors and aggregator.

        Parameters
        ----------
        data : EnsembleData
            Instances without a label are used in the factorization only. The data are loaded
            completely unless `batch_size` is given.
        y : None
            Ignored; labels are part of `data`.

        Raises
        ------
        MissingExtraError
            If torch is not installed.
        """
        self.check_parameters()
        predicted = self._check_data(data)
        from cfe_stack.trainers.torch_descent import descend

        supervision = Supervision.of(self, data)
        strategy = make_confidence(self.confidence, adaptive_shares=self.adaptive_shares)
        model = start_model(self, data, strategy.fit(data))
        self.history_ = TrainingHistory()
        plateau = Plateau(self.patience, 0.0 if supervision.is_scheduled else self.tol)
        found = descend(self, model, data, supervision, plateau)
        self.n_iter_ = len(self.history_)
        if plateau.tol > 0 and not plateau.stalled and self.n_iter_ == self.max_epochs:
            self._warn_not_converged()
        if not np.isfinite(self.history_["objective"]).all():
            warnings.warn(
                f"The descent diverged in epoch {self.n_iter_}: the objective is not finite. The "
                "best previous state is kept. Lower lr, or use optimizer='lbfgs'.",
                ConvergenceWarning,
                stacklevel=2,
            )
        self.factor_model_ = model.with_factors(found.factors, found.bias)
        self._aggregator = self._fitted_aggregator(found, data)
        # instances of weight 0 did not take part: their factors are the fold-ins
        absent = data.frequencies == 0
        if absent.any():
            found.Y[:, absent] = self.factor_model_.fold_in(data)[:, absent]
        self.instance_factors_ = found.Y
        parts = [
            slice(k, k + SCORE_BLOCK_ROWS) for k in range(0, data.n_instances, SCORE_BLOCK_ROWS)
        ]
        self.transductive_proba_ = np.concatenate(
            [probabilities(self._scores(found.Y[:, k], predicted[k])) for k in parts]
        )
        self._warn_if_collapsed(data, supervision, self.instance_factors == "projected")
        return self

    def _fitted_aggregator(self, found: DescentResult, data: EnsembleData) -> Aggregator:
        """Return the aggregator at the point where the descent ended."""
        aggregator = make_aggregator(self.aggregator_type, data.n_classes, known=JOINT_AGGREGATORS)
        b = found.intercept
        aggregator.start(data.n_classifiers, float(b[0]) if data.n_classes == 2 else b)
        if aggregator.learns:
            aggregator.weights_, aggregator.gate = found.weights, found.gate
        return aggregator

    @property
    def gate_(self) -> np.ndarray:
        """Change of the weights per unit of the gate (n_classifiers,); of the gated pool only."""
        check_is_fitted(self, "factor_model_")
        if self._aggregator.gate is None:
            raise AttributeError("Only aggregator_type='gated_pool' has a gate.")
        return self._aggregator.gate.weights

    def check_parameters(self) -> None:
        """Raise ValueError if a parameter is invalid."""
        super().check_parameters()
        import_extra("torch", extra="torch")
        make_aggregator(self.aggregator_type, 2, known=JOINT_AGGREGATORS)
        make_confidence(self.confidence, adaptive_shares=self.adaptive_shares)
        AdaptiveConfidence(self.adaptive_shares)
        if self.confidence == "label_aware":
            raise ValueError(
                "confidence='label_aware' is available for the ALS trainer only. In joint descent, "
                "labels affect the factors through the objective. Use 'certainty' or another "
                "strategy."
            )
        for name, allowed in CHOICES.items():
            if str(getattr(self, name)) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}.")
        for name in ("compile", "progress"):
            check_flag(name, getattr(self, name))
        check_integer("max_epochs", self.max_epochs, 1)
        check_integer("patience", self.patience, 1)
        check_real("tol", self.tol, 0)
        if self.lr is not None:
            check_real("lr", self.lr, 0, above=True)
        if self.batch_size is not None:
            check_integer("batch_size", self.batch_size, 1)
            if self.optimizer == "lbfgs":
                raise ValueError(
                    "optimizer='lbfgs' needs all data in every step. Omit batch_size, or use "
                    "optimizer='adam'."
                )

    def _record(self, rho: float, parts: tuple[float, float], loss: FocalLoss) -> float:
        """Record the objective of an epoch."""
        reconstruction, supervised = parts
        value = objective.combined(rho, reconstruction, supervised)
        self.history_.append(
            objective=value,
            reconstruction=reconstruction,
            supervised=supervised,
            focal_gamma=loss.gamma,
        )
        if self.verbose and len(self.history_) % self.verbose == 0:
            logger.info("epoch %d: %s", len(self.history_), self.history_.records[-1])
        return value

    def _epochs(self) -> Iterable[int]:
        epochs = range(self.max_epochs)
        return progress_bar(epochs, self.max_epochs, "joint descent", self.progress, "epoch")

    def _warn_not_converged(self) -> None:
        warnings.warn(
            f"Joint descent did not converge in {self.max_epochs} epochs: within {self.patience} "
            f"epochs the objective fell by more than tol={self.tol:g} of its size. Increase "
            "max_epochs, lr or tol, or use optimizer='lbfgs'.",
            ConvergenceWarning,
            stacklevel=user_stacklevel(),
        )
