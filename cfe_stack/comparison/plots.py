"""Pictures of a comparison: the critical-difference diagram, and intervals of differences."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cfe_stack.comparison.verdict import Difference
from cfe_stack.displays.canvas import axes_for, shorten, shorten_all

MAX_NAME_LENGTH = 32
"""Characters of a name that are shown."""
LINE = 0.25
"""Height of one line of text, in inches."""
GAP = 0.45
"""Lines between two bars of the critical-difference diagram."""
MAX_TICKS = 16
"""Ranks from which on not every one has its number."""


def height_of(n_contenders: int) -> float:
    """Return the height of a picture with a line for each contender, in inches."""
    return LINE * (n_contenders + 5)


def cliques(ranks: np.ndarray, critical: float) -> list[tuple[int, int]]:
    """Return the longest runs (first, last) of sorted ranks no further apart than `critical`.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.comparison.plots import cliques
    >>> cliques(np.array([1.0, 1.5, 2.2, 4.0]), 1.0)
    [(0, 1), (1, 2)]
    """
    runs: list[tuple[int, int]] = []
    for first in range(len(ranks)):
        last = int(np.flatnonzero(ranks <= ranks[first] + critical)[-1])
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))
    return runs


def draw_ranks(
    ranks: Mapping[str, float], critical: float | None, reference: str, ax: Any = None
) -> Any:
    """Draw mean ranks; bars join contenders that are not significantly different.

    Parameters
    ----------
    ranks : dict of str to float
        Best first.
    critical : float or None
        Nemenyi's critical difference; None leaves the bars out.
    reference : str
        Set in bold.
    ax : Axes, default=None

    Returns
    -------
    Axes
    """
    names, values = list(ranks), np.array(list(ranks.values()))
    runs = [] if critical is None else cliques(values, critical)
    ax = axes_for(ax, width=7.0, height=height_of(len(names)))
    top = GAP * len(runs)
    low, high = 1.0, float(len(names))
    margin = 0.02 * (high - low)
    ax.plot([low, high], [0, 0], color="black", linewidth=1)
    for tick in range(1, len(names) + 1, 1 + len(names) // MAX_TICKS):
        ax.plot([tick, tick], [0, -0.15], color="black", linewidth=0.8)
        ax.annotate(str(tick), (tick, -0.25), ha="center", va="bottom", fontsize=8)
    rows = top + 1.0 + np.arange(len(names))
    for row, rank in zip(rows, values, strict=True):
        ax.plot([rank, rank, low - margin], [0, row, row], color="0.45", linewidth=0.8)
    for level, (first, last) in enumerate(runs):
        y = 0.45 + GAP * level
        ax.plot(values[[first, last]] + [-margin, margin], [y, y], color="black", linewidth=3.5)
    title = "Mean ranks (left is better)"
    if critical is not None:
        title += f"; bar: critical difference {critical:.2f}"
        bar = [low, low + min(critical, high - low)]
        ax.plot(bar, [-1.7, -1.7], color="black", linewidth=1.5, marker="|")
    ax.set(
        xlim=(low - 2 * margin, high + 2 * margin),
        ylim=(top + len(names) + 0.6, -2.1),
        xticks=[],
        yticks=rows,
        yticklabels=[
            f"{name}  {rank:.2f}"
            for name, rank in zip(shorten_all(names, MAX_NAME_LENGTH), values, strict=True)
        ],
    )
    # on the right, a title has room over the names
    ax.set_title(title, loc="right", fontsize=9)
    for name, label in zip(names, ax.get_yticklabels(), strict=True):
        label.set_fontweight("bold" if name == reference else "normal")
    ax.tick_params("y", length=0)
    ax.spines[:].set_visible(False)
    return ax


def draw_differences(
    differences: Sequence[Difference], metric: str, greater_is_better: bool, ax: Any = None
) -> Any:
    """Draw the interval of every contender's difference from the reference.

    Parameters
    ----------
    differences : sequence of Difference
    metric : str
    greater_is_better : bool
    ax : Axes, default=None

    Returns
    -------
    Axes
    """
    ax = axes_for(ax, width=7.0, height=height_of(len(differences)))
    ordered = sorted(
        differences, key=lambda d: d.paired.difference * (-1 if greater_is_better else 1)
    )
    for y, d in enumerate(ordered):
        test = d.paired
        if np.isfinite([test.low, test.high]).all():
            ax.plot([test.low, test.high], [y, y], color="0.35", linewidth=1.5)
        settled = d.p_adjusted <= 0.05
        ax.plot(test.difference, y, "o", color="black", mfc="black" if settled else "white")
    ax.axvline(0, color="black", linewidth=0.8, linestyle="--")
    width = max((d.posterior.rope for d in ordered), default=0.0)
    ax.axvspan(-width, width, color="0.9", zorder=0)
    better = "right" if greater_is_better else "left"
    reference = ordered[0].reference if ordered else "the reference"
    ax.set(
        yticks=range(len(ordered)),
        yticklabels=shorten_all([d.contender for d in ordered], MAX_NAME_LENGTH),
        ylim=(len(ordered) - 0.5, -0.5),
    )
    ax.set_xlabel(
        f"{metric} minus that of {shorten(reference, MAX_NAME_LENGTH)}\n({better} is better)",
        loc="right",
    )
    title = "95 % intervals; filled: p ≤ 0.05 after Holm; gray: practically equal"
    ax.set_title(title, loc="right", fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
