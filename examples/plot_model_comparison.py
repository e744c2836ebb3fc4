"""
Is the ensemble really better?
==============================

Eight learners predict which handwritten digits are an 8. Is it worth combining them, and does it
matter how? `compare_ensembles` gives every contender the same folds: in each, base learners make
out-of-fold predictions of the training rows, contenders learn from those, and the held-out rows
decide.
"""

# %%
# A small pool of learners on one of the problems that are shipped with scikit-learn.

from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from cfe_stack import compare_ensembles
from cfe_stack.datasets import load_demo_problems

N_ROWS = 900
N_TREES = 50
N_REPEATS = 2

problem = load_demo_problems()[2]
X, y = problem.X[:N_ROWS], problem.y[:N_ROWS]
learners = [
    ("forest", RandomForestClassifier(N_TREES, random_state=0)),
    ("extra trees", ExtraTreesClassifier(N_TREES, random_state=0)),
    ("tree", DecisionTreeClassifier(max_depth=5, random_state=0)),
    ("3 neighbours", make_pipeline(StandardScaler(), KNeighborsClassifier(3))),
    ("25 neighbours", make_pipeline(StandardScaler(), KNeighborsClassifier(25))),
    ("logistic", make_pipeline(StandardScaler(), LogisticRegression())),
    ("strict logistic", make_pipeline(StandardScaler(), LogisticRegression(C=0.01))),
    ("naive Bayes", GaussianNB()),
]

# %%
# Names of contenders, or anything with ``fit`` and ``predict_proba`` of one's own. The first metric
# is the one that is ranked and tested.

contenders = {
    "best single": "best single",
    "mean": "mean",
    "greedy selection": "greedy selection",
    "logistic stacking": "LogisticRegression",
    "bagged trees": RandomForestClassifier(N_TREES, min_samples_leaf=10, random_state=0),
    "CF-Ensemble": "CF-Ensemble",
}
metrics = ["log_loss", "pr_auc", "ece"]
comparison = compare_ensembles(
    learners, X, y, contenders=contenders, metrics=metrics, n_repeats=N_REPEATS
)
print(comparison)

# %%
# The intervals come from the corrected resampled t-test, which allows for folds that share training
# rows; the usual t-test would make them about half as wide.

comparison.plot()

# %%
# How probable is a difference that matters? Differences of less than one per cent of the
# reference's log-loss count as none.

for difference in comparison.differences():
    p = difference.posterior
    print(
        f"{difference.contender:20} better {p.lower:.2f}   practically equal {p.equal:.2f}   "
        f"worse {p.higher:.2f}"
    )

# %%
# Row by row: do two contenders err on equally many of the same held-out rows? (McNemar's test, by
# mlxtend, on the classes of largest probability.)

test = comparison.mcnemar("CF-Ensemble", "logistic stacking")
print(f"difference of the accuracies {test.difference:.4f}, p = {test.p_value:.2f}")

# %%
# Many data sets: one matrix of simulated classifiers each. Now sets are what is compared, by ranks;
# bars join contenders that Nemenyi's test does not tell apart.

from cfe_stack import EnsembleData  # noqa: E402
from cfe_stack.datasets import make_ensemble  # noqa: E402

N_SETS = 10

sets = {}
for seed in range(N_SETS):
    made = make_ensemble(8, 250, correlation=0.1 * (seed % 4), random_state=seed)
    sets[f"set {seed}"] = EnsembleData(made.R, made.labels)
names = ["best single", "mean", "geometric mean", "greedy selection", "LogisticRegression"]
many = compare_ensembles(sets, contenders=[*names, "CF-Ensemble"], n_repeats=1)
many.plot()
print(many.verdict())
