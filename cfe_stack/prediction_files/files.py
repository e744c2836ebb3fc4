"""Finished predictions — arrays, data frames, folders of files — and the ensemble matrix."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.data.in_sample import refuse_suspicious
from cfe_stack.prediction_files.row_join import all_rows, assemble, labelled_rows
from cfe_stack.prediction_files.tables import READERS, Table, read_table
from cfe_stack.runtime.optional_packages import import_extra

PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst")
"""Endings of files that would be left out of a folder without a word."""

Target = str | tuple[Any, str] | ArrayLike | None
"""A column of the prediction files; (file or data frame, column); labels row by row; or nothing."""


def read_predictions(
    source: Any,
    target: Target = None,
    *,
    id_column: str | None = None,
    classes: ArrayLike | None = None,
    fold_column: str = "fold",
    allow_suspicious: bool = False,
) -> EnsembleData:
    """Read predictions of many models and join them by row.

    Parameters
    ----------
    source : path, data frame, mapping, or sequence of paths
        A folder with one file for each model, named after it; one file or data frame with a column
        for each model (wide); a list of files; or a mapping of model names to files, data frames
        or arrays. Files are CSV, TSV, Parquet, NPY or NPZ.
    target : str, (file or data frame, str), array-like of shape (n_instances,) or None
        Where the labels are: a column beside the predictions; a column of another table with the
        same row ids, which also fixes the rows and their order; or the labels themselves, for
        predictions without row ids.
    id_column : str, default=None
        Column that identifies a row. None takes the one that is called id, row_id, index or key.
        Tables without one must all have the same rows in the same order.
    classes : array-like of shape (n_classes,), default=None
        Labels in the order of columns without names. None takes the sorted labels, or for lack of
        labels the names of the columns.
    fold_column : str, default="fold"
        Column of fold numbers, where there is one. All models must have used the same folds.
    allow_suspicious : bool, default=False
        Accept columns that look like in-sample predictions.

    Returns
    -------
    EnsembleData
        Rows without a prediction of a model are missing cells.

    Raises
    ------
    ValueError
        If anything does not fit together: the message names file, row and column.
    SuspiciousPredictionsError
        If columns look like in-sample predictions; the message holds the evidence.
    MissingExtraError
        For CSV and Parquet files where pandas or pyarrow is not installed.

    Notes
    -----
    One prediction column, whatever its name, is P(class 1) of two classes. Several are matched to
    the classes by their names: the class itself or anything that ends in it, as in ``proba_yes``.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.prediction_files import read_predictions
    >>> forest = {"id": np.array([1, 2, 3]), "p": np.array([0.9, 0.2, 0.6])}
    >>> bayes = {"id": np.array([3, 1]), "p": np.array([0.7, 0.8])}
    >>> labels = {"id": np.array([1, 2, 3]), "sold": np.array([1, 0, 1])}
    >>> read_predictions({"forest": forest, "bayes": bayes}, (labels, "sold")).R
    array([[0.9, 0.2, 0.6],
           [0.8, nan, 0.7]])
    """
    tables = _read_tables(source, id_column)
    rows = labelled_rows(target, list(tables.values()), id_column)
    data = assemble(tables, rows, classes, fold_column)
    if not allow_suspicious:
        refuse_suspicious(data)
    return data


def read_train_and_test(
    out_of_fold: Any,
    test: Any,
    target: Target,
    *,
    id_column: str | None = None,
    classes: ArrayLike | None = None,
    fold_column: str = "fold",
    allow_suspicious: bool = False,
) -> tuple[EnsembleData, EnsembleData]:
    """Read out-of-fold and test predictions of the same models.

    Parameters
    ----------
    out_of_fold, test : path, data frame, mapping, or sequence of paths
        As in `read_predictions`; models are matched by name.
    target, id_column, classes, fold_column, allow_suspicious
        As in `read_predictions`. Test rows make in-sample columns far easier to see.

    Returns
    -------
    data, test : EnsembleData
        With the same classifiers in the same order.

    Raises
    ------
    ValueError, SuspiciousPredictionsError, MissingExtraError
        As in `read_predictions`, and if a model is in one of the two only.
    """
    data = read_predictions(
        out_of_fold,
        target,
        id_column=id_column,
        classes=classes,
        fold_column=fold_column,
        allow_suspicious=True,
    )
    tables = _read_tables(test, id_column)
    held_out = _matched(assemble(tables, all_rows(list(tables.values())), data.classes), data)
    if not allow_suspicious:
        refuse_suspicious(data, held_out)
    return data, held_out


def id_column_of(source: Any, id_column: str | None = None) -> str | None:
    """Return the name of the id column of prediction files, None where rows go by position.

    Parameters
    ----------
    source, id_column
        As in `read_predictions`.

    Examples
    --------
    >>> from cfe_stack.prediction_files.files import id_column_of
    >>> id_column_of({"forest": {"Id": [7, 8], "p": [0.1, 0.9]}})
    'Id'
    """
    name, first = next(iter(_named_sources(source).items()))
    found = read_table(first, name, id_column).id_column
    return None if found is None else str(found)


def write_predictions(
    data: EnsembleData, path: str | Path, *, id_column: str = "id", target_column: str = "target"
) -> list[Path]:
    """Write an ensemble matrix to files that `read_predictions` reads.

    Parameters
    ----------
    data : EnsembleData
    path : path
        A name that ends in .csv, .parquet or .npz is one wide table; any other is a folder that
        gets one CSV file for each classifier.
    id_column, target_column : str
        Names of the columns of row ids and of labels; there is none of labels if none is known.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    ValueError
        If a classifier's name is not a file name, or the format is unknown.
    MissingExtraError
        For CSV and Parquet files where pandas or pyarrow is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from cfe_stack import EnsembleData
    >>> from cfe_stack.prediction_files import read_predictions, write_predictions
    >>> data = EnsembleData([[0.9, 0.2], [0.8, float("nan")]], [1, 0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = write_predictions(data, f"{folder}/all.npz")
    ...     read_predictions(files[0], "target")
    EnsembleData(2 classifiers, 2 instances, 2 classes; 2 labeled, 1 cell missing)
    """
    path, names, classes = Path(path), list(data.classifier_names or ()), np.asarray(data.classes)
    ids = np.arange(data.n_instances) if data.instance_ids is None else data.instance_ids
    shared = {id_column: ids}
    if (data.labels >= 0).any():
        shared[target_column] = _label_column(data)
    if path.suffix:
        columns = [_named(R, name, classes) for R, name in zip(data.R, names, strict=True)]
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, shared | {n: c for model in columns for n, c in model.items()})
        return [path]
    unfit = [name for name in names if Path(name).name != name or name.startswith(".")]
    if unfit:
        raise ValueError(
            f"{unfit[:5]} cannot be file names; write one wide table (a path that ends in .csv)."
        )
    path.mkdir(parents=True, exist_ok=True)
    files = [path / f"{name}.csv" for name in names]
    for file, R in zip(files, data.R, strict=True):
        single = {str(classes[1]): R} if R.ndim == 1 else _named(R, "", classes)
        _write(file, shared | single)
    return files


def _read_tables(source: Any, id_column: str | None) -> dict[str, Table]:
    """Return the tables of a source by name."""
    named = _named_sources(source)
    if not named:
        raise ValueError("There are no predictions: no file and no name was given.")
    return {name: read_table(one, name, id_column) for name, one in named.items()}


def _named_sources(source: Any) -> dict[str, Any]:
    """Return what holds tables, by the name of the model if it holds one."""
    if isinstance(source, str | Path) and Path(source).is_dir():
        # macOS leaves ._forest.csv beside forest.csv
        found = sorted(f for f in Path(source).iterdir() if not f.name.startswith("."))
        packed = [f for f in found if f.suffix.lower() in PACKED]
        if packed:
            raise ValueError(f"{packed[0]} is packed; unpack it, or move it elsewhere.")
        files = [f for f in found if f.suffix.lower() in READERS]
        if not files:
            raise ValueError(
                f"{source}: there is no file of predictions in this folder; their names must end "
                f"in one of {', '.join(READERS)}."
            )
        source = files
    if isinstance(source, Mapping):
        return {str(name): one for name, one in source.items()}
    if isinstance(source, str | Path) or hasattr(source, "columns"):
        source = [source]
    names = [Path(one).stem if isinstance(one, str | Path) else "predictions" for one in source]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(
            f"Every model needs a name of its own; {repeated} stand for several. Pass a dict of "
            "names and predictions."
        )
    return dict(zip(names, source, strict=True))


def _matched(test: EnsembleData, data: EnsembleData) -> EnsembleData:
    """Return test predictions in the order of the classifiers of `data`."""
    ours, theirs = list(data.classifier_names or ()), list(test.classifier_names or ())
    alone = [name for name in ours if name not in theirs]
    more = [name for name in theirs if name not in ours]
    if alone or more:
        raise ValueError(
            "Every model needs out-of-fold and test predictions under the same name; without test "
            f"predictions: {alone[:10]}, without out-of-fold predictions: {more[:10]}. Add what is "
            "missing, or take the model out of both."
        )
    return EnsembleData(
        test.R[[theirs.index(name) for name in ours]],
        classifier_names=ours,
        classes=test.classes,
        instance_ids=test.instance_ids,
    )


def _label_column(data: EnsembleData) -> np.ndarray:
    """Return the labels as they are written: empty or NaN where they are unknown."""
    known, labels = data.labels >= 0, np.asarray(data.classes)[data.labels]
    if known.all():
        return labels
    if labels.dtype.kind in "iufb":
        return np.where(known, labels.astype(float), np.nan)
    return np.where(known, labels.astype(str), "")


def _named(R: np.ndarray, name: str, classes: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns of one classifier by name."""
    if R.ndim == 1:
        return {name: R}
    prefix = f"{name}_" if name else ""
    return {f"{prefix}{label}": R[:, k] for k, label in enumerate(classes)}


def _write(path: Path, columns: dict[str, np.ndarray]) -> None:
    kind = path.suffix.lower()
    if kind == ".npz":
        np.savez_compressed(path, **columns)  # type: ignore[arg-type]
    elif kind in (".csv", ".parquet"):
        frame = import_extra("pandas", extra="files").DataFrame(columns)
        if kind == ".csv":
            frame.to_csv(path, index=False)
        else:
            import_extra("pyarrow", extra="files")
            frame.to_parquet(path, index=False)
    else:
        raise ValueError(f"{path}: can write .csv, .parquet and .npz, not {kind!r}.")
