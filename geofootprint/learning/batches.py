"""The endless stream of batches that training takes from tiles."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from geofootprint.config import DataConfig
from geofootprint.labels import NODATA
from geofootprint.learning.dataset import Pixels, Tile, TileSet, is_building, is_contour, is_touch
from geofootprint.learning.transforms import Changes, cut, disturb, draw_changes, recolour

__all__ = ["Batch", "BatchStream", "CropDrawer", "make_crop", "to_batch"]

WORKERS = min(8, max(1, (os.cpu_count() or 1) // 2))
"""Threads that make batches; the other cores are the networks'."""

IS_CLASS: Mapping[str, Callable[[NDArray[np.uint8]], NDArray[np.bool_]]] = {
    "building": is_building, "contour": is_contour, "touch": is_touch,
}

AHEAD = 2
"""Batches made ahead by each thread."""


@dataclass(frozen=True)
class Batch:
    """What one training step takes.

    Attributes
    ----------
    image : float tensor of shape (N, C, H, W)
        Of 0 to 1.
    target : float tensor of shape (N, K, H, W)
        A channel of 0 and 1 for each class, building first.
    valid : float tensor of shape (N, H, W)
        1 where labels are known.
    """

    image: torch.Tensor
    target: torch.Tensor
    valid: torch.Tensor


def to_batch(images: Pixels, labels: NDArray[np.uint8], classes: Sequence[str]) -> Batch:
    """Turn images and labels into a batch in the CPU's memory.

    Parameters
    ----------
    images : array of shape (N, H, W, C)
        As those of tiles.
    labels : array of shape (N, H, W)
    classes : sequence of str
        The target's channels, of building, contour and touch.
    """
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)  # channels_last, and stays so
    target = np.stack([IS_CLASS[name](labels) for name in classes], axis=1)
    return Batch(
        pixels.float().div_(np.iinfo(images.dtype).max),
        torch.from_numpy(target).float(),
        torch.from_numpy(labels != NODATA).float(),
    )


class CropDrawer:
    """Draws crops by their number: from which tile each is, and how it is changed.

    Crop n is the same in every run of one seed, whenever it is asked for: that is what makes a resumed run equal an
    uninterrupted one.

    Parameters
    ----------
    tiles : TileSet
    config : DataConfig
    seed : int
    """

    def __init__(self, tiles: TileSet, config: DataConfig, *, seed: int) -> None:
        self._tiles = tiles.tiles
        self._config = config
        self._seed = seed
        weights = np.array([tile.weight for tile in tiles.tiles])
        self._cumulative = np.cumsum(weights / weights.sum())

    def draw_index(self, number: int) -> tuple[int, Changes]:
        """Return the number of a crop's tile, and its changes."""
        rng = np.random.default_rng((self._seed, number))
        drawn = int(np.searchsorted(self._cumulative, rng.random(), side="right"))
        index = min(drawn, len(self._tiles) - 1)  # rounding may end the sum below 1
        return index, draw_changes(rng, self._tiles[index].image.shape, self._config)

    def draw(self, number: int) -> tuple[Tile, Changes]:
        """Return a crop's tile, and its changes."""
        index, changes = self.draw_index(number)
        return self._tiles[index], changes


class BatchStream:
    """Batches of random crops without end, made ahead in threads; use as a context manager.

    OpenCV and numpy release the interpreter's lock, so threads are enough.

    Parameters
    ----------
    tiles : TileSet
    config : DataConfig
    seed : int
    first : int
        Number of the first crop.
    rank, world : int
        This process takes every `world`-th crop of a batch, from the `rank`-th.
    pinned : bool
        Keep batches where a GPU can copy them from while it computes.
    """

    def __init__(
        self,
        tiles: TileSet,
        config: DataConfig,
        *,
        seed: int,
        first: int = 0,
        rank: int = 0,
        world: int = 1,
        pinned: bool = False,
    ) -> None:
        self._config = config
        self._drawer = CropDrawer(tiles, config, seed=seed)
        self._next = first
        self._pinned = pinned
        self._share = range(rank, config.batch, world)
        self._pool = ThreadPoolExecutor(max_workers=WORKERS)
        self._pending: deque[Future[Batch]] = deque()

    def __enter__(self) -> BatchStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        while len(self._pending) <= WORKERS * AHEAD:
            self._pending.append(self._pool.submit(self._make, self._next))
            self._next += self._config.batch
        return self._pending.popleft().result()

    def _make(self, first: int) -> Batch:
        crops = [self.crop(first + number) for number in self._share]
        images, labels = zip(*crops, strict=True)
        batch = to_batch(np.stack(images), np.stack(labels), self._config.classes)
        if self._pinned:
            return Batch(batch.image.pin_memory(), batch.target.pin_memory(), batch.valid.pin_memory())
        return batch

    def crop(self, number: int) -> tuple[Pixels, NDArray[np.uint8]]:
        """Return the image, of shape (patch, patch, C), and the label of one crop."""
        tile, changes = self._drawer.draw(number)
        return make_crop(tile, changes, self._config.patch)


def make_crop(tile: Tile, changes: Changes, patch: int) -> tuple[Pixels, NDArray[np.uint8]]:
    """Return the image, of shape (patch, patch, C), and the label of a crop with its changes."""
    image, label = cut(tile.image, tile.label, changes.geometry, patch)
    if changes.colours is not None:
        image = recolour(image, changes.colours)
    return disturb(image, changes.disturbance), label
