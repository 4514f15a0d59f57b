"""Which tiles are for training, validation and test: by blocks of ground, since neighbours look alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from geofootprint.progress import SILENT, Progress

__all__ = ["SPLITS", "blocks_of", "default_block", "leaks", "split_blocks", "split_tiles"]

SPLITS = ("train", "val", "test")

WIDEST_BLOCK = 500.0
"""Metres; farther apart, one place says little about another."""

ENOUGH_BLOCKS = 20
"""So many blocks meet a share of 10 % well."""

TRIALS = 200
"""Random orders of the blocks that are tried for a split; the one nearest to the wanted shares is taken."""

SHARED = 0.01
"""Share of a tile's ground that another may show, too; after reprojection, neighbours meet in slivers."""


def split_tiles(
    index: gpd.GeoDataFrame, shares: Sequence[float], *, seed: int = 0, progress: Progress = SILENT
) -> NDArray[Any]:
    """Return the split of each tile: that of its block.

    Parameters
    ----------
    index : geopandas.GeoDataFrame
        With the columns `block`, `valid_share` and `building_share`.
    shares : sequence of three floats
        Of the labelled pixels, and of the building pixels among them.
    seed : int
        Of the random orders that are tried.
    progress : Progress
        Gets a warning if a split that wants something remains empty.

    Returns
    -------
    array of str, one of `SPLITS` a row
    """
    names, number = np.unique(index["block"].to_numpy(), return_inverse=True)
    pixels = index["valid_share"].to_numpy()
    weights = np.zeros((len(names), 2))
    np.add.at(weights, number, np.stack([pixels, pixels * index["building_share"].to_numpy()], axis=1))
    choice = split_blocks(weights, shares, seed=seed)
    empty = [name for i, name in enumerate(SPLITS) if shares[i] > 0 and not (choice == i).any()]
    if empty:
        progress.warn(
            f"There are only {len(names)} spatial block(s), so no tile is for {' and '.join(empty)}; "
            "give more ground or a smaller --block."
        )
    return np.array(SPLITS, dtype=object)[choice[number]]


def default_block(index: gpd.GeoDataFrame, narrowest: float) -> float:
    """Return the widest side in metres that gives enough blocks.

    Parameters
    ----------
    index : geopandas.GeoDataFrame
        The tiles in EPSG:4326.
    narrowest : float
        Never less than this: the side of a tile in metres.
    """
    side = WIDEST_BLOCK
    while side > narrowest and len(np.unique(blocks_of(index, side))) < ENOUGH_BLOCKS:
        side /= 2
    return max(side, narrowest)


def blocks_of(index: gpd.GeoDataFrame, side: float) -> NDArray[Any]:
    """Return the name of the block that holds each tile's centre.

    Blocks are squares of ground of the whole Earth, so that images of one place agree, whatever their CRS.

    Parameters
    ----------
    index : geopandas.GeoDataFrame
        The tiles in EPSG:4326.
    side : float
        Metres.
    """
    metres = math.radians(1) * 6_371_000
    lon, lat = shapely.get_coordinates(shapely.centroid(index.geometry.to_numpy())).T
    row = np.floor(lat * metres / side)
    narrowed = np.cos(np.radians((row + 0.5) * side / metres))
    column = np.floor(lon * metres * narrowed / side)
    return np.array([f"{int(r)}_{int(c)}" for r, c in zip(row, column, strict=True)], dtype=object)


def split_blocks(weights: NDArray[Any], shares: Sequence[float], *, seed: int = 0) -> NDArray[np.int64]:
    """Deal blocks out so that each split gets its share of the weights as nearly as possible.

    Parameters
    ----------
    weights : array of shape (blocks, kinds)
        What should be shared, for example labelled pixels and building pixels of each block.
    shares : sequence of float
        Wanted share of each split; they add up to 1. A split that wants something gets a block if there are enough.
    seed : int
        Of the random orders that are tried.

    Returns
    -------
    int array of shape (blocks,)
        The number of each block's split.
    """
    total = weights.sum(axis=0)
    weights = weights / np.where(total > 0, total, 1)
    wanted = np.asarray(shares, dtype=np.float64)
    rng = np.random.default_rng(seed)
    best, least = np.zeros(len(weights), np.int64), math.inf
    for _ in range(min(TRIALS, 1 + 500_000 // len(weights))):
        choice = _deal(rng.permutation(len(weights)), weights[:, 0], wanted)
        reached = np.stack([weights[choice == split].sum(axis=0) for split in range(len(wanted))])
        cost = float(np.abs(reached - wanted[:, None])[:, total > 0].sum())
        if cost < least:
            best, least = choice, cost
    return best


def _deal(order: NDArray[np.int64], weights: NDArray[Any], wanted: NDArray[np.float64]) -> NDArray[np.int64]:
    """Give a block to each small split, then every block to the split that lacks most."""
    choice = np.full(len(order), int(np.argmax(wanted)))
    small = [split for split in np.argsort(wanted, kind="stable") if wanted[split] > 0][:-1]
    lacking = wanted.copy()
    for turn, block in enumerate(order[::-1]):
        split = small[turn] if turn < min(len(small), len(order) - 1) else int(np.argmax(lacking))
        choice[block] = split
        lacking[split] -= weights[block]
    return choice


def leaks(index: gpd.GeoDataFrame) -> NDArray[np.bool_]:
    """Return which tiles share ground with a tile of a split that must stay unseen: training gives way.

    Parameters
    ----------
    index : geopandas.GeoDataFrame
        With the columns `split` and `extent`: the part of the tile that lies on its image, in EPSG:4326.
    """
    rank = index["split"].map({name: i for i, name in enumerate(SPLITS)}).to_numpy()
    extents = index["extent"].to_numpy()
    one, other = shapely.STRtree(extents).query(extents, predicate="intersects")
    gives_way = rank[one] < rank[other]
    one, other = one[gives_way], other[gives_way]
    shared = shapely.area(shapely.intersection(extents[one], extents[other]))
    leaking = np.zeros(len(index), np.bool_)
    leaking[one[shared > SHARED * shapely.area(extents[one])]] = True
    return leaking
