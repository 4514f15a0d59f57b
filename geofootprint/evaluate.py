"""Score footprints against the truth, and show where they are right and where they are wrong."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import pyproj
import rasterio
import shapely
from affine import Affine
from rasterio.crs import CRS

from geofootprint._version import __version__
from geofootprint.errors import OptionError, ScoreError, VectorError
from geofootprint.output import atomic_path, created_folder
from geofootprint.progress import SILENT, Progress
from geofootprint.raster import Grid, open_image
from geofootprint.score_page import Layers, build_score_page
from geofootprint.scores import BOUNDARY_WIDTH, IOU_THRESHOLD, RATIOS, Scores, score_footprints
from geofootprint.vector import read_area, read_footprints, write_footprints

__all__ = ["REPORT_FILES", "Evaluation", "evaluate", "metric_crs"]

SCHEMA = 1
"""Number of the JSON's format."""

REPORT_FILES = ("scores.json", "report.html", "matches.gpkg")
"""What is written where `out` is given."""

ROUNDING = 1e-9
"""What a score may be below its mark: a building's IoU with itself is 1 but for the last digits."""

COMMON_EXTENT = 0.5
"""Share of the layers' joint extent below which they seem to be of different ground."""

FAR_APART = 20_000.0
"""Metres between two layers that cannot be meant to show the same place."""

TRUE_TO_SCALE = 0.01
"""Share by which a map metre may differ from a true one; EPSG:3857 is 14 % off at 28° north."""


@dataclass(frozen=True)
class Evaluation:
    """The scores of one comparison and how they came about.

    Parameters
    ----------
    scores : Scores
    options : mapping
        As given to `evaluate`; paths as text.
    crs : str
        Metric CRS in which was measured.
    failed : tuple of str
        A sentence for each score below its mark.
    out : pathlib.Path, optional
        Folder of the report.
    """

    scores: Scores
    options: Mapping[str, Any]
    crs: str
    failed: tuple[str, ...] = ()
    out: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return what the JSON holds; a score that does not exist, as of pairs without pairs, is None."""
        scores = self.scores
        single = {
            **scores.ratios,
            "polis_m": scores.polis,
            "vertex_ratio": scores.vertex_ratio,
            "total_vertex_ratio": scores.total_vertex_ratio,
            "area_m2": scores.area_m2,
        }
        return {
            "schema": SCHEMA,
            **{name: None if value is None else round(value, 6) for name, value in single.items()},
            "predicted": scores.predicted,
            "truth": scores.truth,
            "merged": scores.merged,
            "split": scores.split,
            "counts": {name: vars(getattr(scores, name)) for name in ("pixels", "boundary", "objects")},
            "boundary_width_m": BOUNDARY_WIDTH,
            "object_iou_threshold": IOU_THRESHOLD,
            "crs": self.crs,
            "out": None if self.out is None else str(self.out),
            "failed": list(self.failed),
            "options": dict(self.options),
            "versions": _versions(),
        }

    def as_text(self) -> str:
        """Return the scores in four lines for a terminal."""
        scores = self.scores
        pixels, objects, none = scores.pixels, scores.objects, "no pairs to measure"
        lines = [
            f"pixels     IoU {pixels.iou:.3f}  precision {pixels.precision:.3f}  recall {pixels.recall:.3f}  "
            f"F1 {pixels.f1:.3f}  boundary IoU {scores.boundary.iou:.3f}",
            f"buildings  F1 {objects.f1:.3f}  precision {objects.precision:.3f}  recall {objects.recall:.3f}  "
            f"({scores.truth} true, {scores.predicted} predicted, {objects.true_positive} pairs)",
            f"outlines   {none}" if scores.polis is None else
            f"outlines   PoLiS {scores.polis:.2f} m  vertices per true vertex {scores.vertex_ratio:.2f}",
        ]
        return "\n".join([*lines, *([f"report     {self.out / 'report.html'}"] if self.out else [])])

    def require_marks(self) -> None:
        """Raise `ScoreError` if a score is below its mark."""
        if self.failed:
            raise ScoreError(" ".join(self.failed))


def evaluate(
    predicted: str | os.PathLike[str],
    truth: str | os.PathLike[str],
    *,
    aoi: str | os.PathLike[str] | None = None,
    image: str | os.PathLike[str] | None = None,
    gsd: float = 0.15,
    out: str | os.PathLike[str] | None = None,
    fail_under: Mapping[str, float] | None = None,
    progress: Progress = SILENT,
) -> Evaluation:
    """Compare a file of footprints with a file of the truth.

    Both are brought to the truth's CRS if a metre there is a metre on the ground, else to its UTM zone,
    whatever the image's is: scores must not depend on what they are drawn on. What counts at the border of
    the area is said at `geofootprint.scores.score_footprints`.

    Parameters
    ----------
    predicted, truth : path
        Footprints in any CRS. The predicted layer may be empty.
    aoi : path, optional
        Polygons inside which the truth is complete; the bounding box of both layers by default.
    image : path, optional
        Orthophoto for the report's pictures; drawn on white without.
    gsd : float
        Metres per pixel at which pixels are counted.
    out : path, optional
        Folder for ``report.html``, ``scores.json`` and ``matches.gpkg``; nothing is written by default.
    fail_under : mapping of str to float, optional
        Marks for scores of `geofootprint.scores.RATIOS`. Which are missed is said in `Evaluation.failed`.
    progress : Progress

    Returns
    -------
    Evaluation

    Raises
    ------
    MissingFileError, VectorError, RasterError
        If an input cannot be used.
    OptionError
        If `gsd` or a mark is impossible, or `image` is given without `out`.
    OutputError
        If the report cannot be written.
    """
    marks = _check_marks(fail_under or {})
    if image is not None:
        _check_image(image, out, progress)
    with created_folder(out, REPORT_FILES) if out is not None else nullcontext() as folder:
        true = read_footprints(truth)
        crs = metric_crs(true)
        true = true if crs == true.crs else read_footprints(truth, crs=crs)
        mine = read_footprints(predicted, crs=crs, allow_empty=True)
        area = None if aoi is None else read_area(aoi, crs)
        if area is None:
            _compare_extents(mine, true, progress)
        scores = score_footprints(mine, true, area=area, gsd=gsd, progress=progress)
        evaluation = Evaluation(
            scores=scores,
            options=_given(
                predicted=predicted, truth=truth, aoi=aoi, image=image, gsd=gsd, fail_under=marks or None
            ),
            crs=crs.to_string(),
            failed=_below(scores, marks),
            out=folder,
        )
        if folder is not None:
            page = build_score_page(
                scores, Layers(mine, true, area, image), facts=evaluation.as_dict(), progress=progress
            )
            _write_report(folder, evaluation, page)
    return evaluation


def metric_crs(footprints: gpd.GeoDataFrame) -> pyproj.CRS:
    """Return the layer's own CRS if it is true to scale there, else the UTM zone it lies in.

    Parameters
    ----------
    footprints : geopandas.GeoDataFrame
        Not empty.

    Returns
    -------
    pyproj.CRS

    Raises
    ------
    VectorError
        If the coordinates are outside the CRS.
    """
    crs = pyproj.CRS(footprints.crs)
    west, south, east, north = footprints.total_bounds
    if crs.is_projected:
        middle = Affine(1, 0, (west + east) / 2, 0, -1, (south + north) / 2)
        # Both sides: a CRS that is true to area alone may stretch one as much as it shortens the other.
        if all(abs(side - 1) < TRUE_TO_SCALE for side in Grid(CRS.from_user_input(crs), middle, 1, 1).pixel_sides):
            return crs
    try:
        return pyproj.CRS(footprints.estimate_utm_crs())
    except RuntimeError as error:
        raise VectorError(
            f"The true footprints, at ({west:.6g}, {south:.6g}), are outside their CRS {crs.to_string()}; "
            "assign the one they were made in."
        ) from error


def _check_marks(marks: Mapping[str, float]) -> dict[str, float]:
    for name, mark in marks.items():
        if name not in RATIOS:
            near = difflib.get_close_matches(name, RATIOS, n=1) or RATIOS
            raise OptionError(f"--fail-under knows no score {name!r}; try {', '.join(near)}.")
        if not 0 <= mark <= 1:
            raise OptionError(f"The mark of --fail-under for {name} must be from 0 to 1, not {mark:g}.")
    return dict(marks)


def _check_image(
    image: str | os.PathLike[str], out: str | os.PathLike[str] | None, progress: Progress
) -> None:
    """Fail before any work is done."""
    if out is None:
        raise OptionError("--image is for the report's pictures; give a folder for the report with -o, too.")
    with open_image(image, progress=progress):
        pass


def _compare_extents(predicted: gpd.GeoDataFrame, truth: gpd.GeoDataFrame, progress: Progress) -> None:
    """Warn where one layer covers other ground than the other: the scores would tell of that alone.

    Refuse layers that are so far apart that most of what would be counted is the way between them.
    """
    if predicted.empty:
        return
    mine, true = (shapely.box(*layer.total_bounds) for layer in (predicted, truth))
    apart = shapely.distance(mine, true)
    if apart > FAR_APART:
        raise VectorError(
            f"The two layers lie {apart / 1000:.0f} km apart; check that both show the same place and that their "
            "coordinate reference systems are right."
        )
    share = mine.intersection(true).area / mine.union(true).area
    if share < COMMON_EXTENT:
        progress.warn(
            f"The extents of the two layers have {share:.0%} of their ground in common, and all of it counts; "
            "give the area where both are complete with --aoi."
        )


def _below(scores: Scores, marks: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(
        f"The score {name} is {(scores.ratios[name] or 0.0):.4g}, below the mark of {mark:g}."
        for name, mark in marks.items()
        if (scores.ratios[name] or 0.0) < mark - ROUNDING
    )


def _given(**options: Any) -> dict[str, Any]:
    given = {name: value for name, value in options.items() if value is not None}
    return {name: os.fspath(v) if isinstance(v, os.PathLike) else v for name, v in given.items()}


def _versions() -> dict[str, str]:
    return {
        "geofootprint": __version__,
        "geopandas": gpd.__version__,
        "shapely": shapely.__version__,
        "geos": shapely.geos_version_string,
        "gdal": rasterio.__gdal_version__,
        "proj": pyproj.proj_version_str,
    }


def _write_report(folder: Path, evaluation: Evaluation, page: str) -> None:
    content = json.dumps(evaluation.as_dict(), indent=2) + "\n"
    for name, text in (("scores.json", content), ("report.html", page)):
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_footprints(evaluation.scores.status, folder / "matches.gpkg", metadata=evaluation.as_dict())
