"""Regularize Footprints: anybody's polygons become regular."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from qgis.core import (
    QgsProcessingOutputDefinition,
    QgsProcessingOutputNumber,
    QgsProcessingParameterDefinition,
)

from ..core.texts import marked
from ..translation import tr
from . import parameters as p
from .base import EngineAlgorithm, Job
from .results import RESULT, SHORT_PATIENCE, copy_footprints
from .vectors import polygons_path


class RegularizeFootprints(EngineAlgorithm):
    """Runs `geofootprint regularize`."""

    COMMAND = "regularize"
    NAME = "regularizefootprints"
    TITLE = marked("Regularize Footprints")
    SUMMARY = marked("Straightens the outlines of buildings that anybody drew.")
    HELP = marked(
        "Draws footprints again with straight walls, right angles and round shapes where they have them. Walls that two "
        "buildings share, or nearly share, are drawn once; overlaps are taken away. Columns are kept; method, vertices, "
        "area_m2 and perimeter are told anew. No image is needed."
    )
    PATIENCE = SHORT_PATIENCE
    TAGS = marked("building,footprint,regularize,orthogonalize,simplify,right angle,clean,topology")

    def define(self) -> Iterator[QgsProcessingParameterDefinition]:
        yield p.footprints("INPUT", tr("Footprints"), tr("Polygons of buildings, in any CRS."))
        yield p.outline(raw=False)
        yield p.explained(
            p.number("TOLERANCE", tr("Tolerance (m)"), optional=True, minValue=0),
            tr("Shorter edges and steps count as noise. If not set, it is told from the outlines."),
        )
        yield p.min_area(default=0.0)
        yield p.buildings(
            tr("Polygons with the columns of the footprints; method, vertices, area_m2 and perimeter are told anew.")
        )

    def define_outputs(self) -> Iterator[QgsProcessingOutputDefinition]:
        yield QgsProcessingOutputNumber("COUNT", tr("Number of buildings"))

    def work(self, job: Job) -> dict[str, Any]:
        result = os.path.join(job.folder, RESULT)
        job.run(polygons_path(job, "INPUT"), "-o", result, *self.options(job, "INPUT"))
        destination, count = copy_footprints(job, result, "OUTPUT")
        return {"OUTPUT": destination, "COUNT": count}
