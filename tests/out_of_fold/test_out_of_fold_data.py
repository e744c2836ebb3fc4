import dataclasses

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import RepeatedStratifiedKFold, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import LinearSVC

from cfe_stack import EnsembleData, collect_out_of_fold
from cfe_stack.meta_features.score_calibration import ScoreCalibrator, cross_fitted

X, Y = load_iris(return_X_y=True)
SVM = [("svm", LinearSVC())]


def test_margins_are_calibrated_as_the_final_estimator_does():
    data = collect_out_of_fold(SVM, X, Y, cv=3, refit=None)
    expected = cross_fitted(data.scores["svm"], Y, np.ones(150), data.fold_ids[0], 3)
    np.testing.assert_array_equal(data.R[0], expected)


def test_a_label_does_not_touch_the_calibration_of_its_own_fold():
    folds = list(StratifiedKFold(3).split(X, Y))
    first = collect_out_of_fold(SVM, X, Y, cv=folds, refit=None)
    held_out = folds[0][1]
    changed = Y.copy()
    changed[held_out] = (Y[held_out] + 1) % 3
    # the margins of the other folds change with these labels, so only the calibrator is compared
    proba = cross_fitted(first.scores["svm"], changed, np.ones(150), first.fold_ids[0], 3)
    np.testing.assert_array_equal(proba[held_out], first.R[0, held_out])


def test_one_fold_of_margins_is_calibrated_by_folds_of_its_own():
    order = np.random.RandomState(0).permutation(150)
    data = collect_out_of_fold(SVM, X, Y, cv=[(order[:90], order[90:])], refit=None)
    assert not np.isnan(data.R[0, order[90:]]).any()
    assert np.isnan(data.R[0, order[:90]]).all()


def test_new_rows_are_calibrated_by_the_margins_of_all_repeats():
    cv = RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0)
    data = collect_out_of_fold(SVM, X, Y, cv=cv, refit="both", X_test=X[:9])
    margins = np.concatenate(
        [
            np.stack(
                [
                    data.fold_models["svm"][data.fold_ids[repeat, i]].scores(X[i : i + 1])[0]
                    for i in range(150)
                ]
            )
            for repeat in range(2)
        ]
    )
    calibrator = ScoreCalibrator.fit(margins, np.tile(Y, 2), np.ones(300), 3)
    model = data.models["svm"]
    expected = calibrator.predict_proba(model.scores(X[:9]))
    np.testing.assert_allclose(model.predict_proba(X[:9]), expected, rtol=1e-6)
    np.testing.assert_array_equal(data.test.R[0], model.predict_proba(X[:9]))
    assert data.n_repeats == 2


def test_it_is_ensemble_data_and_frozen():
    data = collect_out_of_fold([("bayes", GaussianNB())], X, Y, cv=3)
    assert isinstance(data, EnsembleData)
    assert repr(data).startswith("OutOfFoldData(1 classifiers, 150 instances, 3 classes;")
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.test = None
    assert data.best_iterations.shape == (1, 3)
    assert np.isnan(data.best_iterations).all()
