"""``cfe-stack blend``: folders of predictions in, a submission file and a report out."""

import argparse
import sys
from pathlib import Path
from typing import Any

from cfe_stack.blending.blend import blend, describe, format_scores, write_submission
from cfe_stack.blending.report import write_report
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
from cfe_stack.prediction_files.files import id_column_of, read_train_and_test
from cfe_stack.runtime.optional_packages import import_extra

DESCRIPTION = """\
Blend the predictions of many models: learn from out-of-fold predictions which model to
trust on which row, and write calibrated predictions for the test rows.

  oof/forest.csv    test/forest.csv    train.csv
  id,p              id,p               id,size,sold
  1,0.91            8001,0.34          1,3.2,1
  2,0.07            8002,0.88          2,1.1,0

Every model has a file of the same name in both folders: CSV, TSV, Parquet, NPY or NPZ, with an
id column and either one column of any name, P(class 1), or one for each class, named after it
(p_yes, p_no). A folder may also hold one wide table with a column for each model. Rows are
joined by id. A model need not predict every row; what is missing is completed.

Out-of-fold means: no model has seen the row that it predicts. Columns that look as if it had
are refused, with the evidence.
"""

EPILOG = f"""\
what is printed:
  stdout   scores of the blend and of simpler ways, by cross-validation over the out-of-fold
           rows, with 95 % intervals over rows; and what was written
  stderr   what was read, progress, warnings, errors (file, row, column)

{EXIT_CODES}
examples:
  cfe-stack blend --oof oof --test test --target train.csv:sold --out submission.csv
  cfe-stack blend --oof oof --test test --target train.csv:sold --id customer \\
      --metric roc_auc --out submission.csv --report report.html
"""


def add_blend_parser(commands: Any) -> None:
    """Add ``blend`` to the commands of a parser; ``arguments.run`` runs it.

    Parameters
    ----------
    commands : what ``ArgumentParser.add_subparsers`` returns
    """
    command = add_command(
        commands,
        "blend",
        run_blend,
        help="blend folders of predictions, and write a submission file",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    files = command.add_argument_group("files")
    add_prediction_options(files, required=True)
    files.add_argument(
        "--test", required=True, metavar="DIR", help="folder (or wide file) of test predictions"
    )
    files.add_argument("--out", required=True, metavar="FILE", help="submission to write, as CSV")
    files.add_argument("--report", metavar="FILE", help="report to write, one HTML page")
    add_metric_option(command, purpose="orders the scores")
    command.add_argument(
        "--labels", action="store_true", help="write predicted classes instead of probabilities"
    )
    add_running_options(command, seeds="the folds and the draws")


def run_blend(arguments: argparse.Namespace) -> int:
    """Run ``cfe-stack blend``.

    Parameters
    ----------
    arguments : argparse.Namespace
        As `add_blend_parser` defines them.

    Returns
    -------
    code : int
        0, 1 where something in the files is wrong, or 2 where options do not go together.
    """
    return exit_code_of(_blend, arguments)


def _blend(arguments: argparse.Namespace) -> None:
    # whatever is wrong is said before the work starts
    if Path(arguments.oof).resolve() == Path(arguments.test).resolve():
        raise argparse.ArgumentError(None, "--oof and --test are the same; give both.")
    check_writable((arguments.out, arguments.report))
    if arguments.report:
        import_extra("matplotlib", extra="plot")
    target = target_of(arguments.target)
    data, test = read_train_and_test(
        arguments.oof,
        arguments.test,
        target,
        id_column=arguments.id,
        allow_suspicious=arguments.allow_suspicious,
    )
    print(f"cfe-stack: {describe(data, test)}", file=sys.stderr)
    blended = blend(
        data,
        test,
        metric=arguments.metric,
        random_state=arguments.seed,
        n_jobs=arguments.n_jobs,
        progress=arguments.progress,
    )
    print(format_scores(blended))
    for problem in (*blended.leakage.problems, *blended.notes):
        print(f"cfe-stack: {problem}", file=sys.stderr)
    write_submission(
        blended,
        arguments.out,
        id_column=id_column_of(arguments.test, arguments.id) or "id",
        target_column=target if isinstance(target, str) else target[1],
        labels=arguments.labels,
    )
    print(f"\n{test.n_instances} predictions are in {arguments.out}.")
    if arguments.report:
        write_report(
            blended, arguments.report, random_state=arguments.seed, progress=arguments.progress
        )
        print(f"The report is in {arguments.report}.")
