"""Pictures of a comparison: the critical-difference diagram, and intervals of differences."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cfe_stack.comparison_verdict import Difference
from cfe_stack.extras import import_extra

LINE = 0.25
"""Height of one line of text, in inches."""


def new_axes(width: float, height: float) -> Any:
    """Return axes on a figure of their own.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    pyplot = import_extra("matplotlib.pyplot", extra="plot")
    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def close(figure: Any) -> None:
    """Forget a figure."""
    import_extra("matplotlib.pyplot", extra="plot").close(figure)


def cliques(ranks: np.ndarray, critical: float) -> list[tuple[int, int]]:
    """Return the longest runs (first, last) of sorted ranks no further apart than `critical`.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.comparison_plots import cliques
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
    """Draw mean ranks; bars join contenders that are not told apart.

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
    half = (len(names) + 1) // 2
    if ax is None:
        ax = new_axes(8.0, LINE * (half + 3) + 0.12 * len(runs) + 0.5)
    gap = 0.45
    top = 1.0 + gap * len(runs)
    low, high = 1.0, float(len(names))
    margin = 0.02 * (high - low)
    ax.plot([low, high], [0, 0], color="black", linewidth=1)
    for tick in range(1, len(names) + 1):
        ax.plot([tick, tick], [0, -0.15], color="black", linewidth=0.8)
        ax.annotate(str(tick), (tick, -0.25), ha="center", va="bottom", fontsize=8)
    for place, (name, rank) in enumerate(zip(names, values, strict=True)):
        left = place < half
        y = top + (place if left else len(names) - 1 - place)
        edge = low - margin if left else high + margin
        ax.plot([rank, rank, edge], [0, y, y], color="0.45", linewidth=0.8)
        ax.annotate(
            f"{name}  {rank:.2f}" if left else f"{rank:.2f}  {name}",
            (edge, y),
            xytext=(-3 if left else 3, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=9,
            fontweight="bold" if name == reference else "normal",
        )
    for level, (first, last) in enumerate(runs):
        y = 0.45 + gap * level
        ax.plot(values[[first, last]] + [-margin, margin], [y, y], color="black", linewidth=3.5)
    if critical is not None:
        start = min(low, high - critical)
        ax.plot([start, start + critical], [-1.4, -1.4], color="black", linewidth=1.5)
        ax.annotate(
            f"critical difference {critical:.2f}", (start + critical, -1.4), va="center",
            xytext=(4, 0), textcoords="offset points", fontsize=8, annotation_clip=False,
        )  # fmt: skip
    reach = 0.62 * (high - low)
    ax.set(
        xlim=(min(low, high) - reach, high + reach),
        ylim=(top + half, -2.0),
        title="Mean ranks (left is better)",
    )
    ax.axis("off")
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
    if ax is None:
        ax = new_axes(7.0, LINE * (len(differences) + 4))
    ordered = sorted(
        differences, key=lambda d: d.paired.difference * (1 if greater_is_better else -1)
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
        yticklabels=[d.contender for d in ordered],
        xlabel=f"{metric} minus that of {reference} ({better} is better than it)",
        title="95 % intervals; filled: p ≤ 0.05 after Holm; grey: practically equal",
    )
    ax.title.set_fontsize(9)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
