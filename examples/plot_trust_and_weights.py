"""
Whom does the ensemble trust, and where?
========================================

Seven learners, two of them boosters, on data with one positive in eleven. ``CFEnsembleClassifier``
takes the place of ``LogisticRegression()`` as the final estimator of a scikit-learn stack. The
displays then show the result, on rows that no learner was trained on: the ranking, the
calibration, the weights along the instance factor, and how sure those weights are. Needs
``pip install "cfe-stack[boosting,plot]"``.
"""

# %%
# Nothing about the stack is special. The pipelines inside it stay what they were.

import matplotlib.pyplot as plt
import numpy as np
from lightgbm import LGBMClassifier
from sklearn.datasets import make_classification
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier, StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_predict, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

from cfe_stack import CFEnsembleClassifier
from cfe_stack.displays import (
    AggregatorWeightsDisplay,
    ClassifierMapDisplay,
    GradientShareDisplay,
    InstanceMapDisplay,
    RankingCurvesDisplay,
    ReliabilityDisplay,
    TrustDisplay,
)

N_ROWS = 3000
N_TREES = 100
N_REFITS = 20

X, y = make_classification(
    N_ROWS, n_features=20, n_informative=6, n_clusters_per_class=4, weights=[0.92],
    flip_y=0.02, class_sep=0.9, random_state=0,
)  # fmt: skip
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

trees = {"n_estimators": N_TREES, "n_jobs": 1, "random_state": 0}
learners = [
    ("xgboost", XGBClassifier(max_depth=4, learning_rate=0.1, **trees)),
    ("lightgbm", LGBMClassifier(num_leaves=15, verbose=-1, **trees)),
    ("random forest", RandomForestClassifier(**trees)),
    ("extra trees", ExtraTreesClassifier(min_samples_leaf=3, **trees)),
    ("logistic regression", make_pipeline(StandardScaler(), LogisticRegression())),
    ("nearest neighbours", make_pipeline(StandardScaler(), KNeighborsClassifier(15))),
    ("naive Bayes", GaussianNB()),
]
folds = StratifiedKFold(5, shuffle=True, random_state=0)
stack = StackingClassifier(learners, CFEnsembleClassifier(), cv=folds).fit(X_train, y_train)

proba = stack.predict_proba(X_test)
single = stack.transform(X_test)
print(f"{'':22}  log-loss  PR-AUC")
for name, p in [("CF-Ensemble", proba[:, 1]), ("plain mean", single.mean(axis=1))] + [
    (name, np.clip(column, 1e-4, 1 - 1e-4))
    for (name, _), column in zip(learners, single.T, strict=True)
]:
    print(f"{name:22}  {log_loss(y_test, p):.4f}    {average_precision_score(y_test, p):.4f}")

# %%
# Ranking and calibration, next to the plain mean of the learners and to the learners themselves.
# The displays take the stack as it is, and find the final estimator and the names in it.

figure, axes = plt.subplots(1, 2, figsize=(11, 5.6), layout="constrained")
RankingCurvesDisplay.from_estimator(stack, X_test, y_test).plot(axes[0])
ReliabilityDisplay.from_estimator(stack, X_test, y_test).plot(axes[1])

# %%
# Trust. The horizontal axis is the first instance factor, which grows with the log-odds that the
# learners give together; the line below says which mean prediction that is. A row that changes
# from left to right is a learner that is trusted for one kind of instance more than for another;
# one that fades at both ends is pooled by bounded log-odds, where sureness counts for less.

TrustDisplay.from_estimator(stack, X_test).plot()

# %%
# The plane of the first two factors: learners that predict alike stand together on the left, and
# instances that are seen alike on the right.

figure, axes = plt.subplots(1, 2, figsize=(12.5, 5), layout="constrained")
ClassifierMapDisplay.from_estimator(stack, X_test, y_test).plot(axes[0])
InstanceMapDisplay.from_estimator(stack, X_test, y_test).plot(axes[1])

# %%
# How sure are the weights? The stack does not keep the out-of-fold columns that the final estimator
# was fitted on; here they are computed once more, in the same folds. Learners that say much the
# same can stand in for one another, and their intervals are wide.

columns = np.column_stack(
    [
        cross_val_predict(learner, X_train, y_train, cv=folds, method="predict_proba")[:, 1]
        for _, learner in learners
    ]
)
AggregatorWeightsDisplay.from_estimator(
    CFEnsembleClassifier().fit(columns, y_train), columns, y_train,
    names=[name for name, _ in learners], n_bootstrap=N_REFITS, random_state=0,
).plot()  # fmt: skip

# %%
# Whom would class weights and the focal loss listen to? Most instances are easy, and together have
# a good part of the gradient of the cross-entropy. Both tools move it to the hard ones.

GradientShareDisplay.from_estimator(stack, X_test, y_test).plot()
plt.show()
