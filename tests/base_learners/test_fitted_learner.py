import numpy as np
import pytest
import sklearn
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    BaggingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from cfe_stack.base_learners.fitted_learner import (
    FittedLearner,
    UnusableOutputError,
    accepts_weights,
    response_method,
    thread_settings,
    wants_codes,
    weight_argument,
)

FOREST = RandomForestClassifier(n_jobs=-1)


@pytest.mark.parametrize(
    ("learner", "expected"),
    [
        (GaussianNB(), {}),
        (RandomForestClassifier(), {}),
        (FOREST, {"n_jobs": 4}),
        (make_pipeline(StandardScaler(), FOREST), {"randomforestclassifier__n_jobs": 4}),
        (GridSearchCV(FOREST, {}, n_jobs=2), {"n_jobs": 4, "estimator__n_jobs": 1}),
        (GridSearchCV(FOREST, {}, n_jobs=1), {"estimator__n_jobs": 4}),
        (GridSearchCV(FOREST, {}), {"estimator__n_jobs": 4}),
        (
            BaggingClassifier(make_pipeline(FOREST), n_jobs=2),
            {"n_jobs": 4, "estimator__randomforestclassifier__n_jobs": 1},
        ),
        (
            make_pipeline(
                ColumnTransformer([("knn", StandardScaler(), [0])], n_jobs=3),
                VotingClassifier([("a", FOREST), ("b", KNeighborsClassifier(n_jobs=3))], n_jobs=1),
            ),
            {
                "columntransformer__n_jobs": 4,
                "votingclassifier__a__n_jobs": 4,
                "votingclassifier__b__n_jobs": 4,
            },
        ),
    ],
    ids=repr,
)
def test_threads_go_to_the_outermost_that_runs_in_parallel(learner, expected):
    assert thread_settings(learner, 4) == expected


def test_boosters_are_always_told_their_threads():
    xgboost, lightgbm = pytest.importorskip("xgboost"), pytest.importorskip("lightgbm")
    assert thread_settings(xgboost.XGBClassifier(), 2) == {"n_jobs": 2}
    assert thread_settings(lightgbm.LGBMClassifier(), 2) == {"n_jobs": 2}
    assert thread_settings(lightgbm.LGBMClassifier(num_threads=9), 2) == {
        "n_jobs": 2,
        "num_threads": 2,
    }


def test_catboost_is_told_its_threads():
    catboost = pytest.importorskip("catboost")
    learner = catboost.CatBoostClassifier(thread_count=5)
    assert thread_settings(learner, 2) == {"thread_count": 2}


def test_xgboost_wants_codes_wherever_it_is():
    xgboost = pytest.importorskip("xgboost")

    class Own(xgboost.XGBClassifier):
        pass

    for learner in (xgboost.XGBClassifier(), make_pipeline(xgboost.XGBClassifier()), Own()):
        assert wants_codes(learner)
    assert not wants_codes(make_pipeline(StandardScaler(), LogisticRegression()))


def test_weights_are_offered_where_they_are_taken():
    assert accepts_weights(GaussianNB())
    assert not accepts_weights(KNeighborsClassifier())
    pipeline = make_pipeline(StandardScaler(), GaussianNB())
    assert accepts_weights(pipeline)
    assert weight_argument(pipeline) == "gaussiannb__sample_weight"
    with sklearn.config_context(enable_metadata_routing=True):
        assert not accepts_weights(GaussianNB())
        assert accepts_weights(GaussianNB().set_fit_request(sample_weight=True))
        asked = make_pipeline(GaussianNB().set_fit_request(sample_weight=True))
        assert accepts_weights(asked)
        assert weight_argument(asked) == "sample_weight"


def test_weights_go_through_those_that_hand_their_arguments_on():
    bayes, neighbours = ("bayes", GaussianNB()), ("neighbours", KNeighborsClassifier())
    search = GridSearchCV(GaussianNB(), {})
    assert accepts_weights(VotingClassifier([bayes, ("search", search), ("none", "drop")]))
    assert accepts_weights(StackingClassifier([bayes], LogisticRegression()))
    for other in (neighbours, ("pipe", make_pipeline(GaussianNB()))):
        assert not accepts_weights(VotingClassifier([bayes, other]))
    assert not accepts_weights(StackingClassifier([bayes], KNeighborsClassifier()))
    assert not accepts_weights(GridSearchCV(KNeighborsClassifier(), {}))
    assert not accepts_weights(OneVsRestClassifier(GaussianNB()))


def test_the_first_method_there_is_is_stacked():
    assert response_method(GaussianNB(), "auto") == "predict_proba"
    assert response_method(LinearSVC(), "auto") == "decision_function"
    assert response_method(VotingClassifier([("a", GaussianNB())]), "auto") == "predict"
    with pytest.raises(ValueError, match="LinearSVC has no predict_proba"):
        response_method(LinearSVC(), "predict_proba")


class Fixed:
    def __init__(self, classes, output):
        self.classes_, self.output = classes, output

    def predict_proba(self, X):
        return self.output

    def predict(self, X):
        return self.output


def fitted(classes, output, method="predict_proba"):
    labels = np.array(["a", "c"])
    return FittedLearner("it", Fixed(classes, output), method, np.array([0, 2]), labels, 3)


def test_columns_are_aligned_by_label_not_by_position():
    P = np.array([[0.3, 0.7], [0.6, 0.4]])
    proba = fitted(["c", "a"], P).predict_proba(np.zeros((2, 1)))
    np.testing.assert_array_equal(proba, [[0.7, 0, 0.3], [0.4, 0, 0.6]])
    labels = fitted(None, np.array([["c"], ["a"]]), "predict").predict_proba(np.zeros((2, 1)))
    np.testing.assert_array_equal(labels, [[0, 0, 1], [1, 0, 0]])


@pytest.mark.parametrize(
    ("classes", "output", "method", "message"),
    [
        (["a", "b"], np.eye(2), "predict_proba", "classes_ is .*'b'"),
        (["a", "c"], np.ones((3, 2)), "predict_proba", r"shape \(3, 2\); \(2, 2\)"),
        (["a", "c"], np.ones((2, 2)), "predict_proba", "must sum to 1"),
        (["a", "c"], np.array([[2.0, -1.0]] * 2), "predict_proba", "are not class probabilities"),
        (None, np.array(["a", "z"]), "predict", "'z', which is none of"),
        (None, np.array(["a"]), "predict", r"shape \(1,\) for 2 rows"),
    ],
)
def test_unusable_output_is_described(classes, output, method, message):
    with pytest.raises(UnusableOutputError, match=message):
        fitted(classes, output, method).predict_proba(np.zeros((2, 1)))


def test_probabilities_of_half_precision_sum_to_one_again():
    P = np.array([[0.0126, 0.9863], [0.25, 0.75]])
    proba = fitted(["a", "c"], P.astype(np.float16)).predict_proba(np.zeros((2, 1)))
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(proba[:, [0, 2]], P, atol=2e-3)
    with pytest.raises(UnusableOutputError, match="must sum to 1"):
        fitted(["a", "c"], np.full((2, 2), 0.45, np.float16)).predict_proba(np.zeros((2, 1)))
