"""Segment Buildings: an orthophoto becomes a layer of building footprints."""

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
from .base import ImageAlgorithm, Job
from .results import RESULT, SHORT_PATIENCE, copy_footprints


class SegmentBuildings(ImageAlgorithm):
    """Runs `geofootprint segment` and copies its footprints into whatever output was chosen."""

    COMMAND = "segment"
    NAME = "segmentbuildings"
    TITLE = marked("Segment Buildings")
    SUMMARY = marked("Finds buildings in an orthophoto and draws their outlines.")
    HELP = marked(
        "Finds buildings in an orthophoto and draws their outlines as polygons, each with a confidence from 0 to 1: the "
        "probability that a real building is there.\n\nThe orthophoto needs red, green and blue, a CRS, and pixels of "
        "about 0.1 to 0.3 m. It may also be a map service (WMS, XYZ tiles): then choose an extent. Everything is computed "
        "on this computer."
    )
    PATIENCE = SHORT_PATIENCE
    TAGS = marked("building,footprint,house,roof,segmentation,deep learning,AI,orthophoto,aerial,extract,outline")
    STAGES = (("predict", 0, 85), ("vectorize", 85, 95), ("join", 95, 97))

    def define(self) -> Iterator[QgsProcessingParameterDefinition]:
        yield p.image()
        yield p.extent()
        yield p.aoi()
        yield p.model()
        yield p.threshold()
        yield p.outline()
        yield p.min_area()
        yield p.bands()
        yield p.tta()
        yield p.device()
        yield p.buildings()

    def define_outputs(self) -> Iterator[QgsProcessingOutputDefinition]:
        yield QgsProcessingOutputNumber("COUNT", tr("Number of buildings"))
        yield QgsProcessingOutputNumber("AREA", tr("Their area in m²"))

    def work(self, job: Job) -> dict[str, Any]:
        result = os.path.join(job.folder, RESULT)
        made = job.run(*self.image_arguments(job), "-o", result, *self.options(job))
        # The output is touched only now: an old one outlives a failure.
        destination, count = copy_footprints(job, result, "OUTPUT")
        text = tr("{} building found.") if count == 1 else tr("{} buildings found.")
        job.feedback.pushInfo(text.format(count))
        return {"OUTPUT": destination, "COUNT": count, "AREA": made["area_m2"]}
