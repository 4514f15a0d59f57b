"""Grids, and reading and writing rasters by window.

A raster is never held whole: `ImageReader` gives windows of an orthophoto on a grid of the wanted ground sampling
distance, `create_geotiff` takes windows of a result. Both know which pixels are valid.
"""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.warp import calculate_default_transform
from rasterio.windows import Window

from geofootprint.errors import MissingFileError, OptionError, RasterError
from geofootprint.output import BLOCK_CACHE_MB
from geofootprint.progress import SILENT, Progress
from geofootprint.resampling import Stretch, Warp

__all__ = [
    "Grid",
    "ImageReader",
    "file_name",
    "open_image",
    "open_own_grid",
    "open_raster",
    "read_grid",
    "windows_of",
]

VIRTUAL = re.compile(r"/vsi|[A-Za-z0-9_+]{2,}:")
"""Paths that only GDAL can tell to be missing: ``/vsicurl/...``, ``https://...``, ``GTIFF_DIR:2:...``; not ``C:``."""
SEEN_OTHERWISE = "vrt://"
"""Start of paths by which GDAL shows a raster with other bands or another CRS than its file says."""
SAME_GSD = 0.01
"""Ground sampling distances that differ by less than this share are taken as equal: no resampling."""


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a raster lie.

    Parameters
    ----------
    crs : rasterio.crs.CRS
        Coordinate reference system.
    transform : affine.Affine
        From (column, row) of a pixel's upper left corner to map coordinates.
    width, height : int
        Size in pixels.
    """

    crs: CRS
    transform: Affine
    width: int
    height: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, as of an array."""
        return self.height, self.width

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in map units, right for rotated grids too."""
        corners = [self.transform * xy for xy in ((0, 0), (self.width, 0), (0, self.height), (self.width, self.height))]
        xs, ys = zip(*corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def is_north_up(self) -> bool:
        """True if rows run east and columns run south, with square pixels or not."""
        t = self.transform
        return bool(t.b == 0 and t.d == 0 and t.a > 0 and t.e < 0)

    @property
    def gsd(self) -> float:
        """Ground sampling distance in true metres: geometric mean of a pixel's two sides at the grid's centre.

        Measured on the ellipsoid, so an EPSG:3857 pixel of 0.15 map units at 28° north has 0.132 m.
        """
        along_row, along_column = self.pixel_sides
        return math.sqrt(along_row * along_column)

    @cached_property
    def pixel_sides(self) -> tuple[float, float]:
        """True metres on the ellipsoid from a pixel at the grid's centre to the next in its row, and in its column."""
        try:
            to_degrees = pyproj.Transformer.from_crs(self.crs.to_wkt(), "EPSG:4326", always_xy=True)
        except pyproj.exceptions.ProjError as error:
            raise RasterError(
                f"The raster's CRS {self.crs.to_string()} has no place on the Earth; assign the true one."
            ) from error
        column, row = self.width / 2, self.height / 2
        ends = [self.transform * xy for xy in ((column, row), (column + 1, row), (column, row + 1))]
        lon, lat = to_degrees.transform([x for x, _ in ends], [y for _, y in ends])
        # From degrees to degrees nothing is computed, and so nothing found to be wrong.
        if not np.all(np.isfinite([*lon, *lat])) or np.max(np.abs(lat)) > 90 or np.max(np.abs(lon)) > 540:
            raise RasterError(
                f"The raster's position ({ends[0][0]:.6g}, {ends[0][1]:.6g}) is outside its CRS {self.crs.to_string()}; "
                "assign the CRS it was made in."
            )
        _, _, sides = pyproj.Geod(ellps="WGS84").inv([lon[0]] * 2, [lat[0]] * 2, lon[1:], lat[1:])
        return float(sides[0]), float(sides[1])

    def crop(self, window: Window) -> Grid:
        """Return the grid of a window; the window may reach beyond the raster."""
        transform = self.transform * Affine.translation(window.col_off, window.row_off)
        return Grid(self.crs, transform, int(window.width), int(window.height))

    def at_gsd(self, gsd: float) -> Grid:
        """Return a north-up grid over the same ground with square pixels of `gsd` metres.

        It keeps the origin and the CRS of a projected north-up grid. A geographic grid goes to its UTM zone, since
        degrees are no length; a rotated one is turned.
        """
        if not 0 < gsd < math.inf:
            raise OptionError(f"The ground sampling distance must be more than 0 m, not {gsd:g}.")
        crs = _utm_zone(self) if self.crs.is_geographic else self.crs
        if crs == self.crs and self.is_north_up:
            scale = gsd / self.gsd
            pixel = math.sqrt(self.transform.a * -self.transform.e) * scale
            west, south, east, north = self.bounds
            width, height = round((east - west) / pixel), round((north - south) / pixel)
            transform = Affine(pixel, 0, west, 0, -pixel, north)
        else:
            near = Grid(crs, *_warped(self, crs))
            transform, width, height = _warped(self, crs, gsd / near.gsd * near.transform.a)
        return Grid(crs, transform, max(1, width), max(1, height))


def _warped(grid: Grid, crs: CRS, resolution: float | None = None) -> tuple[Affine, int, int]:
    # A rotated grid within its own CRS has no bounds-based answer from GDAL: its corners do.
    if crs == grid.crs:
        west, south, east, north = grid.bounds
        pixel = resolution or math.sqrt(abs(grid.transform.determinant))
        return (
            Affine(pixel, 0, west, 0, -pixel, north),
            math.ceil((east - west) / pixel),
            math.ceil((north - south) / pixel),
        )
    transform, width, height = calculate_default_transform(
        grid.crs, crs, grid.width, grid.height, *grid.bounds, resolution=resolution
    )
    return transform, int(width), int(height)


def _utm_zone(grid: Grid) -> CRS:
    west, south, east, north = grid.bounds
    zone = min(60, max(1, math.floor(((west + east) / 2 + 180) / 6) + 1))
    return CRS.from_epsg((32600 if south + north >= 0 else 32700) + zone)


def read_grid(dataset: Any, name: str) -> Grid:
    """Return the grid of an open rasterio dataset.

    Raises
    ------
    RasterError
        If the dataset has no CRS or no transform.
    """
    try:
        known = dataset.crs is not None
    except CRSError as error:
        raise RasterError(f"{name} has a coordinate reference system that is not understood ({error}).") from error
    if not known:
        raise RasterError(f"{name} has no coordinate reference system; assign one, for example with gdal_edit.py -a_srs.")
    if dataset.transform == Affine.identity():
        raise RasterError(f"{name} has no position on the ground; georeference it or put its world file beside it.")
    return Grid(dataset.crs, dataset.transform, dataset.width, dataset.height)


def file_name(path: str | os.PathLike[str]) -> str:
    """Return the name of a raster's file, also of one inside GDAL's ``vrt://PATH?bands=3,2,1&a_srs=EPSG:31254``.

    Examples
    --------
    >>> file_name("vrt:///data/ortho.tif?a_srs=EPSG:31254")
    'ortho.tif'
    """
    name = os.fspath(path)
    if name.startswith(SEEN_OTHERWISE):
        name = name[len(SEEN_OTHERWISE) :].partition("?")[0]
    return Path(name).name


@contextmanager
def open_raster(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Open a raster for reading; failures, also those while it is read, name the file.

    Yields
    ------
    rasterio.DatasetReader

    Raises
    ------
    MissingFileError
        If nothing is at `path`. GDAL's virtual paths (``/vsicurl/...``) and URLs are left to GDAL.
    RasterError
        If the file is no raster, or is damaged.
    """
    name = os.fspath(path)
    if not VIRTUAL.match(name) and not Path(name).exists():
        raise MissingFileError(f"{name} does not exist; check the path of the raster.")
    try:
        with rasterio.Env(GDAL_CACHEMAX=BLOCK_CACHE_MB * 2**20), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(name) as dataset:
                yield dataset
    except RasterioIOError as error:
        raise RasterError(f"{name} cannot be read as a raster: it is damaged or of an unknown format ({error}).") from error


class ImageReader:
    """Windows of an orthophoto on a grid, with the mask of its valid pixels.

    Made by `open_image`; use as a context manager.

    Parameters
    ----------
    dataset, name, grid
        An open rasterio dataset, its name for errors, and the grid to read on.
    bands, alpha : tuple of int, int or None
        Colour bands from 1, and the band that is 0 where not valid.
    resampling : Stretch or Warp, optional
        From the dataset's grid to `grid`, where they differ.

    Attributes
    ----------
    name : str
        The path as given.
    grid : Grid
        The grid of what `read` returns; differs from the file's where that is resampled.
    count : int
        Number of colour bands read.
    dtype : numpy.dtype
        Type of the pixels, as in the file.
    all_valid : bool
        True if the file can have no holes: no nodata value, mask or alpha band, and no type with NaN.
    """

    def __init__(
        self,
        dataset: Any,
        name: str,
        grid: Grid,
        bands: tuple[int, ...],
        alpha: int | None,
        resampling: Stretch | Warp | None = None,
    ) -> None:
        self.name = name
        self.grid = grid
        self.count = len(bands)
        self.dtype = np.dtype(dataset.dtypes[bands[0] - 1])
        self._dataset = dataset
        self._bands = bands
        self._alpha = alpha
        self._has_mask = MaskFlags.all_valid not in dataset.mask_flag_enums[bands[0] - 1]
        self.all_valid = not self._has_mask and alpha is None and self.dtype.kind != "f"
        self._resampling = resampling

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window, which may reach beyond the raster.

        Parameters
        ----------
        window : rasterio.windows.Window
            In whole pixels of `grid`.

        Returns
        -------
        image : array of shape (count, height, width)
            0 where not valid.
        valid : bool array of shape (height, width)
            True where the raster has data.

        Raises
        ------
        RasterError
            If the file is damaged there.
        """
        column, row, columns, rows = (int(value) for value in window.flatten())
        image = np.zeros((self.count, rows, columns), self.dtype)
        valid = np.zeros((rows, columns), np.bool_)
        top, left = max(0, -row), max(0, -column)
        bottom, right = min(rows, self.grid.height - row), min(columns, self.grid.width - column)
        if top < bottom and left < right:
            inside = Window(column + left, row + top, right - left, bottom - top)
            resampling = self._resampling
            read = self._read_pixels(inside) if resampling is None else resampling.read(self._read_pixels, inside)
            image[:, top:bottom, left:right], valid[top:bottom, left:right] = read
        return image, valid

    def read_valid(self, window: Window) -> NDArray[np.bool_]:
        """Read only which pixels of a window inside the raster are valid, without the colours where that is possible."""
        if self._resampling is not None or self.dtype.kind == "f":
            return self.read(window)[1]
        try:
            return self._read_mask(window)
        except RasterioError as error:
            raise RasterError(f"{self.name} is damaged: the mask at {window} cannot be read ({error}).") from error

    def _read_pixels(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window of the dataset's own grid, all of it inside."""
        try:
            valid = self._read_mask(window)
            if not valid.any():  # a mosaic may be empty for the most part
                return np.zeros((self.count, *valid.shape), self.dtype), valid
            pixels = self._dataset.read(self._bands, window=window)
        except RasterioError as error:
            raise RasterError(
                f"{self.name} is damaged: the {window.width} x {window.height} pixels from column {window.col_off} and row "
                f"{window.row_off} cannot be read ({error.__cause__ or error}); give a whole copy of it."
            ) from error
        if pixels.dtype.kind == "f":
            valid &= np.isfinite(pixels).all(axis=0)
        if not valid.all():
            pixels[:, ~valid] = 0
        return pixels, valid

    def _read_mask(self, window: Window) -> NDArray[np.bool_]:
        valid = np.ones((int(window.height), int(window.width)), np.bool_)
        if self._has_mask:
            masks = self._dataset.read_masks(self._bands, window=window)
            # A nodata value of 0 makes a hole only where all bands are 0: pure red has no green. Of measured values,
            # as of heights, one that is missing is no colour.
            valid = masks.any(axis=0) if self.dtype.kind == "u" else masks.all(axis=0)
        if self._alpha is not None:
            valid &= self._dataset.read(self._alpha, window=window) > 0
        return valid

    def __enter__(self) -> ImageReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._dataset.close()


@contextmanager
def open_image(
    path: str | os.PathLike[str], *, gsd: float | None = None, count: int | None = 3, progress: Progress = SILENT
) -> Iterator[ImageReader]:
    """Open an orthophoto to be read on a grid of a given ground sampling distance.

    Coarser than the file means area averages, finer means bilinear interpolation; without `gsd`, or where it is the
    file's own within 1 %, pixels are read as they are. Geographic and rotated rasters are warped to a north-up
    metric grid. Nodata values, internal masks and alpha bands all end in the reader's mask.

    Parameters
    ----------
    path : path
        Anything GDAL opens.
    gsd : float, optional
        Metres per pixel on the ground.
    count : int or None
        Colour bands wanted; None for all of them.
    progress : Progress
        Gets a warning where bands are left out.

    Yields
    ------
    ImageReader

    Raises
    ------
    MissingFileError, RasterError
        If the file cannot be used; fewer bands than `count` count as such.
    OptionError
        If `gsd` is not more than 0.
    """
    name = os.fspath(path)
    with open_raster(path) as source:
        own = read_grid(source, name)
        bands, alpha = _choose_bands(source, name, count, progress)
        grid = _grid_to_read(own, gsd)
        resampling = None if grid == own else _resampling(own, grid)
        with ImageReader(source, name, grid, bands, alpha, resampling) as reader:
            yield reader


@contextmanager
def open_own_grid(path: str | os.PathLike[str]) -> Iterator[ImageReader]:
    """Open a raster of any bands to be read pixel by pixel on its own grid, whichever way that is turned.

    Yields
    ------
    ImageReader

    Raises
    ------
    MissingFileError, RasterError
        If the file cannot be used.
    """
    name = os.fspath(path)
    with open_raster(path) as source:
        grid = read_grid(source, name)
        alphas = _alphas(source)
        bands = tuple(i for i in source.indexes if i not in alphas) or source.indexes
        with ImageReader(source, name, grid, bands, alphas[0] if alphas else None) as reader:
            yield reader


def _grid_to_read(own: Grid, gsd: float | None) -> Grid:
    if own.is_north_up and not own.crs.is_geographic:
        square = abs(own.transform.a / -own.transform.e - 1) < SAME_GSD
        if gsd is None or (square and abs(gsd / own.gsd - 1) < SAME_GSD):
            return own
    return own.at_gsd(own.gsd if gsd is None else gsd)


def _resampling(own: Grid, grid: Grid) -> Stretch | Warp:
    if own.crs == grid.crs and own.is_north_up:
        return Stretch((grid.transform.e / own.transform.e, grid.transform.a / own.transform.a), own.shape)
    to_own = pyproj.Transformer.from_crs(grid.crs.to_wkt(), own.crs.to_wkt(), always_xy=True)

    def locate(columns: NDArray[np.float64], rows: NDArray[np.float64]) -> tuple[Any, Any]:
        a, b, c, d, e, f = grid.transform[:6]
        x, y = to_own.transform(a * columns + b * rows + c, d * columns + e * rows + f)
        a, b, c, d, e, f = (~own.transform)[:6]
        return a * x + b * y + c, d * x + e * y + f

    return Warp(locate, grid.gsd / own.gsd, own.shape)


def _alphas(dataset: Any) -> list[int]:
    return [i for i, meaning in enumerate(dataset.colorinterp, start=1) if meaning == ColorInterp.alpha]


def _choose_bands(
    dataset: Any, name: str, count: int | None, progress: Progress
) -> tuple[tuple[int, ...], int | None]:
    """Return the 1-based colour bands and the alpha band, if there is one."""
    alphas = _alphas(dataset)
    if any(meaning == ColorInterp.palette for meaning in dataset.colorinterp):
        raise RasterError(f"{name} has a colour table; expand it to red, green and blue with gdal_translate -expand rgb.")
    colours = [i for i in range(1, dataset.count + 1) if i not in alphas]
    count = count or max(1, len(colours))
    if len(colours) < count:
        raise RasterError(f"{name} has {len(colours)} colour band(s), but {count} are needed; give an image with {count}.")
    if len(colours) > count:
        left_out = ", ".join(str(i) for i in colours[count:])
        progress.warn(f"{name} has {len(colours)} colour bands; band(s) {left_out} are left out.")
    return tuple(colours[:count]), alphas[0] if alphas else None


def windows_of(grid: Grid, size: int) -> list[Window]:
    """Cut a grid into windows of at most `size` by `size` pixels, row by row, without overlap."""
    return [
        Window(column, row, min(size, grid.width - column), min(size, grid.height - row))
        for row in range(0, grid.height, size)
        for column in range(0, grid.width, size)
    ]
