from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import shapely
import shapely.affinity
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.crs import CRS
from rows import probabilities_of, row_of_houses, turned

from geofootprint.outlines import ATTACHED, give_way, regularize_rings
from geofootprint.raster import Grid
from geofootprint.rings import Rings, Rule, draw_rings
from geofootprint.vectorize import find_outlines

RULE = Rule(
    level=127.5, peak=150, min_size=4, min_hole=3, min_gap=3, marker_size=1, outline="map", extent=(0, 0, 1000, 1000),
    pixel_area=1.0,
)
PIXEL = 0.15


def draw(building: NDArray[Any], rule: Rule = RULE) -> Rings:
    """Draw the raw rings of an array that gets a margin of one pixel without data."""
    valid = np.pad(np.ones(building.shape, np.bool_), 1)
    padded = np.pad(building.astype(np.uint8)[None], ((0, 0), (1, 1), (1, 1)))
    return draw_rings(padded, valid, valid & (padded[0] > rule.level), rule, origin=(-1, -1))


def outline(polygons: NDArray[Any], **options: Any) -> NDArray[Any]:
    """Return the outlines, in pixels, that are found in the probabilities of polygons."""
    kept = {name: options.pop(name) for name in ("outline", "min_area") if name in options}
    bands = probabilities_of(polygons, **options)
    grid = Grid(CRS.from_epsg(25832), Affine(PIXEL, 0, 0, 0, -PIXEL, 0), bands.shape[2], bands.shape[1])
    found = find_outlines(bands, np.ones(bands.shape[1:], np.bool_), grid, **kept)
    return np.asarray(shapely.transform(found.geometry.to_numpy(), lambda xy: xy / (PIXEL, -PIXEL)), object)


def overlap(polygons: NDArray[Any]) -> float:
    """Return the area, in square metres, that is in two polygons."""
    first, second = shapely.STRtree(polygons).query(polygons)
    pairs = first < second
    return float(shapely.area(shapely.intersection(polygons[first[pairs]], polygons[second[pairs]])).sum()) * PIXEL**2


def gaps(polygons: NDArray[Any]) -> float:
    """Return the area, in square metres, of what is enclosed but in none; all must hang together."""
    union = shapely.union_all(polygons)
    assert union.geom_type == "Polygon"
    return float(shapely.area(shapely.Polygon(union.exterior)) - shapely.area(union)) * PIXEL**2


def ious(truth: NDArray[Any], found: NDArray[Any]) -> list[float]:
    return [
        max(shapely.area(shapely.intersection(wanted, found)) / shapely.area(shapely.union(wanted, found)))
        for wanted in truth
    ]


def corners(polygons: NDArray[Any]) -> list[int]:
    return [len(polygon.exterior.coords) - 1 for polygon in polygons]


@pytest.mark.parametrize("degrees", [0, 17, 30, 45, 62])
@pytest.mark.parametrize("kind", ["map", "area"])
def test_row_of_eight_houses_is_eight_rectangles_without_gap_or_overlap(degrees: float, kind: str) -> None:
    truth = turned(row_of_houses(8), degrees)
    found = outline(truth, outline=kind, noise=2)
    assert len(found) == 8
    assert overlap(found) + gaps(found) < 1e-6
    assert shapely.coverage_is_valid(found)
    assert corners(found) == [4] * 8
    assert np.mean(ious(truth, found)) > 0.95, "walls run between pixels, and houses are 30 wide"
    assert shapely.area(found).sum() == pytest.approx(shapely.area(truth).sum(), rel=0.01)


@pytest.mark.parametrize("degrees", [0, 17, 30, 45, 62])
def test_houses_that_stand_back_have_walls_that_end_in_the_corner(degrees: float) -> None:
    truth = turned(row_of_houses(8, step=8), degrees)
    found = outline(truth, noise=2)
    assert overlap(found) + gaps(found) < 1e-6
    assert min(ious(truth, found)) > 0.97
    # Four corners, and one more where the neighbour's wall ends: on both sides but for the first and the last house.
    assert sorted(corners(found)) == [5, 5, 6, 6, 6, 6, 6, 6]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("step", [0, 8])
def test_rows_under_noise_are_a_coverage_of_all_houses(seed: int, step: float) -> None:
    truth = turned(row_of_houses(8, step=step), 11 + 20 * seed)
    found = outline(truth, warp=0.8, noise=8, seed=seed)
    assert len(found) == 8
    assert overlap(found) + gaps(found) < 1e-6
    assert shapely.is_valid(found).all()
    assert min(ious(truth, found)) > 0.75


def test_walls_meet_in_a_t_and_in_a_cross() -> None:
    left, right = shapely.box(20, 20, 70, 60), shapely.box(70, 20, 120, 60)
    below = shapely.box(20, 60, 120, 100)
    for houses in ([left, right, below], [left, right, shapely.box(20, 60, 70, 100), shapely.box(70, 60, 120, 100)]):
        truth = turned(np.array(houses), 25)
        found = outline(truth, noise=2)
        assert len(found) == len(houses)
        assert overlap(found) + gaps(found) < 1e-6
        assert min(ious(truth, found)) > 0.95
        union = shapely.union_all(found)
        assert shapely.area(union) / shapely.area(shapely.minimum_rotated_rectangle(union)) > 0.99


def test_courtyard_and_the_house_in_it_and_an_enclosed_house() -> None:
    block = shapely.box(20, 20, 160, 160) - shapely.box(60, 60, 120, 120)
    within = shapely.box(78, 78, 102, 102)
    truth = turned(np.array([block, within]), 20)
    found = outline(truth, noise=2)
    assert [len(polygon.interiors) for polygon in found] == [1, 0]
    assert overlap(found) == 0
    assert min(ious(truth, found)) > 0.95
    enclosed = turned(np.array([block, shapely.box(60, 60, 120, 120)]), 20)
    found = outline(enclosed, noise=2)
    assert len(found) == 2
    assert overlap(found) + gaps(found) < 1e-6
    assert min(ious(enclosed, found)) > 0.93


@pytest.mark.parametrize("gap", [2.0, 3.0, 4.5])
def test_neighbours_that_do_not_touch_do_not_overlap(gap: float) -> None:
    # Their long sides are not parallel, so both are drawn straight against each other.
    one = shapely.box(20, 20, 140, 60)
    other = shapely.Polygon([(20, 60 + gap), (140, 64 + gap), (140, 104), (20, 100)])
    found = outline(np.array([one, other]), warp=0.8, noise=8)
    assert overlap(found) < 1e-6
    assert shapely.is_valid(found).all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_any_noise_gives_valid_outlines_without_overlaps(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=(2, 160, 200)).astype(np.float32)
    soft = np.stack([cv2.GaussianBlur(band, (0, 0), 4) for band in noise])
    bands = np.clip(127 + soft / soft.std() * 70, 0, 255).astype(np.uint8)
    grid = Grid(CRS.from_epsg(25832), Affine(0.3, 0, 0, 0, -0.3, 0), 200, 160)
    found = find_outlines(bands, np.ones((160, 200), np.bool_), grid, min_area=2).geometry.to_numpy()
    assert shapely.is_valid(found).all()
    assert shapely.is_simple(shapely.get_rings(found)).all()
    assert overlap(found) < 1e-6


def test_raw_and_method() -> None:
    rows, columns = np.indices((60, 60))
    field = np.clip(255 - 40 * (np.hypot(rows - 30, columns - 30) - 20), 0, 255)
    raw = draw(field)
    (same,) = regularize_rings([raw], replace(RULE, outline="raw"))
    assert same is raw
    assert same.methods.tolist() == ["raw"]
    (round_,) = regularize_rings([raw], RULE)
    assert round_.methods.tolist() == ["circle"]
    (kept,) = regularize_rings([raw], replace(RULE, outline="area"))
    assert shapely.area(kept.polygons[0]) == pytest.approx(shapely.area(raw.polygons[0]), rel=1e-6)
    row = turned(row_of_houses(3), 20)
    bands = probabilities_of(row)
    grid = Grid(CRS.from_epsg(25832), Affine(PIXEL, 0, 0, 0, -PIXEL, 0), bands.shape[2], bands.shape[1])
    assert set(find_outlines(bands, np.ones(bands.shape[1:], np.bool_), grid)["method"]) == {ATTACHED}


def test_outlines_end_at_the_border_of_the_raster() -> None:
    truth = turned(row_of_houses(4), 20)
    bands = probabilities_of(truth)[:, 40:-40, 30:-30]
    grid = Grid(CRS.from_epsg(25832), Affine(1, 0, 0, 0, -1, 0), bands.shape[2], bands.shape[1])
    found = find_outlines(np.ascontiguousarray(bands), np.ones(bands.shape[1:], np.bool_), grid)
    border = shapely.box(*grid.bounds)
    assert shapely.covers(border, found.geometry.to_numpy()).all()
    assert found["at_edge"].any()


def test_groups_get_the_same_outlines_alone_and_together() -> None:
    random = np.random.default_rng(0)
    drawn = [draw(random.integers(100, 256, (30, 30))) for _ in range(3)]
    raw = [replace(r, polygons=shapely.transform(r.polygons, lambda xy, i=i: xy + 100 * i)) for i, r in enumerate(drawn)]
    together = [rings.polygons for rings in regularize_rings(raw, RULE)]
    alone = [next(iter(regularize_rings([rings], RULE))).polygons for rings in raw]
    for one, other in zip(together, alone, strict=True):
        assert (shapely.to_wkb(one) == shapely.to_wkb(other)).all()


def test_smaller_one_gives_way_to_another_group() -> None:
    large, small, far = shapely.box(0, 0, 10, 10), shapely.box(9, 2, 12, 5), shapely.box(20, 0, 22, 2)
    polygons = give_way(np.array([large, small, far]), np.array([0, 1, 2]))
    assert polygons[0].equals(large)
    assert polygons[1].equals(shapely.box(10, 2, 12, 5))
    assert polygons[2].equals(far)
    cut = give_way(np.array([shapely.box(0, 0, 20, 2), shapely.box(7, -20, 9, 20)]), np.array([0, 1]))
    assert cut[0].equals(shapely.box(9, 0, 20, 2)), "the largest part stays"
    assert give_way(np.array([large, shapely.box(1, 1, 2, 2)]), np.array([0, 1]))[1].is_empty


@pytest.mark.parametrize("warp", [0.4, 0.8])
def test_facades_that_step_here_and_there_are_nearer_to_the_truth_than_their_rings(warp: float) -> None:
    drawn: dict[str, list[float]] = {"raw": [], "map": []}
    for seed in range(4):
        steps = np.random.default_rng(seed).choice([0.0, 0.0, 4.0], 8)
        flush = row_of_houses(8, width=25, depth=34)
        stepped = [shapely.affinity.translate(house, 0, step) for house, step in zip(flush, steps, strict=True)]
        truth = turned(np.array(stepped), 13 + 20 * seed)
        for kind, found_ious in drawn.items():
            found_ious += ious(truth, outline(truth, warp=warp, noise=8, seed=seed, outline=kind))
    assert np.mean(drawn["map"]) > np.mean(drawn["raw"])
