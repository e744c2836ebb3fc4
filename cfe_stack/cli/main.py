"""The command line: results on stdout, progress and complaints on stderr."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from cfe_stack.cli.blend import add_blend_parser
from cfe_stack.cli.compare import add_compare_parser
from cfe_stack.cli.options import (
    CANNOT_START,
    INTERRUPTED,
    SUCCESS,
    add_command,
    add_running_options,
)
from cfe_stack.datasets import load_demo_problems
from cfe_stack.demo import format_demo_scores, run_demo
from cfe_stack.runtime.optional_packages import MissingExtraError
from cfe_stack.runtime.version import __version__

DESCRIPTION = """\
Combine the predictions of many classifiers by collaborative filtering: learn which
classifier to trust on which instance, and return calibrated probabilities.
"""

EPILOG = """\
example:
  cfe-stack demo            nine learners, three problems, about a minute on two cores
  cfe-stack demo --help     what the demo does and what its figures mean
  cfe-stack compare --oof oof --target train.csv:sold
                            what combines these predictions best, with tests
  cfe-stack blend --oof oof --test test --target train.csv:sold --out submission.csv
                            one blend of the predictions in two folders
  cfe-stack blend --help    what the files hold
"""

DEMO_DESCRIPTION = """\
Stack nine learners (XGBoost, LightGBM, forests, linear, neighbors, a neural network,
naive Bayes) on three problems shipped with scikit-learn, and compare on held-out rows:

  CF-Ensemble          StackingClassifier(..., final_estimator=CFEnsembleClassifier())
  logistic stacking    the same stack with LogisticRegression() as final estimator
  average              the plain mean of the probabilities
  best single learner  chosen by its out-of-fold log-loss, without the held-out rows

Nothing is pre-computed. Needs the packages of `pip install "cfe-stack[boosting]"`.
"""

LEGEND = """\
Means over three held-out folds. Log-loss: lower is better; ROC-AUC, PR-AUC: higher is better."""

DEMO_EPILOG = """\
reading the table:
  log-loss   how good the probabilities are; lower is better
  ROC-AUC    how well the classes are ranked; higher is better
  PR-AUC     the same, looking at the rare class; higher is better
  With ten classes, the last two are means over the classes, each against the rest. Every
  figure is a mean over three held-out folds; another --seed shows how much of it is luck.

exit codes:
  0  done        2  wrong option, or a package is missing        130  interrupted

examples:
  cfe-stack demo --seed 1
  cfe-stack demo --n-jobs 1 --no-progress > scores.txt
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments without the name of the program. None takes those of the process.

    Returns
    -------
    code : int
        Exit code: 0 for success, 1 where something in the files is wrong, 2 where a package is
        missing, 130 after an interruption.

    Raises
    ------
    SystemExit
        By argparse, with code 2 for arguments it does not accept and 0 after help or version.

    Examples
    --------
    >>> from cfe_stack.cli.main import main
    >>> try:
    ...     main(["--version"])
    ... except SystemExit as stop:
    ...     print(stop.code)
    cfe-stack 0...
    0
    """
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except MissingExtraError as error:
        print(f"cfe-stack: {error}", file=sys.stderr)
        return CANNOT_START
    except KeyboardInterrupt:
        print("cfe-stack: interrupted", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cfe-stack",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cfe-stack {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands)
    add_blend_parser(commands)
    add_compare_parser(commands)
    return parser


def _add_demo(commands: Any) -> None:
    demo = add_command(
        commands,
        "demo",
        _demo,
        help="compare CF-Ensemble with common ensembles, on real data",
        description=DEMO_DESCRIPTION,
        epilog=DEMO_EPILOG,
    )
    add_running_options(demo, seeds="the folds and the learners")


def _demo(arguments: argparse.Namespace) -> int:
    problems = load_demo_problems()
    scores = run_demo(
        problems,
        random_state=arguments.seed,
        n_jobs=arguments.n_jobs,
        progress=arguments.progress,
    )
    print(format_demo_scores(scores, problems))
    print(f"\n{LEGEND}")
    return SUCCESS
