import io
import sys

import numpy as np
import pytest
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_info

from cfe_stack import CFEnsembleClassifier
from cfe_stack.datasets import DemoProblem, load_demo_problems
from cfe_stack.demo import (
    AVERAGE,
    BEST_SINGLE,
    CF_ENSEMBLE,
    LOGISTIC,
    DemoScore,
    demo_learners,
    format_demo_scores,
    predict_contenders,
    run_demo,
)

CONTENDERS = [CF_ENSEMBLE, LOGISTIC, AVERAGE, BEST_SINGLE]


def small(problem, n_rows, n_classes=None):
    """The first rows of a problem, and of its first classes only."""
    rows = np.arange(len(problem.y))[: len(problem.y) if n_classes else n_rows]
    if n_classes:
        rows = rows[problem.y < n_classes][:n_rows]
    return DemoProblem(problem.name, problem.X[rows], problem.y[rows], problem.description)


def quick_learners():
    return [
        ("bayes", GaussianNB(var_smoothing=1e-2)),
        ("tree", DecisionTreeClassifier(max_depth=4, min_samples_leaf=5, random_state=0)),
        ("shallow tree", DecisionTreeClassifier(max_depth=2, random_state=0)),
    ]


@pytest.fixture(scope="module")
def cancer():
    return small(load_demo_problems()[0], 240)


@pytest.fixture(scope="module")
def digits():
    return small(load_demo_problems()[1], 300, n_classes=3)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["cancer", "digits"])
@pytest.mark.parametrize(
    ("contender", "final_estimator"),
    [(CF_ENSEMBLE, CFEnsembleClassifier()), (LOGISTIC, LogisticRegression(max_iter=2000))],
)
def test_sharing_the_fits_changes_no_prediction(request, name, contender, final_estimator):
    problem = request.getfixturevalue(name)
    train, test = np.arange(0, len(problem.y), 2), np.arange(1, len(problem.y), 2)
    X, y, X_test = problem.X[train], problem.y[train], problem.X[test]
    forecasts, _ = predict_contenders(quick_learners(), X, y, X_test, random_state=3)
    plain = StackingClassifier(
        quick_learners(),
        final_estimator=final_estimator,
        stack_method="predict_proba",
        cv=StratifiedKFold(5, shuffle=True, random_state=3),
    ).fit(X, y)
    np.testing.assert_allclose(forecasts[contender], plain.predict_proba(X_test), atol=1e-12)


@pytest.mark.parametrize("name", ["cancer", "digits"])
def test_average_and_best_single_are_those_of_the_fitted_learners(request, name):
    problem = request.getfixturevalue(name)
    train, test = np.arange(0, len(problem.y), 2), np.arange(1, len(problem.y), 2)
    X, y, X_test = problem.X[train], problem.y[train], problem.X[test]
    forecasts, chosen = predict_contenders(quick_learners(), X, y, X_test, random_state=3)
    cv = StratifiedKFold(5, shuffle=True, random_state=3)
    losses, fitted = {}, {}
    for label, learner in quick_learners():
        out_of_fold = cross_val_predict(learner, X, y, cv=cv, method="predict_proba")
        losses[label] = log_loss(y, out_of_fold)
        fitted[label] = learner.fit(X, y).predict_proba(X_test)
    assert chosen == min(losses, key=losses.get)
    np.testing.assert_allclose(forecasts[BEST_SINGLE], fitted[chosen], atol=1e-12)
    np.testing.assert_allclose(forecasts[AVERAGE], np.mean(list(fitted.values()), axis=0))


def test_every_problem_fold_and_contender_is_scored_once(cancer, digits):
    scores = run_demo([cancer, digits], quick_learners(), n_folds=2, progress=False)
    assert [(s.fold, s.problem, s.contender) for s in scores] == [
        (fold, problem.name, contender)
        for fold in (0, 1)
        for problem in (cancer, digits)
        for contender in CONTENDERS
    ]
    for score in scores:
        assert 0 < score.log_loss < 3
        assert 0.5 < score.roc_auc <= 1
        assert 0.3 < score.pr_auc <= 1
        assert bool(score.learner) == (score.contender == BEST_SINGLE)


def test_scores_are_those_of_scikit_learn_on_the_held_out_rows(cancer):
    scores = run_demo([cancer], quick_learners(), n_folds=2, random_state=7, progress=False)
    cv = StratifiedKFold(2, shuffle=True, random_state=7)
    train, test = next(iter(cv.split(cancer.X, cancer.y)))
    forecasts, _ = predict_contenders(
        quick_learners(), cancer.X[train], cancer.y[train], cancer.X[test], random_state=7
    )
    truth, proba = cancer.y[test], forecasts[CF_ENSEMBLE][:, 1]
    assert scores[0].log_loss == pytest.approx(log_loss(truth, proba))
    assert scores[0].roc_auc == pytest.approx(roc_auc_score(truth, proba))
    assert scores[0].pr_auc == pytest.approx(average_precision_score(truth, proba))


@pytest.mark.exhaustive
def test_multiclass_areas_are_means_of_one_against_the_rest(digits):
    scores = run_demo([digits], quick_learners(), n_folds=2, random_state=7, progress=False)
    cv = StratifiedKFold(2, shuffle=True, random_state=7)
    train, test = next(iter(cv.split(digits.X, digits.y)))
    forecasts, _ = predict_contenders(
        quick_learners(), digits.X[train], digits.y[train], digits.X[test], random_state=7
    )
    truth, proba = digits.y[test], forecasts[AVERAGE]
    average = next(score for score in scores if score.contender == AVERAGE)
    areas = [average_precision_score(truth == k, proba[:, k]) for k in range(3)]
    assert average.roc_auc == pytest.approx(roc_auc_score(truth, proba, multi_class="ovr"))
    assert average.pr_auc == pytest.approx(np.mean(areas))


@pytest.mark.exhaustive
def test_two_processes_give_the_scores_of_one(cancer):
    def scores(n_jobs):
        return run_demo([cancer], quick_learners(), n_folds=2, n_jobs=n_jobs, progress=False)

    assert scores(1) == scores(2)


class OneThreadBayes(GaussianNB):
    def fit(self, X, y):
        assert {pool["num_threads"] for pool in threadpool_info()} == {1}
        return super().fit(X, y)


def test_folds_leave_one_thread_to_each_fit(cancer):
    learners = [("watched", OneThreadBayes()), *quick_learners()]
    assert run_demo([cancer], learners, n_folds=2, progress=False)


def test_base_learners_are_heterogeneous_and_single_threaded():
    learners = demo_learners(random_state=5)
    last_steps = [m.steps[-1][1] if isinstance(m, Pipeline) else m for _, m in learners]
    families = {type(learner).__name__ for learner in last_steps}
    assert len(families) == len(learners) >= 8
    assert {"XGBClassifier", "LGBMClassifier"} <= families
    for learner in last_steps:
        parameters = learner.get_params()
        assert parameters.get("random_state", 5) in (5, None)
        if learner.__module__.startswith(("xgboost", "lightgbm", "sklearn.ensemble._forest")):
            assert parameters["n_jobs"] == 1


@pytest.mark.exhaustive
def test_the_real_learners_warn_about_nothing():
    """Warnings are errors in this test run, and one process shows them all."""
    problems = [small(problem, 250) for problem in load_demo_problems()[1:]]
    scores = run_demo(problems, n_folds=2, n_jobs=1, progress=False)
    by_contender = {s.contender: s.log_loss for s in scores if s.problem == "digits"}
    assert by_contender[CF_ENSEMBLE] < np.log(10)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("progress", "terminal"), [(True, True), (True, False), (False, True)])
def test_progress_shows_on_a_terminal_only(monkeypatch, capsys, cancer, progress, terminal):
    stderr = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    run_demo([cancer], quick_learners(), n_folds=2, progress=progress)
    assert ("0/2" in stderr.getvalue()) == (progress and terminal)
    assert capsys.readouterr().out == ""


def test_progress_is_optional(monkeypatch, cancer):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    assert run_demo([cancer], quick_learners(), n_folds=2)
    assert stderr.getvalue() == ""


def test_table_shows_means_over_folds_best_first_and_columns_aligned(cancer):
    scores = [
        DemoScore("breast cancer", AVERAGE, 0.2, 0.8, 0.7),
        DemoScore("breast cancer", AVERAGE, 0.4, 0.9, 0.8),
        DemoScore("breast cancer", BEST_SINGLE, 0.1, 0.9, 0.9, learner="tree"),
        DemoScore("breast cancer", BEST_SINGLE, 0.2, 0.9, 0.9, learner="bayes"),
        DemoScore("elsewhere", AVERAGE, 9.0, 0.1, 0.1),
    ]
    header, best, average = format_demo_scores(scores, [cancer]).splitlines()
    assert header.startswith("breast cancer (")
    assert best.split("  ")[1] == "best single learner (bayes, tree)"
    assert best.split()[-3:] == ["0.1500", "0.9000", "0.9000"]
    assert average.split() == ["average", "0.3000", "0.8500", "0.7500"]
    assert len({len(line) for line in (header, best, average)}) == 1
