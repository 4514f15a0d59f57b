"""From probabilities to the outlines of buildings."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from geofootprint._version import __version__
from geofootprint.errors import OptionError, RasterError
from geofootprint.groups import CELL, Walk
from geofootprint.metrics import count_vertices
from geofootprint.outlines import give_way, regularize_rings, settle, unfold
from geofootprint.output import require_other
from geofootprint.probabilities import ProbabilityArray, open_probabilities
from geofootprint.progress import SILENT, Progress
from geofootprint.raster import Grid
from geofootprint.rings import Rings, Rule
from geofootprint.vector import COLUMNS, measure_on_ellipsoid, require_format, write_footprints

__all__ = [
    "OUTLINES",
    "VectorizeResult",
    "check_options",
    "find_outlines",
    "gather",
    "model_label",
    "outline_rule",
    "read_outlines",
    "to_footprints",
    "vectorize",
]

OUTLINES = ("map", "area", "raw")
"""Ways to draw an outline: few vertices; the same with the area of the raw ring; the raw sub-pixel ring."""

MIN_HOLE = 4.0
"""Square metres of the smallest courtyard; smaller holes are filled."""

MIN_GAP = 0.4
"""Square metres of the smallest hole between attached buildings; smaller ones are places where the wall was unsure."""

MIN_MARKER = 6.0
"""Square metres of the smallest interior that tells touching buildings apart."""

PART = 50_000
"""Outlines that are placed on the map at once."""

PEAK = 0.2
"""A building must have a pixel this far from the threshold towards certainty, or it is a speck."""

@dataclass(frozen=True)
class VectorizeResult:
    """What `vectorize` made.

    Parameters
    ----------
    out : str
        The file.
    count : int
        Number of buildings.
    area_m2 : float
        Their area on the ellipsoid.
    threshold : float
        Probability that the outlines follow.
    seconds : float
        Time it took.
    """

    out: str
    count: int
    area_m2: float
    threshold: float
    seconds: float


def find_outlines(
    probabilities: NDArray[np.uint8],
    valid: NDArray[np.bool_],
    grid: Grid,
    *,
    threshold: float = 0.5,
    min_area: float = 8.0,
    outline: str = "map",
) -> gpd.GeoDataFrame:
    """Outline the buildings in an array of probabilities.

    Parameters
    ----------
    probabilities : uint8 array of shape (1 to 3, height, width)
        Building and, if there are any, contour and touch; 0 to 255. With a contour, touching buildings are told apart.
    valid : bool array of shape (height, width)
        False where there is no data.
    grid : Grid
        Its pixels.
    threshold : float
        Building probability, 0 to 1, from which a pixel is building.
    min_area : float
        Square metres of the smallest building.
    outline : {"map", "area", "raw"}
        "map" is regular with few vertices, attached buildings together without gaps; "area" also keeps the area of what
        was outlined where a building stands alone; "raw" is the sub-pixel contour line.

    Returns
    -------
    geopandas.GeoDataFrame
        Valid polygons without overlaps in the grid's CRS, with the columns of `geofootprint.vector.COLUMNS`;
        `source` and `model` are empty. Sorted by the first pixel, row by row.

    Raises
    ------
    OptionError
        If an option has an impossible value.
    """
    rule = outline_rule(grid, threshold=threshold, min_area=min_area, outline=outline)
    walk = Walk(ProbabilityArray(probabilities, valid, grid), rule, block=CELL, progress=SILENT)
    return to_footprints(gather(regularize_rings(walk.rings(), rule)), grid, min_area=min_area, outline=outline)


def read_outlines(
    path: str | os.PathLike[str],
    *,
    threshold: float | None = None,
    min_area: float = 8.0,
    outline: str = "map",
    full_scale: float | None = None,
    block: int = 2048,
    progress: Progress = SILENT,
) -> tuple[gpd.GeoDataFrame, float]:
    """Outline the buildings in a raster of probabilities without writing them.

    Parameters
    ----------
    path, threshold, min_area, outline, full_scale, block, progress
        As of `vectorize`.

    Returns
    -------
    footprints : geopandas.GeoDataFrame
        As of `find_outlines`.
    threshold : float
        The one that was used.

    Raises
    ------
    GeofootprintError
        As of `vectorize`.
    """
    check_options(threshold=threshold, min_area=min_area, outline=outline)
    with open_probabilities(path, full_scale=full_scale, progress=progress) as source:
        level = threshold if threshold is not None else float(source.model.get("threshold") or 0.5)
        rule = outline_rule(source.grid, threshold=level, min_area=min_area, outline=outline)
        walk = Walk(source, rule, block=block, progress=progress)
        rings = gather(regularize_rings(walk.rings(), rule))
        if not walk.any_valid:
            raise RasterError(f"{source.name} has no valid pixels, all is nodata; give a raster with data.")
        footprints = to_footprints(rings, source.grid, min_area=min_area, outline=outline)
    footprints["source"] = os.path.basename(source.name)
    footprints["model"] = model_label(source.model.get("name"), source.model.get("sha256"))
    return footprints, level


def vectorize(
    probabilities: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    threshold: float | None = None,
    min_area: float = 8.0,
    outline: str = "map",
    full_scale: float | None = None,
    block: int = 2048,
    progress: Progress = SILENT,
) -> VectorizeResult:
    """Outline the buildings in a raster of probabilities, a mask or a label raster, and write them.

    Parameters
    ----------
    probabilities : path
        What `geofootprint.predict` made, or any raster that `geofootprint.probabilities.open_probabilities`
        can read.
    out : path
        Vector file; its extension names the format.
    threshold : float, optional
        Building probability, 0 to 1, from which a pixel is building; by default that of the model, 0.5 if the
        file does not name one.
    min_area, outline
        As of `find_outlines`.
    full_scale : float, optional
        The value of a certain building, where the file does not tell; as of `open_probabilities`.
    block : int
        Pixels of the side of the blocks read at once; sets the memory needed, not the result.
    progress : Progress

    Returns
    -------
    VectorizeResult

    Raises
    ------
    MissingFileError, RasterError
        If the raster cannot be used, or has no valid pixels.
    OptionError, OutputError
        If an option is impossible or the result cannot be written.
    """
    started = time.monotonic()
    require_other(require_format(out), probabilities)
    footprints, level = read_outlines(
        probabilities, threshold=threshold, min_area=min_area, outline=outline, full_scale=full_scale, block=block,
        progress=progress,
    )
    if footprints.empty:
        progress.warn(f"No building was found in {os.fspath(probabilities)}; the layer written is empty.")
    options = {"threshold": level, "min_area": min_area, "outline": outline, "full_scale": full_scale}
    run = {"command": "vectorize", "version": __version__, "options": options}
    write_footprints(footprints, out, metadata={**run, "source": os.fspath(probabilities)})
    area = float(footprints["area_m2"].sum())
    return VectorizeResult(os.fspath(out), len(footprints), area, level, time.monotonic() - started)


def model_label(name: str | None, sha256: str | None) -> str:
    """Return what the column `model` says of a model: its name and the first eight digits of its hash."""
    return f"{name or ''} {(sha256 or '')[:8]}".strip()


def check_options(*, threshold: float | None, min_area: float, outline: str) -> None:
    """Refuse impossible options before any work is done.

    Raises
    ------
    OptionError
    """
    if threshold is not None and not 0 < threshold < 1:
        raise OptionError(f"The threshold must be more than 0 and less than 1, not {threshold:g}.")
    if not min_area >= 0:
        raise OptionError(f"The smallest area must be 0 m² or more, not {min_area:g}.")
    if outline not in OUTLINES:
        raise OptionError(f"The outline '{outline}' is unknown; use one of {', '.join(OUTLINES)}.")


def outline_rule(grid: Grid, *, threshold: float, min_area: float, outline: str) -> Rule:
    """Return the rule, in pixels of a grid, of options as of `find_outlines`."""
    check_options(threshold=threshold, min_area=min_area, outline=outline)
    pixel = grid.gsd**2
    return Rule(
        level=math.ceil(round(threshold * 255, 6)) - 0.5,
        peak=255 * (threshold + PEAK * (1 - threshold)),
        min_size=min_area / pixel,
        # Not more than the smallest building, so that no building can stand in a hole that is filled.
        min_hole=min(MIN_HOLE, min_area) / pixel,
        min_gap=MIN_GAP / pixel,
        marker_size=max(1, round(MIN_MARKER / pixel)),
        outline=outline,
        extent=(0.0, 0.0, float(grid.width), float(grid.height)),
        pixel_area=pixel,
    )


def gather(groups: Iterable[Rings]) -> Rings:
    """Put many groups together; a thousand at a time, since each takes more memory than its one or two polygons."""
    several = iter(groups)
    return Rings.joined([Rings.joined(part) for part in iter(lambda: list(islice(several, 1000)), [])])


def to_footprints(rings: Rings, grid: Grid, *, min_area: float, outline: str) -> gpd.GeoDataFrame:
    """Return the buildings of all groups in map units, with their columns: as `find_outlines` does, of rings by its rule."""
    order = np.lexsort((rings.first[:, 1], rings.first[:, 0]))
    polygons, methods, blocks = rings.polygons[order], rings.methods[order], rings.blocks[order]
    if outline == "raw":
        polygons = give_way(polygons, blocks)
    else:
        polygons, methods = settle(polygons, methods, blocks, within=shapely.box(0, 0, grid.width, grid.height))
    polygons = _to_map(polygons, grid)
    frame = gpd.GeoDataFrame(
        {
            "confidence": rings.confidence[order],
            "method": methods,
            "vertices": count_vertices(polygons),
            "at_edge": rings.at_edge[order],
            "source": "",
            "model": "",
        },
        geometry=polygons,
        crs=grid.crs,
    )
    frame["area_m2"], frame["perimeter"] = measure_on_ellipsoid(frame)
    frame = frame[(frame["area_m2"] >= min_area) & ~frame.is_empty].reset_index(drop=True)
    frame["id"] = np.arange(1, len(frame) + 1)
    # An empty layer must not have other types than a full one.
    frame = frame.astype({"method": "str", "source": "str", "model": "str", "vertices": "int32"})
    return cast("gpd.GeoDataFrame", frame[[*COLUMNS, "geometry"]])


def _to_map(polygons: NDArray[Any], grid: Grid) -> NDArray[Any]:
    t = grid.transform

    def place(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = pixels.T
        return np.stack([t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f], axis=1)

    placed = polygons.copy()
    for start in range(0, len(polygons), PART):  # so that one part's coordinates alone are there several times
        part = slice(start, start + PART)
        placed[part] = shapely.orient_polygons(shapely.transform(placed[part], place))
    return unfold(placed)
