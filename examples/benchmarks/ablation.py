"""What each part of the default aggregator adds: it is left out, and the others stay.

    python examples/benchmarks/ablation.py --data FOLDER

FOLDER holds the ensemble matrices that real_data.py reads; the first --folds outer folds of every
set are used. Options of `CFEnsembleClassifier` do most of it, subclasses the rest. Completion has
nothing to do in complete rows, so it is compared on matrices with 30 % of the cells missing.
With --subsamples it learns from so many subsamples of 60 rows of the first outer fold instead.
"""

import argparse
import sys
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from robustness import FEW, few_of
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from stored_matrices import load, paths_in
from threadpoolctl import threadpool_limits

from cfe_stack import CFEnsembleClassifier
from cfe_stack.classifier.final_aggregators import FINAL_AGGREGATORS, FittedPool, FoldedIn
from cfe_stack.losses import LabeledRows
from cfe_stack.metrics import log_loss
from cfe_stack.pools import Calibration, Family
from cfe_stack.pools.inputs import PoolInputs
from cfe_stack.pools.selection import SelectedPool, select_pool, selection_rows

FAMILIES = FINAL_AGGREGATORS["auto"].families
MISSING = 0.3
WHOLE, HOLED = "auto", "auto, 30 % missing"


class UncalibratedFamily(Family):
    """A family that pools the learners' log-odds as they are."""

    def calibrate(self, inputs: PoolInputs) -> Calibration:
        """Return slopes 1 and offsets 0."""
        m = inputs.Z.shape[-1]
        return Calibration(np.ones(m), np.zeros(m))


@dataclass(frozen=True)
class OtherPools:
    """Pools of other families, without the second level, or selected in another way.

    `selection` goes to `cfe_stack.pools.selection.select_pool`.
    """

    families: tuple = FAMILIES
    second_level: bool = True
    selection: dict = field(default_factory=dict)

    def fit(
        self, instances: FoldedIn, rows: LabeledRows, folds: np.ndarray, **options
    ) -> FittedPool:
        """Select and combine the pools."""
        inputs = PoolInputs(instances.Z, instances.phi, rows)
        selected = select_pool(self.families, inputs, folds, **self.selection)
        if not self.second_level:
            selected = replace(selected, pool=self.prior_shares(selected, inputs))
        weights = selected.pool.average_weights(inputs)
        return FittedPool(selected.pool, self.families[0], weights, selected)

    def prior_shares(self, selected: SelectedPool, inputs: PoolInputs):
        """Return the families, each averaged along its path, in their prior shares."""
        rows = inputs.rows
        chosen, scale = selection_rows(inputs.Z, rows.labels, rows.frequencies)
        calibration = self.families[0].calibrate(inputs.take(chosen, scale))
        pools = []
        for family in self.families:
            path = family.fit_path(inputs, calibration)
            pools.append(type(path[0]).average(path, selected.path_shares[family.name]))
        prior = np.array([family.share for family in self.families])
        return type(pools[0]).average(pools, prior / prior.sum())


class OtherClassifier(CFEnsembleClassifier):
    """The default with other pools at its end."""

    def with_pools(self, **pools) -> "OtherClassifier":
        """Set what `OtherPools` takes."""
        self.pools = pools
        return self

    def __sklearn_clone__(self) -> "OtherClassifier":
        return OtherClassifier().with_pools(**self.pools)

    def _check_parameters(self):
        loss, _, scorer = super()._check_parameters()
        return loss, OtherPools(**self.pools), scorer


def without(family: str) -> OtherClassifier:
    """Return the default without a family."""
    return OtherClassifier().with_pools(families=tuple(f for f in FAMILIES if f.name != family))


def variants() -> dict[str, CFEnsembleClassifier]:
    """Return what is compared on complete rows."""
    uncalibrated = tuple(UncalibratedFamily(**vars(family)) for family in FAMILIES)
    found = {
        WHOLE: CFEnsembleClassifier(),
        "no calibration": OtherClassifier().with_pools(families=uncalibrated),
        "no prior on strengths": OtherClassifier().with_pools(selection={"prior_power": 0.0}),
        "prior of power 1": OtherClassifier().with_pools(selection={"prior_power": 1.0}),
        "one point of each path": CFEnsembleClassifier(scoring="neg_log_loss"),
        "no second level": OtherClassifier().with_pools(second_level=False),
        "second level as fitted": OtherClassifier().with_pools(selection={"by_evidence": False}),
        "inner folds not repeated": CFEnsembleClassifier(cv=StratifiedKFold(5)),
    }
    found |= {"no gates": without("gated_pool"), "no bounded pool": without("bounded_pool")}
    found |= {f"{f.name} alone": CFEnsembleClassifier(aggregator=f.name) for f in FAMILIES}
    found |= {
        "class weights": CFEnsembleClassifier(class_weight="balanced"),
        "focal loss, gamma 2": CFEnsembleClassifier(focal_gamma=2.0),
        "mean": CFEnsembleClassifier(aggregator="mean"),
    }
    return found


def with_holes(P: np.ndarray, seed: int) -> np.ndarray:
    """Return `P` with missing cells, at least one prediction left in every row."""
    missing = np.random.default_rng(seed).random(P.shape[:2]) < MISSING
    missing[missing.all(axis=1), 0] = False
    holed = P.astype(float)
    holed[missing] = np.nan
    return holed


def fitted_scores(model, P, y, T, y_test) -> tuple[float, float]:
    """Return log-loss and ROC-AUC of the test rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(P.reshape(len(P), -1), y)
    proba = model.predict_proba(T.reshape(len(T), -1))
    several = proba.shape[1] > 2
    area = roc_auc_score(y_test, proba if several else proba[:, 1], multi_class="ovr")
    return log_loss(y_test, proba), float(area)


def run_fold(P, y, T, y_test) -> dict[str, tuple[float, float]]:
    """Return the scores of every variant on one outer fold."""
    result = {name: fitted_scores(m, P, y, T, y_test) for name, m in variants().items()}
    logistic = LogisticRegression(max_iter=1000)
    result["LogisticRegression"] = fitted_scores(logistic, P, y, T, y_test)
    P, T = with_holes(P, 0), with_holes(T, 1)
    columns, auto = np.nanmean(P, axis=0), CFEnsembleClassifier()
    result[HOLED] = fitted_scores(auto, P, y, T, y_test)
    fillings = {
        "filled with column means": lambda A: columns,
        "filled with row means": lambda A: np.nanmean(A, axis=1, keepdims=True),
    }
    for name, filling in fillings.items():
        A, B = (np.where(np.isnan(part), filling(part), part) for part in (P, T))
        result[name] = fitted_scores(auto, A, y, B, y_test)
    return result


def run_set(path: Path, n_folds: int, subsamples: int) -> tuple[bool, dict[str, np.ndarray]]:
    """Return whether a set has more than two classes, and its scores, averaged over folds."""
    n_classes, folds = load(path)
    if subsamples:
        P, y, *test = folds[0]
        draws = (few_of(y, n_classes, np.random.default_rng(k)) for k in range(subsamples))
        folds = [(P[rows], y[rows], *test) for rows in draws]
    with threadpool_limits(1):
        results = [run_fold(*fold) for fold in folds[: subsamples or n_folds]]
    means = {name: np.mean([result[name] for result in results], axis=0) for name in results[0]}
    return n_classes > 2, means


def table(scores: dict[str, np.ndarray], several: np.ndarray) -> str:
    """Return means over sets, and relative differences in log-loss to the whole."""
    head = f"{'':26}{'two classes':>12}{'ROC-AUC':>9}{'more':>8}{'ROC-AUC':>9}"
    lines = [f"{head}{'change':>9}{'median':>8}{'worst set':>11}{'sets worse':>12}"]
    reference = scores[WHOLE]
    for name, values in scores.items():
        if name == HOLED:
            reference = values
            lines.append("")
        line = f"{name:26}"
        for part, width in ((~several, 12), (several, 8)):
            loss, area = values[part].mean(axis=0) if part.any() else (np.nan, np.nan)
            line += f"{loss:{width}.4f}{area:9.4f}"
        if values is not reference:
            change = 100 * (values[:, 0] / reference[:, 0] - 1)
            line += f"{change.mean():+8.2f}%{np.median(change):+7.2f}%{change.max():+10.1f}%"
            line += f"{f'{int((change > 0).sum())} of {len(change)}':>12}"
        lines.append(line)
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of NAME.npz matrices")
    parser.add_argument("--sets", nargs="+", help="names of data sets; all if left out")
    parser.add_argument("--folds", type=int, default=1, help="outer folds per set, default 1")
    parser.add_argument("--subsamples", type=int, default=0, help=f"of {FEW} rows, per set")
    parser.add_argument("--jobs", type=int, default=1, help="sets side by side, default 1")
    options = parser.parse_args()
    paths = paths_in(options.data, options.sets)
    tasks = (delayed(run_set)(path, options.folds, options.subsamples) for path in paths)
    collected: dict[str, list[np.ndarray]] = {}
    several = []
    for path, (more, found) in zip(
        paths, Parallel(options.jobs, return_as="generator")(tasks), strict=True
    ):
        several.append(more)
        for name, values in found.items():
            collected.setdefault(name, []).append(values)
        print(path.stem, file=sys.stderr, flush=True)
    scores = {name: np.array(values) for name, values in collected.items()}
    print(table(scores, np.array(several)))
    rows = f"{options.subsamples} times {FEW} rows" if options.subsamples else "all rows"
    print(
        f"\n{len(paths)} sets, {options.folds} outer fold(s) each, {rows}. Change, median, worst "
        "set: of\nthe sets' log-losses, relative to the first row of the block."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
