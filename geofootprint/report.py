"""What a person looks at: footprints drawn on an orthophoto, differences of two layers, PNG files.

Pictures are uint8 arrays of shape (3, height, width): red, green, blue. Outlines are placed to a sixteenth of
a pixel, so that what is seen between an outline and a wall is the outline's error and not the drawing's.
"""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

import cv2
import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.windows import Window

from geofootprint.errors import RasterError
from geofootprint.output import atomic_path
from geofootprint.progress import SILENT, Progress
from geofootprint.raster import Grid, open_image

__all__ = [
    "AGREED",
    "ONLY_PREDICTED",
    "ONLY_TRUE",
    "Colour",
    "Picture",
    "dim_outside",
    "draw_comparison",
    "draw_outlines",
    "encode_jpeg",
    "encode_png",
    "read_picture",
    "write_png",
]

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

# Told apart in all common colour blindnesses, and from roofs, which are seldom of these colours.
AGREED: Colour = (0, 200, 120)
ONLY_PREDICTED: Colour = (255, 110, 0)
ONLY_TRUE: Colour = (0, 140, 255)
PAPER: Colour = (246, 246, 244)

SHIFT = 4
"""Binary digits of a pixel's fraction that OpenCV gets."""

MARGIN = 16
"""Pixels around a picture within which lines are kept: far outside, OpenCV's coordinates overflow."""


def draw_outlines(
    image: Picture,
    grid: Grid,
    footprints: gpd.GeoDataFrame | NDArray[Any],
    *,
    colour: Colour = ONLY_PREDICTED,
    width: int = 2,
    casing: bool = True,
) -> Picture:
    """Draw the outlines of polygons, holes included, with smooth edges.

    Parameters
    ----------
    image : uint8 array of shape (3, H, W)
        Not changed.
    grid : Grid
        Where the image lies.
    footprints : geopandas.GeoDataFrame, or array of polygons in the grid's CRS
    colour : (red, green, blue)
    width : int
        Of the line, in pixels.
    casing : bool
        A thin dark rim keeps the line legible on bright roofs.

    Returns
    -------
    uint8 array of shape (3, H, W)
    """
    lines = shapely.clip_by_rect(shapely.boundary(_polygons_in(grid, footprints)), *_bounds_around(grid))
    paths = _to_paths(shapely.get_parts(lines), grid)
    canvas = _to_canvas(image)
    if casing:
        shadow = cv2.polylines(canvas.copy(), paths, False, (0, 0, 0), width + 2, cv2.LINE_AA, SHIFT)
        canvas = cv2.addWeighted(shadow, 0.5, canvas, 0.5, 0)
    return _to_picture(cv2.polylines(canvas, paths, False, colour, width, cv2.LINE_AA, SHIFT))


def draw_comparison(
    image: Picture,
    grid: Grid,
    predicted: gpd.GeoDataFrame | NDArray[Any],
    truth: gpd.GeoDataFrame | NDArray[Any],
    *,
    opacity: float = 0.45,
) -> Picture:
    """Tint what both layers have, what is only predicted, and what is only true.

    Parameters
    ----------
    image : uint8 array of shape (3, H, W)
        Not changed.
    grid : Grid
        Where the image lies.
    predicted, truth : geopandas.GeoDataFrame, or array of polygons in the grid's CRS
    opacity : float
        Of the tint where both agree, 0 to 1; differences get twice as much, for they are what is looked for.

    Returns
    -------
    uint8 array of shape (3, H, W)
    """
    first, second = _coverage(predicted, grid), _coverage(truth, grid)
    both = np.minimum(first, second)
    strong = min(1.0, 2 * opacity)
    tints = (
        (AGREED, opacity * both), (ONLY_PREDICTED, strong * (first - both)), (ONLY_TRUE, strong * (second - both))
    )
    tinted: Picture = image.copy()
    for colour, share in tints:
        touched = share > 0
        before, tint = tinted[:, touched].astype(np.float32), np.array(colour, np.float32)[:, None]
        tinted[:, touched] = np.rint(before + (tint - before) * share[touched])
    return tinted


def dim_outside(image: Picture, grid: Grid, area: gpd.GeoDataFrame | NDArray[Any]) -> Picture:
    """Fade what is outside an area and draw the area's border.

    Parameters
    ----------
    image : uint8 array of shape (3, H, W)
        Not changed.
    grid : Grid
        Where the image lies.
    area : geopandas.GeoDataFrame, or array of polygons in the grid's CRS

    Returns
    -------
    uint8 array of shape (3, H, W)
    """
    share = 0.65 * (1 - _coverage(area, grid))
    faded = np.rint(image + (_as_pixel(PAPER) - image) * share).astype(np.uint8)
    return draw_outlines(faded, grid, area, colour=(90, 90, 90), casing=False)


def _polygons_in(grid: Grid, footprints: gpd.GeoDataFrame | NDArray[Any]) -> NDArray[Any]:
    if isinstance(footprints, gpd.GeoDataFrame):
        footprints = footprints.geometry.to_crs(grid.crs)
    return np.array(footprints, object)


def _coverage(footprints: gpd.GeoDataFrame | NDArray[Any], grid: Grid) -> NDArray[np.float32]:
    """Share of each pixel that is covered, soft at the edges."""
    mask = np.zeros(grid.shape, np.uint8)
    clipped = shapely.get_parts(shapely.clip_by_rect(_polygons_in(grid, footprints), *_bounds_around(grid)))
    polygons = clipped[shapely.get_type_id(clipped) == shapely.GeometryType.POLYGON]
    rings, owner = shapely.get_rings(polygons, return_index=True)
    paths = _to_paths(rings, grid)
    # One call a polygon: in a common one, two that overlap would cancel out as a hole does.
    starts = np.searchsorted(owner, np.arange(len(polygons) + 1))
    for start, end in pairwise(starts):
        cv2.fillPoly(mask, paths[start:end], 255, cv2.LINE_AA, SHIFT)
    return np.divide(mask, 255, dtype=np.float32)


def _bounds_around(grid: Grid) -> tuple[float, float, float, float]:
    return grid.crop(Window(-MARGIN, -MARGIN, grid.width + 2 * MARGIN, grid.height + 2 * MARGIN)).bounds


def _to_paths(lines: NDArray[Any], grid: Grid) -> list[NDArray[np.int32]]:
    """Bring lines to OpenCV's fixed-point pixels, whose whole numbers are the pixels' centres."""
    xy, owner = shapely.get_coordinates(lines, return_index=True)
    a, b, c, d, e, f = (~grid.transform)[:6]
    pixels = xy @ np.array([[a, d], [b, e]]) + (c - 0.5, f - 0.5)
    fixed = np.rint(pixels * (1 << SHIFT)).astype(np.int32)
    starts = np.searchsorted(owner, np.arange(1, len(lines)))
    return np.split(fixed, starts) if len(lines) else []


def _as_pixel(colour: Colour) -> NDArray[np.float32]:
    return np.array(colour, np.float32).reshape(3, 1, 1)


def _to_canvas(image: Picture) -> NDArray[Any]:
    return np.ascontiguousarray(np.moveaxis(image, 0, -1))


def _to_picture(canvas: NDArray[Any]) -> Picture:
    return np.ascontiguousarray(np.moveaxis(canvas, -1, 0))


def read_picture(
    bounds: tuple[float, float, float, float],
    crs: CRS,
    *,
    image: str | os.PathLike[str] | None = None,
    size: int = 1400,
    progress: Progress = SILENT,
) -> tuple[Picture, Grid]:
    """Return an orthophoto's cut-out to draw on, or a white sheet.

    Parameters
    ----------
    bounds : (west, south, east, north)
        In `crs`.
    crs : rasterio.crs.CRS
        True to length, in metres.
    image : path, optional
        Orthophoto; where it has no data the picture has the colour of paper. White without it.
    size : int
        Pixels of the longer side, within 1 %.
    progress : Progress
        Gets a warning where bands are left out.

    Returns
    -------
    picture : uint8 array of shape (3, H, W)
    grid : Grid
        In the image's projected CRS, or in `crs` without image.

    Raises
    ------
    MissingFileError, RasterError
        If the image cannot be used, or is elsewhere.
    """
    west, south, east, north = bounds
    gsd = max(east - west, north - south) / size
    if image is None:
        height, width = (max(1, round(side / gsd)) for side in (north - south, east - west))
        grid = Grid(crs, Affine(gsd, 0, west, 0, -gsd, north), width, height)
        return np.full((3, *grid.shape), 255, np.uint8), grid
    with open_image(image, gsd=gsd, progress=progress) as reader:
        window = _window_of(reader.grid, bounds, crs)
        pixels, valid = reader.read(window)
        if not valid.any():
            raise RasterError(f"{reader.name} shows nothing of the area that is scored; check --image.")
        return _to_bytes(pixels, valid), reader.grid.crop(window)


def _window_of(grid: Grid, bounds: tuple[float, float, float, float], crs: CRS) -> Window:
    ring = gpd.GeoSeries([shapely.segmentize(shapely.box(*bounds), (bounds[2] - bounds[0]) / 8)], crs=crs)
    west, south, east, north = ring.to_crs(grid.crs).total_bounds
    (left, upper), (right, lower) = (~grid.transform * xy for xy in ((west, north), (east, south)))
    return Window(round(left), round(upper), max(1, round(right - left)), max(1, round(lower - upper)))


def _to_bytes(pixels: NDArray[Any], valid: NDArray[np.bool_]) -> Picture:
    """Stretch anything but bytes to what a screen shows, and fill what is not valid with paper."""
    if pixels.dtype != np.uint8:
        low, high = np.percentile(pixels[:, valid], (1, 99))
        pixels = np.clip((pixels - low) / max(high - low, 1e-9) * 255, 0, 255)
    return np.where(valid, pixels, _as_pixel(PAPER)).astype(np.uint8)


def encode_png(picture: Picture) -> bytes:
    """Return a picture of shape (3, H, W) as the bytes of a PNG file."""
    return bytes(cv2.imencode(".png", _to_canvas(picture[::-1]), [cv2.IMWRITE_PNG_COMPRESSION, 7])[1])


def encode_jpeg(picture: Picture, *, quality: int = 88) -> bytes:
    """Return a picture of shape (3, H, W) as the bytes of a JPEG file with full colour resolution.

    JPEG's usual half resolution of colour would blur thin coloured lines.
    """
    options = [
        cv2.IMWRITE_JPEG_QUALITY, quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    return bytes(cv2.imencode(".jpg", _to_canvas(picture[::-1]), options)[1])


def write_png(path: str | os.PathLike[str], picture: Picture) -> None:
    """Write a picture of shape (3, H, W); the file appears when it is complete.

    Raises
    ------
    OutputError
        If the folder does not exist or cannot be written to.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(encode_png(picture))
