"""The report of a blend: one HTML page of what was done, how good it is, and what is next."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cfe_stack.blending.blend import Blend, describe
from cfe_stack.blending.next_steps import next_steps
from cfe_stack.comparison.contenders import OURS
from cfe_stack.displays import (
    AggregatorWeightsDisplay,
    ClassifierMapDisplay,
    CoverageDisplay,
    ReliabilityDisplay,
    TrustDisplay,
)
from cfe_stack.displays.html_page import (
    bullets,
    page,
    paragraph,
    picture,
    pictures,
    section,
    table,
)
from cfe_stack.runtime.version import __version__

ROW_INCHES = 0.19
"""Height in inches of a line in pictures with one line for each model."""
MAX_ROWS = 40


def write_report(
    blended: Blend,
    path: str | Path,
    *,
    title: str = "Blend of predictions",
    n_bootstrap: int = 10,
    random_state: int = 0,
    progress: bool = True,
) -> None:
    """Write the report of a blend as one HTML page, pictures included.

    Parameters
    ----------
    blended : Blend
        From :func:`cfe_stack.blending.blend`.
    path : path
    title : str, default="Blend of predictions"
    n_bootstrap : int, default=10
        Refits for the intervals of the weights, each as long as the fit; 0 leaves them out.
    random_state : int, default=0
        Seed of the refits.
    progress : bool, default=True
        Show a progress bar on stderr, if that is a terminal.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.

    Notes
    -----
    The page needs no network. Its scores are on rows that no contender was fitted on.

    See Also
    --------
    cfe_stack.blending.write_submission : The predictions as CSV.
    """
    weights = _weights(blended, n_bootstrap, random_state, progress)
    sections = [
        _summary(blended),
        _what(blended),
        _scores(blended),
        _models(blended, weights),
        _calibration(blended),
        _coverage(blended),
        _leakage(blended),
        section("What to do next", bullets(next_steps(blended))),
    ]
    footer = (
        f"Written by cfe_stack {__version__}. Intervals: 95 %, by drawing the scored "
        "rows again; they leave out what other training rows would have changed."
    )
    Path(path).write_text(page(title, sections, footer), encoding="utf-8")


def _weights(blended: Blend, n: int, seed: int, progress: bool) -> AggregatorWeightsDisplay:
    names = list(blended.data.classifier_names or ())
    if not n:
        return AggregatorWeightsDisplay.from_estimator(blended.classifier, names=names)
    return AggregatorWeightsDisplay.from_estimator(
        blended.classifier,
        blended.data,
        n_bootstrap=n,
        names=names,
        random_state=seed,
        progress=progress,
    )


def _summary(blended: Blend) -> str:
    ours, metric = blended.score, blended.metric
    better = "higher" if metric.greater_is_better else "lower"
    text = (
        f"The blend has a {metric.name} of {ours.score:.4f} ({ours.low:.4f} … {ours.high:.4f}; "
        f"{better} is better) on held-out rows. "
    )
    others = [s for s in blended.scores if s.contender != OURS]
    if others:
        best = others[0]
        share = best.reference_better
        # a share of draws is no proof, and the folds are drawn once
        word = "better than" if share > 0.95 else "worse than" if share < 0.05 else "on a par with"
        text += (
            f"That is {word} the best of the simpler ways, {best.contender} "
            f"({best.score:.4f}): the blend is better in {share:.0%} of the draws. "
        )
    verdict = blended.leakage.verdict
    return paragraph(text) + paragraph(verdict, "problem" if blended.leakage.problems else "fine")


def _what(blended: Blend) -> str:
    data = blended.data
    labels = data.labels[data.labels >= 0]
    counts = np.bincount(labels, minlength=data.n_classes)
    classes = (
        f"{label}: {count} rows ({count / len(labels):.1%})"
        for label, count in zip(np.asarray(data.classes).tolist(), counts.tolist(), strict=True)
    )
    return section(
        "What was blended", paragraph(f"{describe(data, blended.test)}."), bullets(classes)
    )


def _scores(blended: Blend) -> str:
    rows = [
        [
            s.contender,
            f"{s.score:.4f}",
            f"{s.low:.4f} … {s.high:.4f}",
            "–" if np.isnan(s.reference_better) else f"{s.reference_better:.0%}",
        ]
        for s in blended.scores
    ]
    names = ["contender", blended.metric.name, "95 % interval", "blend better in"]
    return section(
        "Scores",
        paragraph(
            "All contenders learn on the same folds and are scored on the rows held out. The "
            "last column counts draws of the scored rows, the same draws for all."
        ),
        table(names, rows, reference=OURS),
        pictures(
            picture(
                partial(_draw_scores, blended=blended),
                f"{blended.metric.name} on held-out rows, with 95 % intervals.",
                height=1.0 + 0.35 * len(blended.scores),
            )
        ),
        bullets(blended.notes) if blended.notes else "",
    )


def _draw_scores(ax: Any, blended: Blend) -> None:
    for place, s in enumerate(reversed(blended.scores)):
        colour = "black" if s.contender == OURS else "0.5"
        ax.hlines(place, s.low, s.high, color=colour, linewidth=3 if s.contender == OURS else 2)
        ax.plot(s.score, place, "o", color=colour, markersize=6)
    ax.set_yticks(range(len(blended.scores)), [s.contender for s in reversed(blended.scores)])
    ax.set_ylim(-0.6, len(blended.scores) - 0.4)
    better = "higher" if blended.metric.greater_is_better else "lower"
    ax.set_xlabel(f"{blended.metric.name} ({better} is better)")
    ax.grid(axis="x", alpha=0.3)


def _models(blended: Blend, weights: AggregatorWeightsDisplay) -> str:
    data, test = blended.data, blended.test
    there = [
        [1 - np.isnan(R.reshape(len(R), -1)[:, 0]).mean() for R in part.R] for part in (data, test)
    ]
    order = np.argsort(-np.asarray(weights.weights), kind="stable")
    columns = blended.leakage.columns
    rows = [
        [
            columns[u]["classifier"],
            f"{weights.weights[u]:.3f}",
            f"{columns[u]['log-loss']:.4f}",
            f"{columns[u]['error rate']:.1%}",
            f"{there[0][u]:.1%}",
            f"{there[1][u]:.1%}",
        ]
        for u in order
    ]
    height = 1.4 + ROW_INCHES * min(len(rows), MAX_ROWS)
    pool = TrustDisplay.from_estimator(blended.classifier, data)
    return section(
        "Models and their weights",
        paragraph(
            "A weight is what a unit of a model's calibrated log-odds counts. Models that say much "
            "the same share one weight, so a small weight does not mean a bad model."
        ),
        pictures(
            picture(
                partial(weights.plot, max_rows=MAX_ROWS),
                "Weights, with the range of nine in ten refits to rows drawn again."
                if weights.samples is not None
                else "Weights.",
                height=height,
            ),
            picture(
                partial(pool.plot, max_rows=MAX_ROWS),
                "Who is trusted where: weights along the rows, in the order of the first factor.",
                height=height,
            ),
            picture(
                ClassifierMapDisplay.from_estimator(blended.classifier, data).plot,
                "Map of the models: near ones predict alike; near-duplicates are joined.",
                height=4.4,
            ),
        ),
        table(["model", "weight", "log-loss", "error rate", "coverage", "test coverage"], rows),
    )


def _calibration(blended: Blend) -> str:
    shown = {OURS: blended.held_out[OURS]}
    shown |= {name: p for name, p in blended.held_out.items() if name == "mean"}
    display = ReliabilityDisplay.from_predictions(
        blended.held_out_codes, shown, classes=np.arange(blended.data.n_classes)
    )
    classes = np.asarray(blended.data.classes)
    what = f"rows that are {classes[1]}" if len(classes) == 2 else "rows of their likeliest class"
    return section(
        "Calibration",
        paragraph(
            f"Where a probability of 0.7 is given, 70 % should be {what}. The curve of a "
            "calibrated prediction runs along the diagonal."
        ),
        pictures(picture(display.plot, "Reliability on held-out rows.", height=4.2)),
    )


def _coverage(blended: Blend) -> str:
    parts = [("out-of-fold", blended.data), ("test", blended.test)]
    if not any(data.n_missing for _, data in parts):
        return section("Coverage", paragraph("Every model has predicted every row."))
    height = 1.4 + ROW_INCHES * min(blended.data.n_classifiers, MAX_ROWS)
    return section(
        "Coverage",
        paragraph("Missing predictions are completed from the other models, row by row."),
        pictures(
            *(
                picture(
                    partial(CoverageDisplay.from_data(data).plot, max_rows=MAX_ROWS),
                    f"Which {name} predictions are there, in the order of the rows.",
                    height=height,
                )
                for name, data in parts
            )
        ),
    )


def _leakage(blended: Blend) -> str:
    found = blended.leakage
    marked = [row for row in found.columns if row["in-sample"] or row["same as"]]
    rows = [
        [
            row["classifier"],
            f"{row['log-loss']:.4f}",
            f"{row['entropy']:.4f}",
            f"{row['test entropy']:.4f}",
            row["same as"] or "–",
            row["in-sample"] or "–",
            row["evidence"] or "–",
        ]
        for row in marked
    ]
    names = ["model", "log-loss", "entropy", "test entropy", "same as", "in-sample by", "evidence"]
    return section(
        "Leaks",
        paragraph(found.verdict, "problem" if found.problems else "fine"),
        table(names, rows, text_columns=["evidence"]) if rows else "",
        paragraph(
            "Compared are log-loss and certainty out-of-fold with certainty on test rows, which "
            "are alike for honest predictions, and all models with each other."
        ),
    )
