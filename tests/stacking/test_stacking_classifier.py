"""The stack: scikit-learn's contract, its figures, and what it does beyond."""

import pickle
from functools import partial

import numpy as np
import polars as pl
import pytest
from counting_learners import CountedTree, Misbehaving, fits
from optional_packages import pandas as pd
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.ensemble import RandomForestClassifier, StackingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    RepeatedStratifiedKFold,
    StratifiedKFold,
    TimeSeriesSplit,
)
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from cfe_stack import CFEnsembleClassifier, CFEStackingClassifier, collect_out_of_fold
from cfe_stack.out_of_fold.collection import FailedLearnerWarning

TREE = DecisionTreeClassifier(max_depth=3, random_state=0)
BASES = [("bayes", GaussianNB()), ("tree", TREE)]
FAST = CFEnsembleClassifier(aggregator="log_pool", cv=2)
CHECKED = [
    CFEStackingClassifier(BASES),
    CFEStackingClassifier(
        [("logistic", LogisticRegression()), ("tree", TREE)],
        LogisticRegression(),
        cv=3,
        refit="bag",
    ),
]
Stack = partial(CFEStackingClassifier, progress=False)


def problem(n_classes=2):
    """Return training and test rows of a real problem."""
    X, y = (load_breast_cancer if n_classes == 2 else load_wine)(return_X_y=True)
    y = np.array(["b", "c", "a"])[y]
    return X[::2], y[::2], X[1::2], y[1::2]


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore::cfe_stack.LayoutWarning")
# in checks of older versions a class may have four rows
@pytest.mark.filterwarnings("ignore:The least populated class")
@parametrize_with_checks(CHECKED)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.first_cases
@pytest.mark.parametrize("passthrough", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "final",
    [make_pipeline(StandardScaler(), LogisticRegression()), FAST],
    ids=["logistic regression", "CFEnsembleClassifier"],
)
@pytest.mark.parametrize(
    "cv", [5, StratifiedKFold(4, shuffle=True, random_state=1)], ids=["number", "splitter"]
)
@pytest.mark.filterwarnings("ignore::cfe_stack.LayoutWarning")
def test_the_figures_of_scikit_learns_stack_come_out(cv, final, n_classes, passthrough):
    xgboost, lightgbm = pytest.importorskip("xgboost"), pytest.importorskip("lightgbm")
    bases = [
        ("xgb", xgboost.XGBClassifier(n_estimators=8, n_jobs=1)),
        ("lgb", lightgbm.LGBMClassifier(n_estimators=8, n_jobs=1, verbose=-1)),
        *BASES,
    ]
    X, y, T, _ = problem(n_classes)
    theirs = StackingClassifier(bases, final, cv=cv, passthrough=passthrough).fit(X, y)
    ours = Stack(bases, final, cv=cv, passthrough=passthrough).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(T), theirs.predict_proba(T), rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.transform(T), theirs.transform(T), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(ours.predict(T), theirs.predict(T))
    names = [name.removeprefix("stackingclassifier_") for name in theirs.get_feature_names_out()]
    found = [name.removeprefix("cfestackingclassifier_") for name in ours.get_feature_names_out()]
    assert found == names


@pytest.mark.parametrize("stored", [False, True], ids=["in memory", "in files"])
def test_a_search_over_the_final_estimator_fits_every_learner_once_per_fold(tmp_path, stored):
    X, y, T, _ = problem()
    log = str(tmp_path / "fits")
    bases = [(f"tree{k}", CountedTree(log, k)) for k in range(2)]
    stack = Stack(bases, FAST, cv=3, memory=str(tmp_path / "store") if stored else None)
    grid = {"final_estimator__focal_gamma": [0.0, 1.0, 2.0]}
    search = GridSearchCV(stack, grid, cv=2).fit(X, y)
    once = 2 * (2 + 1) * (3 + 1)
    # with files, models are fitted when somebody predicts
    assert fits(log) == once - 2 * stored
    search.predict_proba(T)
    assert fits(log) == once
    more = Stack([*bases, ("tree2", CountedTree(log, 2))], FAST, cv=3, memory=stack.memory)
    more.fit(X, y).predict_proba(T)
    # with files, only the new learner's folds; all models once more, which are not stored
    assert fits(log) - once == (3 + 3 if stored else 3 * (3 + 1))


def test_nested_parameters_reach_learners_and_drop_leaves_one_out():
    X, y, T, _ = problem()
    stack = Stack(BASES, FAST).set_params(tree__max_depth=1, bayes="drop")
    assert stack.get_params()["tree__max_depth"] == 1
    stack.fit(X, y)
    assert stack.ensemble_data_.classifier_names == ("tree",)
    assert [e.get_depth() for e in stack.estimators_] == [1]
    assert stack.named_estimators_.tree is stack.estimators_[0]
    assert stack.transform(T).shape == (len(T), 1)


def test_parameters_of_a_final_estimator_that_is_none_are_refused():
    stack = Stack(BASES)
    with pytest.raises(ValueError, match="'final_estimator__rho' cannot be set, because .* None"):
        stack.set_params(final_estimator__rho=0.1)
    stack.set_params(final_estimator=CFEnsembleClassifier(), final_estimator__rho=0.1)
    assert stack.final_estimator.rho == 0.1


@pytest.mark.parametrize("refit", ["full", "bag", "both"])
def test_models_of_the_folds_or_of_all_rows_predict(refit):
    X, y, T, _ = problem()
    stack = Stack(BASES, FAST, cv=3, refit=refit).fit(X, y)
    assert len(stack.estimators_) == (0 if refit == "bag" else 2)
    assert [len(models) for models in stack.fold_estimators_.values()] == (
        [] if refit == "full" else [3, 3]
    )
    if refit == "bag":
        models = stack.fold_estimators_["tree"]
        expected = np.mean([model.predict_proba(T)[:, 1] for model in models], axis=0)
    else:
        expected = stack.named_estimators_.tree.predict_proba(T)[:, 1]
    np.testing.assert_allclose(stack.transform(T)[:, 1], expected)


def test_a_learner_that_fails_leaves_missing_cells():
    X, y, T, _ = problem()
    X[0, 0] = 0.0
    bases = [*BASES, ("bad", Misbehaving("raises"))]
    with pytest.warns(FailedLearnerWarning, match="'bad' failed in fold 0.*cannot be done"):
        stack = Stack(bases, FAST).fit(X, y)
    assert np.isnan(stack.ensemble_data_.R[2]).any()
    assert np.isfinite(stack.predict_proba(T)).all()
    with (
        pytest.warns(FailedLearnerWarning),
        pytest.raises(ValueError, match=r"of \['bad'\] are missing .* LogisticRegression takes no"),
    ):
        Stack(bases, LogisticRegression()).fit(X, y)
    with pytest.raises(ArithmeticError, match="cannot be done"):
        Stack(bases, FAST, on_error="raise").fit(X, y)


def test_a_learner_that_fails_in_prediction_is_named_and_the_others_predict():
    X, y, T, _ = problem()
    stack = Stack(BASES, FAST).fit(X, y)
    complete = stack.predict_proba(T)
    del stack.named_estimators_.tree.tree_
    with pytest.warns(FailedLearnerWarning, match="'tree' failed in prediction"):
        proba = stack.predict_proba(T)
    assert np.isfinite(proba).all()
    assert np.abs(proba - complete).max() > 0
    del stack.named_estimators_.bayes.theta_
    with pytest.raises(AttributeError, match="theta_"):
        stack.predict_proba(T)


@pytest.mark.parametrize(
    ("cv", "uncovered"),
    [(TimeSeriesSplit(4), True), (RepeatedStratifiedKFold(n_splits=3, n_repeats=2), False)],
    ids=["time series", "repeated"],
)
def test_splitters_that_are_no_partition(cv, uncovered):
    X, y, T, _ = problem()
    stack = Stack(BASES, LogisticRegression(), cv=cv).fit(X, y)
    assert np.isnan(stack.ensemble_data_.R).any() == uncovered
    assert stack.predict_proba(T).shape == (len(T), 2)


@pytest.mark.parametrize(
    "kind", [list, tuple, np.array, partial(np.array, dtype=object), pd.Series, pl.Series]
)
def test_documents_are_for_the_pipelines_that_count_their_words(kind):
    words = np.random.default_rng(0).choice(["good", "bad", "fine"], (60, 4)).tolist()
    X, y = kind([" ".join(row) for row in words]), np.array(["good" in row for row in words])
    bases = [("bayes", make_pipeline(CountVectorizer(), MultinomialNB()))]
    stack = Stack(bases, FAST, cv=3).fit(X, y)
    assert stack.score(X, y) == StackingClassifier(bases, cv=3).fit(X, y).score(X, y) == 1
    with pytest.raises(ValueError, match="passthrough=True appends X .* leave passthrough=False"):
        Stack(bases, FAST, cv=3, passthrough=True).fit(X, y)


class Careless(TransformerMixin, BaseEstimator):
    """Writes into what it is handed."""

    def fit(self, X, y=None):
        X *= 2
        return self

    def transform(self, X):
        X += 1
        return X


@pytest.mark.parametrize("kind", [np.array, pd.DataFrame])
def test_a_learner_that_writes_into_x_changes_it_for_nobody_else(kind):
    X, y, T, _ = problem()
    X, T = kind(X), kind(T)
    before, careless = (X.copy(), T.copy()), [("careless", make_pipeline(Careless(), GaussianNB()))]
    alone = Stack(BASES, FAST, cv=3).fit(before[0], y).transform(before[1])
    for refit in ("full", "bag"):
        together = Stack(careless + BASES, FAST, cv=3, refit=refit).fit(X, y)
        columns = together.transform(T)
        collect_out_of_fold(careless, X, y, X_test=T, refit=refit, cv=3)
        for now, then in zip((X, T), before, strict=True):
            np.testing.assert_array_equal(now, then)
        if refit == "full":
            np.testing.assert_array_equal(columns[:, 1:], alone)


def test_lazy_frames_are_for_their_owner_to_compute():
    X, y, *_ = problem()
    lazy = pl.DataFrame(X).lazy()
    with pytest.raises(TypeError, match=r"X is a lazy LazyFrame, .*; pass X\.collect\(\)"):
        Stack(BASES, FAST).fit(lazy, y)
    with pytest.raises(TypeError, match=r"X is a lazy LazyFrame"):
        collect_out_of_fold(BASES, lazy, y)
    frames = pytest.importorskip("dask.dataframe")
    with pytest.raises(TypeError, match=r"X is a lazy DataFrame, .*; pass X\.compute\(\)"):
        Stack(BASES, FAST).fit(frames.from_pandas(pd.DataFrame(X), npartitions=2), y)


def test_given_splits_are_the_inner_folds_of_the_final_estimator():
    X, y, *_ = problem()
    splits = [(train, test) for train, test in StratifiedKFold(4).split(X, y)]
    stack = Stack(BASES, FAST, cv=splits).fit(X, y)
    inner = stack.final_estimator_.cv
    for (_, test), (_, expected) in zip(inner, splits, strict=True):
        np.testing.assert_array_equal(test, expected)
    assert stack.final_estimator.cv == 2


def test_margins_become_probabilities():
    X, y, T, _ = problem()
    bases = [*BASES, ("svc", make_pipeline(StandardScaler(), LinearSVC()))]
    stack = Stack(bases, FAST).fit(X, y)
    assert ((stack.transform(T) >= 0) & (stack.transform(T) <= 1)).all()
    assert "svc" in stack.ensemble_data_.scores


def test_frames_and_sparse_matrices():
    X, y, T, _ = problem()
    frame, test = pd.DataFrame(X).add_prefix("f"), pd.DataFrame(T).add_prefix("f")
    bases = [("tree", TREE), ("forest", RandomForestClassifier(10, random_state=0))]
    plain = Stack(bases, FAST).fit(X, y).predict_proba(T)
    named = Stack(bases, FAST, passthrough=True).fit(frame, y)
    np.testing.assert_allclose(named.predict_proba(test), plain)
    assert list(named.get_feature_names_out()[-2:]) == ["f28", "f29"]
    with pytest.raises(ValueError, match="feature names should match"):
        named.predict(test.rename(columns={"f0": "other"}))
    wide = Stack(bases, FAST, passthrough=True).fit(sparse.csr_matrix(X), y)
    assert sparse.issparse(wide.transform(sparse.csr_matrix(T)))
    np.testing.assert_allclose(wide.predict_proba(sparse.csr_matrix(T)), plain, atol=1e-6)
    with pytest.raises(TypeError, match=r"need dense rows: \['bayes'\]"):
        Stack([*bases, ("bayes", GaussianNB())]).fit(sparse.csr_matrix(X), y)


def test_arrow_tables_are_read():
    # older versions pick no rows of them
    pytest.importorskip("sklearn", minversion="1.9")
    pyarrow = pytest.importorskip("pyarrow")
    X, y, T, _ = problem()
    table, test = (pyarrow.table({f"f{j}": A[:, j] for j in range(5)}) for A in (X, T))
    found = Stack(BASES, FAST, passthrough=True).fit(table, y)
    assert found.feature_names_in_.tolist() == table.column_names
    expected = Stack(BASES, FAST).fit(X[:, :5], y).predict_proba(T[:, :5])
    np.testing.assert_allclose(found.predict_proba(test), expected)


def test_a_fitted_stack_survives_pickling():
    X, y, T, _ = problem()
    stack = Stack(BASES, FAST, refit="both").fit(X, y)
    copy = pickle.loads(pickle.dumps(stack))
    np.testing.assert_array_equal(copy.predict_proba(T), stack.predict_proba(T))
    assert len(copy.fold_estimators_["tree"]) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"refit": None}, "refit must be 'full', 'bag' or 'both', got None"),
        ({"on_error": "ignore"}, "on_error must be .* got 'ignore'"),
        ({"stack_method": "transform"}, "stack_method is 'transform'"),
        ({"cv": 1}, "cv must be an integer >= 2"),
        ({"estimators": []}, "at least one learner"),
        ({"estimators": [("a__b", TREE)]}, "without '__'"),
        ({"estimators": [("cv", TREE)]}, "conflict with constructor arguments: .'cv'"),
        ({"cv": "prefit"}, "may have been trained on.*predictions_of_fitted"),
        ({"final_estimator": Ridge()}, r"final_estimator must be a classifier, got Ridge\(\)"),
    ],
)
def test_wrong_options_are_refused(options, message):
    X, y, *_ = problem()
    with pytest.raises(ValueError, match=message):
        Stack(**{"estimators": BASES} | options).fit(X, y)


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("aggregator", ["auto", "weighted", "linear_pool"])
def test_a_class_whose_rows_all_have_weight_0_is_kept_and_gets_nothing(aggregator):
    X, y, T, truth = problem(3)
    weights = (y != "b").astype(float)
    P = np.full((2, 6), np.nan)
    stack = Stack(BASES, CFEnsembleClassifier(aggregator=aggregator)).fit(
        X, y, sample_weight=weights
    )
    assert stack.classes_.tolist() == ["a", "b", "c"]
    assert stack.predict_proba(T)[:, 1].max() < 0.01
    assert stack.score(T[truth != "b"], truth[truth != "b"]) > 0.8
    with pytest.warns(UserWarning, match="no prediction"):
        nothing = stack.final_estimator_.predict_proba(P)
    expected = [np.mean(y[y != "b"] == label) for label in "abc"]
    np.testing.assert_allclose(nothing, [expected, expected], atol=1e-12)


@pytest.mark.parametrize("names", [["b", "c"], [1, 2]])
def test_class_weights_go_by_the_classes_of_the_stack(names):
    X, y, T, _ = problem()
    rare, stack = np.array(names)[(y == "c").astype(int)], Stack(BASES, clone(FAST), cv=3)
    weighted = clone(stack).set_params(final_estimator__class_weight={names[0]: 1e6})
    proba = weighted.fit(X, rare).predict_proba(T)
    assert set(weighted.predict(T)[proba[:, 0] > 1e-5]) == {names[0]}
    with pytest.raises(ValueError, match=rf"must map classes .* for the classes \{names}"):
        stack.set_params(final_estimator__class_weight={"0": 2}).fit(X, rare)


def test_a_stack_whose_learner_scikit_learn_cannot_clone_is_cloned():
    class Copying(DecisionTreeClassifier):
        """Hands out copies of a parameter, as CatBoost does."""

        def __init__(self, features=(), max_depth=None):
            super().__init__(max_depth=max_depth)
            self.features = list(features)

    stack = Stack([("tree", Copying(["a"], 2)), ("none", "drop")], FAST, cv=3)
    copy = clone(stack)
    assert copy.get_params()["tree__features"] == ["a"]
    assert copy.get_params()["none"] == "drop"
    assert copy.get_params()["tree"] is not stack.get_params()["tree"]
    assert copy.final_estimator is not FAST
