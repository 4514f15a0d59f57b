"""The page that explains the scores of footprints: overview, worst and best places, tables, definitions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS

from geofootprint.metrics import Counts
from geofootprint.page import Figure, Section, build_page
from geofootprint.progress import SILENT, Progress
from geofootprint.report import (
    AGREED,
    ONLY_PREDICTED,
    ONLY_TRUE,
    Picture,
    dim_outside,
    draw_comparison,
    draw_outlines,
    read_picture,
)
from geofootprint.scores import BOUNDARY_WIDTH, IOU_THRESHOLD, Cells, Scores

__all__ = ["Layers", "build_score_page"]

Bounds = tuple[float, float, float, float]

OVERVIEW_SIZE, VIEW_SIZE = 1400, 700
"""Pixels of the pictures' longer sides."""

VIEWS = 3
"""Closer views of the worst squares, and of the best."""

RIM = 0.02
"""Empty border of a picture, as a share of its size."""

LEGEND = ((AGREED, "in both"), (ONLY_PREDICTED, "only predicted"), (ONLY_TRUE, "only in the truth: missed"))


@dataclass(frozen=True)
class Layers:
    """What the pictures are drawn from.

    Parameters
    ----------
    predicted, truth : geopandas.GeoDataFrame
        In one metric CRS.
    area : shapely.Polygon or shapely.MultiPolygon, optional
        In that CRS; what is outside is faded.
    image : path, optional
        Orthophoto under the drawings; white without.
    """

    predicted: gpd.GeoDataFrame
    truth: gpd.GeoDataFrame
    area: Any = None
    image: str | os.PathLike[str] | None = None

    def bounds(self) -> Bounds:
        """Return west, south, east, north of the area, or of both layers without one."""
        if self.area is not None:
            west, south, east, north = shapely.bounds(self.area)
        else:
            both = [layer.total_bounds for layer in (self.predicted, self.truth) if not layer.empty]
            west, south = np.min(both, axis=0)[:2]
            east, north = np.max(both, axis=0)[2:]
        return float(west), float(south), float(east), float(north)

    def draw(self, bounds: Bounds, *, size: int, outlines: bool) -> Picture:
        """Draw what is in both layers, and in one of them only, with or without both layers' outlines."""
        west, south, east, north = bounds
        rim = RIM * max(east - west, north - south)
        bounds = (west - rim, south - rim, east + rim, north + rim)
        crs = CRS.from_user_input(self.truth.crs)
        picture, grid = read_picture(bounds, crs, image=self.image, size=size)
        mine, true = _near(self.predicted, bounds), _near(self.truth, bounds)
        picture = draw_comparison(picture, grid, mine, true, opacity=0.3 if outlines else 0.45)
        if outlines:
            photo = self.image is not None
            picture = draw_outlines(picture, grid, true, colour=ONLY_TRUE, casing=photo)
            picture = draw_outlines(picture, grid, mine, colour=ONLY_PREDICTED, casing=photo)
        if self.area is not None:
            picture = dim_outside(picture, grid, gpd.GeoDataFrame(geometry=[self.area], crs=crs))
        return picture


def _near(layer: gpd.GeoDataFrame, bounds: Bounds) -> gpd.GeoDataFrame:
    return layer.iloc[np.sort(layer.sindex.query(shapely.box(*bounds)))]


def build_score_page(
    scores: Scores, layers: Layers, *, facts: Mapping[str, Any], progress: Progress = SILENT
) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    scores : Scores
    layers : Layers
        What was scored.
    facts : mapping
        ``options``, ``versions``, ``crs`` and ``failed`` as in the JSON.
    progress : Progress

    Returns
    -------
    str

    Raises
    ------
    RasterError
        If the image is elsewhere.
    """
    options = facts["options"]
    where = f"inside {Path(options['aoi']).name}" if "aoi" in options else "in the extent of both layers"
    mine, true = Path(options["predicted"]).name, Path(options["truth"]).name
    summary = (
        f"{mine} against {true}: {scores.predicted} predicted and {scores.truth} true buildings {where}, "
        f"{scores.area_m2 / 1e6:.3g} km² of ground."
    )
    worst, best = _choose_cells(scores.cells)
    progress.update("drawing", 0, 3)
    picture = layers.draw(layers.bounds(), size=OVERVIEW_SIZE, outlines=False)
    overview = Figure(picture, "The whole area.", photo=layers.image is not None)
    progress.update("drawing", 1, 3)
    sections = [Section("Overview", legend=LEGEND, figures=[overview])]
    for done, (title, chosen) in enumerate((("Worst places", worst), ("Best places", best)), start=2):
        if len(chosen):
            figures = [_draw_cell(layers, scores.cells, cell) for cell in chosen]
            sections.append(Section(title, legend=LEGEND, figures=figures))
        progress.update("drawing", done, 3)
    return build_page(
        "Footprints compared with the truth",
        " ".join([summary, *facts["failed"]]),
        [*sections, _score_section(scores), _outline_section(scores), _provenance_section(facts)],
        numbers=_headline(scores),
    )


def _choose_cells(cells: Cells) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the worst and the best squares among the fuller half: a corner of one house says little."""
    content = cells.counts.sum(axis=1)
    fuller = np.flatnonzero(content >= np.median(content)) if len(content) else np.empty(0, np.intp)
    ranked = fuller[np.argsort(cells.counts[fuller, 0] / content[fuller], kind="stable")]
    best = ranked[::-1][: min(VIEWS, len(ranked) // 2)]
    return ranked[: min(VIEWS, len(ranked) - len(best))], best


def _draw_cell(layers: Layers, cells: Cells, cell: int) -> Figure:
    west, south, east, north = (float(value) for value in cells.bounds[cell])
    counts = Counts(*(int(value) for value in cells.counts[cell]))
    to_degrees = pyproj.Transformer.from_crs(layers.truth.crs, "EPSG:4326", always_xy=True)
    longitude, latitude = to_degrees.transform((west + east) / 2, (south + north) / 2)
    return Figure(
        layers.draw((west, south, east, north), size=VIEW_SIZE, outlines=True),
        f"IoU {counts.iou:.2f}; {east - west:.0f} m of ground around {latitude:.5f}, {longitude:.5f}.",
        photo=layers.image is not None,
    )


def _headline(scores: Scores) -> list[tuple[str, str]]:
    return [
        (f"{scores.pixels.iou:.3f}", "IoU of pixels"),
        (f"{scores.boundary.iou:.3f}", "boundary IoU"),
        (f"{100 * scores.objects.recall:.1f} %", "of the buildings found"),
        (f"{100 * scores.objects.precision:.1f} %", "of the predictions right"),
        (_show(scores.polis, "m", digits=2), "from outline to outline (PoLiS)"),
    ]


def _score_section(scores: Scores) -> Section:
    counted = {
        "pixels": scores.pixels, "pixels near outlines": scores.boundary, "buildings": scores.objects
    }
    return Section(
        "Scores",
        f"Pixels near outlines are those up to {BOUNDARY_WIDTH:g} m inside an outline. A predicted and a "
        f"true building are a pair if their intersection over union is at least {IOU_THRESHOLD:g}; each has "
        "one partner at most, and the more confident prediction chooses first. At the border of the area "
        "both layers are cut; a building counts where a point in its middle lies.",
        header=("", "IoU", "precision", "recall", "F1", "in both", "only predicted", "missed"),
        rows=[_score_row(name, counts, with_iou=name != "buildings") for name, counts in counted.items()],
    )


def _score_row(name: str, counts: Counts, *, with_iou: bool) -> tuple[str, ...]:
    iou = f"{counts.iou:.4f}" if with_iou else "–"
    ratios = (counts.precision, counts.recall, counts.f1)
    numbers = (counts.true_positive, counts.false_positive, counts.false_negative)
    return (name, iou, *(f"{ratio:.4f}" for ratio in ratios), *(f"{number:,}" for number in numbers))


def _outline_section(scores: Scores) -> Section:
    return Section(
        "Outlines of the pairs",
        "PoLiS is the mean distance from the corners of one outline to the other outline, both ways. More "
        "than one vertex per true vertex means ragged outlines, less means that detail was lost.",
        rows=[
            ("mean IoU of a pair", _show(scores.matched_iou)),
            ("PoLiS", _show(scores.polis, "m")),
            ("vertices per true vertex, mean of the pairs", _show(scores.vertex_ratio)),
            ("vertices per true vertex, all together", _show(scores.total_vertex_ratio)),
            ("predictions that hold several buildings", str(scores.merged)),
            ("buildings cut into several predictions", str(scores.split)),
        ],
    )


def _provenance_section(facts: Mapping[str, Any]) -> Section:
    options = [(name.replace("_", " "), str(value)) for name, value in facts["options"].items()]
    versions = [(name, version) for name, version in facts["versions"].items()]
    return Section("How this was made", rows=[*options, ("measured in", facts["crs"]), *versions])


def _show(value: float | None, unit: str = "", *, digits: int = 3) -> str:
    return "no pairs" if value is None else f"{value:.{digits}f} {unit}".rstrip()
