"""The last digits of a descent: Newton steps, which see gradients and no objective.

A line search compares objectives, and they agree to the last digit while the gradient is still the
square root of that. Where a descent ends there depends on rounding, and with it on the number of
threads and on how often a row is repeated.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import LinearOperator, minres

MOST_STEPS = 4
ENOUGH = 1e-12
"""Largest entry of a gradient that counts as none, relative to the objective."""
SOLVER_TOLERANCE = 1e-5
MOST_PRODUCTS = 200
"""Hessian products per step; tens are usual."""
ROUNDING = 1e-9
LONGEST_STEP = 0.1
"""Longest step as a share of the point; a longer one leads away from where the descent had come."""


@dataclass(frozen=True, eq=False)
class LocalModel:
    """An objective near a point.

    Parameters
    ----------
    value : float
    gradient : ndarray of shape (n_parameters,)
    hessian_product : callable
        From a direction (n_parameters,) to the Hessian times it.
    """

    value: float
    gradient: np.ndarray
    hessian_product: Callable[[np.ndarray], np.ndarray]


def newton_end(point: np.ndarray, local_model: Callable[[np.ndarray], LocalModel]) -> np.ndarray:
    """Return the stationary point next to `point`, which a descent has come close to.

    Parameters
    ----------
    point : ndarray of shape (n_parameters,)
    local_model : callable
        From a point to the objective near it.

    Returns
    -------
    ndarray of shape (n_parameters,)
        `point` itself where a step is long, does not lower the gradient or raises the objective.

    Notes
    -----
    Factors that are rotated alike give the same objective, so the Hessian is singular. MINRES finds
    the shortest of the steps that solve the system (Paige and Saunders, 1975).

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.trainers.newton_polish import LocalModel, newton_end
    >>> def valley(x):
    ...     return LocalModel(
    ...         float(x[0] ** 4 / 4 - x[0]), np.array([x[0] ** 3 - 1, 0.0]),
    ...         lambda v: np.array([3 * x[0] ** 2 * v[0], 0.0]),
    ...     )
    >>> newton_end(np.array([1.01, 7.0]), valley)
    array([1., 7.])
    """
    here = local_model(point)
    for _ in range(MOST_STEPS):
        size = np.abs(here.gradient).max(initial=0.0)
        if not size > ENOUGH * abs(here.value):
            break
        hessian = LinearOperator((len(point), len(point)), here.hessian_product, dtype=float)
        step = minres(hessian, -here.gradient, rtol=SOLVER_TOLERANCE, maxiter=MOST_PRODUCTS)[0]
        if not np.abs(step).max() <= LONGEST_STEP * np.abs(point).max():
            break
        there = local_model(point + step)
        flatter = np.abs(there.gradient).max() < size / 2
        if not (flatter and there.value <= here.value + ROUNDING * abs(here.value)):
            break
        point, here = point + step, there
    return point
