"""What goes into a stack and from its base learners to its final estimator, checked and told."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.utils import check_array, get_tags
from sklearn.utils.validation import validate_data

from cfe_stack.base_learners.fitted_learner import check_estimators
from cfe_stack.classifier.ensemble_classifier import CFEnsembleClassifier
from cfe_stack.cross_validation.fold_plan import plan_folds
from cfe_stack.data.blocks import observed
from cfe_stack.losses.class_weight import class_weights
from cfe_stack.meta_features.stacked_columns import side_by_side
from cfe_stack.out_of_fold.collection import FailedLearnerWarning
from cfe_stack.out_of_fold.fitting import own_rows
from cfe_stack.out_of_fold.input_checks import refuse_lazy
from cfe_stack.out_of_fold.out_of_fold_data import OutOfFoldData
from cfe_stack.runtime.parameter_checks import check_flag
from cfe_stack.runtime.warning_location import user_stacklevel


def check_stack_options(refit: Any, passthrough: Any, final_estimator: Any) -> None:
    """Raise ValueError or TypeError for options of a stack that are none."""
    if str(refit) not in ("full", "bag", "both"):
        raise ValueError(f"refit must be 'full', 'bag' or 'both', got {refit!r}.")
    check_flag("passthrough", passthrough)
    usable = hasattr(final_estimator, "fit") and not isinstance(final_estimator, type)
    if final_estimator is not None and not usable:
        raise TypeError(
            "final_estimator must be None or an estimator object with a fit method (an instance, "
            f"not a class), got {final_estimator!r}."
        )


def check_features(estimator: Any, X: Any, *, reset: bool) -> None:
    """Remember or compare columns; refuse values that no base learner could take.

    Parameters
    ----------
    estimator : estimator
        The stack; its tags say what its base learners take.
    X : array-like, sparse matrix or data frame
        Frames are left to the learners.
    reset : bool
        Whether to remember the columns instead of comparing them.

    Raises
    ------
    ValueError, TypeError
        If `X` has no two axes and is no text, holds NaN, infinity or no numbers where nobody takes
        them, is sparse where a learner needs dense rows, or has other columns than in `fit`.
    """
    refuse_lazy(X)
    tags = get_tags(estimator).input_tags
    if sparse.issparse(X) and not tags.sparse:
        bases = check_estimators(estimator.estimators)
        dense = [name for name, base in bases if not get_tags(base).input_tags.sparse]
        raise TypeError(
            f"X is sparse, but these base learners need dense rows: {dense}. Begin them with a "
            "transformer that takes sparse rows, in a Pipeline, or pass X.toarray()."
        )
    if not hasattr(X, "columns"):
        kind = getattr(getattr(X, "dtype", None), "kind", None)
        listed = isinstance(X, (list, tuple)) or (
            len(getattr(X, "shape", ())) == 1 and hasattr(X, "__len__")
        )
        documents = listed and isinstance(next(iter(X), None), (str, bytes, dict))
        try:
            if not documents:
                check_array(
                    X,
                    accept_sparse=["csr", "csc"],
                    accept_large_sparse=False,
                    dtype=None if kind in ("U", "S") else "numeric",
                    ensure_all_finite="allow-nan" if tags.allow_nan else True,
                    estimator=estimator,
                    input_name="X",
                )
        except ValueError:
            # text is for a Pipeline that encodes it
            if kind != "O":
                raise
    validate_data(estimator, X, reset=reset, skip_check_array=True)


def copy_of_final(final: Any) -> Any:
    """Return an unfitted copy of the final estimator.

    Raises
    ------
    ValueError
        If it is not a classifier.
    """
    if not (hasattr(final, "__sklearn_tags__") and is_classifier(final)):
        raise ValueError(f"final_estimator must be a classifier, got {final!r}.")
    return clone(final)


def predicted_rows(data: OutOfFoldData) -> np.ndarray:
    """Return which rows (n,) have a prediction.

    Raises
    ------
    ValueError
        If none of the rows of a class has one.
    """
    predicted = np.asarray(observed(data.R).any(axis=0))
    lacking = np.setdiff1d(data.labels, data.labels[predicted])
    if len(lacking):
        name = np.asarray(data.classes).tolist()[lacking[0]]
        raise ValueError(
            f"No row of class {name!r} has an out-of-fold prediction to learn from. Learners "
            "without predict_proba predict nothing where their training rows lack a class: collect "
            "more rows of it, or add a learner with predict_proba."
        )
    return predicted


def with_passthrough(R: np.ndarray, X: Any = None) -> Any:
    """Return the stacked columns of an ensemble matrix, and X behind them if it is passed on.

    Parameters
    ----------
    R : ndarray of shape (m, n) or (m, n, K)
    X : array-like or sparse matrix of n rows, default=None
        Passed through behind the predictions.

    Raises
    ------
    ValueError
        If `X` holds something else than numbers.
    """
    P = side_by_side(R)
    if X is None:
        return P
    if sparse.issparse(X):
        return sparse.hstack([P, X], format="csr")
    try:
        return np.hstack([P, np.asarray(X)]).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"passthrough=True appends X to the predictions, and X does not hold a row of numbers "
            f"per instance: {error}. Encode it before the stack, or leave passthrough=False."
        ) from error


def tell_final_estimator(
    final: Any, data: OutOfFoldData, *, passthrough: bool, splits: Any = None
) -> None:
    """Say to a CFEnsembleClassifier what the columns and the codes are, which it cannot know.

    Parameters
    ----------
    final : estimator
        Changed, if it is one whose layout is ``"auto"`` or whose class weights go by class.
    data : OutOfFoldData
    passthrough : bool
    splits : list of (train, test), default=None
        Folds that were given; they become the inner folds, if every row is held out once.

    Raises
    ------
    ValueError
        If cells are missing and the final estimator takes none, or a class weight is of no class.
    """
    present = observed(data.R)
    holes = ~present[:, present.any(axis=0)]
    if holes.any() and not get_tags(final).input_tags.allow_nan:
        names = np.asarray(data.classifier_names)[holes.any(axis=1)].tolist()
        raise ValueError(
            f"Out-of-fold predictions of {names} are missing for some rows, and "
            f"{type(final).__name__} takes no missing values. Take CFEnsembleClassifier as "
            "final_estimator, or on_error='raise' to see what failed."
        )
    if not isinstance(final, CFEnsembleClassifier):
        return
    if isinstance(final.class_weight, dict):
        # it is handed codes, but its owner knows the classes
        ones = np.ones(data.n_instances)
        per_class = class_weights(
            data.labels, ones, data.n_classes, final.class_weight, data.classes
        )
        final.set_params(class_weight=dict(enumerate(per_class.tolist())))
    if final.layout == "auto":
        final.set_params(
            layout="class1" if data.n_classes == 2 else "blocks",
            n_classifiers=data.n_classifiers,
            passthrough="after" if passthrough else None,
        )
    if isinstance(splits, list) and isinstance(final.cv, int) and present.any(axis=0).all():
        plan = plan_folds(splits, np.empty((data.n_instances, 0)), data.labels)
        if len(plan.fold_ids) == 1 and (plan.fold_ids >= 0).all():
            final.set_params(cv=list(plan.splits))


def predicted_matrix(
    fitted: Mapping[str, Any], X: Any, data: OutOfFoldData, forgiving: bool
) -> np.ndarray:
    """Return the ensemble matrix of new rows; learners that fail leave missing cells.

    Parameters
    ----------
    fitted : mapping of str to FittedLearner, or to a tuple of them whose mean is taken
    X : array-like, sparse matrix or data frame of n rows
    data : OutOfFoldData
        Of training: names and classes.
    forgiving : bool
        Whether a failing learner leaves missing cells instead of raising.

    Returns
    -------
    ndarray of shape (m, n) or (m, n, K)
    """
    R = np.full((data.n_classifiers, X.shape[0], data.n_classes), np.nan)
    failures: dict[str, Exception] = {}
    for u, name in enumerate(data.classifier_names or ()):
        models = fitted.get(name)
        models = models if isinstance(models, tuple) else (models,)
        try:
            parts = [model.predict_proba(own_rows(X)) for model in models if model is not None]
            if parts:
                R[u] = np.mean(parts, axis=0)
        except Exception as error:  # whatever it is: the others still predict
            if not forgiving:
                raise
            failures[name] = error
    if failures and len(failures) == len(fitted):
        raise next(iter(failures.values()))
    for name, failure in failures.items():
        warnings.warn(
            f"The learner {name!r} failed in prediction, and its predictions are missing: "
            f"{type(failure).__name__}: {failure}",
            FailedLearnerWarning,
            stacklevel=user_stacklevel(),
        )
    return R[:, :, 1] if data.n_classes == 2 else R
