"""The mathematics of the pools once more, straight from its definition and slowly."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

N, M = 200, 5


def log_odds(n_classes=2, seed=0, skill=(1.5, 1.0, 0.5, 0.2, -0.8)):
    """Return log-odds (or centred log-ratios), gates, labels and frequencies."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(N) % n_classes)
    skill = np.array(skill)
    if n_classes == 2:
        Z = np.where(labels == 1, 1, -1)[:, None] * skill + 1.5 * rng.normal(size=(N, M))
    else:
        Z = np.eye(n_classes)[labels][:, :, None] * skill + rng.normal(size=(N, n_classes, M))
        Z -= Z.mean(axis=1, keepdims=True)
    gates = np.tanh(rng.normal(size=(N, 1 if n_classes == 2 else 2)))
    return Z, gates, labels, rng.integers(1, 4, N).astype(float)


def plain_loss(scores, labels, weights):
    """Σ weight × cross-entropy of scores (n,) or (n, K)."""
    full = np.column_stack([np.zeros(len(scores)), scores]) if scores.ndim == 1 else scores
    return weights @ (logsumexp(full, axis=1) - full[np.arange(len(labels)), labels])


def minimizer(loss, start, bounds):
    """Return what a generic optimiser finds."""
    options = {"ftol": 1e-15, "gtol": 1e-8, "maxiter": 5000, "maxfun": 10**6}
    return minimize(loss, start, method="L-BFGS-B", bounds=bounds, options=options).x


def hessian(loss, theta, step=1e-3):
    """Return the second derivatives (p, p) of a loss by central differences."""
    p = len(theta)
    e = step * np.eye(p)
    found = np.empty((p, p))
    for i in range(p):
        for j in range(p):
            around = [loss(theta + s * e[i] + t * e[j]) * s * t for s in (1, -1) for t in (1, -1)]
            found[i, j] = sum(around) / (4 * step**2)
    return found
