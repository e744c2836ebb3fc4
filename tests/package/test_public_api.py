import importlib
import inspect
import itertools
import pkgutil
import re
from types import ModuleType
from typing import Self

import pytest

import cfe_stack

MODULES = [
    module.name
    for module in pkgutil.walk_packages(cfe_stack.__path__, "cfe_stack.")
    if not module.name.endswith("__main__")
]


def sections(docstring):
    """Split a numpydoc docstring into {title: lines}."""
    lines = inspect.cleandoc(docstring).splitlines()
    starts = [
        i for i in range(len(lines) - 1) if lines[i] and lines[i + 1] and set(lines[i + 1]) == {"-"}
    ]
    bounds = itertools.pairwise([*starts, len(lines)])
    return {lines[start]: lines[start + 2 : end] for start, end in bounds}


def documented_parameters(docstring):
    names = []
    for line in sections(docstring).get("Parameters", []):
        if match := re.match(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: :|$)", line):
            names += [name.strip(" *") for name in match[1].split(",")]
    return names


def parameters(function):
    return [name for name in inspect.signature(function).parameters if name != "self"]


def public_callables():
    for name in cfe_stack.__all__:
        member = getattr(cfe_stack, name)
        if not (inspect.isclass(member) and issubclass(member, BaseException)):
            yield name, member


def own_methods():
    """Public methods that our classes define or inherit from ours."""
    for name, member in public_callables():
        for attribute in dir(member):
            method = inspect.getattr_static(member, attribute)
            function = getattr(method, "__func__", method)
            if attribute.startswith("_") or not inspect.isfunction(function):
                continue
            if function.__module__.startswith("cfe_stack"):
                yield pytest.param(function, id=f"{name}.{attribute}")


def test_every_name_resolves_once():
    assert len(set(cfe_stack.__all__)) == len(cfe_stack.__all__)
    for name in cfe_stack.__all__:
        assert getattr(cfe_stack, name).__module__.startswith("cfe_stack.")


def test_nothing_else_is_public():
    public = {
        name
        for name in dir(cfe_stack)
        if not name.startswith("_") and not isinstance(getattr(cfe_stack, name), ModuleType)
    }
    assert public == set(cfe_stack.__all__)
    modules = {
        name
        for name, value in vars(cfe_stack).items()
        if isinstance(value, ModuleType) and not value.__name__.startswith("cfe_stack.")
    }
    assert modules == set()


def test_the_version_is_a_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?", cfe_stack.__version__)


@pytest.mark.parametrize("name", cfe_stack.__all__)
def test_every_name_says_what_it_is(name):
    docstring = getattr(cfe_stack, name).__doc__
    assert docstring
    assert docstring.strip().splitlines()[0].endswith(".")


@pytest.mark.parametrize("name", [name for name, _ in public_callables()])
def test_every_class_and_function_documents_its_parameters_and_shows_an_example(name):
    member = getattr(cfe_stack, name)
    found = sections(member.__doc__)
    assert documented_parameters(member.__doc__) == parameters(member)
    assert any(line.startswith(">>> ") for line in found.get("Examples", []))


@pytest.mark.parametrize("method", list(own_methods()))
def test_every_method_documents_parameters_and_result(method):
    assert method.__doc__
    assert documented_parameters(method.__doc__) == parameters(method)
    returns = inspect.signature(method).return_annotation
    assert returns is not inspect.Signature.empty
    # One line is enough where the summary itself says what comes back, or the object does.
    said = returns in (None, Self, "None", "Self") or re.match(r"(Return|Yield)s? ", method.__doc__)
    if not said:
        assert {"Returns", "Yields"} & set(sections(method.__doc__))


@pytest.mark.parametrize("member", list(own_methods()) + [m for _, m in public_callables()])
def test_signatures_are_short_enough_to_read_in_help(member):
    """Types are shown as they are written, not as the unions that they stand for."""
    assert "numpy._typing" not in str(inspect.signature(member))


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is_for(module):
    if module.endswith(".pytorch"):
        pytest.importorskip("torch")
    assert importlib.import_module(module).__doc__


def test_the_parser_of_this_test_reads_numpydoc():
    docstring = """Do it.

    Parameters
    ----------
    R : ndarray of shape (n,)
        Matrix: not a name.
    low, high : float
        Range.
    **options
        More.

    Examples
    --------
    >>> 1
    1
    """
    assert documented_parameters(docstring) == ["R", "low", "high", "options"]
    assert sections(docstring)["Examples"] == [">>> 1", "1"]
