import numpy as np
import pytest

from cfe_stack.comparison_plots import cliques, close, draw_differences, draw_ranks
from cfe_stack.comparison_statistics import PairedTest, Posterior
from cfe_stack.comparison_verdict import Difference


@pytest.fixture
def matplotlib():
    module = pytest.importorskip("matplotlib")
    module.use("agg")
    return module


def difference(name, value, low, high, p):
    paired = PairedTest("t", value, low, high, p)
    return Difference(name, "ours", paired, p, 3, 2, 0, Posterior(0.1, 0.2, 0.7, 0.01))


def texts(ax):
    return [t.get_text() for t in ax.texts]


@pytest.mark.parametrize(
    ("ranks", "critical", "expected"),
    [
        ([1.0, 1.5, 2.2, 4.0], 1.0, [(0, 1), (1, 2)]),
        ([1.0, 2.0, 3.0], 5.0, [(0, 2)]),
        ([1.0, 2.0, 3.0], 0.5, []),
    ],
)
def test_bars_join_those_who_are_not_told_apart(ranks, critical, expected):
    assert cliques(np.array(ranks), critical) == expected


def test_the_diagram_names_everybody_and_draws_a_bar_per_clique(matplotlib):
    ranks = {"ours": 1.2, "mean": 1.9, "best single": 2.9}
    ax = draw_ranks(ranks, 1.0, "ours")
    assert {"ours  1.20", "mean  1.90", "2.90  best single"} <= set(texts(ax))
    (bold,) = (t for t in ax.texts if t.get_fontweight() == "bold")
    assert bold.get_text() == "ours  1.20"
    bars = [line for line in ax.lines if line.get_linewidth() > 3]
    assert len(bars) == 2
    assert not any(line.get_linewidth() > 3 for line in draw_ranks(ranks, None, "ours").lines)
    close("all")


@pytest.mark.parametrize("n", [2, 5, 20])
def test_labels_of_the_diagram_do_not_overlap_or_leave_the_picture(matplotlib, n):
    ranks = {f"contender number {k}": float(r) for k, r in enumerate(np.linspace(1, n, n))}
    ax = draw_ranks(ranks, 1.5, "contender number 0")
    ax.figure.canvas.draw()
    boxes = [t.get_window_extent() for t in ax.texts]
    page = ax.figure.bbox
    for i, box in enumerate(boxes):
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1
        assert page.y0 <= box.y0
        assert box.y1 <= page.y1
        assert not any(box.overlaps(other) for other in boxes[i + 1 :]), ax.texts[i]
    close("all")


def test_differences_are_drawn_with_their_intervals(matplotlib):
    found = [
        difference("mean", 0.2, 0.1, 0.3, 0.01),
        difference("greedy", -0.1, -0.3, 0.1, 0.4),
        difference("few sets", 0.1, -np.inf, np.inf, 0.2),
    ]
    ax = draw_differences(found, "log_loss", False)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["mean", "few sets", "greedy"]
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [dot.get_markerfacecolor() for dot in dots] == ["black", "white", "white"]
    assert "log_loss minus that of ours (left is better than it)" in ax.get_xlabel()
    assert "right is better" in draw_differences(found, "roc_auc", True).get_xlabel()
    close("all")


def test_given_axes_are_used(matplotlib):
    figure, axes = matplotlib.pyplot.subplots(1, 2)
    assert draw_ranks({"a": 1.0, "b": 2.0}, 0.5, "a", axes[0]) is axes[0]
    assert draw_differences([difference("a", 1, 0, 2, 0.5)], "brier", False, axes[1]) is axes[1]
    close(figure)
