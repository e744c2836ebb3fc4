"""What it costs to select strengths on part of the rows: log-loss of new rows.

    python examples/benchmarks/selection_rows.py                  # simulated, 20 000 rows
    python examples/benchmarks/selection_rows.py --data FOLDER    # the folder of real_data.py

The pools that were selected are fitted to all rows in any case. Stored matrices are small: a
quarter of their rows is far less than is selected on by default, and so the harm is larger. Of
rare classes as many rows are kept as a twentieth of all, at most the default number.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
from sklearn.metrics import log_loss
from stored_matrices import load, paths_in

from cfe_stack import CFEnsembleClassifier
from cfe_stack.datasets import make_ensemble
from cfe_stack.pools import selection as pool_selection

M, N, NEW = 30, 20_000, 20_000


def tried(fold: tuple[np.ndarray, ...], rows: list[int]) -> list[tuple[float, float]]:
    """Return log-loss and seconds with strengths selected on so many rows, for each number."""
    P, y, T, truth = fold
    P, T = P.reshape(len(P), -1), T.reshape(len(T), -1)
    results = []
    for many in rows:
        # half of it for more than two classes
        limit = many if len(np.unique(y)) == 2 else 2 * many
        start = time.process_time()
        settings = {
            "MAX_SELECTION_ROWS": limit,
            "MIN_CLASS_ROWS": min(pool_selection.MIN_CLASS_ROWS, many // 20),
        }
        with mock.patch.multiple(pool_selection, **settings):
            model = CFEnsembleClassifier().fit(P, y)
        spent = time.process_time() - start
        proba = np.clip(model.predict_proba(T), 1e-4, None)
        proba /= proba.sum(axis=1, keepdims=True)
        results.append((log_loss(truth, proba, labels=model.classes_), spent))
    return results


def show(name: str, heads: list[str], results: np.ndarray) -> None:
    pairs = zip(heads, results, strict=True)
    cells = [f"{head} {loss:.4f} ({spent:.2f} s)" for head, (loss, spent) in pairs]
    print(f"{name:22}" + "   ".join(cells), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of NAME.npz matrices")
    parser.add_argument("--sets", nargs="+", help="names of data sets; all if left out")
    parser.add_argument("--folds", type=int, default=2, help="outer folds of every set")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print("log-loss of new rows and processor seconds of the fit, by rows selected on")
    if options.data:
        for path in paths_in(options.data, options.sets):
            folds = load(path)[1][: options.folds]
            shares = [[len(fold[1]) // part for part in (1, 2, 4)] for fold in folds]
            results = [tried(fold, rows) for fold, rows in zip(folds, shares, strict=True)]
            show(path.stem, ["all", "half", "quarter"], np.mean(results, axis=0))
        return 0
    for n_classes in (2, 3, 10):
        made = make_ensemble(M, N + NEW, n_classes, random_state=1)
        P, y = np.moveaxis(made.R, 0, -1 if n_classes == 2 else 1), made.labels
        rows = [N, 10_000, 5_000, 2_500]
        results = tried((P[:N], y[:N], P[N:], y[N:]), rows)
        show(f"simulated, K = {n_classes}", [f"{n:,}" for n in rows], np.array(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
