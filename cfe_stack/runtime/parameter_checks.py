"""Checks of single parameters: what was given, what is allowed."""

from typing import Any

import numpy as np
from sklearn.utils import check_random_state


def check_real(
    name: str, value: Any, low: float, high: float = np.inf, *, above: bool = False
) -> None:
    """Raise ValueError unless `value` is a real number in [low, high], or `above` low."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not (number and np.isfinite(value) and low <= value <= high) or (above and value == low):
        least = f"{'>' if above else '>='} {low:g}"
        allowed = least if high == np.inf else f"in [{low:g}, {high:g}]"
        raise ValueError(f"{name} must be a number {allowed}, got {value!r}.")


def check_integer(name: str, value: Any, low: int) -> None:
    """Raise ValueError unless `value` is an integer of at least `low`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < low:
        raise ValueError(f"{name} must be an integer >= {low}, got {value!r}.")


def check_n_jobs(value: Any) -> None:
    """Raise ValueError unless `value` can be a number of jobs, or None."""
    counts = isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value != 0
    if not (value is None or counts):
        raise ValueError(
            "n_jobs must be None (as much as the settings of BLAS or of the learners allow), a "
            f"number or −1 (all processors), got {value!r}."
        )


def check_flag(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False, got {value!r}.")


def check_seed(value: Any) -> None:
    """Raise ValueError unless `value` can seed a random number generator."""
    try:
        check_random_state("a truth value" if isinstance(value, (bool, np.bool_)) else value)
    except ValueError as error:
        raise ValueError(
            f"random_state must be an integer in [0, 2**32), a RandomState or None, got {value!r}."
        ) from error
