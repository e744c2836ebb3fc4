"""Collections that clones of one stack share, so that a search fits no base learner twice."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

from cfe_stack.out_of_fold.fingerprints import Fingerprint, UncacheableError
from cfe_stack.out_of_fold.out_of_fold_data import OutOfFoldData

MAX_COLLECTIONS = 12
"""Maximum number of collections that are kept, more than a search has outer folds."""


class SharedCollections:
    """Recent collections by what they depend on.

    They live as long as the estimators that share them. A copy, as for another process, starts
    empty: fitted models are not sent around.
    """

    def __init__(self) -> None:
        self._found: OrderedDict[str, OutOfFoldData] = OrderedDict()
        self._locks: dict[str, Lock] = {}
        self._lock = Lock()

    def collected(self, collect: Callable[[], OutOfFoldData], depends_on: Any) -> OutOfFoldData:
        """Return the collection that depends on these values, made once.

        Parameters
        ----------
        collect : callable
            Makes it.
        depends_on : object
            Everything that it depends on.
        """
        try:
            key = Fingerprint(depends_on).digest
        except UncacheableError:
            return collect()
        with self._lock:
            mine = self._locks.setdefault(key, Lock())
        with mine:
            data = self._found.get(key)
            data = collect() if data is None else data
            with self._lock:
                self._found[key] = data
                self._found.move_to_end(key)
                while len(self._found) > MAX_COLLECTIONS:
                    self._locks.pop(self._found.popitem(last=False)[0], None)
            return data

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedCollections, ()
