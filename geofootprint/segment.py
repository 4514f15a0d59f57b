"""From an orthophoto to footprints: probabilities into a temporary file, then their outlines."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from rasterio.windows import Window, from_bounds

from geofootprint._version import __version__
from geofootprint.errors import OptionError, VectorError
from geofootprint.model import Model, load_model
from geofootprint.predict import Predictor, predict
from geofootprint.progress import SILENT, Progress
from geofootprint.raster import Grid, open_image, open_raster, read_grid
from geofootprint.vector import clean_polygons, read_area, require_format, write_footprints
from geofootprint.vectorize import check_options, model_label, read_outlines

__all__ = ["SegmentPlan", "SegmentResult", "plan_segment", "segment"]

MARGIN = 50.0
"""Metres around the area asked for that are predicted too, so that buildings on its edge come out whole."""


@dataclass(frozen=True)
class SegmentResult:
    """What `segment` made.

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
    model : str
        Name and short hash of the model.
    seconds : float
        Time it took.
    """

    out: str
    count: int
    area_m2: float
    threshold: float
    model: str
    seconds: float


@dataclass(frozen=True)
class SegmentPlan:
    """What `segment` would do.

    Parameters
    ----------
    out : str
        The file it would write.
    crs : str
        CRS of the probabilities.
    width, height : int
        Their pixels.
    gsd : float
        Their metres per pixel.
    patches : int
        Patches that would go through the model, without those that turn out to be empty.
    model, backend : str
        Which model, and what would run it.
    disk_mb : float
        Room that the probabilities need beside the result, at most.
    """

    out: str
    crs: str
    width: int
    height: int
    gsd: float
    patches: int
    model: str
    backend: str
    disk_mb: float


def segment(
    image: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | Model | None = None,
    aoi: str | os.PathLike[str] | None = None,
    bounds: tuple[float, float, float, float] | None = None,
    threshold: float | None = None,
    min_area: float = 8.0,
    outline: str = "map",
    tta: bool = False,
    device: str = "auto",
    progress: Progress = SILENT,
) -> SegmentResult:
    """Find the buildings of an orthophoto and write their footprints in its CRS.

    Parameters
    ----------
    image : path
        The orthophoto; anything GDAL opens.
    out : path
        Vector file; its extension names the format.
    model : path or Model, optional
        The model that comes along by default.
    aoi : path, optional
        Polygons. Buildings whose representative point lies inside are kept, and kept whole.
    bounds : (west, south, east, north), optional
        In the image's CRS; likewise.
    threshold : float, optional
        Probability, 0 to 1, from which a pixel is building; the model's by default.
    min_area, outline
        As of `geofootprint.vectorize.find_outlines`.
    tta, device
        As of `geofootprint.predict.predict`.
    progress : Progress

    Returns
    -------
    SegmentResult

    Raises
    ------
    MissingFileError, RasterError, VectorError, ModelError
        If an input cannot be used, the area misses the image, or nothing in it is valid.
    OptionError, OutputError
        If an option is impossible or the result cannot be written.
    """
    started = time.monotonic()
    target = require_format(out)
    check_options(threshold=threshold, min_area=min_area, outline=outline)
    area = _find_area(image, aoi=aoi, bounds=bounds)
    network = model if isinstance(model, Model) else load_model(model, device=device)
    level = network.info.threshold if threshold is None else threshold
    with tempfile.TemporaryDirectory(prefix=f".{target.stem}.", dir=target.parent) as folder:
        probabilities = Path(folder) / "probabilities.tif"
        around = _write_with_margin(area, Path(folder) / "area.gpkg")
        predict(image, probabilities, model=network, aoi=around, tta=tta, progress=progress)
        footprints, _ = read_outlines(
            probabilities, threshold=level, min_area=min_area, outline=outline, progress=progress
        )
    footprints = _choose(footprints, image, area)
    footprints["source"] = Path(image).name
    footprints["model"] = model_label(network.info.name, network.info.sha256)
    if footprints.empty:
        progress.warn(f"No building was found in {os.fspath(image)}; the layer written is empty.")
    options = {"threshold": level, "min_area": min_area, "outline": outline, "tta": tta, "bounds": bounds}
    options["aoi"] = None if aoi is None else os.fspath(aoi)
    write_footprints(footprints, target, metadata=_describe(image, network, options))
    return SegmentResult(
        out=str(target),
        count=len(footprints),
        area_m2=round(float(footprints["area_m2"].sum()), 2),
        threshold=level,
        model=model_label(network.info.name, network.info.sha256),
        seconds=round(time.monotonic() - started, 3),
    )


def plan_segment(
    image: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | Model | None = None,
    aoi: str | os.PathLike[str] | None = None,
    bounds: tuple[float, float, float, float] | None = None,
    threshold: float | None = None,
    min_area: float = 8.0,
    outline: str = "map",
    tta: bool = False,
    device: str = "auto",
    progress: Progress = SILENT,
) -> SegmentPlan:
    """Say what `segment` would do with the same arguments, without doing it.

    Returns
    -------
    SegmentPlan

    Raises
    ------
    GeofootprintError
        As of `segment`, but for what only the pixels tell.
    """
    target = require_format(out)
    check_options(threshold=threshold, min_area=min_area, outline=outline)
    area = _find_area(image, aoi=aoi, bounds=bounds)
    network = model if isinstance(model, Model) else load_model(model, device=device)
    info = network.info
    with open_image(image, gsd=info.gsd, count=info.bands, progress=progress) as reader:
        predictor = Predictor(reader, network, tta=tta)
        grid = reader.grid
        window = Window(0, 0, grid.width, grid.height)
        if area is not None:
            window = _window_around(area.to_crs(grid.crs), grid)
        return SegmentPlan(
            out=str(target),
            crs=grid.crs.to_string(),
            width=int(window.width),
            height=int(window.height),
            gsd=round(grid.gsd, 6),
            patches=predictor.count_patches(window),
            model=model_label(info.name, info.sha256),
            backend=network.backend,
            # A band a class, and the mask.
            disk_mb=round(window.width * window.height * (len(info.classes) + 1 / 8) / 2**20, 1),
        )


def _find_area(
    image: str | os.PathLike[str],
    *,
    aoi: str | os.PathLike[str] | None,
    bounds: tuple[float, float, float, float] | None,
) -> gpd.GeoSeries | None:
    """Return the area asked for as one geometry in the image's CRS, or None for all; it meets the image."""
    with open_raster(image) as dataset:
        grid = read_grid(dataset, os.fspath(image))
    area = extent = shapely.box(*grid.bounds)
    if bounds is not None:
        west, south, east, north = bounds
        if not (west < east and south < north and all(map(math.isfinite, bounds))):
            raise OptionError(f"The bounds {bounds} are not west south east north; give them in this order.")
        area = shapely.box(*bounds)
        if area.intersection(extent).area == 0:
            raise OptionError(f"The bounds {bounds} miss {os.fspath(image)}; give them in the image's CRS.")
    if aoi is not None:
        area = area.intersection(read_area(aoi, grid.crs))
        if area.intersection(extent).area == 0:
            raise VectorError(f"{os.fspath(aoi)} misses {os.fspath(image)}; give an area that lies on it.")
    return None if area is extent else gpd.GeoSeries([area], crs=grid.crs)


def _with_margin(area: gpd.GeoSeries) -> gpd.GeoSeries:
    return area.to_crs(area.estimate_utm_crs()).buffer(MARGIN).to_crs(area.crs)


def _write_with_margin(area: gpd.GeoSeries | None, path: Path) -> Path | None:
    if area is None:
        return None
    polygons = clean_polygons(_with_margin(area).to_numpy())
    write_footprints(gpd.GeoDataFrame(geometry=polygons, crs=area.crs), path)
    return path


def _window_around(area: gpd.GeoSeries, grid: Grid) -> Window:
    """Return the pixels that an area and its margin touch."""
    around = from_bounds(*_with_margin(area).total_bounds, transform=grid.transform)
    whole = around.round_offsets(op="floor").round_lengths(op="ceil")
    return whole.intersection(Window(0, 0, grid.width, grid.height))


def _choose(
    footprints: gpd.GeoDataFrame, image: str | os.PathLike[str], area: gpd.GeoSeries | None
) -> gpd.GeoDataFrame:
    """Bring footprints to the image's CRS and keep those whose representative point lies in the area."""
    with open_raster(image) as dataset:
        crs = dataset.crs
    if footprints.crs != crs:
        footprints = footprints.to_crs(crs)
    if area is not None:
        inside = footprints.representative_point().intersects(area.iloc[0])
        footprints = footprints[inside].reset_index(drop=True)
        footprints["id"] = np.arange(1, len(footprints) + 1)
    return footprints


def _describe(
    image: str | os.PathLike[str], model: Model, options: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return how the footprints were made, for the file that takes it."""
    info = model.info
    return {
        "command": "segment",
        "version": __version__,
        "image": os.fspath(image),
        "options": options,
        "model": {"name": info.name, "sha256": info.sha256, "gsd": info.gsd, "backend": model.backend},
    }
