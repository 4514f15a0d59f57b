"""Losses and scores of a run drawn as curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from geofootprint.report import Colour, Picture

__all__ = ["draw_curves"]

WIDTH, HEIGHT = 1200, 420
"""Of a panel, in pixels."""

LEFT, RIGHT, TOP, BOTTOM = 70, 260, 56, 46
"""Of a panel, outside its axes; the names of the curves are on the right."""

FINER = 2
"""Lines are drawn so many times larger and made smaller: Pillow's are jagged."""

PAPER: Colour = (255, 255, 255)
INK: Colour = (40, 44, 48)
SOFT: Colour = (110, 118, 126)
GRID: Colour = (228, 231, 234)

COLOURS: tuple[Colour, ...] = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (230, 159, 0))
"""Told apart by all kinds of colour sight (Okabe, Ito 2008)."""

SMOOTH = 60
"""Rows of losses in a curve at most, each the mean of those before it; single ones are noise."""

Rows = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class _Curve:
    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]


@dataclass(frozen=True)
class _Axis:
    """Where a range of values lies on a picture."""

    low: float
    high: float
    start: float
    end: float

    def place(self, values: NDArray[np.float64] | float) -> NDArray[np.float64]:
        share = (np.asarray(values, np.float64) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def draw_curves(losses: Rows, scores: Rows) -> Picture:
    """Draw the scores of the validations, the losses of the labels and those of the two players, over steps.

    Parameters
    ----------
    losses, scores : sequences of rows
        Of the run's tables.

    Returns
    -------
    uint8 array of shape (3, H, W)
        A panel below the other for each of them that has begun.
    """
    panels = [
        ("Validation scores", [_read(scores, key, name) for key, name in SCORES], True),
        ("Losses against labels", [_mean(_read(losses, key, key)) for key in LABEL_LOSSES], False),
        ("Generator against discriminator", [_mean(_read(losses, key, name)) for key, name in PLAYERS], False),
    ]
    last = max([1.0, *(float(row["step"]) for row in (*losses[-1:], *scores[-1:]))])
    drawn = [
        _draw_panel(title, [curve for curve in curves if curve.x.size], last, is_score)
        for title, curves, is_score in panels
        if any(curve.x.size for curve in curves)
    ]
    return np.concatenate(drawn, axis=1) if drawn else np.full((3, HEIGHT, WIDTH), 255, np.uint8)


SCORES = (("object_f1", "buildings, F1"), ("iou", "pixels, IoU"), ("boundary_iou", "outlines, IoU"))

LABEL_LOSSES = ("bce", "dice", "contour", "touch", "l1")

PLAYERS = (
    ("adversarial", "generator"), ("discriminator_real", "discriminator, true"),
    ("discriminator_fake", "discriminator, predicted"),
)


def _read(rows: Rows, key: str, name: str) -> _Curve:
    told = [(float(row["step"]), float(row[key])) for row in rows if row.get(key)]
    x, y = np.array(told, np.float64).reshape(-1, 2).T
    known = np.isfinite(y)
    return _Curve(name, x[known], y[known])


def _mean(curve: _Curve) -> _Curve:
    """Return at most `SMOOTH` means of neighbours."""
    parts = np.array_split(np.arange(curve.x.size), min(SMOOTH, curve.x.size) or 1)
    if curve.x.size <= SMOOTH:
        return curve
    return _Curve(curve.name, np.array([curve.x[part[-1]] for part in parts]), np.array([curve.y[part].mean() for part in parts]))


def _draw_panel(title: str, curves: Sequence[_Curve], last: float, is_score: bool) -> Picture:
    values = np.concatenate([curve.y for curve in curves])
    ticks = _ticks(float(values.min()) if is_score else 0.0, float(values.max()))
    x = _Axis(0.0, last, LEFT, WIDTH - RIGHT)
    y = _Axis(ticks[0], ticks[-1], HEIGHT - BOTTOM, TOP)
    canvas = _draw_lines(curves, x, y, ticks, is_score)
    write = ImageDraw.Draw(canvas)
    write.text((LEFT, 14), title, INK, _font(20))
    for tick in ticks:
        write.text((LEFT - 10, float(y.place(tick))), f"{tick:g}", SOFT, _font(14), anchor="rm")
    for step in _ticks(0.0, last):
        if step <= last:
            write.text((float(x.place(step)), HEIGHT - BOTTOM + 10), f"{step:g}", SOFT, _font(14), anchor="mt")
    write.text((WIDTH - RIGHT, HEIGHT - 12), "step", SOFT, _font(14), anchor="rb")
    heights = _spread([float(y.place(curve.y[-1])) for curve in curves], 22.0)
    for curve, height, colour in zip(curves, heights, COLOURS, strict=False):
        write.text((WIDTH - RIGHT + 14, height), f"{curve.y[-1]:.3f}  {curve.name}", colour, _font(15), anchor="lm")
    return np.ascontiguousarray(np.moveaxis(np.asarray(canvas), -1, 0))


def _draw_lines(curves: Sequence[_Curve], x: _Axis, y: _Axis, ticks: Sequence[float], is_score: bool) -> Image.Image:
    large = Image.new("RGB", (WIDTH * FINER, HEIGHT * FINER), PAPER)
    draw = ImageDraw.Draw(large)
    for tick in ticks:
        height = FINER * float(y.place(tick))
        draw.line([(FINER * x.start, height), (FINER * x.end, height)], GRID, FINER)
    for curve, colour in reversed(list(zip(curves, COLOURS, strict=False))):
        points = [(FINER * a, FINER * b) for a, b in zip(x.place(curve.x), y.place(curve.y), strict=True)]
        draw.line(points, colour, 2 * FINER + 1, joint="curve")
        marked = points if is_score and len(points) <= 60 else points[-1:]
        for a, b in marked:
            draw.ellipse([a - 3.5 * FINER, b - 3.5 * FINER, a + 3.5 * FINER, b + 3.5 * FINER], colour)
    return large.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def _ticks(low: float, high: float) -> list[float]:
    """Return round values, four to eight of them, that hold a range."""
    span = max(high - low, 1e-6)
    size = 10.0 ** math.floor(math.log10(span / 4))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if span / (size * factor) <= 6)
    first, count = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * number, 10) for number in range(first, max(count, first + 1) + 1)]


def _spread(heights: Sequence[float], least: float) -> list[float]:
    """Return heights moved apart until no two are nearer than `least`, in their order."""
    order = sorted(range(len(heights)), key=lambda number: heights[number])
    moved = list(heights)
    for _ in range(100):
        for upper, lower in pairwise(order):
            overlap = least - (moved[lower] - moved[upper])
            if overlap > 0:
                moved[upper] -= overlap / 2
                moved[lower] += overlap / 2
    return moved


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
