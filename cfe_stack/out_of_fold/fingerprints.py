"""Content addresses: what a fold prediction depends on, as one hash.

Threads are left out, because they change no prediction; code that belongs to no installed package
is part of the address, because it changes from one run to the next.
"""

import functools
import hashlib
import sys
import types
from collections.abc import Iterable, Mapping
from typing import Any

import joblib
import numpy as np
from scipy import sparse

from cfe_stack.base_learners.fitted_learner import (
    THREAD_PARAMETERS,
    nested_estimators,
    package_of,
)

FORMAT = "cfe_stack fold prediction 1"
"""Changes when entries of older versions must not be read any more."""
_CHUNK = 1 << 24

_NOT_CODE = {
    "__annotations__", "__dict__", "__doc__", "__firstlineno__", "__module__",
    "__static_attributes__", "__weakref__", "_abc_impl",
}  # fmt: skip
"""Attributes of a class that say nothing of what it does, or differ between processes."""


class UncacheableError(ValueError):
    """Something has no content address."""


class Fingerprint:
    """A hash that is fed with values of any kind.

    Examples
    --------
    >>> from cfe_stack.out_of_fold.fingerprints import Fingerprint
    >>> Fingerprint("a", 1).digest == Fingerprint("a", 1).digest != Fingerprint("a", 2).digest
    True
    """

    def __init__(self, *values: Any) -> None:
        self._hash = hashlib.blake2b(digest_size=20)
        for value in values:
            self.add(value)

    @property
    def digest(self) -> str:
        """The address so far, in hexadecimal digits."""
        return self._hash.hexdigest()

    def _mark(self, *parts: Any) -> None:
        text = "\x1f".join(map(str, parts)).encode()
        self._hash.update(len(text).to_bytes(8, "little") + text)

    def add(self, value: Any) -> None:
        """Feed one value.

        Parameters
        ----------
        value : object

        Raises
        ------
        UncacheableError
            If it cannot be hashed.
        """
        if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
            self._mark(type(value).__name__, repr(value))
        elif isinstance(value, np.ndarray):
            self._add_array(value)
        elif isinstance(value, np.generic):
            self._add_array(np.asarray(value))
        elif sparse.issparse(value):
            self._add_sparse(value)
        elif isinstance(value, Mapping):
            self._mark("mapping", len(value))
            for key, item in sorted(value.items(), key=lambda pair: repr(pair[0])):
                self.add(key)
                self.add(item)
        elif isinstance(value, (set, frozenset)):
            self._mark("set", sorted(map(repr, value)))
        elif isinstance(value, (list, tuple)):
            self._mark("list", len(value))
            for item in value:
                self.add(item)
        elif hasattr(value, "columns") and hasattr(value, "shape"):
            self._add_frame(value)
        else:
            self._add_object(value)

    def _add_array(self, array: np.ndarray) -> None:
        self._mark("array", array.dtype.str, array.shape)
        if array.dtype.hasobject:
            self.add(array.ravel().tolist())
            return
        rows = max(1, _CHUNK // max(1, array[:1].nbytes)) if array.ndim else 1
        parts = (array[i : i + rows] for i in range(0, len(array), rows)) if array.ndim else [array]
        for part in parts:
            self._hash.update(part.tobytes())

    def _add_sparse(self, matrix: Any) -> None:
        kept = matrix if hasattr(matrix, "indptr") else matrix.tocsr()
        self._mark("sparse", kept.format, kept.shape)
        for part in (kept.data, kept.indices, kept.indptr):
            self._add_array(part)

    def _add_frame(self, frame: Any) -> None:
        # the columns of a pyarrow table are its values
        names = getattr(frame, "column_names", frame.columns)
        self._mark("frame", package_of(frame), frame.shape, list(map(repr, names)))
        for position, name in enumerate(names):
            column = frame.iloc[:, position] if hasattr(frame, "iloc") else frame[name]
            kind = column.dtype if hasattr(column, "dtype") else column.type
            self._mark(kind)
            if str(kind) == "category":
                self.add(column.cat.categories.to_numpy())
                self.add(column.cat.codes.to_numpy())
            else:
                self.add(column.to_numpy())

    def _add_object(self, value: Any) -> None:
        if isinstance(value, functools.partial):
            self._mark("partial")
            for part in (value.func, value.args, value.keywords):
                self.add(part)
        elif isinstance(value, types.FunctionType):
            self._mark("function", value.__module__, value.__qualname__)
            self._add_code(value.__code__)
            self.add(value.__defaults__)
            self.add(value.__kwdefaults__)
            self.add([cell.cell_contents for cell in value.__closure__ or ()])
        elif isinstance(value, (type, types.BuiltinFunctionType, np.ufunc)):
            self._mark("named", getattr(value, "__module__", ""), value.__name__)
        elif hasattr(value, "get_params"):
            self.add_estimator(value)
        elif hasattr(value, "to_numpy"):
            self.add(value.to_numpy())
        else:
            try:
                self._mark("pickled", type(value).__qualname__, joblib.hash(value))
            except Exception as error:
                raise UncacheableError(
                    f"{type(value).__name__} object {value!r:.80} cannot be hashed: {error}"
                ) from error

    def _add_code(self, code: types.CodeType) -> None:
        self._mark("code", code.co_code.hex(), code.co_names, code.co_varnames)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._add_code(constant)
            elif isinstance(constant, frozenset):
                # the order of a set of strings changes from one process to the next
                self._mark("set", sorted(map(repr, constant)))
            else:
                self._mark(repr(constant))

    def _add_class(self, cls: type) -> None:
        """Feed the code of a class and of its bases, unless an installed package defines them.

        Code is read from the class in memory and not from its file, which may be out of reach, and
        may have changed since the class was made.
        """
        for base in cls.__mro__:
            self._mark("class", base.__module__, base.__qualname__)
            if _is_installed(base.__module__.split(".")[0]):
                continue
            for name, value in sorted(vars(base).items()):
                if name not in _NOT_CODE:
                    self._mark(name)
                    self._add_attribute(value)

    def _add_attribute(self, value: Any) -> None:
        """Feed an attribute of a class, by its type alone where it is state and not a setting."""
        if isinstance(value, (classmethod, staticmethod)):
            self._add_attribute(value.__func__)
        elif isinstance(value, property):
            for part in (value.fget, value.fset, value.fdel):
                self._add_attribute(part)
        elif isinstance(value, functools.cached_property):
            self._add_attribute(value.func)
        elif isinstance(value, types.FunctionType) or _is_setting(value):
            self.add(value)
        elif not isinstance(value, (list, dict, set)):
            self._mark("attribute", type(value).__qualname__)

    def add_estimator(self, estimator: Any) -> None:
        """Feed the class and parameters of a learner, those of nested learners included.

        Parameters
        ----------
        estimator : estimator
            Its number of threads is left out.
        """
        cls = type(estimator)
        self._mark("estimator", cls.__module__, cls.__qualname__)
        if cls.__name__ == "FrozenEstimator":
            # its parameters do not say how it was fitted
            self._mark(joblib.hash(estimator))
        self._add_class(cls)
        for name, value in sorted(estimator.get_params(deep=False).items()):
            if name not in THREAD_PARAMETERS:
                self._mark(name)
                if isinstance(value, Mapping):  # such as the parameters of a native booster
                    value = {k: v for k, v in value.items() if k not in THREAD_PARAMETERS}
                self.add(value)


def library_versions(estimators: Iterable[Any]) -> dict[str, str]:
    """Return versions of NumPy, scikit-learn and every package whose classes learners use."""
    packages = {"numpy", "scipy", "sklearn"}
    for estimator in estimators:
        for _, nested in nested_estimators(estimator):
            packages |= {base.__module__.split(".")[0] for base in type(nested).__mro__}
    found = {name: _distribution_version(name) for name in sorted(packages)}
    return {name: version for name, version in found.items() if version is not None}


def _distribution_version(package: str) -> str | None:
    return getattr(sys.modules.get(package), "__version__", None)


def _is_setting(value: Any) -> bool:
    """Whether a class attribute is a number, a text, or holds such: learners log into others."""
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return len(value) > 0 and all(map(_is_setting, value))
    return value is None or isinstance(value, (bool, int, float, complex, str, bytes))


def _is_installed(package: str) -> bool:
    return package in sys.stdlib_module_names or _distribution_version(package) is not None
