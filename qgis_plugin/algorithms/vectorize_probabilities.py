"""Vectorize Probabilities: any raster that says where buildings are becomes footprints."""

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


class VectorizeProbabilities(EngineAlgorithm):
    """Runs `geofootprint vectorize`."""

    COMMAND = "vectorize"
    NAME = "vectorizeprobabilities"
    TITLE = marked("Vectorize Probabilities")
    SUMMARY = marked("Draws outlines of the buildings in a raster of probabilities or a mask.")
    HELP = marked(
        "Draws outlines of the buildings in a raster: probabilities as Predict Probabilities writes them, those of any "
        "other program, a mask, or labels (1 building, 2 contour)."
    )
    PATIENCE = SHORT_PATIENCE
    TAGS = marked("building,footprint,probability,mask,polygonize,vectorize,outline")
    STAGES = (("check", 0, 10), ("vectorize", 10, 90), ("join", 90, 97))

    def define(self) -> Iterator[QgsProcessingParameterDefinition]:
        yield p.image(
            label=tr("Probabilities"), text=tr("Raster of probabilities, mask or labels. Its CRS is the one set in QGIS.")
        )
        yield p.threshold()
        yield p.outline()
        yield p.min_area()
        yield p.advanced(
            p.explained(
                p.number("FULL_SCALE", tr("Value of a certain building"), optional=True, minValue=0),
                tr("Such as 100 for percent. If not set, it is told from the values: 1 or 255."),
            )
        )
        yield p.buildings()

    def define_outputs(self) -> Iterator[QgsProcessingOutputDefinition]:
        yield QgsProcessingOutputNumber("COUNT", tr("Number of buildings"))

    def work(self, job: Job) -> dict[str, Any]:
        result = os.path.join(job.folder, RESULT)
        job.run(self.image_path(job, "INPUT"), "-o", result, *self.options(job))
        destination, count = copy_footprints(job, result, "OUTPUT")
        return {"OUTPUT": destination, "COUNT": count}
