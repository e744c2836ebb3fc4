"""``cfe-stack compare``: contenders on predictions or on folders of matrices, as it is typed."""

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

from cfe_stack.cli.options import (
    EXIT_CODES,
    add_command,
    add_metric_option,
    add_prediction_options,
    add_running_options,
    check_writable,
    exit_code_of,
    target_of,
)
from cfe_stack.comparison import DEFAULT_METRICS, compare_ensembles
from cfe_stack.comparison.contenders import CONTENDERS, USUAL
from cfe_stack.prediction_files.files import read_predictions

DESCRIPTION = """\
Compare ways to combine predictions on the same held-out rows: best single, averages,
greedy selection, hill climbing, stacking, and CF-Ensemble. Prints a table with ranks and
tests, and a verdict.

Give the out-of-fold predictions of one data set, as for `cfe-stack blend`:

  oof/forest.csv    train.csv
  id,p              id,size,sold
  1,0.91            1,3.2,1
  2,0.07            2,1.1,0

or folders of NAME.npz, one for each data set. Such a file holds n_classes and, for every
outer fold f, out-of-fold predictions oof0, oof1, … of shape (rows, learners) = P(class 1),
or (rows, learners, classes), their class codes ytr0, …, and the held-out test0, …, yte0, …
"""

EPILOG = f"""\
contenders, by default:
{chr(10).join(f"  {name}" for name in USUAL)}
and on request, variants of CF-Ensemble and others:
{chr(10).join(f"  {name}" for name in CONTENDERS if name not in USUAL)}

what is printed:
  stdout   the table, ranks and tests, and the verdict
  stderr   what was read, progress, warnings, errors (file, row, column)

{EXIT_CODES}
examples:
  cfe-stack compare --oof oof --target train.csv:sold
  cfe-stack compare --oof oof --target train.csv:sold --id customer --html report.html
  cfe-stack compare matrices/ --contenders mean "greedy selection" CF-Ensemble
  cfe-stack compare matrices/ --metric roc_auc --csv scores.csv --memory done/
"""


def add_compare_parser(commands: Any) -> None:
    """Add ``compare`` to the commands of a parser; ``arguments.run`` runs it.

    Parameters
    ----------
    commands : what ``ArgumentParser.add_subparsers`` returns
    """
    command = add_command(
        commands,
        "compare",
        run_compare,
        help="compare ways to combine predictions, on the same held-out rows",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    files = command.add_argument_group("files")
    files.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="DIR_OR_FILE",
        help="folders of NAME.npz, or such files; instead of --oof and --target",
    )
    add_prediction_options(files, required=False)
    files.add_argument("--html", type=Path, metavar="FILE", help="also write one HTML page")
    files.add_argument("--csv", type=Path, metavar="FILE", help="also write the tidy table")
    files.add_argument(
        "--memory",
        type=Path,
        metavar="DIR",
        help="keep results of finished folds here, to resume an interrupted run",
    )
    command.add_argument(
        "--contenders",
        nargs="+",
        default=list(USUAL),
        choices=list(CONTENDERS),
        metavar="NAME",
        help="who takes part (default: see below)",
    )
    command.add_argument(
        "--reference",
        metavar="NAME",
        help="the one that the others are tested against (default: CF-Ensemble)",
    )
    add_metric_option(command, purpose="what ranks and tests are about")
    add_running_options(command, seeds="the outer folds of --oof; matrices bring theirs")


def run_compare(arguments: argparse.Namespace) -> int:
    """Run ``cfe-stack compare``.

    Parameters
    ----------
    arguments : argparse.Namespace
        As `add_compare_parser` defines them.

    Returns
    -------
    code : int
        0, 1 where something in the files is wrong, or 2 where options do not go together.
    """
    return exit_code_of(_compare, arguments)


def _compare(arguments: argparse.Namespace) -> None:
    _check_together(arguments)
    check_writable((arguments.html, arguments.csv))
    data: Any = arguments.paths
    if arguments.oof is not None:
        data = read_predictions(
            arguments.oof,
            target_of(arguments.target),
            id_column=arguments.id,
            allow_suspicious=arguments.allow_suspicious,
        )
        print(f"cfe-stack: {data}", file=sys.stderr)
    comparison = compare_ensembles(
        data,
        contenders=arguments.contenders,
        metrics=[arguments.metric, *(m for m in DEFAULT_METRICS if m != arguments.metric.name)],
        reference=arguments.reference,
        memory=arguments.memory,
        n_jobs=arguments.n_jobs,
        progress=arguments.progress,
        random_state=arguments.seed,
    )
    print(comparison)
    if arguments.html is not None:
        comparison.to_html(arguments.html)
    if arguments.csv is not None:
        _write(arguments.csv, comparison.records())


def _check_together(arguments: argparse.Namespace) -> None:
    """Raise argparse.ArgumentError for options that do not go together."""
    told = [f"--{name}" for name in ("oof", "target", "id") if getattr(arguments, name) is not None]
    if arguments.paths and told:
        wrong = f"{arguments.paths[0]} and {told[0]} are two kinds of input; give one of them"
    elif not arguments.paths and not {"--oof", "--target"} <= set(told):
        wrong = "give --oof DIR and --target FILE:COLUMN, or folders of NAME.npz"
    elif arguments.reference not in (None, *arguments.contenders):
        wrong = (
            f"--reference {arguments.reference!r} is not a contender; those are "
            f"{', '.join(arguments.contenders)}"
        )
    else:
        return
    raise argparse.ArgumentError(None, f"{wrong}.")


def _write(path: Path, records: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)
