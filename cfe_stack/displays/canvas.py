"""What every display draws on and with: axes, and series that differ in colour and in gray."""

from collections import Counter
from collections.abc import Sequence
from os.path import commonprefix
from typing import Any, Self

from cfe_stack.runtime.optional_packages import import_extra

SERIES: tuple[dict[str, Any], ...] = (
    {"color": "#000000", "linestyle": "-", "marker": "o"},
    {"color": "#0072b2", "linestyle": "--", "marker": "s"},
    {"color": "#d55e00", "linestyle": "-.", "marker": "^"},
    {"color": "#009e73", "linestyle": ":", "marker": "D"},
    {"color": "#cc79a7", "linestyle": (0, (8, 2)), "marker": "v"},
    {"color": "#a6761d", "linestyle": (0, (4, 1, 1, 1, 1, 1)), "marker": "P"},
    {"color": "#56b4e9", "linestyle": (0, (1, 2)), "marker": "X"},
)
"""Line and marker styles; every one differs from the others without its colour."""
QUIET = "0.55"
"""Gray of what stands behind the series: reference lines, and contenders without a name."""
SHADES = "cividis"
"""Colour map of numbers; its lightness rises steadily, so it reads the same in gray."""


class Display:
    """Numbers that know how to draw themselves.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
        Where :meth:`plot` has drawn last.
    """

    ax_: Any
    figure_: Any

    def _drawn_on(self, ax: Any) -> Self:
        self.ax_, self.figure_ = ax, ax.figure
        return self


def axes_for(ax: Any, *, width: float = 6.4, height: float = 4.2) -> Any:
    """Return `ax`, or the axes of a new figure of the given size.

    Parameters
    ----------
    ax : matplotlib Axes or None
    width, height : float
        Size in inches.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    if ax is not None:
        return ax
    pyplot = import_extra("matplotlib.pyplot", extra="plot")
    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def finalize_layout(ax: Any) -> None:
    """Lay the figure out, so that positions in points are those of the finished picture."""
    ax.figure.draw_without_rendering()


def height_in_points(ax: Any) -> float:
    """Return the height of the axes in points."""
    figure = ax.get_figure(root=True)
    return float(ax.get_window_extent().height * 72 / figure.dpi)


def shorten(name: str, longest: int = 26) -> str:
    """Return `name` with its middle left out where it is longer than `longest` characters."""
    if len(name) <= longest:
        return name
    half = (longest - 1) // 2
    return f"{name[: longest - 1 - half]}…{name[-half:]}"


def shorten_all(names: Sequence[Any], longest: int = 26) -> list[str]:
    """Return shortened names; those that became alike go without what they begin with in common.

    Examples
    --------
    >>> from cfe_stack.displays.canvas import shorten_all
    >>> shorten_all(["catboost_depth_4_seed_1", "catboost_depth_5_seed_1", "bayes"], 12)
    ['…4_seed_1', '…5_seed_1', 'bayes']
    """
    full = [str(name) for name in names]
    short = [shorten(name, longest) for name in full]
    for text, count in Counter(short).items():
        alike = [k for k, other in enumerate(short) if other == text] if count > 1 else []
        start = len(commonprefix([full[k] for k in alike]))
        for k in alike:
            short[k] = shorten("…" + full[k][start:], longest) if full[k][start:] else text
    return short
