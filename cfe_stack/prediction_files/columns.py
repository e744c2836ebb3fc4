"""Which columns of a table are predictions of which model, for which class."""

import re
from collections.abc import Collection, Sequence

import numpy as np

from cfe_stack.data.cell_checks import RANGE_TOLERANCE, ROW_SUM_TOLERANCE
from cfe_stack.prediction_files.tables import Column, Table, key

MIN_MATCHING_SHARE = 0.9
"""Share of rows that must sum to 1 for columns to be taken for the classes of one model."""
MIN_MATCHING_ROWS = 10
"""Rows in which two columns must be there for that; two models may say so of a few rows."""


def find_models(
    table: Table, name: str, classes: Sequence[str], aside: Collection[Column]
) -> dict[str, np.ndarray]:
    """Return the class probabilities of every model in a table.

    Parameters
    ----------
    table : Table
    name : str
        Name of the model, if the table holds one.
    classes : sequence of str
        Keys of the classes, in order.
    aside : collection of column names
        Columns that are not predictions.

    Returns
    -------
    dict of str to ndarray of shape (n, n_classes)

    Raises
    ------
    ValueError
        If columns cannot be matched to classes, or a value is not a probability.
    """
    columns = [c for c in table.columns if c not in aside and c != table.id_column]
    if not columns:
        raise ValueError(
            f"{table.source}: there is no column of predictions among {list(table.columns)[:10]}."
        )
    values = {column: _checked(table, column) for column in columns}
    groups = _by_class(columns, classes)
    if groups and (len(classes) > 2 or _sums_to_one(values, groups)):
        return {
            name if len(groups) == 1 else prefix: _complete(table, values, group)
            for prefix, group in groups.items()
        }
    if len(classes) > 2:
        raise ValueError(
            f"{table.source}: columns {columns[:10]} do not match the {_class_names(classes)}. "
            "Every model needs one column for each class, named after it. If these are not the "
            "classes, the target is another column."
        )
    if len(columns) == 1 and key(columns[0]) == classes[0] and isinstance(columns[0], str):
        raise ValueError(
            f"{table.source}: the only column, {columns[0]!r}, is called like the first class. "
            f"Rename it to {classes[1]!r} if it holds the probability of that class, or give both."
        )
    if _look_like_classes(np.stack(list(values.values()), axis=1)):
        cure = (
            "Give all of them in `classes`."
            if len(columns) > 2
            else f"Rename them, as p_{classes[0]} and p_{classes[1]}, or keep P({classes[1]}) only."
        )
        raise ValueError(
            f"{table.source}: columns {columns[:10]} sum to 1, as the classes of one model do, but "
            f"the classes are {list(classes)}. {cure}"
        )
    if any(isinstance(column, int) for column in columns) and len(columns) > 1:
        raise ValueError(
            f"{table.source}: {len(columns)} columns without names; for the classes "
            f"{list(classes)} there must be one, P({classes[1]}), or one for each class, that sum "
            "to 1."
        )
    single = {name if len(columns) == 1 else str(column): values[column] for column in columns}
    return {model: np.stack([1 - p, p], axis=1) for model, p in single.items()}


def guess_classes(table: Table, aside: Collection[Column]) -> list[str]:
    """Return the classes that the columns of one model are named after, or 0 and 1.

    Without labels, several columns that sum to 1 are one model's classes; anything else is
    P(class 1).
    """
    columns = [c for c in table.columns if c not in aside and c != table.id_column]
    values = np.stack([_checked(table, column) for column in columns], axis=1)
    if len(columns) < 2 or not _mostly_one(values):
        return ["0", "1"]
    if isinstance(columns[0], int):
        return [str(k) for k in range(len(columns))]
    names = [str(column) for column in columns]
    return [rest for rest in _without_common_prefix(names)]


def _without_common_prefix(names: Sequence[str]) -> list[str]:
    """Drop what all names start with, up to and including its last separator."""
    shared = 0
    while all(len(n) > shared and n[shared] == names[0][shared] for n in names):
        shared += 1
    separator = re.match(r".*[^0-9A-Za-z]", names[0][:shared], re.DOTALL)
    start = separator.end() if separator else 0
    return [name[start:] for name in names]


def _checked(table: Table, column: Column) -> np.ndarray:
    """Return a column of probabilities, NaN for missing ones."""
    p = table.numbers(column)
    bad = np.isinf(p) | (p < -RANGE_TOLERANCE) | (p > 1 + RANGE_TOLERANCE)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"{table.place(row, column)} holds {p[row]:.6g}; allowed are probabilities in [0, 1], "
            "and empty cells for missing predictions. Divide percentages by 100, turn margins into "
            "probabilities, take out what is not a prediction; if this is the id column, name it "
            "with id_column (--id)."
        )
    return p


def _by_class(columns: Sequence[Column], classes: Sequence[str]) -> dict[str, list[Column]] | None:
    """Return the columns of every model in the order of the classes, None if they do not match."""
    if all(isinstance(column, int) for column in columns):
        return {"": list(columns)} if len(columns) == len(classes) else None
    groups: dict[str, dict[str, Column]] = {}
    for column in columns:
        # the longest class first: "very low" also ends in "low"
        for label in sorted(classes, key=len, reverse=True):
            prefix = _prefix(str(column), label)
            if prefix is not None:
                break
        else:
            return None
        if label in groups.setdefault(prefix, {}):
            return None
        groups[prefix][label] = column
    if any(len(group) != len(classes) for group in groups.values()):
        return None
    return {prefix: [group[label] for label in classes] for prefix, group in groups.items()}


def _prefix(column: str, label: str) -> str | None:
    """Return what stands before a class at the end of a column's name, None if it is not there."""
    if key(column) == label:
        return ""
    if not column.endswith(label):
        return None
    before = column[: -len(label)]
    if not before[-1].isalnum():
        return before[:-1]
    # p0 and p1: a number may follow a word without anything between
    return before if label.isdigit() and not before[-1].isdigit() else None


def _sums_to_one(values: dict[Column, np.ndarray], groups: dict[str, list[Column]]) -> bool:
    return all(
        _mostly_one(np.stack([values[c] for c in group], axis=1)) for group in groups.values()
    )


def _mostly_one(p: np.ndarray) -> bool:
    complete = ~np.isnan(p).any(axis=1)
    close = np.abs(p[complete].sum(axis=1) - 1) <= 10 * ROW_SUM_TOLERANCE
    return bool(close.mean() >= MIN_MATCHING_SHARE) if complete.any() else True


def _look_like_classes(p: np.ndarray) -> bool:
    """Return whether columns sum to 1 in so many rows that it is no accident."""
    complete = int((~np.isnan(p).any(axis=1)).sum())
    enough = 1 if p.shape[1] > 2 else MIN_MATCHING_ROWS
    return p.shape[1] > 1 and complete >= enough and _mostly_one(p)


def _class_names(classes: Sequence[str]) -> str:
    """Name classes in a message, the first ten of many."""
    if len(classes) <= 10:
        return f"classes {list(classes)}"
    return f"{len(classes)} classes {', '.join(map(repr, classes[:10]))}, …"


def _complete(table: Table, values: dict[Column, np.ndarray], group: list[Column]) -> np.ndarray:
    """Return the probabilities (n, n_classes) of one model, its row sums checked."""
    p = np.stack([values[column] for column in group], axis=1)
    off = np.abs(p.sum(axis=1) - 1) > ROW_SUM_TOLERANCE
    if off.any():
        row = int(np.flatnonzero(off)[0])
        raise ValueError(
            f"{table.place(row)}: columns {group} sum to {p[row].sum():.6g}; the probabilities of "
            f"all classes must sum to 1 within {ROW_SUM_TOLERANCE}."
        )
    return p
