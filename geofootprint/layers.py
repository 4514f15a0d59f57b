"""Layers of vector files: which one is read, and its features near some bounds, with attributes or without."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyogrio
import pyproj
import shapely
from numpy.typing import NDArray

from geofootprint.errors import MissingFileError, VectorError
from geofootprint.raster import VIRTUAL

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["Bounds", "Layer", "read_frame", "read_layer"]

Bounds = tuple[float, float, float, float]
"""West, south, east, north."""


class Layer(NamedTuple):
    """The geometries of a layer that may meet some bounds.

    Attributes
    ----------
    name : str
        The file, for errors.
    shapes : array of shapely geometries or None
        In the file's order: where footprints overlap, it decides which one shows.
    crs : pyproj.CRS or None
        The file's own.
    features : int
        How many the layer has in all, wherever they are.
    """

    name: str
    shapes: NDArray[Any]
    crs: pyproj.CRS | None
    features: int


def read_layer(path: str | os.PathLike[str], crs: Any = None, bounds: Bounds | None = None) -> Layer:
    """Read the geometries of a vector file; of GeoParquet alone with geopandas.

    Parameters
    ----------
    path : path
        Anything OGR opens, or GeoParquet. The layer is the first with geometries that may be polygons.
    crs : anything pyproj understands, optional
        CRS of `bounds`; the file's own by default.
    bounds : (west, south, east, north), optional
        A hint: what is far from them may be left out.

    Returns
    -------
    Layer

    Raises
    ------
    MissingFileError
        If nothing is at `path`.
    VectorError
        If the file is damaged or has no such layer.
    """
    if _is_parquet(path):
        return read_frame(path, crs, bounds, [])[0]
    with _opening(path) as name:
        layer, near, features = _look_into(name, crs, bounds)
        about, fids, wkb, _ = pyogrio.raw.read(name, layer=layer, columns=[], bbox=near, return_fids=near is not None)
        shapes = shapely.from_wkb(wkb if near is None else wkb[np.argsort(fids, kind="stable")])
        own = about["crs"] and pyproj.CRS.from_user_input(about["crs"])
        return Layer(name, shapes, own, features)


def read_frame(
    path: str | os.PathLike[str],
    crs: Any = None,
    bounds: Bounds | None = None,
    columns: Sequence[str] | None = None,
) -> tuple[Layer, gpd.GeoDataFrame]:
    """Read what `read_layer` reads, and as a frame with attributes.

    Parameters
    ----------
    path, crs, bounds
        As of `read_layer`.
    columns : sequence of str, optional
        Columns wanted besides the geometry; all by default.

    Returns
    -------
    layer : Layer
    frame : geopandas.GeoDataFrame
        A row for each of the layer's shapes.

    Raises
    ------
    MissingFileError, VectorError
        As of `read_layer`.
    """
    import geopandas as gpd

    with _opening(path) as name:
        if _is_parquet(name):
            frame = gpd.read_parquet(name)
            features = len(frame)
            frame = frame if columns is None else frame[[*columns, frame.geometry.name]]
        else:
            layer, near, features = _look_into(name, crs, bounds)
            frame = pyogrio.read_dataframe(
                name, layer=layer, columns=columns, bbox=near, use_arrow=True, fid_as_index=near is not None
            )
            frame = frame if near is None else frame.sort_index()
        return Layer(name, np.asarray(frame.geometry.array), frame.crs, features), frame


def _is_parquet(path: str | os.PathLike[str]) -> bool:
    """Return whether geopandas reads it: few builds of GDAL can."""
    return os.fspath(path).lower().endswith(".parquet")


@contextmanager
def _opening(path: str | os.PathLike[str]) -> Iterator[str]:
    """Give the name of a file that exists; what its readers raise becomes one error with that name."""
    name = os.fspath(path)
    if not VIRTUAL.match(name) and not Path(name).exists():
        raise MissingFileError(f"{name} does not exist; check the path of the vector file.")
    try:
        yield name
    except VectorError:
        raise
    except (RuntimeError, ValueError, OSError, shapely.errors.ShapelyError) as error:
        raise VectorError(
            f"{name} cannot be read as a vector file: it is damaged or of an unknown format ({error})."
        ) from error


def _look_into(name: str, crs: Any, bounds: Bounds | None) -> tuple[str | None, Bounds | None, int]:
    """Return which layer to read, `bounds` in its CRS, and how many features it has in all."""
    layer = _choose_layer(name)
    about = pyogrio.read_info(name, layer=layer, force_feature_count=True)
    near = None if bounds is None or about["crs"] is None else _bounds_in(bounds, crs, about["crs"])
    return layer, near, int(about["features"])


def _choose_layer(name: str) -> str | None:
    """Return the first layer with geometries that may be polygons; a GeoPackage of QGIS has tables beside it."""
    layers = pyogrio.list_layers(name)
    for layer, kind in layers:
        if kind is not None and any(word in kind for word in ("Polygon", "Unknown", "Collection", "Surface")):
            return str(layer)
    if all(kind is None for _, kind in layers):
        raise VectorError(f"{name} has no geometries; give a layer with polygons.")
    raise VectorError(f"{name} has no polygons; give a layer with polygons.")


def _bounds_in(bounds: Bounds, crs: Any, wanted: Any) -> Bounds | None:
    """Return bounds in another CRS, a little too wide; None if they cannot be told there."""
    if crs is not None:
        try:
            bounds = pyproj.Transformer.from_crs(crs, wanted, always_xy=True).transform_bounds(*bounds)
        except pyproj.exceptions.ProjError:
            return None
    west, south, east, north = bounds
    if not np.all(np.isfinite(bounds)) or west > east:
        return None
    margin = 0.01 * max(east - west, north - south)
    return west - margin, south - margin, east + margin, north + margin
