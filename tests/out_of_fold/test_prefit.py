import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from cfe_stack import collect_out_of_fold
from cfe_stack.data.in_sample import SuspiciousPredictionsError
from cfe_stack.out_of_fold.prefit import predictions_of_fitted

X, Y = load_breast_cancer(return_X_y=True)
HARD = make_classification(700, 10, n_informative=4, flip_y=0.2, random_state=0)
FIRST, REST = slice(0, 350), slice(350, None)


@pytest.mark.parametrize(
    "model",
    [
        DecisionTreeClassifier(random_state=0),
        RandomForestClassifier(30, random_state=0),
        FrozenEstimator(DecisionTreeClassifier(random_state=0)),
    ],
    ids=repr,
)
def test_models_of_these_rows_are_refused_with_the_evidence(model):
    A, b = HARD
    (model.estimator if isinstance(model, FrozenEstimator) else model).fit(A[FIRST], b[FIRST])
    with pytest.raises(
        SuspiciousPredictionsError, match="'it' has probably been trained on these rows: its log"
    ):
        predictions_of_fitted([("it", model)], A[FIRST], b[FIRST])
    taken = predictions_of_fitted([("it", model)], A[FIRST], b[FIRST], allow_suspicious=True)
    np.testing.assert_array_equal(taken.R[0], model.predict_proba(A[FIRST])[:, 1])
    honest = predictions_of_fitted([("it", model)], A[REST], b[REST])
    np.testing.assert_array_equal(honest.R[0], model.predict_proba(A[REST])[:, 1])


def test_honest_models_pass():
    models = {
        "bayes": GaussianNB(),
        "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
        "svm": make_pipeline(StandardScaler(), LinearSVC()),
    }
    names = np.where(Y == 1, "benign", "malignant")
    for model in models.values():
        model.fit(X[:400], names[:400])
    data = predictions_of_fitted(models, X[400:], names[400:])
    assert data.classes.tolist() == ["benign", "malignant"]
    assert set(np.unique(data.R[2])) == {0.0, 1.0}
    assert ((data.R > 0.5) == (names[400:] == "malignant")).mean() > 0.9


def test_fitted_boosters_predict_in_the_order_of_their_codes():
    xgboost = pytest.importorskip("xgboost")
    booster = xgboost.train(
        {"objective": "binary:logistic", "nthread": 1}, xgboost.DMatrix(X[:400], Y[:400]), 10
    )
    names = np.where(Y == 0, "zero", "one")
    data = predictions_of_fitted({"it": booster}, X[400:], names[400:], classes=["zero", "one"])
    np.testing.assert_allclose(data.R[0], booster.predict(xgboost.DMatrix(X[400:])))
    np.testing.assert_array_equal(data.labels, Y[400:])


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (Y, [0], r"y holds \[1\], which are not in classes"),
        (Y + 1, None, r"of which \[0\] are not among"),
    ],
)
def test_classes_must_fit(labels, classes, message):
    model = GaussianNB().fit(X, Y)
    with pytest.raises(ValueError, match=message):
        predictions_of_fitted({"it": model}, X, labels, classes=classes)


def test_frozen_models_are_not_collected():
    frozen = FrozenEstimator(GaussianNB().fit(X, Y))
    with pytest.raises(ValueError, match="'it' is a FrozenEstimator.*not out-of-fold"):
        collect_out_of_fold([("it", frozen)], X, Y)
