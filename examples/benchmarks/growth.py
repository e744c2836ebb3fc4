"""Time and memory of an ALS sweep over a memory-mapped matrix that grows.

    python examples/benchmarks/growth.py                       # 10 000 … 10 000 000 instances
    python examples/benchmarks/growth.py --n 10000 1000000

Every size is fitted in a fresh interpreter. Anonymous memory is what the process has allocated,
above what it had before the fit; pages of the mapped file are the system's cache and not counted.
The exponent is the slope of log seconds against log instances over sizes of 100 000 and more,
below which the time is that of the calls. One instance in a hundred has a label, at most 5 000.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np

M, D, SWEEPS = 24, 8, 3


def anonymous() -> float:
    """Return the anonymous resident memory of this process in MiB (Linux)."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if "RssAnon" in line) / 1024


def measure(path: str) -> None:
    """Print seconds per sweep and the growth of memory of a fit."""
    from cfe_stack import CFEnsembleTrainer, EnsembleData

    warnings.simplefilter("ignore")
    R = np.load(path, mmap_mode="r")
    n = R.shape[1]
    labels = np.full(n, -1, dtype=np.int8)
    labels[: min(n // 100, 5000)] = np.arange(min(n // 100, 5000)) % 2
    # what is loaded or started once is not part of the growth
    trainer = CFEnsembleTrainer(latent_dim=D, max_iter=1, tol=0, random_state=0)
    trainer.fit(EnsembleData(np.array(R[:, :9000]), labels[:9000]))
    base, stop = anonymous(), threading.Event()
    peak = [base]

    def watch() -> None:
        while not stop.wait(0.02):
            peak[0] = max(peak[0], anonymous())

    threading.Thread(target=watch, daemon=True).start()
    data, times = EnsembleData(R, labels), []
    for sweeps in (1, 1 + SWEEPS):
        start = time.perf_counter()
        trainer.set_params(max_iter=sweeps, store_instance_factors=False).fit(data)
        times.append(time.perf_counter() - start)
    stop.set()
    print((times[1] - times[0]) / SWEEPS, peak[0] - base, base)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--n", nargs="+", type=int, default=[10_000, 100_000, 1_000_000, 3_000_000, 10_000_000]
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return 0
    print(f"m = {M}, d = {D}, float32, medians of {options.runs} runs")
    print(f"{'n':>12}{'s / sweep':>12}{'ns / cell':>12}{'MiB above':>12}{'MiB before':>12}")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for n in options.n:
            path = str(Path(folder) / "R.npy")
            R = np.lib.format.open_memmap(path, "w+", np.float32, (M, n))
            rng = np.random.default_rng(0)
            for start in range(0, n, 500_000):
                part = R[:, start : start + 500_000]
                part[:] = rng.random(part.shape, dtype=np.float32)
            R.flush()
            del R
            command = [sys.executable, __file__, "--measure", path]
            runs = [
                subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
                for _ in range(options.runs)
            ]
            seconds, above, before = np.median(np.array(runs, dtype=float), axis=0)
            results.append((n, seconds))
            each = seconds / (n * M) * 1e9
            print(f"{n:12,}{seconds:12.4f}{each:12.2f}{above:12.0f}{before:12.0f}", flush=True)
    large = np.log([pair for pair in results if pair[0] >= 100_000])
    if len(large) > 1:
        print(f"exponent {np.polyfit(large[:, 0], large[:, 1], 1)[0]:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
