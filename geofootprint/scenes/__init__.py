"""Procedural orthophotos with exact footprints: for demonstrations, tests and pre-training.

A scene is a settlement drawn by chance: streets, blocks of a style, houses with their roofs, and all that hides or
surrounds them. Sizes are metres, so the same seed at another ground sampling distance keeps its character, and the
footprints are what was drawn, not what can be seen.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import pyproj
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj.exceptions import CRSError
from rasterio.crs import CRS

from geofootprint.errors import OptionError
from geofootprint.output import create_geotiff
from geofootprint.raster import Grid
from geofootprint.scenes.layout import Layout, make_layout
from geofootprint.scenes.light import make_light
from geofootprint.scenes.painting import paint
from geofootprint.scenes.styles import STYLES
from geofootprint.vector import require_format, write_footprints

__all__ = ["STYLE_NAMES", "Scene", "make_scene", "write_scene"]

STYLE_NAMES = tuple(STYLES)
"""Settlements that `make_scene` knows."""

INNSBRUCK = (11.39, 47.262)
"""Longitude and latitude of scenes whose origin is not given."""

GSD_RANGE = (0.02, 2.0)
"""Ground sampling distances that a scene can be painted at, in metres."""


@dataclass(frozen=True)
class Scene:
    """An image and the buildings in it.

    Parameters
    ----------
    image : uint8 array of shape (3, height, width)
        Red, green, blue; every pixel is valid.
    grid : Grid
        Where it lies.
    footprints : geopandas.GeoDataFrame
        In the grid's CRS, whole where the image cuts them. Columns: `id`; `kind`, the shape (rectangle, L, T, U,
        courtyard, round, octagon, or row for houses that share walls); `height` in metres; `roof`, its material;
        `geometry`.
    style : str
        Of the settlement.
    """

    image: NDArray[np.uint8]
    grid: Grid
    footprints: gpd.GeoDataFrame
    style: str


def make_scene(
    *,
    size: int | tuple[int, int] = 1024,
    gsd: float = 0.15,
    seed: int = 0,
    crs: Any = "EPSG:32632",
    origin: tuple[float, float] | None = None,
    style: str | None = None,
    density: float = 1.0,
    trees: float = 1.0,
) -> Scene:
    """Draw a scene; equal arguments give an equal scene.

    Parameters
    ----------
    size : int or (height, width)
        In pixels.
    gsd : float
        Metres on the ground per pixel, from 0.02 to 2.
    seed : int
        Of everything: place, houses, season, light, camera.
    crs : anything rasterio understands
        Projected or geographic. Pixels are `gsd` true metres in any of them.
    origin : (x, y), optional
        Upper left corner in the CRS; near Innsbruck by default, or in the middle of the CRS's area where that is far.
    style : str, optional
        One of `STYLE_NAMES`; by the seed if not given.
    density : float
        Share of the blocks that are built, from 0 (nothing) to 1.
    trees : float
        Share of the trees that are kept, from 0 to 1.

    Returns
    -------
    Scene

    Raises
    ------
    OptionError
        If an argument is impossible.
    """
    rows, columns = (size, size) if isinstance(size, int) else size
    _check(rows, columns, gsd, style, density, trees)
    rng = np.random.default_rng([seed, 20])
    chosen = STYLE_NAMES[rng.integers(len(STYLE_NAMES))]
    name = style or chosen
    grid = _make_grid(crs, origin, (rows, columns), gsd)
    layout = make_layout((columns * gsd, rows * gsd), STYLES[name], rng, density=density, trees=trees)
    image = paint(layout, make_light(rng), (rows, columns), gsd, int(rng.integers(2**31)))
    return Scene(image, grid, _make_footprints(layout, grid, gsd), name)


def write_scene(
    scene: Scene, image_path: str | os.PathLike[str], footprints_path: str | os.PathLike[str]
) -> None:
    """Write a scene as a GeoTIFF and a vector file.

    Parameters
    ----------
    scene : Scene
    image_path : path
        Of the GeoTIFF.
    footprints_path : path
        Its extension chooses the format.

    Raises
    ------
    OptionError, OutputError
        If the format is unknown or a file cannot be written; no file is left half-written.
    """
    require_format(footprints_path)
    with create_geotiff(image_path, scene.grid, count=3, photometric="RGB") as dataset:
        dataset.write(scene.image)
    write_footprints(scene.footprints, footprints_path)


def _check(rows: int, columns: int, gsd: float, style: str | None, density: float, trees: float) -> None:
    if min(rows, columns) < 1:
        raise OptionError(f"The size must be at least 1 pixel, not {rows} x {columns}.")
    if not GSD_RANGE[0] <= gsd <= GSD_RANGE[1]:
        raise OptionError(f"The gsd must be from {GSD_RANGE[0]:g} to {GSD_RANGE[1]:g} m, not {gsd:g}.")
    if style is not None and style not in STYLES:
        raise OptionError(f"The style {style!r} is unknown; use one of {', '.join(STYLE_NAMES)}.")
    for name, share in (("density", density), ("trees", trees)):
        if not 0 <= share <= 1:
            raise OptionError(f"The option {name} must be from 0 to 1, not {share:g}.")


def _make_grid(crs: Any, origin: tuple[float, float] | None, shape: tuple[int, int], gsd: float) -> Grid:
    """Return a north-up grid whose pixels are `gsd` true metres wide and high at its middle."""
    # pyproj first: rasterio would also print its failure.
    try:
        system = CRS.from_wkt(pyproj.CRS.from_user_input(crs).to_wkt())
    except CRSError as error:
        raise OptionError(f"The crs {crs!r} is unknown; give one such as EPSG:32632 ({error}).") from error
    x, y = origin or _default_origin(pyproj.CRS.from_user_input(crs))
    to_degrees = pyproj.Transformer.from_crs(system.to_wkt(), "EPSG:4326", always_xy=True)
    geod = pyproj.Geod(ellps="WGS84")
    # Units in a metre depend on where the middle is, and that on them: three rounds settle it.
    unit = 1e-5 if system.is_geographic else 1.0
    width = height = gsd * unit
    for _ in range(3):
        column, row = x + width * shape[1] / 2, y - height * shape[0] / 2
        lon, lat = to_degrees.transform([column, column + width, column], [row, row, row - height])
        if not np.all(np.isfinite([*lon, *lat])):
            raise OptionError(f"The origin ({x:g}, {y:g}) is outside the CRS {system.to_string()}; give another.")
        sides = geod.inv([lon[0]] * 2, [lat[0]] * 2, lon[1:], lat[1:])[2]
        if system.is_geographic:
            width, height = width * gsd / sides[0], height * gsd / sides[1]
        else:
            width = height = width * gsd / float(np.sqrt(sides[0] * sides[1]))
    return Grid(system, Affine(width, 0, x, 0, -height, y), shape[1], shape[0])


def _default_origin(system: pyproj.CRS) -> tuple[float, float]:
    lon, lat = INNSBRUCK
    area = system.area_of_use
    if area is not None and not (area.west <= lon <= area.east and area.south <= lat <= area.north):
        lon, lat = (area.west + area.east) / 2, (area.south + area.north) / 2
    x, y = pyproj.Transformer.from_crs("EPSG:4326", system, always_xy=True).transform(lon, lat)
    return (float(x), float(y)) if system.is_geographic else (float(round(x)), float(round(y)))


def _make_footprints(layout: Layout, grid: Grid, gsd: float) -> gpd.GeoDataFrame:
    """Return the buildings that the image shows, in the grid's CRS."""
    frame = shapely.box(0, 0, *layout.size)
    shown = [b for b in layout.sketch.buildings if b.footprint.intersection(frame).area > gsd**2]
    steps = grid.transform.a / gsd, grid.transform.e / gsd

    # Elementwise, as in Frame.place: equal points stay equal to the last bit.
    def place(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack([points[:, 0] * steps[0] + grid.transform.c, points[:, 1] * steps[1] + grid.transform.f])

    geometry = shapely.orient_polygons(shapely.transform([b.footprint for b in shown], place))
    columns = {
        "id": np.arange(1, len(shown) + 1),
        "kind": np.array([b.kind for b in shown], dtype=object),
        "height": np.array([b.height for b in shown], dtype=float),
        "roof": np.array([b.material for b in shown], dtype=object),
    }
    return gpd.GeoDataFrame(columns, geometry=list(geometry), crs=grid.crs.to_wkt())
