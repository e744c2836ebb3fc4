"""Whole fit and prediction of the default classifier against logistic regression.

    python examples/benchmarks/fit_and_predict.py
    python examples/benchmarks/fit_and_predict.py --runs 1 --n 20000

Seconds are medians; ratios are medians of ratios within one round, in which the contenders take
turns. Greedy selection is the vectorised one of 50 rounds with replacement, on the same columns.
The latency is that of one row, the throughput that of a million.
"""

import argparse
import sys
import time
import warnings
from functools import partial

import numpy as np
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

from cfe_stack import CFEnsembleClassifier
from cfe_stack.datasets import make_ensemble

CLOCK = [time.perf_counter]
M = 30
ROUNDS = 50


def greedy_selection(P: np.ndarray, y: np.ndarray, n_classes: int) -> np.ndarray:
    """Return how often each learner is chosen, by the log-loss of the running average."""
    truth = (
        np.where(y[:, None] == 1, P, 1 - P)
        if n_classes == 2
        else P.reshape(len(P), M, n_classes)[np.arange(len(P)), :, y]
    )
    total, counts = np.zeros(len(P)), np.zeros(M, dtype=int)
    for size in range(1, ROUNDS + 1):
        mixed = np.maximum((total[:, None] + truth) / size, 1e-6)
        best = np.log(mixed).sum(axis=0).argmax()
        counts[best] += 1
        total += truth[:, best]
    return counts


def seconds(work) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = CLOCK[-1]()
        work()
        return CLOCK[-1]() - start


def repeated(work, X: np.ndarray, times: int) -> None:
    for _ in range(times):
        work(X)


def table(title: str, rounds: list[dict[str, float]], base: str, unit: float, name: str) -> None:
    print(f"\n{title}, {len(rounds)} rounds")
    print(f"{'':34}{name:>12}{'x ' + base:>28}")
    for key in rounds[0]:
        median = np.median([one[key] for one in rounds]) * unit
        ratio = np.median([one[key] / one[base] for one in rounds])
        print(f"{key:34}{median:12.4g}{ratio:28.2f}", flush=True)


def columns(n: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    made = make_ensemble(M, n, n_classes, random_state=0)
    R = made.R if n_classes == 2 else made.R.transpose(0, 2, 1).reshape(-1, n)
    return np.ascontiguousarray(R.T), made.labels


def fits(n: int, n_classes: int, runs: int) -> None:
    P, y = columns(n, n_classes)
    contenders = {
        "CFEnsembleClassifier": lambda: CFEnsembleClassifier().fit(P, y),
        "LogisticRegression": lambda: LogisticRegression(max_iter=1000).fit(P, y),
        "LogisticRegressionCV": lambda: LogisticRegressionCV(max_iter=1000).fit(P, y),
        "greedy selection, 50 rounds": lambda: greedy_selection(P, y, n_classes),
    }
    rounds = [{name: seconds(fit) for name, fit in contenders.items()} for _ in range(runs)]
    title = f"fit, n = {n:,}, m = {M}, K = {n_classes}"
    table(title, rounds, "LogisticRegressionCV", 1.0, "s")


def predictions(runs: int) -> None:
    P, y = columns(20_000, 2)
    models = {
        "CFEnsembleClassifier": CFEnsembleClassifier().fit(P, y),
        "LogisticRegression": LogisticRegression(max_iter=1000).fit(P, y),
    }
    million = np.tile(P, (50, 1))
    for title, X, times, unit, name in (
        ("one row", P[:1], 200, 1e6, "µs"),
        ("a million rows", million, 1, 1.0, "s"),
    ):
        rounds = []
        for _ in range(runs):
            one = {}
            for label, model in models.items():
                model.predict_proba(X)
                repeat = partial(repeated, model.predict_proba, X, times)
                one[label] = seconds(repeat) / times
            rounds.append(one)
        table(f"predict_proba of {title}, m = {M}", rounds, "LogisticRegression", unit, name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--n", type=int, help="rows of the fits instead of 100 000 and 20 000")
    parser.add_argument("--cpu", action="store_true", help="processor time, for busy machines")
    options = parser.parse_args()
    if options.cpu:
        CLOCK.append(time.process_time)
    predictions(options.runs)
    fits(options.n or 100_000, 2, options.runs)
    fits(options.n or 20_000, 10, options.runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
