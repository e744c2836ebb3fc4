"""Tables of predictions joined by row id: rows, labels, folds, and the cells between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.prediction_files.columns import find_models, guess_classes
from cfe_stack.prediction_files.tables import MISSING_TEXTS, Column, Table, key, read_table


@dataclass(frozen=True, eq=False)
class JoinedRows:
    """The rows of the ensemble matrix and what is known of them.

    Parameters
    ----------
    n : int
    ids : ndarray of shape (n,) or None
        Identifiers as they were read; None where rows are known by position.
    labels : ndarray of shape (n,), object, or None
        Labels as they were read, None for unknown.
    source : str
        Where rows and labels come from.
    target_column : str or None
        Name of the column of labels.
    """

    n: int
    ids: np.ndarray | None
    labels: np.ndarray | None
    source: str
    target_column: str | None = None

    @cached_property
    def _places(self) -> dict[str, int]:
        ids = [] if self.ids is None else self.ids.tolist()
        return {key(value): row for row, value in enumerate(ids)}

    def positions(self, table: Table) -> np.ndarray:
        """Return the rows (n_table,) that a table's rows are.

        Raises
        ------
        ValueError
            If the table has a row that is not among them, or is joined by position and has
            another number of rows.
        """
        if self.ids is None or table.ids is None:
            if (self.ids is None) != (table.ids is None):
                without = table.source if table.ids is None else self.source
                columns = f" among {list(table.columns)[:5]}" if table.ids is None else ""
                raise ValueError(
                    f"{without} has no id column{columns}, but others have: name it with id_column "
                    "(--id), or give every table one."
                )
            if table.n_rows != self.n:
                raise ValueError(
                    f"{table.source} has {table.n_rows} rows and {self.source} has {self.n}; "
                    "without an id column all must have the same rows in the same order."
                )
            return np.arange(self.n)
        if len(table.ids) == self.n and np.array_equal(table.ids, self.ids):
            return np.arange(self.n)
        found = np.array([self._places.get(key(value), -1) for value in table.ids.tolist()])
        if (found < 0).any():
            row = int(np.flatnonzero(found < 0)[0])
            raise ValueError(
                f"{table.place(row)} is not among the rows of {self.source} "
                f"({int((found < 0).sum())} of {table.n_rows} rows are not). Are these "
                "predictions for other rows?"
            )
        return found


def all_rows(tables: Sequence[Table]) -> JoinedRows:
    """Return the union of the rows of tables: those of the longest first."""
    longest = max(tables, key=lambda table: table.n_rows)
    if longest.ids is None:
        return JoinedRows(longest.n_rows, None, None, longest.source)
    ids, seen = longest.ids.tolist(), {key(value) for value in longest.ids.tolist()}
    for table in tables:
        if table.ids is None or np.array_equal(table.ids, longest.ids):
            continue
        more = [value for value in table.ids.tolist() if key(value) not in seen]
        ids += more
        seen.update(map(key, more))
    return JoinedRows(len(ids), np.array(ids), None, longest.source)


def labelled_rows(target: Any, tables: Sequence[Table], id_column: str | None) -> JoinedRows:
    """Return rows with labels, from whatever `read_predictions` takes as `target`."""
    if target is None:
        return all_rows(tables)
    if isinstance(target, tuple):
        source, column = target
        table = read_table(source, "target", id_column if _has_ids(tables) else None)
        if column not in table.columns:
            raise ValueError(
                f"{table.source}: there is no column {column!r}; its columns are "
                f"{list(table.columns)[:10]}."
            )
        ids = table.ids if _has_ids(tables) else None
        labels = _labels(table, column)
        return JoinedRows(table.n_rows, ids, labels, table.source, column)
    rows = all_rows(tables)
    if isinstance(target, str):
        return _labels_beside(rows, tables, target)
    labels = np.asarray(target).astype(object)
    if rows.ids is not None or labels.shape != (rows.n,):
        raise ValueError(
            f"target holds {labels.shape} labels for {rows.n} rows; give labels in their order to "
            "predictions without row ids, or a table with row ids: (file, column)."
        )
    return JoinedRows(rows.n, None, labels, "target")


def _has_ids(tables: Sequence[Table]) -> bool:
    return any(table.ids is not None for table in tables)


def _labels(table: Table, column: Column) -> np.ndarray:
    """Return a column of labels, None for unknown."""
    values = table.columns[column]
    labels = np.array(values.tolist(), dtype=object)
    unknown = [v is None or v != v or str(v).strip().lower() in MISSING_TEXTS for v in labels]
    labels[np.array(unknown, dtype=bool)] = None
    return labels


def _labels_beside(rows: JoinedRows, tables: Sequence[Table], column: str) -> JoinedRows:
    """Return the labels that stand in a column beside the predictions."""
    labels = np.full(rows.n, None, dtype=object)
    found = [table for table in tables if column in table.columns]
    if not found:
        raise ValueError(
            f"No table of predictions has the column {column!r}; {tables[0].source} has "
            f"{list(tables[0].columns)[:10]}. For labels of another file give (file, column), on "
            "the command line FILE:COLUMN."
        )
    for table in found:
        labels[rows.positions(table)] = _labels(table, column)
    return JoinedRows(rows.n, rows.ids, labels, rows.source, column)


def assemble(
    tables: dict[str, Table], rows: JoinedRows, classes: Any = None, fold_column: str | None = None
) -> EnsembleData:
    """Return the ensemble matrix of tables.

    Parameters
    ----------
    tables : dict of str to Table
        By the name of the model, if a table holds one.
    rows : JoinedRows
    classes : array-like or None
        In order; None finds them out from the labels or the columns.
    fold_column : str or None
        Column of fold numbers, which must agree; None does not look at it.

    Returns
    -------
    EnsembleData

    Raises
    ------
    ValueError
        If rows, columns, labels or folds do not fit together.
    """
    aside = {column for column in (rows.target_column, fold_column or "fold") if column}
    order = _class_order(rows, classes, next(iter(tables.values())), aside)
    keys = [key(value) for value in order]
    columns: dict[str, np.ndarray] = {}
    folds: dict[str, tuple[Table, np.ndarray]] = {}
    for name, table in tables.items():
        place = rows.positions(table)
        if fold_column in table.columns:
            folds[name] = table, place
        unpredicted = _no_predictions(table, place, rows, aside)
        for model, p in find_models(table, name, keys, unpredicted).items():
            label = model if model not in columns else f"{name}.{model}"
            if label in columns:
                raise ValueError(f"{table.source}: there are two models called {label!r}.")
            columns[label] = np.full((rows.n, len(keys)), np.nan)
            columns[label][place] = p
    _check_folds(list(folds.values()), rows, fold_column)
    R = np.stack(list(columns.values()))
    return EnsembleData(
        R[:, :, 1] if len(keys) == 2 else R,
        _codes(rows, keys),
        classifier_names=list(columns),
        classes=np.asarray(order),
        instance_ids=rows.ids,
    )


def _class_order(rows: JoinedRows, classes: Any, first: Table, aside: set[str]) -> list[Any]:
    if classes is not None:
        return list(np.asarray(classes).tolist())
    if rows.labels is None:
        names = guess_classes(first, aside)
        return [int(n) for n in names] if all(n.isdigit() for n in names) else names
    found = {key(value): value for value in rows.labels if value is not None}
    if len(found) < 2:
        raise ValueError(
            f"{rows.source}: the labels hold {len(found)} class(es), {list(found)}; there must be "
            "two or more."
        )
    try:
        order = sorted(found.values())
    except TypeError:
        order = [found[text] for text in sorted(found)]
    whole = all(isinstance(v, int | float) and float(v).is_integer() for v in order)
    return [int(v) for v in order] if whole and not isinstance(order[0], bool) else order


def _codes(rows: JoinedRows, keys: Sequence[str]) -> np.ndarray:
    """Return class codes, −1 for unknown."""
    lookup = {text: code for code, text in enumerate(keys)}
    codes = np.full(rows.n, -1)
    for row, value in enumerate([] if rows.labels is None else rows.labels):
        if value is not None and key(value) not in lookup:
            raise ValueError(
                f"{rows.source}, row {row + 1}: the label {value!r} is none of the classes "
                f"{list(keys)}."
            )
        codes[row] = -1 if value is None else lookup[key(value)]
    return codes


def _no_predictions(table: Table, place: np.ndarray, rows: JoinedRows, aside: set[str]) -> set[str]:
    """Return the columns that are not predictions, labels that are those of the target among them.

    Competitions want predictions under the name of the target, so a column of that name may hold
    them where there is no other.
    """
    column = rows.target_column
    if column not in table.columns or rows.labels is None:
        return aside
    for row, (label, true) in enumerate(
        zip(_labels(table, column), rows.labels[place], strict=True)
    ):
        if label is None or true is None or key(label) == key(true):
            continue
        if set(table.columns) <= aside | {table.id_column}:
            return aside - {column}
        raise ValueError(
            f"{table.place(row, column)} holds {label!r}, but {rows.source} says {true!r}. Are the "
            "rows in another order? If the column holds predictions, give it another name."
        )
    return aside


def _check_folds(
    folds: Sequence[tuple[Table, np.ndarray]], rows: JoinedRows, column: str | None
) -> None:
    """Raise ValueError unless all models split the rows in the same way, whatever the numbers."""
    if column is None or len(folds) < 2:
        return
    first, place = folds[0]
    reference = np.full(rows.n, None, dtype=object)
    reference[place] = first.columns[column]
    for table, place in folds[1:]:
        ours: dict[Any, Any] = {}
        theirs: dict[Any, Any] = {}
        given = table.columns[column].tolist()
        for row, (a, b) in enumerate(zip(reference[place], given, strict=True)):
            if a is None:
                continue
            if ours.setdefault(a, b) != b or theirs.setdefault(b, a) != a:
                raise ValueError(
                    f"{table.place(row, column)} is in fold {b!r}, which are other folds than "
                    f"those of {first.source}. A stack needs all models on the same folds."
                )
