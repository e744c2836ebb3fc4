"""What people use to combine out-of-fold predictions, each as one function.

A contender takes training predictions (n, m) = P(class 1) or (n, m, K), their class codes, and test
predictions of the same layout, and returns test probabilities (n_test, K).
"""

import warnings
from collections.abc import Callable

import numpy as np
from scipy.optimize import nnls
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cfe_stack import CFEnsembleClassifier, CFEnsembleTrainer, EnsembleData
from cfe_stack.link import make_link

Contender = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]
ROUNDS = 50
STEP = 0.01


def full(P: np.ndarray) -> np.ndarray:
    """Return probabilities of all classes, (n, m, K)."""
    return np.stack([1 - P, P], axis=-1) if P.ndim == 2 else P


def flat(P: np.ndarray) -> np.ndarray:
    """Return the columns that scikit-learn's stack hands to its final estimator."""
    return P.reshape(len(P), -1)


def log_loss_of(proba: np.ndarray, y: np.ndarray) -> float:
    return float(-np.log(np.maximum(proba[np.arange(len(y)), y], 1e-6)).mean())


def mean(P, y, T, n_classes):
    return full(T).mean(axis=1)


def geometric_mean(P, y, T, n_classes):
    logs = np.log(np.clip(full(T), 1e-3, 1)).mean(axis=1)
    proba = np.exp(logs - logs.max(axis=1, keepdims=True))
    return proba / proba.sum(axis=1, keepdims=True)


def best_single(P, y, T, n_classes):
    losses = [log_loss_of(full(P)[:, u], y) for u in range(P.shape[1])]
    return full(T)[:, int(np.argmin(losses))]


def greedy_selection(P, y, T, n_classes):
    """Caruana et al. (2004): with replacement, the best prefix of 50 rounds by log-loss."""
    given = full(P)[np.arange(len(y)), :, y]
    total, picks, losses = np.zeros(len(y)), [], []
    for size in range(1, ROUNDS + 1):
        candidates = np.maximum((total[:, None] + given) / size, 1e-6)
        loss = -np.log(candidates).mean(axis=0)
        picks.append(int(loss.argmin()))
        losses.append(loss.min())
        total += given[:, picks[-1]]
    chosen = picks[: int(np.argmin(losses)) + 1]
    return full(T)[:, chosen].mean(axis=1)


def hill_climbing(P, y, T, n_classes):
    """The notebooks' version: blend in one model at a time, weights 0 … 0.5 in steps of .01."""
    given = full(P)[np.arange(len(y)), :, y]
    start = int(np.argmin(-np.log(np.maximum(given, 1e-6)).mean(axis=0)))
    weights = np.zeros(P.shape[1])
    weights[start] = 1.0
    current, best = given[:, start], log_loss_of(full(P)[:, start], y)
    steps = np.arange(0.0, 0.5 + STEP, STEP)
    for _ in range(ROUNDS):
        trials = [
            -np.log(np.maximum((1 - s) * current[:, None] + s * given, 1e-6)).mean(axis=0)
            for s in steps
        ]
        s, u = np.unravel_index(np.argmin(trials), (len(steps), P.shape[1]))
        if best - trials[s][u] < 1e-5:
            break
        best = trials[s][u]
        weights *= 1 - steps[s]
        weights[u] += steps[s]
        current = given @ weights
    proba = np.clip(np.einsum("nmk,m->nk", full(T), weights), 1e-6, None)
    return proba / proba.sum(axis=1, keepdims=True)


def logistic(P, y, T, n_classes):
    """Logistic stacking on probabilities: scikit-learn's default final estimator."""
    return LogisticRegression(max_iter=1000).fit(flat(P), y).predict_proba(flat(T))


def log_odds(P, n_classes):
    return flat(make_link("logit", n_classes).forward(P.astype(float)))


def logistic_log_odds(P, y, T, n_classes):
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return model.fit(log_odds(P, n_classes), y).predict_proba(log_odds(T, n_classes))


def _logistic_cv(A, y, B):
    model = make_pipeline(
        StandardScaler(),
        LogisticRegressionCV(
            Cs=10,
            cv=5,
            scoring="neg_log_loss",
            max_iter=1000,
            use_legacy_attributes=False,
            l1_ratios=(0.0,),
        ),
    )
    return model.fit(A, y).predict_proba(B)


def logistic_cv(P, y, T, n_classes):
    return _logistic_cv(flat(P), y, flat(T))


def logistic_cv_log_odds(P, y, T, n_classes):
    return _logistic_cv(log_odds(P, n_classes), y, log_odds(T, n_classes))


def nonnegative_least_squares(P, y, T, n_classes):
    columns = full(P).transpose(0, 2, 1).reshape(-1, P.shape[1]).astype(float)
    weights = nnls(columns, (y[:, None] == np.arange(n_classes)).ravel().astype(float))[0]
    proba = np.clip(np.einsum("nmk,m->nk", full(T), weights), 1e-6, None)
    return proba / proba.sum(axis=1, keepdims=True)


def lightgbm_meta(P, y, T, n_classes):
    import lightgbm

    model = lightgbm.LGBMClassifier(
        n_estimators=100, learning_rate=0.05, num_leaves=7, n_jobs=1, verbose=-1
    )
    return model.fit(flat(P), y).predict_proba(flat(T))


def published_als(P, y, T, n_classes):
    """The sources' ALS procedure, transductive: test instances are columns without a label."""
    R = np.concatenate([P, T]).swapaxes(0, 1).astype(float)
    labels = np.concatenate([y, np.full(len(T), -1)])
    trainer = CFEnsembleTrainer(tol=0, init_prior=False, random_state=0)
    return trainer.fit(EnsembleData(R, labels)).transductive_proba_[len(P) :]


def ours(**options) -> Contender:
    """Return the contender that is CFEnsembleClassifier with the given options."""

    def contender(P, y, T, n_classes):
        model = CFEnsembleClassifier(**options)
        return model.fit(flat(P), y).predict_proba(flat(T))

    return contender


CONTENDERS: dict[str, Contender] = {
    "mean": mean,
    "geometric mean": geometric_mean,
    "best single": best_single,
    "greedy selection": greedy_selection,
    "hill climbing": hill_climbing,
    "non-negative least squares": nonnegative_least_squares,
    "LogisticRegression": logistic,
    "LogisticRegression, log-odds": logistic_log_odds,
    "LogisticRegressionCV": logistic_cv,
    "LogisticRegressionCV, log-odds": logistic_cv_log_odds,
    "LightGBM": lightgbm_meta,
    "published ALS": published_als,
    "weighted": ours(aggregator="weighted"),
    "log_pool": ours(aggregator="log_pool"),
    "gated_pool": ours(aggregator="gated_pool"),
    "signed_pool": ours(aggregator="signed_pool"),
    "auto": ours(),
}


def quietly(contender: Contender, *args) -> np.ndarray:
    """Run a contender; a stopped solver is a weak contender, not a reason to stop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return contender(*args)
