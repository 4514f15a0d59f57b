"""Footprints: reading, cleaning, their columns, writing in the format that the name asks for."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import geopandas as gpd
import numpy as np
import pyogrio
import pyproj
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataSourceError

from geofootprint.errors import MissingFileError, OptionError, OutputError, VectorError
from geofootprint.output import require_folder

__all__ = [
    "COLUMNS",
    "FORMATS",
    "clean_polygons",
    "measure_on_ellipsoid",
    "read_area",
    "read_footprints",
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

LAYER = "buildings"


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
    bounds: tuple[float, float, float, float] | None = None,
    allow_empty: bool = False,
) -> gpd.GeoDataFrame:
    """Read the polygons of a vector file, valid and single, in one CRS.

    Invalid polygons are repaired, multipolygons become one row a part, and what is no polygon is left out.

    Parameters
    ----------
    path : path
        Anything OGR opens, or GeoParquet.
    crs : anything pyproj understands, optional
        CRS wanted; the file's own by default.
    bounds : (west, south, east, north), optional
        In `crs`; only features that meet it are read.
    allow_empty : bool
        Take a layer without features as it is: a model may have found nothing.

    Returns
    -------
    geopandas.GeoDataFrame
        With all columns of the file and a fresh index. Empty if nothing meets `bounds`.

    Raises
    ------
    MissingFileError
        If nothing is at `path`.
    VectorError
        If the file is damaged, has no CRS, no features at all, no polygons, or none that can be brought to `crs`.
    """
    name = os.fspath(path)
    if not ("://" in name or name.startswith("/vsi")) and not Path(name).exists():
        raise MissingFileError(f"{name} does not exist; check the path of the vector file.")
    frame = _read_frame(name)
    if not isinstance(frame, gpd.GeoDataFrame):
        raise VectorError(f"{name} has no geometries; give a layer with building outlines.")
    if frame.crs is None:
        raise VectorError(f"{name} has no coordinate reference system; assign one, for example with ogr2ogr -a_srs.")
    if frame.empty and allow_empty:
        return frame if crs is None else frame.to_crs(crs)
    if frame.empty:
        raise VectorError(f"{name} has no features; give a layer with polygons.")
    frame = _polygons_only(frame)
    if frame.empty:
        raise VectorError(f"{name} has no polygons; give a layer with building outlines.")
    if crs is not None:
        frame = _reproject(frame, crs, name)
    if bounds is not None:
        frame = frame[frame.intersects(shapely.box(*bounds))]
    return frame.reset_index(drop=True)


def _read_frame(name: str) -> gpd.GeoDataFrame:
    try:
        if name.lower().endswith(".parquet"):
            return gpd.read_parquet(name)
        return gpd.read_file(name)
    except (DataSourceError, ValueError, OSError) as error:
        raise VectorError(f"{name} cannot be read as a vector file: it is damaged or of an unknown format ({error}).") from error


def _reproject(frame: gpd.GeoDataFrame, crs: Any, name: str) -> gpd.GeoDataFrame:
    moved = frame.to_crs(crs)
    if not np.all(np.isfinite(moved.total_bounds)):
        raise VectorError(
            f"{name} has coordinates outside the CRS that it states, {frame.crs.to_string()}; "
            "assign the one it was made in."
        )
    # Again, since a narrow polygon may cross itself in another CRS.
    return _polygons_only(moved)


def _polygons_only(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    frame = frame[~frame.geometry.isna()]
    frame = frame.set_geometry(shapely.force_2d(frame.geometry.array))
    bad = ~frame.is_valid
    if bad.any():
        fixed = frame.geometry.array.copy()
        fixed[bad.to_numpy()] = shapely.make_valid(fixed[bad.to_numpy()], method="structure", keep_collapsed=False)
        frame = frame.set_geometry(fixed)
    # Twice: a collection may hold multipolygons.
    frame = frame.explode(ignore_index=True).explode(ignore_index=True)
    return frame[(frame.geom_type == "Polygon") & (shapely.area(frame.geometry.array) > 0)].reset_index(drop=True)


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
    parts = shapely.get_parts(shapely.get_parts(valid))
    keep = (shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & (shapely.area(parts) > 0)
    return cast("NDArray[Any]", parts[keep])


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
    return shapely.union_all(read_footprints(path, crs=crs).geometry.array)


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
    degrees = footprints.geometry.to_crs("EPSG:4326").to_numpy()
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
"""Extent of a polygon up to which a plane at its centre measures it to 0.01 %; larger ones take the slow exact way."""


def _in_local_metres(degrees: NDArray[Any]) -> NDArray[Any]:
    """Place each geometry in degrees on a plane that touches WGS 84 at its own centre; 100 times faster than a Geod."""
    bounds = shapely.bounds(degrees)
    lon, lat = (bounds[:, 0] + bounds[:, 2]) / 2, np.radians((bounds[:, 1] + bounds[:, 3]) / 2)
    ellipsoid = pyproj.Geod(ellps="WGS84")
    bend = 1 - ellipsoid.es * np.sin(lat) ** 2
    # Metres per degree along the parallel and along the meridian, from the two radii of curvature.
    scale = np.radians(ellipsoid.a) * np.stack([np.cos(lat) / np.sqrt(bend), (1 - ellipsoid.es) / bend**1.5], axis=1)
    points, index = shapely.get_coordinates(degrees, return_index=True)
    centre = np.stack([lon, np.degrees(lat)], axis=1)
    return cast("NDArray[Any]", shapely.set_coordinates(degrees.copy(), (points - centre[index]) * scale[index]))


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
    """
    target = require_format(path)
    with _replacing(target) as temporary:
        try:
            _write(footprints, temporary, metadata or {})
        except (DataSourceError, OSError, RuntimeError) as error:
            raise OutputError(f"{target} cannot be written ({error}).") from error


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
        if target.suffix.lower() == ".shp":
            for suffix in (".shp", ".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".sbx", ".qmd"):
                target.with_suffix(suffix).unlink(missing_ok=True)
        for file in written:
            shutil.move(file, target.parent / file.name)
