"""Features of the labeled instances, computed from their factors in slices."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from cfe_stack.factor_model.factor_model import FactorModel
from cfe_stack.losses import objective
from cfe_stack.losses.labeled_rows import LabeledRows
from cfe_stack.losses.raw_scores import margins
from cfe_stack.pools.design import row_slices
from cfe_stack.trainers.aggregators import Aggregator, classifiers_last


@dataclass(frozen=True, eq=False)
class LabeledFeatures:
    """Training features of an aggregator, computed from instance factors when they are sliced.

    The array of labeled instances × classifiers is never stored. Factors are smaller by the ratio
    of the latent dimension to the number of classifiers.

    Parameters
    ----------
    model : FactorModel
    aggregator : Aggregator
    Y : ndarray of shape (latent_dim, n_labeled)
        Factors of the labeled instances.
    """

    model: FactorModel
    aggregator: Aggregator
    Y: np.ndarray

    @classmethod
    def of(cls, model: FactorModel, aggregator: Aggregator, parts: list[np.ndarray]) -> Self:
        """Return the features of instances whose factors are in `parts`."""
        empty = np.empty((len(model.factors), 0))
        return cls(model, aggregator, np.concatenate(parts, axis=1) if parts else empty)

    def __len__(self) -> int:
        return self.Y.shape[1]

    def __getitem__(self, rows: slice) -> np.ndarray:
        values = self.model.reconstruct(self.Y[:, rows].astype(np.float64))
        return self.aggregator.features(classifiers_last(values), self.model.link)

    def scores(self) -> np.ndarray:
        """Return the aggregator's raw scores (n_labeled,) or (n_labeled, n_classes)."""
        return np.concatenate([scores for _, scores in self._score_parts()])

    def supervised_loss(self, rows: LabeledRows) -> float:
        """Return :func:`cfe_stack.losses.supervised_loss`, taken slice by slice."""
        total = 0.0
        for here, scores in self._score_parts():
            margin, weights = margins(scores, rows.labels[here]), rows.loss_weights[here]
            if weights.any():
                part = objective.supervised_loss(rows.loss, margin, weights)
                total += float(part * weights.sum())
        return total / float(rows.loss_weights.sum())

    def _score_parts(self) -> Iterator[tuple[slice, np.ndarray]]:
        for rows in row_slices(self):
            yield rows, self.aggregator.scores(self[rows])
