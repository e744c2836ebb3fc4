"""
Meta-classifier of an mlxtend stack
===================================

``StackingCVClassifier`` makes out-of-fold predictions and hands all class probabilities to its
meta-classifier when ``use_probas=True``. ``CFEnsembleClassifier`` recognises the layout: three
kinds of wine and four learners make twelve columns. Needs
``pip install "cfe-stack[mlxtend,plot]"``.
"""

# %%

import numpy as np
from mlxtend.classifier import StackingCVClassifier
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from cfe_stack import CFEnsembleClassifier

X, y = load_wine(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, stratify=y, random_state=0)
learners = {
    "forest": RandomForestClassifier(20, random_state=0),
    "tree": DecisionTreeClassifier(max_depth=3, random_state=0),
    "neighbours": make_pipeline(StandardScaler(), KNeighborsClassifier(9)),
    "naive Bayes": GaussianNB(),
}


def stacked(meta):
    """Return an mlxtend stack with a meta-classifier, fitted."""
    stack = StackingCVClassifier(
        list(learners.values()), meta_classifier=meta, use_probas=True, cv=5, random_state=0
    )
    return stack.fit(X_train, y_train)


ours, logistic = stacked(CFEnsembleClassifier()), stacked(LogisticRegression(max_iter=1000))
final = ours.meta_clf_
print(f"{final.layout_.n_classifiers} base learners, layout {final.layout_.groups[0].kind!r}")
for name, stack in {"CF-Ensemble": ours, "logistic stacking": logistic}.items():
    print(f"{name:18} log-loss {log_loss(y_test, stack.predict_proba(X_test)):.4f}")

# %%
# Seventy-one held-out wines are few: both stacks are right nearly everywhere, and a difference in
# the second digit says little.

# %%
# Nested parameters keep their names, so a search goes through the stack.

from sklearn.model_selection import GridSearchCV

search = GridSearchCV(
    StackingCVClassifier(
        list(learners.values()),
        meta_classifier=CFEnsembleClassifier(),
        use_probas=True,
        cv=2,
        random_state=0,
    ),
    {"meta_classifier__aggregator": ["auto", "mean"]},
    scoring="neg_log_loss",
    cv=2,
)
search.fit(X_train, y_train)
for parameters, score in zip(
    search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
):
    print(f"{parameters['meta_classifier__aggregator']:5} log-loss {-score:.4f}")

# %%
# What every learner adds to the score of the true class, on average over the held-out wines.

import matplotlib.pyplot as plt

columns = np.hstack([model.predict_proba(X_test) for model in ours.clfs_])
parts = final.explain(columns)[np.arange(len(y_test)), y_test]
figure, axis = plt.subplots(figsize=(7, 2.8), layout="constrained")
axis.boxplot(parts, orientation="horizontal", tick_labels=list(learners), widths=0.5)
axis.set(xlabel="contribution to the score of the true class")
axis.axvline(0, color="0.8", linewidth=0.8, zorder=0)
axis.spines[["top", "right"]].set_visible(False)
plt.show()
