"""Files of ensemble matrices as arrays, for the scripts that spoil or change them.

real_data.py describes the files.
"""

from pathlib import Path

import numpy as np

from cfe_stack.comparison.problems import StoredProblem

Fold = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def load(path: Path) -> tuple[int, list[Fold]]:
    """Return the number of classes and, of every outer fold, P, y, P_test and y_test.

    Predictions are (n, m) = P(class 1) or (n, m, K).
    """
    problem = StoredProblem.open(path)
    folds = []
    for size in problem.sizes():
        train, test = problem.parts(size.fold)
        P, T = (np.asarray(part.R).swapaxes(0, 1) for part in (train, test))
        folds.append((P, train.labels, T, test.labels))
    return problem.n_classes, folds


def paths_in(folder: Path, names: list[str] | None = None) -> list[Path]:
    """Return the files of a folder, or those of the given names.

    Raises
    ------
    SystemExit
        If there is none.
    """
    paths = [p for p in sorted(folder.glob("*.npz")) if not names or p.stem in names]
    if not paths:
        raise SystemExit(f"{folder} holds no NAME.npz, or none of those names; see --help.")
    return paths
