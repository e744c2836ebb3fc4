"""Contracts of every display: what is stored, what is drawn, and that it can be read."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
from pictures import overlapping, written
from stacked_columns import stacked

from cfe_stack import CFEnsembleClassifier, displays
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.displays.canvas import SERIES, shorten, shorten_all
from cfe_stack.displays.rows import Rows
from cfe_stack.runtime.optional_packages import MissingExtraError

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

# From a fitted classifier, columns and classes to a display, and the ways to plot it.
DISPLAYS = {
    "TrainingHistoryDisplay": (lambda cls, c, P, y: cls.from_estimator(c), [{}]),
    "AggregatorWeightsDisplay": (
        lambda cls, c, P, y: cls.from_estimator(c, P, y, n_bootstrap=2, random_state=0),
        [{}, {"max_rows": 3}],
    ),
    "ClassifierMapDisplay": (lambda cls, c, P, y: cls.from_estimator(c, P, y), [{}]),
    "InstanceMapDisplay": (
        lambda cls, c, P, y: cls.from_estimator(c, P, y),
        [{}, {"by": "difficulty"}, {"by": "disagreement", "max_points": 20}],
    ),
    "TrustDisplay": (lambda cls, c, P, y: cls.from_estimator(c, P), [{}, {"max_rows": 3}]),
    "ReliabilityDisplay": (lambda cls, c, P, y: cls.from_estimator(c, P, y), [{}]),
    "GradientShareDisplay": (lambda cls, c, P, y: cls.from_estimator(c, P, y), [{}]),
    "CoverageDisplay": (
        lambda cls, c, P, y: cls.from_estimator(c, P),
        [{}, {"kind": "classifiers"}, {"kind": "instances"}],
    ),
    "RankingCurvesDisplay": (
        lambda cls, c, P, y: cls.from_estimator(c, P, y, positive=1),
        [{}, {"kind": "roc"}],
    ),
}
CASES = [(name, k) for name, (_, ways) in DISPLAYS.items() for k in range(len(ways))]


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def problems():
    """Return classifiers, columns and classes: 5, 30 and 100 learners, and three classes."""
    made = {}
    for name, shape in {
        "five": (5, 120, 2),
        "thirty": (30, 120, 2),
        "hundred": (100, 120, 2),
        "three classes": (5, 120, 3),
    }.items():
        P, y, _ = stacked(*shape, missing_rate=0.1)
        aggregator = "gated_pool" if shape[0] < 100 else "log_pool"
        made[name] = CFEnsembleClassifier(aggregator=aggregator, cv=2).fit(P, y), P, y
    return made


@pytest.fixture(scope="module")
def made(problems):
    """Return a function from problem and name to the display, computed once."""
    kept = {}

    def make(size, name):
        if (size, name) not in kept:
            kept[size, name] = DISPLAYS[name][0](getattr(displays, name), *problems[size])
        return kept[size, name]

    return make


def test_an_overlap_is_seen():
    figure = plt.figure()
    for k, text in enumerate(("one", "two", "far")):
        figure.text(0.1 + 0.4 * (k == 2), 0.5, text)
    assert overlapping(written(figure)) == [("two", "one")]


def test_the_table_holds_every_display():
    assert sorted(DISPLAYS) == sorted(displays.__all__)


@pytest.mark.parametrize("name", DISPLAYS)
def test_a_constructor_only_stores(name):
    cls = getattr(displays, name)
    names = [p for p in inspect.signature(cls).parameters]
    marks = {each: object() for each in names}
    assert vars(cls(**marks)) == marks


@pytest.mark.parametrize(
    ("name", "way", "size"),
    [(*case, size) for case in CASES for size in ("five", "hundred")]
    + [(name, 0, "three classes") for name in DISPLAYS],
)
def test_it_draws_what_can_be_read(problems, made, name, way, size):
    if size == "hundred" and name == "AggregatorWeightsDisplay":
        classifier, P, y = problems[size]
        m = len(classifier.weights_)
        samples = np.random.default_rng(0).normal(classifier.weights_, 0.1, (9, m))
        display = displays.AggregatorWeightsDisplay(
            classifier.weights_, [f"learner {u}" for u in range(m)], samples
        )
    else:
        display = made(size, name)
    assert display.plot(**DISPLAYS[name][1][way]) is display
    assert display.figure_ is display.ax_.figure
    assert display.ax_.get_xlabel()
    assert display.ax_.get_ylabel() or display.ax_.get_yticklabels()
    texts = written(display.figure_)
    assert overlapping(texts) == []
    window = display.figure_.bbox
    for text, box in texts:
        assert box.x0 > -2 < box.y0, text
        assert box.x1 < window.x1 + 2, text
        assert box.y1 < window.y1 + 2, text


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "way"), CASES)
def test_it_draws_on_given_axes_of_any_size(made, name, way):
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    display = made("thirty", name).plot(axes[1], **DISPLAYS[name][1][way])
    assert display.ax_ is axes[1]
    assert display.figure_ is figure
    assert not axes[0].has_data()
    assert overlapping(written(figure)) == []


@pytest.mark.parametrize("name", DISPLAYS)
def test_without_matplotlib_one_sentence_says_what_to_do(made, name, monkeypatch):
    display = made("five", name)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingExtraError, match=r"run `python -m pip install \"cfe-stack\[plot\]"):
        display.plot()


def test_importing_the_displays_loads_no_matplotlib():
    code = "import sys, cfe_stack.displays; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_series_differ_without_their_colour():
    looks = [(str(style["linestyle"]), style["marker"]) for style in SERIES]
    assert len({line for line, _ in looks}) == len({mark for _, mark in looks}) == len(SERIES)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("TrainingHistoryDisplay", {"yscale": "root"}, "yscale must be 'log' or 'linear'"),
        ("AggregatorWeightsDisplay", {"level": 1.0}, "level must lie between 0 and 1"),
        ("AggregatorWeightsDisplay", {"max_rows": 1}, "max_rows must be an integer >= 2"),
        ("InstanceMapDisplay", {"by": "colour"}, "by must be one of"),
        ("CoverageDisplay", {"kind": "rows"}, "kind must be one of"),
        ("RankingCurvesDisplay", {"kind": "lift"}, "kind must be one of"),
    ],
)
def test_plots_refuse_what_they_do_not_know(made, name, arguments, message):
    display = made("five", name)
    with pytest.raises(ValueError, match=message):
        display.plot(**arguments)


def test_rows_beyond_the_limit_share_the_last():
    rows = Rows.fitting(np.array([3, 1, 0, 2]), None, 3)
    assert rows.own.tolist() == [3, 1]
    assert rows.collect(np.array([1.0, 2.0, 4.0, 8.0]), np.sum).tolist() == [8.0, 2.0, 5.0]
    assert rows.sorted_by(np.array([0.0, 9.0, 0.0, 1.0])).own.tolist() == [1, 3]
    assert len(Rows.fitting(np.arange(3), None, 3)) == 3


def test_rows_fit_the_axes_that_are_given():
    ax = plt.subplots(figsize=(3, 1))[1]
    rows = Rows.fitting(np.arange(100), ax, 40)
    assert 2 <= len(rows) < 12


def test_long_names_lose_their_middle():
    assert shorten("short") == "short"
    assert shorten("a very long name of a learner", 11) == "a ver…arner"
    names = [f"catboost_depth{k}_seed{k}_with_target_encoding" for k in range(12)] + ["same"] * 2
    short = shorten_all(names)
    assert len(set(short[:12])) == 12
    assert max(map(len, short)) <= 26
    assert short[12:] == ["same", "same"]


def test_names_keep_off_their_points_at_any_resolution():
    """Text is a little wider or narrower when a figure is saved at other dots per inch."""
    ax = plt.subplots(figsize=(5, 4))[1]
    ax.set(xlim=(0, 1), ylim=(0, 1))
    positions = np.array([[0.97, 0.2], [0.97, 0.5], [0.03, 0.8]])
    texts = ["catboost_depth3_seed_11_v3"] * 3
    assert len(displays.labels.place_labels(ax, positions, texts)) == 3
    for dpi in (50, 73, 100, 160, 300):
        ax.figure.dpi = dpi
        ax.figure.draw_without_rendering()
        for text, point in zip(ax.texts, ax.transData.transform(positions), strict=True):
            box = plt.Text.get_window_extent(text)
            gap = max(box.x0 - point[0], point[0] - box.x1) * 72 / dpi
            assert gap == pytest.approx(7.5, abs=1)


def test_names_are_placed_apart_and_the_important_first():
    positions = np.zeros((30, 2))
    ax = plt.subplots(figsize=(4, 3))[1]
    ax.set(xlim=(-1, 1), ylim=(-1, 1))
    texts = [f"learner number {k}" for k in range(30)]
    placed = displays.labels.place_labels(ax, positions, texts)
    assert placed[0] == 0
    assert 4 <= len(placed) < 30
    assert overlapping([each for each in written(ax.figure) if "learner" in each[0]], 0) == []


def test_a_warning_free_picture_of_data_without_labels():
    P, _, R = stacked(5, 60)
    display = displays.InstanceMapDisplay.from_data(EnsembleData(R))
    assert display.labels is None
    with pytest.raises(ValueError, match="needs labels: pass y, or by='disagreement'"):
        display.plot()
    display.plot(by="disagreement")
