"""Seconds per ALS sweep: ours, cmfrec, one system at a time, stacked LAPACK, and the floor.

    python examples/benchmarks/als_speed.py                      # m = 50, d = 16, n = 200 000
    python examples/benchmarks/als_speed.py --grid --n 50000     # m in 10, 50, 200; d in 4, 16, 32

A sweep is both half-steps, with the aggregator, the objective, and confidence made on the fly. The
loop solves one system at a time and stops after --loop instances, whose time is scaled up; stacked
is numpy.linalg.solve on blocks; the floor is the two matrix products of the Gram parts alone.
Contenders take turns; seconds are medians over the rounds, and ratios medians of the ratios within
a round. cmfrec (https://pypi.org/project/cmfrec) takes part if it is installed.
"""

import argparse
import sys
import time
import warnings

import numpy as np
from threadpoolctl import threadpool_info

from cfe_stack import CFEnsembleTrainer, EnsembleData
from cfe_stack.trainers.normal_equations import pair_products, solve_instances, unpack

CLOCK = [time.perf_counter]
RIDGE = 0.1
SWEEPS = 4
BLOCK = 4096


def seconds(work) -> float:
    start = CLOCK[-1]()
    work()
    return CLOCK[-1]() - start


def ours(R: np.ndarray, d: int):
    n = R.shape[1]
    rng = np.random.default_rng(1)
    labels = np.where(np.arange(n) < n // 100, rng.random(n) < 0.3, -1).astype(int)
    data = EnsembleData(R, labels)

    def fit(sweeps: int) -> float:
        trainer = CFEnsembleTrainer(
            latent_dim=d, lambda_reg=RIDGE, max_iter=sweeps, tol=0, random_state=0
        )
        return seconds(lambda: trainer.fit(data))

    return lambda: (fit(SWEEPS + 1) - fit(1)) / SWEEPS


def cmfrec_sweep(R: np.ndarray, d: int, use_cg: bool, threads: int):
    import cmfrec

    weights, rows = (np.abs(R.T - 0.5) + 0.1).astype(np.float32), np.ascontiguousarray(R.T)

    def fit(sweeps: int) -> float:
        model = cmfrec.CMF(
            k=d, lambda_=RIDGE, method="als", use_cg=use_cg, niter=sweeps, user_bias=False,
            item_bias=False, center=False, use_float=True, nthreads=threads, verbose=False,
            precompute_for_predictions=False, finalize_chol=False,
        )  # fmt: skip
        return seconds(lambda: model.fit(rows, W=weights))

    return lambda: (fit(3) - fit(1)) / 2


def one_by_one(X: np.ndarray, C: np.ndarray, Z: np.ndarray) -> np.ndarray:
    ridge = RIDGE * np.eye(len(X), dtype=X.dtype)
    columns = [
        np.linalg.solve((X * C[:, i]) @ X.T + ridge, X @ (C[:, i] * Z[:, i]))
        for i in range(C.shape[1])
    ]
    return np.stack(columns, axis=1)


def loop(R: np.ndarray, X: np.ndarray, instances: int):
    """Both half-steps, one system at a time; the first on some instances, scaled up."""
    n = R.shape[1]
    C = np.abs(R - 0.5)
    Y = np.random.default_rng(2).standard_normal((len(X), n)).astype(R.dtype)

    def sweep() -> float:
        some = seconds(lambda: one_by_one(X, C[:, :instances], R[:, :instances]))
        return some * n / instances + seconds(lambda: one_by_one(Y, C.T, R.T))

    return sweep


def stacked(R: np.ndarray, X: np.ndarray):
    """The instances' half-step by numpy.linalg.solve, and the classifiers' products."""
    products, d = pair_products(X), len(X)

    def sweep() -> None:
        for start in range(0, R.shape[1], BLOCK):
            Z = R[:, start : start + BLOCK]
            C = np.abs(Z - np.float32(0.5))
            full = unpack(products @ C, d) + RIDGE * np.eye(d, dtype=R.dtype)
            Y = np.linalg.solve(full, (X @ (C * Z)).T[:, :, None])[:, :, 0].T
            pair_products(np.ascontiguousarray(Y)) @ C.T
            Y @ (C * Z).T

    return lambda: seconds(sweep)


def floor(R: np.ndarray, X: np.ndarray):
    products = pair_products(X)
    C = np.abs(R[:, :BLOCK] - np.float32(0.5))
    gram = np.empty((len(products), C.shape[1]), dtype=R.dtype)

    def sweep() -> None:
        for _ in range(0, R.shape[1], BLOCK):
            np.matmul(products, C, out=gram)
            gram @ C.T

    return lambda: seconds(sweep)


def agreement(m: int, d: int) -> list[float]:
    """Return the largest difference from the loop, relative to the largest entry, by precision."""
    found = []
    for dtype in (np.float32, np.float64):
        rng = np.random.default_rng(0)
        R = rng.random((m, 500)).astype(dtype)
        X = (rng.standard_normal((d, m)) / np.sqrt(m)).astype(dtype)
        C = np.abs(R - dtype(0.5))
        expected = one_by_one(*(array.astype(np.float64) for array in (X, C, R)))
        solution = solve_instances(X, C, C * R, RIDGE)
        found.append(float(np.abs(solution - expected).max() / np.abs(expected).max()))
    return found


def compare(m: int, n: int, d: int, options: argparse.Namespace) -> None:
    R = np.random.default_rng(0).random((m, n), dtype=np.float32)
    X = np.random.default_rng(1).standard_normal((d, m)).astype(np.float32)
    contenders = {"ours": ours(R, d), "floor": floor(R, X), "stacked": stacked(R, X)}
    contenders["loop"] = loop(R, X, min(options.loop, n))
    try:
        contenders["cmfrec, Cholesky"] = cmfrec_sweep(R, d, False, options.threads)
        contenders["cmfrec, CG"] = cmfrec_sweep(R, d, True, options.threads)
        contenders["cmfrec, CG"]()
    except ImportError:
        contenders = {k: v for k, v in contenders.items() if "cmfrec" not in k}
    for warm in ("ours", "floor"):
        contenders[warm]()
    rounds = [{name: work() for name, work in contenders.items()} for _ in range(options.runs)]
    single, double = agreement(m, d)
    print(f"\nm = {m}, n = {n:,}, d = {d}; {options.runs} rounds; largest difference from the loop")
    print(f"{single:.1e} (float32), {double:.1e} (float64)")
    print(f"{'':20}{'s / sweep':>12}{'x ours':>10}")
    for name in contenders:
        median = np.median([one[name] for one in rounds])
        ratio = np.median([one[name] / one["ours"] for one in rounds])
        print(f"{name:20}{median:12.4f}{ratio:10.2f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=200_000)
    parser.add_argument("--grid", action="store_true", help="several m and d")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--loop", type=int, default=5_000, help="instances that the loop solves")
    parser.add_argument("--threads", type=int, default=2, help="threads of cmfrec")
    parser.add_argument("--cpu", action="store_true", help="processor time, for busy machines")
    options = parser.parse_args()
    if options.cpu:
        CLOCK.append(time.process_time)
    warnings.simplefilter("ignore")
    print("BLAS threads:", max(pool["num_threads"] for pool in threadpool_info()))
    sizes = [(m, d) for m in (10, 50, 200) for d in (4, 16, 32)] if options.grid else [(50, 16)]
    for m, d in sizes:
        compare(m, options.n, d, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
