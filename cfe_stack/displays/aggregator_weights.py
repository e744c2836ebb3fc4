"""The weights of the base learners, and how far other rows would have moved them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from cfe_stack.classifier.ensemble_classifier import CFEnsembleClassifier
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.displays.canvas import QUIET, Display
from cfe_stack.displays.reading import final_estimator_of, names_of, read
from cfe_stack.displays.rows import Rows
from cfe_stack.meta_features.stacked_columns import stacked_columns
from cfe_stack.runtime.progress import progress_bar


class AggregatorWeightsDisplay(Display):
    r"""Weight of every base learner, with bootstrap intervals.

    Parameters
    ----------
    weights : ndarray of shape (n_classifiers,)
    names : sequence of str
    samples : ndarray of shape (n_bootstrap, n_classifiers), default=None
        Weights fitted to resampled rows.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Notes
    -----
    The bootstrap draws rows with replacement within every class, and refits the whole estimator.
    How often a row was drawn is its sample weight, so that no row stands on both sides of an inner
    fold. Learners that say much the same share one weight in many ways: their intervals are wide
    although their sum is certain. A resample holds fewer different rows, so strengths chosen in
    inner folds are often higher there and weights smaller: an interval need not hold the weight.

    References
    ----------
    .. [1] B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3
       (percentile intervals).

    Examples
    --------
    >>> from cfe_stack import CFEnsembleClassifier
    >>> from cfe_stack.datasets import make_ensemble
    >>> from cfe_stack.displays import AggregatorWeightsDisplay
    >>> made = make_ensemble(4, 150, random_state=0)
    >>> classifier = CFEnsembleClassifier(aggregator="log_pool").fit(made.R.T, made.labels)
    >>> display = AggregatorWeightsDisplay.from_estimator(
    ...     classifier, made.R.T, made.labels, n_bootstrap=5, random_state=0)
    >>> display.samples.shape
    (5, 4)
    """

    def __init__(
        self, weights: np.ndarray, names: Sequence[str], samples: np.ndarray | None = None
    ) -> None:
        self.weights = weights
        self.names = names
        self.samples = samples

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike | EnsembleData | None = None,
        y: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        n_bootstrap: int = 50,
        names: Sequence[str] | None = None,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        progress: bool = True,
    ) -> Self:
        """Read the weights, and refit on resampled rows for their uncertainty.

        Parameters
        ----------
        estimator : fitted estimator
            A `CFEnsembleClassifier`, alone or at the end of a stack, or a trainer. Without `X`
            the weights are drawn without intervals.
        X : array-like of shape (n_samples, n_features) or EnsembleData, default=None
            The out-of-fold columns that the classifier was fitted on. A stack does not keep them.
        y : array-like of shape (n_samples,), default=None
            Their classes.
        sample_weight : array-like of shape (n_samples,), default=None
            Frequencies, as in `fit`.
        n_bootstrap : int, default=50
            Number of refits; each takes as long as `fit`.
        names : sequence of str, default=None
            Names of the base learners.
        random_state : int, RandomState or None, default=None
        n_jobs : int, default=None
            Refits side by side.
        progress : bool, default=True
            Show a progress bar on stderr, if that is a terminal.

        Returns
        -------
        AggregatorWeightsDisplay

        Raises
        ------
        TypeError
            If `X` is given for anything else than a classifier.
        ValueError
            If `y` is missing, or `n_bootstrap` is no positive integer.
        """
        if X is None:
            return cls._without_intervals(estimator, names)
        if not isinstance(estimator, CFEnsembleClassifier):
            raise TypeError(
                "Intervals need the out-of-fold columns that the final estimator was fitted on, "
                f"which a {type(estimator).__name__} does not keep: pass its CFEnsembleClassifier "
                "and those columns, or leave X out to draw the weights alone."
            )
        if isinstance(n_bootstrap, bool) or not isinstance(n_bootstrap, int) or n_bootstrap < 1:
            raise ValueError(f"n_bootstrap must be an integer >= 1, got {n_bootstrap!r}.")
        data = read(estimator, X, y, names).data
        if not (data.labels >= 0).any():
            raise ValueError("The bootstrap refits the estimator and needs y.")
        columns, template = X, clone(estimator)
        if isinstance(X, EnsembleData):
            columns, layout = stacked_columns(data)
            template.set_params(layout=layout, passthrough=None)
        target = _targets(data) if y is None else y
        frequency = data.frequencies if sample_weight is None else np.asarray(sample_weight, float)
        random = check_random_state(random_state)
        draws = [_redraw(data.labels, frequency, random) for _ in range(n_bootstrap)]
        refits = Parallel(n_jobs=n_jobs, return_as="generator")(
            delayed(_refit)(template, columns, target, draw) for draw in draws
        )
        shown = progress_bar(refits, n_bootstrap, "bootstrap", progress)
        return cls(estimator.weights_, names_of(data), np.stack(list(shown)))

    @classmethod
    def _without_intervals(cls, estimator: Any, names: Sequence[str] | None) -> Self:
        if hasattr(estimator, "weights_"):
            found, fitted = None, estimator
        else:
            fitted, _, found = final_estimator_of(estimator, None)
        check_is_fitted(fitted)
        weights = fitted.weights_
        if names is None:
            names = found if found is not None else [f"classifier_{u}" for u in range(len(weights))]
        return cls(weights, list(names))

    def plot(self, ax: Any = None, *, level: float = 0.9, max_rows: int = 40) -> Self:
        """Draw one row per base learner, the largest weight on top.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure as high as the rows need.
        level : float, default=0.9
            Share of the refits inside an interval.
        max_rows : int, default=40
            The base learners of largest absolute weight; the others share the last row.

        Returns
        -------
        AggregatorWeightsDisplay
            This object, with `ax_` and `figure_`.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, got {level!r}.")
        size = np.abs(self.weights)
        rows = Rows.fitting(np.argsort(-size, kind="stable"), ax, max_rows)
        rows = rows.sorted_by(self.weights)
        ax = rows.axes(ax)
        shown = rows.collect(self.weights, np.sum)
        place = np.arange(len(rows))
        ax.axvline(0, color="black", linewidth=0.8)
        ax.axvline(
            1 / len(self.weights), color=QUIET, linewidth=1, linestyle="--", label="equal weights"
        )
        if self.samples is not None:
            drawn = rows.collect(self.samples.T, np.sum)
            low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=1)
            label = f"{level:.0%} of {len(self.samples)} refits"
            ax.hlines(place, low, high, color=QUIET, linewidth=4, label=label)
        ax.plot(shown, place, "o", color="black", markersize=4.5, label="weight")
        ax.set_xlabel("aggregator weight")
        ax.grid(axis="y", color=QUIET, alpha=0.3, linewidth=0.5)
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize=8)
        rows.name(ax, self.names, "sum")
        return self._drawn_on(ax)


def _targets(data: EnsembleData) -> np.ndarray:
    """Return the classes of the instances, NaN or None where they are unknown."""
    classes = np.asarray(data.classes)
    numbers = classes.dtype.kind in "fiub"
    target = classes.astype(float if numbers else object)[data.labels]
    target[data.labels < 0] = np.nan if numbers else None
    return target


def _redraw(labels: np.ndarray, frequency: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Return frequencies of rows drawn with replacement, class by class."""
    drawn = np.zeros(len(labels))
    for code in np.unique(labels):
        rows = np.flatnonzero((labels == code) & (frequency > 0))
        if len(rows):
            total = max(1, round(float(frequency[rows].sum())))
            drawn[rows] = random.multinomial(total, frequency[rows] / frequency[rows].sum())
    return drawn


def _refit(
    template: CFEnsembleClassifier, columns: Any, target: Any, draw: np.ndarray
) -> np.ndarray:
    return clone(template).fit(columns, target, sample_weight=draw).weights_
