import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris, make_classification
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from cfe_stack import collect_out_of_fold
from cfe_stack.base_learners.early_stopping import EarlyStopping, stopping_of
from cfe_stack.base_learners.native_boosters import LightGBMTrain, XGBoostTrain

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
FAMILIES = ("xgboost", "lightgbm", "catboost", "xgboost.train", "lightgbm.train")


def booster(family, trees=300, **options):
    module = pytest.importorskip(family.split(".")[0])
    if family == "xgboost":
        return module.XGBClassifier(n_estimators=trees, max_depth=2, n_jobs=1, **options)
    if family == "lightgbm":
        return module.LGBMClassifier(
            n_estimators=trees, num_leaves=4, n_jobs=1, verbose=-1, **options
        )
    if family == "catboost":
        return module.CatBoostClassifier(iterations=trees, depth=2, thread_count=1, **options)
    if family == "xgboost.train":
        return XGBoostTrain({"max_depth": 2, "nthread": 1}, trees, **options)
    return LightGBMTrain({"num_leaves": 4, "num_threads": 1}, trees, **options)


def trees_of(model):
    last = model.steps[-1][1] if isinstance(model, Pipeline) else model
    for name in ("n_trees_", "tree_count_", "n_estimators_"):
        if hasattr(last, name):
            return getattr(last, name)
    return last.get_booster().num_boosted_rounds()


@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_folds_stop_and_the_refit_uses_their_median(family, piped):
    learner = booster(family)
    template = make_pipeline(StandardScaler(), learner) if piped else learner
    weights = np.random.RandomState(0).uniform(0.5, 1.5, 150)
    data = collect_out_of_fold(
        [("it", template)], X, NAMES, cv=3, early_stopping=5, sample_weight=weights, n_jobs=1
    )
    trees = data.best_iterations[0]
    assert (trees >= 1).all()
    assert trees.min() < 300
    assert trees_of(data.models["it"].estimator) == max(1, round(np.median(trees)))
    assert -np.log(data.R[0, np.arange(150), Y]).mean() < 0.4
    assert data.models["it"].predict_proba(X).shape == (150, 3)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_learner_that_asks_for_it_itself_gets_validation_rows(family):
    rounds = {"early_stopping_rounds": 5}
    data = collect_out_of_fold([("it", booster(family, **rounds))], X, Y, cv=3, n_jobs=1)
    assert data.best_iterations.min() < 300
    plain = collect_out_of_fold([("it", booster(family, trees=10))], X, Y, cv=3, n_jobs=1)
    assert np.isnan(plain.best_iterations).all()


# a later XGBoost warns that its class goes away
@pytest.mark.filterwarnings("ignore:`XGBRFClassifier` is deprecated:FutureWarning")
def test_others_are_left_alone():
    assert stopping_of(GaussianNB(), 5) is None
    module = pytest.importorskip("lightgbm")
    assert stopping_of(module.LGBMClassifier(boosting_type="dart"), 5) is None
    assert stopping_of(pytest.importorskip("xgboost").XGBRFClassifier(), 5) is None
    assert stopping_of(module.LGBMClassifier(), EarlyStopping(7, 0.2)).fraction == 0.2


class Seen:
    """Collects which rows a pipeline's first step was fitted on and was given."""

    fitted: list = []
    given: list = []


class Recorder(FunctionTransformer):
    def fit(self, X, y=None):
        Seen.fitted.append(set(X[:, 0].astype(int)))
        return super().fit(X, y)

    def transform(self, X):
        Seen.given.append(set(X[:, 0].astype(int)))
        return super().transform(X)


def test_held_out_rows_are_never_seen_before_they_are_predicted():
    Seen.fitted, Seen.given = [], []
    marked = np.column_stack([np.arange(150), X])
    template = make_pipeline(Recorder(), booster("xgboost", early_stopping_rounds=3))
    data = collect_out_of_fold([("it", template)], marked, Y, cv=3, refit=None)
    assert len(Seen.fitted) == 3
    for fold, (fitted, given) in enumerate(
        zip(Seen.fitted, np.reshape(Seen.given, (3, -1)), strict=True)
    ):
        held_out = set(np.flatnonzero(data.fold_ids[0] == fold))
        train, validation, predicted = given
        assert train == fitted
        assert predicted == held_out
        assert fitted.isdisjoint(validation)
        assert (fitted | validation).isdisjoint(held_out)
        assert len(validation) == 9


@pytest.mark.exhaustive
def test_stopping_on_the_held_out_rows_is_optimistic_and_ours_is_not():
    # labels that are mostly noise: what is chosen on few rows looks good on them by luck
    module = pytest.importorskip("xgboost")
    gaps = {"theirs": [], "ours": []}
    template = module.XGBClassifier(
        n_estimators=60, max_depth=3, learning_rate=0.3, n_jobs=1, early_stopping_rounds=20
    )
    for seed in range(4):
        A, b = make_classification(
            2120, 10, n_informative=3, flip_y=0.5, class_sep=0.5, random_state=seed
        )
        train, fresh = slice(0, 120), slice(120, None)
        data = collect_out_of_fold([("it", template)], A[train], b[train], cv=8, refit="bag")
        losses = {"theirs": [], "ours": []}
        unseen = {"theirs": [], "ours": []}
        for fold, (rows, held) in enumerate(StratifiedKFold(8).split(A[train], b[train])):
            model = clone(template).fit(
                A[rows], b[rows], eval_set=[(A[held], b[held])], verbose=False
            )
            ours = data.fold_models["it"][fold].estimator
            for who, fitted in (("theirs", model), ("ours", ours)):
                losses[who].append(log_loss(b[held], fitted.predict_proba(A[held])))
                unseen[who].append(log_loss(b[fresh], fitted.predict_proba(A[fresh])))
        for who, gap in gaps.items():
            gap.append(np.mean(unseen[who]) - np.mean(losses[who]))
    # out-of-fold log-loss against that on fresh rows: positive is optimistic
    assert np.mean(gaps["theirs"]) > 0.05
    assert np.mean(gaps["theirs"]) > np.mean(gaps["ours"]) + 0.05
    assert abs(np.mean(gaps["ours"])) < 0.05


def test_catboost_with_categories_is_copied_and_quiet(tmp_path, monkeypatch, capfd):
    catboost = pytest.importorskip("catboost")
    monkeypatch.chdir(tmp_path)
    table = np.column_stack([(X[:, 0] > 5.5).astype(int), np.round(X[:, 2])]).astype(int)
    learner = catboost.CatBoostClassifier(iterations=40, cat_features=[0, 1], thread_count=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = collect_out_of_fold(
            [("cat", learner)], table, NAMES, cv=3, early_stopping=3,
            sample_weight=np.ones(150),
        )  # fmt: skip
    assert data.n_missing == 0
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().out == ""
