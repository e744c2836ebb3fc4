"""Predicted against observed frequencies, before and after the ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.displays.canvas import QUIET, SERIES, Display, axes_for, shorten
from cfe_stack.displays.contenders import checked_contenders, ensemble_and_average


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """Observed frequencies in runs of about as many predictions each.

    Parameters
    ----------
    predicted, observed : ndarray of shape (n_runs,)
        Mean prediction, and share of instances where it came true.
    low, high : ndarray of shape (n_runs,)
        Wilson's interval of that share.
    weight : ndarray of shape (n_runs,)
        Sum of the sample weights.
    """

    predicted: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray

    @property
    def mean_gap(self) -> float:
        """Mean height between curve and diagonal: Σ weight · |observed − predicted| / Σ weight."""
        gap = np.abs(self.observed - self.predicted)
        return float(self.weight @ gap / self.weight.sum())


class ReliabilityDisplay(Display):
    r"""How often predictions came true, against how likely they were said to be.

    Parameters
    ----------
    curves : dict of str to ReliabilityCurve
    level : float, default=0.9
        Confidence level of the intervals.
    classes : sequence, default=(0, 1)

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Notes
    -----
    Runs hold about as many predictions each, and equal predictions stand in one run. With two
    classes the prediction is P(class 1), and comes true where the label is 1. With more it is the
    largest class probability, and comes true where that class is the label. The intervals are
    Wilson's for a share :math:`k/n`; with sample weights n is their sum. The mean gap in the legend
    is not 0 for a calibrated prediction either: it shrinks with the number of instances in a run.

    References
    ----------
    .. [1] E. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference",
       JASA 1927.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.displays import ReliabilityDisplay
    >>> y, sure = np.array([0, 0, 1, 1]), np.array([0.1, 0.1, 0.8, 0.8])
    >>> display = ReliabilityDisplay.from_predictions(y, {"sure": sure}, n_runs=2)
    >>> round(display.curves["sure"].mean_gap, 2)
    0.15
    """

    def __init__(
        self,
        curves: Mapping[str, ReliabilityCurve],
        *,
        level: float = 0.9,
        classes: Sequence[Any] = (0, 1),
    ) -> None:
        self.curves = curves
        self.level = level
        self.classes = classes

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike | EnsembleData,
        y: ArrayLike | None = None,
        *,
        n_runs: int = 10,
        level: float = 0.9,
    ) -> Self:
        """Compare the ensemble with the plain mean of its base learners.

        Parameters
        ----------
        estimator : fitted estimator
            A `CFEnsembleClassifier`, alone or at the end of a stack, or a trainer.
        X : array-like of shape (n_samples, n_features) or EnsembleData
            Rows that nobody was trained on.
        y : array-like of shape (n_samples,), default=None
            Their classes; the labels of an `EnsembleData` if not given.
        n_runs : int, default=10
        level : float, default=0.9

        Returns
        -------
        ReliabilityDisplay
        """
        reading, rows, contenders = ensemble_and_average(estimator, X, y)
        data = reading.data
        return cls.from_predictions(
            np.asarray(data.classes)[data.labels[rows]],
            contenders,
            classes=data.classes,
            sample_weight=data.frequencies[rows],
            n_runs=n_runs,
            level=level,
        )

    @classmethod
    def from_predictions(
        cls,
        y: ArrayLike,
        contenders: Mapping[str, ArrayLike],
        *,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        n_runs: int = 10,
        level: float = 0.9,
    ) -> Self:
        """Compute the curves of named predictions.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
        contenders : dict of str to array-like
            P(class 1), of shape (n_samples,), or all classes, of shape (n_samples, n_classes).
        classes : array-like of shape (n_classes,), default=None
            Classes in the order of the columns; the sorted values of `y` if not given.
        sample_weight : array-like of shape (n_samples,), default=None
        n_runs : int, default=10
            Largest number of runs.
        level : float, default=0.9
            Confidence level of the intervals.

        Returns
        -------
        ReliabilityDisplay

        Raises
        ------
        ValueError
            If shapes disagree or a prediction is not a probability.
        """
        if isinstance(n_runs, bool) or not isinstance(n_runs, int) or n_runs < 1:
            raise ValueError(f"n_runs must be an integer >= 1, got {n_runs!r}.")
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, got {level!r}.")
        codes, checked, weight = checked_contenders(y, contenders, classes, sample_weight)
        known = np.unique(np.asarray(y)) if classes is None else np.asarray(classes)
        n_classes = len(known)
        curves = {}
        for name, proba in checked.items():
            said = proba[:, 1] if n_classes == 2 else proba.max(axis=1)
            came = codes == (1 if n_classes == 2 else proba.argmax(axis=1))
            curves[name] = _curve(said, came, weight, n_runs, level)
        return cls(curves, level=level, classes=known.tolist())

    def plot(self, ax: Any = None, *, intervals: bool = True) -> Self:
        """Draw the curves; the nearer to the diagonal, the better.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        intervals : bool, default=True
            Draw the confidence intervals, unless there are more than three contenders.

        Returns
        -------
        ReliabilityDisplay
            This object, with `ax_` and `figure_`.

        Raises
        ------
        ValueError
            If there are too many contenders to distinguish.
        """
        if len(self.curves) > len(SERIES):
            raise ValueError(
                f"{len(self.curves)} contenders cannot be distinguished on one diagram. Pass at "
                f"most {len(SERIES)}."
            )
        ax = axes_for(ax, width=5.6, height=5.2)
        ax.plot([0, 1], [0, 1], color=QUIET, linewidth=1, label="perfect", zorder=0)
        for style, (name, curve) in zip(SERIES, self.curves.items(), strict=False):
            label = f"{name} (mean gap {curve.mean_gap:.3f})"
            ax.plot(curve.predicted, curve.observed, markersize=5, label=label, **style)
            if intervals and len(self.curves) <= 3:
                ax.vlines(
                    curve.predicted, curve.low, curve.high, color=style["color"], linewidth=1,
                    alpha=0.5,
                )  # fmt: skip
        if len(self.classes) == 2:
            positive = shorten(str(self.classes[1]))
            ax.set_xlabel(f"predicted probability of class {positive}")
            ax.set_ylabel(f"observed share of class {positive}")
        else:
            ax.set(xlabel="largest predicted probability", ylabel="share of correct predictions")
        # rare classes live in a corner of the diagram
        reached = max(max(c.predicted.max(), c.high.max()) for c in self.curves.values())
        top = 1.0 if reached > 0.6 else 1.1 * reached
        ax.set(xlim=(-0.02 * top, 1.02 * top), ylim=(-0.02 * top, 1.02 * top))
        ax.set_aspect("equal")
        ax.legend(
            loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=1, frameon=False, fontsize=8.5
        )
        return self._drawn_on(ax)


def _curve(
    said: np.ndarray, came: np.ndarray, weight: np.ndarray, n_runs: int, level: float
) -> ReliabilityCurve:
    """Return the curve of predictions `said` that `came` true or not."""
    order = np.argsort(said, kind="stable")
    total = np.cumsum(weight[order])
    run = np.minimum((total - weight[order] / 2) / total[-1] * n_runs, n_runs - 1).astype(int)
    # equal predictions are kept in one bin, that of the first of them
    _, first, inverse = np.unique(said[order], return_index=True, return_inverse=True)
    run = np.unique(run[first][inverse], return_inverse=True)[1]
    mass = np.bincount(run, weight[order])
    predicted = np.bincount(run, weight[order] * said[order]) / mass
    share = np.bincount(run, weight[order] * came[order]) / mass
    z = float(ndtri((1 + level) / 2))
    centre = (share + z**2 / (2 * mass)) / (1 + z**2 / mass)
    half = z * np.sqrt(share * (1 - share) / mass + z**2 / (4 * mass**2)) / (1 + z**2 / mass)
    return ReliabilityCurve(predicted, share, centre - half, centre + half, mass)
