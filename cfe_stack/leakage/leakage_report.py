"""Is anything in an ensemble matrix too good to be true? Columns, duplicates, the meta-learner."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from cfe_stack.classifier.ensemble_classifier import CFEnsembleClassifier
from cfe_stack.cross_validation.splitters import check_cv_option
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.data.in_sample import Suspicion, column_scores, suspicious_columns
from cfe_stack.leakage.meta_learner_check import MetaLearnerCheck, check_meta_learner
from cfe_stack.runtime.optional_packages import import_extra

MAX_DUPLICATE_DISTANCE = 1e-6
"""Columns whose common cells differ by no more than this are duplicates."""
N_PROBED_ROWS = 256
"""Columns that differ on the first so many rows need no further look."""
MAX_OPTIMISM = 0.1
"""Share of the nested log-loss by which the fit on its own training rows may be better."""


@dataclass(frozen=True, eq=False)
class LeakageReport:
    """What `check_leakage` found; prints as its verdict.

    Parameters
    ----------
    columns : list of dict
        One row for each classifier, with the same keys.
    suspicions : tuple of Suspicion
        Columns that look like in-sample predictions.
    duplicates : tuple of tuple of str
        Groups of classifiers with the same predictions.
    meta : MetaLearnerCheck or None
        None where it was not asked for.
    has_test : bool
        Whether there were test rows to compare with.
    """

    columns: list[dict[str, Any]]
    suspicions: tuple[Suspicion, ...]
    duplicates: tuple[tuple[str, ...], ...]
    meta: MetaLearnerCheck | None
    has_test: bool

    @property
    def problems(self) -> list[str]:
        """Everything that needs a decision, a sentence each."""
        found = [
            f"{s.name} looks like in-sample predictions: {s.evidence}." for s in self.suspicions
        ]
        found += [
            f"{', '.join(group)} hold the same predictions; keep one of them."
            for group in self.duplicates
        ]
        if self.meta is not None and not self.meta.null_is_clean:
            found.append(
                "The meta-learner finds skill in permuted labels "
                f"({np.mean(self.meta.null_skills):.1%} on average): it sees labels of the rows "
                "that it is scored on."
            )
        return found

    @property
    def notes(self) -> list[str]:
        """What to keep in mind, a sentence each."""
        notes = []
        if not self.has_test:
            notes.append(
                "Without test predictions only near-perfect columns can be told from honest ones; "
                "pass them as `test`."
            )
        if self.meta is not None and self.meta.optimism > MAX_OPTIMISM * self.meta.nested:
            notes.append(
                f"On its own training rows the meta-learner has a log-loss of "
                f"{self.meta.apparent:.4f}, by nested cross-validation {self.meta.nested:.4f}; "
                "report the second."
            )
        return notes

    @property
    def verdict(self) -> str:
        """The result in a sentence or two."""
        if not self.problems:
            return " ".join(["Nothing looks like a leak.", *self.notes])
        n = len(self.problems)
        return " ".join([f"{n} thing{'s' if n > 1 else ''} to look into:", *self.problems])

    def __str__(self) -> str:
        return self.verdict

    def to_frame(self) -> Any:
        """Return `columns` as a pandas data frame.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.
        """
        return import_extra("pandas", extra="files").DataFrame(self.columns)


def check_leakage(
    data: EnsembleData,
    test: EnsembleData | None = None,
    *,
    final_estimator: BaseEstimator | None = None,
    cv: Any = 5,
    n_permutations: int = 5,
    random_state: int | np.random.RandomState | None = None,
    progress: bool = True,
) -> LeakageReport:
    r"""Look for predictions that are too good to be true.

    Parameters
    ----------
    data : EnsembleData
        Out-of-fold predictions with labels.
    test : EnsembleData, default=None
        Predictions of the same classifiers for test rows, refitted or averaged over folds, with
        labels or without.
    final_estimator : classifier, default=None
        The meta-learner to check, on stacked columns; one that cannot take missing cells sees the
        mean of the row's other predictions. None takes `CFEnsembleClassifier`.
    cv : int, splitter or list of (train, test), default=5
        Folds of the nested estimate. None leaves the meta-learner out.
    n_permutations : int, default=5
        How often labels are permuted; 0 leaves that out. One cross-validation each.
    random_state : int, RandomState or None, default=None
        For the permutations.
    progress : bool, default=True
        Show a progress bar on stderr.

    Returns
    -------
    LeakageReport

    Raises
    ------
    TypeError, ValueError
        If `data` is no EnsembleData, fewer than two classes have labels, `test` holds other
        classifiers, or an option is out of range.

    Notes
    -----
    Five checks: columns that look like in-sample predictions, by
    :func:`~cfe_stack.data.suspicious_columns`, which also compares out-of-fold with test
    predictions; columns with the same predictions; the meta-learner's log-loss on its training rows
    and its own estimate against nested cross-validation; and its skill on permuted labels,
    1 − L / L_prior, which must be at most 0 but for chance. Permuting labels shows what the
    meta-learner makes of nothing; it says nothing about the columns.

    Examples
    --------
    >>> from cfe_stack import EnsembleData
    >>> from cfe_stack.datasets import make_ensemble
    >>> from cfe_stack.leakage import check_leakage
    >>> made = make_ensemble(5, 300, random_state=0)
    >>> data = EnsembleData(made.R, made.labels, classifier_names=list("abcde"))
    >>> report = check_leakage(data, n_permutations=2, random_state=0, progress=False)
    >>> print(report)
    Nothing looks like a leak. Without test predictions ...
    """
    if not isinstance(data, EnsembleData):
        raise TypeError(
            f"check_leakage takes an EnsembleData(R, labels), got {type(data).__name__}."
        )
    labelled = data.labels >= 0
    if len(np.unique(data.labels[labelled])) < 2:
        raise ValueError("check_leakage needs labels of at least two classes in `data`.")
    if (
        isinstance(n_permutations, bool)
        or n_permutations < 0
        or n_permutations != int(n_permutations)
    ):
        raise ValueError(f"n_permutations must be an integer >= 0, got {n_permutations!r}.")
    if cv is not None:
        check_cv_option(cv)
    suspicions = tuple(suspicious_columns(data, test))
    duplicates = duplicate_columns(data)
    meta = None
    if cv is not None:
        estimator = CFEnsembleClassifier() if final_estimator is None else final_estimator
        meta = check_meta_learner(data, estimator, cv, int(n_permutations), random_state, progress)
    columns = _table(data, test, suspicions, duplicates)
    return LeakageReport(columns, suspicions, duplicates, meta, test is not None)


def duplicate_columns(data: EnsembleData) -> tuple[tuple[str, ...], ...]:
    """Return groups of classifiers with the same predictions wherever both have one.

    Parameters
    ----------
    data : EnsembleData

    Returns
    -------
    tuple of tuple of str
        Names of two or more classifiers each.

    Examples
    --------
    >>> from cfe_stack import EnsembleData
    >>> from cfe_stack.leakage.leakage_report import duplicate_columns
    >>> duplicate_columns(EnsembleData([[0.1, 0.9], [0.4, 0.2], [0.1, 0.9]]))
    (('classifier_0', 'classifier_2'),)
    """
    names, groups, taken = data.classifier_names or (), [], set()
    for u in range(data.n_classifiers):
        if u in taken:
            continue
        same = [v for v in range(u + 1, data.n_classifiers) if _same(data.R[u], data.R[v])]
        taken.update(same)
        if same:
            groups.append(tuple(names[v] for v in [u, *same]))
    return tuple(groups)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    compared = 0
    for rows in (slice(0, N_PROBED_ROWS), slice(N_PROBED_ROWS, None)):
        gap = np.abs(a[rows] - b[rows])
        gap = gap[~np.isnan(gap)]
        if (gap > MAX_DUPLICATE_DISTANCE).any():
            return False
        compared += len(gap)
    return compared > 0


def _table(
    data: EnsembleData,
    test: EnsembleData | None,
    suspicions: tuple[Suspicion, ...],
    duplicates: tuple[tuple[str, ...], ...],
) -> list[dict[str, Any]]:
    found = {s.classifier: s for s in suspicions}
    twins = {name: group for group in duplicates for name in group}
    own = column_scores(data)
    other = own if test is None else column_scores(test)
    rows = []
    for u, name in enumerate(data.classifier_names or ()):
        rows.append(
            {
                "classifier": name,
                "labeled rows": own[u].n,
                "log-loss": own[u].log_loss,
                "error rate": own[u].error_rate,
                "entropy": own[u].uncertainty,
                "test entropy": other[u].uncertainty if test is not None else float("nan"),
                "test log-loss": other[u].log_loss if test is not None else float("nan"),
                "same as": ", ".join(twin for twin in twins.get(name, ()) if twin != name),
                "in-sample": found[u].rule if u in found else "",
                "evidence": found[u].evidence if u in found else "",
            }
        )
    return rows
