"""``cfe-stack compare``: contenders on folders of ensemble matrices, from the command line."""

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

from cfe_stack.comparison import DEFAULT_METRICS, compare_ensembles
from cfe_stack.contenders import CONTENDERS, USUAL

SUCCESS = 0
BAD_INPUT = 2

DESCRIPTION = """\
Compare ways to combine predictions on the same held-out rows: best single, averages,
greedy selection, hill climbing, stacking, and CF-Ensemble. Prints a table with ranks and
tests, and what they allow to say.
"""

EPILOG = f"""\
input:
  Folders of NAME.npz, or such files, one per data set. Each holds n_classes and, for every
  outer fold f, out-of-fold predictions oof0, oof1, … of shape (rows, learners) = P(class 1),
  or (rows, learners, classes), their class codes ytr0, …, and the held-out test0, …, yte0, …

contenders:
{chr(10).join(f"  {name}" for name in CONTENDERS)}

exit codes:
  0  done        2  wrong option or file, or a package is missing        130  interrupted

examples:
  cfe-stack compare matrices/
  cfe-stack compare matrices/ --contenders mean "greedy selection" CF-Ensemble
  cfe-stack compare matrices/ --metric roc_auc --html report.html --memory done/
"""


def add_compare_parser(commands: Any) -> None:
    """Add the subcommand to a parser's subparsers."""
    parser = commands.add_parser(
        "compare",
        help="compare ways to combine predictions, on folders of matrices",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="DIR_OR_FILE")
    parser.add_argument(
        "--contenders",
        nargs="+",
        default=list(USUAL),
        choices=list(CONTENDERS),
        metavar="NAME",
        help="who takes part (default: all that people use, see below)",
    )
    parser.add_argument(
        "--metric",
        default=DEFAULT_METRICS[0],
        help="what ranks and tests are about: log_loss, roc_auc, pr_auc, brier, ece, accuracy, or "
        "a scorer of scikit-learn (default: log_loss)",
    )
    parser.add_argument(
        "--reference",
        metavar="NAME",
        help="whom the others are tested against (default: CF-Ensemble)",
    )
    parser.add_argument(
        "--n-jobs",
        type=int,
        default=-1,
        metavar="N",
        help="folds that run side by side; -1 takes all cores (default: -1)",
    )
    parser.add_argument(
        "--memory", type=Path, metavar="DIR", help="keep results of folds here, to go on later"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write one HTML page")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write the tidy table")
    parser.add_argument(
        "--no-progress",
        "--quiet",
        dest="progress",
        action="store_false",
        help="show no progress bar; there is none either where stderr is no terminal",
    )
    parser.set_defaults(run=run_compare)


def run_compare(arguments: argparse.Namespace) -> int:
    """Run the subcommand; return its exit code."""
    others = [name for name in DEFAULT_METRICS if name != arguments.metric]
    try:
        comparison = compare_ensembles(
            arguments.paths,
            contenders=arguments.contenders,
            metrics=[arguments.metric, *others],
            reference=arguments.reference,
            memory=arguments.memory,
            n_jobs=arguments.n_jobs,
            progress=arguments.progress,
        )
    except ValueError as error:
        print(f"cfe-stack compare: {error}", file=sys.stderr)
        return BAD_INPUT
    print(comparison)
    try:
        if arguments.html is not None:
            comparison.to_html(arguments.html)
        if arguments.csv is not None:
            _write(arguments.csv, comparison.records())
    except OSError as error:
        print(f"cfe-stack compare: {error}", file=sys.stderr)
        return BAD_INPUT
    return SUCCESS


def _write(path: Path, records: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)
