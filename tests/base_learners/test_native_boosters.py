import numpy as np
import pytest
from optional_packages import pandas as pd
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.metrics import accuracy_score

from cfe_stack import collect_out_of_fold
from cfe_stack.base_learners.fitted_learner import thread_settings
from cfe_stack.base_learners.native_boosters import (
    LightGBMTrain,
    XGBoostTrain,
    booster_proba,
    n_trees,
)
from cfe_stack.out_of_fold.fingerprints import Fingerprint

X, Y = load_iris(return_X_y=True)
X2, Y2 = load_breast_cancer(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
xgboost, lightgbm = pytest.importorskip("xgboost"), pytest.importorskip("lightgbm")


def test_xgboost_train_is_xgboost_train():
    params = {"max_depth": 2, "eta": 0.3, "objective": "multi:softmax", "nthread": 1}
    learner = clone(XGBoostTrain(params, 20)).fit(X, NAMES)
    direct = xgboost.train(
        params | {"num_class": 3, "objective": "multi:softprob"}, xgboost.DMatrix(X, Y), 20
    )
    np.testing.assert_array_equal(learner.predict_proba(X), direct.predict(xgboost.DMatrix(X)))
    assert accuracy_score(NAMES, learner.predict(X)) > 0.95
    assert params["objective"] == "multi:softmax"


def test_lightgbm_train_is_lightgbm_train():
    params = {"num_leaves": 4, "num_threads": 1, "verbosity": -1}
    learner = clone(LightGBMTrain(params, 20)).fit(X2, Y2)
    direct = lightgbm.train(params | {"objective": "binary"}, lightgbm.Dataset(X2, Y2), 20)
    np.testing.assert_array_equal(learner.predict_proba(X2)[:, 1], direct.predict(X2))


@pytest.mark.parametrize("native", [XGBoostTrain, LightGBMTrain])
def test_folds_may_lack_a_class(native):
    cv = [(np.flatnonzero(Y != 1), np.flatnonzero(Y == 1))]
    data = collect_out_of_fold([("it", native(num_boost_round=5))], X, NAMES, cv=cv, n_jobs=1)
    assert (data.R[0, Y == 1, 1] == 0).all()
    assert data.models["it"].estimator.classes_.tolist() == sorted(set(NAMES))


@pytest.mark.parametrize("native", [XGBoostTrain, LightGBMTrain])
def test_frames_may_hold_categories(native):
    letters = np.random.default_rng(0).choice(list("abc"), len(Y2))
    frame = pd.DataFrame({"size": X2[:, 0], "letter": pd.Categorical(letters)})
    learner = native(num_boost_round=5)
    data = collect_out_of_fold([("it", learner)], frame, Y2, cv=2, n_jobs=1, early_stopping=2)
    assert data.failures == ()
    assert accuracy_score(Y2, data.R[0] > 0.5) > 0.8


@pytest.mark.parametrize("native", [XGBoostTrain, LightGBMTrain])
def test_threads_in_the_dictionary_are_replaced_and_change_no_address(native):
    name = "nthread" if native is XGBoostTrain else "num_threads"
    learner = native({name: 9, "max_depth": 2})
    assert thread_settings(learner, 2) == {"n_jobs": 2}
    limited = clone(learner).set_params(n_jobs=2)
    limited.classes_ = np.array([0, 1])
    assert limited._settings()[name] == 2
    assert Fingerprint(learner).digest == Fingerprint(limited).digest
    assert Fingerprint(learner).digest != Fingerprint(native({"max_depth": 3})).digest


@pytest.mark.parametrize("native", [XGBoostTrain, LightGBMTrain])
def test_boosters_predict_up_to_their_best_iteration(native):
    rows = np.arange(len(Y2))
    fitted, stop = rows % 3 > 0, rows % 3 == 0
    learner = native(num_boost_round=200, early_stopping_rounds=5, n_jobs=1)
    learner.fit(X2[fitted], Y2[fitted], validation=(X2[stop], Y2[stop], None))
    trees = n_trees(learner.booster_)
    assert trees == learner.n_trees_ < 200
    short = native(num_boost_round=trees, n_jobs=1).fit(X2[fitted], Y2[fitted])
    np.testing.assert_allclose(short.predict_proba(X2), learner.predict_proba(X2), rtol=1e-6)


@pytest.mark.parametrize(
    ("learner", "message"),
    [
        (XGBoostTrain({"n_estimators": 5}), "the number of trees is num_boost_round"),
        (XGBoostTrain({"objective": lambda p, d: (p, p)}), "a function of your own"),
        (LightGBMTrain(early_stopping_rounds=5), "needs validation rows"),
    ],
)
def test_what_cannot_be_trained_is_said(learner, message):
    with pytest.raises(ValueError, match=message):
        learner.fit(X2, Y2)


@pytest.mark.parametrize("objective", ["binary:logitraw", "binary:hinge"])
def test_boosters_without_probabilities_are_refused(objective):
    booster = xgboost.train({"objective": objective}, xgboost.DMatrix(X2, Y2), 5)
    with pytest.raises(ValueError, match="predicts no class probabilities"):
        booster_proba(booster, X2)
