"""Batches made on a GPU: all tiles lie in its memory, and whole batches are cut and changed there at once.

What is drawn for a crop is drawn on the processor by the crop's number, as for `geofootprint.learning.batches`: both make
the same crops but for rounding, and for the noise's own numbers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from geofootprint.config import DataConfig
from geofootprint.labels import NODATA
from geofootprint.learning.batches import IS_CLASS, Batch, BatchStream, CropDrawer
from geofootprint.learning.dataset import TileSet
from geofootprint.learning.jpeg import compress
from geofootprint.learning.transforms import COARSER, PENUMBRA, Changes, Shadow

__all__ = ["DeviceStream", "open_stream"]

SHARE = 0.25
"""Of a GPU's free memory, what the tiles may fill."""

AHEAD = 4
"""Batches drawn ahead."""

BLUR_RADIUS = 5
SHADOW_RADIUS = 8
"""Pixels to either side that a blur takes in: four standard deviations."""


def open_stream(
    tiles: TileSet, config: DataConfig, device: torch.device, *, seed: int, first: int = 0, rank: int = 0, world: int = 1
) -> DeviceStream | BatchStream:
    """Return what makes batches for a device: the device itself if it is a GPU that the tiles fit on, else threads."""
    if device.type == "cuda" and _size(tiles) <= SHARE * torch.cuda.mem_get_info(device)[0]:
        return DeviceStream(tiles, config, device, seed=seed, first=first, rank=rank, world=world)
    pinned = device.type == "cuda"
    return BatchStream(tiles, config, seed=seed, first=first, rank=rank, world=world, pinned=pinned)


def _size(tiles: TileSet) -> int:
    return sum(tile.image.nbytes + tile.label.nbytes for tile in tiles.tiles)


class DeviceStream:
    """Batches of random crops without end, made on a device; use as a context manager.

    Parameters
    ----------
    tiles : TileSet
    config : DataConfig
    device : torch.device
    seed, first, rank, world : int
        As of `geofootprint.learning.batches.BatchStream`.
    """

    def __init__(
        self,
        tiles: TileSet,
        config: DataConfig,
        device: torch.device,
        *,
        seed: int,
        first: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._drawer = CropDrawer(tiles, config, seed=seed)
        self._config = config
        self._device = device
        self._next = first
        self._share = range(rank, config.batch, world)
        self._source = _Source(tiles, device)
        known = np.arange(256, dtype=np.uint8)
        self._classes = self._tensor(np.stack([IS_CLASS[name](known) for name in config.classes]))
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._pending: deque[Future[list[tuple[int, Changes]]]] = deque()

    def __enter__(self) -> DeviceStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        while len(self._pending) <= AHEAD:
            self._pending.append(self._pool.submit(self._draw, self._next))
            self._next += self._config.batch
        drawn = self._pending.popleft().result()
        return self._make([index for index, _ in drawn], [changes for _, changes in drawn])

    def _draw(self, first: int) -> list[tuple[int, Changes]]:
        return [self._drawer.draw_index(first + number) for number in self._share]

    @torch.no_grad()
    def _make(self, indices: Sequence[int], changes: Sequence[Changes]) -> Batch:
        image, label = self._source.cut(indices, changes, self._config.patch)
        image = self._recolour(image, changes)
        image = self._shade(image, [each.disturbance.shadow for each in changes])
        image = self._change(image, [each.disturbance.blur for each in changes], _blur)
        image = self._add_noise(image, changes)
        if self._source.is_photograph:
            image = self._change(image, [each.disturbance.quality for each in changes], compress)
        target = self._classes[:, label.long()].transpose(0, 1).contiguous()
        image = image.clamp(0, 1).contiguous(memory_format=torch.channels_last)  # a blur's sum of weights is 1 but for rounding
        return Batch(image, target, (label != NODATA).float())

    def _tensor(self, values: Any, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values), dtype=dtype).to(self._device, non_blocking=True)

    def _recolour(self, image: torch.Tensor, changes: Sequence[Changes]) -> torch.Tensor:
        colours = [each.colours for each in changes if each.colours is not None]
        if not colours:
            return image
        gamma, matrix, shift, weight = (
            self._tensor(np.stack([getattr(each, name) for each in colours]))
            for name in ("gamma", "matrix", "shift", "weight")
        )
        image = image ** gamma[:, None, None, None]
        shift = shift + weight * image.mean(dim=(1, 2, 3))[:, None]
        return (torch.einsum("nchw,ndc->ndhw", image, matrix) + shift[..., None, None]).clamp(0, 1)

    def _shade(self, image: torch.Tensor, shadows: Sequence[Shadow | None]) -> torch.Tensor:
        cast = [shadow for shadow in shadows if shadow is not None]
        if not cast:
            return image
        # Polygons of three corners get the last one twice: an edge without length has all on its inner side.
        corners = self._tensor([[shadow.corners[min(i, len(shadow.corners) - 1)] for i in range(4)] for shadow in cast])
        light = self._tensor([shadow.light for shadow in cast])[:, None, None]
        shade = torch.where(_inside(corners, image.shape[2]), light, torch.ones_like(light))
        spread = torch.full((len(cast),), PENUMBRA, device=self._device)
        shade = _blur(shade[:, None], spread, radius=SHADOW_RADIUS)
        rows = self._rows(shadows)
        image[rows] *= shade
        return image

    def _add_noise(self, image: torch.Tensor, changes: Sequence[Changes]) -> torch.Tensor:
        for row, each in enumerate(changes):
            if each.disturbance.noise:
                generator = torch.Generator(self._device).manual_seed(each.disturbance.seed)
                noise = torch.randn(image.shape[1:], generator=generator, device=self._device)
                image[row] = (image[row] + each.disturbance.noise * noise).clamp(0, 1)
        return image

    def _change(
        self, image: torch.Tensor, strength: Sequence[float], change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """Change the images whose strength is not 0."""
        if any(strength):
            rows = self._rows(strength)
            kind = torch.int64 if isinstance(strength[0], int) else torch.float32
            image[rows] = change(image[rows], self._tensor([value for value in strength if value], kind))
        return image

    def _rows(self, which: Sequence[Any]) -> torch.Tensor:
        return self._tensor([row for row, value in enumerate(which) if value], torch.int64)


class _Source:
    """The pixels of all tiles on a device, one after the other whatever the tiles' sizes.

    Attributes
    ----------
    is_photograph : bool
        Whether the images are three bands of 8 bits, as JPEG takes them.
    """

    def __init__(self, tiles: TileSet, device: torch.device) -> None:
        images = [tile.image.reshape(-1, tiles.bands) for tile in tiles.tiles]
        dtype = images[0].dtype
        self._full = float(np.iinfo(dtype).max)
        self.is_photograph = dtype == np.uint8 and tiles.bands == 3
        # Torch does little with uint16: the same bits are kept as int16.
        stored = np.concatenate(images).view(dtype if dtype == np.uint8 else np.int16)
        self._pixels = torch.from_numpy(stored).to(device)
        self._labels = torch.from_numpy(np.concatenate([tile.label.ravel() for tile in tiles.tiles])).to(device)
        sizes = np.array([tile.label.shape for tile in tiles.tiles])
        starts = np.concatenate([[0], np.cumsum(sizes.prod(axis=1))[:-1]])
        self._places = np.column_stack([starts, sizes])
        self._device = device

    def cut(
        self, indices: Sequence[int], changes: Sequence[Changes], patch: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images of shape (N, C, patch, patch) and labels of shape (N, patch, patch)."""
        start, height, width = (self._column(self._places[list(indices), axis], torch.int64) for axis in range(3))
        geometries = [each.geometry for each in changes]
        linear, offset = np.stack([g.linear for g in geometries]), np.stack([g.offset for g in geometries])
        row, column = (axis.float() for axis in torch.meshgrid(*[torch.arange(patch, device=self._device)] * 2, indexing="ij"))
        x, y = (
            self._column(linear[:, axis, 0]) * column + self._column(linear[:, axis, 1]) * row + self._column(offset[:, axis])
            for axis in range(2)
        )
        image = self._average(x, y, start, height, width, [g.scale > COARSER for g in geometries])
        near_x, near_y = x.round().long(), y.round().long()
        inside = (near_x >= 0) & (near_x < width) & (near_y >= 0) & (near_y < height)
        label = self._labels[torch.where(inside, start + near_y * width + near_x, 0)]
        return image.permute(0, 3, 1, 2), torch.where(inside, label, NODATA)

    def _column(self, values: Any, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        tensor = torch.as_tensor(np.asarray(values), dtype=dtype).to(self._device, non_blocking=True)
        return tensor[:, None, None]

    def _average(
        self,
        x: torch.Tensor,
        y: torch.Tensor,
        start: torch.Tensor,
        height: torch.Tensor,
        width: torch.Tensor,
        coarse: Sequence[bool],
    ) -> torch.Tensor:
        """Interpolate; where crops are coarse, take the mean of four places half a pixel away to either side."""
        if not any(coarse):
            return self._interpolate(x, y, start, height, width)
        half = 0.5 * self._column(coarse)
        total = torch.zeros((), device=self._device)
        for right in (-1, 1):
            for down in (-1, 1):
                total = total + self._interpolate(x + right * half, y + down * half, start, height, width)
        return total / 4

    def _interpolate(
        self, x: torch.Tensor, y: torch.Tensor, start: torch.Tensor, height: torch.Tensor, width: torch.Tensor
    ) -> torch.Tensor:
        left, top = x.floor(), y.floor()
        to_right, to_bottom = (x - left)[..., None], (y - top)[..., None]
        columns = [_mirror(left.long() + step, width) for step in (0, 1)]
        rows = [start + _mirror(top.long() + step, height) * width for step in (0, 1)]
        upper, lower = (
            torch.lerp(self._look_up(row + columns[0]), self._look_up(row + columns[1]), to_right) for row in rows
        )
        return torch.lerp(upper, lower, to_bottom)

    def _look_up(self, index: torch.Tensor) -> torch.Tensor:
        values = self._pixels[index]
        if values.dtype == torch.int16:
            values = values.int() & 0xFFFF
        return values.float() / self._full


def _mirror(index: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """Continue an axis beyond its ends as in a mirror at the centres of its first and last pixels."""
    period = (2 * size - 2).clamp(min=1)
    index = index.remainder(period)
    return torch.minimum(index, period - index).clamp(max=size - 1)


def _inside(corners: torch.Tensor, patch: int) -> torch.Tensor:
    """Return which pixels of shape (N, patch, patch) lie in convex polygons of corners of shape (N, 4, 2)."""
    x = torch.arange(patch, device=corners.device, dtype=torch.float32)
    here, along = corners[..., None, None], (corners.roll(-1, dims=1) - corners)[..., None, None]
    side = along[:, :, 0] * (x[:, None] - here[:, :, 1]) - along[:, :, 1] * (x[None, :] - here[:, :, 0])
    return (side >= 0).all(dim=1) | (side <= 0).all(dim=1)


def _blur(image: torch.Tensor, spread: torch.Tensor, radius: int = BLUR_RADIUS) -> torch.Tensor:
    """Blur images of shape (N, C, H, W) by Gaussians of their own standard deviations, of shape (N,)."""
    count, channels, height, width = image.shape
    distance = torch.arange(-radius, radius + 1, device=image.device)
    kernel = torch.exp(-0.5 * (distance / spread[:, None]) ** 2)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)
    groups = count * channels
    flat = F.pad(image.reshape(1, groups, height, width), (radius,) * 4, mode="reflect")
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=groups)
    return F.conv2d(flat, kernel[:, None, None, :], groups=groups).view(count, channels, height, width)
