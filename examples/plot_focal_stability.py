"""
The focal loss near certainty: where it breaks, and two cures
=============================================================

The focal loss multiplies the cross-entropy by :math:`(1 - p_t)^\\gamma`. For
:math:`0 < \\gamma < 1` that factor has an infinite slope at :math:`p_t = 1`, and in single
precision probabilities do round to 1: the gradient becomes 0 · ∞, which is not a number.

van Leeuwen et al. ("A Note on the Stability of the Focal Loss", TMLR 2025) add a small constant,
:math:`(1 - p_t + \\delta)^\\gamma`. ``cfe_stack`` does so as well, with δ = 0.001 for
:math:`0 < \\gamma < 1`, and besides never forms the probability: it works on margins, the log-odds
of the true class, where nothing rounds to 1. Needs ``pip install "cfe-stack[torch,plot]"``.
"""

# %%
# Gradients in single precision, by automatic differentiation.

import numpy as np
import torch

from cfe_stack.losses.focal_loss import FocalLoss

MARGINS = (5.0, 15.0, 20.0, 100.0, 1e4)


def by_probability(margin, gamma, delta):
    """Return the focal loss as it is usually written."""
    p_t = torch.sigmoid(margin)
    return -((1 - p_t + delta) ** gamma) * torch.log(p_t)


def gradients(loss):
    margin = torch.tensor(MARGINS, requires_grad=True)
    loss(margin).sum().backward()
    return " ".join(f"{g:>9.1e}" for g in margin.grad.tolist())


print(f"{'margin':>32} " + " ".join(f"{m:>9g}" for m in MARGINS))
for gamma in (0.1, 0.5, 0.95, 2.0):
    for name, loss in (
        ("probability, delta 0", lambda m, g=gamma: by_probability(m, g, 0.0)),
        ("probability, delta 1e-3", lambda m, g=gamma: by_probability(m, g, 1e-3)),
        ("margin, delta 0", lambda m, g=gamma: FocalLoss(g, 0.0).value(m, torch)),
        ("margin, delta 1e-3", lambda m, g=gamma: FocalLoss(g, 1e-3).value(m, torch)),
    ):
        print(f"gamma {gamma:4g} {name:>22} {gradients(loss)}")

# %%
# The slope of the modulating factor near :math:`p_t = 1`: unbounded below γ = 1, at most
# :math:`\gamma \delta^{\gamma - 1}` with δ.

import matplotlib.pyplot as plt

miss = np.logspace(-8, 0, 400)
figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True, layout="constrained")
for axis, delta in zip(axes, (0.0, 1e-3), strict=True):
    for shade, gamma in enumerate((0.1, 0.25, 0.5, 0.75, 1.0, 2.0)):
        slope = gamma * (miss + delta) ** (gamma - 1)
        axis.loglog(miss, slope, color=str(0.14 * shade), label=f"γ = {gamma:g}")
    axis.set(title=f"δ = {delta:g}", xlabel="1 − p_t", ylim=(1e-3, 1e8))
axes[0].set_ylabel("slope of (1 − p_t + δ)^γ")
axes[0].legend(frameon=False)

# %%
# The derivative that training uses, in the margin. It is bounded with and without δ; δ keeps a
# little of the gradient of easy instances.

margin = np.linspace(-6, 12, 400)
figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
for shade, gamma in enumerate((0.0, 0.25, 0.5, 1.0, 2.0, 5.0)):
    axis.plot(
        margin, FocalLoss(gamma).derivative(margin), color=str(0.14 * shade), label=f"γ = {gamma:g}"
    )
axis.set(xlabel="margin, log-odds of the true class", ylabel="derivative of the focal loss")
axis.legend(frameon=False)
plt.show()
