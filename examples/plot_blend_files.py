"""
Blend of prediction files, as after a competition
=================================================

Two folders hold one file for each model: predictions for the training rows, made out-of-fold, and
predictions for the test rows. Not every model has predicted every row, and the rows stand in any
order. In the end there is one submission file, and an honest idea of how good it is. Needs
``pip install "cfe-stack[files,plot]"``.

The same from the command line::

    cfe-stack blend --oof oof --test test --target train.csv:is_eight \\
        --out submission.csv --report report.html
"""

# %%
# First the files. Seven real learners tell eights from other digits, one in ten; pixels are blurred
# by noise, so that it is not too easy. Two learners were stopped early and lack rows, one file has
# its rows in another order.

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_predict, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

N_TREES = 60
N_REFITS = 10

random = np.random.default_rng(0)
X, digit = load_digits(return_X_y=True)
X = X + 4 * random.standard_normal(X.shape)
y = (digit == 8).astype(int)
ids = random.permutation(len(y)) + 10_000
X, X_test, y, y_test, ids, ids_test = train_test_split(
    X, y, ids, test_size=0.4, stratify=y, random_state=0
)
learners = {
    "trees": ExtraTreesClassifier(N_TREES, random_state=0),
    "boosting": HistGradientBoostingClassifier(max_iter=N_TREES, random_state=0),
    "linear": make_pipeline(StandardScaler(), LogisticRegression(C=0.1)),
    "network": make_pipeline(StandardScaler(), MLPClassifier((20,), alpha=1.0, random_state=0)),
    "neighbours": make_pipeline(StandardScaler(), KNeighborsClassifier(15)),
    "bayes": GaussianNB(),
    "small_tree": DecisionTreeClassifier(max_depth=4, random_state=0),
}
learners["network"].set_params(mlpclassifier__max_iter=1000)

folder = Path(tempfile.mkdtemp())
folds = StratifiedKFold(5, shuffle=True, random_state=0)
(folder / "oof").mkdir()
(folder / "test").mkdir()
pd.DataFrame({"id": ids, "is_eight": y}).to_csv(folder / "train.csv", index=False)
for name, learner in learners.items():
    out_of_fold = cross_val_predict(learner, X, y, cv=folds, method="predict_proba")[:, 1]
    predicted = learner.fit(X, y).predict_proba(X_test)[:, 1]
    oof = pd.DataFrame({"id": ids, "p": out_of_fold})
    test = pd.DataFrame({"id": ids_test, "p": predicted})
    if name in ("network", "neighbours"):
        oof, test = oof.sample(frac=0.7, random_state=1), test.sample(frac=0.8, random_state=1)
    oof.to_csv(folder / "oof" / f"{name}.csv", index=False)
    test.to_csv(folder / "test" / f"{name}.csv", index=False)

# %%
# Reading joins the files by row id. A row that a model lacks is a missing cell; anything that does
# not fit is an error that names file, row and column.

from cfe_stack.prediction_files.files import read_train_and_test  # noqa: E402

target = (folder / "train.csv", "is_eight")
data, test = read_train_and_test(folder / "oof", folder / "test", target)
print(data)
print(test)

# %%
# The blend, and simpler ways on the same held-out rows. Intervals are over rows; the last column
# counts draws of the rows in which the blend is better.

from cfe_stack.blending.blend import blend, format_scores, write_submission  # noqa: E402

blended = blend(data, test, progress=False)
print(format_scores(blended))
write_submission(blended, folder / "submission.csv", target_column="is_eight")
print((folder / "submission.csv").read_text("utf-8")[:60])

# %%
# Here the test labels are known, so that the estimate can be checked.

truth = pd.Series(y_test, index=ids_test.astype(str))[test.instance_ids].to_numpy()
mean = np.nanmean(test.R, axis=0)
print(f"log-loss on test rows: blend {log_loss(truth, blended.proba[:, 1]):.4f}, ", end="")
print(f"mean of the models {log_loss(truth, mean):.4f}")

# %%
# Weights of the models, with the range of refits to rows drawn again, and who predicts like whom.
# ``write_report(blended, folder / "report.html")`` puts these and more on one page.

import matplotlib.pyplot as plt  # noqa: E402

from cfe_stack.displays import AggregatorWeightsDisplay, ClassifierMapDisplay  # noqa: E402

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
AggregatorWeightsDisplay.from_estimator(
    blended.classifier, data, n_bootstrap=N_REFITS, random_state=0, progress=False
).plot(axes[0])
ClassifierMapDisplay.from_estimator(blended.classifier, data).plot(axes[1])
plt.show()

# %%
# What if somebody hands in predictions for rows that the model was trained on? They look like the
# best model of all, and a blend would trust them. Their certainty on test rows gives them away.

from cfe_stack.data.in_sample import SuspiciousPredictionsError  # noqa: E402

in_sample = learners["trees"].predict_proba(X)[:, 1]
pd.DataFrame({"id": ids, "p": in_sample}).to_csv(folder / "oof" / "trees.csv", index=False)
try:
    read_train_and_test(folder / "oof", folder / "test", target)
except SuspiciousPredictionsError as error:
    print(error)
