"""
More and more predictions missing
=================================

Twelve simulated classifiers whose best combination is known exactly. Cells of their matrix go
missing at random, in training and test alike, and three ways to go on are compared: leave it to
``CFEnsembleClassifier``; fill with the mean of the column and take logistic regression; average
what is left in the row. The best that is possible with all cells stands beside them.
"""

# %%

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline

from cfe_stack import CFEnsembleClassifier
from cfe_stack.datasets import make_ensemble

SHARES = (0.0, 0.2, 0.4, 0.6)
SEEDS = range(5)
N_TRAIN = 500


def columns_of(share, seed):
    """Return the simulated ensemble with a share of missing cells; no row is left empty."""
    made = make_ensemble(12, 1500, correlation=0.3, missing_rate=share, random_state=seed)
    columns = made.R.T.copy()
    whole = make_ensemble(12, 1500, correlation=0.3, random_state=seed).R.T
    empty = np.isnan(columns).all(axis=1)
    columns[empty, 0] = whole[empty, 0]
    return columns, made.labels, made.posterior


def row_mean(train, y, test):
    return np.nanmean(test, axis=1)


def imputed(train, y, test):
    model = make_pipeline(SimpleImputer(), LogisticRegression(max_iter=1000)).fit(train, y)
    return model.predict_proba(test)[:, 1]


def ours(train, y, test):
    return CFEnsembleClassifier().fit(train, y).predict_proba(test)[:, 1]


CONTENDERS = {
    "mean of the row": row_mean,
    "column mean, logistic": imputed,
    "CF-Ensemble": ours,
}
losses = {name: np.zeros((len(SHARES), len(SEEDS))) for name in (*CONTENDERS, "best possible")}
for row, share in enumerate(SHARES):
    for column, seed in enumerate(SEEDS):
        P, y, posterior = columns_of(share, seed)
        train, test = slice(None, N_TRAIN), slice(N_TRAIN, None)
        for name, contender in CONTENDERS.items():
            proba = contender(P[train], y[train], P[test])
            losses[name][row, column] = log_loss(y[test], proba)
        losses["best possible"][row, column] = log_loss(y[test], posterior[test])

print(f"{'missing':24}" + "".join(f"{share:>9.0%}" for share in SHARES))
for name, values in losses.items():
    print(f"{name:24}" + "".join(f"{value:9.4f}" for value in values.mean(axis=1)))

# %%
# Means over five seeds. The last row has all cells whatever is missing, so nobody can stay with it.

import matplotlib.pyplot as plt

STYLES = {
    "mean of the row": "s--",
    "column mean, logistic": "^:",
    "CF-Ensemble": "o-",
    "best possible": "-",
}
figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
for (name, values), color in zip(losses.items(), ("0.55", "0.3", "black", "0.8"), strict=True):
    axis.plot(SHARES, values.mean(axis=1), STYLES[name], color=color, label=name)
axis.set(xlabel="share of missing cells", ylabel="log-loss on new rows", xticks=SHARES)
axis.legend(frameon=False)
axis.spines[["top", "right"]].set_visible(False)
plt.show()
