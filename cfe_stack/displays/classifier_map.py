"""Classifiers as points: those that predict alike stand together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse.csgraph import connected_components

from cfe_stack.data.blocks import observed
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.displays.canvas import SHADES, Display, axes_for, shorten_all
from cfe_stack.displays.factor_axes import classifier_distances, classifier_plane, unit
from cfe_stack.displays.labels import equal_units, place_labels
from cfe_stack.displays.reading import Reading, names_of, read
from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.losses.link import make_link
from cfe_stack.losses.raw_scores import margins


class ClassifierMapDisplay(Display):
    """Classifier factors in the plane, shaded by score, with near-duplicates joined.

    Parameters
    ----------
    positions : ndarray of shape (n_classifiers, 2)
    scores : ndarray of shape (n_classifiers,)
        NaN where a classifier has no score.
    names : sequence of str
    duplicates : list of list of int
        Groups of classifiers whose predictions hardly differ.
    axis_shares : tuple of two floats
        Share of the classifiers' spread on each axis.
    score_name : str, default="log-loss (nats)"
    unit : str, default="log-odds, standardized"
        Unit of distances.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    named_ : list of int
        Classifiers whose name found a place.

    Notes
    -----
    The distance of two classifiers is about the root mean squared difference of what the factors
    say they predict. Near-duplicates are found in the predictions themselves: their standardized
    log-odds differ by less than a threshold; 0.1 is a correlation of 0.995.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack import CFEnsembleClassifier
    >>> from cfe_stack.datasets import make_ensemble
    >>> from cfe_stack.displays import ClassifierMapDisplay
    >>> made = make_ensemble(5, 200, random_state=0)
    >>> P = np.column_stack([made.R.T, made.R[0]])
    >>> classifier = CFEnsembleClassifier().fit(P, made.labels)
    >>> ClassifierMapDisplay.from_estimator(classifier, P, made.labels).duplicates
    [[0, 5]]
    """

    def __init__(
        self,
        positions: np.ndarray,
        scores: np.ndarray,
        names: Sequence[str],
        duplicates: Sequence[Sequence[int]] = (),
        *,
        axis_shares: Sequence[float] = (np.nan, np.nan),
        score_name: str = "log-loss (nats)",
        unit: str = "log-odds, standardized",
    ) -> None:
        self.positions = positions
        self.scores = scores
        self.names = names
        self.duplicates = duplicates
        self.axis_shares = axis_shares
        self.score_name = score_name
        self.unit = unit

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike | EnsembleData,
        y: ArrayLike | None = None,
        *,
        score: str | Callable[[np.ndarray, np.ndarray], float] = "log_loss",
        duplicate_distance: float = 0.1,
        names: Sequence[str] | None = None,
    ) -> Self:
        """Place the base learners of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            A `CFEnsembleClassifier`, alone or at the end of a stack, or a trainer.
        X : array-like of shape (n_samples, n_features) or EnsembleData
            Rows that scores and near-duplicates are measured on; out-of-fold columns, or rows that
            no base learner was trained on.
        y : array-like of shape (n_samples,), default=None
            Classes; needed unless ``score="weight"``.
        score : {"log_loss", "weight"} or callable, default="log_loss"
            What points are shaded by. A callable takes class codes (n,) and probabilities of
            class 1 (n,) or of every class (n, K).
        duplicate_distance : float, default=0.1
            Root mean squared difference below which two classifiers are near-duplicates.
        names : sequence of str, default=None

        Returns
        -------
        ClassifierMapDisplay

        Raises
        ------
        ValueError
            If labels are needed and missing, or `score` is unknown.
        """
        reading = read(estimator, X, y, names)
        scores, score_name = _scores(reading, score)
        positions, shares = classifier_plane(reading.model)
        distances = classifier_distances(reading.model, reading.data)
        return cls(
            positions,
            scores,
            names_of(reading.data),
            _groups(distances < duplicate_distance),
            axis_shares=(float(shares[0]), float(shares[1])),
            score_name=score_name,
            unit=unit(reading.model),
        )

    def plot(self, ax: Any = None, *, cmap: str = SHADES) -> Self:
        """Draw the map.

        Names are written where there is room, first those of near-duplicates and of the best and
        worst scores; `named_` says whose.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        cmap : str, default="cividis"
            Colour map of the scores.

        Returns
        -------
        ClassifierMapDisplay
            This object, with `ax_` and `figure_`.
        """
        crowded = len(self.names) > 40
        ax = axes_for(ax, width=9.0 if crowded else 7.2, height=6.6 if crowded else 5.2)
        x, y = self.positions.T
        scored = ~np.isnan(self.scores)
        for group in self.duplicates:
            members = np.asarray(group)
            ax.plot(x[members], y[members], color="black", linewidth=1.2, zorder=1)
            ax.scatter(
                x[members], y[members], s=85, facecolors="none", edgecolors="black", zorder=1
            )
        ax.scatter(x[~scored], y[~scored], marker="x", color="black")
        if scored.any():
            shaded = self.scores[scored]
            # one useless classifier must not take all the shades for itself
            low, high = np.quantile(shaded, [0.05, 0.95])
            points = ax.scatter(
                x[scored], y[scored], c=shaded, cmap=cmap, vmin=low, vmax=high, s=34,
                edgecolors="black", linewidths=0.6, zorder=2,
            )  # fmt: skip
            ax.figure.colorbar(points, ax=ax, label=self.score_name, extend="both")
        # in two lines where a low picture would cut it off
        axes = ((ax.xaxis, "direction 1 "), (ax.yaxis, "direction 2\n"))
        for share, (axis, words) in zip(self.axis_shares, axes, strict=True):
            part = "" if np.isnan(share) else f", {share:.0%} of the spread"
            axis.set_label_text(f"{words}({self.unit}{part})")
        order, texts = self._texts()
        # a title of one line, so that what it says later does not move the points
        title = ax.set_title(" ", fontsize=9, loc="left")
        equal_units(ax, self.positions)
        placed = place_labels(ax, self.positions[order], texts)
        self.named_ = sorted({int(order[k]) for k in placed})
        nameless = sum(1 for text in texts if text) - len(placed)
        said = ["joined rings: near-duplicates"] if self.duplicates else []
        said += [f"{nameless} without a name for lack of room"] if nameless else []
        title.set_text("; ".join(said))
        return self._drawn_on(ax)

    def _texts(self) -> tuple[np.ndarray, list[str]]:
        """Return the classifiers, the most important to name first, and what to write."""
        rank = np.full(len(self.names), len(self.names))
        ordered = np.argsort(self.scores, kind="stable")
        # from both ends of the scores to the middle
        rank[ordered] = np.minimum(np.arange(len(ordered)), np.arange(len(ordered))[::-1])
        texts = shorten_all(self.names)
        for group in self.duplicates:
            rank[list(group)] = -1
            first = texts[group[0]]
            more = texts[group[1]] if len(group) == 2 else f"{len(group) - 1} more"
            for u in group:
                texts[u] = ""
            texts[group[0]] = f"{first} ≈ {more}"
        order = np.argsort(rank, kind="stable")
        return order, [texts[u] for u in order]


def _scores(reading: Reading, score: Any) -> tuple[np.ndarray, str]:
    """Return one score per classifier, NaN where there is none, and what it is called."""
    data = reading.data
    if score == "weight":
        return np.asarray(reading.estimator.weights_), "aggregator weight"
    if score != "log_loss" and not callable(score):
        raise ValueError(f"score must be 'log_loss', 'weight' or a callable, got {score!r}.")
    if not (data.labels >= 0).any():
        raise ValueError("Scores need labels: pass y, or score='weight'.")
    present = observed(data.R) & (data.labels >= 0)
    scores = np.full(data.n_classifiers, np.nan)
    link = make_link("logit", data.n_classes)
    for u in np.flatnonzero(present.any(axis=1)):
        rows = present[u]
        R, labels, weights = data.R[u, rows], data.labels[rows], data.frequencies[rows]
        if callable(score):
            scores[u] = score(labels, R)
        else:
            losses = FocalLoss().value(margins(link.forward(R), labels))
            scores[u] = np.average(losses, weights=weights)
    return scores, getattr(score, "__name__", "log-loss (nats)").replace("_", " ")


def _groups(near: np.ndarray) -> list[list[int]]:
    """Return the groups of two or more that are joined by `near` (m, m)."""
    component = connected_components(near, directed=False)[1]
    groups = [np.flatnonzero(component == k).tolist() for k in range(component.max() + 1)]
    return [group for group in groups if len(group) > 1]
