"""Synthetic ensemble data with known truth, and the small real data of the demo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.utils import check_random_state


@dataclass(frozen=True)
class SyntheticEnsemble:
    """Predictions of simulated classifiers together with what produced them.

    Parameters
    ----------
    R : ndarray of shape (n_classifiers, n_instances) or (n_classifiers, n_instances, n_classes)
        Ensemble matrix: probability of class 1 (two classes) or of every class. NaN where the
        prediction is missing.
    labels : ndarray of shape (n_instances,)
        True class codes ``0..n_classes - 1``.
    posterior : ndarray of shape (n_instances,) or (n_instances, n_classes)
        Best possible prediction: the exact probability of class 1 (or of every class) given
        what all classifiers saw, before cells were removed. No combination of the rows of `R`
        has a lower expected log-loss.
    skill : ndarray of shape (n_classifiers,)
        Strength of the evidence that a classifier extracts from an instance of difficulty 0.
    difficulty : ndarray of shape (n_instances,)
        Share of the evidence that an instance hides from every classifier, from 0 to 1.
    class_prior : ndarray of shape (n_classes,)
        Probability of the classes before any evidence.

    Examples
    --------
    >>> from cfe_stack.datasets import make_ensemble
    >>> type(make_ensemble(random_state=0)).__name__
    'SyntheticEnsemble'
    """

    R: NDArray[np.floating]
    labels: NDArray[np.int64]
    posterior: NDArray[np.float64]
    skill: NDArray[np.float64]
    difficulty: NDArray[np.float64]
    class_prior: NDArray[np.float64]


@dataclass(frozen=True)
class DemoProblem:
    """One classification problem of the demo.

    Parameters
    ----------
    name : str
        Short name, as printed in the table.
    X : ndarray of shape (n_samples, n_features)
        Features.
    y : ndarray of shape (n_samples,)
        Class codes ``0..n_classes - 1``; with two classes, 1 is the class of interest.
    description : str
        Half a line about the data.

    Examples
    --------
    >>> from cfe_stack.datasets import load_demo_problems
    >>> load_demo_problems()[0].name
    'breast cancer'
    """

    name: str
    X: NDArray[np.float64]
    y: NDArray[np.int64]
    description: str


def make_ensemble(
    n_classifiers: int = 10,
    n_instances: int = 300,
    n_classes: int = 2,
    *,
    skill: ArrayLike | None = None,
    difficulty: ArrayLike | None = None,
    class_prior: ArrayLike | None = None,
    correlation: float = 0.0,
    missing_rate: float = 0.0,
    dtype: Literal["float64", "float32"] = "float64",
    random_state: int | np.random.RandomState | None = None,
) -> SyntheticEnsemble:
    r"""Simulate classifiers whose best combination is known exactly.

    Every classifier is calibrated, so they differ in how much they see and not in how well they
    express it; whatever an ensemble gains on these data comes from combining.

    Parameters
    ----------
    n_classifiers : int, default=10
        Number of simulated classifiers, at least 1.
    n_instances : int, default=300
        Number of instances, at least 1.
    n_classes : int, default=2
        Number of classes, at least 2.
    skill : float or array-like of shape (n_classifiers,), default=None
        Strength of each classifier, at least 0: with two equally likely classes, 1 means a
        ROC-AUC of 0.84 on instances of difficulty 0. None draws from 0.3 to 1.3.
    difficulty : float or array-like of shape (n_instances,), default=None
        Share of the evidence that an instance hides, from 0 to 1. None draws from 0 to 1.
    class_prior : float or array-like of shape (n_classes,), default=None
        Class probabilities; a number is the probability of class 1 of two classes. None means
        equally likely classes.
    correlation : float, default=0.0
        Correlation of the errors of two classifiers on an instance, at least 0 and below 1.
    missing_rate : float, default=0.0
        Probability that a cell of `R` is missing, from 0 to 1, independent of everything else.
    dtype : {"float64", "float32"}, default="float64"
        Of `R`, the one result that grows with classifiers times instances. The values agree but
        for rounding.
    random_state : int, RandomState instance or None, default=None
        Source of randomness. `R` with and without missing cells agree for the same integer.

    Returns
    -------
    ensemble : SyntheticEnsemble
        Ensemble matrix, labels and the truth behind them.

    Raises
    ------
    ValueError
        If an argument is outside the range given above.

    Notes
    -----
    Classifier :math:`u` sees :math:`x_{ui} = d_{ui} e_{t_i} + \varepsilon_{ui}`, where
    :math:`d_{ui}` is skill times one minus difficulty, :math:`e_{t_i}` the indicator vector of
    the true class, and the noise is standard normal with the given correlation between
    classifiers. It reports :math:`\mathrm{softmax}(\log \pi + d_{ui} x_{ui})`, its own exact
    posterior. With :math:`\Sigma` the correlation matrix of the classifiers, the posterior given
    all of them is :math:`\mathrm{softmax}(\log \pi + d_i^\top \Sigma^{-1} x_i)`: without
    correlation the product of the opinions, with the prior counted once. Classifiers are drawn one
    after the other, so `R` is all that takes memory.

    Examples
    --------
    >>> from cfe_stack.datasets import make_ensemble
    >>> ensemble = make_ensemble(5, 200, class_prior=0.1, missing_rate=0.2, random_state=0)
    >>> ensemble.R.shape, ensemble.labels.shape, ensemble.posterior.shape
    ((5, 200), (200,), (200,))
    >>> make_ensemble(5, 200, n_classes=3, random_state=0).R.shape
    (5, 200, 3)
    """
    _check_count("n_classifiers", n_classifiers, 1)
    _check_count("n_instances", n_instances, 1)
    _check_count("n_classes", n_classes, 2)
    _check_range("correlation", correlation, 0.0, 1.0, include_high=False)
    _check_range("missing_rate", missing_rate, 0.0, 1.0)
    if str(dtype) not in ("float64", "float32"):
        raise ValueError(f"dtype must be 'float64' or 'float32'; got {dtype!r}.")
    prior = _class_prior(class_prior, n_classes)
    rng = check_random_state(random_state)

    skills = rng.uniform(0.3, 1.3, n_classifiers) if skill is None else skill
    skills = _vector("skill", skills, n_classifiers, high=np.inf)
    hidden = rng.uniform(0.0, 1.0, n_instances) if difficulty is None else difficulty
    hidden = _vector("difficulty", hidden, n_instances, high=1.0)
    labels = rng.choice(n_classes, n_instances, p=prior).astype(np.int64)

    with np.errstate(divide="ignore"):
        log_prior = np.log(prior)
    several = (n_classes,) if n_classes > 2 else ()
    R = np.empty((n_classifiers, n_instances, *several), dtype=dtype)
    shared = np.sqrt(correlation) * rng.standard_normal((n_instances, n_classes))
    evidence, total = np.zeros((2, n_instances, n_classes))
    for row, ability in zip(R, skills, strict=True):
        strength = (ability * (1.0 - hidden))[:, None]
        own = rng.standard_normal((n_instances, n_classes))
        seen = shared + np.sqrt(1.0 - correlation) * own
        seen[np.arange(n_instances), labels] += strength[:, 0]
        opinion = strength * seen
        evidence += opinion
        total += seen
        proba = softmax(log_prior + opinion, axis=1)
        row[...] = proba if several else proba[:, 1]
    # the inverse of the classifiers' correlation matrix in closed form
    overlap = correlation / (1.0 + (n_classifiers - 1) * correlation)
    evidence -= overlap * skills.sum() * (1.0 - hidden)[:, None] * total
    posterior = softmax(log_prior + evidence / (1.0 - correlation), axis=1)

    for row in R:
        row[rng.uniform(size=n_instances) < missing_rate] = np.nan
    posterior = posterior if several else posterior[:, 1].copy()
    return SyntheticEnsemble(R, labels, posterior, skills, hidden, prior)


def load_demo_problems() -> tuple[DemoProblem, ...]:
    """Load the three problems of the demo, all shipped with scikit-learn.

    Returns
    -------
    problems : tuple of DemoProblem
        Breast cancer (two classes), digits (ten classes) and the digits again as a rare class
        against the rest.

    Notes
    -----
    The imbalanced problem asks for the digit 8, the one that the learners disagree about most.
    Thinning breast cancer instead would leave about forty positive instances, too few to tell
    one ensemble from another.

    Examples
    --------
    >>> from cfe_stack.datasets import load_demo_problems
    >>> for problem in load_demo_problems():
    ...     print(problem.name, problem.X.shape, int(problem.y.max()) + 1)
    breast cancer (569, 30) 2
    digits (1797, 64) 10
    is it an 8? (1797, 64) 2
    """
    tumours, benign = load_breast_cancer(return_X_y=True)
    digits, digit = load_digits(return_X_y=True)
    malignant = 1 - benign.astype(np.int64)
    eight = (digit == 8).astype(np.int64)
    return (
        DemoProblem(
            "breast cancer",
            tumours,
            malignant,
            f"{len(malignant)} tumours, {malignant.mean():.0%} malignant",
        ),
        DemoProblem(
            "digits",
            digits,
            digit.astype(np.int64),
            f"{len(digit)} images of 8 x 8 pixels, ten classes",
        ),
        DemoProblem(
            "is it an 8?",
            digits,
            eight,
            f"the same {len(eight)} images, {eight.mean():.0%} of them an 8",
        ),
    )


def _class_prior(class_prior: ArrayLike | None, n_classes: int) -> NDArray[np.float64]:
    if class_prior is None:
        return np.full(n_classes, 1.0 / n_classes)
    prior = np.asarray(class_prior, dtype=np.float64)
    if prior.ndim == 0 and n_classes == 2:
        prior = np.array([1.0 - prior, prior])
    # A comparison with NaN is false, so the range is stated positively.
    valid = prior.shape == (n_classes,) and bool(np.all(prior >= 0.0))
    if not (valid and np.isclose(prior.sum(), 1.0)):
        raise ValueError(
            f"class_prior must hold {n_classes} probabilities that sum to 1 "
            f"(or, for two classes, be the probability of class 1); got {class_prior!r}."
        )
    return prior / prior.sum()


def _vector(name: str, values: ArrayLike, size: int, *, high: float) -> NDArray[np.float64]:
    vector = np.asarray(values, dtype=np.float64)
    if vector.shape not in ((), (size,)):
        raise ValueError(f"{name} must be a number or hold {size} values; got {vector.shape}.")
    if not np.all(np.isfinite(vector) & (vector >= 0.0) & (vector <= high)):
        raise ValueError(f"{name} must be finite and between 0 and {high}; got {values!r}.")
    return np.broadcast_to(vector, (size,)).copy()


def _check_count(name: str, value: int, low: int) -> None:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < low:
        raise ValueError(f"{name} must be an integer of at least {low}; got {value!r}.")


def _check_range(
    name: str, value: float, low: float, high: float, *, include_high: bool = True
) -> None:
    inside = low <= value <= high if include_high else low <= value < high
    if not inside:
        bracket = "]" if include_high else ")"
        raise ValueError(f"{name} must be in [{low:g}, {high:g}{bracket}; got {value!r}.")
