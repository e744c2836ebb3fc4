"""Real stacks in both hosts, with boosters among the base learners."""

import io
import pickle
from contextlib import nullcontext

import joblib
import numpy as np
import pytest
import sklearn
from optional_packages import mlxtend_classifier as mlxtend
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from cfe_stack import CFEnsembleClassifier, LayoutWarning, MissingPredictionsWarning

lightgbm = pytest.importorskip("lightgbm")
xgboost = pytest.importorskip("xgboost")

FAST = CFEnsembleClassifier(aggregator="log_pool")


def data(n_classes):
    """Return features, codes and their split."""
    if n_classes == 2:
        X, y = load_breast_cancer(return_X_y=True)
        X = X[:, :8]
    else:
        X, y = load_digits(n_class=n_classes, return_X_y=True)
        X, y = X[:450] + np.random.default_rng(0).normal(size=(450, 64)) * 4, y[:450]
    X = MinMaxScaler((-2, 3)).fit_transform(X)
    return X[:250], y[:250], X[250:450], y[250:450]


NAMES = np.array(["benign", "dubious", "malignant"])


def boosters():
    return [
        ("xgb", xgboost.XGBClassifier(n_estimators=8, max_depth=3, n_jobs=1)),
        ("lgb", lightgbm.LGBMClassifier(n_estimators=8, min_child_samples=5, n_jobs=1, verbose=-1)),
    ]


def simple():
    return [
        ("logistic", make_pipeline(StandardScaler(), LogisticRegression())),
        ("bayes", GaussianNB()),
    ]


def margins():
    return [("ridge", RidgeClassifier()), ("linear", LinearSVC()), ("svc", SVC())]


def learners(bases):
    return [learner for _, learner in bases]


def assert_works(stack, X, y, T, truth, limit=0.35):
    """Fit and check that probabilities are good, and classes the labels that were given."""
    proba = stack.fit(X, y).predict_proba(T)
    classes = np.unique(y)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    predicted = stack.predict(T)
    assert set(predicted) <= set(classes)
    np.testing.assert_array_equal(predicted, classes[proba.argmax(axis=1)])
    assert log_loss(truth, proba, labels=classes) < limit
    return stack


def warned(message, category=LayoutWarning):
    return nullcontext() if message is None else pytest.warns(category, match=message)


@pytest.mark.first_cases
@pytest.mark.parametrize("names", [False, True], ids=["codes", "strings"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("final", [CFEnsembleClassifier(), FAST], ids=["auto", "log_pool"])
def test_scikit_learn_stacks_of_probabilities(n_classes, names, final):
    X, y, T, truth = data(n_classes)
    y, truth = (NAMES[y], NAMES[truth]) if names else (y, truth)
    stack = StackingClassifier(boosters() + simple(), clone(final), cv=3)
    assert_works(stack, X, y, T, truth)
    assert stack.final_estimator_.layout_.n_classifiers == 4


@pytest.mark.first_cases
@pytest.mark.parametrize(
    ("n_classes", "bases", "method", "kinds"),
    [
        (2, margins, "decision_function", {"margins"}),
        (3, margins, "decision_function", {"margins"}),
        (2, lambda: boosters() + margins(), "auto", {"class1", "margins"}),
        (2, lambda: boosters() + simple(), "predict", {"class1"}),
        (3, lambda: boosters() + margins(), "predict", {"labels"}),
    ],
    ids=["margins", "margins of three", "auto", "labels", "labels of three"],
)
def test_scikit_learn_stack_methods(n_classes, bases, method, kinds):
    X, y, T, truth = data(n_classes)
    stack = StackingClassifier(bases(), clone(FAST), cv=3, stack_method=method)
    assert_works(stack, X, y, T, truth, 0.45)
    assert {group.kind for group in stack.final_estimator_.layout_.groups} == kinds


def test_scikit_learn_mixes_of_three_classes_need_the_number_of_learners():
    X, y, T, truth = data(3)
    final = clone(FAST).set_params(n_classifiers=5)
    stack = StackingClassifier(boosters() + margins(), final, cv=3)
    assert_works(stack, X, y, T, truth)
    kinds = [group.kind for group in stack.final_estimator_.layout_.groups]
    assert kinds == ["blocks"] * 2 + ["margins"] * 3


def test_one_against_one_margins():
    X, y, T, truth = data(4)
    bases = [(str(c), SVC(C=c, decision_function_shape="ovo")) for c in (0.3, 1, 3)]
    final = clone(FAST).set_params(n_classifiers=3)
    assert_works(StackingClassifier(bases, final, cv=3), X, y, T, truth, 0.45)


@pytest.mark.first_cases
@pytest.mark.parametrize("told", [False, True], ids=["found", "told"])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_scikit_learn_passthrough(n_classes, form, told):
    X, y, T, truth = data(n_classes)
    X, T = (np.where(np.abs(A) < 1.2, 0, A) for A in (X, T))
    bases = boosters()[:1] + [
        ("logistic", LogisticRegression()),
        ("tree", DecisionTreeClassifier(max_depth=4, random_state=0)),
    ]
    final = clone(FAST).set_params(**({"n_classifiers": 3, "passthrough": "after"} if told else {}))
    stack = StackingClassifier(bases, final, cv=3, passthrough=True)
    with warned(None if told else "passthrough"):
        assert_works(stack, form(X), y, form(T), truth, 0.5)
    layout = stack.final_estimator_.layout_
    assert layout.n_classifiers == 3
    assert stack.final_estimator_.n_features_in_ == X.shape[1] + len(layout.columns)


@pytest.mark.parametrize("method", ["predict_proba", "predict"])
@pytest.mark.parametrize("codes", [[0, 1, 2], [10, 20, 30]])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_prefit_base_learners(n_classes, codes, method):
    X, y, T, truth = data(n_classes)
    y, truth = np.array(codes)[y], np.array(codes)[truth]
    half = len(X) // 2
    fitted = [
        (name, learner.fit(X[:half], y[:half])) for name, learner in boosters()[1:] + simple()
    ]
    stack = StackingClassifier(fitted, clone(FAST), cv="prefit", stack_method=method)
    assert_works(stack, X[half:], y[half:], T, truth, 0.5)
    assert stack.final_estimator_.layout_.n_classifiers == 3


def test_metadata_routing_hands_sample_weights_on():
    X, y, T, _ = data(2)
    weights = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    with sklearn.config_context(enable_metadata_routing=True):
        bases = [
            (n, e.set_fit_request(sample_weight=True))
            for n, e in [*boosters(), ("bayes", GaussianNB())]
        ]
        final = clone(FAST).set_fit_request(sample_weight=True)
        stack = StackingClassifier(bases, final, cv=3)
        weighted = stack.fit(X, y, sample_weight=weights).predict_proba(T)
        plain = stack.fit(X, y).predict_proba(T)
    assert np.abs(weighted - plain).max() > 1e-3
    np.testing.assert_allclose(weighted.sum(axis=1), 1)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_frames_in_and_out(n_classes, output):
    X, y, T, truth = data(n_classes)
    library = pytest.importorskip(output)
    if output == "pandas":  # polars frames need pyarrow in XGBoost
        X, T = (library.DataFrame(A, columns=[f"x{j}" for j in range(A.shape[1])]) for A in (X, T))
    stack = StackingClassifier(boosters() + simple(), clone(FAST), cv=3)
    stack.set_output(transform=output)
    assert_works(stack, X, y, T, truth)
    meta = stack.transform(T)
    assert isinstance(meta, library.DataFrame)
    named = clone(FAST).fit(stack.transform(X), y)
    assert "xgb" in named.feature_names_in_[0]
    np.testing.assert_array_equal(named.predict_proba(meta), named.predict_proba(meta))


MLXTEND = [
    # settings of StackingCVClassifier, classes, kind that is found, warning
    ({}, 2, "class1", None),
    ({}, 3, "labels", None),
    ({"use_probas": True}, 2, "blocks", None),
    ({"use_probas": True}, 3, "blocks", None),
    ({"use_probas": True, "drop_proba_col": "first"}, 2, "class1", None),
    ({"use_probas": True, "drop_proba_col": "last"}, 2, "class0", "read as P.class 0"),
    ({"use_probas": True, "use_features_in_secondary": True}, 2, "blocks", "passthrough='before'"),
    ({"use_probas": True, "use_features_in_secondary": True}, 3, "blocks", "passthrough='before'"),
]


@pytest.mark.first_cases
@pytest.mark.parametrize(("settings", "n_classes", "kind", "message"), MLXTEND)
def test_mlxtend_stacks(settings, n_classes, kind, message):
    X, y, T, truth = data(n_classes)
    stack = mlxtend.StackingCVClassifier(
        learners(boosters() + simple()), clone(FAST), cv=3, random_state=0, **settings
    )
    with warned(message):
        assert_works(stack, X, y, T, truth, 0.4)
    layout = stack.meta_clf_.layout_
    assert {group.kind for group in layout.groups} == {kind}
    assert layout.n_classifiers == 4


@pytest.mark.first_cases
@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize("drop", ["first", "last"])
def test_mlxtend_dropped_columns_of_three_classes_need_a_layout(drop, features):
    X, y, T, truth = data(3)
    told = {"n_classifiers": 4, "passthrough": "before"} if features else {}
    final = clone(FAST).set_params(layout=f"drop_{drop}", **told)
    stack = mlxtend.StackingCVClassifier(
        learners(boosters() + simple()), final, cv=3, random_state=0, use_probas=True,
        drop_proba_col=drop, use_features_in_secondary=features,
    )  # fmt: skip
    assert_works(stack, X, y, T, truth)
    if not features:
        with pytest.raises(ValueError, match="layout='drop_first' or 'drop_last'"):
            clone(stack).set_params(meta_classifier__layout="auto").fit(X, y)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_mlxtend_averages_are_one_learner(n_classes):
    X, y, T, truth = data(n_classes)
    stack = mlxtend.StackingClassifier(
        learners(simple()), clone(FAST), use_probas=True, average_probas=True
    )
    assert_works(stack, X, y, T, truth, 0.5)
    assert stack.meta_clf_.layout_.n_classifiers == 1


@pytest.mark.parametrize("settings", [{"use_probas": True}, {}], ids=["probabilities", "labels"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_mlxtend_with_string_labels(n_classes, settings):
    X, y, T, truth = data(n_classes)
    bases = learners([*boosters()[1:], *simple()])
    stack = mlxtend.StackingCVClassifier(bases, clone(FAST), cv=3, random_state=0, **settings)
    assert_works(stack, X, NAMES[y], T, NAMES[truth], 0.5)
    assert stack.meta_clf_.layout_.n_classifiers == 3


def test_mlxtend_scoring_by_roc_auc_and_search():
    X, y, *_ = data(2)
    stack = mlxtend.StackingCVClassifier(
        learners(boosters()[1:] + simple()), clone(FAST), cv=2, use_probas=True, random_state=0
    )
    assert cross_val_score(stack, X, y, cv=2, scoring="roc_auc").min() > 0.9
    search = GridSearchCV(stack, {"meta_classifier__focal_gamma": [0, 2]}, cv=2, scoring="roc_auc")
    assert search.fit(X, y).best_score_ > 0.9


@pytest.mark.exhaustive
def test_a_search_over_the_focal_loss():
    X, y, *_ = data(2)
    grid = {"final_estimator__focal_gamma": [0, 0.5, 1, 2, 3, 5]}
    stack = StackingClassifier(boosters()[1:] + simple(), clone(FAST), cv=2)
    search = GridSearchCV(stack, grid, cv=2, scoring="neg_log_loss", error_score="raise").fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert len(set(scores)) == 6
    assert scores.min() > -0.4
    assert (
        search.best_estimator_.final_estimator_.focal_gamma
        == search.best_params_["final_estimator__focal_gamma"]
    )


@pytest.mark.first_cases
@pytest.mark.parametrize("n_classes", [2, 3])
def test_around_and_inside_other_estimators(n_classes):
    X, y, T, truth = data(n_classes)
    stack = StackingClassifier(boosters()[1:] + simple(), clone(FAST), cv=2)
    assert_works(make_pipeline(StandardScaler(), stack), X, y, T, truth)
    assert_works(CalibratedClassifierCV(stack, cv=2), X, y, T, truth, 0.5)
    P, Q = (stack.fit(X, y).transform(A) for A in (X, T))
    assert_works(CalibratedClassifierCV(clone(FAST), cv=3), P, y, Q, truth)
    scoring = ["neg_log_loss", "accuracy", "roc_auc_ovr" if n_classes > 2 else "roc_auc"]
    results = cross_validate(stack, X, y, cv=2, scoring=scoring, error_score="raise")
    assert results["test_accuracy"].min() > 0.8


@pytest.mark.parametrize("host", ["scikit-learn", "mlxtend"])
def test_stacks_survive_storage(host, tmp_path):
    X, y, T, _ = data(3)
    bases = boosters() + simple()
    stack = (
        StackingClassifier(bases, clone(FAST), cv=2)
        if host == "scikit-learn"
        else mlxtend.StackingCVClassifier(
            learners(bases), clone(FAST), cv=2, use_probas=True, random_state=0
        )
    ).fit(X, y)
    buffer = io.BytesIO()
    joblib.dump(stack, buffer)
    buffer.seek(0)
    for loaded in (pickle.loads(pickle.dumps(stack)), joblib.load(buffer)):
        np.testing.assert_array_equal(loaded.predict_proba(T), stack.predict_proba(T))


class Gappy(ClassifierMixin, BaseEstimator):
    """Predicts only where the first feature is small."""

    def __init__(self, quantile=0.6):
        self.quantile = quantile

    def fit(self, X, y):
        self.model_, self.classes_ = LogisticRegression().fit(X, y), np.unique(y)
        self.limit_ = np.quantile(X[:, 0], self.quantile)
        return self

    def predict_proba(self, X):
        proba = self.model_.predict_proba(X)
        proba[X[:, 0] > self.limit_] = np.nan
        return proba

    def predict(self, X):
        return self.model_.predict(X)


@pytest.mark.first_cases
@pytest.mark.parametrize("host", ["scikit-learn", "mlxtend"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_base_learners_that_do_not_predict_every_row(host, n_classes):
    X, y, T, truth = data(n_classes)
    bases = [*boosters(), ("half", Gappy()), ("less", Gappy(0.3))]
    stack = (
        StackingClassifier(bases, clone(FAST), cv=3)
        if host == "scikit-learn"
        else mlxtend.StackingCVClassifier(
            learners(bases), clone(FAST), cv=3, use_probas=True, random_state=0
        )
    )
    assert_works(stack, X, y, T, truth)


def test_rows_that_no_base_learner_predicts_are_named():
    X, y, T, _ = data(2)
    stack = StackingClassifier([("a", Gappy()), ("b", Gappy(0.3))], clone(FAST), cv=3)
    with warned("row.s. have no prediction", MissingPredictionsWarning):
        stack.fit(X, y)
    with warned("they get the class frequencies", MissingPredictionsWarning):
        assert np.isfinite(stack.predict_proba(T)).all()
