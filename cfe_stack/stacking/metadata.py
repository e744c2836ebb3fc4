"""Where the weights, groups and other arguments of a stack's fit go."""

from collections.abc import Mapping
from typing import Any

from sklearn.model_selection import StratifiedGroupKFold
from sklearn.utils import Bunch
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.validation import has_fit_parameter

from cfe_stack.base_learners.fitted_learner import check_estimators


def metadata_router(stack: Any, final: Any) -> MetadataRouter:
    """Return where `sample_weight`, `groups` and other arguments of `fit` go.

    Parameters
    ----------
    stack : CFEStackingClassifier
    final : estimator
        Its final estimator.
    """
    router = MetadataRouter(owner=stack)
    fits = MethodMapping().add(caller="fit", callee="fit")
    router.add(**dict(check_estimators(stack.estimators)), method_mapping=fits)
    router.add(final_estimator_=final, method_mapping=fits)
    # a number means folds that keep groups together
    splitter = stack.cv if hasattr(stack.cv, "split") else StratifiedGroupKFold()
    if hasattr(splitter, "get_metadata_routing"):
        splits = MethodMapping().add(caller="fit", callee="split")
        router.add(splitter=splitter, method_mapping=splits)
    return router


def routed_metadata(
    stack: Any, final: Any, sample_weight: Any, groups: Any, fit_params: Mapping[str, Any]
) -> Bunch:
    """Return what goes to every base learner, the splitter and the final estimator.

    Parameters
    ----------
    stack : CFEStackingClassifier
    final : estimator
        Its final estimator.
    sample_weight, groups : array-like or None
    fit_params : mapping
        Other arguments of `fit`.
    """
    given = {"sample_weight": sample_weight, "groups": groups}
    present = {name: value for name, value in given.items() if value is not None}
    if _routing_enabled():
        routed = process_routing(stack, "fit", **present, **fit_params)
        names = [name for name, _ in check_estimators(stack.estimators)]
        splitter = routed.get("splitter", Bunch(split={})).split
        return Bunch(
            learners={name: routed[name].fit for name in names},
            final_estimator_=routed.final_estimator_,
            sample_weight=None,
            groups=splitter.get("groups", groups),
        )
    taken = {name: v for name, v in present.items() if has_fit_parameter(final, name)}
    return Bunch(
        learners=fit_params,
        final_estimator_=Bunch(fit=taken),
        sample_weight=sample_weight,
        groups=groups,
    )
