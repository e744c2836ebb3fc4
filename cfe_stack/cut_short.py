"""Fits that are cut short: an interrupt or an error changes nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def unchanged_if_cut_short(estimator: Any, *, keep: tuple[str, ...] = ()) -> Iterator[None]:
    """Give an estimator its attributes back if the block does not come to its end.

    An estimator that was not fitted is not fitted then, and one that was predicts what it did;
    never half of one fit and half of another. A block may replace attributes, not change them in
    place.

    Parameters
    ----------
    estimator : estimator
    keep : tuple of str
        Attributes that are kept as the block leaves them.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from cfe_stack.cut_short import unchanged_if_cut_short
    >>> estimator = SimpleNamespace(weights_="of the last fit")
    >>> try:
    ...     with unchanged_if_cut_short(estimator):
    ...         estimator.weights_ = "half done"
    ...         raise MemoryError
    ... except MemoryError:
    ...     print(estimator.weights_)
    of the last fit
    """
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        kept = {name: vars(estimator)[name] for name in keep if name in vars(estimator)}
        vars(estimator).clear()
        vars(estimator).update(before | kept)
        raise
