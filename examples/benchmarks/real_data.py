"""Contenders on cached ensemble matrices of real data: one command, one table.

    python examples/benchmarks/real_data.py --data FOLDER

FOLDER holds one NAME.npz per data set: ``names``, ``n_classes``, and for every outer fold f the
out-of-fold predictions ``oof{f}`` (n, m) = P(class 1) or (n, m, K) with classes ``ytr{f}``, and the
held-out ``test{f}``, ``yte{f}``.

`cfe_stack.compare_ensembles` does the work. Folds are averaged inside a set, then sets are
compared. The log-loss clips probabilities to [1e-4, 1 − 1e-4].
"""

import argparse
import csv
import os
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from cfe_stack import compare_ensembles
from cfe_stack.comparison.contenders import CONTENDERS, OURS
from cfe_stack.comparison.page import text_table
from cfe_stack.comparison.problems import StoredProblem
from cfe_stack.comparison.result import EnsembleComparison
from cfe_stack.metrics import MIN_PROBABILITY, Metric, gap_over_bins

REFERENCE = "auto"
NAMES = {(REFERENCE if name == OURS else name): name for name in CONTENDERS}
TITLES = {
    "log_loss": "log-loss",
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC",
    "accuracy": "accuracy",
    "ece": "ECE",
    "ece_by_chance": "by chance",
    "ece_of_1": "ECE of 1",
    "slope": "slope",
}
TWO_CLASSES = ("log_loss", "roc_auc", "pr_auc", "ece", "ece_by_chance", "ece_of_1", "slope")
MORE_CLASSES = ("log_loss", "roc_auc", "accuracy", "ece", "ece_by_chance")
DRAWS = 100


def calibration_slope(codes: np.ndarray, proba: np.ndarray, weights: np.ndarray | None) -> float:
    """Slope of a logistic regression of y on the log-odds; 1 is calibrated, less overconfident."""
    p = np.clip(proba[:, 1], MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    model = LogisticRegression(C=np.inf, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(model.fit(np.log(p / (1 - p))[:, None], codes, weights).coef_[0, 0])


def calibration_error_of_class_1(
    codes: np.ndarray, proba: np.ndarray, weights: np.ndarray | None
) -> float:
    """Mean gap between P(class 1) and its frequency, over bins of equal width."""
    return gap_over_bins(proba[:, 1], codes, weights)


def calibration_error_by_chance(
    codes: np.ndarray, proba: np.ndarray, weights: np.ndarray | None
) -> float:
    """Mean ECE that these probabilities have on as many rows if they are calibrated."""
    top = proba.max(axis=1)
    draws = np.random.default_rng(0).random((DRAWS, len(top))) < top
    return float(np.mean([gap_over_bins(top, right, weights) for right in draws]))


OWN_METRICS = {
    "ece_by_chance": Metric("ece_by_chance", calibration_error_by_chance),
    "slope": Metric("slope", calibration_slope, greater_is_better=True),
    "ece_of_1": Metric("ece_of_1", calibration_error_of_class_1),
}


def table(comparison: EnsembleComparison) -> str:
    """Return means, mean ranks by log-loss, and the comparison with the reference."""
    ranks = comparison.ranks()
    differences, of_errors = {}, {}
    if comparison.reference in ranks:
        differences = {d.contender: d for d in comparison.differences()}
        of_errors = {d.contender: d for d in comparison.differences("ece")}
    rows = []
    for k, name in enumerate(comparison.contenders):
        row = {"contender": name}
        for metric in comparison.metrics:
            # a median tells more of slopes than a mean
            middle = np.median if metric.name == "slope" else np.mean
            row[TITLES[metric.name]] = float(middle(comparison.means(metric.name)[k]))
        row["s / fit"] = f"{comparison.seconds[k].mean():.3f}"
        row["rank"] = f"{ranks.get(name, np.nan):.2f}"
        d = differences.get(name)
        row[f"{comparison.reference} w–l"] = f"{d.wins}–{d.losses}" if d else ""
        row["Wilcoxon p"] = d.paired.p_value if d else ""
        row["Holm"] = d.p_adjusted if d else ""
        row["ECE p"] = of_errors[name].paired.p_value if d else ""
        rows.append(row)
    return text_table(rows)


def write(path: Path, comparisons: list[EnsembleComparison]) -> None:
    """Write one row per set and contender."""
    rows = [
        {"set": problem, "contender": name}
        | {m.name: comparison.means(m.name)[k, j] for m in comparison.metrics}
        for comparison in comparisons
        for j, problem in enumerate(comparison.problems)
        for k, name in enumerate(comparison.contenders)
    ]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of NAME.npz matrices")
    parser.add_argument("--contenders", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument(
        "--sets", nargs="+", help="names of data sets; all of the folder if left out"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--memory", type=Path, help="folder for results of folds, to go on later")
    parser.add_argument("--csv", type=Path, help="also write one row per set and contender")
    options = parser.parse_args()
    paths = [p for p in sorted(options.data.glob("*.npz")) if p.stem in (options.sets or [p.stem])]
    if not paths:
        sys.exit(f"{options.data} holds no NAME.npz; see --help.")
    several = {path: StoredProblem.open(path).n_classes > 2 for path in paths}
    done = []
    for title, more, columns in (
        ("two classes", False, TWO_CLASSES),
        ("more classes", True, MORE_CLASSES),
    ):
        part = [path for path in paths if several[path] == more]
        if not part:
            continue
        comparison = compare_ensembles(
            part,
            contenders={name: NAMES[name] for name in options.contenders},
            metrics=[OWN_METRICS.get(name, name) for name in columns],
            reference=REFERENCE if REFERENCE in options.contenders else None,
            memory=options.memory,
            n_jobs=options.jobs,
        )
        done.append(comparison)
        print(f"\n{title}: {len(part)} sets, mean over sets of the mean over folds")
        print(table(comparison))
        print(f"\n{comparison.verdict()}\n" + "\n".join(comparison.notes))
    name = done[0].reference
    print(
        "\nBy chance: the mean ECE of probabilities like these on as many rows, if calibrated. "
        f"{name} w–l: sets\non which {name} has the lower log-loss, and the others. Wilcoxon: "
        f"signed ranks of the sets' log-losses\nagainst {name}, two-sided; Holm: adjusted for the "
        "number of contenders in the table; ECE p: the first\ntest, of calibration errors."
    )
    if options.csv:
        write(options.csv, done)
    return 0


if __name__ == "__main__":
    sys.exit(main())
