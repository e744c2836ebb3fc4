"""Every example of the gallery runs without a warning, and its pictures can be read."""

import re
from pathlib import Path

import pytest

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from pictures import overlapping, written  # noqa: E402

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("plot_*.py"))
# What an example that takes long calls its size, and a size that is enough to see that it runs.
SMALLER = {
    "plot_model_comparison": {"N_ROWS": "400", "N_TREES": "5", "N_REPEATS": "1", "N_SETS": "4"},
    "plot_blend_files": {"N_TREES": "20", "N_REFITS": "2"},
    "plot_trust_and_weights": {"N_ROWS": "600", "N_TREES": "10", "N_REFITS": "2"},
    "plot_missing_predictions": {"N_INSTANCES": "500", "RATES": "(0.0, 0.3)"},
}


def shrunk(path):
    """Return the source of an example with its sizes replaced."""
    source = path.read_text("utf-8")
    for name, value in SMALLER.get(path.stem, {}).items():
        source, count = re.subn(rf"^{name} = .*$", f"{name} = {value}", source, flags=re.MULTILINE)
        assert count == 1, f"{path.name} has no line that sets {name}"
    return source


def test_there_are_examples_and_sizes_belong_to_them():
    assert EXAMPLES
    assert set(SMALLER) <= {path.stem for path in EXAMPLES}


@pytest.mark.exhaustive
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path, monkeypatch):
    for package in ("torch", "mlxtend"):
        if package in path.read_text("utf-8"):
            pytest.importorskip(package)
    monkeypatch.setattr(plt, "show", lambda: None)
    plt.close("all")
    try:
        exec(compile(shrunk(path), str(path), "exec"), {"__name__": "__main__"})
        figures = [plt.figure(number) for number in plt.get_fignums()]
        assert figures
        for figure in figures:
            assert overlapping(written(figure)) == []
    finally:
        plt.close("all")
