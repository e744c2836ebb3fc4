"""Scores of contenders on the same folds: means, ranks, and the tidy table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cfe_stack.comparison.problems import FoldSize
from cfe_stack.comparison.statistics import mean_ranks
from cfe_stack.comparison.verdict import Values
from cfe_stack.metrics import Metric
from cfe_stack.runtime.optional_packages import import_extra


@dataclass(frozen=True, eq=False, repr=False)
class FoldScores:
    """Scores of contenders on the same folds.

    Parameters
    ----------
    contenders : tuple of str
    folds : tuple of FoldSize
        One entry per column of the scores.
    metrics : tuple of Metric
        The first is the one that ranks and tests are about, unless another is named.
    scores : dict of str to ndarray of shape (n_contenders, n_folds)
        NaN where a metric is not defined or a contender failed.
    seconds : ndarray of shape (n_contenders, n_folds)
        Time to learn and predict; NaN where it failed.
    """

    contenders: tuple[str, ...]
    folds: tuple[FoldSize, ...]
    metrics: tuple[Metric, ...]
    scores: Mapping[str, np.ndarray]
    seconds: np.ndarray

    @property
    def problems(self) -> tuple[str, ...]:
        """Names of the data sets."""
        return tuple(dict.fromkeys(fold.problem for fold in self.folds))

    def metric(self, name: str | None = None) -> Metric:
        """Return one of the metrics, the first if no name is given.

        Parameters
        ----------
        name : str, default=None

        Raises
        ------
        ValueError
            If it was not computed; the message lists those that were.
        """
        known = {metric.name: metric for metric in self.metrics}
        if name is not None and name not in known:
            raise ValueError(f"metric {name!r} was not computed; there are {list(known)}.")
        return self.metrics[0] if name is None else known[name]

    def means(self, metric: str | None = None) -> np.ndarray:
        """Return the mean over folds of every contender on every data set.

        Parameters
        ----------
        metric : str, default=None

        Returns
        -------
        ndarray of shape (n_contenders, n_problems)
            Folds in which a metric is not defined for anybody are left out; NaN for a contender
            that failed in a fold.
        """
        scores = self.scores[self.metric(metric).name]
        of = np.array([fold.problem for fold in self.folds])
        defined = ~np.isnan(scores).all(axis=0)
        columns = []
        for name in self.problems:
            chosen = scores[:, (of == name) & defined]
            empty = np.full(len(scores), np.nan)
            columns.append(chosen.mean(axis=1) if chosen.shape[1] else empty)
        return np.stack(columns, axis=1)

    def values(self, metric: str | None = None) -> Values:
        """Return what is ranked and tested: means of data sets, or the folds of a single one.

        Parameters
        ----------
        metric : str, default=None

        Returns
        -------
        Values
        """
        chosen, single = self.metric(metric), len(self.problems) == 1
        scores = self.scores[chosen.name] if single else self.means(chosen.name)
        scores = scores[:, ~np.isnan(scores).all(axis=0)]
        whole = ~np.isnan(scores).any(axis=1) & (scores.shape[1] > 0)
        names = tuple(name for name, there in zip(self.contenders, whole, strict=True) if there)
        share = float(np.mean([fold.n_test / fold.n_train for fold in self.folds]))
        return Values(chosen, names, scores[whole], single, share)

    def ranks(self, metric: str | None = None) -> dict[str, float]:
        """Return the mean rank of every contender over data sets (folds of a single one).

        Parameters
        ----------
        metric : str, default=None

        Returns
        -------
        dict of str to float
            Best first; contenders that failed anywhere are left out.
        """
        values = self.values(metric)
        ranks = mean_ranks(values.losses)
        return {values.names[k]: float(ranks[k]) for k in np.argsort(ranks, kind="stable")}

    def records(self) -> list[dict[str, Any]]:
        """Return one row per contender, fold and metric: the tidy table as plain dictionaries."""
        return [
            {
                "data_set": fold.problem,
                "repeat": fold.repeat,
                "fold": fold.fold,
                "contender": name,
                "metric": metric.name,
                "score": float(self.scores[metric.name][k, f]),
                "seconds": float(self.seconds[k, f]),
                "n_train": fold.n_train,
                "n_test": fold.n_test,
            }
            for f, fold in enumerate(self.folds)
            for k, name in enumerate(self.contenders)
            for metric in self.metrics
        ]

    def to_frame(self, library: str = "pandas") -> Any:
        """Return the tidy table of all scores.

        Parameters
        ----------
        library : {"pandas", "polars"}, default="pandas"

        Returns
        -------
        DataFrame

        Raises
        ------
        ValueError, MissingExtraError
            If the library is neither, or is not installed.
        """
        return as_frame(self.records(), library)


def as_frame(records: Sequence[Mapping[str, Any]], library: str = "pandas") -> Any:
    """Return rows as a data frame.

    Parameters
    ----------
    records : sequence of dict
    library : {"pandas", "polars"}, default="pandas"

    Raises
    ------
    ValueError, MissingExtraError
        If the library is neither, or is not installed.
    """
    if library not in ("pandas", "polars"):
        raise ValueError(f"library must be 'pandas' or 'polars', got {library!r}.")
    return import_extra(library, extra="files").DataFrame(list(records))
