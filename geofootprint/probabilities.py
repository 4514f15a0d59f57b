"""Reading probabilities of buildings from any raster that holds them: a model's output, a mask, labels."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from geofootprint.errors import RasterError
from geofootprint.progress import SILENT, Progress, track
from geofootprint.raster import Grid, ImageReader, open_raster, read_grid, windows_of

__all__ = ["MODEL_TAG", "ProbabilityArray", "ProbabilityReader", "Source", "open_probabilities"]

MODEL_TAG = "GEOFOOTPRINT_MODEL"
"""Tag of a raster of probabilities that describes, as JSON, the model which made it."""

SCAN_BLOCK = 4096
"""Pixels of the side of a window while the range of values is looked for."""

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
    path: str | os.PathLike[str], *, progress: Progress = SILENT
) -> Iterator[ProbabilityReader]:
    """Open a raster of building probabilities, a mask or a label raster.

    What the numbers mean is taken from the file: bands called building, contour and touch are 0 to 255; floating
    point is 0 to 1; whole numbers up to 1 are a mask, up to 2 labels (0 background, 1 building, 2 contour),
    up to 255 scaled probabilities. Nodata is respected, but for a nodata value of 0, which is the same as no
    building.

    Parameters
    ----------
    path : path
        Anything GDAL opens.
    progress : Progress
        Told while the range of the values is looked for.

    Yields
    ------
    ProbabilityReader

    Raises
    ------
    MissingFileError
        If nothing is at `path`.
    RasterError
        If it is no raster, has no CRS or position, or its values are no probabilities.
    """
    name = os.fspath(path)
    with open_raster(path) as dataset:
        grid = read_grid(dataset, name)
        bands = _bands_of(dataset, name)
        with ImageReader(dataset, name, grid, bands, None) as reader:
            model = _model_of(dataset, name)
            scale = _as_they_are if len(bands) > 1 or model else _scale_of(reader, progress)
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


def _scale_of(reader: ImageReader, progress: Progress) -> Scale:
    if reader.dtype.kind == "f":
        return lambda pixels: _from_unit(pixels, reader.name)
    if reader.dtype.kind not in "iub":
        raise RasterError(f"{reader.name} has pixels of type {reader.dtype}; give probabilities or a mask.")
    low, high = _range_of(reader, progress)
    if low < 0 or high > 255:
        raise RasterError(
            f"{reader.name} has values from {low} to {high}; give a mask (0 and 1) or probabilities "
            "(0 to 255, or 0 to 1 as floating point)."
        )
    if high > 2:
        return _as_they_are
    if high == 2:
        progress.warn(f"{reader.name} is read as labels: 0 background, 1 building, 2 contour.")
        return _from_labels
    return _from_mask


def _range_of(reader: ImageReader, progress: Progress) -> tuple[int, int]:
    """Return the lowest and highest valid value; of bytes, enough to see that they are no mask."""
    windows = windows_of(reader.grid, SCAN_BLOCK)
    low, high = 0, 0
    for window in track(windows, "check", len(windows), progress):
        pixels, _ = reader.read(window)
        low, high = min(low, int(pixels.min())), max(high, int(pixels.max()))
        if reader.dtype == np.uint8 and high > 2:
            break
    return low, high


def _as_they_are(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray(pixels, np.uint8)


def _from_mask(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    mask: NDArray[np.uint8] = np.where(pixels > 0, np.uint8(255), np.uint8(0))
    return mask


def _from_labels(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    return np.concatenate([_from_mask(pixels), _from_mask(pixels == 2)])


def _from_unit(pixels: NDArray[Any], name: str) -> NDArray[np.uint8]:
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 1:
        raise RasterError(
            f"{name} has floating point values from {low:g} to {high:g}; scale the probabilities to 0 to 1, "
            "for example with gdal_translate -scale."
        )
    return np.asarray(np.rint(pixels * 255), np.uint8)
