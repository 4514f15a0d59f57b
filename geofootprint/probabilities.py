"""Reading probabilities of buildings from any raster that holds them: a model's output, a mask, labels."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from geofootprint.errors import OptionError, RasterError
from geofootprint.progress import SILENT, Progress, track
from geofootprint.raster import Grid, ImageReader, open_raster, read_grid, windows_of

__all__ = ["MODEL_TAG", "ProbabilityArray", "ProbabilityReader", "Source", "open_probabilities"]

MODEL_TAG = "GEOFOOTPRINT_MODEL"
"""Tag of a raster of probabilities that describes, as JSON, the model which made it."""

SCAN_BLOCK = 4096
"""Pixels of the side of a window while the range of values is looked for."""

PERCENT = 100
"""Whole numbers up to this may be percent as well as bytes."""

ROUNDING = 1e-4
"""Share of the full scale by which a value may be beyond it: networks in half precision and resampling do that."""

Scale = Callable[[NDArray[Any]], NDArray[np.uint8]]


class Source(Protocol):
    """Probabilities that can be read by window."""

    grid: Grid

    def read(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return probabilities (1 to 3, height, width), 0 to 255, and validity, also beyond the grid."""


class ProbabilityArray:
    """Probabilities in memory.

    Parameters
    ----------
    probabilities : uint8 array of shape (1 to 3, height, width)
        Building, contour, and touch, where buildings touch each other; 0 to 255.
    valid : bool array of shape (height, width)
        False where there is no data.
    grid : Grid
        Its pixels.
    """

    def __init__(self, probabilities: NDArray[np.uint8], valid: NDArray[np.bool_], grid: Grid) -> None:
        self.grid = grid
        self._probabilities = probabilities
        self._valid = valid

    def read(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return probabilities and validity of a window."""
        top, left = max(0, window.row_off), max(0, window.col_off)
        bottom, right = window.row_off + window.height, window.col_off + window.width
        part = (slice(top, bottom), slice(left, right))
        valid = self._valid[part]
        margins = (
            (top - window.row_off, bottom - top - valid.shape[0]),
            (left - window.col_off, right - left - valid.shape[1]),
        )
        return np.pad(self._probabilities[:, part[0], part[1]], ((0, 0), *margins)), np.pad(valid, margins)


class ProbabilityReader:
    """Probabilities in a file; made by `open_probabilities`.

    Attributes
    ----------
    name : str
        The path as given.
    grid : Grid
        The file's grid.
    model : mapping
        What the file says about the model that made it; empty if nothing.
    """

    def __init__(
        self, reader: ImageReader, model: Mapping[str, Any], scale: Scale, *, zero_is_nodata: bool
    ) -> None:
        self.name = reader.name
        self.grid = reader.grid
        self.model = model
        self._reader = reader
        self._scale = scale
        self._zero_is_nodata = zero_is_nodata

    def read(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Read a window, which may reach beyond the raster.

        Returns
        -------
        probabilities : uint8 array of shape (1 to 3, height, width)
            Building and, where the file tells, contour and touch; 0 where not valid.
        valid : bool array of shape (height, width)

        Raises
        ------
        RasterError
            If the pixels cannot be read or are no probabilities.
        """
        pixels, valid = self._reader.read(window)
        if self._zero_is_nodata:
            valid = _within(window, self.grid)
        return self._scale(pixels), valid


def _within(window: Window, grid: Grid) -> NDArray[np.bool_]:
    rows = np.arange(window.row_off, window.row_off + window.height)
    columns = np.arange(window.col_off, window.col_off + window.width)
    return ((rows >= 0) & (rows < grid.height))[:, None] & ((columns >= 0) & (columns < grid.width))


@contextmanager
def open_probabilities(
    path: str | os.PathLike[str], *, full_scale: float | None = None, progress: Progress = SILENT
) -> Iterator[ProbabilityReader]:
    """Open a raster of building probabilities, a mask or a label raster.

    What the numbers mean is taken from the file where that is certain: bands called building, contour and touch are 0 to 255;
    floating point up to 1 is 0 to 1; two values, of which one is 0, are a mask; whole numbers up to 2 are labels
    (0 background, 1 building, 2 contour), and bytes of which some are above 100 are 0 to 255. Any others might be
    percent as well as bytes, so `full_scale` must say what they are. Nodata is respected, but for a nodata value of 0,
    which is the same as no building.

    Parameters
    ----------
    path : path
        Anything GDAL opens.
    full_scale : float, optional
        The value that means a certain building, as 1, 100 or 255; higher ones are an error.
    progress : Progress
        Told while the range of the values is looked for.

    Yields
    ------
    ProbabilityReader

    Raises
    ------
    MissingFileError
        If nothing is at `path`.
    OptionError
        If `full_scale` is not more than 0.
    RasterError
        If it is no raster, has no CRS or position, or its values are no probabilities, or might be several kinds.
    """
    name = os.fspath(path)
    if full_scale is not None and not 0 < full_scale < math.inf:
        raise OptionError(f"The full scale must be more than 0, such as 1, 100 or 255, not {full_scale:g}.")
    with open_raster(path) as dataset:
        grid = read_grid(dataset, name)
        bands = _bands_of(dataset, name)
        with ImageReader(dataset, name, grid, bands, None) as reader:
            model = _model_of(dataset, name)
            scale = _as_they_are if len(bands) > 1 or model else _scale_of(reader, full_scale, progress)
            yield ProbabilityReader(reader, model, scale, zero_is_nodata=dataset.nodata == 0)


def _bands_of(dataset: Any, name: str) -> tuple[int, ...]:
    kinds = [(text or "").lower() for text in dataset.descriptions]
    if kinds[:2] == ["building", "contour"] and dataset.dtypes[0] == "uint8":
        return (1, 2, 3) if kinds[2:3] == ["touch"] else (1, 2)
    colours = [meaning for meaning in dataset.colorinterp if meaning != ColorInterp.alpha]
    if len(colours) > 1 and kinds[0] != "building":
        raise RasterError(
            f"{name} has {dataset.count} bands and none is called building; give a mask, one band of "
            "probabilities, or what 'geofootprint predict' made."
        )
    return (1,)


def _model_of(dataset: Any, name: str) -> Mapping[str, Any]:
    text = dataset.tags().get(MODEL_TAG)
    if text is None or dataset.dtypes[0] != "uint8":
        return {}
    try:
        model = json.loads(text)
    except ValueError as error:
        raise RasterError(
            f"{name} has a damaged tag {MODEL_TAG}; make the file again with 'geofootprint predict'."
        ) from error
    return model if isinstance(model, dict) else {}


@dataclass(frozen=True)
class _Values:
    """What is in a raster: the range of its valid values with 0, and whether there are only two, one of them 0."""

    low: float
    high: float
    two: bool


def _scale_of(reader: ImageReader, full_scale: float | None, progress: Progress) -> Scale:
    if reader.dtype.kind not in "iubf":
        raise RasterError(f"{reader.name} has pixels of type {reader.dtype}; give probabilities or a mask.")
    if full_scale is not None:
        return lambda pixels: _from_scale(pixels, full_scale, reader.name)
    values = _look_through(reader, progress)
    if values.low < -ROUNDING * max(1.0, values.high):
        raise RasterError(
            f"{reader.name} has values from {values.low:g} to {values.high:g}; give a mask (0 and 1) or probabilities, "
            "and mark what has no data as nodata."
        )
    if values.two and (reader.dtype.kind != "f" or values.high >= 1):
        return _from_mask
    if reader.dtype.kind == "f" and values.high <= 1 + ROUNDING:
        return lambda pixels: _from_scale(pixels, 1.0, reader.name)
    if reader.dtype.kind != "f" and values.high == 2:
        progress.warn(f"{reader.name} is read as labels: 0 background, 1 building, 2 contour.")
        return _from_labels
    if reader.dtype.kind != "f" and PERCENT < values.high <= 255:
        return _as_they_are
    raise RasterError(
        f"{reader.name} has values up to {values.high:g}, which do not say what they mean; name with --full-scale the "
        "value of a certain building, such as 100 for percent or 255 for bytes."
    )


def _look_through(reader: ImageReader, progress: Progress) -> _Values:
    """Return what values there are, or enough of them to see that they are probabilities."""
    windows = windows_of(reader.grid, SCAN_BLOCK)
    low, high, two = 0.0, 0.0, True
    for window in track(windows, "check", len(windows), progress):
        pixels, _ = reader.read(window)
        low, top = min(low, float(pixels.min())), float(pixels.max())
        two = two and (high == 0 or top in (0, high)) and bool(((pixels == 0) | (pixels == top)).all())
        high = max(high, top)
        if not two and (high <= 1 if reader.dtype.kind == "f" else reader.dtype == np.uint8 and high > PERCENT):
            break  # further ones that are no probabilities fail when they are read
    return _Values(low, high, two)


def _as_they_are(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray(pixels, np.uint8)


def _from_mask(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    mask: NDArray[np.uint8] = np.where(pixels > 0, np.uint8(255), np.uint8(0))
    return mask


def _from_labels(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    return np.concatenate([_from_mask(pixels), _from_mask(pixels == 2)])


def _from_scale(pixels: NDArray[Any], full_scale: float, name: str) -> NDArray[np.uint8]:
    low, high = float(pixels.min()), float(pixels.max())
    if low < -ROUNDING * full_scale or high > (1 + ROUNDING) * full_scale:
        raise RasterError(
            f"{name} has values from {low:g} to {high:g}, beyond the full scale of {full_scale:g}; name with --full-scale "
            "the value of a certain building, and mark what has no data as nodata."
        )
    scaled = np.multiply(pixels, 255.0, dtype=np.float32 if pixels.dtype.itemsize < 4 else np.float64) / full_scale
    return np.asarray(np.rint(np.clip(scaled, 0, 255)), np.uint8)
