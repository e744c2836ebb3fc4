import numpy as np
import pytest
from optional_packages import pandas as pd
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.model_selection import RepeatedStratifiedKFold, StratifiedKFold

from cfe_stack import CFEnsembleClassifier
from cfe_stack.data.in_sample import SuspiciousPredictionsError
from cfe_stack.out_of_fold.native_cv import fold_keeper, predictions_of_cv

xgboost, lightgbm = pytest.importorskip("xgboost"), pytest.importorskip("lightgbm")
PROBLEMS = {2: load_breast_cancer(return_X_y=True), 3: load_wine(return_X_y=True)}
OTHERS = StratifiedKFold(3, shuffle=True, random_state=5)


def folds_of(y):
    return list(StratifiedKFold(3, shuffle=True, random_state=0).split(np.zeros(len(y)), y))


def xgboost_run(X, y, folds, rounds=200):
    keeper, k = fold_keeper(), len(np.unique(y))
    several = {"objective": "multi:softprob", "num_class": k}
    params = {"max_depth": 2, "nthread": 1} | (several if k > 2 else {})
    params.setdefault("objective", "binary:logistic")
    data = xgboost.DMatrix(X, y, enable_categorical=True)
    history = xgboost.cv(
        params,
        data,
        rounds,
        folds=folds,
        early_stopping_rounds=4,
        callbacks=[keeper],
        as_pandas=False,
    )
    (rounds_kept,) = {len(values) for values in history.values()}
    return keeper, rounds_kept


def lightgbm_run(X, y, folds, rounds=200, weight=None):
    k = len(np.unique(y))
    params = {"num_leaves": 4, "num_threads": 1, "verbosity": -1, "min_data_in_leaf": 5}
    params |= {"objective": "multiclass", "num_class": k} if k > 2 else {"objective": "binary"}
    return lightgbm.cv(
        params,
        lightgbm.Dataset(X, y, weight=weight),
        rounds,
        folds=folds,
        callbacks=[lightgbm.early_stopping(4, verbose=False)],
        return_cvbooster=True,
    )


@pytest.mark.parametrize("n_classes", [2, 3])
def test_rows_are_what_the_folds_boosters_predict_at_their_best_iteration(n_classes):
    X, y = PROBLEMS[n_classes]
    names, folds = np.array(["p", "q", "r"])[y], folds_of(y)
    (keeper, rounds), result = xgboost_run(X, y, folds), lightgbm_run(X, y, folds)
    data = predictions_of_cv({"xgb": keeper, "lgb": result}, X, names, folds, X_test=X[:5])
    best = rounds, result["cvbooster"].best_iteration
    assert max(best) < 200
    assert keeper.cvfolds[0].bst.num_boosted_rounds() > best[0]
    np.testing.assert_array_equal(data.best_iterations, np.repeat([best], 3, axis=0).T)
    for fold, (_, test) in enumerate(folds):
        np.testing.assert_array_equal(data.fold_ids[0, test], fold)
        part = xgboost.DMatrix(X[test])
        expected = keeper.cvfolds[fold].bst.predict(part, iteration_range=(0, best[0]))
        np.testing.assert_allclose(data.R[0, test], expected, atol=1e-7)
        expected = result["cvbooster"].boosters[fold].predict(X[test], num_iteration=best[1])
        np.testing.assert_array_equal(data.R[1, test], expected)
    boosters = result["cvbooster"].boosters
    bag = np.mean([booster.predict(X[:5], num_iteration=best[1]) for booster in boosters], axis=0)
    np.testing.assert_allclose(data.test.R[1], bag)
    assert data.classes.tolist() == sorted(set(names))
    columns = data.R.T if n_classes == 2 else np.hstack(list(data.R))
    assert CFEnsembleClassifier(aggregator="mean").fit(columns, names).score(columns, names) > 0.9


def test_a_callback_and_a_booster_without_record_will_do_and_repeats_are_averaged():
    X, y = PROBLEMS[2]
    cv = RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0)
    result = lightgbm_run(X, y, list(cv.split(X, y)), rounds=5)
    data = predictions_of_cv([("lgb", result["cvbooster"])], X, y, cv)
    assert (data.coverage == 2).all()
    boosters, splits = result["cvbooster"].boosters, list(cv.split(X, y))
    both = [b.predict(X[:1])[0] for b, (_, test) in zip(boosters, splits, strict=True) if 0 in test]
    np.testing.assert_allclose(data.R[0, 0], np.mean(both))
    np.testing.assert_allclose(data.spread[0, 0], np.std(both))


def test_frames_with_categories():
    X, y = PROBLEMS[2]
    frame = pd.DataFrame(X[:, :4]).add_prefix("f")
    frame["f0"] = pd.cut(frame["f0"], 4).cat.rename_categories(list("abcd"))
    folds = folds_of(y)
    runs = {"xgb": xgboost_run(frame, y, folds, 9)[0], "lgb": lightgbm_run(frame, y, folds, 9)}
    assert predictions_of_cv(runs, frame, y, folds, X_test=frame[:3]).test.R.shape == (2, 3)


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_other_folds_are_noticed(library):
    X, y = PROBLEMS[2]
    folds = folds_of(y)
    run = xgboost_run(X, y, folds)[0] if library == "xgboost" else lightgbm_run(X, y, folds)
    message = "held out other rows" if library == "xgboost" else "have probably seen these"
    with pytest.raises(SuspiciousPredictionsError, match=message):
        predictions_of_cv({"it": run}, X, y, OTHERS)


def test_weights_do_not_look_like_other_folds_if_that_is_allowed():
    X, y = PROBLEMS[2]
    folds = folds_of(y)
    weight = np.where(X[:, 0] > np.median(X[:, 0]), 0.01, 5.0)
    run = lightgbm_run(X, y, folds, weight=weight)
    assert predictions_of_cv({"it": run}, X, y, folds, allow_suspicious=True).n_missing == 0


def test_what_is_no_run_is_refused():
    X, y = PROBLEMS[2]
    folds = folds_of(y)
    result = lightgbm_run(X, y, folds, rounds=3)
    for run, options, error, message in (
        (fold_keeper(), {}, ValueError, "'it' has 0 boosters, and there are 3 folds"),
        ({"valid": [0.1]}, {}, ValueError, "return_cvbooster=True"),
        (result["cvbooster"].boosters[0], {}, TypeError, "'it' is a Booster; it must be"),
        (result, {"folds": folds[:2]}, ValueError, "has 3 boosters, and there are 2 folds"),
    ):
        with pytest.raises(error, match=message):
            predictions_of_cv({"it": run}, X, y, **{"folds": folds} | options)
    with pytest.raises(ValueError, match="predict 2 classes, and y holds 3"):
        predictions_of_cv({"it": result}, X, np.arange(len(y)) % 3, folds)
