"""What the commands share: exit codes, options, and one line on stderr for every error."""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cfe_stack.data.in_sample import SuspiciousPredictionsError
from cfe_stack.metrics import Metric, resolve_metric

SUCCESS = 0
BAD_INPUT = 1
CANNOT_START = 2
INTERRUPTED = 130
EXIT_CODES = """\
exit codes:
  0  done        1  something in the files is wrong
  2  wrong option, or a package is missing        130  interrupted
"""


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], **texts: str
) -> argparse.ArgumentParser:
    """Add a command whose texts are printed as they are written; ``arguments.run`` runs it.

    Parameters
    ----------
    commands : what ``ArgumentParser.add_subparsers`` returns
    name : str
    run : callable
        Takes the arguments and returns an exit code.
    **texts : str
        ``help``, ``description`` and ``epilog``.
    """
    formatter = argparse.RawDescriptionHelpFormatter
    command: argparse.ArgumentParser = commands.add_parser(name, formatter_class=formatter, **texts)
    command.set_defaults(run=run)
    return command


def exit_code_of(work: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> int:
    """Run a command; its warnings and what is wrong become lines on stderr.

    Parameters
    ----------
    work : callable
        Raises argparse.ArgumentError for options that do not go together, and ValueError or OSError
        for what is wrong in files.
    arguments : argparse.Namespace

    Returns
    -------
    code : int
        `SUCCESS`, `BAD_INPUT` or `CANNOT_START`.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            work(arguments)
    except argparse.ArgumentError as error:
        return _complaint(str(error), CANNOT_START)
    except SuspiciousPredictionsError as error:
        message = str(error).replace("pass allow_suspicious=True", "pass --allow-suspicious")
        return _complaint(message, BAD_INPUT)
    except (ValueError, OSError) as error:
        return _complaint(str(error), BAD_INPUT)
    for message in dict.fromkeys(str(one.message) for one in caught):
        print(f"cfe-stack: warning: {message}", file=sys.stderr)
    return SUCCESS


def _complaint(message: str, code: int) -> int:
    print(f"cfe-stack: {message}", file=sys.stderr)
    return code


def check_writable(paths: Iterable[str | Path | None]) -> None:
    """Raise ValueError if a file cannot be written where it is said to go."""
    for path in paths:
        if path is None:
            continue
        folder = Path(path).absolute().parent
        if not folder.is_dir():
            raise ValueError(f"{path}: there is no folder {Path(path).parent} to write to.")
        if Path(path).is_dir():
            raise ValueError(f"{path} is a folder; give the name of a file in it.")
        if not os.access(path if Path(path).exists() else folder, os.W_OK):
            raise ValueError(f"{path} is not writable.")


def add_prediction_options(command: argparse._ActionsContainer, *, required: bool) -> None:
    """Add ``--oof``, ``--target``, ``--id`` and ``--allow-suspicious``.

    Parameters
    ----------
    command : argparse.ArgumentParser or group of its arguments
    required : bool
        Whether the command needs predictions and labels.
    """
    command.add_argument(
        "--oof",
        required=required,
        metavar="DIR",
        help="folder (or wide file) of out-of-fold predictions",
    )
    command.add_argument(
        "--target",
        required=required,
        metavar="FILE:COLUMN",
        help="where the labels are; COLUMN alone is a column of the out-of-fold files",
    )
    command.add_argument(
        "--id",
        metavar="COLUMN",
        help="column that identifies a row (default: id, row_id, index or key; else its position)",
    )
    command.add_argument(
        "--allow-suspicious",
        action="store_true",
        help="accept columns that look like in-sample predictions",
    )


def target_of(text: str) -> str | tuple[str, str]:
    """Return what ``FILE:COLUMN``, or a column alone, stands for.

    Examples
    --------
    >>> from cfe_stack.cli.options import target_of
    >>> target_of("train.csv:sold"), target_of("sold")
    (('train.csv', 'sold'), 'sold')
    """
    file, colon, column = text.rpartition(":")
    return (file, column) if colon else column


def add_metric_option(command: argparse.ArgumentParser, *, purpose: str) -> None:
    """Add ``--metric``.

    Parameters
    ----------
    command : argparse.ArgumentParser
    purpose : str
        What the metric does.
    """
    command.add_argument(
        "--metric",
        default="log_loss",
        type=metric,
        metavar="NAME",
        help="log_loss, roc_auc, pr_auc, brier, ece, accuracy, or a scorer of scikit-learn; "
        f"{purpose} (default: log_loss)",
    )


def add_running_options(command: argparse.ArgumentParser, *, seeds: str) -> None:
    """Add ``--seed``, ``--n-jobs`` and ``--no-progress``.

    Parameters
    ----------
    command : argparse.ArgumentParser
    seeds : str
        What the seed is for.
    """
    command.add_argument("--seed", type=seed, default=0, help=f"seed of {seeds} (default: 0)")
    command.add_argument(
        "--n-jobs",
        type=n_jobs,
        default=-1,
        metavar="N",
        help="folds that run side by side, one core each; -1 takes all cores (default: -1)",
    )
    command.add_argument(
        "--no-progress",
        "--quiet",
        dest="progress",
        action="store_false",
        help="hide the progress bar (shown only if stderr is a terminal)",
    )


def metric(name: str) -> Metric:
    """Return the metric that an argument stands for.

    Raises
    ------
    argparse.ArgumentTypeError
        If the name is unknown.
    """
    try:
        return resolve_metric(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def seed(text: str) -> int:
    """Return the seed that an argument stands for.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is not an integer from 0 to 2**32 - 1.

    Examples
    --------
    >>> from cfe_stack.cli.options import seed
    >>> seed("7")
    7
    """
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer from 0 to 2**32 - 1")
    return int(text)


def n_jobs(text: str) -> int:
    """Return the number of jobs that an argument stands for.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is neither a positive integer nor -1.
    """
    if text != "-1" and not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a positive integer nor -1")
    return int(text)
