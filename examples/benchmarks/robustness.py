"""What must not hurt the default: spoilt learners, few rows, missing cells, a single prediction.

    python examples/benchmarks/robustness.py --data FOLDER

FOLDER holds the ensemble matrices that real_data.py reads. Log-losses are clipped as there; figures
of a data set are averaged over its outer folds (the first --folds of them) and repetitions, then
compared over the sets.

spoilt     one learner replaced, in training and test, by noise, by its own negation, by the class
           frequencies, or by a copy of another learner; three choices of the learner. "left out"
           drops it: what its own information was worth.
few rows   training rows subsampled to 60 with two or more of every class (--subsamples of them, on
           the first outer fold), against the plain mean.
missing    30 % and 60 % of the cells at random, and every learner missing on its own half of the
           rows, in training and test alike.
single     trained on complete rows; every test row is predicted from one learner, once for each.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from stored_matrices import load, paths_in
from threadpoolctl import threadpool_limits

from cfe_stack import CFEnsembleClassifier, EnsembleData
from cfe_stack.comparison.contenders import CONTENDERS, OURS
from cfe_stack.comparison.run import quietly
from cfe_stack.meta_features.stacked_columns import columns
from cfe_stack.metrics import log_loss

Row = tuple[int, str, str, float]
CHOICES = 3
FEW = 60


def full(P: np.ndarray) -> np.ndarray:
    """Return probabilities of all classes, (n, m, K)."""
    return np.stack([1 - P, P], axis=-1) if P.ndim == 2 else P


def predicted(name: str, P: np.ndarray, y: np.ndarray, T: np.ndarray) -> np.ndarray:
    """Return what a contender that learns from `P` and `y` predicts for `T`."""
    train, test = EnsembleData(P.swapaxes(0, 1), y), EnsembleData(T.swapaxes(0, 1))
    return quietly(CONTENDERS[OURS if name == "auto" else name], train, test)


def noise(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Return probabilities that know nothing, uniform on the simplex."""
    if len(shape) == 1:
        return random.random(shape)
    return random.dirichlet(np.ones(shape[1]), size=shape[0])


def spoil(how: str, P: np.ndarray, u: int, other: int, prior: np.ndarray, random) -> np.ndarray:
    """Return `P` with learner `u` replaced."""
    column, spoilt = P[:, u], P.copy()
    if how == "left out":
        return np.delete(P, u, axis=1)
    if how == "noise":
        spoilt[:, u] = noise(column.shape, random)
    elif how == "negation":
        spoilt[:, u] = 1 - column if P.ndim == 2 else (1 - column) / (P.shape[2] - 1)
    elif how == "constant":
        spoilt[:, u] = prior[1] if P.ndim == 2 else prior
    else:
        spoilt[:, u] = P[:, other]
    return spoilt


def spoilt(P, y, T, y_test, n_classes, random) -> Iterator[tuple[str, str, float]]:
    """Yield losses with one learner spoilt, and with none, for several choices of the learner."""
    prior = np.bincount(y, minlength=n_classes) / len(y)
    clean = log_loss(y_test, predicted("auto", P, y, T))
    for _ in range(CHOICES):
        u, other = random.choice(P.shape[1], 2, replace=False)
        for how in ("left out", "noise", "negation", "constant", "copy"):
            train, test = (spoil(how, A, u, other, prior, random) for A in (P, T))
            yield how, "clean", clean
            yield how, "auto", log_loss(y_test, predicted("auto", train, y, test))


def few_of(y: np.ndarray, n_classes: int, random: np.random.Generator) -> np.ndarray:
    """Return a few rows; two of a class that would be rarer take places of the most frequent."""
    chosen = random.permutation(len(y))[:FEW]
    for k in range(n_classes):
        lacking = 2 - int((y[chosen] == k).sum())
        if lacking > 0:
            extra = random.choice(np.setdiff1d(np.flatnonzero(y == k), chosen), lacking, False)
            counts = np.bincount(y[chosen], minlength=n_classes)
            chosen[np.flatnonzero(y[chosen] == counts.argmax())[-lacking:]] = extra
    return chosen


def few_rows(P, y, T, y_test, n_classes, random) -> Iterator[tuple[str, str, float]]:
    """Yield losses of a subsample of the training rows."""
    chosen = few_of(y, n_classes, random)
    for name in ("mean", "auto", "greedy selection", "LogisticRegression"):
        proba = predicted(name, P[chosen], y[chosen], T)
        yield f"{FEW} rows", name, log_loss(y_test, proba)


def holes(how: str, P: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return `P` with missing cells."""
    n, m = P.shape[:2]
    if how == "own half":
        missing = np.stack([random.permutation(n) < n // 2 for _ in range(m)], axis=1)
    else:
        missing = random.random((n, m)) < float(how.split()[0]) / 100
    missing[np.flatnonzero(missing.all(axis=1)), 0] = False
    holed = P.astype(float)
    holed[missing] = np.nan
    return holed


def row_means(P: np.ndarray) -> np.ndarray:
    """Return `P` with missing cells filled by the average of the others in the row."""
    return np.where(np.isnan(P), np.nanmean(P, axis=1, keepdims=True), P)


def missing(P, y, T, y_test, n_classes, random) -> Iterator[tuple[str, str, float]]:
    """Yield losses with missing cells."""
    for how in ("30 % missing", "60 % missing", "own half"):
        train, test = holes(how, P, random), holes(how, T, random)
        columns = np.nanmean(train, axis=0)
        by_column = [np.where(np.isnan(A), columns, A) for A in (train, test)]
        by_row = [row_means(A) for A in (train, test)]
        contenders = (
            ("auto", "auto", (train, test)),
            ("greedy, row means", "greedy selection", by_row),
            ("LR, column means", "LogisticRegression", by_column),
            ("LR, row means", "LogisticRegression", by_row),
            ("auto, column means", "auto", by_column),
        )
        for name, contender, (A, B) in contenders:
            yield how, name, log_loss(y_test, predicted(contender, A, y, B))


def single(P, y, T, y_test, n_classes, random) -> Iterator[tuple[str, str, float]]:
    """Yield losses of test rows that hold one prediction each."""
    model = CFEnsembleClassifier().fit(columns(full(P)), y)
    for u in range(P.shape[1]):
        alone = np.full(T.shape, np.nan)
        alone[:, u] = T[:, u]
        yield "single", "that learner", log_loss(y_test, full(T)[:, u])
        yield "single", "auto", log_loss(y_test, model.predict_proba(columns(full(alone))))


PARTS = {"spoilt": spoilt, "few": few_rows, "missing": missing, "single": single}
AGAINST = {"spoilt": "clean", "few": "mean", "missing": "auto", "single": "that learner"}


def run_set(path: Path, part: str, n_folds: int, subsamples: int) -> list[Row]:
    """Return the average loss of every situation and contender on one data set."""
    n_classes, folds = load(path)
    chosen = folds[:1] * subsamples if part == "few" else folds[:n_folds]
    found: dict[tuple[str, str], list[float]] = {}
    with threadpool_limits(1):
        for seed, (P, y, T, y_test) in enumerate(chosen):
            random = np.random.default_rng(seed)
            for how, who, value in PARTS[part](P, y, T, y_test, n_classes, random):
                found.setdefault((how, who), []).append(value)
    return [(n_classes, how, who, float(np.mean(v))) for (how, who), v in found.items()]


def table(rows: list[Row], part: str) -> str:
    """Return means over sets, and relative differences to what the part compares with."""
    lines = [
        f"{part:14}{'':22}{'two classes':>12}{'more':>8}"
        f"{'mean change':>14}{'worst set':>11}{'sets worse':>12}"
    ]
    for how, who in dict.fromkeys((how, who) for _, how, who, _ in rows):
        if who == "clean" and len(lines) > 1:
            continue  # the same for everything that is spoilt
        mine = [(k, v) for k, h, w, v in rows if (h, w) == (how, who)]
        values, several = np.array([v for _, v in mine]), np.array([k > 2 for k, _ in mine])
        reference = np.array([v for _, h, w, v in rows if (h, w) == (how, AGAINST[part])])
        means = [values[s].mean() if s.any() else np.nan for s in (~several, several)]
        title = "" if who == "clean" else how
        line = f"{title:14}{who:22}{means[0]:12.4f}{means[1]:8.4f}"
        if who != AGAINST[part]:
            change = 100 * (values / reference - 1)
            line += f"{change.mean():+13.2f}%{change.max():+10.2f}%"
            line += f"{f'{int((change > 0).sum())} of {len(change)}':>12}"
        lines.append(line)
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of NAME.npz matrices")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--sets", nargs="+", help="names of data sets; all if left out")
    parser.add_argument("--folds", type=int, default=2, help="outer folds per set, default 2")
    parser.add_argument("--subsamples", type=int, default=50, help="per set, default 50")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    paths = paths_in(options.data, options.sets)
    for part in options.parts:
        start = time.perf_counter()
        sizes = options.folds, options.subsamples
        tasks = (delayed(run_set)(path, part, *sizes) for path in paths)
        rows = []
        for done, found in enumerate(Parallel(options.jobs, return_as="generator")(tasks), 1):
            rows += found
            print(f"{part}: {done}/{len(paths)}", file=sys.stderr)
        print(table(rows, part), flush=True)
        print(f"{time.perf_counter() - start:.0f} s, {len(paths)} sets\n", flush=True)
    print(
        "Mean of the sets' relative changes in log-loss: against the clean matrix (spoilt), the "
        "plain mean (few),\nauto on the same holes (missing), and the learner whose prediction is "
        "there (single)."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
