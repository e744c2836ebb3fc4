"""A comparison as plain text and as one self-contained HTML page."""

import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SMALLEST_SHOWN = 1e-4

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 84rem; margin: 1.5rem auto;
  padding: 0 1rem; color: #1a1a1a; background: #fff; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #ddd;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
tr.reference { font-weight: 600; }
svg { min-width: 32rem; max-width: 100%; height: auto; }
"""


def formatted(value: Any) -> str:
    """Return a cell of a table: four decimals, or a dash for what is not there."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "–"
    if isinstance(value, float) and 0 < value < SMALLEST_SHOWN:
        return f"<{SMALLEST_SHOWN:.4f}"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 100 else f"{value:.1f}"
    return str(value)


def text_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows of a table as aligned text.

    Examples
    --------
    >>> from cfe_stack.comparison_page import text_table
    >>> print(text_table([{"contender": "mean", "log_loss": 0.5}]))
    contender  log_loss
    mean         0.5000
    """
    names = list(rows[0])
    cells = [names, *([formatted(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[j]) for line in cells) for j in range(len(names))]
    lines = []
    for line in cells:
        first, rest = line[0].ljust(widths[0]), zip(line[1:], widths[1:], strict=True)
        lines.append("  ".join([first, *(cell.rjust(width) for cell, width in rest)]).rstrip())
    return "\n".join(lines)


def html_table(rows: Sequence[Mapping[str, Any]], reference: str) -> str:
    """Return rows of a table as HTML; that of the reference is set in bold."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in rows[0])
    body = []
    for row in rows:
        mark = ' class="reference"' if next(iter(row.values())) == reference else ""
        cells = "".join(f"<td>{html.escape(formatted(value))}</td>" for value in row.values())
        body.append(f"<tr{mark}>{cells}</tr>")
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def fragment(rows: Sequence[Mapping[str, Any]], reference: str, verdict: str, notes: str) -> str:
    """Return table, verdict and notes as HTML."""
    parts = [html_table(rows, reference)]
    parts += [f"<p>{html.escape(line)}</p>" for line in verdict.splitlines()]
    if notes:
        items = "".join(f"<li>{html.escape(line)}</li>" for line in notes.splitlines())
        parts.append(f"<h2>Notes</h2><ul>{items}</ul>")
    return "\n".join(parts)


def page(title: str, content: str, pictures: Sequence[str] = ()) -> str:
    """Return one page that needs nothing but itself."""
    drawn = "\n".join(f'<div class="wide">{picture}</div>' for picture in pictures)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body>"
        f"<h1>{html.escape(title)}</h1>\n{content}\n{drawn}\n</body></html>\n"
    )


def as_svg(figure: Any) -> str:
    """Return a matplotlib figure as an inline SVG element."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
