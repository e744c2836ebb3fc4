"""``cfe-stack blend``: folders of predictions in, a submission file and a report out."""

import argparse
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cfe_stack.adapters.files import id_column_of, read_train_and_test
from cfe_stack.command_options import BAD_INPUT, SUCCESS, add_running_options
from cfe_stack.extras import import_extra
from cfe_stack.metrics import Metric, resolve_metric
from cfe_stack.report import write_report
from cfe_stack.submission import blend, describe, format_scores, write_submission
from cfe_stack.suspicion import SuspiciousPredictionsError

DESCRIPTION = """\
Blend the predictions of many models: learn from out-of-fold predictions which model to
trust on which row, and write calibrated predictions for the test rows.

  oof/forest.csv    test/forest.csv    train.csv
  id,p              id,p               id,size,sold
  1,0.91            8001,0.34          1,3.2,1
  2,0.07            8002,0.88          2,1.1,0

Every model has a file of the same name in both folders: CSV, TSV, Parquet, NPY or NPZ, with an
id column and either one column, P(class 1), or one column for each class, named after it
(p_yes, p_no). A folder may also hold one wide table with a column for each model. Rows are
joined by id; rows that a model has not predicted are missing cells, and that is fine.

Out-of-fold means: no model has seen the row that it predicts. Columns that look as if it had
are refused, with the evidence.
"""

EPILOG = """\
what is printed:
  stdout   scores of the blend and of simpler ways, by cross-validation over the out-of-fold
           rows, with 95 % intervals over rows; and what was written
  stderr   what was read, progress, warnings, mistakes (file, row, column)

exit codes:
  0  done        1  something in the files is wrong
  2  wrong option, or a package is missing        130  interrupted

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
    command = commands.add_parser(
        "blend",
        help="blend folders of predictions, and write a submission file",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run_blend)
    files = command.add_argument_group("files")
    files.add_argument(
        "--oof",
        required=True,
        metavar="DIR",
        help="folder (or wide file) of out-of-fold predictions",
    )
    files.add_argument(
        "--test", required=True, metavar="DIR", help="folder (or wide file) of test predictions"
    )
    files.add_argument(
        "--target",
        required=True,
        metavar="FILE:COLUMN",
        help="where the labels stand; COLUMN alone is a column of the out-of-fold files",
    )
    files.add_argument(
        "--id",
        metavar="COLUMN",
        help="column that identifies a row (default: id, row_id, index or key; else the position)",
    )
    files.add_argument("--out", required=True, metavar="FILE", help="submission to write, as CSV")
    files.add_argument("--report", metavar="FILE", help="report to write, one HTML page")
    command.add_argument(
        "--metric",
        default="log_loss",
        type=_metric,
        metavar="NAME",
        help="log_loss, roc_auc, pr_auc, brier, ece, accuracy, or a scorer of scikit-learn; orders "
        "the scores (default: log_loss)",
    )
    command.add_argument(
        "--labels", action="store_true", help="write predicted classes instead of probabilities"
    )
    command.add_argument(
        "--allow-suspicious",
        action="store_true",
        help="accept columns that look like in-sample predictions",
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
        0, or 1 where something in the files is wrong.
    """
    try:
        with _notes_on_stderr():
            _blend(arguments)
    except SuspiciousPredictionsError as error:
        message = str(error).replace("pass allow_suspicious=True", "pass --allow-suspicious")
        print(f"cfe-stack: {message}", file=sys.stderr)
        return BAD_INPUT
    except (ValueError, OSError) as error:
        print(f"cfe-stack: {error}", file=sys.stderr)
        return BAD_INPUT
    return SUCCESS


def _blend(arguments: argparse.Namespace) -> None:
    # whatever is wrong is said before the work starts
    for path in filter(None, (arguments.out, arguments.report)):
        if not Path(path).absolute().parent.is_dir():
            raise ValueError(f"{path}: there is no folder {Path(path).parent} to write to.")
    if arguments.report:
        import_extra("matplotlib", extra="plot")
    file, colon, column = arguments.target.rpartition(":")
    data, test = read_train_and_test(
        arguments.oof,
        arguments.test,
        (file, column) if colon else column,
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
        target_column=column,
        labels=arguments.labels,
    )
    print(f"\n{test.n_instances} predictions are in {arguments.out}.")
    if arguments.report:
        write_report(
            arguments.report, blended, random_state=arguments.seed, progress=arguments.progress
        )
        print(f"The report is in {arguments.report}.")


def _metric(name: str) -> Metric:
    try:
        return resolve_metric(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


@contextmanager
def _notes_on_stderr() -> Iterator[None]:
    """Print warnings as single lines, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        yield
    for message in dict.fromkeys(str(one.message) for one in caught):
        print(f"cfe-stack: warning: {message}", file=sys.stderr)
