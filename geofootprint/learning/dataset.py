"""Datasets of tiles in memory, and the endless stream of batches that training takes from them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import torch
from numpy.typing import NDArray

from geofootprint.config import DataConfig
from geofootprint.errors import DatasetError, MissingFileError
from geofootprint.labels import BACKGROUND, BUILDING, CONTOUR, NODATA
from geofootprint.learning.transforms import jitter_colours, random_crop
from geofootprint.raster import open_raster

__all__ = ["Batch", "BatchStream", "TileSet", "read_tiles", "to_targets"]

KNOWN_LABELS = (BACKGROUND, BUILDING, CONTOUR, NODATA)

PREFETCH = 3
"""Batches made ahead of the one the networks work at."""


@dataclass(frozen=True)
class Tile:
    """One image and label pair: arrays of shape (H, W, C) and (H, W), and how often to take crops from it."""

    image: NDArray[np.uint8]
    label: NDArray[np.uint8]
    weight: float


@dataclass(frozen=True)
class TileSet:
    """The tiles of one split of one or more datasets.

    Attributes
    ----------
    tiles : list of Tile
    bands : int
        Colour bands of all images.
    gsd : float
        Metres per pixel of all images.
    sources : tuple of str
        The orthophotos they were cut from.
    """

    tiles: list[Tile]
    bands: int
    gsd: float
    sources: tuple[str, ...]

    @property
    def pixels(self) -> int:
        """Number of pixels, valid or not."""
        return sum(tile.label.size for tile in self.tiles)


def read_tiles(folders: Sequence[tuple[str | os.PathLike[str], float]], split: str) -> TileSet:
    """Read the tiles of a split into memory.

    A tile is drawn in proportion to its valid pixels, and up to four times as often where it shows buildings.

    Parameters
    ----------
    folders : sequence of (path, float)
        Datasets as `geofootprint.tiling.tile` makes them, and the weight of each.
    split : {"train", "val", "test"}

    Raises
    ------
    MissingFileError, DatasetError
        If a folder is no dataset, has no tiles in the split or none with buildings, holds labels of unknown values or
        images that differ in size from their labels, or the datasets differ in bands, type or ground sampling distance.
    """
    infos = [_read_info(Path(folder)) for folder, _ in folders]
    for info, (folder, _) in zip(infos, folders, strict=True):
        for key in ("bands", "dtype"):
            if info[key] != infos[0][key]:
                raise DatasetError(f"{folder} has {key} {info[key]}, but {folders[0][0]} has {infos[0][key]}; train on datasets of one kind.")
        if abs(info["gsd"] / infos[0]["gsd"] - 1) > 0.02:
            raise DatasetError(
                f"{folder} has {info['gsd']:.3g} m per pixel, but {folders[0][0]} has {infos[0]['gsd']:.3g} m; tile both with one --gsd."
            )
    if infos[0]["dtype"] != "uint8":
        raise DatasetError(f"{folders[0][0]} holds {infos[0]['dtype']} images; convert the orthophoto to 8 bit before it is tiled.")
    tiles = [tile for folder, weight in folders for tile in _read_split(Path(folder), split, weight)]
    if not tiles:
        raise DatasetError(f"{folders[0][0]} has no tiles in the split '{split}'; tile it again with a larger share for it in --split.")
    if not any(((tile.label == BUILDING) | (tile.label == CONTOUR)).any() for tile in tiles):
        raise DatasetError(f"{folders[0][0]} shows no building in the split '{split}'; check that the footprints lie on the image.")
    sources = tuple(source for info in infos for source in info["sources"])
    return TileSet(tiles, int(infos[0]["bands"]), float(infos[0]["gsd"]), sources)


def _read_info(folder: Path) -> dict[str, Any]:
    file = folder / "dataset.json"
    if not folder.is_dir():
        raise MissingFileError(f"{folder} does not exist; give the folder of a dataset made by geofootprint tile.")
    try:
        info: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{folder} is not a dataset: {file.name} is missing or damaged; make one with geofootprint tile.") from error
    return info


def _read_split(folder: Path, split: str, weight: float) -> Iterator[Tile]:
    try:
        index = gpd.read_parquet(folder / "index.parquet")
    except (OSError, ValueError) as error:
        raise DatasetError(f"{folder} is not a dataset: index.parquet is missing or damaged; tile it again.") from error
    for row in index[index["split"] == split].itertuples():
        image, label = _read_array(folder / row.image), _read_array(folder / row.label)[0]
        if image.shape[1:] != label.shape:
            raise DatasetError(f"{folder / row.image} and its label differ in size; tile the image again.")
        unknown = set(np.unique(label).tolist()) - set(KNOWN_LABELS)
        if unknown:
            raise DatasetError(f"{folder / row.label} has the unknown label value(s) {sorted(unknown)}; known are 0, 1, 2 and 255.")
        valid = label != NODATA
        built = float(((label == BUILDING) | (label == CONTOUR)).mean())
        yield Tile(np.ascontiguousarray(np.moveaxis(image, 0, -1)), label, weight * float(valid.sum()) * (0.25 + min(0.75, 5 * built)))


def _read_array(path: Path) -> NDArray[np.uint8]:
    with open_raster(path) as dataset:
        return np.asarray(dataset.read(), np.uint8)


@dataclass(frozen=True)
class Batch:
    """What one training step takes.

    Attributes
    ----------
    image : float tensor of shape (N, C, H, W)
        Of 0 to 1.
    target : float tensor of shape (N, 2, H, W)
        Building and contour, 0 or 1.
    valid : float tensor of shape (N, H, W)
        1 where labels are known.
    """

    image: torch.Tensor
    target: torch.Tensor
    valid: torch.Tensor


def to_targets(image: NDArray[np.uint8], label: NDArray[np.uint8]) -> Batch:
    """Turn images of shape (N, H, W, C) and labels of shape (N, H, W) into a batch on the CPU."""
    pixels = torch.from_numpy(image).permute(0, 3, 1, 2).float() / 255
    classes = torch.from_numpy(label)
    valid = classes != NODATA
    building = ((classes == BUILDING) | (classes == CONTOUR)).float()
    target = torch.stack([building, (classes == CONTOUR).float()], dim=1)
    return Batch(pixels.contiguous(memory_format=torch.channels_last), target, valid.float())


class BatchStream:
    """Batches of random crops without end, made ahead in a thread.

    The crop number n is the same in every run of one seed, whenever it is asked for: that is what makes a resumed run
    equal an uninterrupted one. OpenCV and numpy release the interpreter's lock, so a thread is enough.

    Parameters
    ----------
    tiles : TileSet
    config : DataConfig
    seed : int
    first : int
        Number of the first crop.
    rank, world : int
        This process takes every `world`-th crop of a batch, from the `rank`-th.
    """

    def __init__(
        self, tiles: TileSet, config: DataConfig, *, seed: int, first: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        self._tiles = tiles.tiles
        self._config = config
        self._seed = seed
        self._next = first
        self._share = range(rank, config.batch, world)
        weights = np.array([tile.weight for tile in tiles.tiles])
        self._cumulative = np.cumsum(weights / weights.sum())
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._pending: list[Future[Batch]] = []

    def __iter__(self) -> Iterator[Batch]:
        while True:
            while len(self._pending) < PREFETCH:
                self._pending.append(self._pool.submit(self._make, self._next))
                self._next += self._config.batch
            yield self._pending.pop(0).result()

    def close(self) -> None:
        """Stop making batches."""
        self._pool.shutdown(cancel_futures=True)

    def _make(self, first: int) -> Batch:
        crops = [self.crop(first + number) for number in self._share]
        images, labels = zip(*crops, strict=True)
        return to_targets(np.stack(images), np.stack(labels))

    def crop(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the image, of shape (patch, patch, C), and the label of one crop."""
        rng = np.random.default_rng((self._seed, number))
        config = self._config
        tile = self._tiles[min(int(np.searchsorted(self._cumulative, rng.random())), len(self._tiles) - 1)]
        image, label = random_crop(
            tile.image, tile.label, rng, patch=config.patch, scale=config.scale, rotation=config.rotation
        )
        return jitter_colours(image, rng, strength=config.colour), label
