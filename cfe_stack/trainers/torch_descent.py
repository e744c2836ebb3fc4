"""Joint descent on the full objective with PyTorch.

No other module of the package imports torch, and no type defined here is stored in a fitted
trainer. Therefore a fitted trainer predicts without torch.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.factor_model.factor_model import FactorModel
from cfe_stack.losses import objective
from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.trainers.aggregators import JOINT_AGGREGATORS, Gate, make_aggregator
from cfe_stack.trainers.initial_factors import spectral_factors
from cfe_stack.trainers.joint_objective import (
    DescentResult,
    JointArrays,
    JointObjective,
    JointParameters,
    Plateau,
    initial_gate,
    shuffled_batches,
)
from cfe_stack.trainers.newton_polish import LocalModel, newton_polish
from cfe_stack.trainers.supervision import Supervision

logger = logging.getLogger(__name__)

START_SCALE = 0.1
MIN_THREADED_CELLS = 200_000
"""Minimum number of cells for more than one thread; with fewer, a second thread costs time."""
MAX_KEPT_CELLS = 1 << 24
"""Maximum number of cells kept as tensors; larger data are read batch by batch in every epoch."""
LBFGS_STEPS = 20
RATES = {"adam": 0.01, "adamw": 0.01, "sgd": 0.1, "lbfgs": 1.0}


@dataclass(eq=False)
class _Batch:
    """A batch of instances, with its tensors if they are kept, and its factors if they are free."""

    rows: np.ndarray
    part: Any = None
    Y: torch.Tensor | None = None


@dataclass(eq=False)
class _Descent:
    """State of a fit: the parameters as tensors, and the objective as a function of them."""

    trainer: Any
    model: FactorModel
    objective: JointObjective
    X: torch.Tensor
    bias: torch.Tensor
    w: torch.Tensor
    b: torch.Tensor
    gate: Gate | None
    read: Callable[[np.ndarray], JointArrays]
    batches: list[_Batch]
    n_instances: int
    generator: torch.Generator

    @property
    def learned(self) -> list[torch.Tensor]:
        """All tensors that the optimizer updates."""
        own = [batch.Y for batch in self.batches if batch.Y is not None]
        if self.gate is not None:
            own += [self.gate.weights, self.gate.direction, self.gate.offset]
        return [p for p in (self.X, self.bias, self.w, self.b, *own) if p.requires_grad]

    def loaded(self, batch: _Batch) -> _Batch:
        """Return the batch with its tensors, reading them from the data unless they are kept."""
        return batch if batch.part else replace(batch, part=self.read(batch.rows))

    @property
    def weights(self) -> torch.Tensor:
        """Weights of the aggregator, which are squares if they must not be negative."""
        return self.w**2 if self.objective.aggregator.nonnegative else self.w

    def instance_factors(self, batch: _Batch) -> torch.Tensor:
        """Return the instance factors (d, n) of a batch."""
        if batch.Y is not None:
            return batch.Y
        return project(self.X, batch.part.C, batch.part.Z - self.bias, self.objective.lambda_reg)

    def parts(self, batch: _Batch, loss: FocalLoss) -> tuple[torch.Tensor, torch.Tensor]:
        """Return estimates of L_recon and L_sup from `batch`."""
        return self.objective.parts(
            batch.part,
            JointParameters(self.X, self.bias, self.weights, self.b, self.gate),
            self.instance_factors(batch),
            loss,
            self.n_instances / len(batch.rows),
            torch,
        )

    def weigh_classes(self, supervision: Supervision, progress: float) -> None:
        """Set the class weights of the schedule at `progress`."""
        factors = torch.as_tensor(supervision.factors_at(progress)).to(self.X)
        omega_sum = float(supervision.weights_at(progress).sum())
        self.objective = replace(self.objective, class_factors=factors, omega_sum=omega_sum)

    def evaluate(self, loss: FocalLoss) -> tuple[float, float]:
        """Return L_recon and L_sup of all data."""
        with torch.no_grad():
            shares = [len(batch.rows) / self.n_instances for batch in self.batches]
            parts = [
                [float(p) for p in self.parts(self.loaded(batch), loss)] for batch in self.batches
            ]
        reconstruction, supervised = np.array(shares) @ np.array(parts)
        return float(reconstruction), float(supervised)

    def snapshot(self) -> list[torch.Tensor]:
        """Return copies of the parameters."""
        return [p.detach().clone() for p in self.learned]

    def restore(self, saved: list[torch.Tensor]) -> None:
        """Restore the parameters of a snapshot."""
        with torch.no_grad():
            for p, values in zip(self.learned, saved, strict=True):
                p.copy_(values)


def project(X: torch.Tensor, C: torch.Tensor, Z: torch.Tensor, ridge: float) -> torch.Tensor:
    """Return the label-free fold-in y = (X C Xᵀ + λI)⁻¹ X C z as a differentiable function.

    Parameters
    ----------
    X : Tensor of shape (d, n_rows)
    C : Tensor of shape (n_classifiers, n) or (n_classifiers, 1)
        One column if all instances have the same weights, and hence the same matrix.
    Z : Tensor of shape (n_rows, n)
        Linked predictions less the bias.
    ridge : float
        Raised where it would vanish in the rounding of a matrix.

    Returns
    -------
    Tensor of shape (d, n)
    """
    d, m = len(X), len(C)
    repeats = len(Z) // m
    products = (X[:, None] * X[None]).reshape(d * d, m, repeats).sum(2)
    gram = (products @ C).T.reshape(-1, d, d)
    eps = torch.finfo(X.dtype).eps
    rounding = 8 * d * eps * gram.detach().diagonal(dim1=1, dim2=2).amax(1)
    ridges = rounding.clamp(min=max(ridge, eps))
    matrices = gram + ridges[:, None, None] * torch.eye(d, dtype=X.dtype, device=X.device)
    right_sides = X @ (C.repeat_interleave(repeats, 0) * Z)
    # a failed factorization, from a diverging descent, gives NaN, which ends the descent
    factors, failed = torch.linalg.cholesky_ex(matrices)
    factors = factors.masked_fill(failed[:, None, None] > 0, torch.nan)
    if C.shape[1] == 1:
        return torch.cholesky_solve(right_sides, factors[0])
    return torch.cholesky_solve(right_sides.T[:, :, None], factors)[:, :, 0].T


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device='cuda', but torch finds no CUDA device; use device='auto'.")
    return torch.device(name)


@contextmanager
def _threads(n_cells: int) -> Iterator[None]:
    """Use one thread for small problems, and restore torch's number of threads afterward."""
    before = torch.get_num_threads()
    if n_cells < MIN_THREADED_CELLS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def descend(
    trainer: Any, model: FactorModel, data: EnsembleData, supervision: Supervision, plateau: Plateau
) -> DescentResult:
    """Minimize the objective.

    Parameters
    ----------
    trainer : CFEnsemblePyTorchTrainer
        Provides the parameters, and records every epoch.
    model : FactorModel
        Without factors.
    data : EnsembleData
    supervision : Supervision
    plateau : Plateau
        Stopping rule.
    """
    with _threads(data.R.size):
        state = _start(trainer, model, data, supervision)
        _run(trainer, state, supervision, plateau)

        def array(tensor: torch.Tensor) -> np.ndarray:
            return tensor.detach().cpu().numpy().astype(np.float64)

        Y = np.empty((trainer.latent_dim, data.n_instances))
        for batch in state.batches:
            Y[:, batch.rows] = array(state.instance_factors(state.loaded(batch)))
        gate = state.gate
        return DescentResult(
            factors=array(state.X),
            bias=array(state.bias)[:, 0],
            weights=array(state.weights),
            intercept=array(state.b),
            Y=Y,
            gate=gate and Gate(array(gate.weights), array(gate.direction), array(gate.offset)),
        )


def _start(
    trainer: Any, model: FactorModel, data: EnsembleData, supervision: Supervision
) -> _Descent:
    """Return the initial state."""
    device, dtype = _device(trainer.device), getattr(torch, trainer.dtype)
    seed = int(check_random_state(trainer.random_state).randint(np.iinfo(np.int32).max))
    generator = torch.Generator().manual_seed(seed)
    if trainer.init == "spectral":
        factors = spectral_factors(model, data)
    else:
        shape = model.factors.shape
        factors = START_SCALE * torch.randn(shape, generator=generator, dtype=dtype).numpy()
    model = model.with_factors(factors, model.bias)

    def tensor(values: Any) -> torch.Tensor:
        kind = torch.int64 if values.dtype.kind == "i" else dtype
        own = torch.tensor(values, dtype=kind)
        # copies from pinned memory overlap with computation
        own = own.pin_memory() if device.type == "cuda" else own
        return own.to(device, non_blocking=True)

    def read(rows: np.ndarray) -> JointArrays:
        part = JointArrays.of(data, model, supervision, trainer.dtype, rows)
        if (part.C == part.C[:, :1]).all():
            part = replace(part, C=part.C[:, :1])
        return part.map(tensor)

    aggregator = make_aggregator(trainer.aggregator_type, data.n_classes, known=JOINT_AGGREGATORS)
    weights = np.full(data.n_classifiers, 1 / data.n_classifiers)
    intercept = np.atleast_1d(supervision.intercept(data.n_classes, trainer.init_prior))
    gate = initial_gate(data, model) if trainer.aggregator_type == "gated_pool" else None
    # weights that may not be negative are squares of what the optimizer moves
    moved = np.sqrt(weights) if aggregator.nonnegative else weights
    state = _Descent(
        trainer=trainer,
        model=model,
        objective=JointObjective(
            link=model.link,
            aggregator=aggregator,
            lambda_reg=float(trainer.lambda_reg),
            scale=tensor(model.scale[:, None]),
            shift=tensor(model.shift[:, None]),
            n_cells=sum(float(b.observed.sum(axis=0) @ b.sample_weight) for b in data.blocks()),
            omega_sum=float(supervision.weights.sum()),
        ),
        X=tensor(factors).requires_grad_(),
        bias=tensor(model.bias[:, None]).requires_grad_(trainer.standardize),
        w=tensor(moved).requires_grad_(aggregator.learns),
        b=tensor(intercept.astype(float)).requires_grad_(aggregator.learns),
        gate=gate and Gate(*(tensor(getattr(gate, f.name)).requires_grad_() for f in fields(gate))),
        read=read,
        batches=[],
        n_instances=data.n_instances,
        generator=generator,
    )
    _divide(trainer, state, keep=data.R.size <= MAX_KEPT_CELLS)
    return state


def _divide(trainer: Any, state: _Descent, keep: bool) -> None:
    """Divide the instances into batches, and `keep` their tensors or read them in every step."""
    n, size = state.n_instances, trainer.batch_size or state.n_instances
    shuffled = partial(torch.randperm, generator=state.generator)
    for rows in shuffled_batches(n, size, lambda k: shuffled(k).numpy()):
        batch = _Batch(rows)
        if keep or size >= n:
            batch.part = state.read(rows)
        if trainer.instance_factors == "free":
            batch.Y = _free(trainer, state, state.loaded(batch))
        state.batches.append(batch)


def _free(trainer: Any, state: _Descent, batch: _Batch) -> torch.Tensor:
    """Return free instance factors of a batch."""
    X = state.X.detach()
    if trainer.init == "spectral":
        with torch.no_grad():
            Y = state.instance_factors(batch)
    else:
        shape = (len(X), len(batch.rows))
        Y = START_SCALE * torch.randn(shape, generator=state.generator, dtype=X.dtype)
    return Y.to(X.device).contiguous().requires_grad_()


def _run(trainer: Any, state: _Descent, supervision: Supervision, plateau: Plateau) -> None:
    """Run epochs until the objective stalls, and restore the best parameters."""
    optimizer = _make_optimizer(trainer, state.learned)
    steps = torch.compile(state.parts) if trainer.compile else state.parts
    constant = not supervision.is_scheduled
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=trainer.patience // 2, threshold=trainer.tol
    )
    best = state.snapshot()
    try:
        for epoch in trainer._epochs():
            progress = epoch / max(trainer.max_epochs - 1, 1)
            loss = supervision.loss_at(progress)
            if callable(supervision.share):
                state.weigh_classes(supervision, progress)
            for k in torch.randperm(len(state.batches), generator=state.generator).tolist():
                _step(optimizer, steps, state.loaded(state.batches[k]), supervision.rho, loss)
            value = trainer._record(supervision.rho, state.evaluate(loss), loss)
            # a schedule changes the objective in every epoch, so the last state is the result
            if plateau.is_best(value) or not constant:
                best = state.snapshot()
            if plateau.stalled or not np.isfinite(value):
                break
            if trainer.optimizer != "lbfgs" and constant:
                schedule.step(value)
        if trainer.optimizer == "lbfgs" and trainer.dtype == "float64" and plateau.stalled:
            _polish(state, best, supervision.rho, loss)
            trainer._record(supervision.rho, state.evaluate(loss), loss)
            best = state.snapshot()
    except KeyboardInterrupt:
        logger.warning("interrupted after %d epochs: the best state is kept", len(trainer.history_))
    state.restore(best)


def _polish(state: _Descent, best: list[torch.Tensor], rho: float, loss: FocalLoss) -> None:
    """Apply Newton steps, which are more accurate than the line search of L-BFGS."""
    learned = state.learned
    sizes = [p.numel() for p in learned]

    def flat(tensors: Sequence[torch.Tensor]) -> np.ndarray:
        return np.concatenate([t.detach().cpu().numpy().ravel() for t in tensors])

    def tensors(vector: np.ndarray) -> list[torch.Tensor]:
        parts = torch.as_tensor(vector.ravel(), device=state.X.device).split(sizes)
        return [part.reshape(p.shape) for part, p in zip(parts, learned, strict=True)]

    def derivative(value: torch.Tensor, create: bool) -> Sequence[torch.Tensor]:
        # without labels the objective does not depend on the aggregator
        return torch.autograd.grad(
            value, learned, retain_graph=True, create_graph=create, materialize_grads=True
        )

    def local_model(point: np.ndarray) -> LocalModel:
        state.restore(tensors(point))
        value = objective.combined(rho, *state.parts(state.batches[0], loss))
        slopes = derivative(value, True)

        def product(direction: np.ndarray) -> np.ndarray:
            along = [
                (slope * part).sum() for slope, part in zip(slopes, tensors(direction), strict=True)
            ]
            return flat(derivative(torch.stack(along).sum(), False))

        return LocalModel(float(value.detach()), flat(slopes), product)

    state.restore(tensors(newton_polish(flat(best), local_model)))


def _step(optimizer: Any, parts: Any, batch: _Batch, rho: float, loss: FocalLoss) -> None:
    def closure() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        value = objective.combined(rho, *parts(batch, loss))
        value.backward()
        return value

    optimizer.step(closure)


def _make_optimizer(trainer: Any, learned: list[torch.Tensor]) -> torch.optim.Optimizer:
    lr = RATES[trainer.optimizer] if trainer.lr is None else float(trainer.lr)
    if trainer.optimizer == "lbfgs":
        return torch.optim.LBFGS(
            learned,
            lr,
            LBFGS_STEPS,
            tolerance_grad=1e-10,
            tolerance_change=1e-14,
            history_size=20,
            line_search_fn="strong_wolfe",
        )
    if trainer.optimizer == "sgd":
        return torch.optim.SGD(learned, lr, momentum=0.9)
    kind = torch.optim.Adam if trainer.optimizer == "adam" else torch.optim.AdamW
    return kind(learned, lr, eps=1e-12)
