"""Columns of stacked meta-features, and the ensemble matrix that they hold.

Every host orders the columns of its base learners differently, so a layout is a list of column
groups, one per base learner, each with a kind that says how its columns become probabilities.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from cfe_stack.data.cell_checks import ROW_SUM_TOLERANCE
from cfe_stack.meta_features.layout_detection import (
    LayoutWarning,
    detect_orientation,
    predicted_columns,
)
from cfe_stack.runtime.warning_location import user_stacklevel

LAYOUTS: dict[str, str] = {
    "auto": "found out from the values and y",
    "class1": "one column per base learner, P(class 1) (scikit-learn, AutoGluon; two classes)",
    "class0": "one column per base learner, P(class 0) (DESlib, mlxtend drop_proba_col='last')",
    "blocks": "K columns per base learner, all classes (mlxtend, vecstack; any multiclass stack)",
    "drop_first": "K − 1 columns per base learner, the first class dropped (mlxtend)",
    "drop_last": "K − 1 columns per base learner, the last class dropped (mlxtend)",
    "margins": "decision_function: one column per base learner, or K for more than two classes",
    "ovo": "decision_function of one-vs-one learners: K (K − 1) / 2 columns per base learner",
    "labels": "one column of predicted classes per base learner",
    "scores": "any columns; each is turned into probabilities on its own",
}
CALIBRATED_KINDS = frozenset({"margins", "ovo", "scores"})
"""Kinds whose columns are not probabilities: a one-learner logistic regression makes them so."""


@dataclass(frozen=True)
class ColumnGroup:
    """The columns of one base learner.

    Parameters
    ----------
    start, stop : int
        Range of columns.
    kind : str
        A key of `LAYOUTS` other than ``"auto"``.
    """

    start: int
    stop: int
    kind: str


def width(kind: str, n_classes: int) -> int:
    """Return the number of columns per base learner of a layout."""
    several = {
        "blocks": n_classes,
        "drop_first": n_classes - 1,
        "drop_last": n_classes - 1,
        "margins": 1 if n_classes == 2 else n_classes,
        "ovo": n_classes * (n_classes - 1) // 2,
    }
    return several.get(kind, 1)


@dataclass(frozen=True, eq=False)
class StackLayout:
    """Which columns of the meta-features belong to which base learner, and what they mean.

    Parameters
    ----------
    groups : tuple of ColumnGroup
    n_classes : int
    n_features : int
        Number of columns, passthrough columns included.
    label_values : ndarray of shape (n_classes,) or None
        Values behind the class codes; only where columns hold predicted labels.
    """

    groups: tuple[ColumnGroup, ...]
    n_classes: int
    n_features: int
    label_values: np.ndarray | None = None

    @property
    def n_classifiers(self) -> int:
        """Number of base learners."""
        return len(self.groups)

    @property
    def columns(self) -> np.ndarray:
        """Indices of the columns that are predictions; the rest is passthrough."""
        return np.concatenate([np.arange(g.start, g.stop) for g in self.groups])

    @property
    def passthrough(self) -> np.ndarray:
        """Indices of the columns that are not predictions."""
        return np.setdiff1d(np.arange(self.n_features), self.columns)

    @property
    def calibrated(self) -> list[int]:
        """Base learners whose columns need a calibrator."""
        return [u for u, g in enumerate(self.groups) if g.kind in CALIBRATED_KINDS]

    def columns_of(self, P: np.ndarray, u: int) -> np.ndarray:
        """Return the columns (n, k) of base learner `u`."""
        return P[:, self.groups[u].start : self.groups[u].stop]

    def matrix(self, P: np.ndarray, calibrated: dict[int, np.ndarray] | None = None) -> np.ndarray:
        """Return the ensemble matrix of meta-features.

        Parameters
        ----------
        P : ndarray of shape (n, n_features)
        calibrated : dict of int to ndarray of shape (n, n_classes), default=None
            Probabilities of the base learners in :attr:`calibrated`.

        Returns
        -------
        ndarray of shape (n_classifiers, n) or (n_classifiers, n, n_classes)
            A view of `P` where its columns are the matrix already.
        """
        kinds = {g.kind for g in self.groups}
        first, last = self.groups[0].start, self.groups[-1].stop
        if self.n_classes == 2 and kinds == {"class1"}:
            return P[:, first:last].T
        if self.n_classes > 2 and kinds == {"blocks"}:
            return P[:, first:last].reshape(len(P), -1, self.n_classes).transpose(1, 0, 2)
        blocks = []
        for u, group in enumerate(self.groups):
            if group.kind in CALIBRATED_KINDS:
                blocks.append((calibrated or {})[u])
            else:
                blocks.append(self._probabilities(P[:, group.start : group.stop], group.kind))
        R = np.stack(blocks)
        if self.n_classes == 2:
            return np.where(np.isnan(R[:, :, 0]), np.nan, R[:, :, 1])
        return R

    def _probabilities(self, columns: np.ndarray, kind: str) -> np.ndarray:
        """Return class probabilities (n, n_classes) of one base learner's columns."""
        if kind == "blocks":
            return columns
        if kind == "labels":
            return self._one_hot(columns[:, 0])
        missing = 1 - columns.sum(axis=1, keepdims=True)
        if np.nanmin(missing, initial=0.0) < -ROW_SUM_TOLERANCE:
            raise ValueError(
                f"layout={kind!r}: the columns of a base learner sum to "
                f"{1 - np.nanmin(missing):.6g} in a row, more than 1, so they are not "
                "probabilities with one class dropped."
            )
        missing = np.maximum(missing, 0.0)
        if kind in ("class0", "drop_last"):
            return np.concatenate([columns, missing], axis=1)
        return np.concatenate([missing, columns], axis=1)

    def _one_hot(self, column: np.ndarray) -> np.ndarray:
        values = np.asarray(self.label_values)
        proba = (column[:, None] == values).astype(np.float64)
        proba[np.isnan(column)] = np.nan
        unknown = ~np.isnan(column) & ~(proba > 0).any(axis=1)
        if unknown.any():
            raise ValueError(
                f"layout='labels': a column holds {column[unknown][0]:g}, which is none of the "
                f"labels {values.tolist()} seen in training."
            )
        return proba


def resolve_layout(
    P: np.ndarray,
    codes: np.ndarray,
    n_classes: int,
    layout: str = "auto",
    *,
    n_classifiers: int | None = None,
    passthrough: str | None = None,
    classes: np.ndarray | None = None,
) -> StackLayout:
    """Return the layout of meta-features, found out or checked.

    Parameters
    ----------
    P : ndarray of shape (n, n_features)
        Meta-features; NaN marks missing predictions.
    codes : ndarray of shape (n,)
        Class codes of the rows, −1 for unknown.
    n_classes : int
    layout : str, default="auto"
        A key of `LAYOUTS`.
    n_classifiers : int, default=None
        Number of base learners; needed where predictions and passthrough columns cannot be told
        apart by their values.
    passthrough : {None, "after", "before"}, default=None
        Where columns that are not predictions stand. None looks for them with ``layout="auto"``.
    classes : ndarray of shape (n_classes,), default=None
        Labels behind the codes, which columns of predicted labels may hold.

    Raises
    ------
    ValueError
        If the columns do not fit the layout; the message names the layouts.

    Warns
    -----
    LayoutWarning
        If the automatic rule had to assume something.
    """
    check_layout_options(layout, n_classifiers, passthrough)
    p = P.shape[1]
    if layout == "auto":
        start, stop, kind = predicted_columns(
            P, codes, n_classes, n_classifiers, passthrough, classes
        )
    else:
        kind, size = layout, width(layout, n_classes)
        count = p // size if n_classifiers is None else n_classifiers
        start, stop = (p - count * size, p) if passthrough == "before" else (0, count * size)
        exact = count * size == p or (n_classifiers is not None and passthrough is not None)
        if not exact or count < 1 or start < 0 or stop > p:
            raise ValueError(
                f"layout={layout!r} needs {size} column(s) per base learner"
                + ("" if n_classifiers is None else f" and n_classifiers={n_classifiers}")
                + f", but there are {p} columns for {n_classes} classes. Columns that are not "
                "predictions need n_classifiers and passthrough='after' or 'before'.\n"
                + describe_layouts()
            )
        if layout in ("class1", "class0") and n_classes != 2:
            raise ValueError(
                f"layout={layout!r} is for two classes, y has {n_classes}.\n{describe_layouts()}"
            )
    if kind == "class1" and layout == "auto":
        kind = detect_orientation(P[:, start:stop], codes)
    kinds = _kinds_of_groups(P, start, stop, kind, n_classes)
    size = width(kind, n_classes)
    groups = tuple(
        ColumnGroup(s, s + size, k) for s, k in zip(range(start, stop, size), kinds, strict=True)
    )
    values = _label_values(P[:, start:stop], n_classes, classes) if kind == "labels" else None
    found = StackLayout(groups, n_classes, p, values)
    if passthrough is not None and n_classifiers is None and not found.passthrough.size:
        raise ValueError(
            f"passthrough={passthrough!r}, but all {p} columns look like predictions. Pass "
            "n_classifiers to say how many base learners there are."
        )
    check_values(found, P)
    if layout == "auto" and found.passthrough.size and n_classifiers is None:
        warnings.warn(
            f"Columns {start} … {stop - 1} of {p} were taken for predictions of "
            f"{found.n_classifiers} base learners; the other {p - (stop - start)} columns are "
            f"passthrough and are not used. Set n_classifiers={found.n_classifiers} and "
            f"passthrough={'after' if start == 0 else 'before'!r} to say so yourself.",
            LayoutWarning,
            stacklevel=user_stacklevel(),
        )
    return found


def check_layout_options(layout: str, n_classifiers: int | None, passthrough: str | None) -> None:
    """Raise ValueError for an unknown option."""
    if not isinstance(layout, str) or layout not in LAYOUTS:
        raise ValueError(f"layout is {layout!r}; it must be one of:\n{describe_layouts()}")
    if passthrough is not None and str(passthrough) not in ("after", "before"):
        raise ValueError(
            f"passthrough must be None, 'after' (scikit-learn: predictions first) or 'before' "
            f"(mlxtend: predictions last), got {passthrough!r}."
        )
    counts = isinstance(n_classifiers, (int, np.integer)) and not isinstance(n_classifiers, bool)
    if n_classifiers is not None and not (counts and n_classifiers >= 1):
        raise ValueError(f"n_classifiers must be None or at least 1, got {n_classifiers!r}.")


def describe_layouts() -> str:
    """Return one line per layout."""
    return "\n".join(f"  {name!r}: {text}" for name, text in LAYOUTS.items())


def _kinds_of_groups(P: np.ndarray, start: int, stop: int, kind: str, n_classes: int) -> list[str]:
    """Return the kind of every group: probabilities and margins may stand side by side."""
    size = width(kind, n_classes)
    if kind != "margins":
        return [kind] * ((stop - start) // size)
    kinds = []
    for s in range(start, stop, size):
        columns = P[:, s : s + size]
        inside = not ((columns < 0) | (columns > 1)).any() and not np.isnan(columns).all()
        if size > 1:
            inside = inside and not (np.abs(columns.sum(axis=1) - 1) > ROW_SUM_TOLERANCE).any()
        kinds.append(("class1" if size == 1 else "blocks") if inside else "margins")
    return kinds


def _label_values(
    columns: np.ndarray, n_classes: int, classes: np.ndarray | None
) -> np.ndarray | None:
    """Return the values that stand for the class codes in columns of predicted labels."""
    present = np.unique(columns[~np.isnan(columns)])
    candidates = [np.arange(n_classes, dtype=float)]
    if classes is not None and classes.dtype.kind in "fiub":
        candidates.append(classes.astype(float))
    if len(present) == n_classes:
        # scikit-learn encodes y before the final estimator sees it, but not prefit predictions
        candidates.append(present)
    for values in candidates:
        if np.isin(present, values).all():
            return values
    raise ValueError(
        f"layout='labels': the columns hold {present[:10].tolist()}, which are neither class codes "
        f"0 … {n_classes - 1} nor the classes of y."
    )


def check_values(layout: StackLayout, P: np.ndarray) -> None:
    """Raise ValueError where probabilities leave [0, 1] or do not sum to 1."""
    if all(group.kind in ("class1", "class0") for group in layout.groups):
        columns = P[:, layout.groups[0].start : layout.groups[-1].stop]
        lowest, highest = np.fmin.reduce(columns, axis=None), np.fmax.reduce(columns, axis=None)
        if -1e-6 <= lowest and highest <= 1 + 1e-6:
            return
    for u, group in enumerate(layout.groups):
        columns = P[:, group.start : group.stop]
        if group.kind in CALIBRATED_KINDS or group.kind == "labels":
            continue
        outside = (columns < -1e-6) | (columns > 1 + 1e-6)
        if outside.any():
            row, column = np.argwhere(outside)[0]
            raise ValueError(
                f"Column {group.start + column} (base learner {u}) holds "
                f"{columns[row, column]:.6g} in row {row}, outside [0, 1], but is read as layout "
                f"{group.kind!r}. If these are margins or other scores, pass the layout:\n"
                f"{describe_layouts()}"
            )
        if group.kind == "blocks":
            off = np.abs(columns.sum(axis=1) - 1) > ROW_SUM_TOLERANCE
            if off.any():
                row = int(np.flatnonzero(off)[0])
                raise ValueError(
                    f"The {layout.n_classes} class probabilities of base learner {u} sum to "
                    f"{columns[row].sum():.6g} in row {row}; they must sum to 1 within "
                    f"{ROW_SUM_TOLERANCE}. If the columns are something else, pass the layout:\n"
                    f"{describe_layouts()}"
                )
