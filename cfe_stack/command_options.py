"""What the commands share: exit codes, and options for seeds, cores and progress."""

import argparse

SUCCESS = 0
BAD_INPUT = 1
CANNOT_START = 2
INTERRUPTED = 130


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
        help="show no progress bar; there is none either where stderr is no terminal",
    )


def seed(text: str) -> int:
    """Return the seed that an argument stands for.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is no integer from 0 to 2**32 - 1.

    Examples
    --------
    >>> from cfe_stack.command_options import seed
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
