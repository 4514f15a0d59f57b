from __future__ import annotations

from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely

from geofootprint.splits import SPLITS, blocks_of, default_block, leaks, split_blocks, split_tiles

TILE = 38.4


def some_tiles(rows: int, columns: int, *, step: float = TILE, building: Any = 0.2) -> gpd.GeoDataFrame:
    """Return square tiles of 38.4 m near Innsbruck in EPSG:4326."""
    west, south = 680_000 + step * np.arange(columns), 5_238_000 + step * np.arange(rows)
    x, y = (axis.ravel() for axis in np.meshgrid(west, south))
    tiles = gpd.GeoSeries(shapely.box(x, y, x + TILE, y + TILE), crs="EPSG:25832").to_crs("EPSG:4326")
    columns_of = {"valid_share": 1.0, "building_share": building, "extent": tiles.to_numpy()}
    return gpd.GeoDataFrame(columns_of, geometry=tiles)


def split(index: gpd.GeoDataFrame, side: float, shares: tuple[float, ...] = (0.8, 0.1, 0.1)) -> gpd.GeoDataFrame:
    index["block"] = blocks_of(index, side)
    index["split"] = split_tiles(index, shares)
    return index


def test_blocks_are_squares_of_true_metres() -> None:
    index = some_tiles(40, 40)
    counts = np.unique(blocks_of(index, 4 * TILE), return_counts=True)[1]
    assert np.median(counts) == pytest.approx(16, abs=2)
    assert 80 <= len(counts) <= 150


def test_one_place_has_one_block_whatever_the_image() -> None:
    index = some_tiles(10, 10)
    again = index.to_crs("EPSG:3857").to_crs("EPSG:4326").iloc[::-1]
    assert blocks_of(index, 100).tolist() == blocks_of(again, 100).tolist()[::-1]


def test_a_block_goes_to_one_split_as_a_whole() -> None:
    index = split(some_tiles(20, 20), 120)
    assert (index.groupby("block")["split"].nunique() == 1).all()


@pytest.mark.parametrize("shares", [(0.8, 0.1, 0.1), (0.6, 0.4, 0.0), (1.0, 0.0, 0.0), (0.34, 0.33, 0.33)])
def test_shares_are_met(shares: tuple[float, ...]) -> None:
    index = split(some_tiles(20, 20), 120, shares)
    for name, share in zip(SPLITS, shares, strict=True):
        assert (index["split"] == name).mean() == pytest.approx(share, abs=0.02)


def test_buildings_are_shared_out_like_ground() -> None:
    building = np.where(np.arange(400) < 100, 0.8, 0.0)
    index = split(some_tiles(20, 20, building=building), 120)
    for name, share in zip(SPLITS, (0.8, 0.1, 0.1), strict=True):
        mine = index["building_share"][index["split"] == name].sum()
        assert mine / building.sum() == pytest.approx(share, abs=0.05)


def test_few_blocks_still_give_something_to_validate() -> None:
    for count, wanted in ((3, {0, 1, 2}), (2, {0, 1}), (1, {0})):
        assert set(split_blocks(np.ones((count, 1)), (0.8, 0.1, 0.1)).tolist()) == wanted
    assert set(split_blocks(np.ones((5, 1)), (1.0, 0.0, 0.0)).tolist()) == {0}


def test_the_seed_decides() -> None:
    weights = np.random.default_rng(0).random((40, 2))
    first, again = (split_blocks(weights, (0.8, 0.1, 0.1), seed=1) for _ in "ab")
    assert np.array_equal(first, again)
    assert not np.array_equal(first, split_blocks(weights, (0.8, 0.1, 0.1), seed=2))


def test_thousands_of_blocks_take_no_time() -> None:
    weights = np.random.default_rng(0).random((20_000, 2))
    choice = split_blocks(weights, (0.8, 0.1, 0.1))
    assert weights[choice == 0, 0].sum() / weights[:, 0].sum() == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(("rows", "expected"), [(1, TILE), (2, TILE), (16, 125.0), (60, 500.0)])
def test_blocks_are_as_wide_as_there_is_ground(rows: int, expected: float) -> None:
    assert default_block(some_tiles(rows, rows), TILE) == pytest.approx(expected)


def test_a_split_that_stays_empty_is_told() -> None:
    class Notes:
        warnings: list[str] = []  # noqa: RUF012

        def update(self, stage: str, done: float, total: float) -> None:
            pass

        def warn(self, text: str) -> None:
            self.warnings.append(text)

    index = some_tiles(1, 1)
    index["block"] = "0_0"
    assert split_tiles(index, (0.8, 0.1, 0.1), progress=Notes()).tolist() == ["train"]
    assert Notes.warnings == [
        "There are only 1 spatial block(s), so no tile is for val and test; give more ground or a smaller --block."
    ]


def test_neighbours_do_not_leak_but_overlaps_do() -> None:
    side_by_side = split(some_tiles(8, 8), 120)
    assert not leaks(side_by_side).any()
    overlapping = split(some_tiles(16, 16, step=TILE / 2), 120)
    leaking = leaks(overlapping)
    assert 0 < leaking.mean() < 0.5
    assert "test" not in set(overlapping["split"][leaking])
    kept = overlapping[~leaking]
    unseen = shapely.union_all(kept.geometry[kept["split"] != "train"].to_numpy()).buffer(-1e-6)
    assert not kept.geometry[kept["split"] == "train"].intersects(unseen).any()
