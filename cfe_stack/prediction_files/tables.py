"""One table of predictions from a file, a data frame or an array; mistakes are named by place."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cfe_stack.runtime.optional_packages import import_extra

Column = str | int
"""Name of a column, or its position where an array has no names."""

MISSING_TEXTS = frozenset({"", "na", "nan", "none", "null", "<na>"})
SEPARATORS = (",", ";", "\t", "|")
ID_NAMES = frozenset({"id", "row_id", "rowid", "index", "key"})


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length, and where they came from.

    Parameters
    ----------
    source : str
        File name, or what else to call the table in a message.
    columns : dict of (str or int) to ndarray of shape (n,)
        Positions instead of names where an array has none.
    id_column : str, int or None
        The column that identifies a row; None means the position.
    """

    source: str
    columns: dict[Column, np.ndarray]
    id_column: Column | None

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values())))

    @property
    def ids(self) -> np.ndarray | None:
        """Row identifiers, None where rows are known by position."""
        return None if self.id_column is None else self.columns[self.id_column]

    def place(self, row: int, column: Column | None = None) -> str:
        """Name a cell or a row for a message; the first row below a header is row 1."""
        identified = "" if self.ids is None else f" ({self.id_column} {self.ids[row]})"
        named = "" if column is None else f", column {column!r}"
        return f"{self.source}, row {row + 1}{identified}{named}"

    def numbers(self, column: Column) -> np.ndarray:
        """Return a column as floats, NaN for empty cells.

        Raises
        ------
        ValueError
            If a cell holds something else than a number.
        """
        values = self.columns[column]
        if values.dtype.kind in "fiub":
            return values.astype(np.float64)
        numbers = np.empty(len(values))
        for row, value in enumerate(values.tolist()):
            try:
                missing = value is None or str(value).strip().lower() in MISSING_TEXTS
                numbers[row] = np.nan if missing else float(value)
            except (TypeError, ValueError):
                raise ValueError(
                    f"{self.place(row, column)} holds {value!r}; allowed are numbers, and empty "
                    "cells for missing predictions. Take out columns that are not predictions."
                ) from None
        return numbers


def key(value: Any) -> str:
    """Return the text that identifies a row or a class: 7, 7.0, "7" and "7.0" are the same.

    Examples
    --------
    >>> from cfe_stack.prediction_files.tables import key
    >>> [key(7), key(7.0), key(" 7.0 "), key("007"), key(True)]
    ['7', '7', '7', '007', 'True']
    """
    text = str(value).strip()
    whole, point, decimals = text.rpartition(".")
    return whole if point and decimals.strip("0") == "" and whole.lstrip("-").isdigit() else text


def read_table(source: Any, name: str, id_column: str | None = None) -> Table:
    """Read a file, a data frame or an array.

    Parameters
    ----------
    source : path, data frame, mapping or array
        A CSV, TSV, Parquet, NPY or NPZ file; a pandas or polars data frame; a mapping of column
        names to arrays; an array (n,) or (n, k), whose columns have no names.
    name : str
        What to call it in messages where it is not a file.
    id_column : str, default=None
        Column that identifies a row. None takes the one that is called id, row_id, index or key,
        in upper or lower case, and positions where there is none. An index beside is left out.

    Raises
    ------
    ValueError
        If the file cannot be read, is empty, repeats a column, or has no such id column.
    MissingExtraError
        For CSV and Parquet files where pandas or pyarrow is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.prediction_files.tables import read_table
    >>> table = read_table({"Id": np.array([7, 8]), "p": np.array([0.1, 0.9])}, "forest")
    >>> table.id_column, table.place(1, "p")
    ('Id', "forest, row 2 (Id 8), column 'p'")
    """
    if isinstance(source, str | Path):
        path = Path(source)
        if not path.is_file():
            wrong = "a folder is no table" if path.is_dir() else "there is no such file"
            raise ValueError(f"{path}: {wrong}.")
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            raise ValueError(f"{path}: the name must end in one of {', '.join(READERS)}.")
        name, columns = str(path), reader(path, id_column)
    else:
        columns = _columns_of(source, name)
    if not columns:
        raise ValueError(f"{name}: there is no column.")
    lengths = {len(values) for values in columns.values()}
    if lengths == {0}:
        raise ValueError(f"{name}: there is no row, only the columns {list(columns)[:10]}.")
    if len(lengths) != 1:
        raise ValueError(f"{name}: columns must have one length; got {sorted(lengths)}.")
    found = _find_id_column(list(columns), id_column, name)
    if found is not None:
        # what pandas numbers rows with is saved beside their names more often than not
        columns = {c: values for c, values in columns.items() if c == found or not _is_index(c)}
    table = Table(name, columns, found)
    if table.ids is not None:
        _check_ids(table)
    return table


def _find_id_column(columns: Sequence[Column], wanted: str | None, name: str) -> Column | None:
    if wanted is not None:
        if wanted not in columns:
            raise ValueError(
                f"{name}: there is no id column {wanted!r}; its columns are {list(columns)[:10]}."
            )
        return wanted
    found = [column for column in columns if _is_id(column)]
    if len(found) > 1:
        found = [column for column in found if not _is_index(column)]
    if len(found) > 1:
        raise ValueError(f"{name}: {found} could all be the id column; say which one it is.")
    return found[0] if found else None


def _is_id(column: Column) -> bool:
    return str(column).lower() in ID_NAMES


def _is_index(column: Column) -> bool:
    return str(column).lower() == "index"


def _check_ids(table: Table) -> None:
    """Raise ValueError for an empty or a repeated row identifier."""
    seen: dict[str, int] = {}
    for row, value in enumerate(np.asarray(table.ids).tolist()):
        text = key(value)
        if text.lower() in MISSING_TEXTS:
            raise ValueError(f"{table.source}, row {row + 1}: the {table.id_column!r} is empty.")
        if text in seen:
            raise ValueError(
                f"{table.place(row)} repeats the {table.id_column!r} of row {seen[text] + 1}; every"
                " row may be predicted once. Average repeated predictions first."
            )
        seen[text] = row


def _read_csv(path: Path, id_column: str | None) -> dict[Column, np.ndarray]:
    pandas = import_extra("pandas", extra="files")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            separator = max(SEPARATORS, key=file.readline().count)
            file.seek(0)
            header = next(csv.reader(file, delimiter=separator), [])
        if not header:
            raise ValueError("the file is empty, or begins with an empty line.")
        # identifiers stay as they are written: 007 is not 7
        names = [h.strip() for h in header]
        texts = [h for h, n in zip(header, names, strict=True) if _is_id(n) or n == id_column]
        _check_header(names, str(path))
        frame = pandas.read_csv(
            path,
            sep=separator,
            decimal="," if separator == ";" else ".",
            encoding="utf-8-sig",
            converters=dict.fromkeys(texts, str.strip),
            index_col=False,
        )
    except UnicodeError as error:
        raise ValueError(f"{path} is not valid UTF-8 ({error}); re-save it as UTF-8.") from error
    except ValueError as error:
        # pandas' parser errors are ValueErrors and name the line
        message = str(error).strip()
        raise ValueError(message if str(path) in message else f"{path}: {message}") from error
    # an unnamed first column is what pandas writes for an index
    frame.columns = [name or "index" for name in names]
    return _columns_of(frame, str(path))


def _check_header(header: Sequence[Any], name: str) -> None:
    repeated = sorted({str(h) for h in header if list(header).count(h) > 1})
    if repeated:
        raise ValueError(f"{name}: the column name(s) {repeated[:5]} stand there more than once.")


def _read_parquet(path: Path, id_column: str | None) -> dict[Column, np.ndarray]:
    parquet = import_extra("pyarrow.parquet", extra="files")
    try:
        return _columns_of(parquet.read_table(path).to_pandas(), str(path))
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: {error}") from error


def _read_npy(path: Path, id_column: str | None) -> dict[Column, np.ndarray]:
    return _columns_of(_load(path), str(path))


def _read_npz(path: Path, id_column: str | None) -> dict[Column, np.ndarray]:
    arrays: dict[Column, np.ndarray] = {}
    file = _load(path)
    try:
        for name in file.files:
            values = file[name]
            if values.ndim == 2:
                arrays.update(enumerate(values.T))
            else:
                arrays[name] = np.atleast_1d(values)
    except ValueError as error:
        raise ValueError(f"{path}, array {name!r}: {error}") from error
    return arrays


def _load(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"{path}: no plain NumPy file ({error}). Files that need pickle are not opened: save "
            "numbers and text as arrays that are not of dtype object."
        ) from error


READERS: dict[str, Callable[[Path, str | None], dict[Column, np.ndarray]]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
    ".npy": _read_npy,
    ".npz": _read_npz,
}


def _columns_of(source: Any, name: str) -> dict[Column, np.ndarray]:
    """Return the columns of a data frame, a series, a mapping or an array."""
    index = _index_of(source)
    if hasattr(source, "columns"):
        _check_header(list(source.columns), name)
        return index | {str(column): np.asarray(source[column]) for column in source.columns}
    if isinstance(source, Mapping):
        return {str(column): np.asarray(values) for column, values in source.items()}
    values = np.asarray(source)
    if values.dtype.names:
        return {column: values[column] for column in values.dtype.names}
    if values.ndim not in (1, 2):
        raise ValueError(f"{name}: arrays must have one or two axes; got shape {values.shape}.")
    return index | dict(enumerate(values[None] if values.ndim == 1 else values.T))


def _index_of(source: Any) -> dict[Column, np.ndarray]:
    """Return the index of a pandas object as a column, unless it only counts the rows."""
    index = getattr(source, "index", None)
    if not hasattr(index, "to_numpy"):
        return {}
    values = np.asarray(index)
    counts = np.array_equal(values, np.arange(len(values)))
    return {} if counts else {"index": values}
