import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from cfe_stack import EnsembleData
from cfe_stack.comparison.problems import StoredProblem, as_problems
from cfe_stack.cross_validation.repeated_folds import SplitSettings
from cfe_stack.data.ensemble_data import take
from cfe_stack.datasets import make_ensemble

SETTINGS = SplitSettings(cv=3, n_repeats=1, inner_cv=3)


def matrix(n_classes=2, **settings):
    made = make_ensemble(4, 60, n_classes, random_state=0)
    return EnsembleData(made.R, made.labels, **settings)


def store(path, n_classes=2, n_folds=2, without=(), **changes):
    made = make_ensemble(4, 60, n_classes, random_state=0)
    arrays = {"names": np.array(["a", "b", "c", "d"]), "n_classes": n_classes}
    for fold in range(n_folds):
        test = np.arange(60) % n_folds == fold
        P = made.R.swapaxes(0, 1).astype(np.float32)
        arrays |= {f"oof{fold}": P[~test], f"ytr{fold}": made.labels[~test]}
        arrays |= {f"test{fold}": P[test], f"yte{fold}": made.labels[test]}
    arrays |= changes
    np.savez(path, **{name: value for name, value in arrays.items() if name not in without})
    return path


def test_a_matrix_is_cut_into_parts():
    C = np.random.default_rng(0).uniform(size=(4, 60))
    weights, ids = np.arange(60.0), np.arange(60) + 100
    data = matrix(C=C, sample_weight=weights, instance_ids=ids)
    (problem,) = as_problems(data, None, None, SETTINGS)
    train, test = problem.parts(1)
    size = problem.sizes()[1]
    assert (size.n_train, size.n_test) == (train.n_instances, test.n_instances)
    for part in (train, test):
        rows = part.instance_ids - 100
        np.testing.assert_array_equal(part.R, data.R[:, rows])
        np.testing.assert_array_equal(part.labels, data.labels[rows])
        np.testing.assert_array_equal(part.C, C[:, rows])
        np.testing.assert_array_equal(part.sample_weight, weights[rows])
    assert not set(train.instance_ids) & set(test.instance_ids)


def test_named_classes_survive_the_cut():
    data = EnsembleData(np.full((2, 3), 0.5), ["yes", None, "no"], classes=["no", "yes"])
    part = take(data, np.array([2, 1]))
    assert part.classes.tolist() == ["no", "yes"]
    assert part.labels.tolist() == [0, -1]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_folder_of_stored_folds(tmp_path, n_classes):
    store(tmp_path / "b.npz", n_classes)
    store(tmp_path / "a.npz", n_classes, 3)
    first, second = as_problems(tmp_path, None, None, SETTINGS)
    assert (first.name, second.name, first.n_classes) == ("a", "b", n_classes)
    assert [s.n_test for s in first.sizes()] == [20, 20, 20]
    train, test = second.parts(1)
    assert train.classifier_names == ("a", "b", "c", "d")
    made = make_ensemble(4, 60, n_classes, random_state=0)
    np.testing.assert_allclose(test.R, made.R[:, 1::2], rtol=1e-6)
    np.testing.assert_array_equal(train.labels, made.labels[0::2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"without": ("ytr1", "n_classes")}, "a.npz lacks n_classes, ytr1"),
        ({"n_folds": 0}, "lacks oof0, ytr0, test0, yte0"),
        ({"yte0": np.full(30, -1)}, "a.npz holds rows without a label"),
        ({"yte0": np.full(30, np.nan)}, "a.npz holds rows without a label"),
        ({"yte0": np.full(30, "no")}, "a.npz holds labels that are not class codes"),
    ],
)
def test_a_file_that_is_something_else_is_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        StoredProblem.open(store(tmp_path / "a.npz", **changes))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"a\.npz cannot be read"):
        as_problems(tmp_path, None, None, SETTINGS)
    with pytest.raises(ValueError, match=r"b\.npz cannot be read"):
        as_problems([tmp_path / "b.npz"], None, None, SETTINGS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"oof1": np.full(30, 0.5)}, r"oof1 has shape \(30,\); it must be \(rows, learners\)"),
        ({"test1": np.full((30, 4, 3), 1 / 3)}, r"test1 has shape \(30, 4, 3\)"),
        (
            {"n_classes": 3, "oof1": np.full((30, 4), 0.5)},
            r"oof1 has shape \(30, 4\); .* n_classes is 3",
        ),
        ({"names": np.array([{}], dtype=object)}, "allow_pickle"),
    ],
)
def test_shapes_that_do_not_fit_are_named_with_file_and_fold(tmp_path, changes, message):
    problem = StoredProblem.open(store(tmp_path / "a.npz", **changes))
    with pytest.raises(ValueError, match=rf"a\.npz, fold 1: .*{message}"):
        problem.parts(1)


def test_a_value_out_of_range_is_named_with_file_and_fold(tmp_path):
    path = store(tmp_path / "a.npz", oof1=np.full((30, 4), 1.5))
    with pytest.raises(ValueError, match=r"a\.npz, fold 1: R holds 1.5"):
        StoredProblem.open(path).parts(1)


@pytest.mark.parametrize("groups", [None, np.arange(90) // 3])
def test_base_learners_never_predict_rows_that_they_have_seen(groups):
    """A forest that remembers its rows would be right about all of them; y is noise."""
    random = np.random.default_rng(0)
    X, y = random.normal(size=(90, 3)), random.integers(2, size=90).astype(str)
    if groups is not None:
        X = X[groups]  # the rows of a group are alike
    learners = [("tree", DecisionTreeClassifier()), ("forest", RandomForestClassifier(5))]
    (problem,) = as_problems(learners, X, y, SETTINGS, groups)
    for fold in range(3):
        for part in problem.parts(fold):
            assert part.classifier_names == ("tree", "forest")
            right = ((part.R > 0.5) == part.labels).mean(axis=1)
            assert (right < 0.75).all()
    assert problem.n_classes == 2


def test_what_was_given_is_said(tmp_path):
    with pytest.raises(ValueError, match="takes an EnsembleData, a dict .* got ndarray"):
        as_problems(np.ones((3, 4)), None, None, SETTINGS)
    with pytest.raises(ValueError, match="need X and y"):
        as_problems([("bayes", GaussianNB())], None, None, SETTINGS)
    with pytest.raises(ValueError, match="under different names"):
        as_problems([("a", GaussianNB())] * 2, np.ones((9, 1)), [0, 1, 0] * 3, SETTINGS)
    for y in ([0.0, 1.0, np.nan] * 20, ["a", "b", None] * 20):
        with pytest.raises(ValueError, match="y has no label in 20 rows, the first is row 2"):
            as_problems([("a", GaussianNB())], np.ones((60, 1)), y, SETTINGS)
    with pytest.raises(ValueError, match=r"holds no NAME\.npz"):
        as_problems(str(tmp_path), None, None, SETTINGS)
    with pytest.raises(ValueError, match="'x' is a list"):
        as_problems({"x": [1, 2]}, None, None, SETTINGS)
    first, second = tmp_path / "one", tmp_path / "two"
    for folder in (first, second):
        folder.mkdir()
        store(folder / "same.npz")
    with pytest.raises(ValueError, match=r"Two files have one name: \['same'\]"):
        as_problems([first, second], None, None, SETTINGS)


def test_several_by_name(tmp_path):
    path = store(tmp_path / "a.npz")
    problems = as_problems({"m": matrix(3), "f": path}, None, None, SETTINGS, {"m": None})
    assert [(p.name, p.n_classes, len(p.sizes())) for p in problems] == [("m", 3, 3), ("f", 2, 2)]
