"""compare_ensembles: who combines predictions best, on the same held-out rows, with tests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Literal, Self

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin

from cfe_stack.comparison.contenders import OURS, Contender, resolve_contenders
from cfe_stack.comparison.problems import as_problems
from cfe_stack.comparison.result import EnsembleComparison, HeldOut
from cfe_stack.comparison.run import FoldOutcome, run_fold
from cfe_stack.comparison.statistics import PairedTest, five_by_two_test
from cfe_stack.comparison.whole_stacks import resolve_stacks
from cfe_stack.cross_validation.repeated_folds import N_REPEATS, SplitSettings
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.meta_features.stacked_columns import cells, columns
from cfe_stack.metrics import Metric, resolve_metric, resolve_metrics
from cfe_stack.out_of_fold.cache import FoldCache
from cfe_stack.runtime.optional_packages import MissingExtraError, import_extra
from cfe_stack.runtime.progress import progress_bar

DEFAULT_METRICS = ("log_loss", "roc_auc", "pr_auc", "brier", "ece")
EXTRAS = {"lightgbm": "boosting", "torch": "torch", "deslib.des": "comparison"}
"""The extra that brings what a contender requires."""


def compare_ensembles(
    data: Any = None,
    X: ArrayLike | None = None,
    y: ArrayLike | None = None,
    *,
    contenders: Sequence[str] | Mapping[str, Any] | None = None,
    stacks: Mapping[str, Any] | Sequence[tuple[str, Any]] | None = None,
    metrics: Any = DEFAULT_METRICS,
    reference: str | None = None,
    cv: Any = 5,
    n_repeats: int = N_REPEATS,
    groups: Any = None,
    inner_cv: int = 5,
    memory: str | PathLike[str] | None = None,
    on_error: Literal["note", "raise"] = "note",
    n_jobs: int | None = None,
    progress: bool = True,
    random_state: int = 0,
) -> EnsembleComparison:
    """Compare ways to combine predictions by cross-validation, with statistics that hold.

    Parameters
    ----------
    data : EnsembleData, dict, path, list of paths, or list of (str, classifier), default=None
        One ensemble matrix of out-of-fold predictions with labels; several by name; a folder of
        ``.npz`` matrices with outer folds (or such files); or base learners, with `X` and `y`, as
        `collect_out_of_fold` takes them. None compares `stacks` alone.
    X : array-like of shape (n_samples, n_features), default=None
        With base learners or `stacks` only.
    y : array-like of shape (n_samples,), default=None
        With base learners or `stacks` only.
    contenders : list of str, or dict of str to object, default=None
        Names of :data:`cfe_stack.comparison.CONTENDERS`, or new names with such a name, a
        classifier (a `GridSearchCV` is tuned inside every training part), or a function
        ``(train, test)`` of two `EnsembleData` that returns probabilities. None takes the usual
        ones and ``"CF-Ensemble"``.
    stacks : dict of str to classifier, or list of (str, classifier), default=None
        Whole classifiers, such as a stack, a vote or a `Pipeline`: they take part as they are,
        fitted to the training rows of `X` and `y`, beside the contenders.
    metrics : str, scorer, Metric, or list of them, default=all but accuracy of the following
        ``"log_loss"``, ``"brier"``, ``"ece"``, ``"roc_auc"``, ``"pr_auc"``, ``"accuracy"``, any
        scorer of scikit-learn. The first is what ranks and tests are about.
    reference : str, default=None
        The contender that the others are tested against; None takes ``"CF-Ensemble"`` if it takes
        part, and otherwise the first.
    cv : int, splitter or list of (train, test), default=5
        Outer folds; a number gives shuffled stratified ones, with groups kept together. Files bring
        their own.
    n_repeats : int, default=3
        How often a number of folds is repeated with other folds.
    groups : array-like of shape (n,) or dict of str to array-like, default=None
        Rows of one group stay on one side of every split.
    inner_cv : int, default=5
        Folds of the out-of-fold predictions inside every outer training part, with base learners.
    memory : path-like, default=None
        Folder for finished results, also of base learners; an interrupted run resumes from it.
    on_error : {"note", "raise"}, default="note"
        Whether a contender that fails is noted and left out of ranks and tests, or raises.
    n_jobs : int, default=None
        Folds that run side by side, −1 for all cores.
    progress : bool, default=True
        Show a progress bar on stderr, if that is a terminal.
    random_state : int, default=0
        Seed of the outer folds.

    Returns
    -------
    EnsembleComparison
        Prints as table and verdict; has ``to_frame``, ``plot``, ``to_html`` and the tests.

    Raises
    ------
    ValueError
        If something is not as described, before any work starts.

    Notes
    -----
    Contenders learn and tune on the training rows of a fold only. With an ensemble matrix, though,
    the base learners that predicted the training rows have seen labels of the held-out rows. That
    hardly favours any contender; where scores must be unbiased, use base learners with `X` and `y`,
    or matrices of outer folds. Rows without a label take no part.

    Contenders that search for weights do so by log-loss, whatever the metric. Those that cannot
    take a missing cell see the mean of the row's other predictions in its place, or the class
    frequencies of the training part if there are none.

    References
    ----------
    .. [1] C. Nadeau, Y. Bengio, "Inference for the Generalization Error", Machine Learning 2003.
    .. [2] J. Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 2006.

    Examples
    --------
    >>> from cfe_stack import EnsembleData, compare_ensembles
    >>> from cfe_stack.datasets import make_ensemble
    >>> made = make_ensemble(8, 200, random_state=0)
    >>> names = ["mean", "best single", "CF-Ensemble"]
    >>> comparison = compare_ensembles(EnsembleData(made.R, made.labels), contenders=names)
    >>> comparison
    EnsembleComparison(3 contenders, 1 data set(s), 15 folds, by log_loss)
    >>> print(comparison.verdict().splitlines()[0])
    By log_loss on the 15 folds of one data set, CF-Ensemble has the best mean rank (... of 3).
    """
    if on_error not in ("note", "raise"):
        raise ValueError(f"on_error must be 'note' or 'raise', got {on_error!r}.")
    scored = resolve_metrics(metrics)
    chosen = _participants(data, X, contenders, stacks)
    settings = SplitSettings(cv, n_repeats, inner_cv, random_state, memory)
    problems = as_problems(data, X, y, settings, groups)
    running, notes = _installed(chosen)
    against = _reference(reference, running)
    cache = None if memory is None else FoldCache(memory)
    limit = 1 if effective_n_jobs(n_jobs) > 1 else None
    tasks = [(problem, size) for problem in problems for size in problem.sizes()]
    results = Parallel(n_jobs, return_as="generator")(
        delayed(run_fold)(problem, size, running, cache, on_error, limit) for problem, size in tasks
    )
    shown = progress_bar(results, len(tasks), "compare", progress, unit="fold")
    return _collected(list(shown), running, scored, against, notes)


def five_by_two_cv(
    data: EnsembleData,
    first: Any,
    second: Any,
    *,
    metric: Any = "log_loss",
    random_state: int = 0,
) -> PairedTest:
    """Test two contenders on one ensemble matrix by five random halvings, by mlxtend.

    Parameters
    ----------
    data : EnsembleData
    first, second : str, classifier or function
        As the contenders of `compare_ensembles`.
    metric : str, scorer or Metric, default="log_loss"
    random_state : int, default=0

    Returns
    -------
    PairedTest

    Raises
    ------
    ValueError
        If a contender or the metric is unknown.
    MissingExtraError
        If mlxtend is not installed.

    Examples
    --------
    >>> from cfe_stack import EnsembleData
    >>> from cfe_stack.comparison import five_by_two_cv
    >>> from cfe_stack.datasets import make_ensemble
    >>> made = make_ensemble(8, 200, random_state=0)
    >>> five_by_two_cv(EnsembleData(made.R, made.labels), "mean", "best single").p_value < 1
    True
    """
    scored = resolve_metric(metric)
    known = np.flatnonzero(data.labels >= 0)
    X, y = columns(cells(data))[known], data.labels[known]
    pair = resolve_contenders({"first": first, "second": second})
    a, b = (ContenderClassifier(contender, data.n_classes) for contender in pair)

    def score(model: ContenderClassifier, X: np.ndarray, y: np.ndarray) -> float:
        return scored.score(y, model.predict_proba(X), None)

    return five_by_two_test(a, b, X, y, score, random_state)


class ContenderClassifier(ClassifierMixin, BaseEstimator):
    """A contender as a classifier on stacked columns, for tools that ask for one.

    Parameters
    ----------
    contender : Contender
    n_classes : int, default=2
        Columns are P(class 1) of every learner, or all classes in blocks; labels are codes.
    """

    def __init__(self, contender: Contender, n_classes: int = 2) -> None:
        self.contender = contender
        self.n_classes = n_classes

    def _matrix(self, X: np.ndarray) -> np.ndarray:
        blocks = X if self.n_classes == 2 else X.reshape(len(X), -1, self.n_classes)
        return blocks.swapaxes(0, 1)

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """Keep the training rows; contenders learn when they predict."""
        self.train_ = EnsembleData(self._matrix(X), y)
        self.classes_ = np.arange(self.n_classes)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return probabilities, of shape (n, n_classes)."""
        return self.contender.predict(self.train_, EnsembleData(self._matrix(X)))

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the most probable class code of every row."""
        return self.predict_proba(X).argmax(axis=1)


def _participants(data: Any, X: Any, contenders: Any, stacks: Any) -> tuple[Contender, ...]:
    """Return what combines predictions, and what is fitted to features."""
    whole = resolve_stacks(stacks)
    if X is not None and data is None and not whole:
        raise ValueError(
            "X and y need something to fit: base learners, a list of (name, classifier), as data, "
            "or whole classifiers as stacks."
        )
    if whole and X is None:
        raise ValueError("stacks are fitted to features: pass X and y.")
    if data is None and contenders is not None:
        raise ValueError(
            "contenders combine predictions: pass base learners, or their predictions, as data; "
            "whole classifiers go into stacks."
        )
    combining = () if whole and data is None else resolve_contenders(contenders)
    twice = {c.name for c in whole} & {c.name for c in combining}
    if twice:
        raise ValueError(f"stacks and contenders share names: {sorted(twice)}; rename the stacks.")
    return combining + whole


def _installed(contenders: Sequence[Contender]) -> tuple[list[Contender], list[str]]:
    """Return the contenders whose packages are there, and a note for each of the others."""
    running, notes = [], []
    for contender in contenders:
        try:
            if contender.requires is not None:
                extra = EXTRAS[contender.requires]
                import_extra(contender.requires, extra=extra)
        except MissingExtraError as error:
            notes.append(f"{contender.name} was not run: {error}")
            continue
        running.append(contender)
        if contender.remark:
            notes.append(f"{contender.name}: {contender.remark}.")
    if not running:
        raise ValueError("No contender can run: " + " ".join(notes))
    return running, notes


def _reference(reference: str | None, running: Sequence[Contender]) -> str:
    names = [contender.name for contender in running]
    if reference is None:
        return OURS if OURS in names else names[0]
    if reference not in names:
        raise ValueError(f"reference {reference!r} is not a contender; those that run are {names}.")
    return reference


def _collected(
    results: Sequence[FoldOutcome],
    contenders: Sequence[Contender],
    metrics: tuple[Metric, ...],
    reference: str,
    notes: list[str],
) -> EnsembleComparison:
    """Score what was predicted."""
    shape = len(contenders), len(results)
    scores = {metric.name: np.full(shape, np.nan) for metric in metrics}
    seconds = np.full(shape, np.nan)
    failed: dict[str, list[str]] = defaultdict(list)
    for f, result in enumerate(results):
        for k, outcome in enumerate(result.outcomes):
            if outcome.proba is None:
                where = f"{result.size.problem}, fold {result.size.fold}: {outcome.error}"
                failed[contenders[k].name].append(where)
                continue
            seconds[k, f] = outcome.seconds
            for metric in metrics:
                score = metric.score(result.codes, outcome.proba, result.weights)
                scores[metric.name][k, f] = score
    notes = notes + [
        f"{name} failed in {len(places)} fold(s) and is not ranked; first in {places[0]}"
        for name, places in failed.items()
    ]
    if any(result.n_missing for result in results):
        notes += _about_missing(contenders)
    return EnsembleComparison(
        tuple(contender.name for contender in contenders),
        tuple(result.size for result in results),
        metrics,
        scores,
        seconds,
        reference,
        tuple(notes),
        _held_out(results),
    )


def _about_missing(contenders: Sequence[Contender]) -> list[str]:
    """Return one note for every way to treat missing cells."""
    ways: dict[str, list[str]] = defaultdict(list)
    for contender in contenders:
        ways[contender.missing].append(contender.name)
    return [f"Missing cells ({'; '.join(names)}): {way}." for way, names in ways.items()]


def _held_out(results: Sequence[FoldOutcome]) -> dict[str, HeldOut]:
    """Return predictions of the first repetition, data set by data set."""
    first: dict[str, list[FoldOutcome]] = defaultdict(list)
    for result in results:
        if result.size.repeat == 0:
            first[result.size.problem].append(result)
    kept = {}
    for name, folds in first.items():
        n_classes = max(
            (o.proba.shape[1] for r in folds for o in r.outcomes if o.proba is not None), default=0
        )
        blocks = [
            [
                np.full((len(r.codes), n_classes), np.nan) if o.proba is None else o.proba
                for o in r.outcomes
            ]
            for r in folds
        ]
        proba = np.concatenate([np.stack(block) for block in blocks], axis=1)
        kept[name] = HeldOut(np.concatenate([r.codes for r in folds]), proba)
    return kept
