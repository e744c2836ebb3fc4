import re

import numpy as np
import pytest

from cfe_stack.comparison_page import as_svg, formatted, fragment, html_table, page, text_table

ROWS = [{"contender": "a <b>", "score": 0.12345}, {"contender": "mean", "score": np.nan}]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12345, "0.1235"),
        (np.nan, "–"),
        (None, "–"),
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


def test_names_are_escaped_and_the_reference_is_marked():
    text = html_table(ROWS, "mean")
    assert "a &lt;b&gt;" in text
    assert re.findall(r'<tr class="reference"><td>(\w+)', text) == ["mean"]


def test_a_page_needs_nothing_but_itself():
    text = page("Title & more", fragment(ROWS, "mean", "first\nsecond", "a note"), ["<svg/>"])
    assert text.startswith("<!doctype html>")
    assert "<title>Title &amp; more</title>" in text
    assert "<p>first</p>\n<p>second</p>" in text
    assert "<li>a note</li>" in text
    assert not re.search(r"(src|href)=|https?:", text)


def test_pictures_are_inline():
    figure = pytest.importorskip("matplotlib.figure").Figure()
    figure.add_subplot().plot([0, 1])
    assert as_svg(figure).startswith("<svg")
