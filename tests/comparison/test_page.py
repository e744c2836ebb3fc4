import re

import numpy as np
import pytest
from browsing import WIDTHS, check_shown

from cfe_stack import EnsembleData, compare_ensembles
from cfe_stack.comparison.page import formatted, fragment, text_table
from cfe_stack.datasets import make_ensemble

ROWS = [{"contender": "a <b>", "score": 0.12345}, {"contender": "mean", "score": np.nan}]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12345, "0.1235"),
        (np.nan, "–"),
        (None, "–"),
        (-np.inf, "-∞"),
        (1e-6, "<0.0001"),
        (1234.56, "1234.6"),
        ("3–2", "3–2"),
        (7, "7"),
    ],
)
def test_cells(value, text):
    assert formatted(value) == text


def test_columns_are_aligned():
    assert text_table(ROWS).splitlines() == [
        "contender   score",
        "a <b>      0.1235",
        "mean            –",
    ]


def test_ranks_have_two_decimals():
    assert text_table([{"contender": "mean", "rank": 2.0}]).endswith(" 2.00")
    assert "<td>2.00</td>" in fragment([{"contender": "mean", "rank": 2.0}], "mean", "", "")


def test_names_are_escaped_and_the_reference_is_marked():
    text = fragment(ROWS, "mean", "first\nsecond", "a note")
    assert "a &lt;b&gt;" in text
    assert re.findall(r'<tr class="reference"><td>(\w+)', text) == ["mean"]
    assert "<p>first</p>\n<p>second</p>" in text
    assert "<li>a note</li>" in text
    assert "<h2>" not in fragment(ROWS, "mean", "first", "")


@pytest.mark.parametrize("width", WIDTHS)
def test_a_browser_shows_the_page(browser, width, tmp_path):
    """Over several data sets, with a long name and one that HTML must not take for a tag."""
    pytest.importorskip("matplotlib")
    names = {"a <b> & a name as long as those of notebooks are": "best single", "mean": "mean"}
    sets = {}
    for seed in range(3):
        made = make_ensemble(4, 60, random_state=seed)
        sets[f"set {seed}"] = EnsembleData(made.R, made.labels)
    found = compare_ensembles(sets, contenders=names, cv=2, n_repeats=1, progress=False)
    found.to_html(tmp_path / "page.html")
    check_shown(browser, tmp_path / "page.html", width, n_pictures=2)
