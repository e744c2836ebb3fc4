"""Learners whose fits are counted in a file, across processes, and learners that fail."""

import os
import time

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.tree import DecisionTreeClassifier


def fits(log):
    """Return how many fits were logged."""
    return os.path.getsize(log) if os.path.exists(log) else 0


class CountedTree(DecisionTreeClassifier):
    """A tree that appends one character to a file when it is fitted."""

    def __init__(self, log=None, seed=0, seconds=0.0, n_jobs=None):
        super().__init__(max_depth=3, random_state=seed)
        self.log, self.seed, self.seconds, self.n_jobs = log, seed, seconds, n_jobs

    def fit(self, X, y, sample_weight=None):
        time.sleep(self.seconds)
        super().fit(X, y, sample_weight=sample_weight)
        if self.log is not None:
            with open(self.log, "a") as file:
                file.write("x")
        return self


class Misbehaving(ClassifierMixin, BaseEstimator):
    """A learner that predicts class frequencies, or misbehaves in the folds without row 0."""

    def __init__(self, how="not at all", always=False):
        self.how, self.always = how, always

    def fit(self, X, y, sample_weight=None):
        self.classes_, counts = np.unique(y, return_counts=True)
        self.prior_ = counts / counts.sum()
        self.bad_ = self.always or not (np.asarray(X)[:, 0] == 0).any()
        if self.bad_ and self.how == "raises":
            raise ArithmeticError("it cannot be done")
        if self.bad_ and self.how == "sleeps":
            for _ in range(1000):
                time.sleep(0.01)
        return self

    def predict_proba(self, X):
        proba = np.tile(self.prior_, (len(X), 1))
        if self.bad_ and self.how == "one column too many":
            return np.column_stack([proba, proba[:, 0]])
        if self.bad_ and self.how == "NaN in one row":
            proba[0] = np.nan
        if self.bad_ and self.how == "sums to 2":
            return 2 * proba
        if self.bad_ and self.how == "a list":
            return [proba, proba]
        if self.bad_ and self.how == "text":
            return proba.astype(str).astype(object) + "?"
        return proba
