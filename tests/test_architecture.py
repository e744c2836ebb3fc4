"""The rooms of the package: imports point downwards, and heavy packages stay inside functions."""

import ast
import functools
import graphlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cfe_stack"

# Lowest floor first. A module may import from its own floor and from those below, never in a
# circle; a package (trainers) is one room with all its modules.
FLOORS = {
    "leaves": {
        "aggregators", "blocks", "bootstrap", "calibration", "callbacks", "callers", "confidence",
        "cut_short", "dask_chunks", "datasets", "ensemble_data", "extras", "folds", "gates",
        "layout", "layout_detection", "lazy_matrix", "linear_pool", "link", "losses",
        "meta_features", "metrics", "persistence", "pool_design", "pool_selection", "pool_solver",
        "pools", "report_page", "score_calibration", "second_level", "selection_scoring",
        "splitters", "suspicion", "threads", "training_rows",
    },
    "objective": {"objective"},
    "trainers": {"trainers"},
    "classifier": {
        "adapters", "classifier", "column_reader", "complete_rows", "displays",
        "final_aggregators", "predictor",
    },
    "stacking": {
        "advice", "comparison", "demo", "leakage", "optimism", "report", "stack_columns",
        "stack_metadata", "stacking", "submission",
    },
    "command line": {"cli", "commands"},
    "entry": {"__main__"},
}  # fmt: skip
CORE = {"numpy", "scipy", "sklearn", "joblib", "threadpoolctl"}
TORCH_ROOM = "cfe_stack.trainers.pytorch"
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


def floor(module):
    room = module.split(".")[1]
    for height, rooms in enumerate(FLOORS.values()):
        if room in rooms:
            return height
    raise AssertionError(f"{module} has no floor yet: enter it in FLOORS of {__file__}")


def complaints(module, source):
    """List what the imports of one module do against the rules."""
    found = []
    for target, inside in imports(module, source):
        root = target.split(".")[0]
        if root == "cfe_stack":
            # The table of contents and the version are for everybody.
            if target != "cfe_stack" and module != "cfe_stack" and floor(target) > floor(module):
                found.append(f"{module} imports {target}, which is above it")
        elif root == "torch":
            if module != TORCH_ROOM:
                found.append(f"{module} imports torch; only {TORCH_ROOM} may")
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
        ("link", "from cfe_stack.classifier import CFEnsembleClassifier", "which is above it"),
        ("losses", "def f():\n    import cfe_stack.trainers.als", "which is above it"),
        ("objective", "from cfe_stack import trainers", "cfe_stack.trainers, which is above it"),
        ("trainers.als", "import torch", "only cfe_stack.trainers.pytorch may"),
        ("trainers.als", "def f():\n    from torch import nn", "only cfe_stack.trainers.pytorch"),
        ("displays", "import matplotlib.pyplot as plt", "matplotlib outside a function"),
        ("demo", "if True:\n    from pandas import DataFrame", "pandas outside a function"),
        ("report", "import requests", "neither core nor an extra"),
    ],
)
def test_a_breach_is_seen(module, source, complaint):
    (found,) = complaints(f"cfe_stack.{module}", source)
    assert complaint in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("trainers.pytorch", "import torch"),
        ("displays", "def plot():\n    import matplotlib.pyplot as plt"),
        ("cli", "from cfe_stack.classifier import CFEnsembleClassifier\nimport cfe_stack"),
    ],
)
def test_what_is_allowed_is_left_alone(module, source):
    assert complaints(f"cfe_stack.{module}", source) == []


def test_a_module_without_a_floor_is_refused():
    with pytest.raises(AssertionError, match="cfe_stack.annex has no floor yet"):
        complaints("cfe_stack.annex", "import cfe_stack.link")


def loaded_by(statement):
    code = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout))


def test_importing_the_package_loads_nothing_heavy():
    ours = loaded_by("import cfe_stack")
    assert "cfe_stack" in ours
    # scikit-learn itself looks for pandas when it is installed; that is not ours to prevent.
    ours -= loaded_by("import sklearn.ensemble")
    assert ours & (INSIDE_FUNCTIONS | {"torch", "cfe_stack.cli", "cfe_stack.demo"}) == set()
