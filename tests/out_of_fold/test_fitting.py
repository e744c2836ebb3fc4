import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from cfe_stack.out_of_fold.fitting import LearnerPlan, TrainingRows, fit_learner

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
ROWS = TrainingRows(X, NAMES, Y, np.unique(NAMES), sample_weight=1.0 + Y)
PART = np.flatnonzero(Y != 1)[::2]


def test_a_copy_is_fitted_with_the_weights_of_its_rows():
    template = GaussianNB()
    model, trees = fit_learner(ROWS, LearnerPlan("it", template), PART)
    direct = GaussianNB().fit(X[PART], NAMES[PART], 1.0 + Y[PART])
    np.testing.assert_array_equal(model.estimator.class_prior_, direct.class_prior_)
    assert trees is None
    assert not hasattr(template, "classes_")
    proba = model.predict_proba(X)
    np.testing.assert_array_equal(proba[:, [0, 2]], direct.predict_proba(X))
    assert (proba[:, 1] == 0).all()


def test_the_users_weights_go_before_the_weights_of_all():
    own = np.where(Y == 0, 3.0, 1.0)
    model, _ = fit_learner(ROWS, LearnerPlan("it", GaussianNB(), {"sample_weight": own}), PART)
    assert model.estimator.class_prior_.tolist() == [0.75, 0.25]


def test_only_arguments_with_one_entry_per_row_are_reduced():
    class Curious(DecisionTreeClassifier):
        def fit(self, X, y, per_row=None, text=None, few=None, table=None):
            self.given_ = per_row, text, few, table
            return super().fit(X, y)

    given = {"per_row": list(range(150)), "text": "x" * 150, "few": [1, 2], "table": {1: 2}}
    plain = TrainingRows(X, NAMES, Y, np.unique(NAMES))
    model, _ = fit_learner(plain, LearnerPlan("it", Curious(), given), PART)
    per_row, *others = model.estimator.given_
    assert list(per_row) == PART.tolist()
    assert others == ["x" * 150, [1, 2], {1: 2}]


def test_xgboost_gets_codes_of_the_classes_present():
    xgboost = pytest.importorskip("xgboost")
    learner = LearnerPlan("it", xgboost.XGBClassifier(n_estimators=2, n_jobs=1))
    model, _ = fit_learner(ROWS, learner, PART)
    assert model.estimator.classes_.tolist() == [0, 1]
    assert model.codes.tolist() == [0, 2]
    assert (model.predict_proba(X[Y == 2])[:, 2] > 0.5).all()
