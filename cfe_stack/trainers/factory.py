"""The trainers that CFEnsembleClassifier knows by name."""

from typing import Any

import numpy as np

from cfe_stack.factor_model.confidence import ConfidenceName
from cfe_stack.losses.class_weight import ClassWeight
from cfe_stack.losses.link import LinkName
from cfe_stack.trainers.als import CFEnsembleTrainer
from cfe_stack.trainers.base import BaseTrainer
from cfe_stack.trainers.pytorch_trainer import CFEnsemblePyTorchTrainer

HANDED_ON = (
    "latent_dim", "rho", "lambda_reg", "link", "confidence", "class_weight", "focal_gamma",
    "focal_delta", "focal_alpha", "max_iter", "tol", "random_state",
)  # fmt: skip
"""Parameters of the classifier that :func:`make_trainer` takes."""
FEWEST_FACTORS = 3
"""Factors where nothing else is said; many classes need more, as fewer than K − 1 mix them up."""


def make_trainer(
    name: str,
    n_classes: int,
    *,
    latent_dim: int | None,
    rho: float,
    lambda_reg: float,
    link: LinkName,
    confidence: ConfidenceName,
    class_weight: ClassWeight,
    focal_gamma: float,
    focal_delta: float | None,
    focal_alpha: float | None,
    max_iter: int,
    tol: float,
    random_state: int | np.random.RandomState | None,
) -> BaseTrainer:
    """Return the trainer called `name`, set up for a classifier.

    Both start from principal axes and descend on all rows at once, so that neither the order of
    rows nor their repetition matters.

    Parameters
    ----------
    name : {"als", "pytorch"}
    n_classes : int
    latent_dim, rho, lambda_reg, link, confidence, class_weight, focal_gamma, focal_delta, \
focal_alpha, max_iter, tol, random_state
        As in :class:`cfe_stack.CFEnsembleClassifier`.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    shared: dict[str, Any] = {
        "latent_dim": max(FEWEST_FACTORS, n_classes - 1) if latent_dim is None else latent_dim,
        "rho": rho,
        "lambda_reg": lambda_reg,
        "tol": tol,
        "aggregator_type": "mean",
        "class_weight": class_weight,
        "use_class_weights": class_weight is not None,
        "focal_gamma": focal_gamma,
        "focal_delta": focal_delta,
        "focal_alpha": focal_alpha,
        "confidence": confidence,
        "init": "spectral",
        "link": link,
        "standardize": link == "logit",
        "random_state": 0 if random_state is None else random_state,
    }
    if isinstance(name, str) and name == "als":
        return CFEnsembleTrainer(
            max_iter=max_iter,
            use_label_aware_confidence=confidence == "label_aware",
            **shared,
        )
    if isinstance(name, str) and name == "pytorch":
        return CFEnsemblePyTorchTrainer(
            max_epochs=max_iter, optimizer="lbfgs", patience=1, dtype="float64", **shared
        )
    raise ValueError(f"trainer must be 'als', 'pytorch' or a trainer object, got {name!r}.")
