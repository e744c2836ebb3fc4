"""How far a meta-learner's opinion of itself can be trusted, and what it makes of pure chance."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from cfe_stack.classifier import CFEnsembleClassifier
from cfe_stack.ensemble_data import EnsembleData, observed
from cfe_stack.extras import progress_bar
from cfe_stack.folds import inner_folds
from cfe_stack.layout import stacked_columns
from cfe_stack.link import DEFAULT_CLIP
from cfe_stack.losses import probabilities

NULL_SKILL = 0.01
"""Skill on permuted labels from which the meta-learner's own estimate is called optimistic."""


@dataclass(frozen=True)
class MetaLearnerCheck:
    """How far the meta-learner's opinion of itself can be trusted.

    Parameters
    ----------
    prior : float
        Log-loss of the class frequencies.
    apparent : float
        Log-loss on the rows that it was fitted on.
    own_estimate : float
        Its own out-of-fold estimate; NaN where it makes none.
    nested : float
        Cross-validated: no row is predicted by a meta-learner that saw its label.
    nested_error : float
        Standard error of `nested` over rows.
    null_skills : tuple of float
        1 − log-loss / log-loss of the class frequencies, by cross-validation with permuted labels.
    """

    prior: float
    apparent: float
    own_estimate: float
    nested: float
    nested_error: float
    null_skills: tuple[float, ...]

    @property
    def optimism(self) -> float:
        """Nested minus apparent log-loss."""
        return self.nested - self.apparent

    @property
    def skill(self) -> float:
        """1 − nested log-loss / log-loss of the class frequencies."""
        return 1 - self.nested / self.prior

    @property
    def null_is_clean(self) -> bool:
        """Whether nothing is learned from permuted labels."""
        if not self.null_skills:
            return True
        skills = np.array(self.null_skills)
        error = skills.std(ddof=1) / np.sqrt(len(skills)) if len(skills) > 1 else 0.0
        return bool(skills.mean() <= max(NULL_SKILL, 3 * error))


def check_meta_learner(
    data: EnsembleData,
    estimator: Any,
    cv: Any,
    n_permutations: int,
    random_state: int | np.random.RandomState | None,
    progress: bool,
) -> MetaLearnerCheck:
    """Score a meta-learner on its training rows, by nested folds, and on permuted labels.

    Parameters
    ----------
    data, estimator, cv, n_permutations, random_state, progress
        As `final_estimator` and the others in :func:`~cfe_stack.leakage.check_leakage`.

    Returns
    -------
    MetaLearnerCheck
    """
    random = check_random_state(random_state)
    columns, layout = stacked_columns(data)
    estimator = clone(estimator)
    if isinstance(estimator, CFEnsembleClassifier) and estimator.layout == "auto":
        estimator.set_params(layout=layout)
    usable = (data.labels >= 0) & observed(data.R).any(axis=0) & (data.frequencies > 0)
    P, codes, weights = columns[usable], data.labels[usable], data.frequencies[usable]
    splits = cv
    if not isinstance(cv, int | np.integer) and not hasattr(cv, "split"):
        position = np.cumsum(usable) - 1
        splits = [[position[np.asarray(part)[usable[part]]] for part in split] for split in cv]
    folds = inner_folds(P, codes, weights, splits)[0]

    fitted = _fit(estimator, P, codes, weights)
    own = getattr(fitted, "cv_logits_", None)
    passes = progress_bar(range(1 + n_permutations), 1 + n_permutations, "leak check", progress)
    losses, skills = np.empty(len(codes)), []
    for turn in passes:
        truth = codes if turn == 0 else random.permutation(codes)
        found = _nested_losses(estimator, P, truth, weights, folds)
        if turn == 0:
            losses = found
        else:
            loss = float(np.average(found, weights=weights))
            skills.append(1 - loss / _prior_loss(truth, weights))
    return MetaLearnerCheck(
        prior=_prior_loss(codes, weights),
        apparent=float(np.average(_losses(_proba(fitted, P), codes), weights=weights)),
        own_estimate=_own_loss(own, codes, weights),
        nested=float(np.average(losses, weights=weights)),
        nested_error=float(losses.std(ddof=1) / np.sqrt(len(losses))),
        null_skills=tuple(skills),
    )


def _prior_loss(codes: np.ndarray, weights: np.ndarray) -> float:
    frequencies = np.bincount(codes, weights) / weights.sum()
    return float(-np.average(np.log(frequencies[codes]), weights=weights))


def _fit(estimator: Any, P: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> Any:
    if (weights == 1).all():
        return clone(estimator).fit(P, codes)
    return clone(estimator).fit(P, codes, sample_weight=weights)


def _proba(fitted: Any, P: np.ndarray) -> np.ndarray:
    """Return probabilities of all class codes, those that were absent in training included."""
    proba = np.zeros((len(P), int(fitted.classes_.max()) + 1))
    proba[:, fitted.classes_.astype(int)] = fitted.predict_proba(P)
    return proba


def _losses(proba: np.ndarray, codes: np.ndarray) -> np.ndarray:
    true = np.zeros(len(codes))
    known = codes < proba.shape[1]
    true[known] = proba[np.flatnonzero(known), codes[known]]
    return -np.log(np.clip(true, DEFAULT_CLIP, 1))


def _own_loss(scores: Any, codes: np.ndarray, weights: np.ndarray) -> float:
    if scores is None or len(scores) != len(codes):
        return float("nan")
    known = ~np.isnan(np.asarray(scores).reshape(len(codes), -1)).any(axis=1)
    losses = _losses(probabilities(scores[known]), codes[known])
    return float(np.average(losses, weights=weights[known]))


def _nested_losses(
    estimator: Any, P: np.ndarray, codes: np.ndarray, weights: np.ndarray, folds: np.ndarray
) -> np.ndarray:
    """Return the log-loss of every row, predicted by a meta-learner of the other folds."""
    losses = np.empty(len(codes))
    for fold in np.unique(folds):
        held_out = folds == fold
        fitted = _fit(estimator, P[~held_out], codes[~held_out], weights[~held_out])
        losses[held_out] = _losses(_proba(fitted, P[held_out]), codes[held_out])
    return losses
