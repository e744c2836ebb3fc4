"""Maps of named points: limits that keep distances, and names placed where there is room."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cfe_stack.displays.canvas import finalize_layout

ANGLES = np.deg2rad([0, 180, 90, 270, 35, 145, 215, 325])
DISTANCES = (7.5, 13.0, 21.0)
"""Candidates for the gap between a point and its name, in points; from the second, with a line."""
POINT_SIZE = 8.0
"""Side of the square around a point that names stay out of, in points."""
APART = 2.5
"""Least distance of two names, in points."""


MARGIN = 0.12
"""Share of the larger range that stays free on every side of a map."""


def equal_units(ax: Any, positions: np.ndarray) -> None:
    """Set limits around `positions` (n_points, 2) so that a unit is as long on both axes.

    The limits stay as they are from then on; an aspect ratio that matplotlib keeps would move them
    with every layout, and with them the points that names are placed by.
    """
    low, high = positions.min(axis=0), positions.max(axis=0)
    span = np.maximum(high - low, 1e-3 * max((high - low).max(), 1e-6))
    middle = (low + high) / 2
    # new limits have new tick labels, which change the size of the axes a little
    for _ in range(2):
        finalize_layout(ax)
        window = ax.get_window_extent()
        size = np.array([window.width, window.height])
        half = size * ((1 + 2 * MARGIN) * span / size).max() / 2
        ax.set_xlim(middle[0] - half[0], middle[0] + half[0])
        ax.set_ylim(middle[1] - half[1], middle[1] + half[1])


def place_labels(
    ax: Any, positions: np.ndarray, texts: Sequence[str], *, fontsize: float = 7.5
) -> list[int]:
    """Write names beside points so that no two overlap and none covers a point.

    Parameters
    ----------
    ax : matplotlib Axes
        With its limits as they will stay.
    positions : ndarray of shape (n_points, 2)
        In data coordinates, the most important first.
    texts : sequence of str
        A name for every point; empty for a point that is only to be kept free.
    fontsize : float, default=7.5

    Returns
    -------
    list of int
        Points whose name found a place.
    """
    finalize_layout(ax)
    scale = ax.get_figure(root=True).dpi / 72
    centres = ax.transData.transform(positions)
    half = POINT_SIZE * scale / 2
    taken = np.column_stack([centres - half, centres + half])
    window = ax.get_window_extent()
    placed = []
    for k, text in enumerate(texts):
        if not text:
            continue
        label = ax.annotate(text, centres[k], xycoords="figure pixels", fontsize=fontsize)
        # the label must not move what it was placed by
        label.set_in_layout(False)
        extent = label.get_window_extent()
        spot = _free_spot(centres[k], extent.width, extent.height, taken, window, scale)
        label.remove()
        if spot is None:
            continue
        gap, corner = spot
        # anchored on the side of the point: text is not equally wide at every resolution
        left = corner[0] + extent.width / 2 < centres[k, 0]
        anchor = corner + (extent.width * left, 0)
        line = {"arrowstyle": "-", "color": "0.5", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}
        written = ax.annotate(
            text,
            positions[k],
            xytext=(anchor - centres[k]) / scale,
            textcoords="offset points",
            fontsize=fontsize,
            verticalalignment="bottom",
            horizontalalignment="right" if left else "left",
            arrowprops=line if gap > DISTANCES[0] else None,
        )
        written.set_in_layout(False)
        box = [*corner, corner[0] + extent.width, corner[1] + extent.height]
        taken = np.vstack([taken, box])
        placed.append(k)
    return placed


def _free_spot(
    centre: np.ndarray, width: float, height: float, taken: np.ndarray, window: Any, scale: float
) -> tuple[float, np.ndarray] | None:
    """Return the gap and the lower left corner of the first free place, in pixels."""
    for gap in DISTANCES:
        for angle in ANGLES:
            away = np.array([np.cos(angle), np.sin(angle)])
            middle = centre + away * (gap * scale + np.array([width, height]) / 2)
            corner = middle - np.array([width, height]) / 2
            opposite = corner + (width, height)
            inside = (
                corner[0] >= window.x0
                and corner[1] >= window.y0
                and opposite[0] <= window.x1
                and opposite[1] <= window.y1
            )
            apart = (
                (taken[:, 2] + APART * scale <= corner[0])
                | (taken[:, 0] - APART * scale >= opposite[0])
                | (taken[:, 3] <= corner[1])
                | (taken[:, 1] >= opposite[1])
            )
            if inside and apart.all():
                return gap, corner
    return None
