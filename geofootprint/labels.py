"""Label rasters burnt from footprints: building, and its contour drawn again over it.

A label says what each pixel's centre shows: 0 background, 1 building, 2 contour, 255 no data. The contour is the
building's own outermost pixels, so a label greater than 0 is exactly the burnt building, and the wall between two
touching houses is contour on both sides. That is what lets a network tell them apart.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import rasterio.features
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from geofootprint.errors import OptionError, VectorError
from geofootprint.output import create_geotiff, created_folder, distinct_names, require_folder, require_other
from geofootprint.progress import SILENT, Progress, track
from geofootprint.raster import Grid, ImageReader, open_own_grid, windows_of
from geofootprint.scanline import Axis, Scanner
from geofootprint.vector import parts_of, read_polygons

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = [
    "BACKGROUND",
    "BUILDING",
    "CONTOUR",
    "NODATA",
    "SCHEMES",
    "LabelBurner",
    "LabelsResult",
    "MissedError",
    "burn_labels",
    "footprints_on",
    "rasterize_labels",
]

BACKGROUND, BUILDING, CONTOUR, NODATA = 0, 1, 2, 255

SCHEMES = ("contour", "mask", "channels")
"""Building and contour as classes of one band; building alone; building and contour as a band each."""

CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
"""A pixel and the four beside it."""

BLOCK = 1024
"""Pixels of the side of what a thread burns at a time: whole tiles of the GeoTIFF, and arrays that a cache can hold."""

THREADS = 2
"""More would mostly wait for each other: burning is many short steps of NumPy."""


class LabelBurner:
    """Burns labels of one grid window by window.

    Footprints are turned into the grid's pixel coordinates once and read around each window, so the label of a pixel
    does not depend on how the grid is cut.

    Parameters
    ----------
    footprints : geopandas.GeoDataFrame or sequence of shapely geometries
        Polygons in the grid's CRS (a frame in another CRS is reprojected). Each row is one building.
    grid : Grid
        North-up or not.
    scheme : {"contour", "mask", "channels"}
        "mask" leaves the contour out; "channels" burns as "contour" does.
    contour_width : int
        Pixels from a building's edge inwards that are contour.
    all_touched : bool
        Burn all pixels that a footprint touches and not only those whose centre it holds.

    Raises
    ------
    OptionError
        If the scheme is unknown or the width less than 1.
    """

    def __init__(
        self,
        footprints: gpd.GeoDataFrame | Sequence[Any] | NDArray[Any],
        grid: Grid,
        *,
        scheme: str = "contour",
        contour_width: int = 2,
        all_touched: bool = False,
    ) -> None:
        _check_options(scheme, contour_width)
        self.grid = grid
        self._draws_contours = scheme != "mask"
        self._width = contour_width
        self._all_touched = all_touched
        self._polygons = _polygons_in(footprints, grid)
        self._tree = shapely.STRtree(self._polygons)
        self._scanner = Scanner(self._polygons, self._to_pixels)

    def burn(self, window: Window) -> NDArray[np.uint8]:
        """Return the labels of a window, which may reach beyond the grid.

        Parameters
        ----------
        window : rasterio.windows.Window
            In pixels of the grid.

        Returns
        -------
        uint8 array of shape (height, width)
            0 background, 1 building, 2 contour.
        """
        # Beyond the window, too: a wall there may be a contour here, and a cut is no wall.
        halo = self._width + 1
        column, row = int(window.col_off) - halo, int(window.row_off) - halo
        height, width = int(window.height) + 2 * halo, int(window.width) + 2 * halo
        # A pixel more than needed: the tree's bounds are of map coordinates, the scanner's of rounded pixels.
        around = self.grid.crop(Window(column - 1, row - 1, width + 2, height + 2)).bounds
        found = np.sort(self._tree.query(shapely.box(*around)))
        if not len(found):
            return np.zeros((int(window.height), int(window.width)), np.uint8)
        instances = self._burn_instances(found, column, row, height, width)
        labels = (instances > 0).view(np.uint8)
        if self._draws_contours:
            labels += _draw_contours(instances, labels, self._width)
        return np.ascontiguousarray(labels[halo:-halo, halo:-halo])

    def _to_pixels(self, x: Axis, y: Axis) -> tuple[Axis, Axis]:
        """Return columns and rows, to the last bit as GDAL computes them: that decides about centres on an edge."""
        a, b, c, d, e, f = self.grid.transform[:6]
        if b == d == 0:
            return -c / a + x * (1 / a), -f / e + y * (1 / e)
        a, b, c, d, e, f = (~self.grid.transform)[:6]
        return c + x * a + y * b, f + x * d + y * e

    def _burn_instances(
        self, found: NDArray[np.intp], column: int, row: int, height: int, width: int
    ) -> NDArray[Any]:
        """Return 0 for background and another number for each building, in a type that OpenCV knows."""
        if not self._all_touched:
            instances = self._scanner.burn(found, column, row, height, width)
            return instances.astype(np.float32) if instances.dtype == np.int32 else instances
        polygons = shapely.transform(
            self._polygons[found], lambda xy: np.transpose(self._to_pixels(*xy.T)) - (column, row)
        )
        numbered = zip(polygons, range(1, len(polygons) + 1), strict=True)
        return np.asarray(rasterio.features.rasterize(numbered, (height, width), dtype="float32", all_touched=True))


def _check_options(scheme: str, contour_width: int) -> None:
    if scheme not in SCHEMES:
        raise OptionError(f"The label scheme {scheme!r} is unknown; use one of {', '.join(SCHEMES)}.")
    if contour_width < 1:
        raise OptionError(f"The contour width must be at least 1 px, not {contour_width}.")


def _polygons_in(footprints: Any, grid: Grid) -> NDArray[Any]:
    """Return the single polygons, in the grid's CRS."""
    if hasattr(footprints, "to_crs"):  # a frame, told without importing geopandas
        if footprints.crs is not None and footprints.crs != grid.crs:
            footprints = footprints.to_crs(grid.crs)
        footprints = footprints.geometry.to_numpy()
    return parts_of(np.asarray(footprints, dtype=object))


def _draw_contours(instances: NDArray[Any], building: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Return 1 on the buildings' outermost pixels, `width` of them deep, and 0 elsewhere.

    The outermost pixel has another building or background beside it. That is what cv2.findContours finds and
    cv2.drawContours draws for each building alone, in a tenth of the time.
    """
    differs = cv2.compare(cv2.erode(instances, CROSS), cv2.dilate(instances, CROSS), cv2.CMP_NE)
    outlines = cv2.bitwise_and(differs, building)
    if width > 1:
        outlines = cv2.bitwise_and(cv2.dilate(outlines, _disc(width)), building)
    return np.asarray(outlines, np.uint8)


def _disc(width: int) -> NDArray[np.uint8]:
    """Return the pixels whose centre is less than `width` - 0.5 px away: walls get as wide along diagonals."""
    steps = np.arange(1 - width, width)
    return (np.hypot(steps[:, None], steps) < width - 0.5).astype(np.uint8)


def burn_labels(
    footprints: gpd.GeoDataFrame | Sequence[Any] | NDArray[Any],
    grid: Grid,
    *,
    scheme: str = "contour",
    contour_width: int = 2,
    all_touched: bool = False,
) -> NDArray[np.uint8]:
    """Return the labels of a whole grid.

    Parameters
    ----------
    footprints, grid, scheme, contour_width, all_touched
        As of `LabelBurner`.

    Returns
    -------
    uint8 array of shape (height, width)
        0 background, 1 building, 2 contour. Buildings cut by the grid's edge have no contour along it.
    """
    burner = LabelBurner(
        footprints, grid, scheme=scheme, contour_width=contour_width, all_touched=all_touched
    )
    return burner.burn(Window(0, 0, grid.width, grid.height))


class MissedError(VectorError):
    """Footprints and image show different places, which may be meant where there are several images."""


def footprints_on(path: str | os.PathLike[str], grid: Grid, image: str) -> NDArray[Any]:
    """Read the footprints that meet a grid, in its CRS.

    Parameters
    ----------
    path : path
        Vector file.
    grid : Grid
    image : str
        Whose grid it is, for the error.

    Returns
    -------
    array of shapely.Polygon

    Raises
    ------
    MissingFileError, VectorError
        As of `geofootprint.vector.read_footprints`; also if no footprint meets the grid.
    """
    found = read_polygons(path, crs=grid.crs, bounds=grid.bounds)
    if not len(found):
        raise MissedError(
            f"No footprint of {os.fspath(path)} meets the image {image}; "
            "check that both show the same place and that their coordinate reference systems are right."
        )
    return found


@dataclass(frozen=True)
class LabelsResult:
    """What `rasterize_labels` made.

    Attributes
    ----------
    out : str
        The label raster, or the folder of them.
    labels : tuple of str
        The label rasters.
    footprints : int
        Polygons that met an image; one that met two is counted twice.
    building_share : float
        Share of the valid pixels that are building, contours counted.
    """

    out: str
    labels: tuple[str, ...]
    footprints: int
    building_share: float


def rasterize_labels(
    footprints: str | os.PathLike[str],
    images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    scheme: str = "contour",
    contour_width: int = 2,
    all_touched: bool = False,
    progress: Progress = SILENT,
) -> LabelsResult:
    """Burn footprints on the grids of images, which may be turned any way, and write a label raster for each.

    Parameters
    ----------
    footprints : path
        Vector file, in any CRS.
    images : path or sequence of paths
        What is not valid in them becomes 255, the labels' nodata value.
    out : path
        A .tif file for one image; for several a folder, in which labels have their images' names.
    scheme : {"contour", "mask", "channels"}
        One band of 0 background, 1 building, 2 contour; one of 0 and 1; or the bands building and contour, of 0 and 1.
    contour_width, all_touched
        As of `LabelBurner`.
    progress : Progress
        Gets a warning for each of several images that no footprint meets; it gets no label.

    Returns
    -------
    LabelsResult

    Raises
    ------
    MissingFileError, RasterError, VectorError
        If an input cannot be used, or the footprints miss all images.
    OptionError
        If an option is impossible, or `out` does not fit the number of images.
    OutputError
        If a label cannot be written.
    """
    _check_options(scheme, contour_width)
    paths = [images] if isinstance(images, str | os.PathLike) else list(images)
    if not paths:
        raise OptionError("No image is given; name at least one raster.")
    is_file = Path(out).suffix.lower() in (".tif", ".tiff")
    if is_file != (len(paths) == 1):
        wanted = "a .tif file for one image" if len(paths) == 1 else "a folder for several images"
        raise OptionError(f"The labels cannot go to {os.fspath(out)}; give {wanted}.")
    job = _Job(scheme, contour_width, all_touched, progress)
    if is_file:
        require_folder(out)
        made = [_label_image(footprints, paths[0], Path(out), job)]
    else:
        with created_folder(out, [f"{name}.tif" for name in distinct_names(paths)]) as folder:
            made = _label_images(footprints, paths, folder, job)
    building, valid = sum(one.building for one in made), sum(one.valid for one in made)
    labels = tuple(one.path for one in made)
    return LabelsResult(os.fspath(out), labels, sum(one.footprints for one in made), building / max(1, valid))


@dataclass(frozen=True)
class _Job:
    scheme: str
    contour_width: int
    all_touched: bool
    progress: Progress


@dataclass(frozen=True)
class _Made:
    path: str
    footprints: int
    building: int
    valid: int


def _label_images(
    footprints: str | os.PathLike[str], images: Sequence[str | os.PathLike[str]], folder: Path, job: _Job
) -> list[_Made]:
    made = []
    for image, name in zip(images, distinct_names(images), strict=True):
        try:
            made.append(_label_image(footprints, image, folder / f"{name}.tif", job))
        except MissedError as error:
            job.progress.warn(str(error))
    if not made:
        raise VectorError(
            f"The footprints of {os.fspath(footprints)} meet none of the {len(images)} images; "
            "check that both show the same place and that their coordinate reference systems are right."
        )
    return made


def _label_image(
    footprints: str | os.PathLike[str], image: str | os.PathLike[str], out: Path, job: _Job
) -> _Made:
    require_other(out, image)
    with open_own_grid(image) as reader:
        grid = reader.grid
        found = footprints_on(footprints, grid, reader.name)
        burner = LabelBurner(
            found, grid, scheme=job.scheme, contour_width=job.contour_width, all_touched=job.all_touched
        )
        building = valid = 0
        bands = 2 if job.scheme == "channels" else 1
        windows = windows_of(grid, BLOCK)
        stage = f"Labels of {Path(reader.name).name}"
        # Packbits: known to every reader of TIFF, and for a few large areas a third of the time of deflate.
        with create_geotiff(out, grid, count=bands, nodata=NODATA, compress="packbits") as dataset:
            dataset.descriptions = ("building", "contour") if bands == 2 else ("label",)
            for window, labels in track(_burn_all(burner, windows), stage, len(windows), job.progress):
                missing = 0 if reader.all_valid else _hide_invalid(labels, reader, window)
                valid += labels.size - missing
                building += cv2.countNonZero(labels) - missing
                dataset.write(_as_bands(labels, bands), window=window)
    return _Made(os.fspath(out), len(found), building, valid)


def _hide_invalid(labels: NDArray[np.uint8], reader: ImageReader, window: Window) -> int:
    """Set labels to NODATA where the image has none; return on how many pixels."""
    missing = ~reader.read_valid(window)
    labels[missing] = NODATA
    return int(np.count_nonzero(missing))


def _as_bands(labels: NDArray[np.uint8], bands: int) -> NDArray[np.uint8]:
    if bands == 1:
        return labels[None]
    both = np.stack([labels > 0, labels == CONTOUR]).astype(np.uint8)
    both[:, labels == NODATA] = NODATA
    return both


@contextmanager
def _without_opencv_threads() -> Iterator[None]:
    """Leave the processors to our threads: OpenCV's own would wait for them, busily."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _burn_all(burner: LabelBurner, windows: Sequence[Window]) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
    """Burn windows in threads and yield them in their order; few are in memory at a time."""
    waiting: deque[tuple[Window, Future[NDArray[np.uint8]]]] = deque()
    with _without_opencv_threads(), ThreadPoolExecutor(THREADS) as pool:
        for window in windows:
            waiting.append((window, pool.submit(burner.burn, window)))
            if len(waiting) > 2 * THREADS:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()
