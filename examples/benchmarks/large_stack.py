"""A stack of boosters on 200 000 rows, end to end: time and peak memory of every stage.

Run: python examples/benchmarks/large_stack.py [--rows 200000] [--n-jobs 2] [--folds 5]

The rows imitate what such tables hold: numbers on several scales, numbers that are missing, two
columns of categories, a rare class (about 7 %), noise, and 20 % of further rows to test on. Peak
memory is the largest resident set of this process so far; with processes as workers, add theirs,
which the last line gives. `--backend threading` keeps everything in one process.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import parallel_config
from lightgbm import LGBMClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss
from xgboost import XGBClassifier

from cfe_stack import CFEnsembleClassifier, CFEStackingClassifier


def table(n: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows of customers who may leave."""
    draw = np.random.default_rng(seed)
    plan = draw.choice(["basic", "family", "business", "none"], n, p=[0.5, 0.25, 0.15, 0.1])
    region = draw.integers(0, 30, n)
    age = draw.gamma(9, 5, n).round()
    months = draw.exponential(30, n).round()
    spent = np.exp(draw.normal(3.5, 0.8, n)) * (1 + (plan == "business"))
    calls = draw.poisson(2 + 3 * (plan == "family"))
    use = draw.normal(0, 1, (n, 12)) + 0.3 * draw.normal(0, 1, (n, 1))
    trouble = np.sin(region) + 0.6 * use[:, 0] * use[:, 1] + 0.8 * np.maximum(use[:, 2], 0)
    score = (
        -5.5
        + 1.2 * trouble
        + 0.5 * calls
        - 0.03 * months
        + 0.9 * (plan == "none")
        + 0.8 * (spent > 60) * (age < 40)
    )
    y = (draw.random(n) < 1 / (1 + np.exp(-score))).astype(int)
    X = pd.DataFrame(use, columns=[f"use{j}" for j in range(use.shape[1])])
    X = X.assign(age=age, months=months, spent=spent, calls=calls)
    for column, share in (("age", 0.15), ("spent", 0.05), ("use3", 0.3)):
        X.loc[draw.random(n) < share, column] = np.nan
    return X.assign(plan=pd.Categorical(plan), region=pd.Categorical(region)), y


def boosters() -> list[tuple[str, object]]:
    """Boosters of three libraries; those that can stop early do."""
    return [
        ("lightgbm", LGBMClassifier(n_estimators=300)),
        ("lightgbm, small trees", LGBMClassifier(n_estimators=300, num_leaves=7)),
        ("xgboost", XGBClassifier(n_estimators=200, learning_rate=0.2, enable_categorical=True)),
        ("histogram", HistGradientBoostingClassifier(max_iter=60, early_stopping=False)),
    ]


def peak() -> float:
    """Largest resident set of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def peaks_of_workers() -> list[int]:
    """Largest resident sets of the processes that this one started, in MiB (Linux)."""
    found = []
    for listed in Path("/proc/self/task").glob("*/children"):
        for pid in listed.read_text().split():
            status = Path("/proc", pid, "status").read_text()
            found += [
                int(line.split()[1]) // 1024 for line in status.splitlines() if "VmHWM" in line
            ]
    return sorted(found, reverse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--backend", default="loky", choices=["loky", "threading"])
    options = parser.parse_args()
    start = time.perf_counter()

    def report(stage: str) -> None:
        nonlocal start
        now = time.perf_counter()
        print(f"{stage:34}{now - start:8.1f} s{peak():8.0f} MiB", flush=True)
        start = now

    X, y = table(options.rows + options.rows // 5)
    T, truth = X[options.rows :], y[options.rows :]
    X, y = X[: options.rows], y[: options.rows]
    size = X.memory_usage(deep=True).sum() / 2**20
    report(f"{len(X)} rows, {X.shape[1]} columns, {size:.0f} MiB")
    stack = CFEStackingClassifier(
        boosters(),
        CFEnsembleClassifier(random_state=0),
        cv=options.folds,
        n_jobs=options.n_jobs,
        early_stopping=30,
    )
    with parallel_config(backend=options.backend):
        stack.fit(X, y)
    workers = peaks_of_workers()
    report(f"{options.folds + 1} x 4 fits and final estimator")
    proba = stack.predict_proba(T)[:, 1]
    report(f"prediction of {len(T)} rows")
    data = stack.ensemble_data_
    single = dict(zip(data.classifier_names, stack.transform(T).T, strict=True))
    logistic = LogisticRegression().fit(data.R.T, y)
    rows = {
        **single,
        "average": np.mean(list(single.values()), axis=0),
        "logistic stacking": logistic.predict_proba(np.column_stack(list(single.values())))[:, 1],
        "CFEStackingClassifier": proba,
    }
    print(f"\n{'':24}{'log-loss':>10}{'average precision':>20}")
    for name, p in rows.items():
        print(f"{name:24}{log_loss(truth, p):10.5f}{average_precision_score(truth, p):20.5f}")
    trees = np.nanmedian(data.best_iterations[:3], axis=1)
    print(
        f"\nmedian trees {trees.astype(int).tolist()}, seconds of fits "
        f"{np.nansum(data.fit_times, axis=1).round().astype(int).tolist()}"
    )
    print(f"peaks of worker processes: {workers} MiB")


if __name__ == "__main__":
    main()
