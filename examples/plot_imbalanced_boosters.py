"""
Boosters and others on a rare class
===================================

Is it an 8? One image in ten is. Six learners, two of them boosters, are stacked by scikit-learn
with ``CFEnsembleClassifier`` as final estimator, and compared with their average, with logistic
stacking on the same out-of-fold columns, and with the learners themselves. Needs
``pip install "cfe-stack[boosting,plot]"``.
"""

# %%
# The learners. None of them knows that the classes are unequal.

import numpy as np
from lightgbm import LGBMClassifier
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier, StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier

from cfe_stack import CFEnsembleClassifier

X, digit = load_digits(return_X_y=True)
y = (digit == 8).astype(int)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, stratify=y, random_state=0)
learners = [
    ("XGBoost", XGBClassifier(n_estimators=60, max_depth=3, n_jobs=1, random_state=0)),
    ("LightGBM", LGBMClassifier(n_estimators=60, num_leaves=7, n_jobs=1, verbose=-1)),
    ("extra trees", ExtraTreesClassifier(100, random_state=0)),
    ("logistic", make_pipeline(StandardScaler(), LogisticRegression())),
    ("neighbours", make_pipeline(StandardScaler(), KNeighborsClassifier(15))),
    ("tree", DecisionTreeClassifier(min_samples_leaf=10, random_state=0)),
]

# %%
# One stack. ``transform`` gives the predictions of the learners on new rows; logistic stacking is
# fitted to the very columns that the stack was fitted to.

folds = StratifiedKFold(5, shuffle=True, random_state=0)


class Keeping(CFEnsembleClassifier):
    """The final estimator, which also remembers the columns it was fitted to."""

    def fit(self, X, y, sample_weight=None, groups=None):
        self.columns_ = X
        return super().fit(X, y, sample_weight, groups)


stack = StackingClassifier(learners, Keeping(), stack_method="predict_proba", cv=folds)
stack.fit(X_train, y_train)
columns_test = stack.transform(X_test)
logistic = LogisticRegression(max_iter=1000).fit(stack.final_estimator_.columns_, y_train)

forecasts = {name: columns_test[:, u] for u, (name, _) in enumerate(learners)}
forecasts["average"] = columns_test.mean(axis=1)
forecasts["logistic stacking"] = logistic.predict_proba(columns_test)[:, 1]
forecasts["CF-Ensemble"] = stack.predict_proba(X_test)[:, 1]

print(f"{'':20}  log-loss   ROC-AUC    PR-AUC")
for name, p in forecasts.items():
    scores = log_loss(y_test, p), roc_auc_score(y_test, p), average_precision_score(y_test, p)
    print(f"{name:20}" + "".join(f"{score:10.4f}" for score in scores))

# %%
# One split of one data set: the order of the upper rows is partly luck. What it is over 22 data
# sets is measured by ``examples/benchmarks/real_data.py``.

import matplotlib.pyplot as plt
from sklearn.metrics import precision_recall_curve

STYLES = {
    "average": {"color": "0.45", "linestyle": "--", "linewidth": 1.6},
    "logistic stacking": {"color": "0.2", "linestyle": ":", "linewidth": 2.0},
    "CF-Ensemble": {"color": "black", "linewidth": 2.2},
}
figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for name, p in forecasts.items():
    precision, recall, _ = precision_recall_curve(y_test, p)
    style = STYLES.get(name, {"color": "0.8", "linewidth": 1.2})
    label = name if name in STYLES else ("single learners" if name == "XGBoost" else None)
    axes[0].step(recall, precision, where="post", label=label, **style)
axes[0].set(xlabel="recall", ylabel="precision", xlim=(0.4, 1.01), ylim=(0.4, 1.02))
axes[0].legend(frameon=False, loc="lower left")
axes[0].set_title("Precision and recall on held-out images")

losses = sorted(((log_loss(y_test, p), name) for name, p in forecasts.items()), reverse=True)
values, names = zip(*losses, strict=True)
shades = ["black" if name == "CF-Ensemble" else "0.7" for name in names]
axes[1].barh(names, values, color=shades)
axes[1].bar_label(axes[1].containers[0], fmt="%.3f", padding=3)
axes[1].set(xlabel="log-loss on held-out images (lower is better)", xlim=(0, 1.15 * max(values)))
axes[1].spines[["top", "right"]].set_visible(False)
axes[0].spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Whom the stack listens to: the weights of calibrated log-odds, and how far they move between the
# two ends of the gate.

final = stack.final_estimator_
figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
places = np.arange(len(learners))
low, high = final.weights_ - final.gate_[0], final.weights_ + final.gate_[0]
axis.hlines(places, np.minimum(low, high), np.maximum(low, high), color="0.6", linewidth=5)
axis.plot(final.weights_, places, "o", color="black")
axis.set_yticks(places, [name for name, _ in learners])
axis.set(xlabel="weight (dot), and its range over the gate (bar)")
axis.axvline(0, color="0.8", linewidth=0.8, zorder=0)
axis.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Probabilities are calibrated whatever the classes weigh in training. ``class_weight`` moves
# ``predict``, which then takes the class of the largest weight × probability.

balanced = CFEnsembleClassifier(class_weight="balanced")
balanced.fit(stack.final_estimator_.columns_, y_train)
for name, model in {"plain": final, "balanced": balanced}.items():
    called = model.predict(columns_test) == 1
    found = called[y_test == 1].mean()
    print(
        f"{name:9} mean probability {model.predict_proba(columns_test)[:, 1].mean():.3f}, "
        f"called an 8: {called.sum()} of {len(called)}, eights found: {found:.0%}"
    )
