"""Trainers that CFEnsembleClassifier creates by name."""

from typing import Any

from cfe_stack.trainers.als import CFEnsembleTrainer
from cfe_stack.trainers.base import BaseTrainer
from cfe_stack.trainers.pytorch_trainer import CFEnsemblePyTorchTrainer

SHARED_PARAMETERS = (
    "latent_dim", "rho", "lambda_reg", "link", "confidence", "class_weight", "focal_gamma",
    "focal_delta", "focal_alpha", "tol", "random_state",
)  # fmt: skip
"""Parameters of CFEnsembleClassifier that both trainers have under the same name."""
MIN_FACTORS = 3
"""Default number of factors; K classes need K − 1, since fewer would mix them up."""


def make_trainer(name: str, n_classes: int, classifier: Any) -> BaseTrainer:
    """Return the trainer called `name`, with the parameters of a classifier.

    Both start from principal axes and descend on all rows at once, so that neither the order of
    rows nor their repetition matters.

    Parameters
    ----------
    name : {"als", "pytorch"}
    n_classes : int
    classifier : CFEnsembleClassifier
        Its parameters called as in `SHARED_PARAMETERS` are passed on.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    shared: dict[str, Any] = {key: getattr(classifier, key) for key in SHARED_PARAMETERS}
    if shared["latent_dim"] is None:
        shared["latent_dim"] = max(MIN_FACTORS, n_classes - 1)
    if shared["random_state"] is None:
        shared["random_state"] = 0
    shared |= {
        "aggregator_type": "mean",
        "use_class_weights": classifier.class_weight is not None,
        "init": "spectral",
        "standardize": classifier.link == "logit",
    }
    if isinstance(name, str) and name == "als":
        label_aware = classifier.confidence == "label_aware"
        return CFEnsembleTrainer(
            max_iter=classifier.max_iter, use_label_aware_confidence=label_aware, **shared
        )
    if isinstance(name, str) and name == "pytorch":
        return CFEnsemblePyTorchTrainer(
            max_epochs=classifier.max_iter,
            optimizer="lbfgs",
            patience=1,
            dtype="float64",
            **shared,
        )
    raise ValueError(f"trainer must be 'als', 'pytorch' or a trainer object, got {name!r}.")
