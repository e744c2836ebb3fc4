"""Alternating least squares against joint descent: time, objective, and what labels do to factors.

    python examples/benchmarks/trainers.py                 # times and objectives, simulated
    python examples/benchmarks/trainers.py --data FOLDER   # free and projected factors, real sets

FOLDER is that of real_data.py. The gap is the log-loss of a trainer's own prediction of its
labelled rows with the factors it was trained with (transductive) against that with the label-free
fold-in of the same rows (inductive); held out: test rows, by fold-in. The last columns are
CFEnsembleClassifier with this trainer.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

from cfe_stack import (
    CFEnsembleClassifier,
    CFEnsemblePyTorchTrainer,
    CFEnsembleTrainer,
    EnsembleData,
)
from cfe_stack.datasets import make_ensemble

SETTINGS = {
    "link": "logit", "standardize": True, "confidence": "uniform", "lambda_reg": 1.0,
    "init": "spectral", "use_class_weights": False,
}  # fmt: skip
LBFGS = {"optimizer": "lbfgs", "dtype": "float64", "patience": 2}
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


def quietly_fitted(trainer, data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return trainer.fit(data)


def times(sizes) -> None:
    print(
        f"{'m':>4}{'n':>9}  {'trainer':28}{'s / epoch':>11}{'epochs':>8}{'s':>9}{'objective':>12}"
    )
    for m, n in sizes:
        made = make_ensemble(m, n, random_state=0)
        data = EnsembleData(made.R, np.where(np.arange(n) % 2 == 0, made.labels, -1))
        for name, make in TRAINERS.items():
            trainer = make(latent_dim=min(8, m), **SETTINGS)
            quietly_fitted(make(latent_dim=2, **SETTINGS), EnsembleData(made.R[:, :99]))
            start = time.perf_counter()
            quietly_fitted(trainer, data)
            seconds = time.perf_counter() - start
            history = trainer.history_
            print(
                f"{m:4}{n:9}  {name:28}{seconds / len(history):11.4f}{len(history):8}"
                f"{seconds:9.2f}{history['objective'].min():12.5f}",
                flush=True,
            )


def loss_of(proba, y) -> float:
    proba = np.clip(proba, 1e-4, 1 - 1e-4)
    proba /= proba.sum(axis=1, keepdims=True)
    return log_loss(y, proba, labels=np.arange(proba.shape[1]))


def gaps(folder: Path, names) -> None:
    from real_data import load, scores

    columns = ("transductive", "inductive", "held out", "log-loss", "ROC-AUC", "s / fit")
    rows: dict[str, list[list[float]]] = {name: [] for name in TRAINERS}
    paths = [p for p in sorted(folder.glob("*.npz")) if not names or p.stem in names]
    for path in paths:
        n_classes, folds = load(path)
        for name, make in TRAINERS.items():
            if n_classes > 2 and "majorize" in name:
                continue
            figures = []
            for P, y, T, y_test in folds[:2]:
                flat, flat_test = P.reshape(len(P), -1), T.reshape(len(T), -1)
                trainer = make(latent_dim=3, **SETTINGS)
                data = EnsembleData(P.swapaxes(0, 1).astype(float), y)
                quietly_fitted(trainer, data)
                start = time.perf_counter()
                model = CFEnsembleClassifier(trainer=make(latent_dim=3, **SETTINGS))
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    proba = model.fit(flat, y).predict_proba(flat_test)
                seconds = time.perf_counter() - start
                test = scores(proba, y_test, n_classes)
                figures.append(
                    [
                        loss_of(trainer.transductive_proba_, y),
                        loss_of(trainer.predict_proba(data), y),
                        loss_of(trainer.predict_proba(T.swapaxes(0, 1).astype(float)), y_test),
                        test["log-loss"],
                        test["ROC-AUC"],
                        seconds,
                    ]
                )
            rows[name].append(list(np.mean(figures, axis=0)))
        print(path.stem, file=sys.stderr)
    print(f"{len(paths)} sets, mean of two folds each")
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
    parser.add_argument("--m", nargs="+", type=int, default=[10, 50])
    parser.add_argument("--n", nargs="+", type=int, default=[1_000, 10_000])
    options = parser.parse_args()
    with threadpool_limits(1):
        if options.data:
            gaps(options.data, options.sets)
        else:
            times([(m, n) for m in options.m for n in options.n])
    return 0


if __name__ == "__main__":
    sys.exit(main())
