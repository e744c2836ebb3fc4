"""Whom the loss listens to: shares of the gradient by difficulty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.displays.canvas import Display, axes_for
from cfe_stack.displays.contenders import checked_contenders
from cfe_stack.displays.reading import labeled_rows, read
from cfe_stack.losses.class_weight import ClassWeight, instance_weights
from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.losses.link import CenteredLogRatioLink, LogitLink
from cfe_stack.losses.raw_scores import margins

EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
GRAYS = ("#1a1a1a", "#5e5e5e", "#969696", "#cccccc", "#f4f4f4")
MIN_PROBABILITY = 1e-12
MIN_NAMED_SHARE = 0.055
"""Shares below this are too narrow for a number."""


class GradientShareDisplay(Display):
    r"""Shares of the gradient that instances of every difficulty have, under four losses.

    Parameters
    ----------
    shares : dict of str to ndarray of shape (n_bins,)
        By what is weighed; every array sums to 1.
    edges : ndarray of shape (n_bins + 1,)
        Bounds of the probability of the true class.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Notes
    -----
    Difficulty is the probability :math:`p_t` of the true class: low is hard. The share of a bin is
    :math:`\sum_{i \in bin} \omega_i |\ell'(\mu_i)|` over the same sum of all instances, μ the
    margin, ω class weight × sample weight. The focal loss moves weight toward hard instances,
    class weights toward the rare class, wherever its instances are.

    References
    ----------
    .. [1] T.-Y. Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.displays import GradientShareDisplay
    >>> y, p = np.array([0, 0, 0, 1]), np.array([0.05, 0.1, 0.3, 0.3])
    >>> display = GradientShareDisplay.from_predictions(y, p, focal_gamma=2.0)
    >>> list(display.shares)
    ['instances', 'cross-entropy', 'focal γ = 2', 'class weights', 'both']
    >>> display.shares["cross-entropy"].round(2)
    array([0.  , 0.61, 0.  , 0.26, 0.13])
    """

    def __init__(self, shares: Mapping[str, np.ndarray], edges: np.ndarray) -> None:
        self.shares = shares
        self.edges = edges

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike | EnsembleData,
        y: ArrayLike | None = None,
        *,
        focal_gamma: float | None = None,
        focal_delta: float | None = None,
        class_weight: ClassWeight = None,
    ) -> Self:
        """Compute the shares at the probabilities of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            A `CFEnsembleClassifier`, alone or at the end of a stack, or a trainer.
        X : array-like of shape (n_samples, n_features) or EnsembleData
        y : array-like of shape (n_samples,), default=None
            Classes; the labels of an `EnsembleData` if not given.
        focal_gamma, focal_delta : float, default=None
            Of the focal loss; the estimator's if it uses one, otherwise γ = 2.
        class_weight : dict or "balanced", default=None
            The estimator's if it uses any, otherwise ``"balanced"``.

        Returns
        -------
        GradientShareDisplay
        """
        reading = read(estimator, X, y)
        data, rows = reading.data, labeled_rows(reading.data)
        own = reading.estimator
        if focal_gamma is None:
            used = own.focal_gamma
            focal_gamma = used if isinstance(used, (int, float)) and used > 0 else 2.0
            focal_delta = own.focal_delta if focal_delta is None else focal_delta
        if class_weight is None:
            class_weight = "balanced" if own.class_weight is None else own.class_weight
        return cls.from_predictions(
            np.asarray(data.classes)[data.labels[rows]],
            reading.predict_proba()[rows],
            classes=data.classes,
            sample_weight=data.frequencies[rows],
            focal_gamma=focal_gamma,
            focal_delta=focal_delta,
            class_weight=class_weight,
        )

    @classmethod
    def from_predictions(
        cls,
        y: ArrayLike,
        proba: ArrayLike,
        *,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        focal_gamma: float = 2.0,
        focal_delta: float | None = None,
        class_weight: ClassWeight = "balanced",
    ) -> Self:
        """Compute the shares at given probabilities.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
        proba : array-like of shape (n_samples,) or (n_samples, n_classes)
            P(class 1), or all classes.
        classes : array-like of shape (n_classes,), default=None
            Classes in the order of the columns; the sorted values of `y` if not given.
        sample_weight : array-like of shape (n_samples,), default=None
        focal_gamma : float, default=2.0
        focal_delta : float, default=None
        class_weight : dict, "balanced" or None, default="balanced"

        Returns
        -------
        GradientShareDisplay

        Raises
        ------
        ValueError
            If shapes disagree, a prediction is not a probability, or a setting is out of range.
        """
        focal, plain = FocalLoss(focal_gamma, focal_delta), FocalLoss()
        known = np.unique(np.asarray(y)) if classes is None else np.asarray(classes)
        codes, checked, weight = checked_contenders(y, {"given": proba}, classes, sample_weight)
        P = checked["given"]
        n_classes = P.shape[1]
        if n_classes == 2:
            scores = LogitLink(MIN_PROBABILITY).forward(P[:, 1])
        else:
            scores = CenteredLogRatioLink(MIN_PROBABILITY).forward(P)
        margin = margins(scores, codes)
        balanced = instance_weights(
            codes, n_classes, class_weight=class_weight, sample_weight=weight, classes=known
        )
        edges = np.array(EDGES)
        inner = np.clip(np.searchsorted(edges, expit(margin), side="right") - 1, 0, len(edges) - 2)

        def share(mass: np.ndarray) -> np.ndarray:
            return np.bincount(inner, mass, minlength=len(edges) - 1) / mass.sum()

        pull, focal_pull = np.abs(plain.derivative(margin)), np.abs(focal.derivative(margin))
        return cls(
            {
                "instances": share(weight),
                "cross-entropy": share(weight * pull),
                f"focal γ = {focal_gamma:g}": share(weight * focal_pull),
                "class weights": share(balanced * pull),
                "both": share(balanced * focal_pull),
            },
            edges,
        )

    def plot(self, ax: Any = None) -> Self:
        """Draw one bar per loss, hard instances first.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        GradientShareDisplay
            This object, with `ax_` and `figure_`.
        """
        ax = axes_for(ax, width=7.0, height=1.5 + 0.42 * len(self.shares))
        place = np.arange(len(self.shares))
        values = np.stack(list(self.shares.values()))
        starts = np.cumsum(values, axis=1) - values
        for k in range(values.shape[1]):
            ax.barh(
                place, 100 * values[:, k], left=100 * starts[:, k], height=0.72,
                color=GRAYS[k % len(GRAYS)], edgecolor="black", linewidth=0.6,
                label=f"{self.edges[k]:g} to {self.edges[k + 1]:g}",
            )  # fmt: skip
            for row in np.flatnonzero(values[:, k] >= MIN_NAMED_SHARE):
                ax.text(
                    100 * (starts[row, k] + values[row, k] / 2), row, f"{values[row, k]:.0%}",
                    ha="center", va="center", fontsize=8, color="white" if k < 2 else "black",
                )  # fmt: skip
        ax.set_yticks(place, list(self.shares))
        ax.set_ylim(len(place) - 0.5, -0.5)
        ax.set(xlim=(0, 100), xlabel="share of the instances or of the gradient (%)")
        ax.legend(
            title="probability of the true class (hard to easy)", loc="lower center",
            bbox_to_anchor=(0.5, 1.0), ncols=values.shape[1], frameon=False, fontsize=8,
            title_fontsize=8.5, columnspacing=1.0, handlelength=1.5,
        )  # fmt: skip
        return self._drawn_on(ax)
