"""Probabilities for a whole orthophoto: overlapping patches, blended, window by window.

Patches lie on one grid that starts at the raster's origin, and their probabilities are blended with integer
weights, so a pixel's result is the same, to the bit, whichever window is asked for and in whichever order.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from rasterio.windows import Window

from geofootprint.area import find_area, widen, window_of
from geofootprint.errors import RasterError
from geofootprint.model import Model, load_model
from geofootprint.output import copy_as_cog, create_geotiff, require_other, require_tiff
from geofootprint.patches import WEIGHT_BITS, PatchAxis, mirror_axis
from geofootprint.probabilities import MODEL_TAG
from geofootprint.progress import SILENT, Progress
from geofootprint.raster import (
    Grid,
    ImageReader,
    open_image,
    open_raster,
    read_grid,
)
from geofootprint.scaling import Scaling

__all__ = [
    "MODEL_TAG",
    "PredictResult",
    "Predictor",
    "predict",
    "predict_window",
]

BLOCK_STRIDES = 8
"""A block is one stride high, so that only one row of patches must be kept, and this many strides wide."""

CACHE_MB = 128
"""Patches kept for the next row of blocks: enough for 48 000 px with the default model; in longer rows some are done twice."""

GSD_SLACK = 1.25
"""An image may be this much coarser than what the model was trained for before a warning is due."""


class Predictor:
    """Probabilities of any window of an image.

    Parameters
    ----------
    reader : ImageReader
        On a grid of the model's GSD.
    model : Model
    area : shapely geometry, optional
        In the grid's CRS; pixels with their centre outside are not valid, and cost nothing.
    tta : bool
        Average over the eight turned and mirrored versions of each patch.
    progress : Progress
        Hears of each patch, as one of `total`.

    Raises
    ------
    RasterError
        If the pixels are of a type that the model does not take.
    """

    def __init__(
        self,
        reader: ImageReader,
        model: Model,
        *,
        area: Any = None,
        tta: bool = False,
        progress: Progress = SILENT,
    ) -> None:
        info = model.info
        self.model = model
        self.grid = reader.grid
        self.image = reader.name
        self.total = 0
        self.done = 0
        self._reader = reader
        self._area = area
        self._tta = tta
        self.progress = progress
        self._scaling = _scaling(reader, model)
        self._rows, self._columns = (
            PatchAxis(size, info.patch, info.overlap, info.context) for size in reader.grid.shape
        )
        self._cache: OrderedDict[tuple[int, int], _Patch] = OrderedDict()
        self._kept = max(1, CACHE_MB * 2**20 // (info.patch**2 * (len(info.classes) + 1)))

    @property
    def stride(self) -> int:
        """Pixels from one patch to the next; windows that start at its multiples cost the least."""
        return self._rows.stride

    def count_patches(self, window: Window) -> int:
        """Return the number of patches that a window needs."""
        return len(self._touching(window))

    def predict_window(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return the probabilities of a window inside the grid.

        Parameters
        ----------
        window : rasterio.windows.Window

        Returns
        -------
        probabilities : uint8 array of shape (classes, height, width)
            0..255; 0 where not valid.
        valid : bool array of shape (height, width)
            True where the image has data and the area is.
        """
        height, width = int(window.height), int(window.width)
        blend = np.zeros((len(self.model.info.classes), height, width), np.uint32)
        valid = np.zeros((height, width), np.bool_)
        keys = self._touching(window)
        for key in keys:
            patch = self._patch(key, keys)
            rows, from_rows = self._rows.shared(key[0], window.row_off, height)
            columns, from_columns = self._columns.shared(key[1], window.col_off, width)
            valid[rows, columns] |= patch.valid[from_rows, from_columns]
            if patch.probabilities is not None:
                down = self._rows.weights(key[0])[from_rows, None]
                weights = down * self._columns.weights(key[1])[from_columns]
                blend[:, rows, columns] += patch.probabilities[:, from_rows, from_columns] * weights
        half = np.uint32(1 << (2 * WEIGHT_BITS - 1))
        probabilities = ((blend + half) >> np.uint32(2 * WEIGHT_BITS)).astype(np.uint8)
        probabilities[:, ~valid] = 0
        return probabilities, valid

    def _touching(self, window: Window) -> list[tuple[int, int]]:
        rows = self._rows.touching(int(window.row_off), int(window.row_off + window.height))
        columns = self._columns.touching(int(window.col_off), int(window.col_off + window.width))
        return [(row, column) for row in rows for column in columns]

    def _patch(self, key: tuple[int, int], wanted: Sequence[tuple[int, int]]) -> _Patch:
        """Return a patch, done now with as many others of those wanted as the model takes at once."""
        if key not in self._cache:
            start = wanted.index(key)
            missing = [other for other in wanted[start:] if other not in self._cache]
            self._compute(missing[: self.model.batch_size])
        self._cache.move_to_end(key)
        patch = self._cache[key]
        while len(self._cache) > max(self._kept, self.model.batch_size):
            self._cache.popitem(last=False)
        return patch

    def _compute(self, keys: list[tuple[int, int]]) -> None:
        images = {}
        for key in keys:
            image, valid = self._read(*key)
            self._cache[key] = _Patch(None, valid)
            if valid.any():
                images[key] = image
        if images:
            # Always a full batch: a GPU may sum in another order for another size.
            batch = np.zeros((self.model.batch_size, *next(iter(images.values())).shape), np.float32)
            batch[: len(images)] = list(images.values())
            for key, values in zip(images, _predict_batch(self.model, batch, tta=self._tta), strict=False):
                self._cache[key] = replace(self._cache[key], probabilities=values)
        self.done += len(keys)
        self.progress.update("predict", min(self.done, self.total), self.total)

    def _read(self, row: int, column: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read a patch as 0..1, mirrored beyond the raster, and where its pixels count."""
        patch = self._rows.patch
        window = Window(column * self.stride, row * self.stride, patch, patch)
        inside = _rasterize_area(self._area, self.grid.crop(window))
        if not inside.any():
            return np.zeros((0, 0, 0), np.float32), inside
        rows, top, height = mirror_axis(window.row_off, patch, self.grid.height)
        columns, left, width = mirror_axis(window.col_off, patch, self.grid.width)
        image, valid = self._reader.read(Window(left, top, width, height))
        scaled = self._scaling.apply(image, valid)
        if (height, width) == (patch, patch):
            return scaled, valid & inside
        return scaled[:, rows[:, None], columns], valid[rows[:, None], columns] & inside


@dataclass(frozen=True)
class _Patch:
    probabilities: NDArray[np.uint8] | None  # none where no pixel is valid
    valid: NDArray[np.bool_]


def _scaling(reader: ImageReader, model: Model) -> Scaling:
    name = reader.dtype.name
    if name not in model.info.scale:
        types = ", ".join(model.info.scale)
        raise RasterError(
            f"{reader.name} has {name} pixels, but the model {model.info.name} takes {types}; "
            "convert it, for uint8 with gdal_translate -ot Byte -scale."
        )
    return model.info.scaling(name)


def _rasterize_area(area: Any, grid: Grid) -> NDArray[np.bool_]:
    if area is None:
        return np.ones(grid.shape, np.bool_)
    part = shapely.clip_by_rect(area, *grid.bounds)
    if part.is_empty or part.area == 0:
        return np.zeros(grid.shape, np.bool_)
    mask: NDArray[np.bool_] = geometry_mask([part], grid.shape, grid.transform, invert=True)
    return mask


def _predict_batch(model: Model, batch: NDArray[np.float32], *, tta: bool) -> NDArray[np.uint8]:
    """Return the probabilities of patches as 0..255, with `tta` averaged over the square's eight symmetries."""
    mean = np.zeros((len(batch), len(model.info.classes), *batch.shape[2:]), np.float32)
    for turns, mirrored in product(range(4), (False, True)) if tta else [(0, False)]:
        turned = np.rot90(batch, turns, axes=(2, 3))
        result = model.predict(turned[..., ::-1])[..., ::-1] if mirrored else model.predict(turned)
        mean += np.rot90(result, -turns, axes=(2, 3)) / (8 if tta else 1)
    return (np.clip(mean, 0, 1) * 255 + 0.5).astype(np.uint8)


def predict_window(
    reader: ImageReader, model: Model, window: Window, *, area: Any = None, tta: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the probabilities of a window of an image, the same as in a prediction of the whole.

    For many windows of one image a `Predictor` does the patches they share only once.

    Parameters
    ----------
    reader : ImageReader
        On a grid of the model's GSD.
    model : Model
    window : rasterio.windows.Window
        Inside the grid.
    area, tta
        As of `Predictor`.

    Returns
    -------
    probabilities : uint8 array of shape (classes, height, width)
    valid : bool array of shape (height, width)
    """
    return Predictor(reader, model, area=area, tta=tta).predict_window(window)


@dataclass(frozen=True)
class PredictResult:
    """What `predict` made.

    Parameters
    ----------
    out : str
        The raster of probabilities.
    width, height : int
        Its pixels.
    gsd : float
        Metres per pixel.
    classes : tuple of str
        Its bands.
    model : str
        Name of the model.
    valid_share : float
        Part of the pixels that are valid.
    seconds : float
    """

    out: str
    width: int
    height: int
    gsd: float
    classes: tuple[str, ...]
    model: str
    valid_share: float
    seconds: float


def predict(
    image: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | Model | None = None,
    aoi: str | os.PathLike[str] | None = None,
    bounds: tuple[float, float, float, float] | None = None,
    margin: float = 0.0,
    tta: bool = False,
    device: str = "auto",
    cog: bool = True,
    progress: Progress = SILENT,
) -> PredictResult:
    """Write the probabilities of an orthophoto as a Cloud Optimized GeoTIFF of the model's GSD.

    Its bands are the model's classes, 0..255; its mask is 0 where the image has no data and outside the area
    asked for; its extent is the image's or that area's.

    Parameters
    ----------
    image, out : path
        The orthophoto, anything GDAL opens; the GeoTIFF.
    model : path or Model, optional
        The model that comes along by default.
    aoi : path, optional
        Polygons; only pixels with their centre inside are predicted.
    bounds : (west, south, east, north), optional
        In the image's CRS; likewise.
    margin : float
        Metres around that area which are predicted too.
    tta : bool
        Average over eight turned and mirrored versions of each patch, in eight times the time.
    device : {"auto", "cpu", "cuda"}
    cog : bool
        False leaves out the overviews and their place in the file, which take a while: a plain tiled GeoTIFF.
    progress : Progress

    Raises
    ------
    MissingFileError, RasterError, VectorError, ModelError, OptionError, OutputError
        If an input cannot be used, the area misses the image, or nothing in it is valid.
    """
    started = time.monotonic()
    target = require_tiff(out)
    require_other(target, image, aoi, None if isinstance(model, Model) else model)
    network = model if isinstance(model, Model) else load_model(model, device=device)
    info = network.info
    _check_gsd(image, network, progress)
    with open_image(image, gsd=info.gsd, count=info.bands, progress=progress) as reader:
        area = widen(find_area(image, reader.grid, aoi=aoi, bounds=bounds), reader.grid, margin)
        window = window_of(area, reader.grid)
        predictor = Predictor(reader, network, area=area, tta=tta, progress=progress)
        valid_pixels = (_write_cog if cog else _write)(predictor, window, target)
    return PredictResult(
        out=str(target),
        width=window.width, height=window.height,
        gsd=round(reader.grid.gsd, 6),
        classes=info.classes, model=info.name,
        valid_share=valid_pixels / (window.width * window.height),
        seconds=round(time.monotonic() - started, 3),
    )


def _check_gsd(image: str | os.PathLike[str], model: Model, progress: Progress) -> None:
    with open_raster(image) as dataset:
        gsd = read_grid(dataset, os.fspath(image)).gsd
    finest, coarsest = model.info.gsd_range
    if gsd > coarsest * GSD_SLACK:
        progress.warn(
            f"{os.fspath(image)} has {gsd:.2f} m per pixel, but the model {model.info.name} was trained for "
            f"{finest:g} to {coarsest:g} m; expect poor outlines."
        )


def _blocks(window: Window, stride: int) -> Iterator[Window]:
    """Cut a window where patches begin, in rows of one stride."""
    bottom, right = window.row_off + window.height, window.col_off + window.width
    wide = stride * BLOCK_STRIDES
    for top in _cuts(window.row_off, bottom, stride):
        for left in _cuts(window.col_off, right, wide):
            height = min(bottom, (top // stride + 1) * stride) - top
            yield Window(left, top, min(right, (left // wide + 1) * wide) - left, height)


def _cuts(start: int, stop: int, step: int) -> list[int]:
    return [start, *range((start // step + 1) * step, stop, step)]


def _write_cog(predictor: Predictor, window: Window, out: Path) -> int:
    """Write the probabilities of a window with overviews, return how many pixels are valid."""
    with tempfile.TemporaryDirectory(prefix=f".{out.stem}.", dir=out.parent) as folder:
        plain = Path(folder) / "plain.tif"
        count = _write(predictor, window, plain)
        predictor.progress.update("overviews", 0, 1)
        copy_as_cog(plain, out)
        predictor.progress.update("overviews", 1, 1)
    return count


def _write(predictor: Predictor, window: Window, out: Path) -> int:
    """Write the probabilities of a window, return how many pixels are valid."""
    info = predictor.model.info
    predictor.total = predictor.count_patches(window)
    count = 0
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        create_geotiff(out, predictor.grid.crop(window), count=len(info.classes), sparse_ok=True) as dataset,
    ):
        dataset.descriptions = info.classes
        # The model file cannot hold its own hash; what comes of it can.
        told = json.loads(info.to_json()) | {"sha256": info.sha256}
        dataset.update_tags(**{MODEL_TAG: json.dumps(told)})
        for block in _blocks(window, predictor.stride):
            probabilities, valid = predictor.predict_window(block)
            offset = block.col_off - window.col_off, block.row_off - window.row_off
            place = Window(*offset, block.width, block.height)
            dataset.write(probabilities, window=place)
            dataset.write_mask(valid, window=place)
            count += int(valid.sum())
        if count == 0:
            raise RasterError(f"{predictor.image} has no data there; give an image or an area that has some.")
    return count
