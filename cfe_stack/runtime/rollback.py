"""Fits that are cut short: an interrupt or an error changes nothing."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def restore_on_failure(
    *keep: str,
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Decorate a method so that its object gets its attributes back if it does not come to its end.

    An estimator that was not fitted is not fitted then, and one that was predicts what it did;
    never half of one fit and half of another. The method may replace attributes, not change them
    in place.

    Parameters
    ----------
    *keep : str
        Attributes that are kept as the method leaves them.

    Examples
    --------
    >>> from cfe_stack.runtime.rollback import restore_on_failure
    >>> class Model:
    ...     weights_ = "of the last fit"
    ...     @restore_on_failure()
    ...     def fit(self):
    ...         self.weights_ = "half done"
    ...         raise MemoryError
    >>> model = Model()
    >>> try:
    ...     model.fit()
    ... except MemoryError:
    ...     print(model.weights_)
    of the last fit
    """

    def decorate(method: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        @wraps(method)
        def guarded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            attributes: dict[str, Any] = vars(args[0])
            before = dict(attributes)
            try:
                return method(*args, **kwargs)
            except BaseException:
                kept = {name: attributes[name] for name in keep if name in attributes}
                attributes.clear()
                attributes.update(before | kept)
                raise

        return guarded

    return decorate
