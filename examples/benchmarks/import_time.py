"""Time of `import cfe_stack` against `import sklearn.ensemble`, each in fresh interpreters.

python examples/benchmarks/import_time.py
"""

import argparse
import statistics
import subprocess
import sys

CODE = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def seconds(module: str) -> float:
    command = [sys.executable, "-c", CODE.format(module)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=11)
    runs = parser.parse_args().runs
    # in turn, so that a change of the machine's pace meets both
    pairs = [(seconds("cfe_stack"), seconds("sklearn.ensemble")) for _ in range(runs + 1)][1:]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"import cfe_stack {ours:.3f} s, import sklearn.ensemble {theirs:.3f} s (medians)")
    print(f"median ratio of {runs} pairs: {ratio:.2f}")


if __name__ == "__main__":
    main()
