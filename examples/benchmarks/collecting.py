"""Wall time of collecting out-of-fold predictions, against scikit-learn's and mlxtend's stacks.

    python examples/benchmarks/collecting.py [--n-jobs 2] [--rows 20000] [--repeats 3]

Every contender fits the same base learners in the same five folds and once more on all rows; the
final estimator is Gaussian naive Bayes, whose time does not count for much. Contenders take turns
and the figures are medians over repeats of the ratio to scikit-learn within a repeat: of wall time,
and of processor time over all processes, which other work on the machine changes less.
With idle cores beyond n_jobs, scikit-learn is favoured: its folds run in parallel inside its
learners, up to n_jobs squared fits at a time.
"""

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from joblib import parallel_config
from lightgbm import LGBMClassifier
from mlxtend.classifier import StackingCVClassifier
from sklearn.datasets import make_classification
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier, StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

from cfe_stack import collect_out_of_fold

CV = StratifiedKFold(5)


def learners(kind: str) -> list[tuple[str, object]]:
    """Base learners of about the same cost, or with one that takes most of the time."""
    quick = [
        ("logistic", make_pipeline(StandardScaler(), LogisticRegression())),
        ("bayes", GaussianNB()),
        ("lightgbm", LGBMClassifier(n_estimators=40, n_jobs=1, verbose=-1)),
        ("xgboost", XGBClassifier(n_estimators=40, n_jobs=1)),
    ]
    if kind == "uneven":
        return [*quick, ("forest", RandomForestClassifier(150, min_samples_leaf=5, random_state=0))]
    return [
        (f"trees {i}", ExtraTreesClassifier(40, min_samples_leaf=5, random_state=i))
        for i in range(4)
    ]


def contenders(
    bases: list[tuple[str, object]], n_jobs: int, X, y
) -> dict[str, Callable[[], object]]:
    return {
        "scikit-learn": lambda: StackingClassifier(
            bases, GaussianNB(), cv=CV, stack_method="predict_proba", n_jobs=n_jobs
        ).fit(X, y),
        "mlxtend": lambda: StackingCVClassifier(
            [learner for _, learner in bases],
            GaussianNB(),
            use_probas=True,
            cv=5,
            shuffle=False,
            n_jobs=n_jobs,
        ).fit(X, y),
        "cfe_stack": lambda: collect_out_of_fold(bases, X, y, cv=CV, n_jobs=n_jobs, progress=False),
    }


def processor_seconds() -> float:
    """Processor time of this process and (on Linux) of the workers that it started."""
    ticks = 0
    for listed in Path("/proc/self/task").glob("*/children"):
        for pid in listed.read_text().split():
            stat = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()
            ticks += int(stat[11]) + int(stat[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--backend", default="loky", choices=["loky", "threading"])
    parser.add_argument("--kinds", nargs="+", default=["even", "uneven"])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    X, y = make_classification(options.rows, 20, n_informative=8, random_state=0)
    print(f"{options.rows} rows, n_jobs={options.n_jobs}, {options.backend}")
    print(f"{'learners':10}{'contender':14}{'seconds':>9}{'ratio':>8}{'processor ratio':>17}")
    with parallel_config(backend=options.backend):
        for kind in options.kinds:
            bases = learners(kind)
            for run in contenders(bases, options.n_jobs, X[:500], y[:500]).values():
                run()  # starts the workers and imports in them
            seconds: dict[str, list[float]] = {}
            busy: dict[str, list[float]] = {}
            for _ in range(options.repeats):
                for name, run in contenders(bases, options.n_jobs, X, y).items():
                    start, used = time.perf_counter(), processor_seconds()
                    run()
                    seconds.setdefault(name, []).append(time.perf_counter() - start)
                    busy.setdefault(name, []).append(processor_seconds() - used)
            for name, taken in seconds.items():
                wall, processor = (
                    statistics.median(
                        a / b for a, b in zip(m[name], m["scikit-learn"], strict=True)
                    )
                    for m in (seconds, busy)
                )
                print(
                    f"{kind:10}{name:14}{statistics.median(taken):9.2f}{wall:8.2f}{processor:17.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
