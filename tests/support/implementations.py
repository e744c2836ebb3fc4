"""The tables that contract tests run over: one more line tests one more implementation."""

from functools import partial

from cfe_stack import CFEnsembleTrainer
from cfe_stack.factor_model.confidence import (
    AdaptiveConfidence,
    CalibrationConfidence,
    CertaintyConfidence,
    LabelAwareConfidence,
    UniformConfidence,
)
from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.losses.link import CenteredLogRatioLink, IdentityLink, LogitLink
from cfe_stack.trainers.aggregators import LogPoolAggregator, MeanAggregator, WeightedAggregator

GAMMAS = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.95, 1.0, 2.0, 5.0)
DELTAS = (None, 0.0, 1e-3, 0.1)

LOSSES = {
    f"gamma={gamma:g}, delta={delta}": FocalLoss(gamma, delta)
    for gamma in GAMMAS
    for delta in DELTAS
}

LINKS = {
    "identity": IdentityLink(),
    "logit": LogitLink(),
    "logit, clip": LogitLink(clip=0.05),
    "clr": CenteredLogRatioLink(),
    "clr, clip": CenteredLogRatioLink(clip=0.05),
}

CONFIDENCES = {
    "uniform": UniformConfidence(),
    "certainty": CertaintyConfidence(),
    "calibration": CalibrationConfidence(),
    "calibration, floor": CalibrationConfidence(floor=0.9),
    "adaptive": AdaptiveConfidence(),
    "adaptive, shares": AdaptiveConfidence((0.2, 0.2, 0.6)),
    "label-aware certainty": LabelAwareConfidence(),
    "label-aware uniform": LabelAwareConfidence(UniformConfidence(), alpha=3.0),
    "label-aware adaptive": LabelAwareConfidence(AdaptiveConfidence(), alpha=0.5),
}

# From the number of classes to an aggregator.
AGGREGATORS = {
    "mean": MeanAggregator,
    "weighted, one step": lambda n_classes: WeightedAggregator(0.1, "gradient"),
    "weighted, solved": lambda n_classes: WeightedAggregator(0.1, "converged"),
    "log pool": LogPoolAggregator,
    "log pool, weak": partial(LogPoolAggregator, strength=0.5),
}

# From further parameters to a trainer that is quick on small data.
_als = partial(CFEnsembleTrainer, latent_dim=3, max_iter=15, tol=0, random_state=0)
TRAINERS = {
    "als": _als,
    "als, spectral": partial(_als, init="spectral", confidence="uniform"),
    "als, logit, standardised": partial(_als, link="logit", standardize=True),
    "als, adaptive, solved": partial(_als, confidence="adaptive", aggregator_solver="converged"),
    "als, calibration, log pool": partial(
        _als, confidence="calibration", aggregator_type="log_pool"
    ),
    "als, mean": partial(_als, aggregator_type="mean", use_label_aware_confidence=False),
    "als, more factors than classifiers": partial(_als, latent_dim=40, lambda_reg=0.1),
}
