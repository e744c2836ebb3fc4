"""EnsembleComparison: scores of contenders on the same folds, and everything read off them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from cfe_stack.comparison.page import fragment, text_table
from cfe_stack.comparison.plots import draw_differences, draw_ranks, height_of
from cfe_stack.comparison.scores import FoldScores
from cfe_stack.comparison.statistics import (
    PairedTest,
    friedman_test,
    mcnemar_test,
    nemenyi_difference,
    nemenyi_p_values,
)
from cfe_stack.comparison.verdict import Difference, Values, differences_from, legend, verdict
from cfe_stack.displays.html_page import page, picture, pictures
from cfe_stack.runtime.optional_packages import MissingExtraError
from cfe_stack.runtime.version import __version__


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Predictions of the first repetition's held-out rows.

    Parameters
    ----------
    codes : ndarray of shape (n,)
        Class codes, fold after fold.
    proba : ndarray of shape (n_contenders, n, n_classes)
        NaN where a contender failed.
    """

    codes: np.ndarray
    proba: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class EnsembleComparison(FoldScores):
    """What `compare_ensembles` found.

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
    reference : str
        Whom the others are compared with.
    notes : tuple of str
        What a reader must know: contenders that were not run or failed, missing cells.
    held_out : dict of str to HeldOut
        By name of the data set.
    """

    reference: str
    notes: tuple[str, ...]
    held_out: Mapping[str, HeldOut]

    def differences(
        self,
        metric: str | None = None,
        reference: str | None = None,
        rope: float | None = None,
        alpha: float = 0.05,
    ) -> list[Difference]:
        """Return how every contender differs from the reference, tested.

        Parameters
        ----------
        metric : str, default=None
        reference : str, default=None
            Another contender than :attr:`reference`.
        rope : float, default=None
            Half the region of practical equivalence, in units of the metric; None takes 1 % of the
            reference's score.
        alpha : float, default=0.05
            Intervals have level 1 − alpha.

        Returns
        -------
        list of Difference

        Raises
        ------
        ValueError
            If the reference is not among the contenders that have all scores.

        Notes
        -----
        One data set: corrected resampled t-test over folds. Several: Wilcoxon's signed ranks of
        their means. P-values are adjusted by Holm's method for the number of contenders.
        """
        values = self.values(metric)
        return differences_from(values, self._reference(values, reference), rope, alpha)

    def _reference(self, values: Values, reference: str | None) -> str:
        chosen = self.reference if reference is None else reference
        if chosen not in values.names:
            raise ValueError(
                f"{chosen!r} cannot be the reference: contenders with all scores are "
                f"{list(values.names)}."
            )
        return chosen

    def friedman(self, metric: str | None = None) -> float:
        """Return the p-value of "all contenders rank alike over data sets" (Friedman's test).

        Parameters
        ----------
        metric : str, default=None

        Returns
        -------
        float
            NaN with fewer than three data sets or contenders.
        """
        values = self.values(metric)
        return float("nan") if values.single else friedman_test(values.losses)

    def critical_difference(self, metric: str | None = None, alpha: float = 0.05) -> float:
        """Return the critical difference of mean ranks over data sets (Nemenyi test).

        Parameters
        ----------
        metric : str, default=None
        alpha : float, default=0.05

        Returns
        -------
        float
            NaN for a single data set.
        """
        values = self.values(metric)
        if values.single or len(values.names) < 2:
            return float("nan")
        return nemenyi_difference(len(values.names), values.scores.shape[1], alpha)

    def nemenyi(self, metric: str | None = None) -> dict[tuple[str, str], float]:
        """Return p-values of all pairs over data sets, adjusted for their number.

        Parameters
        ----------
        metric : str, default=None

        Returns
        -------
        dict of (str, str) to float

        Raises
        ------
        ValueError
            If there is only one data set.
        """
        values = self.values(metric)
        if values.single:
            raise ValueError("Nemenyi's test compares ranks over data sets; there is only one.")
        table = nemenyi_p_values(values.losses)
        return {
            (first, second): float(table[i, j])
            for i, first in enumerate(values.names)
            for j, second in enumerate(values.names)
            if i < j
        }

    def mcnemar(self, first: str, second: str, problem: str | None = None) -> PairedTest:
        """Test whether two contenders err equally often on the same held-out rows (McNemar).

        Parameters
        ----------
        first, second : str
        problem : str, default=None
            Name of the data set, needed where there are several.

        Returns
        -------
        PairedTest
            The difference is that of the accuracies on the rows of the first repetition.

        Raises
        ------
        ValueError
            If a name is unknown.
        MissingExtraError
            If mlxtend is not installed.
        """
        name = problem if problem is not None or len(self.problems) > 1 else self.problems[0]
        for given, known in ((name, self.problems), (first, self.contenders)):
            if given not in known:
                raise ValueError(f"{given!r} is none of {list(known)}.")
        if second not in self.contenders:
            raise ValueError(f"{second!r} is none of {list(self.contenders)}.")
        rows = self.held_out[str(name)]
        a, b = (rows.proba[self.contenders.index(c)].argmax(axis=1) for c in (first, second))
        return mcnemar_test(rows.codes, a, b)

    def summary(self, metric: str | None = None) -> list[dict[str, Any]]:
        """Return one row per contender, best first: means, rank, difference from the reference.

        Parameters
        ----------
        metric : str, default=None
            What rank, wins and p-values are about.

        Returns
        -------
        list of dict
        """
        values, ranks = self.values(metric), self.ranks(metric)
        tested = {}
        if self.reference in values.names:
            tested = {d.contender: d for d in self.differences(metric)}
        rows = []
        failed = [name for name in self.contenders if name not in ranks]
        for name in [*ranks, *failed]:
            row: dict[str, Any] = {"contender": name}
            row |= {m.name: self._overall(name, m.name) for m in self.metrics}
            row["rank"] = ranks.get(name, float("nan"))
            d = tested.get(name)
            row |= {
                "difference": d.paired.difference if d else None,
                "low": d.paired.low if d else None,
                "high": d.paired.high if d else None,
                "w–l": f"{d.wins}–{d.losses}" if d else None,
                "p": d.paired.p_value if d else None,
                "Holm": d.p_adjusted if d else None,
                "s / fit": float(self.seconds[self.contenders.index(name)].mean()),
            }
            rows.append(row)
        return rows

    def _overall(self, name: str, metric: str) -> float:
        """Return the mean over data sets; those for which a metric is not defined are left out."""
        table = self.means(metric)
        defined = ~np.isnan(table).all(axis=0)
        row = table[self.contenders.index(name), defined]
        return float(row.mean()) if row.size else float("nan")

    def verdict(self, metric: str | None = None, alpha: float = 0.05) -> str:
        """Say in words what the tests allow to say.

        Parameters
        ----------
        metric : str, default=None
        alpha : float, default=0.05

        Returns
        -------
        str
        """
        values = self.values(metric)
        if self.reference not in values.names:
            return f"{self.reference}, the reference, has no complete scores; nothing is compared."
        found = self.differences(metric, alpha=alpha)
        return verdict(values, self.reference, found, self.ranks(metric), alpha)

    def plot(self, ax: Any = None, metric: str | None = None, kind: str = "auto") -> Any:
        """Draw the comparison.

        Parameters
        ----------
        ax : Axes, default=None
            New ones if not given.
        metric : str, default=None
        kind : {"auto", "ranks", "differences"}, default="auto"
            ``"ranks"`` is the critical-difference diagram, ``"differences"`` shows intervals of the
            differences from the reference. ``"auto"`` takes the former for several data sets.

        Returns
        -------
        Axes

        Raises
        ------
        ValueError, MissingExtraError
            If the kind is unknown, or matplotlib is not installed.
        """
        if kind not in ("auto", "ranks", "differences"):
            raise ValueError(f"kind must be 'auto', 'ranks' or 'differences', got {kind!r}.")
        if kind == "ranks" or (kind == "auto" and len(self.problems) > 1):
            critical = self.critical_difference(metric)
            shown = None if np.isnan(critical) else critical
            return draw_ranks(self.ranks(metric), shown, self.reference, ax)
        chosen = self.metric(metric)
        found = self.differences(metric)
        return draw_differences(found, chosen.name, chosen.greater_is_better, ax)

    def to_html(self, path: str | PathLike[str] | None = None, metric: str | None = None) -> str:
        """Return one self-contained HTML page: table, verdict, notes and pictures.

        Parameters
        ----------
        path : path-like, default=None
            Where to write it as well.
        metric : str, default=None

        Returns
        -------
        str
            The page; without pictures where matplotlib is not installed.
        """
        footer = f"Written by cfe_stack {__version__}."
        title = f"Comparison of {len(self.contenders)} contenders by {self.metric(metric).name}"
        text = page(title, [self._fragment(metric), self._pictures(metric)], footer)
        if path is not None:
            Path(path).write_text(text, "utf-8")
        return text

    def _fragment(self, metric: str | None = None) -> str:
        notes = "\n".join([*self._legend(metric), *self.notes])
        return fragment(self.summary(metric), self.reference, self.verdict(metric), notes)

    def _legend(self, metric: str | None = None) -> list[str]:
        values = self.values(metric)
        lines = [legend(values, self.reference)] if self.reference in values.names else []
        friedman = self.friedman(metric)
        if not np.isnan(friedman):
            lines.append(f"Friedman's test of all contenders ranking alike: p = {friedman:.2g}.")
        return lines

    def _pictures(self, metric: str | None) -> str:
        captions = {}
        if len(self.problems) > 1:
            captions["ranks"] = (
                "Mean ranks; bars join contenders that are not significantly different."
            )
        if self.reference in self.values(metric).names:
            captions["differences"] = f"Differences from {self.reference}."
        height = height_of(len(self.contenders))
        try:
            return pictures(
                *(
                    picture(partial(self.plot, metric=metric, kind=kind), caption, height=height)
                    for kind, caption in captions.items()
                )
            )
        except MissingExtraError:
            return ""

    def _repr_html_(self) -> str:
        return self._fragment()

    def __str__(self) -> str:
        notes = "\n".join([*self._legend(), *self.notes])
        return "\n\n".join([text_table(self.summary()), self.verdict(), notes]).rstrip()

    def __repr__(self) -> str:
        return (
            f"EnsembleComparison({len(self.contenders)} contenders, {len(self.problems)} data "
            f"set(s), {len(self.folds)} folds, by {self.metrics[0].name})"
        )
