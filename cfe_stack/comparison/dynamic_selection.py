"""DESlib's dynamic selection on an ensemble matrix.

DESlib looks for the region of competence of a row among its neighbors in the features. An ensemble
matrix has no features, so here neighbors are rows with similar predictions (the "decision space"),
and the base classifiers only hand out their columns.
"""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import validate_data

from cfe_stack.runtime.optional_packages import import_extra

N_NEIGHBORS = 7


class ColumnClassifier(ClassifierMixin, BaseEstimator):
    """A fitted base classifier whose prediction is already in the columns.

    Parameters
    ----------
    start : int
        First column of its class probabilities.
    n_classes : int
    """

    def __init__(self, start: int, n_classes: int) -> None:
        self.start = start
        self.n_classes = n_classes

    @property
    def classes_(self) -> np.ndarray:
        """Class codes."""
        return np.arange(self.n_classes)

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """Do nothing."""
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the columns, of shape (n, n_classes)."""
        return X[:, self.start : self.start + self.n_classes]

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the most probable class of every row."""
        return self.predict_proba(X).argmax(axis=1)


def _validate(estimator: Any, *arrays: Any, **options: Any) -> Any:
    return validate_data(estimator, *arrays, **options)


def dynamic_selection(
    name: str, P: np.ndarray, codes: np.ndarray, P_new: np.ndarray, random_state: int = 0
) -> np.ndarray:
    """Return probabilities of new rows by one of DESlib's methods.

    Parameters
    ----------
    name : {"KNORAU", "METADES"}
    P : ndarray of shape (n, n_classifiers, n_classes)
        Out-of-fold predictions, without missing values: the rows that competence is judged on.
    codes : ndarray of shape (n,)
    P_new : ndarray of shape (n_new, n_classifiers, n_classes)
    random_state : int, default=0

    Returns
    -------
    ndarray of shape (n_new, n_classes)

    Raises
    ------
    MissingExtraError
        If DESlib is not installed.

    Notes
    -----
    Soft votes of the selected classifiers. DESlib 0.3.7 calls a method that scikit-learn removed in
    1.7; it is given back here, on the subclass only.

    References
    ----------
    .. [1] A. Ko, R. Sabourin, A. Britto, "From dynamic classifier selection to dynamic ensemble
       selection", Pattern Recognition 2008 (KNORA-U).
    .. [2] R. Cruz, R. Sabourin, G. Cavalcanti, T. Ren, "META-DES: a dynamic ensemble selection
       framework using meta-learning", Pattern Recognition 2015.
    """
    method = getattr(import_extra("deslib.des", extra="comparison"), name)
    supported = type(name, (method,), {"_validate_data": _validate})
    _, m, n_classes = P.shape
    pool = [ColumnClassifier(u * n_classes, n_classes) for u in range(m)]
    neighbours = min(N_NEIGHBORS, len(codes) - 1)
    selector = supported(
        pool, k=neighbours, voting="soft", random_state=random_state, n_jobs=1
    ).fit(P.reshape(len(P), -1), codes)
    return selector.predict_proba(P_new.reshape(len(P_new), -1))
