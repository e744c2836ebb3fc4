"""One self-contained HTML page: its style, its sections, and pictures inside the page."""

import base64
import html
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cfe_stack.runtime.optional_packages import import_extra

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 0 auto;
  padding: 1rem; color: #1a1a1a; background: #fff; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; border-bottom: 1px solid #ccc; }
p, li { max-width: 46rem; }
.pictures { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
figure { margin: 0; }
figcaption { font-size: .9rem; color: #444; max-width: 34rem; }
img { display: block; width: 100%; max-width: 34rem; height: auto; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .25rem .5rem; text-align: right; border-bottom: 1px solid #ddd;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
td.text { text-align: left; white-space: normal; min-width: 16rem; }
tr.reference { font-weight: 600; }
.problem { border-left: .3rem solid #b00020; padding-left: .8rem; }
.fine { border-left: .3rem solid #2e7d32; padding-left: .8rem; }
footer { margin-top: 2.5rem; font-size: .85rem; color: #555; }
"""
WIDTH = 5.2
"""Width of a picture in inches: narrow enough that its text can be read on a telephone."""


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph; `kind` is a class of the style."""
    mark = f' class="{kind}"' if kind else ""
    return f"<p{mark}>{html.escape(text)}</p>"


def bullets(items: Iterable[str]) -> str:
    """Return a list."""
    return "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>"


def section(title: str, *parts: str) -> str:
    """Return a section with a heading; parts that are empty are left out."""
    body = "\n".join(part for part in parts if part)
    return f"<section><h2>{html.escape(title)}</h2>\n{body}\n</section>"


def table(
    names: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    reference: str = "",
    text_columns: Sequence[str] = (),
) -> str:
    """Return a table that scrolls sideways by itself where the page is narrow.

    Parameters
    ----------
    names : sequence of str
        Heads of the columns.
    rows : iterable of sequence of str
        Cells.
    reference : str, default=""
        First cell of the row to set in bold.
    text_columns : sequence of str
        Columns that hold sentences.

    Examples
    --------
    >>> from cfe_stack.displays.html_page import table
    >>> "<td>0.5</td>" in table(["model", "score"], [["forest", "0.5"]])
    True
    """
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in names)
    lines = []
    for row in rows:
        mark = ' class="reference"' if reference and row[0] == reference else ""
        cells = "".join(
            f"<td{' class=text' if name in text_columns else ''}>{html.escape(cell)}</td>"
            for name, cell in zip(names, row, strict=True)
        )
        lines.append(f"<tr{mark}>{cells}</tr>")
    return (
        f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def picture(draw: Callable[[Any], Any], caption: str, *, height: float = 3.8) -> str:
    """Return a picture with its caption, held by the page itself.

    Parameters
    ----------
    draw : callable
        Draws on the matplotlib axes that it is given.
    caption : str
        What is seen; also the text for those who cannot see it.
    height : float, default=3.8
        Height in inches.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    # a figure of its own leaves pyplot and its windows alone
    figure = import_extra("matplotlib.figure", extra="plot").Figure(
        figsize=(WIDTH, height), layout="constrained"
    )
    draw(figure.subplots())
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=160, metadata={"Software": None})
    data = base64.b64encode(stream.getvalue()).decode()
    text = html.escape(caption, quote=True)
    return (
        f'<figure><img alt="{text}" src="data:image/png;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def pictures(*figures: str) -> str:
    """Return pictures side by side where the page is wide enough."""
    return f'<div class="pictures">{"".join(figures)}</div>'


def page(title: str, sections: Iterable[str], footer: str) -> str:
    """Return one page that needs nothing but itself."""
    body = "\n".join(sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # an empty icon, so that no browser asks a server for one
        '<link rel="icon" href="data:,">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body>"
        f"<main><h1>{html.escape(title)}</h1>\n{body}\n</main>"
        f"<footer>{html.escape(footer)}</footer></body></html>\n"
    )
