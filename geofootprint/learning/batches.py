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
from geofootprint.learning.dataset import TileSet, is_building, is_contour, is_touch
from geofootprint.learning.transforms import disturb, jitter_colours, random_crop

__all__ = ["Batch", "BatchStream", "to_batch"]

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


def to_batch(images: NDArray[np.uint8], labels: NDArray[np.uint8], classes: Sequence[str]) -> Batch:
    """Turn images and labels into a batch in the CPU's memory.

    Parameters
    ----------
    images : array of shape (N, H, W, C)
    labels : array of shape (N, H, W)
    classes : sequence of str
        The target's channels, of building, contour and touch.
    """
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    target = np.stack([IS_CLASS[name](labels) for name in classes], axis=1)
    return Batch(
        pixels.contiguous(memory_format=torch.channels_last),
        torch.from_numpy(target).float(),
        torch.from_numpy(labels != NODATA).float(),
    )


class BatchStream:
    """Batches of random crops without end, made ahead in threads; use as a context manager.

    The crop number n is the same in every run of one seed, whenever it is asked for: that is what makes a resumed run
    equal an uninterrupted one. OpenCV and numpy release the interpreter's lock, so threads are enough.

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
        return to_batch(np.stack(images), np.stack(labels), self._config.classes)

    def crop(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the image, of shape (patch, patch, C), and the label of one crop."""
        rng = np.random.default_rng((self._seed, number))
        config = self._config
        drawn = int(np.searchsorted(self._cumulative, rng.random(), side="right"))
        tile = self._tiles[min(drawn, len(self._tiles) - 1)]  # rounding may end the sum below 1
        image, label = random_crop(
            tile.image, tile.label, rng, patch=config.patch, scale=config.scale, rotation=config.rotation,
            quarter_turns=config.quarter_turns,
        )
        image = jitter_colours(image, rng, strength=config.colour)
        image = disturb(image, rng, shadow=config.shadow, blur=config.blur, noise=config.noise, jpeg=config.jpeg)
        return image, label
