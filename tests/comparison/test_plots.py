import numpy as np
import pytest

from cfe_stack.comparison.plots import cliques, draw_differences, draw_ranks, height_of
from cfe_stack.comparison.statistics import PairedTest, Posterior
from cfe_stack.comparison.verdict import Difference

pytest.importorskip("matplotlib")
from pictures import overlapping, written  # noqa: E402


@pytest.fixture
def matplotlib():
    module = pytest.importorskip("matplotlib")
    module.use("agg")
    return module


def difference(name, value, low, high, p):
    paired = PairedTest("t", value, low, high, p)
    return Difference(name, "ours", paired, p, 3, 2, 0, Posterior(0.1, 0.2, 0.7, 0.01))


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
    labels = ax.get_yticklabels()
    assert [t.get_text() for t in labels] == ["ours  1.20", "mean  1.90", "best single  2.90"]
    assert [t.get_fontweight() for t in labels] == ["bold", "normal", "normal"]
    bars = [line for line in ax.lines if line.get_linewidth() > 3]
    assert len(bars) == 2
    assert not any(line.get_linewidth() > 3 for line in draw_ranks(ranks, None, "ours").lines)
    matplotlib.pyplot.close("all")


@pytest.mark.parametrize("n", [2, 5, 20])
@pytest.mark.parametrize("width", [5.2, 7.0])
def test_what_is_written_does_not_overlap_or_leave_the_picture(matplotlib, n, width):
    ranks = {f"contender {k} of a very long name": float(k + 1) for k in range(n)}
    found = [difference(name, r / 10, r / 10 - 0.1, r, 0.5) for name, r in ranks.items()]
    size = {"figsize": (width, height_of(n)), "layout": "constrained"}
    for draw in (
        lambda ax: draw_ranks(ranks, 1.5, next(iter(ranks)), ax),
        lambda ax: draw_differences(found, "log_loss", False, ax),
    ):
        figure, ax = matplotlib.pyplot.subplots(**size)
        draw(ax)
        shown = written(figure)
        assert overlapping(shown) == []
        for text, box in shown:
            inside = (figure.bbox.x0 <= box.x0, box.x1 <= figure.bbox.x1)
            assert all(inside), text
            assert figure.bbox.y0 <= box.y0, text
            assert box.y1 <= figure.bbox.y1, text
    matplotlib.pyplot.close("all")


def test_differences_are_drawn_with_their_intervals(matplotlib):
    found = [
        difference("mean", 0.2, 0.1, 0.3, 0.01),
        difference("greedy", -0.1, -0.3, 0.1, 0.4),
        difference("few sets", 0.1, -np.inf, np.inf, 0.2),
    ]
    ax = draw_differences(found, "log_loss", False)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["greedy", "few sets", "mean"]
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [dot.get_markerfacecolor() for dot in dots] == ["white", "white", "black"]
    assert "log_loss minus that of ours\n(left is better)" in ax.get_xlabel()
    assert "right is better" in draw_differences(found, "roc_auc", True).get_xlabel()
    matplotlib.pyplot.close("all")


def test_given_axes_are_used(matplotlib):
    figure, axes = matplotlib.pyplot.subplots(1, 2)
    assert draw_ranks({"a": 1.0, "b": 2.0}, 0.5, "a", axes[0]) is axes[0]
    assert draw_differences([difference("a", 1, 0, 2, 0.5)], "brier", False, axes[1]) is axes[1]
    matplotlib.pyplot.close(figure)
