import pickle

import numpy as np
import polars as pl
import pytest
from counting_learners import CountedTree, Misbehaving, fits
from joblib import parallel_config
from optional_packages import pandas as pd
from scipy import sparse
from sklearn.datasets import load_iris, make_classification
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression, Perceptron, Ridge
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    RepeatedStratifiedKFold,
    StratifiedKFold,
    TimeSeriesSplit,
    cross_val_predict,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

from cfe_stack import CFEnsembleTrainer, EnsembleData, collect_out_of_fold
from cfe_stack.out_of_fold.cache import CacheWarning
from cfe_stack.out_of_fold.collection import FailedLearnerWarning

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
X2, Y2 = make_classification(120, 6, random_state=0)
BASES = [("bayes", GaussianNB()), ("logistic", LogisticRegression(max_iter=500))]


def collect(estimators=BASES, X=X, y=Y, **options):
    return collect_out_of_fold(estimators, X, y, progress=False, **options)


@pytest.fixture(autouse=True)
def one_blas_thread():
    """Give fits one BLAS thread, as those have that run side by side: others give other bits."""
    with threadpool_limits(1, user_api="blas"):
        yield


@pytest.mark.parametrize("n_jobs", [None, 1, 2])
def test_the_matrix_is_that_of_cross_val_predict(n_jobs):
    data = collect(n_jobs=n_jobs)
    assert isinstance(data, EnsembleData)
    for u, (_, learner) in enumerate(BASES):
        expected = cross_val_predict(learner, X, Y, cv=5, method="predict_proba")
        np.testing.assert_array_equal(data.R[u], expected)
    assert data.classifier_names == ("bayes", "logistic")
    assert (data.coverage == 1).all()
    assert np.isfinite(data.fit_times).tolist() == [[True] * 5] * 2


def test_two_classes_are_kept_as_the_probability_of_the_second():
    data = collect(X=X2, y=np.where(Y2 == 1, "yes", "no"))
    expected = cross_val_predict(GaussianNB(), X2, Y2, cv=5, method="predict_proba")[:, 1]
    np.testing.assert_array_equal(data.R[0], expected)
    assert data.classes.tolist() == ["no", "yes"]


def test_models_know_the_users_labels_and_predict_new_rows():
    data = collect(y=NAMES, X_test=X[::10])
    full = data.models["bayes"]
    np.testing.assert_array_equal(full.estimator.predict(X), GaussianNB().fit(X, NAMES).predict(X))
    np.testing.assert_array_equal(data.test.R[0], full.predict_proba(X[::10]))
    assert not hasattr(BASES[0][1], "classes_")


def test_bagged_models_predict_by_their_mean():
    data = collect(refit="bag", X_test=X[::10], cv=3)
    assert len(data.models) == 0
    bag = data.fold_models["logistic"]
    mean = np.mean([model.predict_proba(X[::10]) for model in bag], axis=0)
    np.testing.assert_allclose(data.test.R[1], mean, rtol=1e-12)
    both = collect(refit="both", X_test=X[::10], cv=3)
    assert len(both.fold_models["bayes"]) == 3
    np.testing.assert_array_equal(both.test.R[1], both.models["logistic"].predict_proba(X[::10]))


def test_repeats_are_averaged_and_their_spread_is_kept():
    data = collect(cv=RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=1))
    halves = [
        collect(
            cv=list(RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=1).split(X, Y))[
                part
            ]
        )
        for part in (slice(0, 3), slice(3, 6))
    ]
    A, B = (half.R for half in halves)
    np.testing.assert_allclose(data.R, (A + B) / 2, rtol=1e-12)
    np.testing.assert_allclose(data.spread, np.abs(A - B) / 2, atol=1e-15)
    assert data.fold_ids.shape == (2, 150)
    assert (data.coverage == 2).all()
    assert halves[0].spread is None


def test_rows_that_are_never_held_out_are_missing():
    order = np.random.RandomState(0).permutation(150)
    data = collect(X=X[order], y=Y[order], cv=TimeSeriesSplit(4))
    never = data.fold_ids[0] < 0
    assert never.sum() == 30
    assert np.isnan(data.R[:, never]).all()
    assert not np.isnan(data.R[:, ~never]).any()
    assert (data.coverage[:, never] == 0).all()
    assert data.n_missing == 2 * 30
    assert "30 instances never held out" in repr(data)


def test_groups_stay_together_and_reach_the_splitter():
    groups = np.arange(150) % 7
    for cv in (3, GroupKFold(3)):
        data = collect(groups=groups, cv=cv)
        for group in range(7):
            assert len(set(data.fold_ids[0][groups == group])) == 1


def test_the_users_splitter_is_left_alone_and_drawn_once():
    splitter = KFold(4, shuffle=True, random_state=np.random.RandomState(3))
    before = splitter.random_state.get_state()[1].copy()
    first, second = collect(cv=splitter), collect(cv=splitter)
    np.testing.assert_array_equal(splitter.random_state.get_state()[1], before)
    np.testing.assert_array_equal(first.R, second.R)
    unseeded = [collect(cv=KFold(4, shuffle=True)).fold_ids for _ in range(2)]
    np.testing.assert_array_equal(*unseeded)


@pytest.mark.parametrize("kind", ["pandas", "polars", "csr", "coo", "list"])
def test_any_kind_of_table_gives_the_same_matrix(kind):
    table = {
        "pandas": lambda: pd.DataFrame(X, columns=list("abcd"), index=np.arange(150) + 7),
        "polars": lambda: pl.DataFrame(X, schema=list("abcd")),
        "csr": lambda: sparse.csr_matrix(X),
        "coo": lambda: sparse.coo_matrix(X),
        "list": lambda: X.tolist(),
    }[kind]()
    bases = [("tree", CountedTree())]
    data = collect(bases, table, NAMES, X_test=table)
    np.testing.assert_array_equal(data.R, collect(bases, X, NAMES).R)
    np.testing.assert_array_equal(
        data.test.R[0],
        data.models["tree"].predict_proba(np.asarray(X) if kind == "list" else table),
    )
    if kind == "pandas":
        assert data.instance_ids.tolist() == list(range(7, 157))
        assert data.models["tree"].estimator.feature_names_in_.tolist() == list("abcd")


def test_weights_reach_learners_and_last_steps():
    weights = np.random.RandomState(0).randint(1, 4, 150).astype(float)
    bases = [("bayes", GaussianNB()), ("pipe", make_pipeline(StandardScaler(), GaussianNB()))]
    data = collect(bases, sample_weight=weights)
    expected = np.empty((150, 3))
    for train, test in StratifiedKFold(5).split(X, Y):
        expected[test] = GaussianNB().fit(X[train], Y[train], weights[train]).predict_proba(X[test])
    np.testing.assert_array_equal(data.R[0], expected)
    np.testing.assert_allclose(data.R[1], expected, atol=1e-6)
    np.testing.assert_array_equal(data.sample_weight, weights)


def test_learners_that_take_no_weights_are_named():
    bases = [("bayes", GaussianNB()), ("neighbours", KNeighborsClassifier())]
    with pytest.warns(UserWarning, match=r"does not reach the learner\(s\) \['neighbours'\]"):
        data = collect(bases, sample_weight=np.ones(150), refit=None)
    assert data.n_missing == 0


def test_fit_arguments_are_routed_and_reduced_to_rows():
    weights = np.where(Y == 1, 5.0, 1.0)
    plain, weighted = collect(), collect(sample_weight=weights)
    for given in ({"bayes": {"sample_weight": weights}}, {"bayes__sample_weight": weights}):
        data = collect(fit_params=given)
        np.testing.assert_array_equal(data.R[0], weighted.R[0])
        np.testing.assert_array_equal(data.R[1], plain.R[1])


def test_margins_are_calibrated_by_other_folds_and_labels_are_certain():
    data = collect([("svm", LinearSVC()), ("perceptron", Perceptron())], X_test=X)
    assert set(data.scores) == {"svm", "perceptron"}
    margins = cross_val_predict(LinearSVC(), X, Y, cv=5, method="decision_function")
    np.testing.assert_array_equal(data.scores["svm"], margins)
    np.testing.assert_allclose(data.R.sum(axis=2), 1)
    assert log_loss(Y, data.R[0]) < 0.3
    # the row's own label is not in its calibrator: changing it moves no probability of its fold
    proba = data.models["svm"].predict_proba(X)
    np.testing.assert_array_equal(data.test.R[0], proba)
    labels = collect([("svm", LinearSVC())], stack_method="predict")
    assert set(np.unique(labels.R)) == {0.0, 1.0}
    np.testing.assert_array_equal(labels.R[0].argmax(axis=1), cross_val_predict(LinearSVC(), X, Y))


def test_classes_missing_from_training_rows_get_zero():
    xgboost = pytest.importorskip("xgboost")
    first = np.flatnonzero(Y != 1)
    cv = [(first, np.flatnonzero(Y == 1)), (np.arange(0, 150, 2), np.arange(1, 150, 2)[:25])]
    bases = [*BASES, ("xgb", xgboost.XGBClassifier(n_estimators=5, n_jobs=1)), ("svm", LinearSVC())]
    with pytest.warns(FailedLearnerWarning, match="'svm' failed in fold 0.* 2 of 3 classes"):
        data = collect(bases, y=NAMES, cv=cv, refit=None)
    held_out = Y == 1
    assert (data.R[:3, held_out, 1] == 0).all()
    np.testing.assert_allclose(data.R[:3, held_out].sum(axis=2), 1, atol=1e-6)
    assert np.isnan(data.R[3, held_out]).all()


FAILURES = {
    "raises": "ArithmeticError: it cannot be done",
    "one column too many": r"predict_proba returned shape \(30, 4\); \(30, 3\) were expected",
    "NaN in one row": "not finite in 1 of 30 held-out rows",
    "sums to 2": "which are not class probabilities",
    "a list": "predict_proba returned shape",
    "text": "returned no array of numbers",
}


@pytest.mark.parametrize("how", FAILURES)
def test_a_failing_fold_is_missing_and_named_once(how):
    marked = np.column_stack([np.arange(150), X])
    bases = [("fine", GaussianNB()), ("shaky", Misbehaving(how))]
    message = f"'shaky' failed in fold 0, .*{FAILURES[how]}"
    with pytest.warns(FailedLearnerWarning, match=message) as seen:
        data = collect(bases, marked, cv=KFold(5), refit=None)
    assert len(seen) == 1
    missing = np.isnan(data.R[1]).all(axis=1)
    assert missing.sum() == (1 if how == "NaN in one row" else 30)
    assert missing[:30].any()
    assert [(f.learner, f.fold) for f in data.failures] == [("shaky", 0)]
    assert not np.isnan(data.R[0]).any()
    assert (
        CFEnsembleTrainer(2, latent_dim=1, max_iter=3, tol=0, random_state=0).fit(data).n_iter_ > 0
    )
    with pytest.raises((ValueError, ArithmeticError)) as error:
        collect(bases, marked, cv=KFold(5), refit=None, on_error="raise")
    if how != "NaN in one row":
        assert "in learner 'shaky', fold 0" in error.value.__notes__[0]


def test_a_fit_that_takes_too_long_is_given_up():
    marked = np.column_stack([np.arange(150), X])
    bases = [("fine", GaussianNB()), ("slow", Misbehaving("sleeps"))]
    with pytest.warns(FailedLearnerWarning, match="'slow' failed in fold 0, .*after 0.2 s"):
        data = collect(bases, marked, cv=KFold(5), time_limit=0.2)
    assert np.isnan(data.R[1]).all(axis=1).sum() == 30
    assert sorted(data.models) == ["fine", "slow"]


def test_nothing_to_stack_is_an_error_with_reasons():
    with (
        pytest.warns(FailedLearnerWarning),
        pytest.raises(RuntimeError, match="shaky, fit on all rows, .* 4: ArithmeticError: it can"),
    ):
        collect([("shaky", Misbehaving("raises", always=True))])


def test_a_failed_refit_has_no_model():
    marked = np.column_stack([np.arange(1, 151), X])
    bases = [("fine", GaussianNB()), ("shaky", Misbehaving("raises"))]
    cv = KFold(5)
    marked[:, 0] = 0
    data = collect(bases, marked, cv=cv)
    assert sorted(data.models) == ["fine", "shaky"]
    marked[:, 0] = 1
    with pytest.warns(FailedLearnerWarning, match="fit on all rows"):
        data = collect(bases, marked, cv=cv)
    assert sorted(data.models) == ["fine"]


def test_fits_are_counted(tmp_path):
    log, folder = tmp_path / "log", tmp_path / "cache"
    bases = [(f"tree {i}", CountedTree(str(log), i)) for i in range(3)]
    collect(bases, cv=4)
    assert fits(log) == 3 * (4 + 1)
    log.unlink()
    first = collect(bases, cv=4, memory=folder)
    assert fits(log) == 3 * 4
    models = first.models
    assert len(models) == 3
    assert len(list(models.values())) == 3
    assert fits(log) == 3 * (4 + 1)
    again = collect([*bases, ("new", CountedTree(str(log), 9))], cv=4, memory=folder)
    assert fits(log) == 3 * (4 + 1) + 4
    np.testing.assert_array_equal(again.R[:3], first.R)
    np.testing.assert_array_equal(again.fit_times[:3], first.fit_times)


@pytest.mark.parametrize("refit", ["full", "bag"])
def test_test_predictions_are_found_again(tmp_path, refit):
    log = tmp_path / "log"
    bases = [("tree", CountedTree(str(log)))]
    options = {"cv": 4, "memory": tmp_path / "cache", "refit": refit}
    collect(bases, **options)
    assert fits(log) == 4
    first = collect(bases, X_test=X[:20], **options)
    assert fits(log) == (5 if refit == "full" else 8)
    counted = fits(log)
    second = collect(bases, X_test=X[:20], **options)
    assert fits(log) == counted
    np.testing.assert_array_equal(first.test.R, second.test.R)
    np.testing.assert_array_equal(second.R, collect(bases, cv=4).R)


def test_what_does_not_change_predictions_changes_no_address(tmp_path):
    log = tmp_path / "log"
    collect([("a", CountedTree(str(log), n_jobs=1))], memory=tmp_path / "cache")
    counted = fits(log)
    collect([("b", CountedTree(str(log), n_jobs=7))], memory=tmp_path / "cache", n_jobs=1)
    collect([("b", CountedTree(str(log)))], memory=tmp_path / "cache", n_jobs=2)
    assert fits(log) == counted
    for change in (
        {"y": (Y + 1) % 3},
        {"X": X + 1e-9},
        {"sample_weight": np.ones(150)},
        {"cv": KFold(5, shuffle=True)},
        {"stack_method": "predict"},
    ):
        collect([("a", CountedTree(str(log)))], memory=tmp_path / "cache", **change)
        counted += 5
        assert fits(log) == counted, change


def test_a_result_can_be_pickled_with_its_models(tmp_path):
    data = pickle.loads(pickle.dumps(collect(memory=tmp_path)))
    np.testing.assert_array_equal(data.R, collect().R)
    assert data.models["bayes"].predict_proba(X).shape == (150, 3)


def test_what_cannot_be_addressed_is_collected_without_the_cache(tmp_path):
    generator = (i for i in range(3))
    with pytest.warns(CacheWarning, match="'open' are not stored in the cache: generator object"):
        data = collect([("open", Unhashable(generator))], memory=tmp_path, refit=None)
    assert data.n_missing == 0
    assert list(tmp_path.rglob("*.npz")) == []


class Unhashable(Misbehaving):
    def __init__(self, value=None):
        self.value = value

    how, always = "", False

    def __sklearn_clone__(self):
        return Unhashable(self.value)


def test_threads_of_one_process_give_the_same_matrix():
    with parallel_config(backend="threading", n_jobs=2):
        data = collect()
    np.testing.assert_array_equal(data.R, collect().R)


BAD = {
    "refit": ({"refit": "all"}, ValueError, "refit must be 'full', 'bag', 'both' or None"),
    "on_error": ({"on_error": "skip"}, ValueError, "on_error must be 'missing' or 'raise'"),
    "time_limit": ({"time_limit": 0}, ValueError, "time_limit must be a number > 0, got 0"),
    "n_jobs": ({"n_jobs": True}, ValueError, "n_jobs must be None .* got True"),
    "X_test": ({"X_test": X, "refit": None}, ValueError, "X_test needs models"),
    "stack_method": ({"stack_method": "proba"}, ValueError, "stack_method is 'proba'"),
    "early": ({"early_stopping": 0}, ValueError, "rounds of early_stopping must be .* >= 1, got 0"),
    "early, a flag": ({"early_stopping": True}, ValueError, "an integer >= 1, got True"),
    "cv": ({"cv": 1}, ValueError, "cv must be an integer >= 2"),
    "lengths": ({"y": Y[:-1]}, ValueError, "X has 150 rows and y 149"),
    "one class": ({"y": np.zeros(150)}, ValueError, "y holds one class only"),
    "missing label": ({"y": [None, *NAMES[1:]]}, ValueError, "y has no label in 1 rows, the first"),
    "weights": ({"sample_weight": -np.ones(150)}, ValueError, "finite numbers >= 0"),
    "groups": ({"groups": [1, 2]}, ValueError, "groups must have shape"),
    "no group": ({"groups": ["a", "b", None] * 50}, ValueError, "no group in 50 of 150 rows"),
    "fit_params": ({"fit_params": {"svm": {}}}, ValueError, "'svm', which names no learner"),
    "empty": ({"estimators": []}, ValueError, "at least one learner"),
    "dropped": ({"estimators": [("a", "drop")]}, ValueError, "at least one learner"),
    "twice": ({"estimators": [BASES[0], BASES[0]]}, ValueError, "different names"),
    "class": ({"estimators": [("a", GaussianNB)]}, TypeError, "an instance, not a class"),
    "memory": ({"memory": 3}, ValueError, "None, the path of a directory or a FoldCache, got 3"),
    "regressor": ({"estimators": [("a", Ridge())]}, TypeError, "'a' is the regressor Ridge"),
    "no pairs": ({"estimators": GaussianNB()}, TypeError, "must be a list of"),
    "no names": ({"estimators": [ExtraTreesClassifier()]}, TypeError, "got list without names"),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_arguments_are_named_before_any_fit(case, tmp_path):
    given, error, message = BAD[case]
    log = tmp_path / "log"
    options = {"estimators": [("tree", CountedTree(str(log)))], **given}
    with pytest.raises(error, match=message):
        collect(**options)
    assert fits(log) == 0


@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_gives_the_same_matrix():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
        parallel_config(backend="dask"),
    ):
        data = collect(n_jobs=2)
    np.testing.assert_array_equal(data.R, collect().R)
    assert sorted(data.models) == ["bayes", "logistic"]
