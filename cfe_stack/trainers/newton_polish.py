"""Newton steps at the end of a descent, which use gradients instead of objective values.

A line search compares objective values. These agree to rounding error eps while the gradient is
still of size √eps. The end of a descent would therefore depend on rounding, and hence on the number
of threads and on whether a row is repeated or weighted.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import LinearOperator, minres

MAX_STEPS = 4
MAX_GRADIENT = 1e-12
"""Largest entry of a gradient that counts as zero, relative to the objective."""
SOLVER_TOLERANCE = 1e-5
MAX_PRODUCTS = 200
"""Maximum number of Hessian products per step; a few dozen are typical."""
ROUNDING_SHARE = 1e-9
MAX_STEP_SHARE = 0.1
"""Maximum length of a step relative to the point; longer steps would leave the minimum."""


@dataclass(frozen=True, eq=False)
class LocalModel:
    """An objective near a point.

    Parameters
    ----------
    value : float
    gradient : ndarray of shape (n_parameters,)
    hessian_product : callable
        Returns the product of the Hessian and a direction (n_parameters,).
    """

    value: float
    gradient: np.ndarray
    hessian_product: Callable[[np.ndarray], np.ndarray]


def newton_polish(point: np.ndarray, local_model: Callable[[np.ndarray], LocalModel]) -> np.ndarray:
    """Return the stationary point near `point`, the result of a descent.

    Parameters
    ----------
    point : ndarray of shape (n_parameters,)
    local_model : callable
        Returns the objective near a point.

    Returns
    -------
    ndarray of shape (n_parameters,)
        `point` itself if a step is too long, does not reduce the gradient, or increases the
        objective.

    Notes
    -----
    A common rotation of all factors leaves the objective unchanged, so the Hessian is singular.
    MINRES returns the shortest solution of the singular system (Paige and Saunders, 1975).

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.trainers.newton_polish import LocalModel, newton_polish
    >>> def valley(x):
    ...     return LocalModel(
    ...         float(x[0] ** 4 / 4 - x[0]), np.array([x[0] ** 3 - 1, 0.0]),
    ...         lambda v: np.array([3 * x[0] ** 2 * v[0], 0.0]),
    ...     )
    >>> newton_polish(np.array([1.01, 7.0]), valley)
    array([1., 7.])
    """
    here = local_model(point)
    for _ in range(MAX_STEPS):
        size = np.abs(here.gradient).max(initial=0.0)
        if not size > MAX_GRADIENT * abs(here.value):
            break
        hessian = LinearOperator((len(point), len(point)), here.hessian_product, dtype=float)
        step = minres(hessian, -here.gradient, rtol=SOLVER_TOLERANCE, maxiter=MAX_PRODUCTS)[0]
        if not np.abs(step).max() <= MAX_STEP_SHARE * np.abs(point).max():
            break
        there = local_model(point + step)
        flatter = np.abs(there.gradient).max() < size / 2
        if not (flatter and there.value <= here.value + ROUNDING_SHARE * abs(here.value)):
            break
        point, here = point + step, there
    return point
