"""scikit-learn's callbacks: a fit is a task, and whatever has a progress bar in it a task below."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial, wraps
from typing import Any, TypeVar

from cfe_stack.runtime.progress import Item, bars_shown_by

try:
    from sklearn.callback import CallbackSupportMixin as Observed
    from sklearn.callback import with_callbacks
except ImportError:  # before scikit-learn 1.9 there were none

    class Observed:  # type: ignore[no-redef]
        """Nothing to observe with."""

    def with_callbacks(method: Any) -> Any:
        """Return a method as it is."""
        return method


Fit = TypeVar("Fit", bound=Callable[..., Any])


def reports_to_callbacks(fit: Fit) -> Fit:
    """Decorate the ``fit`` of an `Observed` estimator: callbacks hear of it and of its steps.

    While callbacks are set, progress is theirs to show, also that of estimators inside.

    Examples
    --------
    >>> from sklearn.base import BaseEstimator
    >>> from cfe_stack.runtime.callbacks import Observed, reports_to_callbacks
    >>> class Model(Observed, BaseEstimator):
    ...     @reports_to_callbacks
    ...     def fit(self, X, y):
    ...         return self
    >>> Model().fit([[0]], [0])
    Model()
    """

    @wraps(fit)
    def reported(self: Any, X: Any, y: Any, *args: Any, **kwargs: Any) -> Any:
        if not hasattr(self, "_skl_callbacks"):
            return fit(self, X, y, *args, **kwargs)
        task = self._init_callback_context(max_subtasks=None)
        task.call_on_fit_task_begin(estimator=self, X=X, y=y)
        with bars_shown_by(partial(_steps, self, task)):
            fit(self, X, y, *args, **kwargs)
        task.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    decorated: Fit = with_callbacks(reported)
    return decorated


def _steps(
    estimator: Any, parent: Any, items: Iterable[Item], total: int, description: str
) -> Iterator[Item]:
    """Yield items; callbacks hear of every one."""
    task = parent.subcontext(task_name=description, max_subtasks=total)
    task.call_on_fit_task_begin(estimator=estimator)
    try:
        for item in items:
            step = task.subcontext(task_name="step")
            step.call_on_fit_task_begin(estimator=estimator)
            yield item
            step.call_on_fit_task_end(estimator=estimator)
    finally:
        task.call_on_fit_task_end(estimator=estimator)
