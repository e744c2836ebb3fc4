"""
Collapse of the weighted aggregator, and four cures
===================================================

Ten classifiers that never commit themselves, one positive instance in ten, half of the labels
unknown. The classifiers rank well: their plain average does. A logistic unit on their reconstructed
probabilities, moved by one small gradient step per sweep from equal weights, ends with negative
weights and turns the ranking over.

That is unfinished optimisation rather than a property of the loss. The features are not centred and
hardly vary, so for a long time the cheapest way to lower all scores, as nine negatives in ten
demand, is to lower all weights together. Anything that removes this pull cures it:

* class weights: positives and negatives pull equally hard;
* prior initialisation: the intercept starts where the class frequencies put it;
* solving to convergence: the intercept does its work in the end;
* weights that cannot be negative: the logarithmic opinion pool.
"""

# %%
# The data: log-odds of ±0.6, noise of each classifier, and noise that all of them share.

import warnings

import numpy as np
from sklearn.metrics import average_precision_score

from cfe_stack import CFEnsembleTrainer, CollapsedAggregatorWarning, EnsembleData

random = np.random.default_rng(0)
n_classifiers, n_instances = 10, 500
truth = (random.random(n_instances) < 0.1).astype(int)
evidence = np.where(truth == 1, 0.6, -0.6) + 0.35 * random.standard_normal(n_instances)
log_odds = evidence + 0.5 * random.standard_normal((n_classifiers, n_instances))
R = 1 / (1 + np.exp(-log_odds))
labels = truth.astype(float)
labels[250:] = np.nan
data = EnsembleData(R, labels)
unlabelled = np.isnan(labels)

# %%
# The published procedure, and what cures it. Each row is one fit; nothing else changes.

PUBLISHED = {"latent_dim": 15, "tol": 0, "use_class_weights": False, "init_prior": False}
RUNS = {
    "published procedure": {},
    "class weights": {"use_class_weights": True},
    "prior initialisation": {"init_prior": True},
    "solved to convergence": {"aggregator_solver": "converged"},
    "weights >= 0 (log_pool)": {"aggregator_type": "log_pool"},
}

weights, precisions = {}, {}
for name, changes in RUNS.items():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CollapsedAggregatorWarning)
        trainer = CFEnsembleTrainer(**(PUBLISHED | changes), random_state=0).fit(data)
    proba = trainer.transductive_proba_[unlabelled, 1]
    weights[name] = trainer.weights_
    precisions[name] = average_precision_score(truth[unlabelled], proba)
    warned = "warned" if caught else ""
    print(
        f"{name:24} PR-AUC {precisions[name]:.3f}  weights {trainer.weights_.min():6.3f} … "
        f"{trainer.weights_.max():6.3f}  predictions {proba.min():.3f} … {proba.max():.3f}  "
        f"{warned}"
    )
average = average_precision_score(truth[unlabelled], R[:, unlabelled].mean(axis=0))
print(f"{'plain average':24} PR-AUC {average:.3f}")

# %%
# The cures restore the ranking of the plain average. Ranking is not everything, though: only the
# aggregators that are solved give probabilities near the class frequencies. Solving without a
# penalty is free to use differences between ten alike classifiers, and pays for it here.

import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
names = [name for name in RUNS if name != "solved to convergence"]
for offset, (name, marker) in enumerate(zip(names, "vo^s", strict=True)):
    axes.plot(np.sort(weights[name]), marker, color=str(0.18 * offset), label=name)
axes.axhline(0, color="black", linewidth=0.8)
axes.set(xlabel="classifier, by weight", ylabel="aggregator weight", ylim=(-0.1, 0.4))
axes.legend(frameon=False, ncols=2, loc="upper left")
plt.show()
