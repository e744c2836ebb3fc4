"""Raw scores from a factor model and a final aggregator, for training and new rows alike."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from cfe_stack.classifier.complete_rows import CompleteRows
from cfe_stack.classifier.final_aggregators import FinalAggregator, FittedAggregator, FoldedIn
from cfe_stack.data.blocks import Block, observed
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.factor_model.factor_model import FactorModel
from cfe_stack.factor_model.passes import Passes
from cfe_stack.factor_model.workspace import Workspace
from cfe_stack.losses.labeled_rows import LossSettings
from cfe_stack.pools.gates import Gates

N_BUFFERS = 2
"""Number of copies of a block that a prediction keeps in the CPU cache."""


def prior_scores(prior: np.ndarray) -> float | np.ndarray:
    """Return the raw score, or scores (K,), of class frequencies."""
    # all rows of a class may have weight 0
    logs = np.log(np.maximum(prior, np.finfo(float).tiny))
    return float(logs[1] - logs[0]) if len(prior) == 2 else logs - logs.mean()


@dataclass(frozen=True, eq=False)
class Predictor:
    """Label-free fold-in, gates, and a fitted final aggregator.

    Parameters
    ----------
    model : FactorModel
    gates : Gates
    aggregator : FittedAggregator
    prior : ndarray of shape (n_classes,)
        Class frequencies, the prediction for instances without predictions.
    """

    model: FactorModel
    gates: Gates
    aggregator: FittedAggregator
    prior: np.ndarray

    @classmethod
    def fit(
        cls,
        aggregator: FinalAggregator,
        model: FactorModel,
        data: EnsembleData,
        folds: np.ndarray,
        settings: LossSettings,
        **options: Any,
    ) -> Self:
        """Fit gates and aggregator.

        Parameters
        ----------
        aggregator : FinalAggregator
            Fitted on the label-free fold-ins of labeled instances with a prediction.
        model : FactorModel
        data : EnsembleData
            With sample weights.
        folds : ndarray of shape (n_repeats, n_instances)
            Inner folds of labeled instances.
        settings : LossSettings
        **options
            Passed to the aggregator's `fit`.

        Raises
        ------
        ValueError
            If fewer than two classes have labeled rows with predictions.
        """
        known, codes, weights = data.labels >= 0, data.labels, data.frequencies
        prior = np.bincount(codes[known], weights[known], minlength=data.n_classes)
        model = model.with_estimated_ridge(data)
        instances = FoldedIn.of(data, model)
        gates = Gates.fit(model.factors, instances.Y, instances.Z, weights)
        usable = known & observed(data.R).any(axis=0)
        n_present = len(np.unique(codes[usable]))
        if n_present < 2:
            raise ValueError(
                "At least two classes need labeled rows with predictions; found "
                f"{n_present}. The rows of all other classes have no predictions."
            )
        rows = settings.rows(codes[usable], weights[usable])
        if not usable.all():
            instances = instances.take(np.flatnonzero(usable))
        fitted = aggregator.fit(instances.gated(gates), rows, folds[:, usable], **options)
        prior = prior / prior.sum()
        return cls(model, gates, fitted.expanded(usable[known], prior_scores(prior)), prior)

    def scores(self, data: EnsembleData) -> np.ndarray:
        """Return raw scores (n,) or (n, K). Instances without predictions get the prior's score.

        Blocks are processed one by one, on several threads if there are many.
        """
        size = data.block_size(N_BUFFERS * data.n_classifiers * len(self.prior))
        if data.n_instances <= size:
            return self._block_scores(next(data.blocks()))
        scores = np.empty((data.n_instances, *([len(self.prior)] if len(self.prior) > 2 else [])))

        def run(blocks: Iterator[Block], workspace: Workspace, extra: None) -> None:
            for block in blocks:
                scores[block.start : block.stop] = self._block_scores(block)

        with Passes() as passes:
            for _ in passes.over(data, run, size=size, here=True):
                pass
        return scores

    def folded_in(self, data: EnsembleData) -> FoldedIn:
        """Return instances as the aggregator receives them."""
        return FoldedIn.of(data, self.model).gated(self.gates)

    def _block_scores(self, block: Block) -> np.ndarray:
        if block.is_complete and self._complete_rows is not None:
            return self._complete_rows.scores(block.R)
        scores = self.aggregator.scores(FoldedIn.of_block(block, self.model).gated(self.gates))
        if not block.is_complete:
            scores[~block.observed.any(axis=0)] = prior_scores(self.prior)
        return scores

    def __getstate__(self) -> dict[str, Any]:
        # cached by the first prediction, and not part of the fitted state
        return {name: value for name, value in vars(self).items() if name != "_complete_rows"}

    @cached_property
    def _complete_rows(self) -> CompleteRows | None:
        return CompleteRows.of(self.model, self.gates, self.aggregator.linear_form)

    def contributions(self, data: EnsembleData) -> np.ndarray:
        """Return the contributions of the classifiers to the scores, (n, m) or (n, K, m).

        The intercept is divided equally. For instances without predictions, so is the score of the
        prior.
        """
        parts = self.aggregator.contributions(self.folded_in(data))
        intercept = self.aggregator.intercept
        parts = parts + (intercept if parts.ndim == 2 else intercept[:, None]) / parts.shape[-1]
        empty = ~observed(data.R).any(axis=0)
        parts[empty] = np.asarray(prior_scores(self.prior))[..., None] / parts.shape[-1]
        return parts
