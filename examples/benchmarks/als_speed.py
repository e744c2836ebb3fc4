"""Seconds per ALS sweep: ours, cmfrec, one system at a time, stacked LAPACK, and the floor.

    python examples/benchmarks/als_speed.py            # m = 50, d = 16, n = 200 000
    python examples/benchmarks/als_speed.py --grid     # m in 10, 50, 200; d in 4, 16, 32
    python examples/benchmarks/als_speed.py --blocks   # instances per block, on one thread
    python examples/benchmarks/als_speed.py --systems  # packed Cholesky against LAPACK
    python examples/benchmarks/als_speed.py --parts    # shares of a sweep's time, on one thread

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
from typing import Any
from unittest import mock

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from cfe_stack import CFEnsembleTrainer, EnsembleData
from cfe_stack.factor_model import normal_equations
from cfe_stack.factor_model.normal_equations import (
    pair_products,
    solve_instances,
    solve_packed,
    unpack,
)
from cfe_stack.factor_model.passes import pass_block_size
from cfe_stack.factor_model.workspace import Workspace
from cfe_stack.losses.objective import squared_error_in_place
from cfe_stack.trainers import sweep
from cfe_stack.trainers.sweep import SweepStep

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


def rounds_of(m: int, n: int, d: int, options: argparse.Namespace) -> list[dict[str, float]]:
    """Return seconds per sweep of every contender, round by round."""
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
    return [{name: work() for name, work in contenders.items()} for _ in range(options.runs)]


def ratio(rounds: list[dict[str, float]], name: str) -> float:
    return float(np.median([one[name] / one["ours"] for one in rounds]))


def compare(m: int, n: int, d: int, options: argparse.Namespace) -> None:
    rounds = rounds_of(m, n, d, options)
    single, double = agreement(m, d)
    print(f"\nm = {m}, n = {n:,}, d = {d}; {options.runs} rounds; largest difference from the loop")
    print(f"{single:.1e} (float32), {double:.1e} (float64)")
    print(f"{'':20}{'s / sweep':>12}{'x ours':>10}")
    for name in rounds[0]:
        median = np.median([one[name] for one in rounds])
        print(f"{name:20}{median:12.4f}{ratio(rounds, name):10.2f}", flush=True)


def grid(n: int, options: argparse.Namespace) -> None:
    """Print ratios for several m and d, one line each."""
    print(f"\nn = {n:,}, {options.runs} rounds; seconds, then multiples of ours")
    for k, (m, d) in enumerate((m, d) for m in (10, 50, 200) for d in (4, 16, 32)):
        rounds = rounds_of(m, n, d, options)
        names = [name for name in rounds[0] if name != "ours"]
        if k == 0:
            heads = "".join(f"{name:>18}" for name in names)
            print(f"{'m':>4}{'d':>4}{'s / sweep':>11}{heads}{'differences':>21}")
        own = np.median([one["ours"] for one in rounds])
        others = "".join(f"{ratio(rounds, name):18.2f}" for name in names)
        single, double = agreement(m, d)
        print(f"{m:4}{d:4}{own:11.4f}{others}{single:12.1e} {double:.1e}", flush=True)


def blocks(options: argparse.Namespace) -> None:
    """Print the time of a fit by instances per block, relative to the best."""
    sizes = [256 << k for k in range(7)]
    print(f"\none thread; time by instances per block, as multiples of the best of {options.runs}")
    print(f"{'m':>4}{'d':>4}{'default':>9}" + "".join(f"{size:>8}" for size in sizes))
    for m, d, n in ((10, 4, 131_072), (24, 8, 98_304), (50, 16, 65_536), (200, 32, 16_384)):
        R = np.random.default_rng(0).random((m, n), dtype=np.float32)
        data = EnsembleData(R, np.where(np.arange(n) < n // 100, np.arange(n) % 2, -1))
        trainer = CFEnsembleTrainer(
            latent_dim=d, max_iter=3, tol=0, n_jobs=1, store_instance_factors=False, random_state=0
        )

        def fit(size: int, data: EnsembleData = data, trainer: Any = trainer) -> float:
            with mock.patch.object(sweep, "pass_block_size", return_value=size):
                return seconds(lambda: trainer.fit(data))

        default = pass_block_size(data, d)
        tried = [*sizes, default]
        times = np.array([[fit(size) for size in tried] for _ in range(options.runs)]).min(axis=0)
        shares = times / times.min()
        row = "".join(f"{share:8.2f}" for share in shares[:-1])
        print(f"{m:4}{d:4}{default:9}{row}   default: {shares[-1]:.2f}", flush=True)


def systems(options: argparse.Namespace) -> None:
    """Print microseconds per small system: ours, and one stacked call of LAPACK."""
    print(f"\none thread, float32, medians of {options.runs}")
    print(f"{'d':>4}{'systems':>9}{'packed, us':>12}{'LAPACK, us':>12}{'ratio':>8}")
    for d, n in ((4, 8192), (16, 4096), (32, 4096), (64, 2048), (96, 1024), (128, 512)):
        factors = np.random.default_rng(0).standard_normal((d, 2 * d, n)).astype(np.float32)
        full = np.einsum("ian,jan->nij", factors, factors, optimize=True)
        packed = np.concatenate([full[:, j:, j].T for j in range(d)])
        b, workspace, ridges = factors[:, 0], Workspace(), RIDGE * np.eye(d, dtype=np.float32)

        def own(packed: Any = packed, b: Any = b, workspace: Any = workspace) -> None:
            solve_packed(packed, b, RIDGE, workspace=workspace)

        def lapack(full: Any = full, b: Any = b, ridges: Any = ridges) -> None:
            np.linalg.solve(full + ridges, b.T[:, :, None])

        with threadpool_limits(1), mock.patch.object(normal_equations, "LARGE_SYSTEM", 1 << 30):
            own()
            pairs = [(seconds(own), seconds(lapack)) for _ in range(options.runs)]
        ours_us, theirs_us = np.median(pairs, axis=0) / n * 1e6
        print(f"{d:4}{n:9}{ours_us:12.2f}{theirs_us:12.2f}{theirs_us / ours_us:8.1f}", flush=True)


def parts(options: argparse.Namespace) -> None:
    """Print what each kernel of a sweep takes of the time of a block, and of a whole sweep."""
    m, d, n = 50, 16, 65_536
    R = np.random.default_rng(0).random((m, n), dtype=np.float32)
    data = EnsembleData(R)
    trainer = CFEnsembleTrainer(latent_dim=d, max_iter=1, tol=0, n_jobs=1, random_state=0)
    model = trainer.fit(data).factor_model_
    size, workspace = pass_block_size(data, d), Workspace()
    Z = C = R[:, :size]
    Y, weighted = trainer.instance_factors_[:, :size], C * Z
    gram = pair_products(model.factors.astype(np.float32)) @ C
    products, X = pair_products(Y), model.factors.astype(np.float32)
    pairs = pair_products(X)
    whole = SweepStep(model, learns_bias=False)
    kernels = {
        "products of Gram parts": lambda: (np.matmul(pairs, C, out=gram), products @ C.T),
        "factorisation": lambda: solve_packed(gram, X @ weighted, RIDGE, workspace=workspace),
        "right sides": lambda: (X @ weighted, Y @ weighted.T),
        "products of factors": lambda: pair_products(Y, out=products),
        "error": lambda: squared_error_in_place(Z, C, model.predicted(Y)),
        "confidence": lambda: model.weights(data.block_of(slice(0, size)), use_labels=False),
    }
    with threadpool_limits(1):
        times = []
        for _ in range(options.runs + 1):
            one = {name: seconds(kernel) * n / size for name, kernel in kernels.items()}
            one["whole sweep"] = seconds(lambda: whole(data.blocks(size), workspace))
            times.append(one)
    print(f"\nm = {m}, d = {d}, blocks of {size}; shares of a sweep, medians of {options.runs}")
    for name in times[0]:
        share = np.median([one[name] / one["whole sweep"] for one in times[1:]])
        print(f"{name:24}{share:8.0%}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, help="instead of 200 000, or 20 000 with --grid")
    parser.add_argument("--grid", action="store_true", help="several m and d")
    parser.add_argument("--blocks", action="store_true", help="several block sizes of ours")
    parser.add_argument("--systems", action="store_true", help="small systems alone")
    parser.add_argument("--parts", action="store_true", help="kernels of a sweep")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--loop", type=int, default=2_000, help="instances that the loop solves")
    parser.add_argument("--threads", type=int, default=2, help="threads of cmfrec")
    parser.add_argument("--cpu", action="store_true", help="processor time, for busy machines")
    options = parser.parse_args()
    if options.cpu:
        CLOCK.append(time.process_time)
    warnings.simplefilter("ignore")
    print("BLAS threads:", max(pool["num_threads"] for pool in threadpool_info()))
    if options.blocks:
        blocks(options)
    elif options.systems:
        systems(options)
    elif options.parts:
        parts(options)
    elif options.grid:
        grid(options.n or 20_000, options)
    else:
        compare(50, options.n or 200_000, 16, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
