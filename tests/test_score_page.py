"""The page of scores: which places it shows, and what it says of them."""

from __future__ import annotations

from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely

from geofootprint.metrics import Counts
from geofootprint.score_page import Layers, build_score_page
from geofootprint.scores import Cells, Scores

FACTS: dict[str, Any] = {
    "options": {"predicted": "some/mine.gpkg", "truth": "some/true.gpkg", "gsd": 0.15},
    "versions": {"geofootprint": "0"},
    "crs": "EPSG:25832",
    "failed": [],
}


def layers() -> Layers:
    house = gpd.GeoDataFrame(geometry=[shapely.box(680_000, 5_238_000, 680_010, 5_238_010)], crs="EPSG:25832")
    return Layers(house, house)


def scores(counts: list[tuple[int, int, int]], **changes: Any) -> Scores:
    bounds = [(680_000 + 60 * i, 5_238_000, 680_060 + 60 * i, 5_238_060) for i in range(len(counts))]
    cells = Cells(np.array(bounds, float).reshape(-1, 4), np.array(counts, np.int64).reshape(-1, 3))
    known: dict[str, Any] = {
        "pixels": Counts(1_234_567, 20, 30), "boundary": Counts(5, 6, 7), "objects": Counts(8, 1, 2),
        "predicted": 9, "truth": 10, "merged": 3, "split": 4, "matched_iou": 0.81, "polis": 0.44,
        "vertex_ratio": 1.5, "total_vertex_ratio": 1.25, "area_m2": 2.5e6, "cells": cells, "status": layers().truth,
    }
    return Scores(**{**known, **changes})


def build(counts: list[tuple[int, int, int]], **changes: Any) -> str:
    return build_score_page(scores(counts, **changes), layers(), facts=FACTS)


def places(page: str) -> list[str]:
    return [text.partition(";")[0] for text in page.split("<figcaption>")[2:]]


def test_worst_and_best_places_are_different_ones() -> None:
    page = build([(10 * i, 100 - 10 * i, 0) for i in range(10)])
    assert places(page) == ["IoU 0.00", "IoU 0.10", "IoU 0.20", "IoU 0.90", "IoU 0.80", "IoU 0.70"]


def test_places_with_little_in_them_are_passed_over() -> None:
    page = build([(0, 1, 0), (0, 0, 2), (50, 50, 0), (80, 20, 0)])
    assert places(page) == ["IoU 0.50", "IoU 0.80"]


@pytest.mark.parametrize(("counts", "shown"), [([], 0), ([(1, 1, 0)], 1), ([(1, 1, 0), (2, 0, 0)], 2)])
def test_few_places(counts: list[tuple[int, int, int]], shown: int) -> None:
    assert len(places(build(counts))) == shown


def test_says_what_was_compared_and_how_well() -> None:
    page = build([(1, 1, 0)])
    for text in (
        "mine.gpkg against true.gpkg: 9 predicted and 10 true buildings in the extent of both layers, 2.5 km²",
        "1,234,567", "0.44 m", "80.0 %", "88.9 %", "1.500", "1.250", "EPSG:25832", "some/mine.gpkg",
    ):
        assert text in page


def test_no_pairs() -> None:
    page = build([(0, 1, 0)], matched_iou=None, polis=None, vertex_ratio=None, total_vertex_ratio=None)
    assert page.count("no pairs") == 5


def test_bounds_with_and_without_area() -> None:
    assert layers().bounds() == (680_000, 5_238_000, 680_010, 5_238_010)
    empty = gpd.GeoDataFrame(geometry=[], crs="EPSG:25832")
    assert Layers(empty, layers().truth).bounds() == layers().bounds()
    assert Layers(empty, empty, shapely.box(1, 2, 3, 4)).bounds() == (1, 2, 3, 4)
