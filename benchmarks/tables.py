"""Tables in Markdown of what benchmarks/outlines.py measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from methods import METHODS

__all__ = ["write_tables"]

LEVEL_TITLES = {
    "low": "Low noise (blur 0.8 px, displacement 0.4 px)",
    "mid": "Middle (blur 1.2 px, displacement 0.8 px)",
    "hard": "Hard (blur 2 px, displacement 1.5 px)",
}


BEGIN, END = "<!-- measured -->\n", "<!-- end of measured -->\n"
"""Lines of a page between which the tables are replaced."""


def write_tables(figures: dict[str, Any], path: Path) -> None:
    """Write all tables, each under its title, into the place for them in a page, or into a file of their own."""
    parts = [
        _origin(figures),
        *(_part(LEVEL_TITLES[level], _scores(rows)) for level, rows in figures["levels"].items()),
        _part("By shape: mean IoU at the middle level", _kinds(figures["levels"]["mid"])),
        _part("By ground sampling distance: mean IoU at the middle level", _distances(figures)),
        _part("Rows of eight attached houses", _rows(figures["rows"])),
        *(_part(f"Real predictions: {name}", _scores(rows)) for name, rows in figures["real"].items()),
    ]
    text = "\n".join(parts)
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    if BEGIN in page and END in page:
        text = f"{page.partition(BEGIN)[0]}{BEGIN}\n{text}\n{END}{page.partition(END)[2]}"
    path.write_text(text, encoding="utf-8")


def _origin(figures: dict[str, Any]) -> str:
    peers = ", ".join(f"{name} {version}" for name, version in figures["peers"].items())
    buildings = figures["levels"]["mid"]["raw"]["asked"]
    return (
        f"Fields of {figures['size']} x {figures['size']} pixels of 0.3 m, {figures['seeds']} of each level, "
        f"{buildings:.0f} buildings in all; {peers}. Times are of one core.\n"
    )


def _part(title: str, table: str) -> str:
    return f"### {title}\n\n{table}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *(["---:"] * (len(head) - 1))], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _scores(rows: dict[str, Any]) -> str:
    head = ("method", "IoU", "PoLiS, px", "vertices per true one", "area bias", "valid", "overlaps, m²", "ms a building")
    body = []
    for name, method in METHODS.items():
        if name not in rows:
            body.append([method.title, "absent", *[""] * 6])
            continue
        row = rows[name]
        body.append([
            method.title, _number(row["iou"], 4), _number(row["polis_px"]), _number(row["vertex_ratio"], 2),
            f"{100 * row['area_bias']:+.2f} %", f"{100 * row['valid']:.1f} %", _number(row["overlap_m2"], 2),
            _number(row["ms_per_building"], 2),
        ])
    return _table(head, body)


def _kinds(rows: dict[str, Any]) -> str:
    here = [name for name in METHODS if name in rows]
    kinds = rows["raw"]["iou_of_kind"]
    body = [[METHODS[name].title, *(_number(rows[name]["iou_of_kind"][kind]) for kind in kinds)] for name in here]
    return _table(("method", *kinds), body)


def _distances(figures: dict[str, Any]) -> str:
    columns = {**figures["gsd"], "0.3": figures["levels"]["mid"]}
    columns = dict(sorted(columns.items(), key=lambda item: float(item[0])))
    here = [name for name in METHODS if name in figures["levels"]["mid"]]
    body = [[METHODS[name].title, *(_number(rows[name]["iou"], 4) for rows in columns.values())] for name in here]
    return _table(("method", *(f"{gsd} m" for gsd in columns)), body)


def _rows(levels: dict[str, Any]) -> str:
    head = ("method", *(f"{level}: {what}" for level in levels for what in ("houses", "overlap + gap, m²", "IoU")))
    here = [name for name in METHODS if name in levels["mid"]]
    body = []
    for name in here:
        cells = []
        for rows in levels.values():
            row = rows[name]
            cells += [f"{row['outlines']:.0f}", f"{row['overlap_m2'] + row['gap_m2']:.2g}", _number(row["iou"])]
        body.append([METHODS[name].title, *cells])
    return _table(head, body)
