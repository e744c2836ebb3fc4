"""What wrong labels cost final estimators.

    python examples/benchmarks/label_noise.py [--seeds N]

Seven learners on simulated problems whose labels are wrong in some rows, in training and in test
rows alike: nobody can be sure of a label then, and learners that are must not outvote the others.
"""

import argparse
import warnings

import numpy as np
from ablation import FAMILIES, OtherClassifier
from lightgbm import LGBMClassifier
from sklearn.datasets import make_classification
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from xgboost import XGBClassifier

from cfe_stack import collect_out_of_fold
from cfe_stack.comparison import CONTENDERS
from cfe_stack.comparison.contenders import OURS
from cfe_stack.metrics import log_loss

N_TRAIN, N_TEST = 1500, 4500
SHARES = (0.0, 0.05, 0.1)
SEPARATIONS = (1.0, 2.0)
NAMES = (
    "mean", "greedy selection", "LogisticRegression", "LogisticRegressionCV",
    "LogisticRegressionCV, log-odds",
)  # fmt: skip
WITHOUT = "CF-Ensemble, no bounded pool"


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


def losses(share, separation, seed):
    """Return the log-loss of every contender on the test rows."""
    X, y = make_classification(
        N_TRAIN + N_TEST,
        12,
        n_informative=6,
        n_redundant=2,
        class_sep=separation,
        flip_y=2 * share,  # labels drawn anew are right half of the time
        random_state=seed,
    )
    train, test = slice(None, N_TRAIN), slice(N_TRAIN, None)
    data = collect_out_of_fold(learners(seed), X[train], y[train], X_test=X[test], progress=False)
    found = {name: CONTENDERS[name].predict(data, data.test) for name in (*NAMES, OURS)}
    others = tuple(name for name in FAMILIES if name != "bounded_pool")
    without = OtherClassifier().with_pools(families=others).fit(data.R.T, data.labels)
    found[WITHOUT] = without.predict_proba(data.test.R.T)
    return {name: log_loss(y[test], proba) for name, proba in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    seeds = parser.parse_args().seeds
    warnings.simplefilter("ignore")
    columns = {}
    for share in SHARES:
        for separation in SEPARATIONS:
            found = [losses(share, separation, seed) for seed in range(seeds)]
            columns[share, separation] = {n: np.mean([f[n] for f in found]) for n in found[0]}
    print(f"wrong labels{'':<22}" + "".join(f"{share:>9.0%}" for share, _ in columns))
    print(f"separation of the classes{'':<9}" + "".join(f"{s:>9.0f}" for _, s in columns))
    for name in (*NAMES, WITHOUT, OURS):
        print(f"{name:<34}" + "".join(f"{column[name]:>9.4f}" for column in columns.values()))
    print(f"\nLog-loss of {N_TEST} test rows, mean over {seeds} problems.")


if __name__ == "__main__":
    main()
