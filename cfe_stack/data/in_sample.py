"""Evidence that a column of the ensemble matrix holds predictions for rows it was trained on.

Out-of-fold predictions of a learner and its predictions for test rows come from models that never
saw the row, so how sure they are is distributed alike. In-sample predictions are surer, and their
log-loss is lower than that certainty on test rows allows. Hard predictions carry no certainty; of
them only errors can be counted.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import xlogy
from scipy.stats import beta

from cfe_stack.data.blocks import observed
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.losses.link import DEFAULT_CLIP

MIN_ROWS = 30
"""Labeled predictions below which nothing is concluded about a column."""
MIN_Z = 4.0
"""Standard errors that the uncertainty (or log-loss) of a column must rise by on test rows."""
MAX_LOSS_RATIO = 0.7
"""Out-of-fold log-loss relative to what the test rows lead to expect, below which it is too low."""
MIN_RISE = 0.07
"""Rise of the uncertainty, relative to the test rows, that is worth speaking of."""
MAX_UNCERTAINTY_RATIO = 0.75
"""Out-of-fold relative to test uncertainty below which no shift of all columns is an excuse."""
FEWER_ERRORS_THAN_TYPICAL = 15.0
"""Near-perfect: so many times fewer errors than the median of the other columns …"""
FEWER_ERRORS_THAN_BEST = 5.0
"""… and so many times fewer than the best other column that is not near-perfect itself."""


class SuspiciousPredictionsError(ValueError):
    """Predictions that are said to be out-of-fold look like in-sample ones."""


@dataclass(frozen=True)
class ColumnScores:
    """What can be said of one column by itself.

    Parameters
    ----------
    n : int
        Labeled rows that it predicts.
    log_loss, error_rate : float
        On those rows; NaN where there are none.
    uncertainty, uncertainty_variance : float
        Mean and variance of the entropy of its predictions, in nats, on all rows that it predicts.
    n_predicted : int
        Rows that it predicts, labeled or not.
    log_loss_variance : float
        Variance of the log-loss over the labeled rows.
    """

    n: int
    log_loss: float
    error_rate: float
    uncertainty: float
    uncertainty_variance: float
    n_predicted: int
    log_loss_variance: float

    @classmethod
    def of(cls, p: np.ndarray, labels: np.ndarray) -> "ColumnScores":
        """Score one column.

        Parameters
        ----------
        p : ndarray of shape (n, n_classes)
            Class probabilities of the rows that it predicts.
        labels : ndarray of shape (n,)
            Class codes, −1 for unknown.
        """
        entropy = -xlogy(p, np.clip(p, DEFAULT_CLIP, 1)).sum(axis=1)
        known = labels >= 0
        q, y = p[known], labels[known]
        losses = -np.log(np.clip(q[np.arange(len(y)), y], DEFAULT_CLIP, 1))
        some, nan = len(y) > 0, float("nan")
        return cls(
            len(y),
            float(losses.mean()) if some else nan,
            float((q.argmax(axis=1) != y).mean()) if some else nan,
            float(entropy.mean()) if len(p) else nan,
            float(entropy.var()) if len(p) else nan,
            len(p),
            float(losses.var()) if some else nan,
        )


@dataclass(frozen=True)
class Suspicion:
    """One column that looks like in-sample predictions, and why.

    Parameters
    ----------
    classifier : int
        Row of the column in R.
    name : str
    rule : {"test log-loss", "test uncertainty", "near-perfect"}
    evidence : str
        The figures, as a clause.
    """

    classifier: int
    name: str
    rule: str
    evidence: str


def column_scores(data: EnsembleData) -> list[ColumnScores]:
    """Return the scores of every column of an ensemble matrix.

    Examples
    --------
    >>> from cfe_stack import EnsembleData
    >>> from cfe_stack.data.in_sample import column_scores
    >>> (score,) = column_scores(EnsembleData([[0.5, 0.5, 0.9]], [0, 1, -1]))
    >>> score.n, round(score.log_loss, 3)
    (2, 0.693)
    """
    scores = []
    for R in data.R:
        present = observed(R[None])[0]
        cells = np.asarray(R[present], dtype=np.float64)
        p = np.stack([1 - cells, cells], axis=1) if cells.ndim == 1 else cells
        scores.append(ColumnScores.of(np.clip(p, 0, 1), data.labels[present]))
    return scores


def suspicious_columns(data: EnsembleData, test: EnsembleData | None = None) -> list[Suspicion]:
    r"""Return the columns that look like in-sample predictions, with the evidence.

    Parameters
    ----------
    data : EnsembleData
        Predictions that are said to be out-of-fold, with labels.
    test : EnsembleData, default=None
        Predictions of the same classifiers for other rows, with labels or without. Without it only
        near-perfect columns can be seen.

    Returns
    -------
    list of Suspicion
        At most one for each column, in the order of the columns.

    Raises
    ------
    ValueError
        If the two do not hold the same classifiers and classes.

    Notes
    -----
    With L and H the mean log-loss and entropy of a column, a column is suspicious if

    * its test labels are known and L is below 0.7 of the test log-loss, by 4 standard errors (if L
      is above, nothing else is looked at);
    * or L < 0.7 H_test and the rise H_test − H exceeds the median rise of the other columns by 4
      standard errors and 0.07 H_test (or H < 0.75 H_test, L < 0.5 H_test, by 4 standard errors,
      whatever the others do: all may be in-sample);
    * or it makes, at the upper 95 % confidence limit, 15 times fewer errors than the median of the
      other columns and 5 times fewer than the best that is not as good.

    Learners that hardly fit their training rows closer than others (a linear model on many rows)
    pass: their in-sample predictions are as good as out-of-fold ones.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack import EnsembleData
    >>> from cfe_stack.data import suspicious_columns
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(2, size=500)
    >>> honest = np.clip(0.5 + 0.25 * (2 * y - 1) + 0.25 * rng.standard_normal((3, 500)), 0, 1)
    >>> in_sample = np.where(y == 1, 0.97, 0.03)
    >>> [found.classifier for found in suspicious_columns(EnsembleData([*honest, in_sample], y))]
    [3]
    """
    own = column_scores(data)
    other = None if test is None else column_scores(test)
    if test is not None:
        _check_pair(data, test)
    found = []
    for u, name in enumerate(data.classifier_names or ()):
        if own[u].n < MIN_ROWS:
            continue
        rule, evidence = _against_test(own, other, u)
        if not rule:
            rule, evidence = _near_perfect(own, other, u)
        if rule:
            found.append(Suspicion(u, name, rule, evidence))
    return found


def refuse_suspicious(data: EnsembleData, test: EnsembleData | None = None) -> None:
    """Raise SuspiciousPredictionsError if columns look like in-sample predictions.

    Parameters
    ----------
    data : EnsembleData
    test : EnsembleData, default=None
        As in `suspicious_columns`.
    """
    found = suspicious_columns(data, test)
    if found:
        listed = "".join(f"\n  {one.name}: {one.evidence}" for one in found)
        raise SuspiciousPredictionsError(
            f"In-sample predictions suspected in {len(found)} of {data.n_classifiers} models, for "
            f"rows that they were trained on:{listed}\nUse out-of-fold predictions, or pass "
            "allow_suspicious=True if you know better."
        )


def _check_pair(data: EnsembleData, test: EnsembleData) -> None:
    if data.classifier_names != test.classifier_names or data.n_classes != test.n_classes:
        raise ValueError(
            "test must hold the same classifiers and classes as data, in the same order; got "
            f"{list(test.classifier_names or ())[:10]} ({test.n_classes} classes) against "
            f"{list(data.classifier_names or ())[:10]} ({data.n_classes} classes)."
        )


def _standard_error(variances: tuple[float, float], counts: tuple[int, int]) -> float:
    return max(float(np.sqrt(variances[0] / counts[0] + variances[1] / counts[1])), 1e-12)


def _against_test(
    own: list[ColumnScores], other: list[ColumnScores] | None, u: int
) -> tuple[str, str]:
    """Return rule and evidence of column `u` by its test rows, empty strings for none."""
    if other is None or other[u].n_predicted < MIN_ROWS:
        return "", ""
    a, b = own[u], other[u]
    if b.n >= MIN_ROWS:
        error = _standard_error((a.log_loss_variance, b.log_loss_variance), (a.n, b.n))
        if a.log_loss < MAX_LOSS_RATIO * b.log_loss and b.log_loss - a.log_loss > MIN_Z * error:
            return "test log-loss", (
                f"its log-loss is {a.log_loss:.4f} on the {a.n} rows said to be out-of-fold and "
                f"{b.log_loss:.4f} on {b.n} test rows with labels, "
                f"{(b.log_loss - a.log_loss) / error:.1f} standard errors more"
            )
        if _cleared(a, b):
            return "", ""
    rises = [t.uncertainty - s.uncertainty for s, t in zip(own, other, strict=True)]
    usual = np.array([r for v, r in enumerate(rises) if v != u and not np.isnan(r)])
    common = float(np.median(usual)) if len(usual) else 0.0
    error = _standard_error(
        (a.uncertainty_variance, b.uncertainty_variance), (a.n_predicted, b.n_predicted)
    )
    rise = min(rises[u], rises[u] - common)
    alone = (
        a.log_loss < MAX_LOSS_RATIO * b.uncertainty
        and rise > MIN_RISE * b.uncertainty
        and rise > MIN_Z * error
    )
    together = (
        a.uncertainty < MAX_UNCERTAINTY_RATIO * b.uncertainty
        and a.log_loss < 0.5 * b.uncertainty
        and rises[u] > MIN_Z * error
    )
    if not (alone or together):
        return "", ""
    return "test uncertainty", (
        f"its predictions have a mean entropy of {a.uncertainty:.4f} where labels are known and "
        f"{b.uncertainty:.4f} on test rows ({rises[u] / error:.1f} standard errors more; the "
        f"other columns: {common:+.4f}), and its log-loss of {a.log_loss:.4f} is lower than such "
        "predictions can have"
    )


def _cleared(own: ColumnScores, other: ColumnScores) -> bool:
    """Whether labels of test rows, the best witness there is, show a column to be no better."""
    return other.n >= MIN_ROWS and own.log_loss >= MAX_LOSS_RATIO * other.log_loss


def _near_perfect(
    own: list[ColumnScores], other: list[ColumnScores] | None, u: int
) -> tuple[str, str]:
    """Return rule and evidence if column `u` makes implausibly few errors."""
    if other is not None and _cleared(own[u], other[u]):
        return "", ""
    scored = [s for v, s in enumerate(own) if v != u and s.n >= MIN_ROWS]
    if len(scored) < 2:
        return "", ""
    typical = float(np.median([s.error_rate for s in scored]))
    limit, low = _upper_error(own[u]), typical / FEWER_ERRORS_THAN_TYPICAL
    ordinary = [s for s in scored if _upper_error(s) >= low]
    if limit >= low or not ordinary:
        return "", ""
    best = min(s.error_rate for s in ordinary)
    if limit >= best / FEWER_ERRORS_THAN_BEST:
        return "", ""
    return "near-perfect", (
        f"it errs on {own[u].error_rate:.2%} of {own[u].n} rows, where the other columns err on "
        f"{typical:.1%} (median) and {best:.1%} (best)"
    )


def _upper_error(score: ColumnScores) -> float:
    """Return the upper 95 % confidence limit of an error rate (Clopper and Pearson)."""
    wrong = round(score.error_rate * score.n)
    return float(beta.ppf(0.95, wrong + 1, max(score.n - wrong, 1)))
