"""What wrong labels cost final estimators.

    python examples/benchmarks/label_noise.py [--seeds N]

Seven learners on simulated problems whose labels are wrong in some rows, in training and in test
rows alike: nobody can be sure of a label then, and learners that are must not outvote the others.
"""

import argparse
import warnings

import numpy as np
from ablation import without
from lightgbm import LGBMClassifier
from sklearn.datasets import make_classification
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from xgboost import XGBClassifier

from cfe_stack import collect_out_of_fold
from cfe_stack.comparison.contenders import OURS, resolve_contenders
from cfe_stack.metrics import log_loss

N_TRAIN, N_TEST = 1500, 4500
SHARES = (0.0, 0.05, 0.1)
PROBLEMS = {"close": (2, 1.0), "far": (2, 2.0), "six": (6, 1.5)}
"""Numbers of classes and their separations."""
NAMES = (
    "mean", "greedy selection", "LogisticRegression", "LogisticRegressionCV",
    "LogisticRegressionCV, log-odds",
)  # fmt: skip

CONTENDERS = resolve_contenders(
    {name: name for name in NAMES}
    | {f"{OURS}, no bounded pool": without("bounded_pool"), OURS: OURS}
)


def learners(seed):
    boosting = {"n_estimators": 60, "random_state": seed, "n_jobs": 1}
    return [
        ("logistic regression", LogisticRegression(max_iter=500)),
        ("random forest", RandomForestClassifier(60, random_state=seed)),
        ("extra trees", ExtraTreesClassifier(60, random_state=seed)),
        ("LightGBM", LGBMClassifier(verbosity=-1, **boosting)),
        ("XGBoost", XGBClassifier(max_depth=5, **boosting)),
        ("naive Bayes", GaussianNB()),
        ("neighbours", KNeighborsClassifier(15)),
    ]


def losses(share, n_classes, separation, seed):
    """Return the log-loss of every contender on the test rows."""
    X, y = make_classification(
        N_TRAIN + N_TEST,
        12,
        n_informative=6,
        n_redundant=2,
        n_classes=n_classes,
        class_sep=separation,
        flip_y=share * n_classes / (n_classes - 1),  # labels drawn anew may be right
        random_state=seed,
    )
    train, test = slice(None, N_TRAIN), slice(N_TRAIN, None)
    data = collect_out_of_fold(learners(seed), X[train], y[train], X_test=X[test], progress=False)
    return {c.name: log_loss(y[test], c.predict(data, data.test)) for c in CONTENDERS}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    seeds = parser.parse_args().seeds
    warnings.simplefilter("ignore")
    table = {}
    for share in SHARES:
        for title, problem in PROBLEMS.items():
            found = [losses(share, *problem, seed) for seed in range(seeds)]
            table[share, title] = {n: np.mean([f[n] for f in found]) for n in found[0]}
    print(f"{'wrong labels':<34}" + "".join(f"{share:>9.0%}" for share, _ in table))
    print(f"{'classes':<34}" + "".join(f"{title:>9}" for _, title in table))
    for c in CONTENDERS:
        print(f"{c.name:<34}" + "".join(f"{column[c.name]:>9.4f}" for column in table.values()))
    print(f"\nLog-loss of {N_TEST} test rows, mean over {seeds} problems.")


if __name__ == "__main__":
    main()
