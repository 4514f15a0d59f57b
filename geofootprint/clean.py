"""Regular outlines from anybody's polygons: no raster is needed, only the boundaries.

Polygons are brought to true metres, those that nearly share a wall are made to share it, boundaries are sampled evenly,
and walls are fitted to the samples as to the outlines of a raster.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import geopandas as gpd
import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from geofootprint._version import __version__
from geofootprint.carve import carve
from geofootprint.errors import MissingDependencyError, OptionError, VectorError
from geofootprint.guard import find_faults
from geofootprint.metrics import count_vertices
from geofootprint.outlines import give_way, name_changed, regularize_rings, unfold
from geofootprint.output import require_other
from geofootprint.planes import group_neighbours, lay_planes, metres_per_unit
from geofootprint.progress import SILENT, Progress, track
from geofootprint.regularize import MIN_EDGE
from geofootprint.rings import Rings, Rule
from geofootprint.vector import measure_on_ellipsoid, read_footprints, require_format, write_footprints

__all__ = ["OUTLINES", "RegularizeResult", "clean_footprints", "regularize", "sample_evenly", "usual_tolerance"]

OUTLINES = ("map", "area")
"""Ways to draw an outline: few vertices; the same with the area of the polygon that was given."""

SNAP = 0.05
"""Metres between walls that are meant to be one: more than digitizing leaves, less than any gap between houses."""

SAME = 0.9
"""Share of two footprints that is common where both are meant to be one."""

HAND_DRAWN = 1.0
"""Metres; outlines whose edges are longer in the median were drawn by hand, not by a machine."""

HAND_STEP = 0.25
"""Metres between samples on outlines drawn by hand."""

SHORTEST_STEP = 0.02
"""Metres between samples at least: however fine a file's vertices are, no orthophoto shows more."""

LONGEST_TOLERANCE = 100.0
"""Metres; beyond it nothing of a building is left."""

BATCH = 1000
"""Polygons in work at once."""


@dataclass(frozen=True)
class RegularizeResult:
    """What `regularize` made.

    Parameters
    ----------
    out : str
        The file.
    count : int
        Number of footprints.
    area_m2 : float
        Their area on the ellipsoid.
    vertices_before, vertices_after : int
        Vertices of all.
    tolerance : float
        The one that was used, in metres.
    seconds : float
        Time it took.
    """

    out: str
    count: int
    area_m2: float
    vertices_before: int
    vertices_after: int
    tolerance: float
    seconds: float


def clean_footprints(
    footprints: gpd.GeoDataFrame,
    *,
    outline: str = "map",
    tolerance: float | None = None,
    min_area: float = 0.0,
    progress: Progress = SILENT,
) -> gpd.GeoDataFrame:
    """Draw footprints again with straight walls, right angles and round shapes where they have them.

    Parameters
    ----------
    footprints : geopandas.GeoDataFrame
        Valid single polygons in any CRS; those that overlap are cut, and the smaller one keeps what both have.
    outline : {"map", "area"}
        "map" has few vertices; "area" also keeps the area of each footprint that stands alone.
    tolerance : float, optional
        Metres; edges and steps that are shorter count as noise. By default two of the outlines' usual steps (`usual_tolerance`).
    min_area : float
        Square metres of the smallest footprint that is kept.
    progress : Progress

    Returns
    -------
    geopandas.GeoDataFrame
        Valid polygons without overlaps, in the order and CRS of the input and with its columns; `method`, `vertices`,
        `area_m2` and `perimeter` are told anew. Walls that two share have the same vertices in both.

    Raises
    ------
    OptionError
        If an option has an impossible value.
    VectorError
        If the footprints have no CRS or lie outside it.
    """
    _check(outline, tolerance, min_area)
    if footprints.crs is None:
        raise VectorError("The footprints have no coordinate reference system; set one with set_crs.")
    shapes = np.asarray(footprints.geometry.array, dtype=object)
    step = (tolerance or usual_tolerance(footprints)) / 2
    middles = shapely.bounds(shapes).reshape(-1, 2, 2).mean(axis=1)
    metres = np.linalg.norm(metres_per_unit(middles, footprints.crs), axis=1).min(axis=1)
    # Outlines may move by more than a step at corners; groups farther apart than that do not meet.
    group = group_neighbours(shapes, 4 * step / metres)
    parts = [np.zeros(0, object)], [np.zeros(0, np.intp)], [np.zeros(0, object)], [np.zeros(0, np.int64)]
    for chosen in _batches(group, progress):
        _, local_group = np.unique(group[chosen], return_inverse=True)
        planes = lay_planes(shapes[chosen], local_group, footprints.crs)
        drawn, row, methods, blocks = _draw(planes.to_metres(shapes[chosen], local_group), local_group, step, outline)
        parts[0].append(unfold(planes.to_map(drawn, local_group[row])))
        parts[1].append(chosen[row])
        parts[2].append(methods)
        parts[3].append(blocks + sum(len(part) for part in parts[3]))
    polygons, rows, methods, blocks = (np.concatenate(part) for part in parts)
    # Only here, where all lie in one plane: groups have planes of their own, and outlines may have moved towards each other.
    settled = _mend(give_way(polygons, blocks), MIN_EDGE * step, footprints.crs)
    polygons, methods = settled, name_changed(methods, polygons, settled)
    _tell_losses(len(footprints), rows, progress)
    order = np.argsort(rows, kind="stable")
    return _to_frame(footprints.iloc[rows[order]], polygons[order], methods[order], min_area)


def regularize(
    footprints: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    outline: str = "map",
    tolerance: float | None = None,
    min_area: float = 0.0,
    progress: Progress = SILENT,
) -> RegularizeResult:
    """Clean the polygons of a vector file and write them.

    Parameters
    ----------
    footprints : path
        Anything OGR opens, or GeoParquet. Invalid polygons are repaired, multipolygons become one row a part, heights
        are left out.
    out : path
        Vector file; its extension names the format.
    outline, tolerance, min_area, progress
        As of `clean_footprints`.

    Returns
    -------
    RegularizeResult

    Raises
    ------
    MissingFileError, VectorError
        If the file cannot be used, or has no polygons.
    OptionError, OutputError
        If an option is impossible or the result cannot be written.
    """
    started = time.monotonic()
    _check(outline, tolerance, min_area)
    require_format(out)
    require_other(out, footprints)
    given = read_footprints(footprints, progress=progress)
    used = tolerance or usual_tolerance(given)
    cleaned = clean_footprints(given, outline=outline, tolerance=used, min_area=min_area, progress=progress)
    if cleaned.empty:
        progress.warn(f"No footprint of {os.fspath(footprints)} has {min_area:g} m² or more; the layer written is empty.")
    options = {"outline": outline, "tolerance": used, "min_area": min_area}
    run = {"command": "regularize", "version": __version__, "options": options}
    write_footprints(cleaned, out, metadata={**run, "source": os.fspath(footprints)})
    before = int(count_vertices(given.geometry.array).sum())
    return RegularizeResult(
        os.fspath(out), len(cleaned), float(cleaned["area_m2"].sum()), before, int(cleaned["vertices"].sum()), used,
        time.monotonic() - started,
    )


def usual_tolerance(footprints: gpd.GeoDataFrame) -> float:
    """Return twice the usual step of footprints' outlines, in metres.

    Where a machine drew them that is the lower quartile of the edges' lengths: a pixel for outlines along pixels, and
    less for contour lines. Long edges say nothing of how sure they are; there it is two of `HAND_STEP`.

    Parameters
    ----------
    footprints : geopandas.GeoDataFrame
        Polygons in any CRS.

    Returns
    -------
    float
    """
    shapes = np.asarray(footprints.geometry.array, dtype=object)
    if not len(shapes):
        return 2 * HAND_STEP
    group = np.arange(len(shapes))
    shapes = lay_planes(shapes, group, footprints.crs).to_metres(shapes, group)
    xy, ring = shapely.get_coordinates(shapely.get_rings(shapes), return_index=True)
    lengths = np.hypot(*np.diff(xy, axis=0).T)[ring[1:] == ring[:-1]]
    lower, median = np.quantile(lengths, [0.25, 0.5])
    return float(2 * max(lower, SHORTEST_STEP)) if median <= HAND_DRAWN else 2 * HAND_STEP


def _check(outline: str, tolerance: float | None, min_area: float) -> None:
    if outline not in OUTLINES:
        raise OptionError(f"The outline '{outline}' is unknown; use one of {', '.join(OUTLINES)}.")
    if tolerance is not None and not 2 * SHORTEST_STEP <= tolerance <= LONGEST_TOLERANCE:
        raise OptionError(
            f"The tolerance must be from {2 * SHORTEST_STEP:g} to {LONGEST_TOLERANCE:g} m, not {tolerance:g}."
        )
    if not min_area >= 0:
        raise OptionError(f"The smallest area must be 0 m² or more, not {min_area:g}.")


def _batches(group: NDArray[np.int64], progress: Progress) -> Iterator[NDArray[np.intp]]:
    """Yield the positions of about `BATCH` polygons, whole groups only."""
    order = np.argsort(group, kind="stable")
    ends = np.cumsum(np.bincount(group))
    # The last polygon of the group that each full batch ends in.
    cuts = np.unique(ends[np.searchsorted(ends, np.arange(BATCH, len(group), BATCH))])
    batches = [part for part in np.split(order, cuts) if len(part)]
    return iter(track(batches, "regularize", len(batches), progress))


def _draw(
    polygons: NDArray[Any], group: NDArray[np.int64], step: float, outline: str
) -> tuple[NDArray[Any], NDArray[np.intp], NDArray[Any], NDArray[np.int64]]:
    """Regularize polygons in metres.

    Returns
    -------
    polygons : array of shapely.Polygon
    row : int array
        Polygon of the input that each was.
    methods : array of str
    blocks : int array
        Attached polygons have the same number, less than how many there are.
    """
    polygons, row = _share_walls(polygons, group, MIN_EDGE * step)
    samples = _scaled(sample_evenly(polygons, step), 1 / step)
    drawn, methods, blocks = _regularize(samples, group[row], outline)
    return _scaled(drawn, step), row, methods, blocks


def _regularize(
    polygons: NDArray[Any], group: NDArray[np.int64], outline: str
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
    """Regularize polygons in steps, as raw rings of a raster would be: attached ones together."""
    drawn, methods = np.empty(len(polygons), object), np.empty(len(polygons), object)
    blocks = np.zeros(len(polygons), np.int64)
    members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
    first_block = 0
    rings = (_as_rings(polygons[own]) for own in members)
    for own, done in zip(members, regularize_rings(rings, _rule(outline)), strict=True):
        drawn[own], methods[own], blocks[own] = done.polygons, done.methods, done.blocks + first_block
        first_block += len(own)
    return drawn, methods, blocks


def _as_rings(polygons: NDArray[Any]) -> Rings:
    count = len(polygons)
    nowhere = np.zeros(count, np.bool_)
    return Rings(
        polygons, np.zeros(count), nowhere, np.zeros((count, 2), np.int64), np.full(count, "", object),
        np.zeros(count, np.int64),
    )


def _rule(outline: str) -> Rule:
    """Return a rule that leaves nothing out."""
    endless = (-np.inf, -np.inf, np.inf, np.inf)
    return Rule(
        level=0.0, peak=0.0, min_size=0.0, min_hole=0.0, min_gap=0.0, marker_size=1, outline=outline, extent=endless,
        pixel_area=1.0,
    )


def _share_walls(polygons: NDArray[Any], group: NDArray[np.int64], min_edge: float) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Give walls that nearly coincide the same vertices, and take overlaps away.

    Returns
    -------
    polygons : array of shapely.Polygon
        One that is cut in two is there twice, but for slivers thinner than the shortest edge; one that lies wholly under
        others is not.
    row : int array
        Polygon of the input that each was.
    """
    faulty = _faulty_groups(polygons, group)
    if not len(faulty):
        return polygons, np.arange(len(polygons))
    if not hasattr(shapely, "coverage_clean"):
        raise MissingDependencyError(
            "Footprints that touch or overlap need shapely 2.2; install it with: pip install 'shapely>=2.2'"
        )
    polygons = polygons.copy()
    polygons[faulty[_repeated(polygons[faulty])]] = shapely.Polygon()
    # To the smaller one, since a shed that is drawn on a house would else be lost.
    polygons[faulty] = shapely.coverage_clean(
        polygons[faulty], snapping_distance=SNAP, gap_width=SNAP, merge_strategy="min_area"
    )
    parts, row = shapely.get_parts(polygons, return_index=True)
    whole = ~shapely.is_empty(parts) & ~_slivers(parts, row, min_edge)
    return parts[whole], row[whole]


def _slivers(parts: NDArray[Any], row: NDArray[np.intp], width: float) -> NDArray[np.bool_]:
    """Say which parts of polygons that fell apart are thinner than a width; the largest part never is one."""
    area = shapely.area(parts)
    largest = np.zeros(int(row.max(initial=-1)) + 1)
    np.maximum.at(largest, row, area)
    return cast("NDArray[np.bool_]", (area < largest[row]) & (2 * area < width * shapely.length(parts)))


def _faulty_groups(polygons: NDArray[Any], group: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the positions of the polygons in groups whose walls do not match, or that overlap."""
    together = np.flatnonzero(np.bincount(group)[group] > 1)
    if not len(together):
        return together
    faults = ~shapely.is_empty(shapely.coverage_invalid_edges(polygons[together], gap_width=SNAP))
    return together[np.isin(group[together], group[together][faults])]


def _repeated(polygons: NDArray[Any]) -> NDArray[np.bool_]:
    """Say which polygons are drawn a second time: `SAME` of each of the two lies in the other."""
    first, second = shapely.STRtree(polygons).query(polygons)
    pairs = first < second
    first, second = first[pairs], second[pairs]
    area = shapely.area(polygons)
    shared = shapely.area(shapely.intersection(polygons[first], polygons[second]))
    twice = shared >= SAME * np.maximum(area[first], area[second])
    repeated = np.zeros(len(polygons), np.bool_)
    repeated[second[twice]] = True
    return repeated


def sample_evenly(polygons: NDArray[Any], step: float) -> NDArray[Any]:
    """Add vertices so that no edge is longer than a step; equal edges get equal ones, whichever way they run.

    Parameters
    ----------
    polygons : array of shapely.Polygon
    step : float

    Returns
    -------
    array of shapely.Polygon
    """
    rings, owner = shapely.get_rings(polygons, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    inside = ring[1:] == ring[:-1]
    start, end, ring = xy[:-1][inside], xy[1:][inside], ring[1:][inside]
    back = (start[:, 0] > end[:, 0]) | ((start[:, 0] == end[:, 0]) & (start[:, 1] > end[:, 1]))
    pieces = np.maximum(1, np.ceil(np.hypot(*(end - start).T) / step)).astype(np.int64)
    edge = np.repeat(np.arange(len(pieces)), pieces)
    number = np.arange(len(edge)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    # Counted from the lower end: interpolated from the other one, the last bit may differ.
    low, high = np.where(back[:, None], end, start), np.where(back[:, None], start, end)
    share = (np.where(back[edge], pieces[edge] - number, number) / pieces[edge])[:, None]
    points = low[edge] * (1 - share) + high[edge] * share
    return cast("NDArray[Any]", shapely.polygons(shapely.linearrings(points, indices=ring[edge]), indices=owner))


def _mend(polygons: NDArray[Any], min_edge: float, crs: pyproj.CRS) -> NDArray[Any]:
    """Take short edges and spikes out of polygons in any CRS; the shortest edge is in metres."""
    every = np.flatnonzero(~shapely.is_empty(polygons))
    alone = np.arange(len(every))
    faulty = every[find_faults(lay_planes(polygons[every], alone, crs).to_metres(polygons[every], alone), min_edge)]
    if not len(faulty):
        return polygons
    polygons = polygons.copy()
    tree = shapely.STRtree(polygons)
    for i in faulty:
        near = tree.query(polygons[i], predicate="dwithin", distance=shapely.length(polygons[i]) / 4)
        others = np.sort(near[(near != i) & ~shapely.is_empty(polygons[near])])
        here = polygons[np.append(i, others)]
        together = np.zeros(len(here), np.int64)
        plane = lay_planes(here, together, crs)
        flat = plane.to_metres(here, together)
        mended = carve(flat[0], flat[1:], min_edge)
        if mended is not flat[0]:
            polygons[i] = unfold(plane.to_map(np.array([mended]), together[:1]))[0]
    return polygons


def _scaled(polygons: NDArray[Any], factor: float) -> NDArray[Any]:
    return cast("NDArray[Any]", shapely.transform(polygons, lambda xy: xy * factor))


def _tell_losses(count: int, rows: NDArray[np.intp], progress: Progress) -> None:
    lost = count - len(np.unique(rows))
    if lost:
        progress.warn(f"{lost} footprint(s) are drawn twice or lie wholly under others; they are left out.")


def _to_frame(
    rows: gpd.GeoDataFrame, polygons: NDArray[Any], methods: NDArray[Any], min_area: float
) -> gpd.GeoDataFrame:
    """Return rows with new geometries, and the columns that these determine."""
    frame = rows.reset_index(drop=True).set_geometry(gpd.array.from_shapely(shapely.orient_polygons(polygons), crs=rows.crs))
    area, perimeter = measure_on_ellipsoid(frame)
    frame = frame.assign(
        area_m2=area, perimeter=perimeter, method=methods.astype(str), vertices=count_vertices(polygons).astype(np.int32)
    )
    frame = frame[(frame["area_m2"] >= min_area) & (frame["area_m2"] > 0)].reset_index(drop=True)
    name = frame.geometry.name
    return cast("gpd.GeoDataFrame", frame[[*(column for column in frame if column != name), name]])
