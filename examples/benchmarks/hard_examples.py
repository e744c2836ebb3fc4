"""Does the focal loss help on hard instances? Easy, medium and hard ones, over many seeds.

    python examples/benchmarks/hard_examples.py
    python examples/benchmarks/hard_examples.py --data FOLDER      # also on imbalanced real sets

Ten classifiers, 1000 instances, one in ten positive; half of the labels are unknown, and the
figures are those of the unlabelled half. On easy instances (40 %) all classifiers agree with the
truth, on medium ones (40 %) they disagree somewhat, on hard ones (20 %) most see next to nothing
and some are wrong. Every row of a table is one way to weigh the same instances in the same ALS
trainer (the sources' aggregator, solved to convergence; "gradient steps": by 100 of their steps of
size 0.01; schedules: by 300 of size 0.5); predictions are transductive. Accuracy is at probability
1/2, as in the sources; "balanced" accuracy averages over the two classes. Intervals: mean ± 1.96
standard errors over the seeds.
"""

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, balanced_accuracy_score

from cfe_stack import CFEnsembleTrainer, EnsembleData
from cfe_stack.losses.labeled_rows import LabeledRows
from cfe_stack.losses.schedules import CosineSchedule, LinearSchedule
from cfe_stack.trainers.aggregators import WeightedAggregator

N_CLASSIFIERS, N_INSTANCES, POSITIVE = 10, 1000, 0.1
KINDS = ("easy", "medium", "hard")
SHARES = (0.4, 0.4, 0.2)
SIGNAL = {"easy": 2.5, "medium": 1.2, "hard": 0.4}
NOISE = {"easy": 0.5, "medium": 1.2, "hard": 2.0}
GAMMAS = (0.5, 1.0, 2.0, 3.0, 5.0)
HARDEST = 0.3

WEIGHTINGS = {
    "none": {},
    "class weights": {"use_class_weights": True},
    "focal": {"focal_gamma": 2.0},
    "class weights + focal": {"use_class_weights": True, "focal_gamma": 2.0},
}
SCHEDULES = {
    "focal, 0 to 2": {"focal_gamma": LinearSchedule(0.0, 2.0)},
    "focal, 2 to 0": {"focal_gamma": LinearSchedule(2.0, 0.0)},
    "focal, 0 to 2, cosine": {"focal_gamma": CosineSchedule(0.0, 2.0)},
    "class weights, 0 to whole": {"use_class_weights": LinearSchedule(0.0, 1.0)},
    "class weights, whole to 0": {"use_class_weights": LinearSchedule(1.0, 0.0)},
}

LONG = {"aggregator_solver": "gradient", "aggregator_lr": 0.5, "max_iter": 300}


def make(seed: int):
    """Return predictions (m, n), codes, and the kind of every instance."""
    random = np.random.default_rng(seed)
    kinds = random.choice(KINDS, size=N_INSTANCES, p=SHARES)
    truth = (random.random(N_INSTANCES) < POSITIVE).astype(int)
    skill = random.uniform(0.3, 1.5, N_CLASSIFIERS)
    signal = np.array([SIGNAL[kind] for kind in kinds]) * (2 * truth - 1)
    noise = np.array([NOISE[kind] for kind in kinds])
    shared = 0.3 * random.standard_normal(N_INSTANCES)
    own = random.standard_normal((N_CLASSIFIERS, N_INSTANCES))
    log_odds = skill[:, None] * signal + noise * (shared + own) - 1.0
    return 1 / (1 + np.exp(-log_odds)), truth, kinds


def train(R, labels, **settings) -> np.ndarray:
    """Return probabilities of class 1 for all instances."""
    defaults = {
        "latent_dim": 5, "use_class_weights": False, "random_state": 0, "max_iter": 60, "tol": 0,
        "aggregator_solver": "converged",
    }  # fmt: skip
    trainer = CFEnsembleTrainer(**(defaults | settings))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return trainer.fit(EnsembleData(R, labels)).transductive_proba_[:, 1]


def resampled(R, labels, over: bool, seed: int) -> np.ndarray:
    """Repeat positives, or drop negatives, at random until the classes are even."""
    random = np.random.default_rng(seed)
    ones, zeros = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    weights = np.ones(len(labels))
    if over:
        extra = random.choice(ones, size=len(zeros) - len(ones))
        weights += np.bincount(extra, minlength=len(labels))
    else:
        weights[random.choice(zeros, size=len(zeros) - len(ones), replace=False)] = 0
    aggregator = reference_aggregator(R, labels)
    return aggregator(weights)


def reference_aggregator(R, labels):
    """Return a function from weights of labelled instances to probabilities of all of them.

    The factors are those of the unweighted trainer; only the aggregator is fitted again.
    """
    trainer = CFEnsembleTrainer(
        latent_dim=5, use_class_weights=False, random_state=0, max_iter=60, tol=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(EnsembleData(R, labels))
    features = (trainer.classifier_factors_.T @ trainer.instance_factors_).T
    known = labels >= 0

    def fit(weights: np.ndarray) -> np.ndarray:
        unit = WeightedAggregator(0.0, "converged")
        unit.start(len(R), 0.0)
        unit.update(features[known], LabeledRows.plain(labels[known], weights[known]))
        return 1 / (1 + np.exp(-unit.scores(features)))

    return fit


def mined(R, labels, others: float, rounds: int = 10) -> np.ndarray:
    """Hard-example mining: fit, find the labelled instances of largest loss, fit again.

    The hardest weigh 1, the other labelled instances `others`: 0 is mining as it is known from
    object detection.
    """
    fit, weights = reference_aggregator(R, labels), np.ones(len(labels))
    known = np.flatnonzero(labels >= 0)
    for _ in range(rounds):
        proba = np.clip(fit(weights), 1e-9, 1 - 1e-9)
        loss = -np.log(np.where(labels == 1, proba, 1 - proba))[known]
        keep = known[np.argsort(-loss, kind="stable")[: int(HARDEST * len(known))]]
        weights = np.full(len(labels), others)
        weights[keep] = 1.0
    return fit(weights)


def contenders(seed: int):
    """Return {name: function of (R, labels)}."""
    rows = {"plain average": lambda R, labels: R.mean(axis=0)}
    for name, settings in WEIGHTINGS.items():
        rows[name] = lambda R, labels, s=settings: train(R, labels, **s)
    for name, settings in WEIGHTINGS.items():
        steps = settings | {"aggregator_solver": "gradient", "init_prior": False, "max_iter": 100}
        rows[f"{name}, gradient steps"] = lambda R, labels, s=steps: train(R, labels, **s)
    for gamma in GAMMAS:
        rows[f"focal, gamma {gamma:g}"] = lambda R, labels, g=gamma: train(R, labels, focal_gamma=g)
    for name, settings in SCHEDULES.items():
        rows[name] = lambda R, labels, s=settings: train(R, labels, **s, **LONG)
    rows["none, as the schedules"] = lambda R, labels: train(R, labels, **LONG)
    rows["class weights, as the schedules"] = lambda R, labels: train(
        R, labels, use_class_weights=True, **LONG
    )
    rows["focal 2, as the schedules"] = lambda R, labels: train(R, labels, focal_gamma=2.0, **LONG)
    rows[f"hardest {HARDEST:.0%} only"] = lambda R, labels: mined(R, labels, 0.0)
    rows[f"hardest {HARDEST:.0%} doubled"] = lambda R, labels: mined(R, labels, 0.5)
    rows["oversampling"] = lambda R, labels: resampled(R, labels, True, seed)
    rows["undersampling"] = lambda R, labels: resampled(R, labels, False, seed)
    return rows


def figures(proba, truth, kinds) -> dict[str, float]:
    right = (proba > 0.5) == truth
    hard = kinds == "hard"
    return {
        "easy": right[kinds == "easy"].mean(),
        "medium": right[kinds == "medium"].mean(),
        "hard": right[hard].mean(),
        "hard, balanced": balanced_accuracy_score(truth[hard], proba[hard] > 0.5),
        "PR-AUC": average_precision_score(truth, proba),
    }


def table(results: dict[str, list[dict[str, float]]]) -> str:
    columns = list(next(iter(results.values()))[0])
    lines = [f"{'':36}" + "".join(f"{c:>18}" for c in columns)]
    for name, runs in results.items():
        line = f"{name:36}"
        for column in columns:
            values = np.array([run[column] for run in runs])
            error = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
            line += f"{values.mean():11.3f} ± {error:.3f}"
        lines.append(line)
    return "\n".join(lines)


def simulated(n_seeds: int) -> None:
    results: dict[str, list[dict[str, float]]] = {}
    for seed in range(n_seeds):
        R, truth, kinds = make(seed)
        labels = truth.copy()
        labels[N_INSTANCES // 2 :] = -1
        held = labels < 0
        for name, contender in contenders(seed).items():
            proba = contender(R, labels)
            row = figures(proba[held], truth[held], kinds[held])
            results.setdefault(name, []).append(row)
        print(f"seed {seed + 1}/{n_seeds}", file=sys.stderr)
    print(f"simulated, {n_seeds} seeds")
    print(table(results))


def real(folder: Path) -> None:
    """Print PR-AUC on the held-out rows of sets with at most 15 % positives."""
    from stored_matrices import load

    names = [name for name in contenders(0) if "steps" not in name and "to" not in name.split()]
    results: dict[str, list[float]] = {}
    sets = []
    for path in sorted(folder.glob("*.npz")):
        n_classes, folds = load(path)
        if n_classes != 2 or folds[0][1].mean() > 0.15:
            continue
        sets.append(path.stem)
        for name in names:
            scores = []
            for fold, (P, y, T, y_test) in enumerate(folds[:2]):
                R = np.concatenate([P, T]).T.astype(float)
                labels = np.concatenate([y, np.full(len(T), -1)])
                proba = contenders(fold)[name](R, labels)[len(y) :]
                scores.append(average_precision_score(y_test, proba))
            results.setdefault(name, []).append(float(np.mean(scores)))
        print(path.stem, file=sys.stderr)
    print(f"\nPR-AUC on {len(sets)} imbalanced sets ({', '.join(sets)}), two folds each: mean, and")
    print("mean ± 1.96 standard errors of the difference to `none`, over the sets")
    for name, values in results.items():
        gap = np.subtract(values, results["none"])
        error = 1.96 * gap.std(ddof=1) / np.sqrt(len(gap))
        each = " ".join(f"{v:.3f}" for v in values)
        print(f"{name:28}{np.mean(values):8.4f}{gap.mean():+9.4f} ± {error:.4f}   {each}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--data", type=Path, help="folder of NAME.npz matrices")
    options = parser.parse_args()
    simulated(options.seeds)
    if options.data:
        real(options.data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
