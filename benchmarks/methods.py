"""Ways from probabilities to outlines that benchmarks/outlines.py compares: ours, the usual ones, packages from PyPI."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from geofootprint.instances import separate_instances
from geofootprint.raster import Grid
from geofootprint.vectorize import find_outlines

__all__ = ["METHODS", "Method", "Scene"]

UTM = "EPSG:32632"
WEST, NORTH = 680_000.0, 5_238_000.0

SIMPLIFY = 2.0
"""Pixels of tolerance given to the packages; the readme of buildingregulariser advises two to three."""

PARALLEL = 1.0
"""Pixels within which buildingregulariser joins parallel edges; of 1 to 4 its best IoU."""

MIN_AREA = 8.0
"""Square metres of the smallest building, for all."""


@dataclass(frozen=True)
class Scene:
    """Probabilities and the true outlines, all in pixels.

    Parameters
    ----------
    name : str
    probabilities : uint8 array of shape (2, height, width)
        Building and contour.
    valid : bool array of shape (height, width)
    truth : array of shapely.Polygon
    kinds : array of str
        Shape of each true building.
    gsd : float
        Metres of a pixel.
    threshold : float
    area : shapely geometry, optional
        Where the truth is complete.
    """

    name: str
    probabilities: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    truth: NDArray[Any]
    kinds: NDArray[np.str_]
    gsd: float
    threshold: float = 0.5
    area: Any = None

    @property
    def transform(self) -> Affine:
        """From pixels to metres of a place that the packages accept."""
        return Affine(self.gsd, 0, WEST, 0, -self.gsd, NORTH)


def _ours(outline: str) -> Callable[[Scene], NDArray[Any]]:
    def draw(scene: Scene) -> NDArray[Any]:
        height, width = scene.valid.shape
        grid = Grid(CRS.from_string(UTM), scene.transform, width, height)
        found = find_outlines(
            scene.probabilities, scene.valid, grid, threshold=scene.threshold, min_area=MIN_AREA, outline=outline
        )
        return _in_pixels(found, scene)

    return draw


def _pixels(scene: Scene) -> NDArray[Any]:
    """Outline the pixels of each building; which these are is told to all methods alike."""
    building, contour = scene.probabilities
    mask = scene.valid & (building > scene.threshold * 255)
    labels = separate_instances(mask, building, contour, marker_size=max(1, round(4 / scene.gsd**2)))
    found = [shapely.geometry.shape(shape) for shape, _ in rasterio.features.shapes(labels, mask=labels > 0)]
    polygons = np.array(found, dtype=object)
    return np.asarray(polygons[shapely.area(polygons) * scene.gsd**2 >= MIN_AREA])


def _simplified(tolerance: float) -> Callable[[Scene], NDArray[Any]]:
    return lambda scene: np.asarray(shapely.simplify(_pixels(scene), tolerance))


def _building_regulariser(scene: Scene) -> NDArray[Any]:
    from buildingregulariser import regularize_geodataframe

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = regularize_geodataframe(
            _in_metres(_pixels(scene), scene), simplify_tolerance=SIMPLIFY * scene.gsd,
            parallel_threshold=PARALLEL * scene.gsd, num_cores=1,
        )
    return _in_pixels(made, scene)


def _geomltoolkits(scene: Scene) -> NDArray[Any]:
    from geomltoolkits.geometry.orthogonalize import orthogonalize_gdf

    logging.disable(logging.INFO)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = orthogonalize_gdf(_in_metres(shapely.simplify(_pixels(scene), SIMPLIFY), scene))
    return _in_pixels(made, scene)


def _in_metres(polygons: NDArray[Any], scene: Scene) -> gpd.GeoDataFrame:
    metres = shapely.transform(polygons, lambda xy: xy * [scene.gsd, -scene.gsd] + [WEST, NORTH])
    return gpd.GeoDataFrame(geometry=metres, crs=UTM)


def _in_pixels(frame: gpd.GeoDataFrame, scene: Scene) -> NDArray[Any]:
    shapes = np.asarray(frame.geometry.array, dtype=object)
    made = shapely.transform(shapes, lambda xy: (xy - [WEST, NORTH]) / [scene.gsd, -scene.gsd])
    return np.asarray(made, dtype=object)


@dataclass(frozen=True)
class Method:
    """One way to draw outlines.

    Parameters
    ----------
    title : str
        For tables.
    draw : callable
        Takes a `Scene`, returns an array of geometries in pixels.
    package : str, optional
        That must be installed.
    """

    title: str
    draw: Callable[[Scene], NDArray[Any]]
    package: str | None = None

    @property
    def version(self) -> str | None:
        """Return the version of the package, None where it is absent or not needed."""
        if self.package is None or importlib.util.find_spec(self.package) is None:
            return None
        return importlib.metadata.version(self.package)

    @property
    def is_here(self) -> bool:
        """Say whether it can be run."""
        return self.package is None or self.version is not None


METHODS = {
    "pixels": Method("pixel edges (`rasterio.features.shapes`)", _pixels),
    "douglas_peucker_1": Method("Douglas-Peucker, 1 px", _simplified(1.0)),
    "douglas_peucker_2": Method("Douglas-Peucker, 2 px", _simplified(2.0)),
    "buildingregulariser": Method("`buildingregulariser`", _building_regulariser, "buildingregulariser"),
    "geomltoolkits": Method("`geomltoolkits` orthogonalize", _geomltoolkits, "geomltoolkits"),
    "raw": Method("geofootprint `--outline raw`", _ours("raw")),
    "map": Method("**geofootprint `--outline map`**", _ours("map")),
    "area": Method("**geofootprint `--outline area`**", _ours("area")),
}
"""In the order of the tables."""
