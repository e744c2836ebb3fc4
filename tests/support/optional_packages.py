"""Packages that tests need in places: what uses one where it is not installed is skipped."""

from typing import Any

import pytest


class OptionalModule:
    """Stands for a module until something of it is asked for."""

    def __init__(self, module: str) -> None:
        self.module = module

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # somebody looks at the object itself, as doctest does
            raise AttributeError(name)
        return getattr(pytest.importorskip(self.module), name)


pandas = OptionalModule("pandas")
mlxtend_classifier = OptionalModule("mlxtend.classifier")
