"""Footprints: reading, cleaning, their columns, writing in the format that the name asks for."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pyogrio
import pyproj
import shapely
from numpy.typing import NDArray

from geofootprint.errors import OptionError, OutputError, VectorError
from geofootprint.layers import Bounds, Layer, read_frame, read_layer
from geofootprint.output import require_folder
from geofootprint.progress import SILENT, Progress

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = [
    "COLUMNS",
    "FORMATS",
    "clean_polygons",
    "measure_on_ellipsoid",
    "metres_per_degree",
    "parts_of",
    "read_area",
    "read_footprints",
    "read_polygons",
    "require_format",
    "write_footprints",
]

COLUMNS = ("id", "confidence", "area_m2", "perimeter", "method", "vertices", "at_edge", "source", "model")
"""Columns of the footprints in their order; all fit a shapefile's ten characters."""

FORMATS: Mapping[str, str] = {
    ".gpkg": "GPKG",
    ".shp": "ESRI Shapefile",
    ".geojson": "GeoJSON",
    ".fgb": "FlatGeobuf",
    ".parquet": "Parquet",
}
"""File extensions and GDAL's drivers for them (GeoParquet is written by geopandas)."""

PART = 50_000
"""Footprints that are measured at once."""

LAYER = "buildings"

COMPANIONS = {
    ".shp": (".shp", ".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".sbx", ".qmd"),
    ".gpkg": (".gpkg-wal", ".gpkg-shm", ".gpkg-journal"),
}
"""Files of an older result that would be taken for the new one's; SQLite would replay an old log into the new file."""


def require_format(path: str | os.PathLike[str]) -> Path:
    """Return `path` if footprints can be written there, and fail before any work is done if not.

    Raises
    ------
    OptionError
        If the extension is none of `FORMATS`.
    OutputError
        If the folder does not exist or cannot be written to.
    """
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise OptionError(f"{target} has no known extension; use one of {', '.join(FORMATS)}.")
    return require_folder(target)


def read_footprints(
    path: str | os.PathLike[str],
    *,
    crs: Any = None,
    bounds: Bounds | None = None,
    columns: Sequence[str] | None = None,
    allow_empty: bool = False,
    progress: Progress = SILENT,
) -> gpd.GeoDataFrame:
    """Read the polygons of a vector file, valid and single, in one CRS.

    Invalid polygons are repaired, multipolygons become one row a part, and what is no polygon is left out, as are heights.

    Parameters
    ----------
    path : path
        Anything OGR opens, or GeoParquet.
    crs : anything pyproj understands, optional
        CRS wanted; the file's own by default.
    bounds : (west, south, east, north), optional
        In `crs`; only features that meet it are read.
    columns : sequence of str, optional
        Columns wanted besides the geometry; all by default.
    allow_empty : bool
        Take a layer without features as it is: a model may have found nothing.
    progress : Progress
        Gets a warning where heights or whole features are left out.

    Returns
    -------
    geopandas.GeoDataFrame
        With a fresh index. Empty if nothing meets `bounds`.

    Raises
    ------
    MissingFileError
        If nothing is at `path`.
    VectorError
        If the file is damaged, has no CRS, no features at all, no polygons, or none that can be brought to `crs`.
    """
    import geopandas as gpd

    layer, frame = read_frame(path, crs, bounds, columns)
    found = _find_polygons(layer, crs, bounds, allow_empty=allow_empty, progress=progress)
    chosen = frame.iloc[found.row].reset_index(drop=True)
    return chosen.set_geometry(gpd.GeoSeries(found.polygons, crs=found.crs))


def read_polygons(path: str | os.PathLike[str], *, crs: Any = None, bounds: Bounds | None = None) -> NDArray[Any]:
    """Read the polygons of `read_footprints` without their attributes.

    Parameters
    ----------
    path, crs, bounds
        As of `read_footprints`.

    Returns
    -------
    array of shapely.Polygon

    Raises
    ------
    MissingFileError, VectorError
        As of `read_footprints`.
    """
    return _find_polygons(read_layer(path, crs, bounds), crs, bounds).polygons


class _Polygons(NamedTuple):
    """Valid single polygons, and the number of the geometry that each is of."""

    polygons: NDArray[Any]
    row: NDArray[np.intp]
    crs: pyproj.CRS


def _find_polygons(
    layer: Layer, crs: Any, bounds: Bounds | None, *, allow_empty: bool = False, progress: Progress = SILENT
) -> _Polygons:
    """Return the polygons that meet `bounds`, in `crs`; what makes them unusable is an error."""
    if layer.crs is None:
        raise VectorError(f"{layer.name} has no coordinate reference system; assign one, for example with ogr2ogr -a_srs.")
    if not layer.features and not allow_empty:
        raise VectorError(f"{layer.name} has no features; give a layer with polygons.")
    found = _Polygons(*_clean_parts(layer.shapes), layer.crs)
    if not len(found.polygons) and len(layer.shapes):
        raise VectorError(f"{layer.name} has no polygons; give a layer with polygons.")
    _tell_losses(layer, found.row, progress)
    wanted = layer.crs if crs is None else pyproj.CRS.from_user_input(crs)
    if layer.crs != wanted:
        found = _reproject(found, wanted, layer.name, drop=bounds is not None)
    if bounds is None:
        return found
    area = shapely.box(*bounds)
    shapely.prepare(area)
    meets = shapely.intersects(area, found.polygons)
    return _Polygons(found.polygons[meets], found.row[meets], found.crs)


def _tell_losses(layer: Layer, row: NDArray[np.intp], progress: Progress) -> None:
    if shapely.has_z(layer.shapes).any():
        progress.warn(f"{layer.name} has heights (Z values); they are left out.")
    lost = len(layer.shapes) - len(np.unique(row))
    if lost:
        progress.warn(f"{layer.name} has {lost} feature(s) without any polygon of some area; they are left out.")


def _reproject(found: _Polygons, crs: pyproj.CRS, name: str, *, drop: bool) -> _Polygons:
    """Return polygons in another CRS; those that have no place there are an error, unless they may be dropped."""
    transformer = pyproj.Transformer.from_crs(found.crs, crs, always_xy=True)
    moved = shapely.transform(found.polygons, transformer.transform, interleaved=False)
    placed = np.isfinite(shapely.bounds(moved)).all(axis=1)
    if not placed.all() and not (drop and placed.any()):
        raise VectorError(
            f"{name} has coordinates outside the CRS that it states, {found.crs.to_string()}; "
            "assign the one it was made in."
        )
    # Again, since a narrow polygon may cross itself in another CRS.
    polygons, number = _clean_parts(moved[placed])
    return _Polygons(polygons, found.row[placed][number], crs)


def _clean_parts(shapes: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Return the valid single polygons in any geometries, and the number of the geometry that each is of."""
    if shapely.has_z(shapes).any():
        shapes = shapely.force_2d(shapes)
    bad = ~shapely.is_valid(shapes) & np.isfinite(shapely.bounds(shapes)).all(axis=1)
    if bad.any():
        shapes = shapes.copy()
        shapes[bad] = shapely.make_valid(shapes[bad], method="structure", keep_collapsed=False)
    parts, number = _numbered_parts(shapes)
    keep = shapely.area(parts) > 0
    return parts[keep], number[keep]


def _numbered_parts(shapes: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Return the single polygons in any geometries, and the number of the geometry that each is of."""
    polygon = shapely.GeometryType.POLYGON
    kinds = shapely.get_type_id(shapes)
    number = np.arange(len(shapes))
    # A collection may hold multipolygons, and another collection.
    while (kinds > polygon).any():
        shapes, part = shapely.get_parts(shapes, return_index=True)
        kinds, number = shapely.get_type_id(shapes), number[part]
    keep = (kinds == polygon) & ~shapely.is_empty(shapes)
    return shapes[keep], number[keep]


def parts_of(shapes: NDArray[Any]) -> NDArray[Any]:
    """Return the single polygons in any geometries, in their order and as they are; others and None are left out."""
    return _numbered_parts(shapes)[0]


def clean_polygons(geometries: NDArray[Any]) -> NDArray[Any]:
    """Return valid, non-empty single polygons made from any geometries, in their order.

    Parameters
    ----------
    geometries : array of shapely geometries

    Returns
    -------
    array of shapely.Polygon
        Repaired by shapely's "structure" method; parts of a multipolygon follow each other.
    """
    valid = shapely.make_valid(np.asarray(geometries, dtype=object), method="structure", keep_collapsed=False)
    parts = parts_of(valid)
    return cast("NDArray[Any]", parts[shapely.area(parts) > 0])


def read_area(path: str | os.PathLike[str], crs: Any) -> Any:
    """Read an area of interest as one geometry in `crs`.

    Returns
    -------
    shapely.Polygon or shapely.MultiPolygon

    Raises
    ------
    MissingFileError, VectorError
        As of `read_footprints`.
    """
    return shapely.union_all(read_polygons(path, crs=crs))


def measure_on_ellipsoid(footprints: gpd.GeoDataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the areas in square metres and the perimeters in metres, holes counted, on the WGS 84 ellipsoid.

    Parameters
    ----------
    footprints : geopandas.GeoDataFrame
        In any CRS.

    Returns
    -------
    area, perimeter : float arrays with one value a row
    """
    # By parts, since the coordinates of a million footprints would be there several times at once.
    parts = [footprints.geometry.iloc[start : start + PART] for start in range(0, len(footprints), PART)]
    measured = [_measure(part.to_crs("EPSG:4326").to_numpy()) for part in parts]
    area, perimeter = np.concatenate([np.zeros((2, 0)), *measured], axis=1)
    return area, perimeter


def _measure(degrees: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    local = _in_local_metres(degrees)
    area, perimeter = shapely.area(local), shapely.length(local)
    west, south, east, north = shapely.bounds(degrees).T
    far = (np.maximum(east - west, north - south) > LOCAL_DEGREES) | (np.maximum(abs(south), abs(north)) > 85)
    geod = pyproj.Geod(ellps="WGS84")
    for i in np.flatnonzero(far):
        area[i] = abs(geod.geometry_area_perimeter(shapely.orient_polygons(degrees[i]))[0])
        perimeter[i] = geod.geometry_length(shapely.boundary(degrees[i]))
    return area, perimeter


LOCAL_DEGREES = 0.02
"""Extent of a polygon up to which a plane at its centre measures it to 0.01 % as far as 60° of latitude, and to 0.1 %
as far as 85°; larger ones take the slow exact way."""


def _in_local_metres(degrees: NDArray[Any]) -> NDArray[Any]:
    """Place each geometry in degrees on a plane that touches WGS 84 at its own centre; 100 times faster than a Geod."""
    bounds = shapely.bounds(degrees)
    centre = (bounds[:, :2] + bounds[:, 2:]) / 2
    points, index = shapely.get_coordinates(degrees, return_index=True)
    scale = metres_per_degree(centre[:, 1])
    return cast("NDArray[Any]", shapely.set_coordinates(degrees.copy(), (points - centre[index]) * scale[index]))


def metres_per_degree(latitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the metres in a degree along the parallel and along the meridian of WGS 84, from its two radii of curvature.

    Parameters
    ----------
    latitude : float array of shape (n,)
        In degrees.

    Returns
    -------
    float array of shape (n, 2)
    """
    ellipsoid, lat = pyproj.Geod(ellps="WGS84"), np.radians(latitude)
    bend = 1 - ellipsoid.es * np.sin(lat) ** 2
    radii = [np.cos(lat) / np.sqrt(bend), (1 - ellipsoid.es) / bend**1.5]
    return cast("NDArray[np.float64]", np.radians(ellipsoid.a) * np.stack(radii, axis=1))


def write_footprints(
    footprints: gpd.GeoDataFrame, path: str | os.PathLike[str], *, metadata: Mapping[str, Any] | None = None
) -> None:
    """Write footprints in the format that the extension of `path` names; the file appears when it is complete.

    Parameters
    ----------
    footprints : geopandas.GeoDataFrame
        Polygons with a CRS. GeoJSON is written in EPSG:4326, as RFC 7946 asks.
    path : path
        Ends in one of `FORMATS`.
    metadata : mapping, optional
        How the footprints were made; kept in a GeoPackage as JSON.

    Raises
    ------
    OptionError, OutputError
        As of `require_format`, and when the disk is full.
    VectorError
        If the footprints have no CRS.
    """
    target = require_format(path)
    if footprints.crs is None:
        raise VectorError(f"The footprints for {target} have no coordinate reference system; set one with set_crs.")
    try:
        with _replacing(target) as temporary:
            _write(footprints, temporary, metadata or {})
    except (pyogrio.errors.DataSourceError, OSError, RuntimeError) as error:
        # Also where the old file cannot be replaced: Windows refuses that while QGIS shows it.
        raise OutputError(f"{target} cannot be written ({error}); close it elsewhere or choose another name.") from error


def _write(footprints: gpd.GeoDataFrame, path: Path, metadata: Mapping[str, Any]) -> None:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        footprints.to_parquet(path)
        return
    options: dict[str, Any] = {"driver": FORMATS[suffix], "layer": LAYER, "geometry_type": "Polygon"}
    if suffix == ".gpkg":
        # QGIS 3.22 warns of anything newer than 1.2.
        options |= {"dataset_options": {"VERSION": "1.2"}, "layer_metadata": {"geofootprint": json.dumps(metadata)}}
    elif suffix == ".geojson":
        footprints = footprints.to_crs("EPSG:4326")
        options |= {"layer_options": {"RFC7946": "YES", "COORDINATE_PRECISION": "8"}}
    elif suffix == ".shp":
        options |= {"layer": path.stem, "encoding": "UTF-8"}
        footprints = footprints.assign(**{
            name: footprints[name].astype("int32") for name in footprints if footprints[name].dtype == bool
        })
    pyogrio.write_dataframe(footprints, path, **options)


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """Give a path in a temporary folder beside `target`; move what was written there on success.

    A folder, since a shapefile is several files; its old companions are removed, or they would describe the new one.
    """
    with tempfile.TemporaryDirectory(prefix=f".{target.stem}.", dir=target.parent) as folder:
        yield Path(folder) / target.name
        written = sorted(Path(folder).iterdir())
        for suffix in COMPANIONS.get(target.suffix.lower(), ()):
            target.with_suffix(suffix).unlink(missing_ok=True)
        for file in written:
            os.replace(file, target.parent / file.name)
