"""One row per classifier, as many as can be read; the others share the last row."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from cfe_stack.displays.canvas import axes_for, height_in_points, shorten_all

ROW_POINTS = 13.0
"""Height of a row in a figure of its own, in points."""
MIN_ROW_POINTS = 8.5
"""Least height of a row in axes that were given."""
SURROUNDINGS_INCHES = 1.1
"""Inches that axis labels and ticks take from the height of a figure."""
MIN_HEIGHT_INCHES = 2.6
"""Height of a figure of few rows in inches, which leaves room for the label of a colour bar."""


@dataclass(frozen=True)
class Rows:
    """Which classifiers have a row of their own, from top to bottom.

    Parameters
    ----------
    own : ndarray of shape (n_own,)
        Classifiers with a row of their own.
    others : ndarray of shape (n_others,)
        Classifiers that share the last row.
    """

    own: np.ndarray
    others: np.ndarray

    @classmethod
    def fitting(cls, order: np.ndarray, ax: Any, max_rows: int) -> Self:
        """Return rows for the classifiers `order`, the most important first.

        Parameters
        ----------
        order : ndarray of shape (n_classifiers,)
        ax : matplotlib Axes or None
            Axes that were given set a limit of their own.
        max_rows : int
            Largest number of rows.
        """
        if isinstance(max_rows, bool) or not isinstance(max_rows, int) or max_rows < 2:
            raise ValueError(f"max_rows must be an integer >= 2, got {max_rows!r}.")
        limit = max_rows
        if ax is not None:
            limit = max(2, min(limit, int(height_in_points(ax) / MIN_ROW_POINTS)))
        kept = len(order) if len(order) <= limit else limit - 1
        return cls(order[:kept], order[kept:])

    def sorted_by(self, values: np.ndarray) -> Self:
        """Return the same rows with the largest of `values` (n_classifiers,) on top."""
        return replace(self, own=self.own[np.argsort(-values[self.own], kind="stable")])

    def __len__(self) -> int:
        return len(self.own) + bool(len(self.others))

    def collect(self, values: np.ndarray, others: Any) -> np.ndarray:
        """Return `values` (n_classifiers, ...) of the rows, `others` summing up the last."""
        own = values[self.own]
        if not len(self.others):
            return own
        return np.concatenate([own, others(values[self.others], axis=0)[None]])

    def axes(self, ax: Any, *, width: float = 6.4) -> Any:
        """Return `ax`, or new axes that are as high as the rows need."""
        height = max(MIN_HEIGHT_INCHES, SURROUNDINGS_INCHES + len(self) * ROW_POINTS / 72)
        return axes_for(ax, width=width, height=height)

    def name(self, ax: Any, names: Sequence[str], how: str) -> None:
        """Write the names on the y axis, the first row on top; `how` the others were summed up."""
        short = shorten_all(names)
        texts = [short[u] for u in self.own]
        if len(self.others):
            texts.append(f"{len(self.others)} others ({how})")
        room = height_in_points(ax) / len(texts)
        ax.set_yticks(np.arange(len(texts)), texts, fontsize=min(8.5, 0.8 * room))
        ax.set_ylim(len(texts) - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
