"""From an orthophoto to footprints: probabilities into a temporary file, then their outlines."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import geopandas as gpd
import numpy as np
from rasterio.crs import CRS

from geofootprint._version import __version__
from geofootprint.area import find_area, widen, window_of
from geofootprint.model import Model, load_model
from geofootprint.output import require_other
from geofootprint.predict import Predictor, predict
from geofootprint.progress import SILENT, Progress
from geofootprint.raster import file_name, open_image, open_raster, read_grid
from geofootprint.vector import require_format, write_footprints
from geofootprint.vectorize import check_options, model_label, read_outlines

__all__ = ["SegmentPlan", "SegmentResult", "plan_segment", "segment"]

MARGIN = 50.0
"""Metres around the area asked for that are predicted too, so that buildings on its edge come out whole."""


class _Rule(TypedDict):
    threshold: float
    min_area: float
    outline: str


class _Where(TypedDict):
    aoi: str | os.PathLike[str] | None
    bounds: tuple[float, float, float, float] | None


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
    require_other(target, image, aoi, None if isinstance(model, Model) else model)
    crs = _crs_of(image)
    network = model if isinstance(model, Model) else load_model(model, device=device)
    rule: _Rule = {
        "threshold": network.info.threshold if threshold is None else threshold,
        "min_area": min_area,
        "outline": outline,
    }
    where: _Where = {"aoi": aoi, "bounds": bounds}
    footprints, area = _outline(image, target, network, where, rule, tta=tta, progress=progress)
    footprints = _choose(footprints, area, crs)
    label = model_label(network.info.name, network.info.sha256)
    footprints = footprints.assign(source=file_name(image), model=label)
    if footprints.empty:
        progress.warn(f"No building was found in {os.fspath(image)}; the layer written is empty.")
    options = {**rule, "tta": tta, "bounds": bounds, "aoi": None if aoi is None else os.fspath(aoi)}
    write_footprints(footprints, target, metadata=_describe(image, network, options))
    size = round(float(footprints["area_m2"].sum()), 2)
    seconds = round(time.monotonic() - started, 3)
    return SegmentResult(str(target), len(footprints), size, rule["threshold"], label, seconds)


def _outline(
    image: str | os.PathLike[str],
    target: Path,
    model: Model,
    where: _Where,
    rule: _Rule,
    *,
    tta: bool,
    progress: Progress,
) -> tuple[gpd.GeoDataFrame, Any]:
    """Return the footprints around the area asked for, and that area in their CRS."""
    with tempfile.TemporaryDirectory(prefix=f".{target.stem}.", dir=target.parent) as folder:
        probabilities = Path(folder) / "probabilities.tif"
        predict(image, probabilities, model=model, margin=MARGIN, tta=tta, cog=False, progress=progress, **where)
        footprints, _ = read_outlines(probabilities, progress=progress, **rule)
        with open_raster(probabilities) as dataset:
            return footprints, find_area(image, read_grid(dataset, str(probabilities)), **where)


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
    _crs_of(image)
    network = model if isinstance(model, Model) else load_model(model, device=device)
    info = network.info
    with open_image(image, gsd=info.gsd, count=info.bands, progress=progress) as reader:
        grid = reader.grid
        area = find_area(image, grid, aoi=aoi, bounds=bounds)
        window = window_of(widen(area, grid, MARGIN), grid)
        predictor = Predictor(reader, network, tta=tta)
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


def _crs_of(image: str | os.PathLike[str]) -> CRS:
    """Return the CRS of an image, and fail before a model is loaded if there is none."""
    with open_raster(image) as dataset:
        return read_grid(dataset, os.fspath(image)).crs


def _choose(footprints: gpd.GeoDataFrame, area: Any, crs: CRS) -> gpd.GeoDataFrame:
    """Keep the footprints whose representative point lies in the area, and bring them to the image's CRS."""
    if area is not None:
        footprints = footprints[footprints.representative_point().intersects(area)].reset_index(drop=True)
        footprints["id"] = np.arange(1, len(footprints) + 1)
    return footprints if footprints.crs == crs else footprints.to_crs(crs)


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
