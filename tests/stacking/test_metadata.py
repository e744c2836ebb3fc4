"""Where weights and groups go, with metadata routing and without."""

from functools import partial

import numpy as np
import pytest
import sklearn
from joblib import parallel_config
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedKFold, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from cfe_stack import CFEnsembleClassifier, CFEStackingClassifier

TREE = DecisionTreeClassifier(max_depth=3, random_state=0)
BASES = [("bayes", GaussianNB()), ("tree", TREE)]
FAST = CFEnsembleClassifier(aggregator="log_pool", cv=2)
Stack = partial(CFEStackingClassifier, progress=False)


def problem():
    """Return training and test rows of a real problem."""
    X, y = load_breast_cancer(return_X_y=True)
    y = np.array(["b", "c"])[y]
    return X[::2], y[::2], X[1::2], y[1::2]


def test_groups_reach_the_splitter_and_the_final_estimator():
    X, y, *_ = problem()
    groups = np.arange(len(y)) // 7

    class Grouped(CFEnsembleClassifier):
        def fit(self, X, y, sample_weight=None, groups=None):
            self.groups_ = groups
            return super().fit(X, y, sample_weight, groups)

    final = Grouped(aggregator="mean")
    stack = Stack(BASES, final, cv=GroupKFold(3)).fit(X, y, groups=groups)
    np.testing.assert_array_equal(stack.final_estimator_.groups_, groups)
    folds = stack.ensemble_data_.fold_ids[0]
    assert all(len(np.unique(folds[groups == g])) == 1 for g in np.unique(groups))


def test_weights_reach_the_learners_and_the_final_estimator():
    X, y, T, _ = problem()
    weights = np.random.default_rng(0).integers(1, 4, len(y)).astype(float)
    splits = list(StratifiedKFold(3).split(X, y))
    expected = StackingClassifier(BASES, LogisticRegression(), cv=splits)
    found = Stack(BASES, LogisticRegression(), cv=splits)
    np.testing.assert_allclose(
        found.fit(X, y, sample_weight=weights).predict_proba(T),
        expected.fit(X, y, sample_weight=weights).predict_proba(T),
        atol=1e-12,
    )


@pytest.mark.parametrize("final", [FAST, LogisticRegression()], ids=["ours", "scikit-learn's"])
def test_one_weight_is_that_of_every_row(final):
    X, y, T, _ = problem()
    found, expected = (
        Stack(BASES, final, cv=3).fit(X, y, sample_weight=given).predict_proba(T)
        for given in (2.0, np.full(len(y), 2.0))
    )
    np.testing.assert_array_equal(found, expected)


def test_metadata_is_routed_to_those_who_ask():
    X, y, T, _ = problem()
    weights = np.linspace(1, 5, len(y))
    with sklearn.config_context(enable_metadata_routing=True):
        asking = GaussianNB().set_fit_request(sample_weight=True)
        silent = TREE.__class__(max_depth=3, random_state=0).set_fit_request(sample_weight=False)
        final = LogisticRegression().set_fit_request(sample_weight=True)
        stack = Stack([("bayes", asking), ("tree", silent)], final, cv=GroupKFold(3))
        stack.fit(X, y, sample_weight=weights, groups=np.arange(len(y)) // 5)
        bayes = clone(asking).fit(X, y, sample_weight=weights)
        tree = clone(silent).fit(X, y)
        columns = [model.predict_proba(T)[:, 1] for model in (bayes, tree)]
        np.testing.assert_allclose(stack.transform(T), np.column_stack(columns))
        assert stack.ensemble_data_.fold_ids.max() == 2


@pytest.mark.parametrize("cv", [3, [(np.arange(1, 285), np.arange(1))]], ids=["number", "list"])
def test_groups_are_routed_to_the_default_final_estimator_and_to_folds_by_number(cv):
    X, y, *_ = problem()
    groups = np.arange(len(y)) // 5
    if cv != 3:
        halves = groups % 2 == 0, groups % 2 == 1
        cv = [(np.flatnonzero(a), np.flatnonzero(b)) for a, b in (halves, halves[::-1])]
    with sklearn.config_context(enable_metadata_routing=True):
        stack = Stack([("tree", TREE)], cv=cv).fit(X, y, groups=groups)
    folds = stack.ensemble_data_.fold_ids[0]
    assert all(len(np.unique(folds[groups == g])) == 1 for g in np.unique(groups))


@pytest.mark.parametrize(
    "options", [{"n_jobs": 2}, {"time_limit": 60.0}], ids=["workers", "time limit"]
)
def test_the_configuration_of_scikit_learn_reaches_workers_and_threads(options):
    X, y, *_ = problem()
    weights = np.linspace(1, 5, len(y))
    with parallel_config("threading"), sklearn.config_context(enable_metadata_routing=True):
        silent = StandardScaler().set_fit_request(sample_weight=False)
        asking = make_pipeline(silent, GaussianNB().set_fit_request(sample_weight=True))
        final = LogisticRegression().set_fit_request(sample_weight=True)
        found, expected = (
            Stack([("bayes", asking)], final, cv=3, **how).fit(X, y, sample_weight=weights)
            for how in (options, {})
        )
    assert found.ensemble_data_.failures == ()
    np.testing.assert_array_equal(found.ensemble_data_.R, expected.ensemble_data_.R)


def test_early_stopping_in_a_pipeline_follows_metadata_routing():
    xgboost = pytest.importorskip("xgboost")
    X, y, T, _ = problem()
    weights = np.linspace(1, 5, len(y))
    booster = xgboost.XGBClassifier(n_estimators=20, n_jobs=1)
    plain = Stack([("it", make_pipeline(StandardScaler(), booster))], FAST, early_stopping=3)
    expected = plain.fit(X, y, it__xgbclassifier__sample_weight=weights).ensemble_data_
    with sklearn.config_context(enable_metadata_routing=True):
        asking = booster.__class__(**booster.get_params()).set_fit_request(sample_weight=True)
        silent = StandardScaler().set_fit_request(sample_weight=False)
        stack = Stack([("it", make_pipeline(silent, asking))], early_stopping=3)
        found = stack.fit(X, y, sample_weight=weights).ensemble_data_
    assert found.failures == ()
    np.testing.assert_array_equal(found.R, expected.R)


class Grouped(CFEnsembleClassifier):
    """Remembers what it was given."""

    def fit(self, X, y, sample_weight=None, groups=None):
        super().fit(X, y, sample_weight, groups)
        self.given_ = sample_weight, groups
        return self


def routed(on):
    """Return the configuration, a stack that asks for everything, and a scaler."""
    final, bayes, scaler = Grouped(aggregator="log_pool", cv=2), GaussianNB(), StandardScaler()
    if on:
        with sklearn.config_context(enable_metadata_routing=True):
            final.set_fit_request(sample_weight=True, groups=True)
            bayes.set_fit_request(sample_weight=True)
            scaler.set_fit_request(sample_weight=False)
    return sklearn.config_context(enable_metadata_routing=on), Stack([("b", bayes)], final), scaler


def weights_and_groups():
    """Return a weight and a group of every training row."""
    n = len(problem()[1])
    return np.linspace(1, 5, n), np.arange(n) // 7


def assert_fitted_with(stack, X, y, weights, groups):
    """Check that a fitted stack is what its parts make of these rows, weights and groups."""
    for found, expected in zip(stack.final_estimator_.given_, (weights, groups), strict=True):
        np.testing.assert_array_equal(found, expected)
    folds = stack.ensemble_data_.fold_ids[0]
    assert all(len(np.unique(folds[groups == g])) == 1 for g in np.unique(groups))
    expected = GaussianNB().fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(stack.named_estimators_.b.var_, expected.var_)
    held_out = folds == 0
    bayes = GaussianNB().fit(X[~held_out], y[~held_out], sample_weight=weights[~held_out])
    expected = bayes.predict_proba(X[held_out])[:, 1]
    np.testing.assert_allclose(stack.ensemble_data_.R[0, held_out], expected)


@pytest.mark.parametrize("on", [True, False], ids=["routing", "no routing"])
def test_weights_and_groups_go_through_a_pipeline(on):
    X, y, *_ = problem()
    weights, groups = weights_and_groups()
    configured, stack, scaler = routed(on)
    given = {"sample_weight": weights, "groups": groups}
    with configured:
        pipe = make_pipeline(scaler, stack)
        name = pipe.steps[-1][0]
        pipe.fit(X, y, **(given if on else {f"{name}__{k}": v for k, v in given.items()}))
    assert_fitted_with(pipe[-1], StandardScaler().fit_transform(X), y, weights, groups)


@pytest.mark.parametrize("on", [True, False], ids=["routing", "no routing"])
def test_weights_and_groups_go_through_a_search(on):
    X, y, *_ = problem()
    weights, groups = weights_and_groups()
    configured, stack, _ = routed(on)
    grid = {"final_estimator__lambda_reg": [0.1, 1.0]}
    with configured:
        scoring = get_scorer("neg_log_loss")
        # a search without routing hands groups to its splitter only
        scoring = scoring.set_score_request(sample_weight=True) if on else scoring
        search = GridSearchCV(stack, grid, cv=GroupKFold(2), scoring=scoring)
        search.fit(X, y, sample_weight=weights, groups=groups)
    best = search.best_estimator_
    if on:
        assert_fitted_with(best, X, y, weights, groups)
        splits = GroupKFold(2).split(X, y, groups)
        losses = []
        for train, test in splits:
            with sklearn.config_context(enable_metadata_routing=True):
                fitted = clone(best).fit(
                    X[train], y[train], sample_weight=weights[train], groups=groups[train]
                )
            proba = fitted.predict_proba(X[test])
            scored = sklearn.metrics.log_loss(y[test], proba, sample_weight=weights[test])
            losses.append(-scored)
        assert search.best_score_ == pytest.approx(np.mean(losses))
    else:
        found, at_groups = best.final_estimator_.given_
        np.testing.assert_array_equal(found, weights)
        assert at_groups is None


@pytest.mark.parametrize("on", [True, False], ids=["routing", "no routing"])
def test_weights_and_groups_go_through_a_cross_validation(on):
    X, y, *_ = problem()
    weights, groups = weights_and_groups()
    configured, stack, _ = routed(on)
    given = {"sample_weight": weights, "groups": groups}
    with configured:
        scoring = get_scorer("accuracy")
        scoring = scoring.set_score_request(sample_weight=False) if on else scoring
        outer = {} if on else {"groups": groups}
        done = cross_validate(
            stack,
            X,
            y,
            cv=GroupKFold(2),
            params=given,
            scoring=scoring,
            return_estimator=True,
            return_indices=True,
            error_score="raise",
            **outer,
        )
    assert len(done["estimator"]) == 2
    for fitted, train in zip(done["estimator"], done["indices"]["train"], strict=True):
        assert_fitted_with(fitted, X[train], y[train], weights[train], groups[train])


@pytest.mark.parametrize("on", [True, False], ids=["routing", "no routing"])
def test_weights_go_through_a_stack_of_scikit_learn(on):
    X, y, *_ = problem()
    weights, _ = weights_and_groups()
    configured, stack, _ = routed(on)
    with configured:  # which has no way for groups
        theirs = StackingClassifier(stack.estimators, stack.final_estimator, cv=3)
        theirs.fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(theirs.final_estimator_.given_[0], weights)
    expected = GaussianNB().fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(theirs.named_estimators_.b.var_, expected.var_)


def test_weights_that_nobody_has_asked_for_are_refused():
    X, y, *_ = problem()
    with (
        sklearn.config_context(enable_metadata_routing=True),
        pytest.raises(ValueError, match="sample_weight.* not explicitly set as requested"),
    ):
        Stack(BASES, FAST).fit(X, y, sample_weight=np.ones(len(y)))
