"""One HTML page with text, tables and pictures inside it: no other file, no network, no script."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from string import Template

from geofootprint.report import Colour, Picture, encode_jpeg, encode_png

__all__ = ["Figure", "Section", "build_page"]


@dataclass(frozen=True)
class Figure:
    """A picture and the sentence under it.

    Parameters
    ----------
    picture : uint8 array of shape (3, H, W)
    caption : str
    photo : bool
        Embed it as JPEG, which is much smaller for photographs, and not as PNG, which is for drawings.
    """

    picture: Picture
    caption: str
    photo: bool = False


@dataclass(frozen=True)
class Section:
    """A part of a page: heading, paragraph, key of colours, table, pictures beside each other.

    Parameters
    ----------
    title, text : str
    legend : sequence of (colour, text)
    header : sequence of str
        Of the table's columns.
    rows : sequence of sequences of str
        The first cell names its row.
    figures : sequence of Figure
    """

    title: str
    text: str = ""
    legend: Sequence[tuple[Colour, str]] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    figures: Sequence[Figure] = ()


def build_page(
    title: str, summary: str, sections: Sequence[Section], *, numbers: Sequence[tuple[str, str]] = ()
) -> str:
    """Return a page that is light or dark as the reader's system is.

    Parameters
    ----------
    title, summary : str
        Plain text, as is all text of the page: it is escaped here.
    sections : sequence of Section
    numbers : sequence of (number, what it is)
        Set large under the summary.

    Returns
    -------
    str
        HTML.
    """
    cards = "".join(f"<div><b>{escape(number)}</b>{escape(name)}</div>" for number, name in numbers)
    return _PAGE.substitute(
        title=escape(title),
        summary=escape(summary),
        numbers=f'<div class="numbers">{cards}</div>' if cards else "",
        sections="\n".join(_build_section(section) for section in sections),
    )


def _build_section(section: Section) -> str:
    text = f"<p>{escape(section.text)}</p>" if section.text else ""
    keys = "".join(
        f'<li><i style="background:rgb{colour}"></i>{escape(name)}</li>' for colour, name in section.legend
    )
    legend = f'<ul class="legend">{keys}</ul>' if keys else ""
    pictures = "".join(_build_figure(figure) for figure in section.figures)
    figures = f'<div class="figures">{pictures}</div>' if pictures else ""
    table = _build_table(section.header, section.rows)
    return f"<section><h2>{escape(section.title)}</h2>{text}{legend}{table}{figures}</section>"


def _build_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    columns = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    head = f"<thead><tr>{columns}</tr></thead>" if columns else ""
    body = "".join(_build_row(row) for row in rows)
    return f'<div class="table"><table>{head}<tbody>{body}</tbody></table></div>'


def _build_row(row: Sequence[str]) -> str:
    cells = "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
    return f'<tr><th scope="row">{escape(row[0])}</th>{cells}</tr>'


def _build_figure(figure: Figure) -> str:
    _, height, width = figure.picture.shape
    caption = escape(figure.caption)
    kind, file = ("jpeg", encode_jpeg(figure.picture)) if figure.photo else ("png", encode_png(figure.picture))
    source = f"data:image/{kind};base64,{base64.b64encode(file).decode('ascii')}"
    return (
        f'<figure><img src="{source}" width="{width}" height="{height}" alt="{caption}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root {
  color-scheme: light dark;
  --paper: #fff; --ink: #1d2125; --soft: #5c656e; --line: #dde1e5; --card: #f5f6f7;
}
@media (prefers-color-scheme: dark) {
  :root { --paper: #16191c; --ink: #e4e7ea; --soft: #9aa4ad; --line: #32383e; --card: #1f2327; }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 70rem;
  background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.15rem; margin: 2.75rem 0 .5rem; padding-top: 1.25rem; border-top: 1px solid var(--line); }
p { margin: 0 0 1rem; max-width: 46rem; color: var(--soft); }
.numbers {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin: 1.5rem 0;
}
.numbers div {
  background: var(--card); border-radius: .5rem; padding: .8rem 1rem; color: var(--soft); font-size: .85rem;
}
.numbers b {
  display: block; color: var(--ink); font-size: 1.6rem; line-height: 1.25; font-weight: 600;
  font-variant-numeric: tabular-nums;
}
.table { overflow-x: auto; margin-bottom: 1rem; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td {
  padding: .4rem 1.4rem .4rem 0; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line);
}
th { font-weight: 500; color: var(--soft); }
tbody th { color: var(--ink); }
th:first-child, td:only-of-type { text-align: left; overflow-wrap: anywhere; }
.legend {
  list-style: none; display: flex; flex-wrap: wrap; gap: .3rem 1.5rem; padding: 0; margin: 0 0 .9rem;
  font-size: .9rem; color: var(--soft);
}
.legend i { display: inline-block; width: .85em; height: .85em; border-radius: .2em; margin-right: .45em; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); gap: 1.25rem; }
figure { margin: 0; min-width: 0; }
figure:only-child { grid-column: 1 / -1; }
img { display: block; max-width: 100%; height: auto; border: 1px solid var(--line); border-radius: .3rem; }
figcaption { margin-top: .35rem; font-size: .85rem; color: var(--soft); }
</style>
</head>
<body>
<h1>$title</h1>
<p>$summary</p>
$numbers
$sections
</body>
</html>
""")
