"""What contenders are compared on: ensemble matrices with folds, from memory, files or learners.

A problem hands out one fold at a time, as the matrix of its training rows and that of its held-out
rows, so that repeated folds of a large matrix are never held together.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from sklearn.utils import _safe_indexing, check_consistent_length

from cfe_stack.base_learners.fitted_learner import check_estimators
from cfe_stack.comparison.whole_stacks import FeatureRows
from cfe_stack.cross_validation.repeated_folds import Split, SplitSettings, make_splits
from cfe_stack.data.ensemble_data import EnsembleData, take
from cfe_stack.out_of_fold.collect import collect_out_of_fold
from cfe_stack.out_of_fold.input_checks import class_codes

PARTS = ("oof", "ytr", "test", "yte")


@dataclass(frozen=True)
class FoldSize:
    """One fold of one problem.

    Parameters
    ----------
    problem : str
    repeat, fold : int
        Number of the repetition, and of the fold in the problem.
    n_train, n_test : int
    """

    problem: str
    repeat: int
    fold: int
    n_train: int
    n_test: int


class Problem(Protocol):
    """The contract of something to compare on."""

    @property
    def name(self) -> str:
        """Name of the data set."""

    @property
    def n_classes(self) -> int:
        """Number of classes."""

    def sizes(self) -> list[FoldSize]:
        """Return what folds there are."""

    def parts(self, fold: int) -> tuple[EnsembleData, EnsembleData]:
        """Return the matrices of the training rows and of the held-out rows, with labels."""


@dataclass(frozen=True, eq=False)
class MatrixProblem:
    """Folds of one ensemble matrix.

    Parameters
    ----------
    name : str
    data : EnsembleData
    splits : list of (train, test, repeat)
        Row numbers; all have labels.
    """

    name: str
    data: EnsembleData
    splits: list[Split]

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self.data.n_classes

    def sizes(self) -> list[FoldSize]:
        """Return what folds there are."""
        return _sizes(self.name, self.splits)

    def parts(self, fold: int) -> tuple[EnsembleData, EnsembleData]:
        """Return both parts of a fold."""
        train, test, _ = self.splits[fold]
        return take(self.data, train), take(self.data, test)


@dataclass(frozen=True, eq=False)
class StoredProblem:
    """A file with the matrices of outer folds.

    Parameters
    ----------
    name : str
    path : Path
        ``names``, ``n_classes`` and, for every outer fold f, out-of-fold predictions ``oof{f}``
        (n, m) = P(class 1) or (n, m, K) with class codes ``ytr{f}``, and the held-out ``test{f}``,
        ``yte{f}``.
    n_classes : int
    rows : tuple of (int, int)
        Training and held-out rows of every fold.
    """

    name: str
    path: Path
    n_classes: int
    rows: tuple[tuple[int, int], ...]

    @classmethod
    def open(cls, path: Path) -> "StoredProblem":
        """Look into a file.

        Raises
        ------
        ValueError
            If it is not such a file; the message names it and what is missing.
        """
        try:
            with path.open("rb") as opened, np.load(opened) as file:
                keys = set(file.files)
                labels = {key: file[key] for key in keys if key.startswith(("ytr", "yte"))}
                n_classes = int(file["n_classes"]) if "n_classes" in keys else 0
        except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} cannot be read as an .npz file: {error}.") from error
        folds = sum(key.startswith("oof") for key in keys)
        wanted = ["n_classes", *(f"{part}{f}" for f in range(max(folds, 1)) for part in PARTS)]
        lacking = [key for key in wanted if key not in keys]
        if lacking:
            raise ValueError(
                f"{path} lacks {', '.join(lacking)}. It must hold n_classes and, for every outer "
                "fold f, oof{f}, ytr{f}, test{f} and yte{f}."
            )
        if any(codes.dtype.kind not in "iuf" for codes in labels.values()):
            raise ValueError(f"{path} holds labels that are not class codes 0 … n_classes − 1.")
        if not all((codes >= 0).all() for codes in labels.values()):
            raise ValueError(f"{path} holds rows without a label; leave them out.")
        rows = tuple((len(labels[f"ytr{f}"]), len(labels[f"yte{f}"])) for f in range(folds))
        return cls(path.stem, path, n_classes, rows)

    def sizes(self) -> list[FoldSize]:
        """Return what folds there are."""
        return [FoldSize(self.name, 0, f, *rows) for f, rows in enumerate(self.rows)]

    def parts(self, fold: int) -> tuple[EnsembleData, EnsembleData]:
        """Return both parts of a fold."""
        try:
            with self.path.open("rb") as opened, np.load(opened) as file:
                names = file["names"].tolist() if "names" in file.files else None
                P, y, T, y_test = (file[f"{part}{fold}"] for part in PARTS)
            for name, part in (("oof", P), ("test", T)):
                classes = part.shape[2:] or (2,)
                if part.ndim < 2 or classes != (self.n_classes,):
                    raise ValueError(
                        f"{name}{fold} has shape {part.shape}; it must be (rows, learners) for two "
                        f"classes, else (rows, learners, n_classes), and n_classes is "
                        f"{self.n_classes}."
                    )
            return (
                EnsembleData(P.swapaxes(0, 1), y, classifier_names=names),
                EnsembleData(T.swapaxes(0, 1), y_test, classifier_names=names),
            )
        except ValueError as error:
            raise ValueError(f"{self.path}, fold {fold}: {error}") from error


@dataclass(frozen=True, eq=False)
class StackProblem:
    """Base learners on X and y: every outer training part gets out-of-fold predictions of its own.

    Parameters
    ----------
    name : str
    estimators : list of (str, classifier)
        Empty where whole stacks are compared alone.
    X : array-like of shape (n, n_features)
    codes : ndarray of shape (n,)
    classes : ndarray of shape (n_classes,)
    splits : list of (train, test, repeat)
    settings : SplitSettings
        Of the out-of-fold predictions inside a training part.
    groups : ndarray of shape (n,) or None
    """

    name: str
    estimators: list[tuple[str, Any]]
    X: Any
    codes: np.ndarray
    classes: np.ndarray
    splits: list[Split]
    settings: SplitSettings
    groups: np.ndarray | None

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    def sizes(self) -> list[FoldSize]:
        """Return what folds there are."""
        return _sizes(self.name, self.splits)

    def rows(self, fold: int) -> tuple[FeatureRows, FeatureRows]:
        """Return features and class codes of both parts of a fold."""
        train, test = (
            FeatureRows(_safe_indexing(self.X, part), len(part), self.classes, self.codes[part])
            for part in self.splits[fold][:2]
        )
        return train, test

    def parts(self, fold: int) -> tuple[EnsembleData, EnsembleData]:
        """Return both parts of a fold; no base learner has seen a row that it predicts."""
        train, test, _ = self.splits[fold]
        y = self.codes[train]
        groups = None if self.groups is None else self.groups[train]
        seed = self.settings.random_state
        inner = make_splits(
            y, self.settings.inner_cv, groups=groups, n_repeats=1, random_state=seed
        )
        found = collect_out_of_fold(
            self.estimators,
            _safe_indexing(self.X, train),
            self.classes[y],
            cv=[(inner_train, inner_test) for inner_train, inner_test, _ in inner],
            X_test=_safe_indexing(self.X, test),
            memory=self.settings.memory,
            progress=False,
        )
        if found.test is None or found.n_classes < self.n_classes:
            raise ValueError(f"The training part of fold {fold} lacks a class; choose other folds.")
        return found, replace(found.test, labels=self.codes[test])


def _sizes(name: str, splits: list[Split]) -> list[FoldSize]:
    return [
        FoldSize(name, repeat, fold, len(train), len(test))
        for fold, (train, test, repeat) in enumerate(splits)
    ]


def as_problems(
    data: Any, X: Any, y: Any, settings: SplitSettings, groups: Any = None
) -> list[Problem]:
    """Return what `data` holds to compare on.

    Parameters
    ----------
    data : EnsembleData, dict, path, list of paths, list of (str, classifier), or None
        None for whole stacks alone.
    X, y : array-like
        With base learners or whole stacks only.
    settings : SplitSettings
    groups : array-like of shape (n,), or dict of name to array-like, default=None

    Raises
    ------
    ValueError
        If it is none of these, a folder has no matrix, or names repeat.
    """
    if data is None and X is not None:
        return [_stack_problem([], X, y, settings, groups)]
    if X is not None and isinstance(data, Mapping):
        data = list(data.items())
    if isinstance(data, EnsembleData):
        data = {"data": data}
        groups = None if groups is None else {"data": groups}
    if isinstance(data, str | Path):
        data = [data]
    if isinstance(data, Mapping) and data:
        return [_named_problem(str(k), v, settings, (groups or {}).get(k)) for k, v in data.items()]
    if isinstance(data, list | tuple) and data:
        if all(isinstance(item, str | Path) for item in data):
            return _stored_problems([Path(item) for item in data])
        if all(isinstance(item, tuple) and len(item) == 2 for item in data):
            return [_stack_problem(check_estimators(data), X, y, settings, groups)]
    raise ValueError(
        "compare_ensembles takes an EnsembleData, a dict of them by name, a folder of .npz "
        "matrices, a list of (name, classifier) with X and y, or stacks with X and y; got "
        f"{type(data).__name__}."
    )


def _named_problem(name: str, what: Any, settings: SplitSettings, groups: Any) -> Problem:
    if isinstance(what, EnsembleData):
        return MatrixProblem(name, what, settings.splits(what.labels, groups))
    if isinstance(what, str | Path):
        return replace(StoredProblem.open(Path(what)), name=name)
    if hasattr(what, "parts") and hasattr(what, "sizes"):
        return what
    raise ValueError(f"Data set {name!r} is a {type(what).__name__}; give an EnsembleData.")


def _stored_problems(paths: list[Path]) -> list[Problem]:
    """Return the matrices of files and of folders of files."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(path.glob("*.npz"))
            if not found:
                raise ValueError(
                    f"{path} holds no NAME.npz, one for each data set. A folder with one file for "
                    "each model is for `cfe-stack compare --oof DIR --target FILE:COLUMN`, or for "
                    "read_predictions of cfe_stack.prediction_files.files."
                )
            files += found
        else:
            files.append(path)
    names = [path.stem for path in files]
    if len(set(names)) < len(names):
        raise ValueError(
            f"Two files have one name: {sorted({n for n in names if names.count(n) > 1})}."
        )
    return [StoredProblem.open(path) for path in files]


def _stack_problem(
    estimators: list[tuple[str, Any]], X: Any, y: Any, settings: SplitSettings, groups: Any
) -> StackProblem:
    if X is None or y is None:
        raise ValueError("A list of (name, classifier) or stacks need X and y.")
    check_consistent_length(X, y)
    _, classes, codes = class_codes(y)
    given = None if groups is None else np.asarray(groups)
    splits = settings.splits(codes, given)
    return StackProblem("data", estimators, X, codes, classes, splits, settings, given)
