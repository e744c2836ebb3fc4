"""Whole classifiers of X as contenders: ready-made stacks, votes, pipelines, fitted as they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from sklearn.base import clone

from cfe_stack.base_learners.fitted_learner import check_estimators, wants_codes
from cfe_stack.comparison.contenders import Contender, identity_of

OWN_CELLS = "they make their own predictions"


@dataclass(frozen=True, eq=False)
class FeatureRows:
    """Rows of X, with labels or without.

    Parameters
    ----------
    X : array-like of shape (n, n_features)
    n_instances : int
    classes : ndarray of shape (n_classes,)
    labels : ndarray of shape (n,), default=None
        Class codes; None hides them.
    """

    X: Any
    n_instances: int
    classes: np.ndarray
    labels: np.ndarray | None = None

    n_missing: ClassVar[int] = 0
    sample_weight: ClassVar[None] = None

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)


def resolve_stacks(
    stacks: Mapping[str, Any] | Sequence[tuple[str, Any]] | None,
) -> tuple[Contender, ...]:
    """Return contenders that are fitted to features.

    Parameters
    ----------
    stacks : dict of str to classifier, or list of (str, classifier), default=None

    Raises
    ------
    TypeError, ValueError
        If it is something else, or names repeat.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from cfe_stack.comparison.whole_stacks import resolve_stacks
    >>> [(c.name, c.on_features) for c in resolve_stacks({"bayes": GaussianNB()})]
    [('bayes', True)]
    """
    return tuple(
        Contender(
            name,
            partial(_predicted, model),
            OWN_CELLS,
            identity=identity_of(model),
            on_features=True,
        )
        for name, model in ([] if stacks is None else check_estimators(stacks))
    )


def _predicted(model: Any, train: FeatureRows, test: FeatureRows) -> np.ndarray:
    """Return probabilities (n, n_classes) of a copy fitted to the training rows."""
    assert train.labels is not None
    model = clone(model, safe=False)
    if "progress" in getattr(model, "get_params", dict)():
        model.set_params(progress=False)  # one bar is enough
    present, codes = np.unique(train.labels, return_inverse=True)
    model.fit(train.X, codes if wants_codes(model) else train.classes[train.labels])
    proba = np.zeros((test.n_instances, train.n_classes))
    proba[:, present] = model.predict_proba(test.X)
    return proba
