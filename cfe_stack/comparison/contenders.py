"""What people use to combine out-of-fold predictions, each as one function of two matrices.

A contender learns from the ensemble matrix of the training rows, with its labels, and returns
probabilities for the rows of another one. It never sees the labels of that one.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from cfe_stack.classifier.ensemble_classifier import CFEnsembleClassifier
from cfe_stack.comparison import blends
from cfe_stack.comparison.dynamic_selection import dynamic_selection
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.losses.link import DEFAULT_CLIP, make_link
from cfe_stack.meta_features.stacked_columns import (
    cells,
    class_frequencies,
    columns,
    completed,
    row_means,
)
from cfe_stack.out_of_fold.fingerprints import Fingerprint, UncacheableError
from cfe_stack.runtime.optional_packages import import_extra
from cfe_stack.trainers.als import CFEnsembleTrainer
from cfe_stack.trainers.base import BaseTrainer
from cfe_stack.trainers.pytorch_trainer import CFEnsemblePyTorchTrainer

Predict = Callable[[Any, Any], np.ndarray]

FILLED = "they take the mean of the row's other predictions"
AVERAGED = "the average is over the predictions that are there"
AS_THEY_ARE = "the method takes them as they are"
OWN = "as the function has it"


@dataclass(frozen=True)
class Contender:
    """One way to combine predictions.

    Parameters
    ----------
    name : str
    predict : callable
        ``predict(train, test)`` of two `EnsembleData`: probabilities (n_test, n_classes).
    missing : str
        What becomes of missing cells, in half a sentence.
    requires : str, default=None
        Module that must be installed.
    remark : str, default=""
        What a reader of its scores must know.
    identity : str or None, default=""
        What its predictions depend on besides the data, for stored results: the name if empty; None
        if that cannot be told, so that nothing is stored.
    on_features : bool, default=False
        Whether it takes rows of X (`FeatureRows` of `whole_stacks.py`) instead of predictions.
    """

    name: str
    predict: Predict
    missing: str = FILLED
    requires: str | None = None
    remark: str = ""
    identity: str | None = ""
    on_features: bool = False


def _blended(
    find: Callable[..., np.ndarray], train: EnsembleData, test: EnsembleData
) -> np.ndarray:
    P, P_new = completed(train, test)
    return blends.blend_probabilities(P_new, find(P, train.labels, train.frequencies))


def _geometric_mean(train: EnsembleData, test: EnsembleData) -> np.ndarray:
    logs = np.log(np.maximum(cells(test), DEFAULT_CLIP))
    proba = np.exp(row_means(logs, np.log(np.maximum(class_frequencies(train), DEFAULT_CLIP))))
    return proba / proba.sum(axis=1, keepdims=True)


def _probabilities(columns_: np.ndarray) -> np.ndarray:
    return columns_


def _log_odds(columns_: np.ndarray, n_classes: int) -> np.ndarray:
    if n_classes == 2:
        return make_link("logit", 2).forward(columns_)
    blocks = columns_.reshape(len(columns_), -1, n_classes)
    return make_link("logit", n_classes).forward(blocks).reshape(columns_.shape)


def _stacked(
    make: Callable[[], Any], log_odds: bool, train: EnsembleData, test: EnsembleData
) -> np.ndarray:
    A, B = (columns(P) for P in completed(train, test))
    if log_odds:
        A, B = (_log_odds(part, train.n_classes) for part in (A, B))
    return fit_predict(make(), A, B, train)


def _logistic() -> LogisticRegression:
    return LogisticRegression(max_iter=1000)


def _scaled_logistic() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def _scaled_logistic_cv() -> Any:
    search = LogisticRegressionCV(Cs=10, cv=5, scoring="neg_log_loss", max_iter=1000)
    if hasattr(search, "use_legacy_attributes"):  # from scikit-learn 1.8, which warns without
        search.set_params(use_legacy_attributes=False, l1_ratios=(0.0,))
    return make_pipeline(StandardScaler(), search)


def _lightgbm(train: EnsembleData, test: EnsembleData) -> np.ndarray:
    lightgbm = import_extra("lightgbm", extra="boosting")
    model = lightgbm.LGBMClassifier(
        n_estimators=100, learning_rate=0.05, num_leaves=7, n_jobs=1, verbose=-1
    )
    return fit_predict(model, columns(cells(train)), columns(cells(test)), train)


def _selected(name: str, train: EnsembleData, test: EnsembleData) -> np.ndarray:
    P, P_new = completed(train, test)
    present, codes = np.unique(train.labels, return_inverse=True)
    proba = np.zeros((len(P_new), train.n_classes))
    proba[:, present] = dynamic_selection(name, P[:, :, present], codes, P_new[:, :, present])
    return proba


def _published(trainer: BaseTrainer, train: EnsembleData, test: EnsembleData) -> np.ndarray:
    """Return what the sources' procedure predicts: test rows are columns without a label."""
    R = np.concatenate([train.R, test.R], axis=1).astype(float)
    labels = np.concatenate([train.labels, np.full(test.n_instances, -1)])
    return clone(trainer).fit(EnsembleData(R, labels)).transductive_proba_[train.n_instances :]


PUBLISHED_ALS = CFEnsembleTrainer(tol=0, init_prior=False, random_state=0)
PUBLISHED_TORCH = CFEnsemblePyTorchTrainer(
    max_epochs=100, tol=0, instance_factors="free", init_prior=False, random_state=0
)


def _estimated(model: Any, train: EnsembleData, test: EnsembleData) -> np.ndarray:
    """Return what an estimator on stacked columns predicts."""
    model = clone(model)
    if isinstance(model, CFEnsembleClassifier) and model.layout == "auto":
        model.set_params(layout="class1" if train.n_classes == 2 else "blocks")
    parts = (
        (cells(train), cells(test))
        if get_tags(model).input_tags.allow_nan
        else completed(train, test)
    )
    A, B = (columns(P) for P in parts)
    return fit_predict(model, A, B, train)


def fit_predict(model: Any, A: np.ndarray, B: np.ndarray, train: EnsembleData) -> np.ndarray:
    """Return probabilities (n, n_classes) of the rows `B` by a model of the rows `A`.

    Sample weights reach the last step of a Pipeline; an estimator that knows none goes without.
    """
    weights: dict[str, np.ndarray] = {}
    if train.sample_weight is not None:
        last = model.steps[-1] if hasattr(model, "steps") else ("", model)
        if has_fit_parameter(last[1], "sample_weight"):
            prefix = f"{last[0]}__" if last[0] else ""
            weights = {f"{prefix}sample_weight": train.sample_weight}
    model.fit(A, train.labels, **weights)
    proba = np.zeros((len(B), train.n_classes))
    # a class may be absent from the training part
    proba[:, model.classes_.astype(int)] = model.predict_proba(B)
    return proba


OURS = "CF-Ensemble"
_TRANSDUCTIVE = "transductive: sees the held-out rows, without labels, while it is fitted"
_IN_DECISION_SPACE = "neighbors are rows with similar predictions, as there are no features"


def _ours(name: str, requires: str | None = None, **options: Any) -> Contender:
    model = CFEnsembleClassifier(**options)
    return Contender(name, partial(_estimated, model), AS_THEY_ARE, requires)


def _blend(name: str, find: Callable[..., np.ndarray], missing: str = FILLED) -> Contender:
    return Contender(name, partial(_blended, find), missing)


def _stack(name: str, make: Callable[[], Any], log_odds: bool = False) -> Contender:
    return Contender(name, partial(_stacked, make, log_odds))


CONTENDERS: dict[str, Contender] = {
    contender.name: contender
    for contender in (
        _blend("mean", blends.equal_weights, AVERAGED),
        Contender("geometric mean", _geometric_mean, AVERAGED),
        _blend("best single", blends.best_single),
        _blend("greedy selection", blends.greedy_weights),
        _blend("hill climbing", blends.hill_climbing),
        Contender(
            "hill climbing, negative",
            partial(_blended, partial(blends.hill_climbing, negative=True)),
            remark="can leave [0, 1] on new rows, where it is cut off",
        ),
        _blend("non-negative least squares", blends.nonnegative_least_squares),
        _stack("LogisticRegression", _logistic),
        _stack("LogisticRegression, log-odds", _scaled_logistic, log_odds=True),
        _stack("LogisticRegressionCV", _scaled_logistic_cv),
        _stack("LogisticRegressionCV, log-odds", _scaled_logistic_cv, log_odds=True),
        Contender("LightGBM", _lightgbm, AS_THEY_ARE, requires="lightgbm"),
        Contender(
            "KNORA-U",
            partial(_selected, "KNORAU"),
            requires="deslib.des",
            remark=_IN_DECISION_SPACE,
        ),
        Contender(
            "META-DES",
            partial(_selected, "METADES"),
            requires="deslib.des",
            remark=_IN_DECISION_SPACE,
        ),
        Contender(
            "published ALS",
            partial(_published, PUBLISHED_ALS),
            AS_THEY_ARE,
            remark=_TRANSDUCTIVE,
        ),
        Contender(
            "published PyTorch",
            partial(_published, PUBLISHED_TORCH),
            AS_THEY_ARE,
            requires="torch",
            remark=_TRANSDUCTIVE,
        ),
        _ours("weighted", aggregator="weighted"),
        _ours("log_pool", aggregator="log_pool"),
        _ours("gated_pool", aggregator="gated_pool"),
        _ours("signed_pool", aggregator="signed_pool"),
        _ours("bounded_pool", aggregator="bounded_pool"),
        _ours("linear_pool", aggregator="linear_pool"),
        _ours("auto, PyTorch factors", requires="torch", trainer="pytorch"),
        _ours(OURS),
    )
}
"""Every contender that is built in, by name."""
_ON_REQUEST = (
    "hill climbing, negative", "published ALS", "published PyTorch", "weighted", "log_pool",
    "gated_pool", "signed_pool", "bounded_pool", "linear_pool", "auto, PyTorch factors",
)  # fmt: skip
USUAL = tuple(name for name in CONTENDERS if name not in _ON_REQUEST)
"""Those that are compared where nothing else is said: what people use, and the default of ours."""


def resolve_contenders(contenders: Any = None) -> tuple[Contender, ...]:
    """Return contenders from names, estimators or functions.

    Parameters
    ----------
    contenders : sequence of str, or dict, default=None
        Names of `CONTENDERS`, or new names with such a name, a classifier to be fitted to stacked
        columns (P(class 1) of every learner, or all classes in blocks), or a function
        ``(train, test)`` of two `EnsembleData` that returns probabilities (n_test, n_classes).
        None takes `USUAL`.

    Raises
    ------
    ValueError
        If a name is unknown, or something is none of these.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from cfe_stack.comparison.contenders import resolve_contenders
    >>> [c.name for c in resolve_contenders({"bayes": GaussianNB(), "average": "mean"})]
    ['bayes', 'average']
    """
    if contenders is None:
        return tuple(CONTENDERS[name] for name in USUAL)
    if isinstance(contenders, str) or not isinstance(contenders, Iterable):
        raise ValueError(
            f"contenders must be a list of names or a dict, got {contenders!r}. Names: "
            f"{', '.join(CONTENDERS)}."
        )
    named = contenders if isinstance(contenders, Mapping) else {c: c for c in contenders}
    if not named:
        raise ValueError(f"contenders is empty; known names: {', '.join(CONTENDERS)}.")
    return tuple(_resolve(str(name), what) for name, what in named.items())


def _resolve(name: str, what: Any) -> Contender:
    if isinstance(what, Contender):
        return what
    if isinstance(what, str) and what in CONTENDERS:
        known = CONTENDERS[what]
        return Contender(
            name, known.predict, known.missing, known.requires, known.remark, known.name
        )
    if hasattr(what, "fit") and hasattr(what, "predict_proba") and not isinstance(what, type):
        takes_gaps = get_tags(what).input_tags.allow_nan
        missing = AS_THEY_ARE if takes_gaps else FILLED
        return Contender(name, partial(_estimated, what), missing, identity=identity_of(what))
    if callable(what) and not isinstance(what, type):
        return Contender(name, what, OWN, identity=identity_of(what))
    raise ValueError(
        f"contender {name!r} is {what!r}; it must be a built-in name ({', '.join(CONTENDERS)}), a "
        "classifier with predict_proba, or a function (train, test) of two EnsembleData."
    )


def identity_of(what: Any) -> str | None:
    """Return what tells an estimator or a function from others; None if nothing does."""
    try:
        return Fingerprint(what).digest
    except UncacheableError:
        return None
