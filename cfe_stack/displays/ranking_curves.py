"""Precision-recall and ROC curves of contenders on the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.displays.canvas import QUIET, SERIES, Display, axes_for, shorten
from cfe_stack.displays.contenders import AVERAGE, ENSEMBLE, checked_contenders, with_learners

KINDS = ("precision_recall", "roc")


@dataclass(frozen=True, eq=False)
class RankingCurve:
    """Both curves of one contender.

    Parameters
    ----------
    precision, recall : ndarray of shape (n_thresholds + 1,)
    false_positive_rate, true_positive_rate : ndarray of shape (n_points,)
    average_precision, roc_auc : float
    """

    precision: np.ndarray
    recall: np.ndarray
    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray
    average_precision: float
    roc_auc: float


class RankingCurvesDisplay(Display):
    """How well contenders rank one class above the others.

    Parameters
    ----------
    curves : dict of str to RankingCurve
        The first are drawn in front, as far as styles go; the others stay gray.
    prevalence : float
        Share of the positive class, the precision of a random ranking.
    positive : object, default=1
        The class that is ranked.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Notes
    -----
    Precision-recall curves are steps, and their area is the average precision: between two
    thresholds nothing can be interpolated. With few positives prefer them to ROC curves, which
    hardly see how many negatives stand above the positives.

    References
    ----------
    .. [1] J. Davis, M. Goadrich, "The Relationship Between Precision-Recall and ROC Curves",
       ICML 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.displays import RankingCurvesDisplay
    >>> y, p = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
    >>> display = RankingCurvesDisplay.from_predictions(y, {"learner": p})
    >>> round(display.curves["learner"].average_precision, 3), display.prevalence
    (0.833, 0.5)
    """

    def __init__(
        self, curves: Mapping[str, RankingCurve], prevalence: float, *, positive: Any = 1
    ) -> None:
        self.curves = curves
        self.prevalence = prevalence
        self.positive = positive

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike | EnsembleData,
        y: ArrayLike | None = None,
        *,
        positive: Any = None,
        n_learners: int = 3,
        names: Sequence[str] | None = None,
    ) -> Self:
        """Compare the ensemble with the plain mean and with its base learners.

        Parameters
        ----------
        estimator : fitted estimator
            A `CFEnsembleClassifier`, alone or at the end of a stack, or a trainer.
        X : array-like of shape (n_samples, n_features) or EnsembleData
            Rows that nobody was trained on.
        y : array-like of shape (n_samples,), default=None
            Their classes; the labels of an `EnsembleData` if not given.
        positive : object, default=None
            The class that is ranked; the second of two classes if not given.
        n_learners : int, default=3
            So many base learners are named, those of the best average precision on these rows;
            chosen in hindsight, they look better than they are. The others are drawn in gray.
        names : sequence of str, default=None
            Names of the base learners.

        Returns
        -------
        RankingCurvesDisplay
        """
        reading, rows, contenders = with_learners(estimator, X, y, names)
        data = reading.data
        ranked = cls.from_predictions(
            np.asarray(data.classes)[data.labels[rows]],
            contenders,
            positive=positive,
            classes=data.classes,
            sample_weight=data.frequencies[rows],
        )
        first = [ENSEMBLE, AVERAGE]
        learners = [name for name in ranked.curves if name not in first]
        learners.sort(key=lambda name: -ranked.curves[name].average_precision)
        named = {name: ranked.curves[name] for name in first + learners[:n_learners]}
        ranked.curves = named | {f"_{name}": ranked.curves[name] for name in learners[n_learners:]}
        return ranked

    @classmethod
    def from_predictions(
        cls,
        y: ArrayLike,
        contenders: Mapping[str, ArrayLike],
        *,
        positive: Any = None,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Compute the curves of named predictions.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
        contenders : dict of str to array-like
            P(class 1), of shape (n_samples,), or all classes, of shape (n_samples, n_classes). A
            name that starts with an underscore is drawn in gray and not named.
        positive : object, default=None
            The class that is ranked above the others; the second of two classes if not given.
        classes : array-like of shape (n_classes,), default=None
            Classes in the order of the columns; the sorted values of `y` if not given.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        RankingCurvesDisplay

        Raises
        ------
        ValueError
            If shapes disagree, `positive` is not a class or is missing for more than two classes,
            or only one of positives and others is present.
        """
        known = (np.unique(np.asarray(y)) if classes is None else np.asarray(classes)).tolist()
        codes, checked, weight = checked_contenders(y, contenders, classes, sample_weight)
        if positive is None and len(known) == 2:
            positive = known[1]
        if positive not in known:
            raise ValueError(
                f"positive must be one of the {len(known)} classes {known}, got {positive!r}: "
                "a ranking is one class against the others."
            )
        code = known.index(positive)
        truth = codes == code
        if truth.all() or not truth.any():
            raise ValueError(
                f"A ranking needs rows of class {positive!r} and of another; all "
                f"{len(truth)} rows are {'that class' if truth.all() else 'others'}."
            )
        curves = {name: _curve(truth, P[:, code], weight) for name, P in checked.items()}
        return cls(curves, float(np.average(truth, weights=weight)), positive=positive)

    def plot(self, ax: Any = None, *, kind: str = "precision_recall") -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        kind : {"precision_recall", "roc"}, default="precision_recall"

        Returns
        -------
        RankingCurvesDisplay
            This object, with `ax_` and `figure_`.
        """
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {KINDS}, got {kind!r}.")
        ax = axes_for(ax, width=5.6, height=5.4)
        named = [name for name in self.curves if not name.startswith("_")]
        styled = dict(zip(named, SERIES, strict=False))
        gray = [name for name in self.curves if name not in styled]
        for k, name in enumerate(gray):
            others = "1 other" if len(gray) == 1 else f"{len(gray)} others"
            self._draw(ax, kind, name, color="0.75", linewidth=0.8, label=None if k else others)
        for z, name in enumerate(reversed(styled)):
            curve, style = self.curves[name], styled[name]
            area = curve.average_precision if kind == KINDS[0] else curve.roc_auc
            label = f"{shorten(name)} ({'AP' if kind == KINDS[0] else 'AUC'} {area:.3f})"
            line = {"color": style["color"], "linestyle": style["linestyle"]}
            self._draw(ax, kind, name, label=label, linewidth=1.6, zorder=3 + z, **line)
        chance = {"color": QUIET, "linestyle": (0, (2, 4)), "linewidth": 1}
        if kind == KINDS[0]:
            ax.axhline(self.prevalence, label=f"chance ({self.prevalence:.3f})", **chance)
            ax.set(xlabel=f"recall of class {self.positive}", ylabel="precision")
        else:
            ax.plot([0, 1], [0, 1], label="chance (0.500)", **chance)
            ax.set(xlabel="false positive rate", ylabel=f"recall of class {self.positive}")
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        handles, labels = ax.get_legend_handles_labels()
        order = sorted(range(len(labels)), key=lambda k: -handles[k].get_zorder())
        ax.legend(
            [handles[k] for k in order], [labels[k] for k in order], loc="lower center",
            bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=8, handlelength=3,
        )  # fmt: skip
        return self._drawn_on(ax)

    def _draw(self, ax: Any, kind: str, name: str, **style: Any) -> None:
        curve = self.curves[name]
        if kind == KINDS[0]:
            ax.plot(curve.recall, curve.precision, drawstyle="steps-post", **style)
        else:
            ax.plot(curve.false_positive_rate, curve.true_positive_rate, **style)


def _curve(truth: np.ndarray, score: np.ndarray, weight: np.ndarray) -> RankingCurve:
    precision, recall, _ = precision_recall_curve(truth, score, sample_weight=weight)
    false, true, _ = roc_curve(truth, score, sample_weight=weight)
    return RankingCurve(
        precision, recall, false, true,
        float(average_precision_score(truth, score, sample_weight=weight)),
        float(roc_auc_score(truth, score, sample_weight=weight)),
    )  # fmt: skip
