"""What a blend suggests to do next, as sentences with the figures that they rest on."""

import numpy as np

from cfe_stack.blending.blend import Blend
from cfe_stack.comparison.contenders import OURS
from cfe_stack.data.blocks import observed
from cfe_stack.metrics import expected_calibration_error

MIN_WEIGHT = 0.02
"""Share of all weights below which a model can be spared."""
MIN_COVERAGE = 0.5
MAX_CALIBRATION_ERROR = 0.05
MIN_ROWS = 500


def next_steps(blended: Blend) -> list[str]:
    """Return what to do next, the most urgent first; never empty.

    Parameters
    ----------
    blended : Blend

    Returns
    -------
    list of str
    """
    steps = [*_leaks(blended), *_coverage(blended), *_weights(blended), *_scores(blended)]
    codes = blended.held_out_codes
    error = expected_calibration_error(codes, blended.held_out[OURS])
    if error > MAX_CALIBRATION_ERROR:
        steps.append(
            f"The calibration error of the blend is {error:.3f}: look at its reliability before "
            "probabilities are used as such."
        )
    if len(codes) < MIN_ROWS:
        steps.append(
            f"With {len(codes)} scored rows the intervals are wide: repeat the folds before a "
            "small difference decides anything."
        )
    if not steps:
        steps.append(
            "Nothing stands out. A gain from here comes from models that err elsewhere: look at "
            "the map for empty corners."
        )
    return steps


def _names(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _leaks(blended: Blend) -> list[str]:
    steps = []
    if blended.leakage.suspicions:
        names = [s.name for s in blended.leakage.suspicions]
        steps.append(
            f"Predict {_names(names)} again, out-of-fold: the blend trusts them on the training "
            "rows for what they will not know of test rows."
        )
    steps += [
        f"Keep one of {_names(list(group))}: they hold the same predictions."
        for group in blended.leakage.duplicates
    ]
    return steps


def _coverage(blended: Blend) -> list[str]:
    steps = []
    names = np.array(blended.data.classifier_names or ())
    for part, data in (("out-of-fold", blended.data), ("test", blended.test)):
        present = observed(data.R)
        thin = names[present.mean(axis=1) < MIN_COVERAGE].tolist()
        if thin:
            steps.append(
                f"{_names(thin)} cover less than half of the {part} rows; complete them, or "
                "see why."
            )
        empty = int((~present.any(axis=0)).sum())
        if empty:
            steps.append(
                f"{empty} {part} rows have no prediction at all"
                + ("; they get the class frequencies." if part == "test" else ".")
            )
    return steps


def _weights(blended: Blend) -> list[str]:
    weights = np.abs(blended.classifier.weights_)
    names = np.array(blended.data.classifier_names or ())
    spare = names[weights < MIN_WEIGHT * weights.sum()].tolist()
    # with many models every share is small
    if not spare or len(names) * MIN_WEIGHT > 0.5 or len(spare) == len(names):
        return []
    return [
        f"{_names(spare)} have next to no weight; leave them out if computing them costs something."
    ]


def _scores(blended: Blend) -> list[str]:
    others = [s for s in blended.scores if s.contender != OURS]
    if others and others[0].reference_better < 0.8:
        best = others[0]
        return [
            f"{best.contender} is as good as the blend (better or equal in "
            f"{1 - best.reference_better:.0%} of the draws): take the simpler one, or add models "
            "that differ more."
        ]
    return []
