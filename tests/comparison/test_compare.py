import sys

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier
from stacked_columns import log_loss_of

from cfe_stack import EnsembleData, compare_ensembles
from cfe_stack.comparison.compare import ContenderClassifier, five_by_two_cv
from cfe_stack.comparison.contenders import CONTENDERS
from cfe_stack.cross_validation.repeated_folds import make_splits
from cfe_stack.datasets import make_ensemble
from cfe_stack.meta_features.stacked_columns import cells, columns
from cfe_stack.metrics import Metric

CHEAP = ["mean", "best single", "greedy selection", "LogisticRegression"]


def ensemble(n=120, n_classes=2, seed=0, **settings):
    made = make_ensemble(5, n, n_classes, random_state=seed, **settings)
    return EnsembleData(made.R, made.labels)


class CountingBayes(GaussianNB):
    """Leaves a mark in a file whenever it is fitted."""

    def __init__(self, path="", *, priors=None, var_smoothing=1e-9):
        super().__init__(priors=priors, var_smoothing=var_smoothing)
        self.path = path

    def fit(self, X, y, sample_weight=None):
        with open(self.path, "a") as file:
            file.write("x")
        return super().fit(X, y, sample_weight)


def test_scores_are_those_of_contenders_on_the_same_folds():
    data = ensemble(n_classes=3)
    found = compare_ensembles(data, contenders=CHEAP, n_repeats=2, random_state=3)
    splits = make_splits(data.labels, 5, n_repeats=2, random_state=3)
    for f, (rows, held_out, repeat) in enumerate(splits):
        train = EnsembleData(data.R[:, rows], data.labels[rows])
        test = EnsembleData(data.R[:, held_out])
        assert (found.folds[f].repeat, found.folds[f].n_test) == (repeat, len(held_out))
        for k, name in enumerate(CHEAP):
            proba = CONTENDERS[name].predict(train, test)
            loss = log_loss_of(proba, data.labels[held_out])
            assert found.scores["log_loss"][k, f] == pytest.approx(loss, abs=1e-3)
    rows = np.concatenate([test for _, test, repeat in splits if repeat == 0])
    np.testing.assert_array_equal(found.held_out["data"].codes, data.labels[rows])


def test_contenders_see_labels_of_the_training_part_only():
    data, seen = ensemble(), []

    def spy(train, test):
        seen.append((train.labels.min(), test.labels.max(), test.sample_weight))
        return np.full((test.n_instances, 2), 0.5)

    compare_ensembles(data, contenders={"spy": spy}, n_repeats=1)
    assert seen == [(0, -1, None)] * 5


def test_a_search_is_tuned_inside_the_training_part():
    search = GridSearchCV(LogisticRegression(), {"C": [0.01, 1.0]}, scoring="neg_log_loss")
    found = compare_ensembles(ensemble(), contenders={"search": search, "mean": "mean"})
    assert np.isfinite(found.scores["log_loss"]).all()
    assert not hasattr(search, "best_params_")


def test_a_run_goes_on_where_it_stopped(tmp_path):
    calls = tmp_path / "calls"

    def stops_once(train, test):
        with calls.open("a") as file:
            file.write("x")
        if len(calls.read_text()) == 4:
            raise KeyboardInterrupt
        return np.full((test.n_instances, 2), 0.5)

    def run(memory):
        return compare_ensembles(
            ensemble(), contenders={"mean": "mean", "own": stops_once}, n_repeats=1, memory=memory
        )

    memory = tmp_path / "memory"
    with pytest.raises(KeyboardInterrupt):
        run(memory)
    first = run(memory)
    assert len(calls.read_text()) == 6  # three were kept, one was stopped, two were left
    second = run(memory)
    assert len(calls.read_text()) == 6
    np.testing.assert_array_equal(first.seconds, second.seconds)
    np.testing.assert_array_equal(first.scores["brier"], second.scores["brier"])
    without = run(None)
    np.testing.assert_array_equal(first.scores["log_loss"], without.scores["log_loss"])


def test_stored_results_are_those_of_the_same_data(tmp_path):
    options = {"contenders": ["mean", "greedy selection"], "n_repeats": 1, "memory": tmp_path}
    compare_ensembles(ensemble(seed=0), **options)
    other = compare_ensembles(ensemble(seed=1), **options)
    fresh = compare_ensembles(ensemble(seed=1), **options | {"memory": None})
    np.testing.assert_array_equal(other.scores["log_loss"], fresh.scores["log_loss"])


def test_a_contender_that_fails_is_named_and_not_ranked():
    def fails(train, test):
        if train.n_instances > 95:
            raise RuntimeError("no luck")
        return np.full((test.n_instances, 2), 0.5)

    options = {"contenders": {"fails": fails, "mean": "mean", "best": "best single"}}
    cut = [np.arange(0, 25), np.arange(25, 50)]
    options["cv"] = [(np.setdiff1d(np.arange(120), c), c) for c in cut]
    options["cv"].append((np.arange(100), np.arange(100, 120)))
    found = compare_ensembles(ensemble(), **options)
    assert found.notes == (
        "fails failed in 1 fold(s) and is not ranked; first in data, fold 2: RuntimeError: no luck",
    )
    assert set(found.ranks()) == {"mean", "best"}
    assert found.summary()[-1]["contender"] == "fails"
    with pytest.raises(RuntimeError, match="no luck"):
        compare_ensembles(ensemble(), **options, on_error="raise")


@pytest.mark.parametrize(
    "proba", [np.full(24, 0.5), np.full((24, 3), 1 / 3), np.full((24, 2), np.nan)]
)
def test_what_is_no_probability_is_a_failure(proba):
    found = compare_ensembles(
        ensemble(), contenders={"odd": lambda train, test: proba, "mean": "mean"}, n_repeats=1
    )
    assert "odd failed in 5 fold(s)" in found.notes[0]


def test_a_missing_package_is_a_note(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    found = compare_ensembles(ensemble(), contenders=["mean", "LightGBM"], n_repeats=1)
    assert found.contenders == ("mean",)
    assert found.notes[0].startswith("LightGBM was not run: lightgbm is not installed")
    with pytest.raises(ValueError, match="No contender can run"):
        compare_ensembles(ensemble(), contenders=["LightGBM"])
    monkeypatch.setitem(sys.modules, "torch", None)
    named = [n for n in CONTENDERS if "PyTorch" in n]
    found = compare_ensembles(ensemble(), contenders=["mean", *named], n_repeats=1)
    assert found.contenders == ("mean",)
    assert len(named) == len(found.notes) == 2
    assert all('pip install "cfe-stack[torch]"' in note for note in found.notes)


def test_what_becomes_of_missing_cells_is_said():
    found = compare_ensembles(ensemble(missing_rate=0.1), contenders=CHEAP, n_repeats=1)
    said = "Missing cells (best single; greedy"
    (note,) = (n for n in found.notes if n.startswith(said))
    assert note.endswith("they take the mean of the row's other predictions.")
    assert compare_ensembles(ensemble(), contenders=CHEAP, n_repeats=1).notes == ()


def test_rows_without_a_label_take_no_part():
    data = ensemble()
    labels = np.where(np.arange(120) < 20, -1, data.labels)
    found = compare_ensembles(EnsembleData(data.R, labels), contenders=["mean"], n_repeats=1)
    assert sum(fold.n_test for fold in found.folds) == 100


@pytest.mark.exhaustive
def test_several_data_sets_metrics_and_processes():
    sets = {"two": ensemble(), "three": ensemble(n_classes=3)}
    own = Metric("width", lambda codes, proba, weights: float(proba.shape[1]))
    options = {"contenders": CHEAP, "metrics": ["roc_auc", own, "f1_macro"], "n_repeats": 1}
    alone = compare_ensembles(sets, **options)
    together = compare_ensembles(sets, **options, n_jobs=2)
    assert alone.problems == ("two", "three")
    assert alone.means("width")[0].tolist() == [2, 3]
    for name in ("roc_auc", "f1_macro"):
        np.testing.assert_allclose(alone.scores[name], together.scores[name], atol=1e-6)


def test_sample_weights_count_in_the_scores():
    data = ensemble()
    weights = np.where(np.arange(120) % 2, 2.0, 0.5)
    weighted = EnsembleData(data.R, data.labels, sample_weight=weights)
    options = {"contenders": ["mean"], "metrics": "brier", "n_repeats": 1}
    found = compare_ensembles(weighted, **options).scores["brier"]
    assert not np.allclose(found, compare_ensembles(data, **options).scores["brier"])


def test_base_learners_on_features():
    random = np.random.default_rng(0)
    X = random.normal(size=(90, 3))
    y = np.where(X[:, 0] + 0.5 * random.normal(size=90) > 0, "yes", "no")
    learners = [("bayes", GaussianNB()), ("tree", DecisionTreeClassifier(max_depth=2))]
    found = compare_ensembles(
        learners, X, y, contenders=["mean", "best single"], cv=3, n_repeats=1, inner_cv=3
    )
    assert found.scores["log_loss"].shape == (2, 3)
    assert found.means("roc_auc").min() > 0.7


def test_fits_of_base_learners_are_kept(tmp_path):
    random = np.random.default_rng(0)
    X, y = random.normal(size=(60, 3)), np.arange(60) % 2
    learners = {"bayes": CountingBayes(str(tmp_path / "fits"))}
    options = {"cv": 3, "n_repeats": 1, "inner_cv": 3, "memory": tmp_path / "memory"}
    for contenders in (["mean"], ["mean", "best single"]):
        compare_ensembles(learners, X, y, contenders=contenders, **options)
    assert len((tmp_path / "fits").read_text()) == 3 * (3 + 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "ignore"}, "on_error must be 'note' or 'raise'"),
        ({"reference": "median"}, "'median' is not a contender; those that run are"),
        ({"metrics": "auc"}, "'auc' is unknown"),
        ({"contenders": ["median"]}, "must be a built-in name"),
        ({"cv": 1}, "cv must be an integer >= 2"),
    ],
)
def test_wrong_options_are_refused_before_work_starts(options, message):
    def never(train, test):
        raise AssertionError("work has started")

    with pytest.raises(ValueError, match=message):
        compare_ensembles(
            ensemble(), **{"contenders": {"never": never}, "on_error": "raise"} | options
        )


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_contender_as_classifier(n_classes):
    train, test = ensemble(n_classes=n_classes), ensemble(60, n_classes, seed=1)
    model = ContenderClassifier(CONTENDERS["greedy selection"], n_classes)
    model.fit(columns(cells(train)), train.labels)
    expected = CONTENDERS["greedy selection"].predict(train, test)
    np.testing.assert_allclose(model.predict_proba(columns(cells(test))), expected)
    assert (model.predict(columns(cells(test))) == expected.argmax(axis=1)).all()


def test_halvings_of_an_ensemble_matrix():
    pytest.importorskip("mlxtend")
    data = ensemble(300, skill=[0.2, 0.2, 0.2, 0.2, 2.0], difficulty=0.0)
    found = five_by_two_cv(data, "best single", "mean")
    assert found.p_value < 0.05
    assert five_by_two_cv(data, "best single", "mean", metric="roc_auc").p_value != found.p_value
