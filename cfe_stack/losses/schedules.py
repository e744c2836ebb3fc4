"""Schedules of a parameter over training."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Schedule = Callable[[float], float]


@dataclass(frozen=True)
class LinearSchedule:
    """Linear schedule from `start` to `end` over training.

    Parameters
    ----------
    start, end : float
        Values in the first and in the last sweep or epoch.

    Examples
    --------
    >>> from cfe_stack.losses import LinearSchedule
    >>> LinearSchedule(0.0, 2.0)(0.5)
    1.0
    """

    start: float
    end: float

    def __call__(self, progress: float) -> float:
        """Return the value at `progress` in [0, 1]."""
        return self.start + (self.end - self.start) * progress


@dataclass(frozen=True)
class CosineSchedule:
    """Cosine schedule from `start` to `end`, which changes slowly at both ends.

    Parameters
    ----------
    start, end : float
        Values in the first and in the last sweep or epoch.

    Examples
    --------
    >>> from cfe_stack.losses import CosineSchedule
    >>> round(CosineSchedule(0.0, 2.0)(0.25), 4)
    0.2929
    """

    start: float
    end: float

    def __call__(self, progress: float) -> float:
        """Return the value at `progress` in [0, 1]."""
        return self.start + (self.end - self.start) * (1 - float(np.cos(np.pi * progress))) / 2


def scheduled(value: float | Schedule, progress: float) -> float:
    """Return `value` at `progress` in [0, 1], which evaluates schedules and passes numbers on."""
    return float(value(progress)) if callable(value) else float(value)
