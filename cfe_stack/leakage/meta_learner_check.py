"""How far a meta-learner's opinion of itself can be trusted, and what it makes of pure chance."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from cfe_stack.classifier.ensemble_classifier import CFEnsembleClassifier
from cfe_stack.comparison.contenders import Contender, resolve_contenders
from cfe_stack.cross_validation.inner_folds import inner_folds
from cfe_stack.data.blocks import observed
from cfe_stack.data.ensemble_data import EnsembleData, take
from cfe_stack.losses.link import DEFAULT_CLIP
from cfe_stack.losses.raw_scores import probabilities
from cfe_stack.meta_features.stacked_columns import class_frequencies, stacked_columns
from cfe_stack.runtime.progress import progress_bar

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
    usable = (data.labels >= 0) & observed(data.R).any(axis=0) & (data.frequencies > 0)
    known = take(data, np.flatnonzero(usable))
    codes, weights = known.labels, known.frequencies
    (contender,) = resolve_contenders({"meta-learner": estimator})
    columns, _ = stacked_columns(known)
    folds = inner_folds(columns, codes, weights, _among(cv, usable))[0]

    passes = progress_bar(range(1 + n_permutations), 1 + n_permutations, "leak check", progress)
    losses, skills = np.empty(len(codes)), []
    for turn in passes:
        truth = known if turn == 0 else replace(known, labels=random.permutation(codes))
        found = _nested_losses(contender, truth, folds)
        if turn == 0:
            losses = found
        else:
            loss = float(np.average(found, weights=weights))
            skills.append(1 - loss / _prior_loss(truth))
    apparent = _losses(contender.predict(known, known), codes)
    return MetaLearnerCheck(
        prior=_prior_loss(known),
        apparent=float(np.average(apparent, weights=weights)),
        own_estimate=_own_estimate(estimator, known),
        nested=float(np.average(losses, weights=weights)),
        nested_error=float(losses.std(ddof=1) / np.sqrt(len(losses))),
        null_skills=tuple(skills),
    )


def _among(cv: Any, usable: np.ndarray) -> Any:
    """Return splits given by row numbers with the numbers that usable rows have among them."""
    if isinstance(cv, int | np.integer) or hasattr(cv, "split"):
        return cv
    position = np.cumsum(usable) - 1
    return [[position[np.asarray(part)[usable[part]]] for part in split] for split in cv]


def _prior_loss(data: EnsembleData) -> float:
    frequencies = class_frequencies(data)
    return float(-np.average(np.log(frequencies[data.labels]), weights=data.frequencies))


def _losses(proba: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return -np.log(np.clip(proba[np.arange(len(codes)), codes], DEFAULT_CLIP, 1))


def _nested_losses(contender: Contender, data: EnsembleData, folds: np.ndarray) -> np.ndarray:
    """Return the log-loss of every row, predicted by a meta-learner of the other folds."""
    losses = np.empty(data.n_instances)
    for fold in np.unique(folds):
        rows = np.flatnonzero(folds == fold)
        train, held_out = take(data, np.flatnonzero(folds != fold)), take(data, rows)
        losses[rows] = _losses(contender.predict(train, held_out), data.labels[rows])
    return losses


def _own_estimate(estimator: Any, data: EnsembleData) -> float:
    """Return the log-loss of the scores that our classifier keeps from its inner folds."""
    if not isinstance(estimator, CFEnsembleClassifier):
        return float("nan")
    columns, layout = stacked_columns(data)
    fitted = clone(estimator).set_params(layout=layout)
    fitted.fit(columns, data.labels, sample_weight=data.frequencies)
    scores = getattr(fitted, "cv_logits_", None)
    if scores is None or len(scores) != data.n_instances:
        return float("nan")
    known = ~np.isnan(scores.reshape(len(scores), -1)).any(axis=1)
    losses = _losses(probabilities(scores[known]), data.labels[known])
    return float(np.average(losses, weights=data.frequencies[known]))
