"""Layers of the package: imports point downwards, and heavy packages stay inside functions."""

import ast
import functools
import graphlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "cfe_stack"

PAGE = PACKAGE.parent / "docs" / "architecture.md"
ROW = re.compile(r"^\| (\d+) \| `(\w+)(?:/|\.py)` \|", re.M)
# Layer of every package and of every module in the root, from the table of the page: a module may
# import from its own package and from lower layers.
LAYERS = {name: int(layer) for layer, name in ROW.findall(PAGE.read_text("utf-8"))}
CORE = {"numpy", "scipy", "sklearn", "joblib", "threadpoolctl"}
TORCH_MODULE = "cfe_stack.trainers.torch_descent"
INSIDE_FUNCTIONS = {
    "catboost", "dask", "deslib", "distributed", "lightgbm", "matplotlib", "mlxtend", "pandas",
    "polars", "pyarrow", "tqdm", "xgboost",
}  # fmt: skip


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def sources():
    return {module_name(path): path.read_text("utf-8") for path in PACKAGE.rglob("*.py")}


def imports(module, source):
    """Yield (imported module, inside a function) of every import statement in a source text."""

    def visit(node, inside):
        if isinstance(node, ast.Import):
            yield from ((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively: write the full name"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield (submodule if submodule in sources() else node.module), inside
        deeper = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, deeper)

    return list(visit(ast.parse(source), False))


def top(module):
    """Return the package or root module that a module belongs to."""
    return module.split(".")[1]


def layer(module):
    assert top(module) in LAYERS, f"{module} has no layer yet: enter it in {PAGE}"
    return LAYERS[top(module)]


def complaints(module, source):
    """List what the imports of one module do against the rules."""
    found = []
    for target, inside in imports(module, source):
        root = target.split(".")[0]
        if root == "cfe_stack":
            if target == "cfe_stack" or module == "cfe_stack" or top(target) == top(module):
                continue
            if layer(target) >= layer(module):
                found.append(f"{module} imports {target}, which is not below it")
        elif root == "torch":
            if module != TORCH_MODULE:
                found.append(f"{module} imports torch; only {TORCH_MODULE} may")
        elif root in INSIDE_FUNCTIONS:
            if not inside:
                found.append(f"{module} imports {root} outside a function")
        elif root not in CORE and root not in sys.stdlib_module_names:
            found.append(f"{module} imports {root}, which is neither core nor an extra")
    return found


@pytest.mark.parametrize("module", sorted(sources()))
def test_imports_follow_the_rules(module):
    assert complaints(module, sources()[module]) == []


def test_imports_go_in_no_circle():
    graph = {
        module: {target for target, _ in imports(module, source) if target.startswith("cfe_stack.")}
        for module, source in sources().items()
        if module != "cfe_stack"
    }
    assert list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("losses.link", "from cfe_stack.classifier import CFEnsembleClassifier", "not below it"),
        ("losses", "def f():\n    import cfe_stack.trainers.als", "which is not below it"),
        ("losses.objective", "from cfe_stack import trainers", "cfe_stack.trainers, which is not"),
        ("datasets", "from cfe_stack.losses import FocalLoss", "which is not below it"),
        ("trainers.als", "import torch", "only cfe_stack.trainers.torch_descent may"),
        (
            "trainers.als",
            "def f():\n    from torch import nn",
            "only cfe_stack.trainers.torch_descent",
        ),
        ("displays", "import matplotlib.pyplot as plt", "matplotlib outside a function"),
        ("demo", "if True:\n    from pandas import DataFrame", "pandas outside a function"),
        ("blending.report", "import requests", "neither core nor an extra"),
    ],
)
def test_a_breach_is_seen(module, source, complaint):
    (found,) = complaints(f"cfe_stack.{module}", source)
    assert complaint in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("trainers.torch_descent", "import torch"),
        ("displays", "def plot():\n    import matplotlib.pyplot as plt"),
        ("cli", "from cfe_stack.classifier import CFEnsembleClassifier\nimport cfe_stack"),
    ],
)
def test_what_is_allowed_is_left_alone(module, source):
    assert complaints(f"cfe_stack.{module}", source) == []


def test_the_table_names_what_there_is():
    existing = {
        path.stem for path in PACKAGE.iterdir() if path.stem not in ("__init__", "__pycache__")
    }
    assert set(LAYERS) == existing
    assert sum((PACKAGE / f"{name}.py").exists() for name in existing - {"__main__"}) <= 4


def test_a_module_without_a_layer_is_refused():
    with pytest.raises(AssertionError, match="cfe_stack.annex has no layer yet"):
        complaints("cfe_stack.annex", "import cfe_stack.losses.link")


def loaded_by(statement):
    code = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout))


def test_importing_the_package_loads_nothing_heavy():
    ours = loaded_by("import cfe_stack")
    assert "cfe_stack" in ours
    # scikit-learn itself looks for pandas when it is installed; that is not ours to prevent.
    ours -= loaded_by("import sklearn.ensemble")
    assert ours & (INSIDE_FUNCTIONS | {"torch", "cfe_stack.cli.main", "cfe_stack.demo"}) == set()
