import re
import sys

import numpy as np
import pytest

from cfe_stack.comparison.problems import FoldSize
from cfe_stack.comparison.result import EnsembleComparison, HeldOut
from cfe_stack.metrics import METRICS

NAMES = ("mean", "ours", "odd")


def comparison(n_sets=8, failed=False, seed=0):
    random = np.random.default_rng(seed)
    folds = tuple(FoldSize(f"set {s}", 0, f, 80, 20) for s in range(n_sets) for f in range(5))
    difficulty = np.repeat(random.uniform(0.3, 0.5, n_sets), 5)
    losses = difficulty + np.array([[0.1], [0.0], [0.05]])
    losses = losses + 0.02 * random.normal(size=losses.shape)
    if failed:
        losses[2, 3] = np.nan
    codes = np.tile([0, 1], 50)
    proba = np.full((3, 100, 2), 0.5)
    proba[1, np.arange(100), codes] = 0.8
    proba[0, :, 1] = 0.6
    held_out = {f"set {s}": HeldOut(codes, proba) for s in range(n_sets)}
    table = {"log_loss": losses, "roc_auc": 1 - losses}
    metrics = (METRICS["log_loss"], METRICS["roc_auc"])
    notes = ("a note",)
    return EnsembleComparison(
        NAMES, folds, metrics, table, np.ones_like(losses), "ours", notes, held_out
    )


@pytest.mark.parametrize("n_sets", [1, 8])
def test_differences_from_the_reference(n_sets):
    found = comparison(n_sets)
    by_name = {d.contender: d for d in found.differences()}
    assert set(by_name) == {"mean", "odd"}
    assert by_name["mean"].paired.difference == pytest.approx(0.1, abs=0.03)
    assert by_name["mean"].p_adjusted < 0.05
    assert {d.reference for d in found.differences(reference="odd")} == {"odd"}
    turned = {d.contender: d for d in found.differences("roc_auc")}
    assert turned["mean"].paired.difference == pytest.approx(-by_name["mean"].paired.difference)
    assert turned["mean"].wins == by_name["mean"].wins


def test_tests_over_data_sets():
    found = comparison()
    assert found.friedman() < 0.01
    assert found.nemenyi()["mean", "ours"] < 0.05
    assert found.critical_difference() == pytest.approx(2.343 * np.sqrt(3 * 4 / (6 * 8)), 1e-3)
    alone = comparison(1)
    assert np.isnan(alone.friedman())
    assert np.isnan(alone.critical_difference())
    with pytest.raises(ValueError, match="there is only one"):
        alone.nemenyi()


def test_mcnemar_on_the_rows_of_a_data_set():
    pytest.importorskip("mlxtend")
    found = comparison(2)
    assert found.mcnemar("ours", "mean", "set 1").p_value < 1e-6
    assert found.mcnemar("ours", "mean", "set 1").difference == pytest.approx(0.5)
    assert comparison(1).mcnemar("ours", "mean").p_value < 1e-6
    with pytest.raises(ValueError, match="None is none of"):
        found.mcnemar("ours", "mean")
    for pair in (("ours", "me"), ("me", "ours")):
        with pytest.raises(ValueError, match="'me' is none of"):
            found.mcnemar(*pair, "set 1")


def test_the_summary_is_ranked_and_tested():
    rows = comparison().summary()
    assert [row["contender"] for row in rows] == ["ours", "odd", "mean"]
    assert rows[0]["p"] is None
    assert rows[2]["w–l"] == "8–0"
    assert rows[2]["Holm"] >= rows[2]["p"] > 0
    assert rows[0]["roc_auc"] == pytest.approx(1 - rows[0]["log_loss"])


def test_who_failed_stands_last_and_cannot_be_the_reference():
    found = comparison(failed=True)
    last = found.summary()[-1]
    assert last["contender"] == "odd"
    assert np.isnan(last["rank"])
    assert set(found.ranks()) == {"ours", "mean"}
    with pytest.raises(ValueError, match="'odd' cannot be the reference"):
        found.differences(reference="odd")


def test_it_prints_table_verdict_and_notes():
    text = str(comparison())
    for part in (
        "contender",
        "ours has the best mean rank",
        "w–l: data sets",
        "Friedman's test",
        "a note",
    ):
        assert part in text
    assert "Friedman" not in str(comparison(1))
    assert repr(comparison(2)) == (
        "EnsembleComparison(3 contenders, 2 data set(s), 10 folds, by log_loss)"
    )
    assert "<table>" in comparison()._repr_html_()


@pytest.mark.parametrize(("n_sets", "pictures"), [(1, 1), (8, 2)])
def test_the_page_is_written_with_its_pictures(tmp_path, n_sets, pictures):
    pytest.importorskip("matplotlib").use("agg")
    text = comparison(n_sets).to_html(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text("utf-8") == text
    assert text.count("<img") == pictures
    assert not re.search(r'(src|href)="(?!data:)|https?:', text)


def test_the_page_does_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    text = comparison().to_html()
    assert "<img" not in text
    assert "ours has the best mean rank" in text


def test_kinds_of_pictures():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    assert "critical difference" in comparison().plot().get_title(loc="right")
    assert "log_loss minus" in comparison(1).plot().get_xlabel()
    assert "roc_auc minus" in comparison().plot(metric="roc_auc", kind="differences").get_xlabel()
    with pytest.raises(ValueError, match="kind must be 'auto'"):
        comparison().plot(kind="bars")
    matplotlib.pyplot.close("all")
