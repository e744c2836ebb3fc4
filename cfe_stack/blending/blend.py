"""From out-of-fold and test predictions to one blend, its honest scores, and a submission file."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cfe_stack.blending.bootstrap import BootstrapScore, bootstrap_scores
from cfe_stack.classifier.ensemble_classifier import CFEnsembleClassifier
from cfe_stack.comparison import compare_ensembles
from cfe_stack.comparison.contenders import OURS
from cfe_stack.data.blocks import observed
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.leakage.leakage_report import LeakageReport, check_leakage
from cfe_stack.meta_features.stacked_columns import stacked_columns
from cfe_stack.metrics import Metric, resolve_metric

CONTENDERS = (OURS, "mean", "best single", "greedy selection", "LogisticRegression")
"""What the blend is compared with by default."""
MAX_NAMED = 5
"""Maximum number of models named in a line about missing rows."""
MAX_DRAWN_ROWS = 10_000_000
"""Rows that the bootstrap draws in all, where the number of draws is not given."""


@dataclass(frozen=True, eq=False)
class Blend:
    """A fitted blend, what it predicts for the test rows, and how good it is; prints as its scores.

    Parameters
    ----------
    data, test : EnsembleData
        Out-of-fold and test predictions of the same models.
    classifier : CFEnsembleClassifier
        Fitted on all labeled rows.
    proba : ndarray of shape (n_test, n_classes)
        Its probabilities for the test rows.
    metric : Metric
    scores : tuple of BootstrapScore
        Of the blend and of simple contenders on rows that none of them was fitted on, best first.
    held_out_codes : ndarray of shape (n,)
        Class codes of those rows.
    held_out : dict of str to ndarray of shape (n, n_classes)
        Their predictions.
    leakage : LeakageReport
    notes : tuple of str
        What a reader of the scores must know.
    """

    data: EnsembleData
    test: EnsembleData
    classifier: CFEnsembleClassifier
    proba: np.ndarray
    metric: Metric
    scores: tuple[BootstrapScore, ...]
    held_out_codes: np.ndarray
    held_out: dict[str, np.ndarray]
    leakage: LeakageReport
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return format_scores(self)

    @property
    def score(self) -> BootstrapScore:
        """The score of the blend itself."""
        return next(s for s in self.scores if s.contender == OURS)


def blend(
    data: EnsembleData,
    test: EnsembleData,
    *,
    metric: Any = "log_loss",
    contenders: Sequence[str] = CONTENDERS,
    cv: int = 5,
    n_draws: int | None = None,
    random_state: int = 0,
    n_jobs: int | None = None,
    progress: bool = True,
) -> Blend:
    """Blend predictions, and compare with what is simpler.

    Parameters
    ----------
    data : EnsembleData
        Out-of-fold predictions with labels.
    test : EnsembleData
        Predictions of the same models for the rows to be predicted.
    metric : str, scorer or Metric, default="log_loss"
        As in :func:`~cfe_stack.comparison.compare_ensembles`. It ranks the contenders; the blend is
        fitted to be calibrated whatever it is.
    contenders : sequence of str
        Names of :data:`cfe_stack.comparison.CONTENDERS`; the blend itself always takes part.
    cv : int, default=5
        Folds in which contenders are fitted and scored.
    n_draws : int, default=None
        Draws of the bootstrap over rows; None takes 500, and fewer of many rows.
    random_state : int, default=0
        Seed of folds and draws.
    n_jobs : int, default=None
        Folds that run side by side, −1 for all cores.
    progress : bool, default=True
        Show a progress bar on stderr, if that is a terminal.

    Returns
    -------
    Blend

    Raises
    ------
    ValueError
        If the two do not hold the same models and classes, labels are missing, or an option is
        unknown.

    Examples
    --------
    >>> from cfe_stack import EnsembleData
    >>> from cfe_stack.datasets import make_ensemble
    >>> from cfe_stack.blending import blend
    >>> made = make_ensemble(5, 300, random_state=0)
    >>> data = EnsembleData(made.R[:, :200], made.labels[:200])
    >>> blended = blend(data, EnsembleData(made.R[:, 200:]), contenders=["mean"], progress=False)
    >>> blended.proba.shape
    (100, 2)
    >>> print(blended)
                  log_loss   95 % interval     the blend is better
    CF-Ensemble     ...
    mean            ... of draws
    """
    chosen = resolve_metric(metric)
    leakage = check_leakage(data, test, cv=None)
    names = list(dict.fromkeys([OURS, *contenders]))
    comparison = compare_ensembles(
        data,
        contenders=names,
        metrics=chosen,
        cv=cv,
        n_repeats=1,
        n_jobs=n_jobs,
        progress=progress,
        random_state=random_state,
    )
    rows = next(iter(comparison.held_out.values()))
    if n_draws is None:
        n_draws = int(np.clip(MAX_DRAWN_ROWS // len(rows.codes), 100, 500))
    held_out = {
        name: proba
        for name, proba in zip(comparison.contenders, rows.proba, strict=True)
        if not np.isnan(proba).any()
    }
    scores = bootstrap_scores(
        rows.codes, held_out, chosen, OURS, n_draws=n_draws, random_state=random_state
    )
    columns, layout = stacked_columns(data)
    known = data.labels >= 0
    classifier = CFEnsembleClassifier(layout=layout).fit(
        columns[known],
        data.labels[known],
        sample_weight=None if data.sample_weight is None else data.sample_weight[known],
    )
    return Blend(
        data,
        test,
        classifier,
        classifier.predict_proba(stacked_columns(test)[0]),
        chosen,
        tuple(scores),
        rows.codes,
        held_out,
        leakage,
        tuple(comparison.notes),
    )


def write_submission(
    blended: Blend,
    path: str | Path,
    *,
    id_column: str = "id",
    target_column: str = "target",
    labels: bool = False,
) -> None:
    """Write the predictions for the test rows as CSV.

    Parameters
    ----------
    blended : Blend
    path : path
    id_column, target_column : str
        Names of the columns. Probabilities of more than two classes are in one column for each,
        named after it.
    labels : bool, default=False
        Write the predicted class instead of probabilities.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from cfe_stack import EnsembleData
    >>> from cfe_stack.datasets import make_ensemble
    >>> from cfe_stack.blending import blend, write_submission
    >>> made = make_ensemble(5, 300, random_state=0)
    >>> data = EnsembleData(made.R[:, :200], made.labels[:200])
    >>> blended = blend(data, EnsembleData(made.R[:, 200:]), contenders=["mean"], progress=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_submission(blended, f"{folder}/submission.csv", target_column="sold")
    ...     Path(f"{folder}/submission.csv").read_text().splitlines()[0]
    'id,sold'
    """
    classes = np.asarray(blended.data.classes)
    ids = blended.test.instance_ids
    rows = np.arange(len(blended.proba)) if ids is None else ids
    if labels:
        names, columns = [target_column], [classes[blended.proba.argmax(axis=1)]]
    elif len(classes) == 2:
        names, columns = [target_column], [blended.proba[:, 1]]
    else:
        names, columns = [str(k) for k in classes], list(blended.proba.T)
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([id_column, *names])
        writer.writerows(zip(rows.tolist(), *(c.tolist() for c in columns), strict=True))


def format_scores(blended: Blend) -> str:
    """Return the scores as a table of plain text, best first.

    Parameters
    ----------
    blended : Blend

    Returns
    -------
    str
    """
    width = max(len(s.contender) for s in blended.scores)
    lines = [f"{'':{width}}  {blended.metric.name:>9}   95 % interval     the blend is better"]
    for s in blended.scores:
        share = "" if np.isnan(s.reference_better) else f"{s.reference_better:>8.0%} of draws"
        lines.append(
            f"{s.contender:{width}}  {s.score:9.4f}   {s.low:.4f} … {s.high:.4f}  {share}".rstrip()
        )
    return "\n".join(lines)


def describe(data: EnsembleData, test: EnsembleData) -> str:
    """Say in a line what is blended."""
    cells = data.n_classifiers * data.n_instances
    empty = int((~observed(test.R).any(axis=0)).sum())
    tail = f"; {empty} row(s) to predict have no prediction at all" if empty else ""
    tail += _gaps(data, test)
    models = f"{data.n_classifiers} model{'s' if data.n_classifiers > 1 else ''}"
    return (
        f"{models}, {data.n_classes} classes; {int((data.labels >= 0).sum())} rows with labels "
        f"({data.n_missing / cells:.1%} of the cells missing), "
        f"{test.n_instances} rows to predict "
        f"({test.n_missing / (test.n_classifiers * test.n_instances):.1%} missing){tail}"
    )


def _gaps(data: EnsembleData, test: EnsembleData) -> str:
    """Name the models that have not predicted all rows, as the tail of a sentence."""
    names = data.classifier_names or [f"model {u}" for u in range(data.n_classifiers)]
    counts = [(~observed(part.R)).sum(axis=1).tolist() for part in (data, test)]
    gaps = [
        f"{name} {here} and {there}"
        for name, here, there in zip(names, *counts, strict=True)
        if here or there
    ]
    if not gaps:
        return ""
    more = f" and {len(gaps) - MAX_NAMED} more models" if len(gaps) > MAX_NAMED else ""
    return f"; rows not predicted, out of fold and test: {', '.join(gaps[:MAX_NAMED])}{more}"
