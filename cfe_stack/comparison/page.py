"""The tables of a comparison, as plain text and as HTML."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cfe_stack.displays.html_page import bullets, paragraph, section, table

MIN_SHOWN_P_VALUE = 1e-4
DIGITS = {"rank": 2, "s / fit": 3}
"""Decimals of columns that do not have four."""


def formatted(value: Any, digits: int = 4) -> str:
    """Return a cell of a table: so many decimals, or a dash for what is not there.

    Examples
    --------
    >>> from cfe_stack.comparison.page import formatted
    >>> [formatted(value) for value in (0.25, None, float("-inf"), 1234.5, "3–2")]
    ['0.2500', '–', '-∞', '1234.5', '3–2']
    """
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "–"
    if isinstance(value, float) and np.isinf(value):
        return "∞" if value > 0 else "-∞"
    if isinstance(value, float) and 0 < value < MIN_SHOWN_P_VALUE:
        return f"<{MIN_SHOWN_P_VALUE:.4f}"
    if isinstance(value, float):
        return f"{value:.{digits}f}" if abs(value) < 100 else f"{value:.1f}"
    return str(value)


def _cells(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    return [[formatted(value, DIGITS.get(name, 4)) for name, value in row.items()] for row in rows]


def text_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows of a table as aligned text.

    Examples
    --------
    >>> from cfe_stack.comparison.page import text_table
    >>> print(text_table([{"contender": "mean", "log_loss": 0.5}]))
    contender  log_loss
    mean         0.5000
    """
    names = list(rows[0])
    cells = [names, *_cells(rows)]
    widths = [max(len(line[j]) for line in cells) for j in range(len(names))]
    lines = []
    for line in cells:
        first, rest = line[0].ljust(widths[0]), zip(line[1:], widths[1:], strict=True)
        lines.append("  ".join([first, *(cell.rjust(width) for cell, width in rest)]).rstrip())
    return "\n".join(lines)


def fragment(rows: Sequence[Mapping[str, Any]], reference: str, verdict: str, notes: str) -> str:
    """Return table, verdict and notes as HTML."""
    parts = [table(list(rows[0]), _cells(rows), reference=reference)]
    parts += [paragraph(line) for line in verdict.splitlines()]
    if notes:
        parts.append(section("Notes", bullets(notes.splitlines())))
    return "\n".join(parts)
