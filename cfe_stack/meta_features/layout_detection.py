"""Finding out from the values what the columns of stacked meta-features are."""

import warnings

import numpy as np
from scipy.stats import rankdata

from cfe_stack.data.cell_checks import ROW_SUM_TOLERANCE
from cfe_stack.runtime.warning_location import user_stacklevel

MAX_SUM_DISTANCE = 0.25
"""Row sums this close to 1, most of them, are broken probabilities rather than other scores."""


MAX_ORIENTATION_ROWS = 10_000
"""Maximum number of rows used to detect column orientation."""


class LayoutWarning(UserWarning):
    """The automatic layout had to assume something about the columns."""


def predicted_columns(
    P: np.ndarray,
    codes: np.ndarray,
    n_classes: int,
    n_classifiers: int | None,
    passthrough: str | None,
    classes: np.ndarray | None,
) -> tuple[int, int, str]:
    """Return first column, end and layout name of the predictions among the columns.

    Raises
    ------
    ValueError
        If `n_classifiers` base learners do not fit, or class probabilities are broken.
    """
    p = P.shape[1]
    if n_classifiers is not None:
        return _given_count(P, codes, n_classes, n_classifiers, passthrough, classes)
    head, tail = _block_run(P, n_classes), _block_run(P[:, ::-1], n_classes)
    if n_classes > 2 and passthrough is None and _blocks_and_margins(P, n_classes):
        return 0, p, "margins"
    # columns P(class 1) of two learners may well sum to about 1, unless there are full blocks too
    partly = 0 < max(head, tail) * n_classes < p
    if passthrough is None and (partly or (n_classes > 2 and head == 0)):
        _refuse_broken_blocks(P, n_classes)
    if head > 0 and passthrough != "before":
        return 0, head * n_classes, "blocks"
    if tail > 0 and passthrough != "after":
        return p - tail * n_classes, p, "blocks"
    if n_classes == 2:
        start, stop = _probability_run(P, codes, passthrough)
        if stop > start:
            kind = _kind(P[:, start:stop], n_classes, classes)
            if kind == "margins" and passthrough is None:
                _warn_about_features_beside_margins(P, codes)
            return start, stop, kind
    else:
        labels = np.array([_are_codes(column, n_classes, classes) for column in P.T])
        head = int(np.argmin(labels)) if passthrough != "before" and not labels.all() else 0
        tail = int(np.argmin(labels[::-1])) if passthrough != "after" and not labels.all() else 0
        if head or tail:
            return (0, head, "labels") if head >= tail else (p - tail, p, "labels")
    return 0, p, _kind(P, n_classes, classes)


def _warn_about_features_beside_margins(P: np.ndarray, codes: np.ndarray) -> None:
    """Warn where margins stand at one end only: the other columns may well be passthrough."""
    follows = np.array([_looks_like_margin(column, codes) for column in P.T])
    runs = int((follows[1:] != follows[:-1]).sum())
    if runs == 1 and not _in_unit_interval(P[:, ~follows]).all():
        count, side = int(follows.sum()), "after" if follows[0] else "before"
        warnings.warn(
            f"Of {len(follows)} columns, all taken for margins, {len(follows) - count} at one end "
            f"do not follow the class. If they are passthrough, set n_classifiers={count} and "
            f"passthrough={side!r}; if they are base learners, layout='margins'.",
            LayoutWarning,
            stacklevel=user_stacklevel(),
        )


def _given_count(
    P: np.ndarray,
    codes: np.ndarray,
    n_classes: int,
    m: int,
    passthrough: str | None,
    classes: np.ndarray | None,
) -> tuple[int, int, str]:
    """Return the columns of `m` base learners: as many per learner as the values allow."""
    p = P.shape[1]

    def ends(size: int) -> list[tuple[int, int]]:
        """Return where m · size columns may stand."""
        places = {"after": [(0, m * size)], "before": [(p - m * size, p)]}
        both = places["after"] + places["before"]
        return (both if passthrough is None else places[passthrough]) if m * size <= p else []

    for start, stop in ends(n_classes):
        if _block_run(P[:, start:stop], n_classes) == m:
            return start, stop, "blocks"
    if p == m * n_classes:
        _refuse_broken_blocks(P, n_classes)
    found = [
        (start, stop)
        for start, stop in ends(1)
        if (n_classes == 2 and (passthrough is not None or m == p))
        or _are_labels(P[:, start:stop], n_classes, classes)
        or (n_classes == 2 and _in_unit_interval(P[:, start:stop]).all())
    ]
    if found:
        start, stop = found[0]
        if len(set(found)) > 1:
            warnings.warn(
                f"n_classifiers={m} fits the first and the last of the {p} columns; the first are "
                "taken. Set passthrough='after' to say so, or 'before' for the last.",
                LayoutWarning,
                stacklevel=user_stacklevel(),
            )
        return start, stop, _kind(P[:, start:stop], n_classes, classes)
    widths = {"margins": n_classes, "ovo": n_classes * (n_classes - 1) // 2}
    if widths["ovo"] == n_classes:
        del widths["ovo"]
    fitting = [
        (*ends(size)[0], kind)
        for kind, size in widths.items()
        if n_classes > 2 and (m * size == p or (passthrough is not None and m * size < p))
    ]
    if m == p:
        return 0, p, _kind(P, n_classes, classes)
    if len(fitting) == 1:
        return fitting[0]
    raise ValueError(
        f"n_classifiers={m} does not fit {p} columns for {n_classes} classes"
        + (": they may be layout='margins' or layout='ovo'" if fitting else "")
        + ". Pass the layout, and passthrough='after' or 'before' if there are other columns."
    )


def _block_run(P: np.ndarray, n_classes: int) -> int:
    """Return how many K-blocks from the start hold probabilities that sum to 1."""
    run, proved = 0, False
    for start in range(0, P.shape[1] - n_classes + 1, n_classes):
        block = P[:, start : start + n_classes]
        sums = block.sum(axis=1)
        known = ~np.isnan(sums)
        fine = (block[known] >= -1e-6).all() and (
            np.abs(sums[known] - 1) <= ROW_SUM_TOLERANCE
        ).all()
        if not fine:
            break
        # a block that is missing throughout proves nothing, but does not end a run either
        proved = proved or bool(known.any())
        run += 1
    return run if proved else 0


def _blocks_and_margins(P: np.ndarray, n_classes: int) -> bool:
    """Tell whether blocks of probabilities come again after something else of the same width."""
    if P.shape[1] % n_classes:
        return False
    groups = [P[:, s : s + n_classes] for s in range(0, P.shape[1], n_classes)]
    margins = [not _in_unit_interval(group).all() for group in groups]
    blocks = [_block_run(group, n_classes) == 1 for group in groups]
    if not any(margins) or not any(blocks[margins.index(True) :]) or not blocks[0]:
        return False
    return all(m or b or np.isnan(g).all() for m, b, g in zip(margins, blocks, groups, strict=True))


def _in_unit_interval(P: np.ndarray) -> np.ndarray:
    """Return per column whether all its values are in [0, 1]."""
    return np.logical_not(((P < -1e-6) | (P > 1 + 1e-6)).any(axis=0))


def _probability_run(P: np.ndarray, codes: np.ndarray, passthrough: str | None) -> tuple[int, int]:
    """Return the run of P(class 1) columns beside columns that are features, not predictions."""
    inside, p = _in_unit_interval(P), P.shape[1]
    if inside.all() or not inside.any():
        return 0, p
    if all(_looks_like_margin(P[:, j], codes) for j in np.flatnonzero(~inside)):
        return 0, p
    head = int(np.argmin(inside)) if passthrough != "before" else 0
    tail = int(np.argmin(inside[::-1])) if passthrough != "after" else 0
    if max(head, tail) == 0:
        return 0, p
    start, stop = (0, head) if head >= tail else (p - tail, p)
    first, last = _looks_like_margin(P[:, 0], codes), _looks_like_margin(P[:, -1], codes)
    if (start > 0 and first) or (stop < p and last and passthrough is None and _is_rare(inside)):
        raise ValueError(
            f"Of {p} columns, some look like margins and others lie in [0, 1]; which of them are "
            "predictions cannot be told. Pass n_classifiers, and passthrough='after' or 'before'."
        )
    return start, stop


def _is_rare(inside: np.ndarray) -> bool:
    """Tell whether fewer than two columns at the start lie in [0, 1]: hardly an ensemble."""
    return int(np.argmin(inside)) < 2


def _looks_like_margin(column: np.ndarray, codes: np.ndarray) -> bool:
    """Tell whether the sign and the order of a column follow the class, as a margin's do."""
    rows = (codes >= 0) & ~np.isnan(column)
    values, positive = column[rows], codes[rows] == 1
    if not positive.any() or positive.all() or values.min() >= 0 or values.max() <= 0:
        return False
    agreement = np.mean([(values[positive] > 0).mean(), (values[~positive] < 0).mean()])
    return bool(rank_auc(values, positive) > 0.6 and agreement > 0.55)


def rank_auc(values: np.ndarray, positive: np.ndarray) -> float:
    """Return the area under the ROC curve of `values` (Mann–Whitney)."""
    n_positive = positive.sum()
    n_negative = len(values) - n_positive
    ranks = rankdata(values)[positive].sum()
    return float((ranks - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def _kind(P: np.ndarray, n_classes: int, classes: np.ndarray | None) -> str:
    """Return the layout of columns that are all predictions and no full blocks."""
    p = P.shape[1]
    inside = _in_unit_interval(P).all()
    if n_classes == 2 and inside:
        return "class1"
    if _are_labels(P, n_classes, classes):
        return "labels"
    if n_classes == 2:
        return "margins"
    if inside:
        _refuse_broken_blocks(P, n_classes)
    else:
        for kind, size in (("margins", n_classes), ("ovo", n_classes * (n_classes - 1) // 2)):
            if p % size == 0:
                return kind
    warnings.warn(
        f"The {p} columns are neither probabilities nor margins of {n_classes} classes; each is "
        "taken as a score of its own (layout='scores'). If some are passthrough, pass layout, "
        "n_classifiers and passthrough.",
        LayoutWarning,
        stacklevel=user_stacklevel(),
    )
    return "scores"


def _are_codes(column: np.ndarray, n_classes: int, classes: np.ndarray | None) -> bool:
    """Tell whether a column holds nothing but class codes, or nothing but classes."""
    values = np.unique(column[~np.isnan(column)])
    if not values.size:
        return False
    known = [np.arange(n_classes)]
    if classes is not None and classes.dtype.kind in "fiub":
        known.append(classes)
    return any(np.isin(values, each).all() for each in known)


def _are_labels(P: np.ndarray, n_classes: int, classes: np.ndarray | None) -> bool:
    """Tell whether columns hold class codes, classes, or as many whole numbers as classes."""
    values = P[~np.isnan(P)]
    if not values.size or (values != np.floor(values)).any():
        return False
    # as many whole numbers as classes: scikit-learn's prefit stack encodes y, not the predictions
    return len(np.unique(values)) == n_classes or _are_codes(values, n_classes, classes)


def _refuse_broken_blocks(P: np.ndarray, n_classes: int) -> None:
    """Raise ValueError for columns that are almost, but not quite, class probabilities."""
    p = P.shape[1]
    if not _in_unit_interval(P).all():
        return
    if p % n_classes == 0:
        sums = P.reshape(len(P), -1, n_classes).sum(axis=2)
        off = np.abs(sums - 1)
        known = ~np.isnan(sums)
        if np.mean(off[known] <= MAX_SUM_DISTANCE) > 0.5:
            row, u = np.argwhere(known & (off > ROW_SUM_TOLERANCE))[0]
            raise ValueError(
                f"The class probabilities of base learner {u} sum to {sums[row, u]:.6g} in row "
                f"{row}; they must sum to 1 within {ROW_SUM_TOLERANCE}. If these columns are not "
                "class probabilities, pass layout='scores'."
            )
    if p % (n_classes - 1) == 0 and n_classes > 2:
        sums = P.reshape(len(P), -1, n_classes - 1).sum(axis=2)
        if not (sums > 1 + ROW_SUM_TOLERANCE).any():
            raise ValueError(
                f"The {p} columns look like probabilities of {n_classes} classes with one class "
                "dropped, but not of which: pass layout='drop_first' or 'drop_last' (mlxtend's "
                "drop_proba_col), or layout='scores' if they are something else."
            )


def detect_orientation(P: np.ndarray, codes: np.ndarray) -> str:
    """Return ``"class0"`` if every column falls clearly where y rises, else ``"class1"``."""
    step = max(len(P) // MAX_ORIENTATION_ROWS, 1)
    P, codes = P[::step], codes[::step]
    known = codes >= 0
    areas = []
    for column in P.T:
        rows = known & ~np.isnan(column)
        positive = codes[rows] == 1
        if positive.any() and not positive.all() and np.ptp(column[rows]) > 0:
            noise = np.sqrt((len(positive) + 1) / (12 * positive.sum() * (~positive).sum()))
            areas.append((rank_auc(column[rows], positive) - 0.5) / noise)
    if areas and max(areas) < -3:
        warnings.warn(
            f"All {P.shape[1]} columns are negatively associated with y and are read as P(class 0) "
            "(DESlib, mlxtend drop_proba_col='last'). Pass layout='class0' to say so, or "
            "layout='class1' if the base learners really are worse than chance.",
            LayoutWarning,
            stacklevel=user_stacklevel(),
        )
        return "class0"
    return "class1"
