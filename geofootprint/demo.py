"""The whole path at a glance: make a scene, find its buildings, score them, draw them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import shapely

from geofootprint.errors import OptionError
from geofootprint.evaluate import REPORT_FILES, evaluate
from geofootprint.model import Model, load_model
from geofootprint.output import created_folder
from geofootprint.progress import SILENT, Progress
from geofootprint.report import Colour, draw_outlines, read_picture, write_png
from geofootprint.scenes import Scene, make_scene, write_scene
from geofootprint.segment import segment
from geofootprint.vector import read_footprints, write_footprints

__all__ = ["DemoResult", "demo"]

OUTLINE: Colour = (255, 221, 0)
"""Seen on roofs of every colour, on streets and on grass."""

OVERVIEW_SIZE = 1600
"""Pixels of the picture's longer side, at most."""

FILES = ("ortho.tif", "truth.gpkg", "area.geojson", "buildings.gpkg", "overview.png", *REPORT_FILES)
"""All that a demo writes."""

MIN_SIZE = 256
"""Pixels; less ground may have no building at all."""


@dataclass(frozen=True)
class DemoResult:
    """What `demo` made.

    Parameters
    ----------
    out, image, truth, buildings, overview, report : str
        The folder; orthophoto, true footprints, footprints that were found, picture of them, scores.
    count, true_count : int
        Buildings found, and true ones in the image.
    iou, object_f1 : float
        Of pixels, and of buildings paired at an IoU of 0.5.
    seconds : float
        Time it took.
    """

    out: str
    image: str
    truth: str
    buildings: str
    overview: str
    report: str
    count: int
    true_count: int
    iou: float
    object_f1: float
    seconds: float


def demo(
    out: str | os.PathLike[str] = "geofootprint-demo",
    *,
    seed: int = 7,
    size: int = 1024,
    style: str = "suburb",
    model: str | os.PathLike[str] | Model | None = None,
    progress: Progress = SILENT,
) -> DemoResult:
    """Make a procedural orthophoto, find its buildings, and compare them with the true ones.

    Parameters
    ----------
    out : path
        Folder, made if need be. Gets ``ortho.tif``, ``truth.gpkg``, ``area.geojson`` (the image's extent),
        ``buildings.gpkg``, ``overview.png``, and the report of `geofootprint.evaluate.evaluate`.
    seed : int
        Of the scene.
    size : int
        Pixels of the image's sides, at least 256; a pixel is 0.15 m.
    style : str
        Settlement, one of `geofootprint.scenes.STYLE_NAMES`.
    model : path or Model, optional
        The model that comes along by default.
    progress : Progress

    Returns
    -------
    DemoResult

    Raises
    ------
    OptionError
        If the size is too small, the style unknown, or the scene has no building.
    ModelError, MissingFileError
        If the model cannot be used.
    OutputError
        If the folder cannot be written to.
    """
    started = time.monotonic()
    if size < MIN_SIZE:
        raise OptionError(f"The size of the demo's scene must be at least {MIN_SIZE} px, not {size}.")
    network = model if isinstance(model, Model) else load_model(model)
    with created_folder(out, FILES) as folder:
        image, truth, area, found = (
            folder / name for name in ("ortho.tif", "truth.gpkg", "area.geojson", "buildings.gpkg")
        )
        progress.update("making a scene", 0, 1)
        scene = make_scene(size=size, seed=seed, style=style)
        if scene.footprints.empty:
            raise OptionError(f"The scene of seed {seed} has no building; choose another seed or a larger size.")
        write_scene(scene, image, truth)
        _write_extent(scene, area)
        progress.update("making a scene", 1, 1)
        segment(image, found, model=network, progress=progress)
        evaluation = evaluate(found, truth, aoi=area, image=image, out=folder, progress=progress)
        _draw_overview(scene, image, found, folder / "overview.png")
    scores = evaluation.scores
    return DemoResult(
        out=str(folder),
        image=str(image),
        truth=str(truth),
        buildings=str(found),
        overview=str(folder / "overview.png"),
        report=str(folder / "report.html"),
        count=scores.predicted,
        true_count=scores.truth,
        iou=round(scores.pixels.iou, 4),
        object_f1=round(scores.objects.f1, 4),
        seconds=round(time.monotonic() - started, 1),
    )


def _write_extent(scene: Scene, path: Path) -> None:
    """Write the image's extent: true footprints reach beyond it, and nobody could find that part."""
    extent = gpd.GeoDataFrame(geometry=[shapely.box(*scene.grid.bounds)], crs=scene.grid.crs)
    write_footprints(extent, path)


def _draw_overview(scene: Scene, image: Path, found: Path, path: Path) -> None:
    grid = scene.grid
    picture, shown = read_picture(
        grid.bounds, grid.crs, image=image, size=min(OVERVIEW_SIZE, max(grid.shape))
    )
    footprints = read_footprints(found, crs=shown.crs, allow_empty=True)
    write_png(path, draw_outlines(picture, shown, footprints, colour=OUTLINE))
