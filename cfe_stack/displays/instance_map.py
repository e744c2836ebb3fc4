"""Instances as points: those that the classifiers see alike stand together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from cfe_stack.data.blocks import observed
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.displays.canvas import SERIES, SHADES, Display, axes_for
from cfe_stack.displays.factor_axes import instance_plane
from cfe_stack.displays.reading import Reading, read
from cfe_stack.factor_model.confidence import agreement, true_class_probability
from cfe_stack.trainers.als import CFEnsembleTrainer

SHADED_BY = {
    "label": "",
    "difficulty": "difficulty: 1 − mean P(true class)",
    "disagreement": "disagreement: spread of the predictions, 0 to 1",
}


class InstanceMapDisplay(Display):
    """Label-free instance factors in the plane, by label, difficulty or disagreement.

    Parameters
    ----------
    positions : ndarray of shape (n_instances, 2)
    disagreement : ndarray of shape (n_instances,)
        Standard deviation of the predictions over the classifiers, as a share of the largest
        possible one.
    labels : ndarray of shape (n_instances,), default=None
        Class codes, −1 for unknown.
    difficulty : ndarray of shape (n_instances,), default=None
        1 − mean probability that the classifiers give to the true class; NaN without a label.
    class_names : sequence, default=(0, 1)
    axis_shares : tuple of two floats
        Share of the reconstruction's variance on each axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Notes
    -----
    The factors are folded in without labels, as in prediction: where classes mix on this map, no
    weighting of these classifiers along the factors separates them. Units are standard deviations
    of the factor model; few or contradictory predictions are shrunk toward 0.

    Examples
    --------
    >>> from cfe_stack import EnsembleData
    >>> from cfe_stack.datasets import make_ensemble
    >>> from cfe_stack.displays import InstanceMapDisplay
    >>> made = make_ensemble(5, 200, random_state=0)
    >>> display = InstanceMapDisplay.from_data(EnsembleData(made.R, made.labels))
    >>> display.positions.shape
    (200, 2)
    """

    def __init__(
        self,
        positions: np.ndarray,
        disagreement: np.ndarray,
        labels: np.ndarray | None = None,
        difficulty: np.ndarray | None = None,
        *,
        class_names: Sequence[Any] = (0, 1),
        axis_shares: Sequence[float] = (np.nan, np.nan),
    ) -> None:
        self.positions = positions
        self.disagreement = disagreement
        self.labels = labels
        self.difficulty = difficulty
        self.class_names = class_names
        self.axis_shares = axis_shares

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: ArrayLike | EnsembleData, y: ArrayLike | None = None
    ) -> Self:
        """Fold the rows in.

        Parameters
        ----------
        estimator : fitted estimator
            A `CFEnsembleClassifier`, alone or at the end of a stack, or a trainer.
        X : array-like of shape (n_samples, n_features) or EnsembleData
        y : array-like of shape (n_samples,), default=None
            Classes, with NaN or None for unknown.

        Returns
        -------
        InstanceMapDisplay
        """
        return cls._of(read(estimator, X, y))

    @classmethod
    def from_data(cls, data: EnsembleData, *, latent_dim: int = 3) -> Self:
        """Factorize an ensemble matrix without its labels, and show its instances.

        Parameters
        ----------
        data : EnsembleData
        latent_dim : int, default=3

        Returns
        -------
        InstanceMapDisplay
        """
        trainer = CFEnsembleTrainer(
            latent_dim=latent_dim,
            rho=1.0,
            lambda_reg=1.0,
            max_iter=200,
            link="logit",
            standardize=True,
            init="spectral",
            confidence="uniform",
            use_label_aware_confidence=False,
            aggregator_type="mean",
            use_class_weights=False,
            class_weight=None,
            random_state=0,
        )
        return cls._of(read(trainer.fit(data), data))

    @classmethod
    def _of(cls, reading: Reading) -> Self:
        data = reading.data
        positions, shares = instance_plane(reading.model, reading.model.fold_in(data))
        known, difficulty = data.labels >= 0, None
        if known.any():
            truth = true_class_probability(data.R, np.maximum(data.labels, 0))
            present = observed(data.R)
            count = np.where(known, present.sum(axis=0), 0)
            total = np.where(present, truth, 0.0).sum(axis=0)
            difficulty = np.full(data.n_instances, np.nan)
            difficulty[count > 0] = 1 - total[count > 0] / count[count > 0]
        spread = np.where(observed(data.R).any(axis=0), 1 - agreement(data.R), np.nan)
        return cls(
            positions,
            spread,
            data.labels if known.any() else None,
            difficulty,
            class_names=np.asarray(data.classes).tolist(),
            axis_shares=(float(shares[0]), float(shares[1])),
        )

    def plot(
        self,
        ax: Any = None,
        *,
        by: str = "label",
        max_points: int = 5000,
        cmap: str = SHADES,
        random_state: int = 0,
    ) -> Self:
        """Draw the map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        by : {"label", "difficulty", "disagreement"}, default="label"
            Variable that shades the points.
        max_points : int, default=5000
            Of more instances, so many are drawn at random.
        cmap : str, default="cividis"
            Colour map of difficulty and disagreement.
        random_state : int, default=0
            Which are drawn, and in which order.

        Returns
        -------
        InstanceMapDisplay
            This object, with `ax_` and `figure_`.

        Raises
        ------
        ValueError
            If `by` is unknown, or needs labels that are not there.
        """
        if by not in SHADED_BY:
            raise ValueError(f"by must be one of {list(SHADED_BY)}, got {by!r}.")
        if by != "disagreement" and self.labels is None:
            raise ValueError(f"by={by!r} needs labels: pass y, or by='disagreement'.")
        ax = axes_for(ax, width=6.8, height=4.8)
        order = np.random.default_rng(random_state).permutation(len(self.positions))
        shown = order[:max_points]
        if by == "label":
            self._draw_labels(ax, shown)
        else:
            values = self.disagreement if by == "disagreement" else self.difficulty
            self._draw_values(ax, shown, np.asarray(values), SHADED_BY[by], cmap)
        for share, axis, word in zip(self.axis_shares, (ax.xaxis, ax.yaxis), "12", strict=True):
            part = "" if np.isnan(share) else f", {share:.0%} of the variance"
            axis.set_label_text(f"instance factor {word} (standard deviations{part})")
        if len(shown) < len(order):
            ax.set_title(f"{len(shown)} of {len(order)} instances", fontsize=9, loc="left")
        return self._drawn_on(ax)

    def _draw_labels(self, ax: Any, shown: np.ndarray) -> None:
        labels = np.asarray(self.labels)[shown]
        counts = np.bincount(labels[labels >= 0], minlength=len(self.class_names))
        unknown = shown[labels < 0]
        size = 26 if len(shown) < 1500 else 14
        if len(unknown):
            points = self.positions[unknown]
            ax.plot(*points.T, ".", color="0.8", markersize=4, label="unknown")
        # rare classes are drawn last, on top
        for code in np.argsort(-counts, kind="stable"):
            if not counts[code]:
                continue
            style = SERIES[code % len(SERIES)]
            x, y = self.positions[shown[labels == code]].T
            filled = code % 2 == 1
            ax.scatter(
                x, y, s=size, marker=style["marker"], linewidths=0.8,
                facecolors=style["color"] if filled else "none",
                edgecolors="white" if filled else style["color"],
                label=f"{self.class_names[code]}",
            )  # fmt: skip
        handles, names = ax.get_legend_handles_labels()
        place = sorted(range(len(names)), key=lambda k: _position(names[k], self.class_names))
        ax.legend(
            [handles[k] for k in place], [names[k] for k in place], title="class",
            loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False,
        )  # fmt: skip

    def _draw_values(
        self, ax: Any, shown: np.ndarray, values: np.ndarray, name: str, cmap: str
    ) -> None:
        shown = shown[~np.isnan(values[shown])]
        # the large values are the interesting ones, and few: on top
        shown = shown[np.argsort(values[shown], kind="stable")]
        x, y = self.positions[shown].T
        points = ax.scatter(
            x, y, c=values[shown], cmap=cmap, s=18, edgecolors="black", linewidths=0.2
        )
        ax.figure.colorbar(points, ax=ax, label=name)


def _position(name: str, class_names: Sequence[Any]) -> int:
    names = [str(each) for each in class_names]
    return names.index(name) if name in names else len(names)
