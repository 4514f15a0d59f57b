"""Scores of one layer of footprints against another: pixels by windows, objects, outlines of pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.windows import Window

from geofootprint.errors import OptionError, VectorError
from geofootprint.labels import LabelBurner
from geofootprint.metrics import (
    Counts,
    Mask,
    Matches,
    count_covering,
    count_pixels,
    count_vertices,
    find_overlaps,
    inner_band,
    match_polygons,
    polis,
)
from geofootprint.progress import SILENT, Progress, track
from geofootprint.raster import Grid, windows_of

__all__ = ["BOUNDARY_WIDTH", "IOU_THRESHOLD", "RATIOS", "Cells", "Scores", "score_footprints"]

BOUNDARY_WIDTH = 1.0
"""Metres inside an outline that count for the boundary IoU; the paper's 2 % of a diagonal is no length."""

IOU_THRESHOLD = 0.5
"""Smallest intersection over union of a pair of objects."""

RATIOS = (
    "iou", "precision", "recall", "f1", "boundary_iou",
    "object_precision", "object_recall", "object_f1", "matched_iou",
)
"""Scores from 0 to 1 of which more is better: those that can have a mark."""

CELL_SIZE = 60.0
"""Metres of the squares whose scores choose the closer views: a dozen houses."""

WINDOW = 2048
"""Pixels a side that are burnt at once."""


@dataclass(frozen=True)
class Cells:
    """Pixels counted in squares, those only that hold a building.

    Parameters
    ----------
    bounds : float array of shape (n, 4)
        West, south, east, north.
    counts : int array of shape (n, 3)
        True positive, false positive, false negative.
    """

    bounds: NDArray[np.float64]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """How well one layer of footprints agrees with another.

    Parameters
    ----------
    pixels, boundary, objects : Counts
        Of all pixels, of those up to `BOUNDARY_WIDTH` inside an outline, of footprints.
    predicted, truth : int
        Number of footprints whose representative point lies in the area.
    merged, split : int
        Predictions that hold several buildings; buildings that are cut into several predictions.
    matched_iou : float, optional
        Mean intersection over union of the pairs; None without pairs, as are the next three.
    polis : float, optional
        Mean PoLiS distance of the pairs, in metres.
    vertex_ratio : float, optional
        Mean over the pairs of predicted to true number of vertices.
    total_vertex_ratio : float, optional
        Vertices of all predictions in pairs to those of their partners.
    area_m2 : float
        Of the ground that was scored.
    cells : Cells
        Where it is good and where not.
    status : geopandas.GeoDataFrame
        Every building with `status` found, missed or false, and the pair's `iou`.
    """

    pixels: Counts
    boundary: Counts
    objects: Counts
    predicted: int
    truth: int
    merged: int
    split: int
    matched_iou: float | None
    polis: float | None
    vertex_ratio: float | None
    total_vertex_ratio: float | None
    area_m2: float
    cells: Cells
    status: gpd.GeoDataFrame

    @property
    def ratios(self) -> dict[str, float | None]:
        """Return the scores of `RATIOS` by their names."""
        pixels, objects = self.pixels, self.objects
        values = (
            pixels.iou, pixels.precision, pixels.recall, pixels.f1, self.boundary.iou,
            objects.precision, objects.recall, objects.f1, self.matched_iou,
        )
        return dict(zip(RATIOS, values, strict=True))


def score_footprints(
    predicted: gpd.GeoDataFrame,
    truth: gpd.GeoDataFrame,
    *,
    area: Any = None,
    gsd: float = 0.15,
    progress: Progress = SILENT,
) -> Scores:
    """Compare footprints with the truth.

    Both layers are cut at the border of the area first, so that a prediction which ends there, as one made
    with an area of interest does, is compared with the same part of its building. A building, or a prediction
    without a partner, counts where the representative point of its whole polygon lies in the area; a
    prediction whose partner lies outside counts neither way. PoLiS and vertices are taken from pairs that the
    border does not cut.

    Parameters
    ----------
    predicted, truth : geopandas.GeoDataFrame
        Valid single polygons in one CRS that is true to length, in metres. A column `confidence` of the
        predictions decides who is paired first.
    area : shapely.Polygon or shapely.MultiPolygon, optional
        Ground that counts, in that CRS; the bounding box of both layers by default.
    gsd : float
        Metres per pixel at which pixels are counted, on a grid whose lines are at its multiples.
    progress : Progress

    Returns
    -------
    Scores

    Raises
    ------
    OptionError
        If `gsd` is not positive.
    VectorError
        If the area holds no footprint of either layer.
    """
    if not gsd > 0 or not math.isfinite(gsd):
        raise OptionError(f"The ground sampling distance of --gsd must be more than 0 m, not {gsd:g}.")
    predicted, truth = _meeting(predicted, area), _meeting(truth, area)
    if predicted.empty and truth.empty:
        raise VectorError("Neither layer has a footprint in the area of interest; check --aoi.")
    bounds = _joint_bounds(predicted, truth)
    shapes = _cut(predicted.geometry.array, area), _cut(truth.geometry.array, area)
    pixels, boundary, cells = _score_pixels(
        shapes, area, _aligned_grid(bounds, gsd, CRS.from_user_input(truth.crs)), progress
    )
    return Scores(
        pixels=pixels,
        boundary=boundary,
        cells=cells,
        area_m2=float(shapely.area(shapely.box(*bounds) if area is None else area)),
        **_score_objects(predicted, truth, shapes, area),
    )


def _meeting(footprints: gpd.GeoDataFrame, area: Any) -> gpd.GeoDataFrame:
    if area is None:
        return footprints
    shapely.prepare(area)
    return footprints[shapely.intersects(area, footprints.geometry.array)].reset_index(drop=True)


def _joint_bounds(predicted: gpd.GeoDataFrame, truth: gpd.GeoDataFrame) -> tuple[float, float, float, float]:
    every = np.concatenate([layer.bounds.to_numpy().reshape(-1, 4) for layer in (predicted, truth)])
    (west, south), (east, north) = every[:, :2].min(axis=0), every[:, 2:].max(axis=0)
    return float(west), float(south), float(east), float(north)


def _aligned_grid(bounds: tuple[float, float, float, float], gsd: float, crs: CRS) -> Grid:
    """Lay a grid on multiples of the pixel, so that a pixel's place does not depend on what else is there."""
    left, bottom = math.floor(bounds[0] / gsd), math.floor(bounds[1] / gsd)
    right, top = math.ceil(bounds[2] / gsd), math.ceil(bounds[3] / gsd)
    transform = Affine(gsd, 0, left * gsd, 0, -gsd, top * gsd)
    return Grid(crs, transform, max(1, right - left), max(1, top - bottom))


def _cut(polygons: NDArray[Any], area: Any) -> NDArray[Any]:
    """Return the parts of polygons inside an area; those that its border does not cross stay as they are."""
    shapes = np.array(polygons, object)
    crossed = _crossed(shapes, area)
    parts = shapely.intersection(shapes[crossed], area)
    # A polygon that also touches the border from inside becomes a collection with lines: GEOS refuses those.
    mixed = shapely.get_type_id(parts) == shapely.GeometryType.GEOMETRYCOLLECTION
    parts[mixed] = [
        shapely.multipolygons([part for part in shape.geoms if part.geom_type == "Polygon"])
        for shape in parts[mixed]
    ]
    shapes[crossed] = parts
    return shapes


def _crossed(polygons: NDArray[Any], area: Any) -> Mask:
    if area is None:
        return np.zeros(len(polygons), np.bool_)
    return cast("Mask", ~shapely.covers(area, polygons))


def _score_pixels(
    shapes: tuple[NDArray[Any], NDArray[Any]], area: Any, grid: Grid, progress: Progress
) -> tuple[Counts, Counts, Cells]:
    """Burn both layers window by window and count; windows without any footprint cost nothing."""
    gsd = grid.transform.a
    width = max(1, round(BOUNDARY_WIDTH / gsd))
    cell = max(64, round(CELL_SIZE / gsd))
    burners = [LabelBurner(layer, grid, scheme="mask") for layer in shapes]
    inside = None if area is None else LabelBurner([area], grid, scheme="mask")
    # The rim is for the bands: how far a pixel is from an outline depends on what is beyond the window.
    core = (slice(width, -width), slice(width, -width))
    pixels, boundary, found = Counts(), Counts(), []
    windows = windows_of(grid, cell * max(1, WINDOW // cell))
    for window in track(windows, "scoring pixels", len(windows), progress):
        wide = _widened(window, width)
        first, second = (burner.burn(wide).view(np.bool_) for burner in burners)
        if not (first.any() or second.any()):
            continue
        if inside is not None and not shapely.covers(area, shapely.box(*grid.crop(wide).bounds)):
            within = inside.burn(wide).view(np.bool_)
            first, second = first & within, second & within
        pixels += count_pixels(first[core], second[core])
        boundary += count_pixels(inner_band(first, width)[core], inner_band(second, width)[core])
        found.append(_count_in_cells(first[core], second[core], grid.crop(window), cell))
    return pixels, boundary, _join(found)


def _widened(window: Window, rim: int) -> Window:
    return Window(window.col_off - rim, window.row_off - rim, window.width + 2 * rim, window.height + 2 * rim)


def _count_in_cells(first: Mask, second: Mask, grid: Grid, cell: int) -> Cells:
    rows, columns = range(0, grid.height, cell), range(0, grid.width, cell)
    both = first & second
    sums = [
        np.add.reduceat(np.add.reduceat(mask, columns, axis=1, dtype=np.int32), rows, axis=0, dtype=np.int64)
        for mask in (both, first & ~second, second & ~first)
    ]
    counts = np.stack(sums, axis=-1).reshape(-1, 3)
    side = cell * grid.transform.a
    west, _, _, north = grid.bounds
    left, upper = np.meshgrid(west + side * np.arange(len(columns)), north - side * np.arange(len(rows)))
    bounds = np.stack([left, upper - side, left + side, upper], axis=-1).reshape(-1, 4)
    held = counts.any(axis=1)
    return Cells(bounds[held], counts[held])


def _join(cells: list[Cells]) -> Cells:
    bounds = np.concatenate([np.empty((0, 4)), *(part.bounds for part in cells)])
    counts = np.concatenate([np.empty((0, 3), np.int64), *(part.counts for part in cells)])
    return Cells(bounds, counts)


def _score_objects(
    predicted: gpd.GeoDataFrame, truth: gpd.GeoDataFrame, shapes: tuple[NDArray[Any], NDArray[Any]], area: Any
) -> dict[str, Any]:
    overlaps = find_overlaps(*shapes)
    matches = match_polygons(overlaps, confidence=_confidence(predicted), threshold=IOU_THRESHOLD)
    mine, theirs = _points_inside(predicted, area), _points_inside(truth, area)
    # A pair belongs to where its building is.
    kept = theirs[matches.truth]
    pairs = Matches(matches.predicted[kept], matches.truth[kept], matches.iou[kept])
    false = mine.copy()
    false[matches.predicted] = False
    missed = theirs.copy()
    missed[pairs.truth] = False
    inner = theirs[overlaps.truth] & mine[overlaps.predicted]
    left, right, shared = overlaps.predicted[inner], overlaps.truth[inner], overlaps.area[inner]
    return {
        "objects": Counts(len(pairs.truth), int(false.sum()), int(missed.sum())),
        "predicted": int(mine.sum()),
        "truth": int(theirs.sum()),
        "merged": count_covering(left, right, shared, shapely.area(shapes[1])),
        "split": count_covering(right, left, shared, shapely.area(shapes[0])),
        "matched_iou": float(pairs.iou.mean()) if len(pairs.iou) else None,
        "status": _status(predicted, truth, pairs, false, missed),
        **_measure_outlines(predicted, truth, pairs, area),
    }


def _confidence(predicted: gpd.GeoDataFrame) -> NDArray[Any] | None:
    # A shapefile of somebody else may have text there.
    if "confidence" not in predicted or predicted["confidence"].dtype.kind not in "fiu":
        return None
    return cast("NDArray[Any]", predicted["confidence"].to_numpy(dtype=np.float64))


def _points_inside(footprints: gpd.GeoDataFrame, area: Any) -> Mask:
    if area is None:
        return np.ones(len(footprints), np.bool_)
    return cast("Mask", shapely.intersects(area, shapely.point_on_surface(footprints.geometry.array)))


def _measure_outlines(
    predicted: gpd.GeoDataFrame, truth: gpd.GeoDataFrame, pairs: Matches, area: Any
) -> dict[str, float | None]:
    mine = np.array(predicted.geometry.array, object)[pairs.predicted]
    theirs = np.array(truth.geometry.array, object)[pairs.truth]
    whole = ~(_crossed(mine, area) | _crossed(theirs, area))
    mine, theirs = mine[whole], theirs[whole]
    if not len(mine):
        return {"polis": None, "vertex_ratio": None, "total_vertex_ratio": None}
    vertices = count_vertices(mine), count_vertices(theirs)
    return {
        "polis": float(polis(mine, theirs).mean()),
        "vertex_ratio": float((vertices[0] / vertices[1]).mean()),
        "total_vertex_ratio": float(vertices[0].sum() / vertices[1].sum()),
    }


def _status(
    predicted: gpd.GeoDataFrame, truth: gpd.GeoDataFrame, pairs: Matches, false: Mask, missed: Mask
) -> gpd.GeoDataFrame:
    mine, theirs = predicted.geometry.array, truth.geometry.array
    count = len(pairs.truth), int(missed.sum()), int(false.sum())
    return gpd.GeoDataFrame(
        {
            "status": np.repeat(["found", "missed", "false"], count),
            "iou": np.concatenate([pairs.iou, np.full(count[1] + count[2], np.nan)]),
        },
        geometry=np.concatenate([theirs[pairs.truth], theirs[missed], mine[false]]),
        crs=truth.crs,
    )
