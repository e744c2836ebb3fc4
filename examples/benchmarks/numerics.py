"""Rounding: single against double precision, weak ridges, long sums, saturated probabilities.

    python examples/benchmarks/numerics.py                   # sums of 1e7 terms
    python examples/benchmarks/numerics.py --terms 100000000

Differences are the largest over all training rows, between single and double precision.
"""

import argparse
import warnings

import numpy as np

from cfe_stack import CFEnsembleClassifier, CFEnsembleTrainer, EnsembleData
from cfe_stack.classifier.final_aggregators import FINAL_AGGREGATORS
from cfe_stack.datasets import make_ensemble
from cfe_stack.factor_model.normal_equations import ClassifierEquations, weigh
from cfe_stack.losses.focal_loss import FocalLoss

BLOCK = 8192


def matrix(kind: str, n_classes: int = 2, n: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    made = make_ensemble(10, n, n_classes, missing_rate=0.1, random_state=0)
    R = made.R
    if kind == "copies":
        R = np.concatenate([R, R, R])
    if kind == "saturated":
        R = np.where(np.isnan(R), R, np.round(R))
    return R, made.labels


def factors(kind: str, latent_dim: int, ridge: float, n_classes: int = 2) -> tuple[float, float]:
    """Return the differences of reconstructions and probabilities."""
    R, labels = matrix(kind, n_classes)
    found = []
    for dtype in (np.float32, np.float64):
        trainer = CFEnsembleTrainer(
            latent_dim=latent_dim, lambda_reg=ridge, link="logit", standardize=True,
            init="spectral", aggregator_type="log_pool", max_iter=20, tol=0,
        )  # fmt: skip
        data = EnsembleData(R.astype(dtype), labels)
        trainer.fit(data)
        found.append((trainer.reconstruct(data.R), trainer.predict_proba(data.R)))
    return tuple(float(np.abs(a - b).max()) for a, b in zip(*found, strict=True))


def aggregator(name: str, n_classes: int) -> float:
    R, labels = matrix("plain", n_classes)
    P = R.T if n_classes == 2 else R.transpose(1, 0, 2).reshape(len(labels), -1)
    single = P.astype(np.float32)
    folds = np.arange(len(P)) % 5
    cv = [(np.flatnonzero(folds != f), np.flatnonzero(folds == f)) for f in range(5)]
    layout = "class1" if n_classes == 2 else "blocks"
    probas = [
        CFEnsembleClassifier(aggregator=name, cv=cv, layout=layout).fit(X, labels).predict_proba(X)
        for X in (single, single.astype(np.float64))
    ]
    return float(np.abs(probas[0] - probas[1]).max())


def long_sum(n_terms: int) -> tuple[float, float]:
    """Return relative errors of our normal equations and of one running sum in float32."""
    equations, Y = ClassifierEquations.empty(1, 1, 1), np.full((1, BLOCK), 0.1, np.float32)
    C = np.ones((1, BLOCK), np.float32)
    n_blocks, running = n_terms // BLOCK, np.zeros((), np.float32)
    total = np.float32(BLOCK * 0.1**2)
    for _ in range(n_blocks):
        equations.add(Y, C, weigh(C, Y))
        # what a sum in single precision would add up, block after block
        running += total
    exact = float(np.float32(0.1)) ** 2 * BLOCK * n_blocks
    return abs(float(equations.gram[0, 0]) / exact - 1), abs(float(running) / exact - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--terms", type=int, default=10_000_000)
    terms = parser.parse_args().terms
    warnings.simplefilter("ignore")
    print(f"{'factors':36s} {'reconstruction':>15s} {'probability':>12s}")
    for kind in ("plain", "copies", "saturated"):
        for latent_dim, ridge in ((3, 1.0), (3, 1e-3), (3, 0.0), (40, 1.0), (40, 1e-3)):
            parts = factors(kind, latent_dim, ridge)
            name = f"{kind}, d = {latent_dim}, lambda = {ridge:g}"
            print(f"{name:36s} {parts[0]:15.1e} {parts[1]:12.1e}")
    parts = factors("plain", 3, 1.0, 3)
    print(f"{'three classes, d = 3, lambda = 1':36s} {parts[0]:15.1e} {parts[1]:12.1e}")
    print(f"\n{'aggregator':36s} {'two classes':>15s} {'three':>12s}")
    families = [family.name for family in FINAL_AGGREGATORS["auto"].families]
    for name in ("auto", *families, "linear_pool", "weighted"):
        print(f"{name:36s} {aggregator(name, 2):15.1e} {aggregator(name, 3):12.1e}")
    print(f"\nrelative error of a sum of {terms:.0e} terms")
    ours, running = long_sum(terms)
    print(f"normal equations {ours:.1e}, running sum in float32 {running:.1e}")
    print("\nfocal loss, largest |derivative| for margins in [-800, 800]")
    margins = np.concatenate([np.linspace(-800, 800, 1601), np.logspace(-300, 2, 600)])
    for gamma in (0.05, 0.25, 0.5, 0.75, 0.95):
        loss = FocalLoss(gamma)
        print(f"gamma = {gamma:4.2f}: {np.abs(loss.derivative(margins)).max():.3g}")


if __name__ == "__main__":
    main()
