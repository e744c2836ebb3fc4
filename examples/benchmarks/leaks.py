"""How often honest columns are called in-sample, and how often in-sample columns are seen.

    python examples/benchmarks/leaks.py [--data FOLDER]

Eleven learners on six problems: each column of out-of-fold predictions is replaced by in-sample
predictions in turn, and the rule is asked with test rows (of refitted learners, averaged over the
models of the folds, of refitted learners with labels) and without. FOLDER, as for
``real_data.py``, adds honest columns only.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from cfe_stack import EnsembleData
from cfe_stack.comparison.problems import StoredProblem
from cfe_stack.data.in_sample import column_scores, suspicious_columns

WITH = ("refitted", "averaged", "labelled", "no test rows")


def scaled(learner):
    return make_pipeline(StandardScaler(), learner)


LEARNERS = {
    "random forest": RandomForestClassifier(60, random_state=0),
    "extra trees": ExtraTreesClassifier(60, random_state=0),
    "histogram boosting": HistGradientBoostingClassifier(max_iter=40, random_state=0),
    "full tree": DecisionTreeClassifier(random_state=0),
    "nearest neighbour": scaled(KNeighborsClassifier(1)),
    "neural network": scaled(MLPClassifier((50,), max_iter=500, tol=1e-3, random_state=0)),
    "15 neighbours": scaled(KNeighborsClassifier(15)),
    "tree of depth 3": DecisionTreeClassifier(max_depth=3, random_state=0),
    "AdaBoost": AdaBoostClassifier(n_estimators=30, random_state=0),
    "logistic regression": scaled(LogisticRegression(max_iter=500)),
    "naive Bayes": GaussianNB(),
}


def simulated(n_samples, flip_y, n_classes=2):
    weights = [0.7] if n_classes == 2 else None
    return make_classification(
        n_samples,
        20,
        n_informative=8,
        n_redundant=4,
        flip_y=flip_y,
        class_sep=0.8,
        n_classes=n_classes,
        weights=weights,
        random_state=n_samples,
    )


def problems():
    X, digit = load_digits(return_X_y=True)
    return {
        "breast cancer": load_breast_cancer(return_X_y=True),
        "is it an 8": (X, (digit == 8).astype(int)),
        "digits": (X, digit),
        "simulated, 400": simulated(400, 0.1),
        "simulated, 2500": simulated(2500, 0.2),
        "three classes": simulated(1500, 0.1, 3),
    }


def predictions(X, y):
    """Return {kind: (m, n, K)} of all learners, and the labels of training and test rows."""
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.4, stratify=y, random_state=0)
    found = {"honest": [], "in-sample": [], "refitted": [], "averaged": []}
    for learner in LEARNERS.values():
        honest, averaged = np.empty((len(y), len(np.unique(y)))), 0.0
        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        for train, test in folds.split(X, y):
            model = clone(learner).fit(X[train], y[train])
            honest[test] = model.predict_proba(X[test])
            averaged = averaged + model.predict_proba(X_test) / 5
        model = clone(learner).fit(X, y)
        found["honest"].append(honest)
        found["averaged"].append(averaged)
        found["in-sample"].append(model.predict_proba(X))
        found["refitted"].append(model.predict_proba(X_test))
    found["labelled"] = found["refitted"]
    return {kind: np.stack(columns) for kind, columns in found.items()}, y, y_test


def losses(columns, y):
    return np.array([s.log_loss for s in column_scores(EnsembleData(columns, y))])


def seen(columns, y, test, y_test=None):
    names = list(LEARNERS)
    data = EnsembleData(columns, y, classifier_names=names)
    rows = None if test is None else EnsembleData(test, y_test, classifier_names=names)
    return {s.name for s in suspicious_columns(data, rows)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    folder = parser.parse_args().data
    caught = {name: dict.fromkeys(WITH, 0) for name in LEARNERS}
    wrong, asked, closer = dict.fromkeys(WITH, 0), 0, []
    for X, y in problems().values():
        found, labels, test_labels = predictions(X, y)
        asked += len(LEARNERS)
        closer.append(1 - losses(found["in-sample"], labels) / losses(found["honest"], labels))
        for kind in WITH:
            test = found.get(kind), test_labels if kind == "labelled" else None
            wrong[kind] += len(seen(found["honest"], labels, *test))
            for u, name in enumerate(LEARNERS):
                columns = found["honest"].copy()
                columns[u] = found["in-sample"][u]
                caught[name][kind] += name in seen(columns, labels, *test)
    n_problems = len(problems())
    print(f"in-sample columns seen, of {n_problems} problems; lower: their log-loss, median")
    print(f"{'':22}" + "".join(f"{kind:>14}" for kind in (*WITH, "lower")))
    for (name, counts), share in zip(caught.items(), np.median(closer, axis=0), strict=True):
        row = "".join(f"{counts[kind]:14d}" for kind in WITH)
        print(f"{name:22}{row}{share:14.0%}")
    print(f"{'honest, called wrong':22}" + "".join(f"{wrong[kind]:14d}" for kind in WITH))
    print(f"of {asked} honest columns")
    if folder is not None:
        n_wrong, n_columns = 0, 0
        for path in sorted(folder.glob("*.npz")):
            problem = StoredProblem.open(path)
            for fold in range(len(problem.sizes())):
                data, test = problem.parts(fold)
                hidden = EnsembleData(test.R, classifier_names=test.classifier_names)
                for rows in (None, hidden, test):
                    n_wrong += len(suspicious_columns(data, rows))
                    n_columns += data.n_classifiers
        print(f"{folder.name}: {n_wrong} of {n_columns} answers about honest columns are wrong")


if __name__ == "__main__":
    main()
