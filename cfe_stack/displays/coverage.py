"""Which predictions are there, and which are missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.displays.canvas import Display, axes_for
from cfe_stack.displays.reading import names_of, read
from cfe_stack.displays.rows import Rows

N_RUNS = 200
KINDS = ("cells", "classifiers", "instances")


class CoverageDisplay(Display):
    """Share of predictions that are there: by cell, by classifier, by instance.

    Parameters
    ----------
    cells : ndarray of shape (n_classifiers, n_runs)
        Share of predictions in runs of neighbouring instances.
    classifiers : ndarray of shape (n_classifiers,)
        Share of the instances that every classifier has predicted.
    predictions : ndarray of shape (n_classifiers + 1,)
        Number of instances with 0, 1, … predictions.
    names : sequence of str

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Notes
    -----
    Cells whose confidence is 0 count as missing. Instances stand in the order of the data, so that
    a part of a file that one classifier has skipped is a white bar.

    Examples
    --------
    >>> from cfe_stack import EnsembleData
    >>> from cfe_stack.datasets import make_ensemble
    >>> from cfe_stack.displays import CoverageDisplay
    >>> made = make_ensemble(3, 50, missing_rate=0.2, random_state=0)
    >>> CoverageDisplay.from_data(EnsembleData(made.R)).classifiers.round(2)
    array([0.76, 0.74, 0.8 ])
    """

    def __init__(
        self,
        cells: np.ndarray,
        classifiers: np.ndarray,
        predictions: np.ndarray,
        names: Sequence[str],
    ) -> None:
        self.cells = cells
        self.classifiers = classifiers
        self.predictions = predictions
        self.names = names

    @classmethod
    def from_data(cls, data: EnsembleData) -> Self:
        """Count the predictions of an ensemble matrix.

        Parameters
        ----------
        data : EnsembleData

        Returns
        -------
        CoverageDisplay
        """
        m, n = data.n_classifiers, data.n_instances
        n_runs = min(N_RUNS, n)
        bounds = np.linspace(0, n, n_runs + 1).round().astype(int)
        run_of = np.searchsorted(bounds, np.arange(n), side="right") - 1
        cells, counts = np.zeros((m, n_runs)), np.zeros(m + 1)
        for block in data.blocks():
            present = block.observed
            runs = run_of[block.start : block.stop]
            for u in range(m):
                cells[u] += np.bincount(runs, present[u], minlength=n_runs)
            counts += np.bincount(present.sum(axis=0), minlength=m + 1)
        return cls(
            cells / np.diff(bounds),
            cells.sum(axis=1) / n,
            counts.astype(int),
            names_of(data),
        )

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: ArrayLike | EnsembleData, *, names: Sequence[str] | None = None
    ) -> Self:
        """Count the predictions in what a fitted estimator is given.

        Parameters
        ----------
        estimator : fitted estimator
            A `CFEnsembleClassifier`, alone or at the end of a stack, or a trainer.
        X : array-like of shape (n_samples, n_features) or EnsembleData
        names : sequence of str, default=None

        Returns
        -------
        CoverageDisplay
        """
        return cls.from_data(read(estimator, X, names=names).data)

    def plot(self, ax: Any = None, *, kind: str = "cells", max_rows: int = 40) -> Self:
        """Draw the coverage, classifiers with the most missing predictions on top.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        kind : {"cells", "classifiers", "instances"}, default="cells"
            The matrix itself, the share of every classifier, or how many predictions instances
            have.
        max_rows : int, default=40
            Classifiers beyond this many share the last row.

        Returns
        -------
        CoverageDisplay
            This object, with `ax_` and `figure_`.
        """
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {KINDS}, got {kind!r}.")
        if kind == "instances":
            return self._plot_instances(axes_for(ax))
        rows = Rows.fitting(np.argsort(self.classifiers, kind="stable"), ax, max_rows)
        ax = rows.axes(ax, width=7.2)
        if kind == "cells":
            n = int(self.predictions.sum())
            image = ax.imshow(
                100 * rows.collect(self.cells, np.mean), cmap=_shades(), vmin=0, vmax=100,
                aspect="auto", interpolation="nearest", extent=(0, n, len(rows) - 0.5, -0.5),
            )  # fmt: skip
            ax.hlines(np.arange(1, len(rows)) - 0.5, 0, n, color="white", linewidth=1)
            ax.figure.colorbar(image, ax=ax, label="predictions there (%)", pad=0.02)
            ax.set_xlabel("instance (position in the data)")
        else:
            shares = 100 * rows.collect(self.classifiers, np.mean)
            ax.barh(np.arange(len(rows)), shares, color="0.35", height=0.7)
            ax.set(xlim=(0, 100), xlabel="instances predicted (%)")
        missing = 1 - self.classifiers.mean()
        complete = int((self.classifiers == 1).sum())
        title = f"{missing:.1%} of the cells missing; {complete} classifiers complete"
        ax.set_title(title, fontsize=9, loc="left")
        rows.name(ax, self.names, "mean")
        return self._drawn_on(ax)

    def _plot_instances(self, ax: Any) -> Self:
        held = np.flatnonzero(self.predictions)
        ax.bar(held, self.predictions[held], color="0.35", width=0.8)
        if self.predictions[0]:
            ax.bar(
                [0], self.predictions[:1], color="white", edgecolor="black", hatch="////",
                width=0.8, label=f"{self.predictions[0]} without any",
            )  # fmt: skip
            ax.legend(frameon=False)
        m = len(self.classifiers)
        ax.set(xlabel=f"predictions of an instance, of {m}", ylabel="instances")
        ax.xaxis.get_major_locator().set_params(integer=True)
        return self._drawn_on(ax)


def _shades() -> Any:
    """Return a colour map from white, for nothing, to a dark gray that is not yet black."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("coverage", ["white", "#3f4a55"])
