"""The demo: real learners on real data, stacked by CF-Ensemble and by what people use today.

Every number is computed when the demo runs. On each of three problems, three stratified folds take
turns as held-out rows. The remaining rows go to `sklearn.ensemble.StackingClassifier` with
`CFEnsembleClassifier` as its final estimator. The other contenders see the very same fits: the
stack keeps the out-of-fold columns that it hands to its final estimator, and logistic regression is
fitted to those, which is what a second `StackingClassifier` would do after repeating every fit; the
best single learner is the one with the lowest log-loss on them, so its choice never sees a held-out
row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler, label_binarize
from threadpoolctl import threadpool_limits

from cfe_stack.classifier.ensemble_classifier import CFEnsembleClassifier
from cfe_stack.datasets import DemoProblem, load_demo_problems
from cfe_stack.runtime.optional_packages import import_extra
from cfe_stack.runtime.progress import progress_bar

Learner = tuple[str, ClassifierMixin]

CF_ENSEMBLE = "CF-Ensemble"
LOGISTIC = "logistic stacking"
AVERAGE = "average"
BEST_SINGLE = "best single learner"


@dataclass(frozen=True)
class DemoScore:
    """Held-out scores of one contender on one fold of one problem.

    Parameters
    ----------
    problem : str
        Name of the problem.
    contender : str
        Name of the contender.
    log_loss, roc_auc, pr_auc : float
        Logarithmic loss, area under the ROC curve and average precision; with more than two
        classes, the last two are means over the classes, each against the rest.
    learner : str, default=""
        The learner that was chosen, where the contender is the best single one.
    fold : int, default=0
        Number of the fold.

    Examples
    --------
    >>> from cfe_stack.demo import DemoScore
    >>> DemoScore("digits", "average", 0.2, 0.99, 0.98).learner
    ''
    """

    problem: str
    contender: str
    log_loss: float
    roc_auc: float
    pr_auc: float
    learner: str = ""
    fold: int = 0


def demo_learners(random_state: int = 0) -> list[Learner]:
    """Make the nine heterogeneous base learners of the demo.

    Each works on one thread: the demo runs several fits side by side, and LightGBM would take
    every core for each of them.

    Parameters
    ----------
    random_state : int, default=0
        Seed of the learners that draw random numbers.

    Returns
    -------
    learners : list of (str, estimator)
        Named, unfitted classifiers with ``predict_proba``.

    Raises
    ------
    MissingExtraError
        If XGBoost or LightGBM is not installed.

    Examples
    --------
    >>> from cfe_stack.demo import demo_learners
    >>> len(demo_learners())
    9
    """
    xgboost = import_extra("xgboost", extra="boosting")
    lightgbm = import_extra("lightgbm", extra="boosting")
    seed: dict[str, Any] = {"random_state": random_state}
    trees: dict[str, Any] = {"n_estimators": 100, "n_jobs": 1, **seed}
    return [
        ("xgboost", xgboost.XGBClassifier(max_depth=4, learning_rate=0.1, subsample=0.8, **trees)),
        ("lightgbm", lightgbm.LGBMClassifier(num_leaves=15, verbose=-1, **trees)),
        ("random forest", RandomForestClassifier(min_samples_leaf=2, **trees)),
        ("extra trees", ExtraTreesClassifier(**trees)),
        ("histogram boosting", HistGradientBoostingClassifier(max_iter=40, **seed)),
        ("logistic regression", _scaled(LogisticRegression(max_iter=2000))),
        ("nearest neighbors", _scaled(KNeighborsClassifier(15))),
        ("neural network", _scaled(MLPClassifier((32,), alpha=1.0, max_iter=2000, **seed))),
        ("naive Bayes", GaussianNB()),
    ]


def run_demo(
    problems: Sequence[DemoProblem] | None = None,
    learners: Sequence[Learner] | None = None,
    *,
    n_folds: int = 3,
    random_state: int = 0,
    n_jobs: int | None = None,
    progress: bool = True,
) -> list[DemoScore]:
    """Compare CF-Ensemble with the usual ways to use several learners.

    Parameters
    ----------
    problems : sequence of DemoProblem, default=None
        Problems to run on. None takes those of
        `load_demo_problems <cfe_stack.datasets.load_demo_problems>`.
    learners : sequence of (str, estimator), default=None
        Base learners. None takes those of `demo_learners`.
    n_folds : int, default=3
        Number of stratified folds that take turns as held-out rows.
    random_state : int, default=0
        Seed of the folds and the learners.
    n_jobs : int, default=None
        Number of folds that run side by side, -1 for all cores.
    progress : bool, default=True
        Show a progress bar on stderr. There is none where stderr is not a terminal or tqdm is not
        installed.

    Returns
    -------
    scores : list of DemoScore
        One for every fold, problem and contender, in that order.

    Raises
    ------
    MissingExtraError
        If the default learners are used and XGBoost or LightGBM is not installed.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from cfe_stack.datasets import load_demo_problems
    >>> from cfe_stack.demo import run_demo
    >>> learners = [("bayes", GaussianNB()), ("logistic", LogisticRegression(C=1e-3))]
    >>> problem = load_demo_problems()[2]
    >>> scores = run_demo([problem], learners, n_folds=2, progress=False)
    >>> [score.contender for score in scores[:4]]
    ['CF-Ensemble', 'logistic stacking', 'average', 'best single learner']
    """
    problems = load_demo_problems() if problems is None else problems
    learners = demo_learners(random_state) if learners is None else learners
    splitter = StratifiedKFold(n_folds, shuffle=True, random_state=random_state)
    splits = {problem.name: list(splitter.split(problem.X, problem.y)) for problem in problems}
    tasks = [
        delayed(_score_fold)(problem, learners, fold, *splits[problem.name][fold], random_state)
        for fold in range(n_folds)
        for problem in problems
    ]
    results = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(tasks)
    shown = progress_bar(results, len(tasks), "demo", progress, unit="fold")
    position = {problem.name: place for place, problem in enumerate(problems)}
    return sorted(
        (score for scores in shown for score in scores),
        key=lambda score: (score.fold, position[score.problem]),
    )


def format_demo_scores(scores: Sequence[DemoScore], problems: Sequence[DemoProblem]) -> str:
    """Lay out the means over the folds as plain text.

    Parameters
    ----------
    scores : sequence of DemoScore
        What `run_demo` returned.
    problems : sequence of DemoProblem
        The problems it ran on, in the order to print.

    Returns
    -------
    table : str
        One block for each problem, best log-loss first.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.datasets import DemoProblem
    >>> from cfe_stack.demo import DemoScore, format_demo_scores
    >>> problem = DemoProblem("toy", np.zeros((4, 1)), np.array([0, 0, 1, 1]), "four rows")
    >>> scores = [DemoScore("toy", "average", 0.25, 0.9, 0.8)]
    >>> print(format_demo_scores(scores, [problem]))
    toy (four rows)       log-loss   ROC-AUC    PR-AUC
      average               0.2500    0.9000    0.8000
    """
    return "\n\n".join(
        _format_problem(problem, [score for score in scores if score.problem == problem.name])
        for problem in problems
    )


def predict_contenders(
    learners: Sequence[Learner],
    X: NDArray[np.float64],
    y: NDArray[np.int64],
    X_test: NDArray[np.float64],
    random_state: int,
) -> tuple[dict[str, NDArray[np.float64]], str]:
    """Fit every contender on the same base fits, and predict new rows.

    Parameters
    ----------
    learners : sequence of (str, classifier)
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,)
        Class codes.
    X_test : ndarray of shape (n_test, n_features)
    random_state : int
        Seed of the inner folds.

    Returns
    -------
    forecasts : dict of str to ndarray of shape (n_test, n_classes)
        Probabilities of every contender.
    chosen : str
        Name of the learner with the lowest out-of-fold log-loss.
    """
    stack = StackingClassifier(
        list(learners),
        final_estimator=_KeepingEnsembleClassifier(),
        stack_method="predict_proba",
        cv=StratifiedKFold(5, shuffle=True, random_state=random_state),
    ).fit(X, y)
    columns, columns_test = stack.final_estimator_.columns_, stack.transform(X_test)
    logistic = LogisticRegression(max_iter=2000).fit(columns, y)

    n_classes = len(stack.classes_)
    out_of_fold = _probabilities(columns, n_classes)
    held_out = _probabilities(columns_test, n_classes)
    losses = [log_loss(y, out_of_fold[:, u]) for u in range(len(learners))]
    best = int(np.argmin(losses))
    forecasts = {
        CF_ENSEMBLE: stack.predict_proba(X_test),
        LOGISTIC: logistic.predict_proba(columns_test),
        AVERAGE: held_out.mean(axis=1),
        BEST_SINGLE: held_out[:, best],
    }
    return forecasts, learners[best][0]


def _format_problem(problem: DemoProblem, scores: Sequence[DemoScore]) -> str:
    means = {
        contender: np.mean(
            [(s.log_loss, s.roc_auc, s.pr_auc) for s in scores if s.contender == contender], axis=0
        )
        for contender in dict.fromkeys(score.contender for score in scores)
    }
    chosen = sorted({score.learner for score in scores if score.learner})
    title = f"{problem.name} ({problem.description})"
    names = {c: f"{c} ({', '.join(chosen)})" if c == BEST_SINGLE else c for c in means}
    width = max(len(title), *(len(name) + 2 for name in names.values()), 20)
    lines = [f"{title:<{width}}" + "".join(f"{h:>10}" for h in ("log-loss", "ROC-AUC", "PR-AUC"))]
    for contender in sorted(means, key=lambda c: means[c][0]):
        values = "".join(f"{value:10.4f}" for value in means[contender])
        lines.append(f"  {names[contender]:<{width - 2}}{values}")
    return "\n".join(lines)


def _score_fold(
    problem: DemoProblem,
    learners: Sequence[Learner],
    fold: int,
    train: NDArray[np.intp],
    test: NDArray[np.intp],
    random_state: int,
) -> list[DemoScore]:
    # The folds are already spread over the cores; OpenMP and BLAS threads on top would compete.
    with threadpool_limits(limits=1):
        forecasts, chosen = predict_contenders(
            learners, problem.X[train], problem.y[train], problem.X[test], random_state
        )
    return [
        DemoScore(
            problem.name,
            contender,
            *_metrics(problem.y[test], proba),
            learner=chosen if contender == BEST_SINGLE else "",
            fold=fold,
        )
        for contender, proba in forecasts.items()
    ]


class _KeepingEnsembleClassifier(CFEnsembleClassifier):
    """The final estimator, which also remembers the columns that the stack fits it on."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        self.columns_ = X
        return super().fit(X, y, sample_weight, groups)


def _scaled(classifier: ClassifierMixin) -> Pipeline:
    return make_pipeline(StandardScaler(), classifier)


def _probabilities(columns: NDArray[np.float64], n_classes: int) -> NDArray[np.float64]:
    """Unstack the columns of a scikit-learn stack to shape (n_samples, n_learners, n_classes)."""
    if n_classes == 2:
        return np.stack([1.0 - columns, columns], axis=2)
    proba = columns.reshape(len(columns), -1, n_classes)
    # XGBoost works in single precision; its rows sum to 1 only within that.
    return proba / proba.sum(axis=2, keepdims=True)


def _metrics(y: NDArray[np.int64], proba: NDArray[np.float64]) -> tuple[float, float, float]:
    classes = np.arange(proba.shape[1])
    if len(classes) == 2:
        truth, score = y, proba[:, 1]
    else:
        truth, score = label_binarize(y, classes=classes), proba
    return (
        float(log_loss(y, proba, labels=classes)),
        float(roc_auc_score(truth, score, average="macro")),
        float(average_precision_score(truth, score, average="macro")),
    )
