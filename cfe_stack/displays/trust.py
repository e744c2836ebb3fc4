"""Which base learner is trusted where: weights along the instance factor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from cfe_stack.data.blocks import observed
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.displays.canvas import SHADES, Display, shorten
from cfe_stack.displays.reading import average_prediction, names_of, read
from cfe_stack.displays.rows import Rows

ALONG = {
    "factor": "instance factor (standard deviations)",
    "entropy": "entropy of the mean prediction (standard deviations)",
}


class TrustDisplay(Display):
    r"""Weight of every base learner along a gate, from runs of as many instances each.

    Parameters
    ----------
    weights : ndarray of shape (n_classifiers, n_runs)
        Mean weight in every run of instances.
    positions : ndarray of shape (n_runs,)
        Mean of the gate's variable in every run, in standard deviations.
    predictions : ndarray of shape (n_runs,)
        Mean prediction of the base learners there: P(class 1), or the largest class probability
        for more than two classes.
    names : sequence of str
    classes : sequence, default=(0, 1)
    along : {"factor", "entropy"}, default="factor"

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Notes
    -----
    A gated pool of log-odds weighs the calibrated log-odds of learner u on instance i by
    :math:`w_u + \sum_g \gamma_{gu} \varphi_g(i)`, with φ the tanh of the first instance factor and,
    for more than two classes, of the standardized entropy of the mean prediction. Bounded log-odds
    add :math:`v_u` times their size in units of the log-odds: with two classes the less, the surer
    the learner is. Without gates and bounded log-odds the weights are the same everywhere.

    Examples
    --------
    >>> from cfe_stack import CFEnsembleClassifier
    >>> from cfe_stack.datasets import make_ensemble
    >>> from cfe_stack.displays import TrustDisplay
    >>> made = make_ensemble(5, 200, random_state=0)
    >>> classifier = CFEnsembleClassifier().fit(made.R.T, made.labels)
    >>> TrustDisplay.from_estimator(classifier, made.R.T, n_runs=4).weights.shape
    (5, 4)
    """

    def __init__(
        self,
        weights: np.ndarray,
        positions: np.ndarray,
        predictions: np.ndarray,
        names: Sequence[str],
        *,
        classes: Sequence[Any] = (0, 1),
        along: str = "factor",
    ) -> None:
        self.weights = weights
        self.positions = positions
        self.predictions = predictions
        self.names = names
        self.classes = classes
        self.along = along

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike | EnsembleData,
        *,
        along: str = "factor",
        n_runs: int = 10,
        names: Sequence[str] | None = None,
    ) -> Self:
        """Compute the weights on rows, and average them along the gate.

        Parameters
        ----------
        estimator : fitted estimator
            A `CFEnsembleClassifier` with a pool, alone or at the end of a stack.
        X : array-like of shape (n_samples, n_features) or EnsembleData
        along : {"factor", "entropy"}, default="factor"
            The gate; the entropy is one for more than two classes.
        n_runs : int, default=10
            Number of runs.
        names : sequence of str, default=None

        Returns
        -------
        TrustDisplay

        Raises
        ------
        TypeError
            If the estimator has no pool, whose weights are everywhere the same or undefined.
        ValueError
            If `along` or `n_runs` is out of range, or no row has a prediction.
        """
        if along not in ALONG:
            raise ValueError(f"along must be one of {list(ALONG)}, got {along!r}.")
        if isinstance(n_runs, bool) or not isinstance(n_runs, int) or n_runs < 2:
            raise ValueError(f"n_runs must be an integer >= 2, got {n_runs!r}.")
        reading = read(estimator, X, names=names)
        weights, gates = reading.trust()
        if along == "entropy" and gates.shape[1] < 2:
            raise ValueError("along='entropy' needs three classes or more; use along='factor'.")
        rows = np.flatnonzero(observed(reading.data.R).any(axis=0))
        if not len(rows):
            raise ValueError("X holds no prediction at all: every value is missing.")
        column = gates[rows, list(ALONG).index(along)]
        # the gate is a tanh; rounding must not make it infinite
        variable = np.arctanh(np.clip(column, -1 + 1e-12, 1 - 1e-12))
        average = average_prediction(reading.data)[rows]
        shown = average[:, 1] if reading.data.n_classes == 2 else average.max(axis=1)
        runs = np.array_split(np.argsort(variable, kind="stable"), min(n_runs, len(rows)))
        return cls(
            np.stack([weights[rows[run]].mean(axis=0) for run in runs], axis=1),
            np.array([variable[run].mean() for run in runs]),
            np.array([shown[run].mean() for run in runs]),
            names_of(reading.data),
            classes=np.asarray(reading.data.classes).tolist(),
            along=along,
        )

    def plot(self, ax: Any = None, *, max_rows: int = 30, cmap: str = SHADES) -> Self:
        """Draw one row per base learner, the largest mean weight on top; hatched where negative.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure as high as the rows need.
        max_rows : int, default=30
            The base learners of largest absolute weight; the others share the last row.
        cmap : str, default="cividis"

        Returns
        -------
        TrustDisplay
            This object, with `ax_` and `figure_`.
        """
        size = np.abs(self.weights).mean(axis=1)
        rows = Rows.fitting(np.argsort(-size, kind="stable"), ax, max_rows)
        rows = rows.sorted_by(self.weights.mean(axis=1))
        ax = rows.axes(ax, width=7.2)
        cells = rows.collect(self.weights, np.sum)
        # the sum of many small weights must not hide the differences between the large ones
        own = cells[: len(rows.own)]
        limits = {"vmin": min(own.min(), 0.0), "vmax": max(own.max(), np.finfo(float).tiny)}
        mesh = ax.pcolormesh(cells, cmap=cmap, edgecolors="white", linewidth=0.3, **limits)
        mesh.set_transform(_half_back() + ax.transData)
        # what rounds to 0 has no sign to speak of
        for row, run in np.argwhere(cells < -0.01 * np.abs(own).max()):
            ax.fill_between(
                [run - 0.5, run + 0.5], row - 0.5, row + 0.5, facecolor="none", edgecolor="white",
                hatch="////", linewidth=0,
            )  # fmt: skip
        beyond = "max" if cells.max() > limits["vmax"] else "neither"
        bar = {"extend": beyond, "pad": 0.02, "aspect": max(20.0, 1.5 * len(rows))}
        ax.figure.colorbar(mesh, ax=ax, label="weight of the log-odds", **bar)
        ticks = [
            f"{round(position, 1) + 0.0:.1f}\n{100 * mean:.0f}"
            for position, mean in zip(self.positions, self.predictions, strict=True)
        ]
        ax.set_xticks(np.arange(len(ticks)), ticks, fontsize=7.5)
        ax.set_xlim(-0.5, len(ticks) - 0.5)
        two = len(self.classes) == 2
        mean = f"P(class {shorten(str(self.classes[1]))})" if two else "largest probability"
        ax.set_xlabel(f"{ALONG[self.along]}\nbelow: mean {mean} of the base learners (%)")
        rows.name(ax, self.names, "sum")
        return self._drawn_on(ax)


def _half_back() -> Any:
    """Return the shift that centres cells on whole numbers."""
    from matplotlib.transforms import Affine2D

    return Affine2D().translate(-0.5, -0.5)
