"""Pictures of the same buildings as each method outlines them, for the documentation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import shapely
from methods import METHODS, Scene
from numpy.typing import NDArray

__all__ = ["draw_twelve"]

SIDE = 132
"""Pixels of the picture for each building."""

MARGIN = 170
HEAD = 24

TRUE = (90, 160, 60)
DRAWN = (40, 40, 210)
INK = (40, 40, 40)

SHIFT = 4
"""Bits of the fraction of OpenCV's coordinates."""

Image = NDArray[np.uint8]


def draw_twelve(scene: Scene, drawn: dict[str, tuple[NDArray[Any], float]], path: Path) -> None:
    """Draw one building of each shape, a column each, as each method outlines it, a row each.

    The truth is green, the outline red with its vertices as dots, on the probabilities.
    """
    _, first = np.unique(scene.kinds, return_index=True)
    chosen = first[:12]
    rows = [_header([str(scene.kinds[i]) for i in chosen])]
    for name, (polygons, _) in drawn.items():
        cells = [_cell(scene, scene.truth[i], polygons) for i in chosen]
        rows.append(np.hstack([_label(METHODS[name].title), *cells]))
    cv2.imwrite(str(path), np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 70])


def _header(names: Sequence[str]) -> Image:
    image = np.full((HEAD, MARGIN + SIDE * len(names), 3), 255, np.uint8)
    for i, name in enumerate(names):
        _write(image, name, (MARGIN + i * SIDE + 4, 16))
    return image


def _label(title: str) -> Image:
    image = np.full((SIDE, MARGIN, 3), 255, np.uint8)
    words = re.sub(r"[*`]", "", title).replace(" (", "\n(").replace("geofootprint ", "geofootprint\n").split("\n")
    for i, line in enumerate(words):
        _write(image, line, (4, SIDE // 2 + 16 * i))
    return image


def _cell(scene: Scene, truth: Any, polygons: NDArray[Any]) -> Image:
    west, north, east, south = truth.bounds
    size = max(east - west, south - north) + 10
    centre = np.array([west + east, north + south]) / 2
    scale = SIDE / size
    # Whole numbers are pixel edges in our coordinates, and pixel centres in OpenCV's.
    matrix = np.array([[scale, 0, SIDE / 2 - (centre[0] - 0.5) * scale], [0, scale, SIDE / 2 - (centre[1] - 0.5) * scale]])
    grey = cv2.warpAffine(scene.probabilities[0], matrix, (SIDE, SIDE), flags=cv2.INTER_NEAREST)
    light = 255 - (grey.astype(np.float32) * 0.4).astype(np.uint8)
    image = np.asarray(cv2.cvtColor(light, cv2.COLOR_GRAY2BGR), np.uint8)
    frame = shapely.box(*(centre - size / 2), *(centre + size / 2))
    near = polygons[shapely.intersects(polygons, frame)]
    _outline(image, np.array([truth]), matrix, TRUE, dots=False)
    _outline(image, near, matrix, DRAWN, dots=True)
    cv2.rectangle(image, (0, 0), (SIDE - 1, SIDE - 1), (255, 255, 255), 1)
    return image


def _outline(image: Image, polygons: NDArray[Any], matrix: NDArray[np.float64], colour: Any, *, dots: bool) -> None:
    for ring in shapely.get_rings(polygons):
        # A pixel's centre is where OpenCV has whole numbers, also in the picture.
        points = (shapely.get_coordinates(ring) - 0.5) @ matrix[:, :2].T + matrix[:, 2]
        fixed = np.round(points * 2**SHIFT).astype(np.int32)
        cv2.polylines(image, [fixed], True, colour, 1, cv2.LINE_AA, SHIFT)
        for point in fixed[:-1] if dots else []:
            cv2.circle(image, (int(point[0]), int(point[1])), 26, colour, -1, cv2.LINE_AA, SHIFT)


def _write(image: Image, text: str, place: tuple[int, int]) -> None:
    cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.38, INK, 1, cv2.LINE_AA)
