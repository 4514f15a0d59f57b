from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from geofootprint import groups
from geofootprint.groups import Walk, group_near
from geofootprint.probabilities import ProbabilityArray
from geofootprint.progress import SILENT
from geofootprint.raster import Grid
from geofootprint.rings import Rule

RULE = Rule(
    level=127.5, peak=150, min_size=4, min_hole=3, min_gap=2, marker_size=4, outline="raw", extent=(0, 0, 170, 150),
    pixel_area=0.0225,
)
Field = Callable[..., NDArray[Any]]


@pytest.fixture(scope="module")
def blobs() -> NDArray[np.uint8]:
    """Return smooth noise, 2 x 150 x 170 px: groups of every size and shape, across every border."""
    noise = np.random.default_rng(1).normal(size=(2, 150, 170)).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(band, (0, 0), 2) for band in noise])
    return np.asarray(np.clip(95 + smooth / smooth.std() * 60, 0, 255), np.uint8)


def walk(probabilities: NDArray[np.uint8], block: int, valid: NDArray[np.bool_] | None = None) -> dict[Any, Any]:
    """Return each building by its first pixel: polygon, confidence, whether at the edge."""
    height, width = probabilities.shape[1:]
    grid = Grid(CRS.from_epsg(25832), Affine(1, 0, 0, 0, -1, 0), width, height)
    valid = np.ones((height, width), np.bool_) if valid is None else valid
    found = {}
    for rings in Walk(ProbabilityArray(probabilities, valid, grid), RULE, block=block, progress=SILENT).rings():
        for i, (row, column) in enumerate(rings.first):
            place = int(row), int(column)
            assert place not in found
            found[place] = (rings.polygons[i].wkb, float(rings.confidence[i]), bool(rings.at_edge[i]))
    return found


def test_near_buildings_are_a_group_and_far_ones_are_not() -> None:
    mask = np.zeros((12, 24), np.bool_)
    mask[4:7, [3, 4, 7, 8]] = True  # a gap of two pixels
    mask[4:7, [12, 13]] = True  # of three
    numbers, boxes, sizes = group_near(mask)
    assert numbers.shape == (10, 22)
    assert numbers[4, 3] == numbers[4, 7] != numbers[4, 12]
    assert boxes[numbers[4, 12]].tolist() == [2, 10, 7, 14]
    assert sizes[numbers[4, 12]] == 20


@pytest.mark.parametrize("block", [16, 37, 64, 149, 4096])
def test_result_does_not_depend_on_the_blocks(blobs: NDArray[np.uint8], block: int) -> None:
    valid = np.ones(blobs.shape[1:], np.bool_)
    valid[40:60, 30:90] = False
    whole = walk(blobs, 1000, valid)
    assert len(whole) > 50
    assert walk(blobs, block, valid) == whole


def test_group_too_large_to_be_read_at_once_is_cut(blobs: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = np.maximum(blobs, 20)
    blobs[0, 70:76, :] = 255  # joins much of it
    whole = walk(blobs, 4096)
    monkeypatch.setattr(groups, "CELL", 48)
    cut = walk(blobs, 20)
    polygons = np.array([shapely.from_wkb(wkb) for wkb, _, _ in cut.values()])
    first, second = shapely.STRtree(polygons).query(polygons)
    pairs = first < second
    overlap = shapely.area(shapely.intersection(polygons[first[pairs]], polygons[second[pairs]]))
    assert overlap.max() < 1e-9
    area = sum(shapely.area(shapely.from_wkb(wkb)) for wkb, _, _ in whole.values())
    # What is lost are the small ends beyond a cut.
    assert 0.98 * area < shapely.area(polygons).sum() < 1.001 * area
    assert walk(blobs, 48) == cut, "where it is cut does not depend on the blocks"


def test_full_raster_is_one_building() -> None:
    found = walk(np.full((1, 50, 60), 255, np.uint8), 16)
    ((wkb, confidence, at_edge),) = found.values()
    assert shapely.box(0, 0, 60, 50).difference(shapely.from_wkb(wkb)).area == 4 / 8, "half a pixel off each corner"
    assert 0.5 < confidence < 1
    assert at_edge
