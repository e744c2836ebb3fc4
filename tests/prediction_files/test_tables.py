"""One table from whatever holds one."""

import sys

import numpy as np
import pytest
from optional_packages import pandas as pd

from cfe_stack.prediction_files.tables import key, read_table
from cfe_stack.runtime.optional_packages import MissingExtraError


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), (7.0, "7"), (np.int64(-7), "-7"), ("7.00", "7"), ("007", "007"), ("7.5", "7.5"),
     (7.5, "7.5"), (" a.0", "a.0"), ("1.", "1"), (True, "True")],
)  # fmt: skip
def test_a_key_does_not_depend_on_how_a_number_is_written(value, text):
    assert key(value) == text


def test_places_are_named_by_row_id_and_column():
    table = read_table({"ID": np.array(["x", "y"]), "p": np.array([0.1, 0.2])}, "m")
    assert table.place(1, "p") == "m, row 2 (ID y), column 'p'"
    assert read_table([0.1, 0.2], "m").place(0) == "m, row 1"


@pytest.mark.parametrize("text", ["", "NA", "nan", "None", "<NA>"])
def test_texts_for_missing_are_missing(text):
    table = read_table({"p": np.array(["0.5", text], dtype=object)}, "m")
    np.testing.assert_array_equal(table.numbers("p"), [0.5, np.nan])


def test_nullable_and_boolean_columns_are_numbers():
    frame = pd.DataFrame({"p": pd.array([0.5, None], dtype="Float64"), "b": [True, False]})
    table = read_table(frame, "m")
    np.testing.assert_array_equal(table.numbers("p"), [0.5, np.nan])
    np.testing.assert_array_equal(table.numbers("b"), [1, 0])


def test_an_unnamed_first_column_is_the_index_that_pandas_wrote(tmp_path):
    pd.Series([0.1, 0.2], index=[5, 9], name="p").to_csv(tmp_path / "a.csv")
    table = read_table(tmp_path / "a.csv", "a")
    assert table.id_column == "index"
    assert [key(i) for i in table.ids] == ["5", "9"]


@pytest.mark.parametrize("id_column", [None, "id"])
def test_an_index_beside_an_id_is_left_out(tmp_path, id_column):
    (tmp_path / "a.csv").write_text(",id,p\n0,7,0.2\n1,8,0.3\n")
    table = read_table(tmp_path / "a.csv", "a", id_column)
    assert table.id_column == "id"
    assert list(table.columns) == ["id", "p"]


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    (tmp_path / "a.csv").write_text("id,p\n1,0.5\n", encoding="utf-8-sig")
    assert read_table(tmp_path / "a.csv", "a").id_column == "id"


def test_spaces_around_names_are_no_part_of_them(tmp_path):
    (tmp_path / "a.csv").write_text(" ID , p\n 007 , 0.5\n")
    table = read_table(tmp_path / "a.csv", "a")
    assert (table.id_column, table.ids.tolist()) == ("ID", ["007"])
    assert table.numbers("p").tolist() == [0.5]


def test_another_encoding_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("id,p\n1,0.5\n", encoding="utf-16")
    with pytest.raises(ValueError, match=r"a\.csv is not valid UTF-8 .*; re-save it as UTF-8"):
        read_table(tmp_path / "a.csv", "a")


@pytest.mark.parametrize(
    "text", ["id;p;name\n7;0,25;a,b\n007;0,5;c\n", "id;p;name\n7;0.25;a,b\n007;0.5;c\n",
             "id\tp\tname\n7\t0.25\ta,b\n007\t0.5\tc\n", "id|p|name\n7|0.25|a,b\n007|0.5|c\n"]
)  # fmt: skip
def test_other_separators_are_seen_in_the_header(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    table = read_table(tmp_path / "a.csv", "a")
    assert table.ids.tolist() == ["7", "007"]
    np.testing.assert_array_equal(table.numbers("p"), [0.25, 0.5])
    assert table.columns["name"].tolist() == ["a,b", "c"]


def test_npz_with_a_matrix_has_its_columns_by_position(tmp_path):
    np.savez(tmp_path / "a.npz", id=np.array([3, 4]), proba=np.array([[0.2, 0.8], [0.6, 0.4]]))
    table = read_table(tmp_path / "a.npz", "a")
    assert list(table.columns) == ["id", 0, 1]
    np.testing.assert_array_equal(table.numbers(1), [0.8, 0.4])


@pytest.mark.parametrize(("suffix", "package"), [("csv", "pandas"), ("parquet", "pyarrow.parquet")])
def test_formats_that_need_a_package_name_the_extra(tmp_path, monkeypatch, suffix, package):
    path = tmp_path / f"a.{suffix}"
    path.write_text("id,p\n1,0.5\n")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"cfe-stack\[files\]"):
        read_table(path, "a")


def test_arrays_need_no_package(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.array([0.1, 0.9]))
    for package in ("pandas", "pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, package, None)
    np.testing.assert_array_equal(read_table(tmp_path / "a.npy", "a").numbers(0), [0.1, 0.9])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((2, 2, 2)), "one or two axes; got shape"),
        ({"a": [1, 2], "b": [1]}, "columns must have one length"),
        ({}, "there is no column"),
        (pd.DataFrame([[1, 2]], columns=["p", "p"]), r"\['p'\] stand there more than once"),
    ],
)
def test_what_is_no_table_is_refused(source, message):
    with pytest.raises(ValueError, match=message):
        read_table(source, "m")


def test_broken_parquet_files_are_named(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    with pytest.raises(ValueError, match="a.parquet: "):
        read_table(tmp_path / "a.parquet", "a")
