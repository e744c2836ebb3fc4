"""How far apart results may lie that are equal in exact arithmetic.

Bounds follow from sizes and conditioning, never from what one machine's kernels give. Where bits
are promised (threads, block sizes, storing) tests compare exactly and need none of this.
"""

import numpy as np

EPS = float(np.finfo(np.float64).eps)


def of_sums(n_terms, dtype=np.float64):
    """Return a relative bound for two sums of `n_terms` products, each added in its own order.

    Each of them is off by at most γ_n = n u / (1 − n u) times the sum of absolute values, u being
    half of eps (Higham, Accuracy and Stability of Numerical Algorithms, 2002, eq. 3.5).
    """
    return n_terms * float(np.finfo(dtype).eps)


def of_minimizers(tol, value, strength):
    """Return a bound for the distance between two approximate minimizers of a penalized loss.

    A solver that stops when it expects to gain no more than τ = tol (1 + value) leaves coefficients
    within sqrt(2 τ / strength) of the minimizer, since the penalty makes the problem strongly
    convex. Below eps · value no solver sees a gain at all.
    """
    gain = max(tol, EPS) * (1 + abs(value))
    return 2 * np.sqrt(2 * gain / strength)


def of_losses(tol, value, strength, shrunk_by):
    """Return a bound for the difference between the losses, without penalty, of two minimizers.

    The penalized loss is flat at its minimum, but the loss alone has the slope strength · shrunk_by
    there, `shrunk_by` being the distance between the coefficients and what they are shrunk to.
    """
    return strength * shrunk_by * of_minimizers(tol, value, strength)
