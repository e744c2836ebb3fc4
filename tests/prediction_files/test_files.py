"""Folders of prediction files: what is joined, what is refused, and where the mistake is."""

import numpy as np
import polars as pl
import pytest
from optional_packages import pandas as pd
from sklearn.datasets import make_classification
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.naive_bayes import GaussianNB

from cfe_stack import EnsembleData
from cfe_stack.data.in_sample import SuspiciousPredictionsError
from cfe_stack.prediction_files.files import (
    read_predictions,
    read_train_and_test,
    write_predictions,
)

IDS = [11, 12, 13, 14]
SOLD = ["no", "yes", "yes", "no"]
P = {"a": [0.1, 0.9, 0.8, 0.3], "b": [0.2, 0.7, 0.6, 0.4]}


def write(folder, name, columns):
    folder.mkdir(exist_ok=True)
    path, frame = folder / name, pd.DataFrame(columns)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".npz":
        np.savez(path, **{c: frame[c].to_numpy() for c in frame})
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.fixture
def target(tmp_path):
    return write(tmp_path / "in", "train.csv", {"id": IDS, "size": [1, 2, 3, 4], "sold": SOLD})


@pytest.fixture
def folder(tmp_path):
    for name, p in P.items():
        write(tmp_path / "oof", f"{name}.csv", {"id": IDS, "p": p})
    return tmp_path / "oof"


def change(folder, name, **columns):
    path = folder / name
    frame = pd.read_csv(path)
    for column, values in columns.items():
        frame[column] = values
    frame.to_csv(path, index=False)


def test_a_folder_is_joined_by_id_in_the_order_of_the_target(folder, target):
    shuffled = pd.read_csv(folder / "b.csv").sample(frac=1, random_state=1).iloc[:3]
    shuffled.to_csv(folder / "b.csv", index=False)
    data = read_predictions(folder, (target, "sold"))
    assert data.classifier_names == ("a", "b")
    assert data.classes.tolist() == ["no", "yes"]
    assert data.labels.tolist() == [0, 1, 1, 0]
    assert data.instance_ids.tolist() == [str(i) for i in IDS]
    np.testing.assert_array_equal(data.R[0], P["a"])
    gone = ~np.isin(IDS, shuffled["id"])
    np.testing.assert_array_equal(data.R[1], np.where(gone, np.nan, P["b"]))
    assert data.n_missing == 1


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "npz"])
def test_every_format_holds_the_same(tmp_path, target, suffix):
    p = [0.1, np.nan, 0.8, 0.3]
    write(tmp_path / "oof", f"a.{suffix}", {"id": IDS, "p": p})
    data = read_predictions(tmp_path / "oof", (target, "sold"))
    np.testing.assert_array_equal(data.R, [p])


def test_arrays_frames_and_npy_without_ids(tmp_path):
    np.save(tmp_path / "c.npy", np.column_stack([1 - np.array(P["b"]), P["b"]]))
    sources = {
        "array": P["a"],
        "pandas": pd.DataFrame({"p": P["a"]}),
        "polars": pl.DataFrame({"p": P["a"]}),
        "series": pd.Series(P["a"]),
        "file": tmp_path / "c.npy",
    }
    data = read_predictions(sources, np.array(SOLD))
    assert data.classifier_names == tuple(sources)
    np.testing.assert_allclose(data.R, [P["a"]] * 4 + [P["b"]])
    assert data.instance_ids is None


def test_a_series_is_joined_by_its_index(target):
    p = pd.Series([0.9, 0.1], index=pd.Index([12, 11], name="id"))
    data = read_predictions({"a": p}, (target, "sold"))
    np.testing.assert_array_equal(data.R, [[0.1, 0.9, np.nan, np.nan]])


def test_classes_go_by_the_names_of_the_columns(tmp_path):
    mixed = {"id": [1, 2], "p_low": [0.2, 0.5], "p_very low": [0.7, 0.1], "p_high": [0.1, 0.4]}
    plain = {"id": [2, 1], "high": [0.3, 0.1], "low": [0.3, 0.2], "very low": [0.4, 0.7]}
    labels = {"id": [1, 2], "level": ["low", "high"]}
    with pytest.raises(ValueError, match=r"p_very low.* sum to 1, .*\['high', 'low'\]. Give all"):
        read_predictions({"mixed": mixed}, (labels, "level"))
    data = read_predictions(
        {"mixed": mixed, "plain": plain}, (labels, "level"), classes=["high", "low", "very low"]
    )
    expected = [[[0.1, 0.2, 0.7], [0.4, 0.5, 0.1]], [[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]]]
    np.testing.assert_allclose(data.R, expected)
    assert data.labels.tolist() == [1, 0]


def test_wide_tables_of_two_and_of_several_classes(tmp_path):
    two = write(tmp_path, "two.csv", {"id": IDS, "sold": SOLD, "lgb_0": P["a"], "lgb_1": P["b"]})
    data = read_predictions(two, "sold")
    # two seeds of one learner, and no classes: they do not sum to 1
    assert data.classifier_names == ("lgb_0", "lgb_1")
    np.testing.assert_array_equal(data.R, [P["a"], P["b"]])
    three = {"id": [1], "x0": [0.2], "x1": [0.3], "x2": [0.5], "y:1": [0.6], "y:0": 0.3, "y:2": 0.1}
    data = read_predictions(pd.DataFrame(three), classes=[0, 1, 2])
    assert data.classifier_names == ("x", "y")
    np.testing.assert_allclose(data.R[:, 0], [[0.2, 0.3, 0.5], [0.3, 0.6, 0.1]])


def test_classes_without_labels_come_from_the_columns():
    several = pd.DataFrame({"proba_cat": [0.2], "proba_dog": [0.5], "proba_cow": [0.3]})
    assert read_predictions({"a": several}).classes.tolist() == ["cat", "dog", "cow"]
    assert read_predictions({"a": P["a"]}).classes.tolist() == [0, 1]


def test_identifiers_stay_as_they_are_written(tmp_path):
    labels = write(tmp_path, "train.csv", {"id": ["007", "7", "x"], "y": [0, 1, 1]})
    a = write(tmp_path / "oof", "a.csv", {"ID": ["x", "007", "7"], "p": [0.9, 0.1, 0.6]})
    data = read_predictions(a.parent, (labels, "y"))
    assert data.instance_ids.tolist() == ["007", "7", "x"]
    np.testing.assert_array_equal(data.R, [[0.1, 0.6, 0.9]])


def test_whole_numbers_are_the_same_row_however_they_are_written(target):
    floats = {"id": np.array([14.0, 11.0]), "p": np.array([0.3, 0.1])}
    data = read_predictions({"a": floats, "b": {"id": IDS, "p": P["b"]}}, (target, "sold"))
    np.testing.assert_array_equal(data.R[0], [0.1, np.nan, np.nan, 0.3])


def test_predictions_may_be_called_like_the_target_as_in_a_submission(folder, target, tmp_path):
    """The only column holds predictions, unless it is the labels."""
    for name, p in P.items():
        extra = {"fold": [0, 0, 1, 1]} if name == "a" else {}
        write(folder, f"{name}.csv", {"id": IDS, "sold": p} | extra)
        write(tmp_path / "test", f"{name}.csv", {"id": [1, 2], "sold": p[:2]})
    data, test = read_train_and_test(folder, tmp_path / "test", (target, "sold"))
    np.testing.assert_array_equal(data.R, list(P.values()))
    np.testing.assert_array_equal(test.R, np.array(list(P.values()))[:, :2])
    write(folder, "labels.csv", {"id": IDS, "sold": SOLD})
    with pytest.raises(ValueError, match=r"labels.csv: there is no column of predictions"):
        read_predictions(folder, (target, "sold"))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"p": [0.1, "high", 0.2, 0.3]}, r"a.csv, row 2 \(id 12\), column 'p' holds 'high'"),
        ({"p": [0.1, 0.2, 1.5, 0.3]}, r"a.csv, row 3 \(id 13\), column 'p' holds 1.5"),
        ({"p": [0.1, 0.2, 0.3, -np.inf]}, r"a.csv, row 4 \(id 14\), column 'p' holds -inf"),
        ({"p": [10, 20, 50, 30]}, "holds 10; .* Divide percentages by 100"),
        ({"note": list("abcd")}, "holds 'a'; .* Take out columns that are not predictions"),
        ({"id": [11, 12, 11, 14]}, r"a.csv, row 3 \(id 11\) repeats the 'id' of row 1"),
        ({"id": [11, np.nan, 13, 14]}, r"a.csv, row 2: the 'id' is empty"),
        ({"id": [11, 12, 13, 99]}, r"a.csv, row 4 \(id 99\) is not among the rows of .*train.csv"),
        ({"sold": ["no", "yes", "no", "no"]}, r"row 3 \(id 13\), column 'sold' holds 'no', but"),
        ({"sold": P["b"]}, r"column 'sold' holds 0.2, .* If the column holds predictions, give it"),
        ({"row_id": [1, 2, 3, 4]}, r"\['id', 'row_id'\] could all be the id column"),
    ],
)
def test_mistakes_are_named_with_file_row_and_column(folder, target, columns, message):
    if "p" in columns:
        write(folder, "a.csv", {"id": IDS} | columns)
    else:
        change(folder, "a.csv", **columns)
    with pytest.raises(ValueError, match=message):
        read_predictions(folder, (target, "sold"))


def test_a_row_that_does_not_sum_to_1_is_named():
    yes = np.linspace(0.1, 0.9, 40)
    no = 1 - yes
    no[16] += 0.01
    columns = {"id": np.arange(100, 140), "no": no, "yes": yes}
    labels = {"id": columns["id"], "sold": np.array(SOLD * 10)}
    with pytest.raises(ValueError, match=r"a, row 17 \(id 116\): .*'yes'\] sum to 1.01"):
        read_predictions({"a": columns}, (labels, "sold"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.csv: the file is empty"),
        ("\nid,p\n1,0.2\n", "a.csv: the file is empty, or begins with an empty line"),
        ("id,p\n", r"a.csv: there is no row, only the columns \['id', 'p'\]"),
        ("id,p,p\n1,0.2,0.3\n", r"a.csv: the column name\(s\) \['p'\] stand there more than once"),
        ("id,p\n11,0.2\n12,0.3,0.4\n", "a.csv: .*line 3"),
        ("id\n11\n12\n", "there is no column of predictions"),
        ("id,no\n11,0.2\n12,0.3\n", "the only column, 'no', is called like the first class"),
    ],
)
def test_files_that_are_no_tables_are_named(folder, target, text, message):
    (folder / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_predictions(folder, (target, "sold"))


def test_one_model_whose_columns_are_named_after_other_classes_is_not_two_models():
    p = np.linspace(0.1, 0.9, 40)
    labels = {"id": np.arange(40), "sold": np.array([0, 1] * 20)}
    forest = {"id": labels["id"], "p_no": 1 - p, "p_yes": p}
    message = r"forest: .*'p_yes'\] sum to 1, .* classes are \['0', '1'\]. Rename them, as p_0"
    with pytest.raises(ValueError, match=message):
        read_predictions({"forest": forest}, (labels, "sold"))
    forest["p_yes"] = p**2
    assert read_predictions({"forest": forest}, (labels, "sold")).n_classifiers == 2


def test_a_target_that_is_no_class_or_stands_elsewhere_is_explained(folder, target):
    size = {"id": np.arange(40), "size": np.linspace(1, 9, 40)}
    p = {"id": size["id"], "p": np.linspace(0.1, 0.9, 40)}
    with pytest.raises(ValueError, match=r"40 classes '1'.*, …\. .* target is another column"):
        read_predictions({"a": p}, (size, "size"))
    with pytest.raises(ValueError, match="on the command line FILE:COLUMN"):
        read_predictions(folder, "sold")


def test_files_that_are_no_files(folder, target, tmp_path):
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object))
    (tmp_path / "a.xlsx").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "a.csv.gz").touch()
    for source, message in [
        (["nowhere.csv"], "nowhere.csv: there is no such file"),
        ([tmp_path / "a.xlsx"], "a.xlsx: the name must end in one of .csv"),
        ([tmp_path / "empty"], "empty: a folder is no table"),
        (tmp_path / "packed", "a.csv.gz is packed; unpack it"),
        (tmp_path / "empty", "no file of predictions in this folder"),
        ([tmp_path / "pickled.npy"], "pickled.npy: no plain NumPy file"),
        ([folder / "a.csv", folder / "a.csv"], r"name of its own; \['a'\] stand for several"),
        ({}, "There are no predictions: no file and no name"),
    ]:
        with pytest.raises(ValueError, match=message):
            read_predictions(source, (target, "sold"))
    with pytest.raises(ValueError, match="train.csv: there is no column 'bought'.*'sold'"):
        read_predictions(folder, (target, "bought"))


def test_hidden_files_in_a_folder_are_no_predictions(folder, target):
    names = read_predictions(folder, (target, "sold")).classifier_names
    (folder / "._a.csv").write_bytes(b"\x00\x05\x16\x07")
    assert read_predictions(folder, (target, "sold")).classifier_names == names


def test_tables_without_ids_must_be_alike(folder, target):
    with pytest.raises(ValueError, match="c has 3 rows and .* has 4; without an id column"):
        read_predictions({"c": [0.1, 0.2, 0.3], "d": P["a"]}, np.array(SOLD))
    with pytest.raises(ValueError, match=r"c has no id column among \[0\], but others have"):
        read_predictions({"a": folder / "a.csv", "c": P["a"]}, (target, "sold"))


def test_folds_must_be_the_same_whatever_their_numbers(folder, target):
    change(folder, "a.csv", fold=[0, 0, 1, 1])
    change(folder, "b.csv", fold=[2, 2, 1, 1])
    assert read_predictions(folder, (target, "sold")).n_classifiers == 2
    for folds in ([2, 1, 1, 1], [1, 1, 1, 1]):
        change(folder, "b.csv", fold=folds)
        with pytest.raises(ValueError, match=r"b.csv, row [23] \(id 1[23]\), column 'fold'.*a.csv"):
            read_predictions(folder, (target, "sold"))


def test_train_and_test_are_matched_by_name(tmp_path, folder, target):
    for name in "ba":
        write(tmp_path / "test", f"{name}.csv", {"id": [21, 22], "p": [0.5, ord(name) / 200]})
    data, test = read_train_and_test(folder, tmp_path / "test", (target, "sold"))
    assert data.classifier_names == test.classifier_names == ("a", "b")
    np.testing.assert_array_equal(test.R[:, 1], [ord("a") / 200, ord("b") / 200])
    assert test.classes.tolist() == ["no", "yes"]
    (tmp_path / "test" / "b.csv").rename(tmp_path / "test" / "c.csv")
    with pytest.raises(ValueError, match=r"without test predictions: \['b'\], .*: \['c'\]"):
        read_train_and_test(folder, tmp_path / "test", (target, "sold"))


@pytest.mark.parametrize("form", ["folder", "all.csv", "all.parquet", "all.npz"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_what_is_written_is_read_again(tmp_path, form, n_classes):
    if form != "all.npz":
        pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    R = rng.dirichlet(np.ones(n_classes), size=(3, 8))
    R[1, 2] = np.nan
    labels = np.array([0, 1, n_classes - 1, 0, -1, 1, 0, 1])
    data = EnsembleData(
        R,
        labels,
        classifier_names=["x", "y.z", "a b"],
        classes=["low", "mid", "high"][:n_classes],
        instance_ids=[f"r{i}" for i in range(8)],
    )
    write_predictions(data, tmp_path / form)
    again = read_predictions(tmp_path / form, "target", classes=data.classes)
    order = [again.classifier_names.index(name) for name in data.classifier_names]
    np.testing.assert_allclose(again.R[order], data.R, rtol=1e-12)
    assert again.labels.tolist() == labels.tolist()
    assert again.instance_ids.tolist() == data.instance_ids.tolist()


def test_names_that_are_no_file_names_are_not_written(tmp_path):
    data = EnsembleData([[0.5]], classifier_names=["../a"])
    with pytest.raises(ValueError, match="cannot be file names"):
        write_predictions(data, tmp_path / "out")
    with pytest.raises(ValueError, match="can write .csv, .parquet and .npz, not '.xlsx'"):
        write_predictions(data, tmp_path / "out.xlsx")


@pytest.fixture(scope="module")
def honest_and_not():
    X, y = make_classification(900, 10, n_informative=5, flip_y=0.2, random_state=0)
    X, X_test, y = X[:500], X[500:], y[:500]
    learners = {
        "forest": RandomForestClassifier(30, random_state=0),
        "extra": ExtraTreesClassifier(30, random_state=0),
        "logistic": LogisticRegression(),
        "bayes": GaussianNB(),
    }
    fitted = {name: learner.fit(X, y) for name, learner in learners.items()}
    return (
        {n: cross_val_predict(e, X, y, method="predict_proba") for n, e in fitted.items()},
        {n: e.predict_proba(X) for n, e in fitted.items()},
        {n: e.predict_proba(X_test) for n, e in fitted.items()},
        y,
    )


def test_in_sample_files_are_refused_with_the_evidence(honest_and_not):
    honest, in_sample, test, y = honest_and_not
    assert read_train_and_test(honest, test, y)[0].n_classifiers == 4
    mixed = honest | {"forest": in_sample["forest"]}
    with pytest.raises(SuspiciousPredictionsError) as caught:
        read_train_and_test(mixed, test, y)
    message = str(caught.value)
    assert message.startswith("In-sample predictions suspected in 1 of 4 models, for rows")
    assert "\n  forest: its predictions have a mean entropy of 0." in message
    assert "allow_suspicious=True" in message
    data, _ = read_train_and_test(mixed, test, y, allow_suspicious=True)
    np.testing.assert_array_equal(data.R[0], in_sample["forest"][:, 1])
    # without test rows an implausible lack of errors is what is left
    with pytest.raises(SuspiciousPredictionsError, match="extra: it errs on 0.00% of 500 rows"):
        read_predictions(honest | {"extra": in_sample["extra"]}, y)
