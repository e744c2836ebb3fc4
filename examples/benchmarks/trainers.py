"""Alternating least squares against joint descent: time, objective, and what labels do to factors.

    python examples/benchmarks/trainers.py                 # times and objectives, simulated
    python examples/benchmarks/trainers.py --data FOLDER   # free and projected factors, real sets
    python examples/benchmarks/trainers.py --data FOLDER --alone    # without the classifier
    python examples/benchmarks/trainers.py --data FOLDER --by-name
    python examples/benchmarks/trainers.py --data FOLDER --objectives   # of equal descents

FOLDER is that of real_data.py. The gap is the log-loss of a trainer's own prediction of its
labelled rows with the factors it was trained with (transductive) against that with the label-free
fold-in of the same rows (inductive); held out: test rows, by fold-in. The last columns are
CFEnsembleClassifier with this trainer. With --by-name the table
compares its two trainers by name instead. With --objectives it has the objectives at which
majorized ALS and joint descent on free factors end, from one start and by the same tolerance, and
their times; where L-BFGS ends by a tolerance that amounts to convergence; and how far L-BFGS falls
from the end of ALS, which is next to nothing if that is a minimum.

Bytes and operations of an epoch are counted, not measured (see `work`); the limit is what copying a
large array reaches on the same machine and number of threads. `--device cuda` runs joint descent on
a GPU, with the bandwidth of its own memory. Above `--limit` cells a few epochs of joint descent are
timed, and L-BFGS, whose epochs are twenty steps, is left out. The whole table, which takes some ten
minutes and 10 GiB:

    python examples/benchmarks/trainers.py --m 10 50 200 --n 1000 10000 100000 1000000
"""

import argparse
import logging
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from cfe_stack import (
    CFEnsembleClassifier,
    CFEnsemblePyTorchTrainer,
    CFEnsembleTrainer,
    EnsembleData,
)
from cfe_stack.datasets import make_ensemble
from cfe_stack.losses import objective
from cfe_stack.metrics import log_loss, roc_auc
from cfe_stack.trainers.aggregators import WeightedAggregator
from cfe_stack.trainers.joint_objective import JointArrays, JointObjective, JointParameters
from cfe_stack.trainers.supervision import Supervision

SETTINGS = {
    "link": "logit", "standardize": True, "confidence": "uniform", "lambda_reg": 1.0,
    "init": "spectral", "use_class_weights": False,
}  # fmt: skip
LBFGS_STEPS = 20
LBFGS = {"optimizer": "lbfgs", "dtype": "float64", "patience": 2}
TIGHT = {"tol": 1e-6, "max_epochs": 1000}
TRAINERS = {
    "ALS": lambda **s: CFEnsembleTrainer(aggregator_solver="converged", max_iter=200, **s),
    "ALS, majorize": lambda **s: CFEnsembleTrainer(supervision="majorize", max_iter=500, **s),
    "joint, free, L-BFGS": lambda **s: CFEnsemblePyTorchTrainer(
        instance_factors="free", **LBFGS, **s
    ),
    "joint, projected, L-BFGS": lambda **s: CFEnsemblePyTorchTrainer(
        instance_factors="projected", **LBFGS, **s
    ),
    "joint, free, Adam": lambda **s: CFEnsemblePyTorchTrainer(instance_factors="free", **s),
    "joint, projected, Adam": lambda **s: CFEnsemblePyTorchTrainer(
        instance_factors="projected", **s
    ),
}

POOLS = {
    f"joint, projected, {kind}": lambda kind=kind, **s: CFEnsemblePyTorchTrainer(
        aggregator_type=kind, **s
    )
    for kind in ("log_pool", "gated_pool")
}
"""Other aggregators of joint descent, by Adam on projected factors."""


def quietly_fitted(trainer, data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return trainer.fit(data)


def work(name: str, m: int, n: int, d: int, itemsize: int) -> tuple[float, float]:
    """Return the operations and the bytes of one evaluation with its gradient, or of one sweep.

    Multiplications and additions of the matrix products, the forward pass three times where there
    is a backward one: Gram matrices (m d² per instance) and Cholesky factors (d³ / 3) unless all
    cells weigh the same, as here, right sides and reconstruction (2 m d each). Bytes are those of
    the matrices of m n cells, read or written once each: predictions, weights and residuals, and
    their gradients.
    """
    products = 2 if "projected" in name or "ALS" in name else 1
    flops = 2.0 * m * d * n * products
    if "ALS" in name:
        return flops + m * d * d * n, 4.0 * m * n * itemsize
    return 3 * flops, 8.0 * m * n * itemsize


def copy_bandwidth(device: str) -> float:
    """Return the bytes per second, read and written, of a large copy; the best of five."""
    source = np.ones(1 << 26, dtype=np.float32)
    target, seconds = np.empty_like(source), []

    def copy() -> None:
        np.copyto(target, source)

    if device == "cuda":
        import torch

        here = torch.ones(1 << 26, device=device)
        there = torch.empty_like(here)

        def copy() -> None:
            there.copy_(here)
            torch.cuda.synchronize()

    for _ in range(5):
        start = time.perf_counter()
        copy()
        seconds.append(time.perf_counter() - start)
    return 2 * source.nbytes / min(seconds)


class Clock(logging.Handler):
    """Notes when every sweep and epoch ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note the time of a line of the log."""
        self.ends.append(record.created)

    def timed(self, trainer, data) -> tuple[float, float]:
        """Fit a trainer; return the seconds of the fit, and those of one sweep or epoch."""
        self.ends = []
        start = time.perf_counter()
        quietly_fitted(trainer.set_params(verbose=1), data)
        seconds, several = time.perf_counter() - start, len(self.ends) - 1
        return seconds, (self.ends[-1] - self.ends[0]) / several if several > 0 else seconds


def half_labelled(m: int, n: int) -> EnsembleData:
    made = make_ensemble(m, n, dtype="float32", random_state=0)
    return EnsembleData(made.R, np.where(np.arange(n) % 2 == 0, made.labels, -1))


def times(sizes, device: str, limit: int, epochs: int) -> None:
    begin, clock = time.perf_counter(), Clock()
    logger = logging.getLogger("cfe_stack.trainers")
    logger.addHandler(clock)
    logger.setLevel(logging.INFO)
    bandwidth = {name: copy_bandwidth(name) for name in {"cpu", device}}
    for name, value in bandwidth.items():
        print(f"copying on {name}: {value / 1e9:.1f} GB/s", end="; ")
    print(f"joint descent on {device}; cut after {epochs} epochs above {limit:,} cells (+)")
    print(
        f"{'m':>4}{'n':>9}  {'trainer':26}{'s / epoch':>11}{'epochs':>8}{'s':>9} {'objective':>12}"
        f"{'GFLOP':>8}{'GB':>8}{'of limit':>9}"
    )
    for m, n in sizes:
        data, d = half_labelled(m, n), min(8, m)
        for name, make in TRAINERS.items():
            joint, cut = "ALS" not in name, "ALS" not in name and m * n > limit
            if cut and "L-BFGS" in name:
                continue
            extra = {"device": device} if joint else {}
            extra |= {"max_epochs": epochs, "tol": 0} if cut else {}
            small = EnsembleData(data.R[:, :99])
            quietly_fitted(make(latent_dim=2, **SETTINGS), small)
            trainer = make(latent_dim=d, **SETTINGS).set_params(**extra)
            seconds, per_epoch = clock.timed(trainer, data)
            # an epoch of Adam evaluates the objective once more, without its gradient
            evaluations = LBFGS_STEPS if "L-BFGS" in name else 1
            flops, size = work(name, m, n, d, 8 if "L-BFGS" in name else 4)
            share = size * evaluations / per_epoch / bandwidth[device if joint else "cpu"]
            history = trainer.history_
            print(
                f"{m:4}{n:9}  {name:26}{per_epoch:11.4f}{len(history):8}{seconds:9.2f}"
                f"{'+' if cut else ' '}{history['objective'].min():12.5f}"
                f"{flops * evaluations / 1e9:8.2f}{size * evaluations / 1e9:8.2f}{share:9.1%}",
                flush=True,
            )
    print(f"in all {(time.perf_counter() - begin) / 60:.1f} min")


def by_name(folder: Path, names, n_folds: int) -> None:
    """Print what CFEnsembleClassifier scores with each of its trainers."""
    from stored_matrices import load

    gaps = []
    print(f"{'CFEnsembleClassifier, log-loss':34}{'als':>10}{'pytorch':>10}{'difference':>12}")
    for path in sorted(folder.glob("*.npz")):
        if names and path.stem not in names:
            continue
        n_classes, folds = load(path)
        losses = []
        for P, y, T, y_test in folds[:n_folds]:
            flat, flat_test = P.reshape(len(P), -1), T.reshape(len(T), -1)
            models = [
                CFEnsembleClassifier(trainer=name).fit(flat, y) for name in ("als", "pytorch")
            ]
            losses.append([log_loss(y_test, model.predict_proba(flat_test)) for model in models])
        als, joint = np.mean(losses, axis=0)
        gaps.append((als, joint))
        print(f"{path.stem:34}{als:10.4f}{joint:10.4f}{joint - als:+12.5f}", flush=True)
    als, joint = np.mean(gaps, axis=0)
    print(f"{'mean':34}{als:10.4f}{joint:10.4f}{joint - als:+12.5f}")
    print(f"largest difference {np.abs(np.diff(gaps)).max():.5f}")


def descended(trainer, data: EnsembleData) -> float:
    """Return where a descent of all parameters ends that starts where a fit has ended."""
    import torch

    model, supervision = trainer.factor_model_, Supervision.of(trainer, data)
    part = JointArrays.of(data, model, supervision, "float64").map(torch.as_tensor)
    columns = [torch.as_tensor(values[:, None]) for values in (model.scale, model.shift)]
    n_cells = sum(block.n_cells for block in data.blocks())
    goal = JointObjective(
        model.link,
        WeightedAggregator(lr=0.0, solver="gradient"),
        model.lambda_reg,
        *columns,
        n_cells,
        supervision.weights.sum(),
    )
    weights, intercept = trainer.weights_, np.atleast_1d(trainer.intercept_)
    start = [model.factors, model.bias[:, None], weights, intercept, trainer.instance_factors_]

    def value(point):
        tensor = torch.tensor(point, requires_grad=True)
        parts = tensor.split([array.size for array in start])
        *shared, Y = (p.reshape(a.shape) for p, a in zip(parts, start, strict=True))
        losses = goal.parts(part, JointParameters(*shared), Y, supervision.loss_at(0.0), xp=torch)
        combined = objective.combined(supervision.rho, *losses)
        combined.backward()
        return float(combined.detach()), tensor.grad.numpy()

    flat = np.concatenate([array.ravel() for array in start])
    options = {"maxiter": 1000, "maxfun": 2000, "ftol": 1e-10, "gtol": 0.0}
    return float(minimize(value, flat, jac=True, method="L-BFGS-B", options=options).fun)


def objectives(folder: Path, names) -> None:
    """Print where trainers that minimise the same thing end, and after how long."""
    from stored_matrices import load, paths_in

    free, adam = TRAINERS["joint, free, L-BFGS"], TRAINERS["joint, free, Adam"]
    others = {
        "L-BFGS": free,
        f"L-BFGS, tol {TIGHT['tol']:g}": lambda **s: free(**TIGHT, **s),
        "Adam": adam,
    }
    print(f"{'ALS, majorize':42}{'higher by, and its share of the time of':>44}")
    print(f"{'':18}{'objective':>10}{'sweeps':>7}{'falls':>7}", end="")
    print("".join(f"{name:>24}" for name in others))
    gaps, shares, falls = [], [], []
    # whoever is first would be charged for loading torch
    quietly_fitted(free(latent_dim=1, **SETTINGS), EnsembleData(np.eye(4)))
    for path in paths_in(folder, names):
        P, y, _, _ = load(path)[1][0]
        data, ends = EnsembleData(P.swapaxes(0, 1).astype(float), y), []
        own = TRAINERS["ALS, majorize"](store_instance_factors=True, latent_dim=3, **SETTINGS)
        for trainer in (own, *(make(latent_dim=3, **SETTINGS) for make in others.values())):
            start = time.perf_counter()
            end = quietly_fitted(trainer, data).history_["objective"].min()
            ends.append((end, time.perf_counter() - start))
        (value, seconds), *rest = ends
        falls.append(1 - descended(own, data) / value)
        gaps.append([value / end - 1 for end, _ in rest])
        shares.append([seconds / other for _, other in rest])
        pairs = zip(gaps[-1], shares[-1], strict=True)
        columns = "".join(f"{gap:16.2%}{share:8.2f}" for gap, share in pairs)
        sweeps = f"{value:10.5f}{own.n_iter_:7}{falls[-1]:7.2%}"
        print(f"{path.stem:18}{sweeps}{columns}", flush=True)
    pairs = zip(np.max(gaps, axis=0), np.median(shares, axis=0), strict=True)
    columns = "".join(f"{gap:16.2%}{share:8.2f}" for gap, share in pairs)
    print(f"{'highest, median time':35}{max(falls):7.2%}{columns}")


def gaps(folder: Path, names, n_folds: int, alone: bool) -> None:
    from stored_matrices import load

    columns = ("transductive", "inductive", "held out", "log-loss", "ROC-AUC", "s / fit")
    columns = columns[:3] if alone else columns
    trainers = TRAINERS | POOLS
    rows: dict[str, list[list[float]]] = {name: [] for name in trainers}
    paths = [p for p in sorted(folder.glob("*.npz")) if not names or p.stem in names]
    for path in paths:
        folds = load(path)[1]
        for name, make in trainers.items():
            figures = []
            for P, y, T, y_test in folds[:n_folds]:
                flat, flat_test = P.reshape(len(P), -1), T.reshape(len(T), -1)
                trainer = make(latent_dim=3, **SETTINGS)
                data = EnsembleData(P.swapaxes(0, 1).astype(float), y)
                quietly_fitted(trainer, data)
                figures.append(
                    [
                        log_loss(y, trainer.transductive_proba_),
                        log_loss(y, trainer.predict_proba(data)),
                        log_loss(y_test, trainer.predict_proba(T.swapaxes(0, 1).astype(float))),
                    ]
                )
                if alone:
                    continue
                start = time.perf_counter()
                model = CFEnsembleClassifier(trainer=make(latent_dim=3, **SETTINGS))
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    proba = model.fit(flat, y).predict_proba(flat_test)
                seconds = time.perf_counter() - start
                figures[-1] += [log_loss(y_test, proba), roc_auc(y_test, proba), seconds]
            rows[name].append(list(np.mean(figures, axis=0)))
        print(path.stem, file=sys.stderr)
    print(f"{len(paths)} sets, {n_folds} fold(s) each")
    print(f"{'trainer':28}{'sets':>5}" + "".join(f"{c:>14}" for c in columns))
    for name, values in rows.items():
        if values:
            mean = np.mean(values, axis=0)
            print(f"{name:28}{len(values):5}" + "".join(f"{v:14.4f}" for v in mean))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of NAME.npz matrices")
    parser.add_argument(
        "--sets", nargs="+", help="names of data sets; all of the folder if left out"
    )
    parser.add_argument("--by-name", action="store_true", help="the classifier's two trainers")
    parser.add_argument("--objectives", action="store_true", help="where equal descents end")
    parser.add_argument("--alone", action="store_true", help="leave the classifier out")
    parser.add_argument("--folds", type=int, default=2, help="outer folds of each data set")
    parser.add_argument("--m", nargs="+", type=int, default=[10, 50])
    parser.add_argument("--n", nargs="+", type=int, default=[1_000, 10_000])
    parser.add_argument("--trainers", nargs="+", choices=TRAINERS | POOLS, help="all if left out")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--limit", type=int, default=1_000_000, help="cells that may converge")
    parser.add_argument("--epochs", type=int, default=3, help="epochs that are timed above that")
    options = parser.parse_args()
    for name in set(TRAINERS | POOLS) - set(options.trainers or TRAINERS | POOLS):
        TRAINERS.pop(name, None)
        POOLS.pop(name, None)
    import torch

    torch.set_num_threads(1)
    with threadpool_limits(1):
        if options.data:
            if options.objectives:
                objectives(options.data, options.sets)
            elif options.by_name:
                by_name(options.data, options.sets, options.folds)
            else:
                gaps(options.data, options.sets, options.folds, options.alone)
        else:
            sizes = [(m, n) for m in options.m for n in options.n]
            times(sizes, options.device, options.limit, options.epochs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
