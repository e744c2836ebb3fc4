"""Contenders on cached ensemble matrices of real data: one command, one table.

    python examples/benchmarks/real_data.py --data FOLDER

FOLDER holds one NAME.npz per data set: ``names``, ``n_classes``, and for every outer fold f the
out-of-fold predictions ``oof{f}`` (n, m) = P(class 1) or (n, m, K) with classes ``ytr{f}``, and the
held-out ``test{f}``, ``yte{f}``.

Folds are averaged inside a set, then sets are compared. Probabilities are clipped to
[1e-4, 1 − 1e-4].
"""

import argparse
import csv
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from contenders import CONTENDERS, quietly
from joblib import Parallel, delayed
from scipy.stats import rankdata, wilcoxon
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, average_precision_score, log_loss, roc_auc_score
from threadpoolctl import threadpool_limits

REFERENCE = "auto"
CLIP = 1e-4
BINS = 10


def load(path: Path) -> tuple[int, list[tuple[np.ndarray, ...]]]:
    """Return the number of classes, and (P, y, T, y_test) of every outer fold."""
    with np.load(path, allow_pickle=False) as file:
        folds = sum(name.startswith("oof") for name in file.files)
        names = ("oof", "ytr", "test", "yte")
        return int(file["n_classes"]), [
            tuple(file[f"{name}{f}"] for name in names) for f in range(folds)
        ]


def calibration_error(proba: np.ndarray, y: np.ndarray) -> float:
    """Expected calibration error of the predicted class, ten bins of equal width."""
    confidence, right = proba.max(axis=1), proba.argmax(axis=1) == y
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gap = np.bincount(bins, confidence - right, minlength=BINS)
    return float(np.abs(gap).sum() / len(y))


def calibration_slope(proba: np.ndarray, y: np.ndarray) -> float:
    """Slope of a logistic regression of y on the log-odds; 1 is calibrated, less overconfident."""
    p = np.clip(proba[:, 1], CLIP, 1 - CLIP)
    model = LogisticRegression(C=np.inf, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(model.fit(np.log(p / (1 - p))[:, None], y).coef_[0, 0])


def scores(proba: np.ndarray, y: np.ndarray, n_classes: int) -> dict[str, float]:
    """Return the figures of one outer fold."""
    clipped = np.clip(proba, CLIP, 1 - CLIP)
    clipped /= clipped.sum(axis=1, keepdims=True)
    labels = np.arange(n_classes)
    result = {
        "log-loss": log_loss(y, clipped, labels=labels),
        "accuracy": accuracy_score(y, clipped.argmax(axis=1)),
        "ECE": calibration_error(clipped, y),
    }
    if n_classes == 2:
        result["ROC-AUC"] = roc_auc_score(y, clipped[:, 1])
        result["PR-AUC"] = average_precision_score(y, clipped[:, 1])
        result["slope"] = calibration_slope(clipped, y)
    else:
        result["ROC-AUC"] = roc_auc_score(y, clipped, multi_class="ovr", labels=labels)
    return result


def run_set(path: Path, names: list[str]) -> list[dict[str, object]]:
    """Run all contenders on one data set."""
    n_classes, folds = load(path)
    rows = []
    with threadpool_limits(1):
        for name in names:
            start = time.perf_counter()
            figures = [
                scores(quietly(CONTENDERS[name], P, y, T, n_classes), y_test, n_classes)
                for P, y, T, y_test in folds
            ]
            seconds = (time.perf_counter() - start) / len(folds)
            row = {key: float(np.mean([f[key] for f in figures])) for key in figures[0]}
            rows.append(
                {
                    "set": path.stem,
                    "classes": n_classes,
                    "contender": name,
                    **row,
                    "seconds": seconds,
                }
            )
    return rows


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return p-values adjusted for their number (Holm, 1979)."""
    order = np.argsort(p_values)
    steps = (len(p_values) - np.arange(len(p_values))) * p_values[order]
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def table(rows: list[dict[str, object]], names: list[str], columns: list[str]) -> str:
    """Return means, mean ranks by log-loss, and the comparison with the reference."""
    sets = sorted({row["set"] for row in rows})
    losses = np.array(
        [
            [r["log-loss"] for s in sets for r in rows if r["set"] == s and r["contender"] == n]
            for n in names
        ]
    )
    ranks = np.mean([rankdata(column) for column in losses.T], axis=0)
    against = losses[names.index(REFERENCE)] if REFERENCE in names else losses[0]
    compared = [k for k in range(len(names)) if np.any(losses[k] != against)]
    raw = np.array([wilcoxon(losses[k], against).pvalue for k in compared])
    p_values = dict(zip(compared, zip(raw, holm(raw), strict=True), strict=True))
    lines = [
        f"{'contender':32}"
        + "".join(f"{c:>10}" for c in columns)
        + f"{'s / fit':>9}{'rank':>7}{'auto w–l':>10}{'Wilcoxon p':>12}{'Holm':>9}"
    ]
    for k, name in enumerate(names):
        mine = [r for r in rows if r["contender"] == name]
        # a median tells more of slopes than a mean
        middle = [
            (np.median if c == "slope" else np.mean)([float(r[c]) for r in mine]) for c in columns
        ]
        seconds = np.mean([float(r["seconds"]) for r in mine])
        line = f"{name:32}" + "".join(f"{v:10.4f}" for v in middle)
        line += f"{seconds:9.3f}{ranks[k]:7.2f}"
        if k in p_values:
            wins = int((against < losses[k]).sum())
            line += f"{f'{wins}–{len(sets) - wins}':>10}{p_values[k][0]:12.4f}{p_values[k][1]:9.4f}"
        lines.append(line)
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of NAME.npz matrices")
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=CONTENDERS)
    parser.add_argument(
        "--sets", nargs="+", help="names of data sets; all of the folder if left out"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--csv", type=Path, help="also write one row per set and contender")
    options = parser.parse_args()
    paths = [p for p in sorted(options.data.glob("*.npz")) if p.stem in (options.sets or [p.stem])]
    if not paths:
        sys.exit(f"{options.data} holds no NAME.npz; see --help.")
    rows = []
    tasks = (delayed(run_set)(path, options.contenders) for path in paths)
    for done, result in enumerate(Parallel(options.jobs, return_as="generator")(tasks), 1):
        rows += result
        print(f"{done}/{len(paths)} {result[0]['set']}", file=sys.stderr)
    for title, several, columns in (
        ("two classes", False, ["log-loss", "ROC-AUC", "PR-AUC", "ECE", "slope"]),
        ("more classes", True, ["log-loss", "ROC-AUC", "accuracy", "ECE"]),
    ):
        part = [row for row in rows if (row["classes"] > 2) == several]
        if part:
            n_sets = len({row["set"] for row in part})
            print(f"\n{title}: {n_sets} sets, mean over sets of the mean over folds")
            print(table(part, options.contenders, columns))
    print(
        "\nauto w–l: sets on which auto has the lower log-loss, and the others. Wilcoxon: signed "
        "ranks of the\nsets' log-losses against auto, two-sided; Holm: adjusted for the number of "
        "contenders in the table."
    )
    if options.csv:
        with options.csv.open("w", newline="") as file:
            fields = dict.fromkeys(key for row in rows for key in row)
            writer = csv.DictWriter(file, fieldnames=list(fields))
            writer.writeheader()
            writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
