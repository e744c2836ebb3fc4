"""
Missing predictions
===================

Folders of predictions collected over weeks are rarely complete: a model failed on one fold,
another was trained on half of the rows, a third came too late for the second batch.
``CFEnsembleClassifier`` takes NaN for a missing prediction and fills it in from the instance's
factors, which the other classifiers determine; in training and in prediction by the same rule, and
without labels.

The classifiers here are simulated, so the best possible prediction from the complete matrix is
known.
"""

# %%
# Twenty classifiers. Half of them have gaps: cells missing at random, a fold that failed, a model
# that came late.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from cfe_stack import CFEnsembleClassifier, EnsembleData
from cfe_stack.datasets import make_ensemble
from cfe_stack.displays import CoverageDisplay

N_INSTANCES = 2000
RATES = (0.0, 0.15, 0.3, 0.45, 0.6)

made = make_ensemble(20, N_INSTANCES, class_prior=0.2, correlation=0.2, random_state=0)
random = np.random.default_rng(0)
fifth = N_INSTANCES // 5
R = made.R.copy()
for u in range(4):
    R[u, random.random(N_INSTANCES) < 0.15 * (u + 1)] = np.nan
R[4, fifth : 2 * fifth] = np.nan
R[5:10, : 2 * fifth] = np.nan
coverage = CoverageDisplay.from_data(EnsembleData(R, made.labels))
coverage.plot()

# %%
# How many predictions are left for an instance?

coverage.plot(kind="instances")

# %%
# What do gaps cost? Cells are now taken away at random, the same share in training and in test
# rows. Contenders: the mean of what is there; logistic regression on columns whose gaps hold the
# column's mean; and the completion by factors.

half = N_INSTANCES // 2
y_train, y_test = made.labels[:half], made.labels[half:]


def mean_of_the_rest(P):
    """Return the mean of the predictions that are there; the class frequency without any."""
    count = (~np.isnan(P)).sum(axis=1)
    return np.where(count > 0, np.nansum(P, axis=1) / np.maximum(count, 1), y_train.mean())


losses = {"mean of the rest": [], "column means, logistic regression": [], "CF-Ensemble": []}
for rate in RATES:
    P = np.where(random.random(made.R.T.shape) < rate, np.nan, made.R.T)
    train, test = P[:half], P[half:]
    losses["mean of the rest"].append(log_loss(y_test, mean_of_the_rest(test)))
    filled, filled_test = (
        np.where(np.isnan(Q), np.nanmean(train, axis=0), Q) for Q in (train, test)
    )
    logistic = LogisticRegression(max_iter=1000).fit(filled, y_train)
    losses["column means, logistic regression"].append(
        log_loss(y_test, logistic.predict_proba(filled_test))
    )
    ours = CFEnsembleClassifier(layout="class1").fit(train, y_train)
    losses["CF-Ensemble"].append(log_loss(y_test, ours.predict_proba(test)))
best = log_loss(y_test, made.posterior[half:])

print(f"{'missing':34}" + "".join(f"{rate:8.0%}" for rate in RATES))
for name, values in losses.items():
    print(f"{name:34}" + "".join(f"{value:8.4f}" for value in values))
print(f"{'best possible, nothing missing':34}{best:8.4f}")

# %%
# The order of the three does not change with the gaps. The mean of the rest hardly suffers because
# it has little to lose: an average of calibrated probabilities is too cautious, gaps or not.

figure, axis = plt.subplots(figsize=(6.4, 4), layout="constrained")
for (name, values), style in zip(losses.items(), ("o:", "s--", "^-"), strict=True):
    axis.plot(100 * np.array(RATES), values, style, color="black", label=name)
axis.axhline(best, color="0.6", linewidth=1, label="best possible, nothing missing")
axis.set(xlabel="missing cells (%)", ylabel="log-loss on held-out instances (nats)")
axis.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
plt.show()
