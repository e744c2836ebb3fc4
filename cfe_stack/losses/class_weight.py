"""Class weights, instance weights and the log-odds of the class frequencies."""

from typing import Any, Literal

import numpy as np

ClassWeight = dict[Any, float] | Literal["balanced"] | None


def instance_weights(
    labels: np.ndarray,
    n_classes: int,
    *,
    class_weight: ClassWeight = None,
    sample_weight: np.ndarray | None = None,
    focal_alpha: float | None = None,
    classes: np.ndarray | None = None,
) -> np.ndarray:
    """Return class weight × sample weight × focal class factor of labeled instances.

    Parameters
    ----------
    labels : ndarray of shape (n_instances,)
        Class codes of labeled instances.
    n_classes : int
    class_weight : dict, "balanced" or None, default=None
        As in scikit-learn; a dict is keyed by the entries of `classes`. ``"balanced"`` gives
        n / (K n_class), K the number of classes present. If only one is, its weight is 1.
    sample_weight : ndarray of shape (n_instances,), default=None
        Frequencies: an integer weight w is equivalent to repeating the instance w times, also in
        the class frequencies.
    focal_alpha : float or None, default=None
        Factor of the positive class (1 − α for the negative), binary problems only.
    classes : ndarray of shape (n_classes,), default=None
        Labels that the codes stand for; by default the codes themselves.

    Returns
    -------
    ndarray of shape (n_instances,)

    Raises
    ------
    ValueError
        If `focal_alpha` is outside [0, 1] or used with more than two classes, or `class_weight`
        is neither ``"balanced"`` nor a dict of known classes with weights >= 0.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.losses import instance_weights
    >>> instance_weights(np.array([0, 0, 0, 1]), 2, class_weight="balanced").round(2)
    array([0.67, 0.67, 0.67, 2.  ])
    """
    weights = np.ones(len(labels)) if sample_weight is None else np.asarray(sample_weight)
    weights = weights * class_weights(labels, weights, n_classes, class_weight, classes)[labels]
    if focal_alpha is not None:
        if n_classes != 2:
            raise ValueError(
                f"focal_alpha is the factor of the positive class and needs two classes, got "
                f"{n_classes}; use class_weight={{class: weight}} instead."
            )
        if not (_is_weight(focal_alpha) and focal_alpha <= 1):
            raise ValueError(f"focal_alpha must lie in [0, 1], got {focal_alpha!r}.")
        weights = weights * np.where(labels == 1, focal_alpha, 1 - focal_alpha)
    return weights


def _is_weight(value: Any) -> bool:
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return number and bool(0 <= value < np.inf)


def class_weights(
    labels: np.ndarray,
    weights: np.ndarray,
    n_classes: int,
    class_weight: ClassWeight,
    classes: np.ndarray | None = None,
) -> np.ndarray:
    """Return the weight of every class code, all 1 if fewer than two classes are present."""
    counts = np.bincount(labels, weights, minlength=n_classes)
    present = counts > 0
    per_class = np.ones(n_classes)
    if class_weight is None:
        return per_class
    if isinstance(class_weight, dict):
        codes = {name: k for k, name in enumerate(range(n_classes) if classes is None else classes)}
        unknown = [name for name in class_weight if name not in codes]
        if unknown or not all(map(_is_weight, class_weight.values())):
            raise ValueError(
                f"class_weight must map classes to weights >= 0; got {class_weight!r} for the "
                f"classes {np.asarray(list(codes)).tolist()}."
            )
        for name, weight in class_weight.items():
            per_class[codes[name]] = weight
    elif isinstance(class_weight, str) and class_weight == "balanced":
        per_class[present] = counts.sum() / (present.sum() * counts[present])
    else:
        raise ValueError(
            f"class_weight must be None, 'balanced' or a dict of class weights, got "
            f"{class_weight!r}."
        )
    return per_class if present.sum() > 1 else np.ones(n_classes)


def prior_log_odds(labels: np.ndarray, weights: np.ndarray, n_classes: int) -> float | np.ndarray:
    """Return the intercept at which a constant score predicts the weighted class frequencies.

    This is the prior initialization of RetinaNet (Lin et al., 2017, section 4.1). Half an
    observation is added to every class, so that the value is finite if a class is absent.

    Returns
    -------
    float or ndarray of shape (n_classes,)
        log(π / (1 − π)) for two classes; centered log-frequencies for more.
    """
    counts = np.bincount(labels, weights, minlength=n_classes) + 0.5
    logs = np.log(counts)
    return float(logs[1] - logs[0]) if n_classes == 2 else logs - logs.mean()
