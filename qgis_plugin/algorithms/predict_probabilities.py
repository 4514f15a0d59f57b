"""Predict Probabilities: how probable a building is at each pixel of an orthophoto."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from qgis.core import QgsProcessingParameterDefinition, QgsProcessingParameterRasterDestination

from ..core.texts import marked
from ..translation import tr
from . import parameters as p
from .base import ImageAlgorithm, Job


class PredictProbabilities(ImageAlgorithm):
    """Runs `geofootprint predict`."""

    COMMAND = "predict"
    NAME = "predictprobabilities"
    TITLE = marked("Predict Probabilities")
    SUMMARY = marked("Writes how probable a building is at each pixel of an orthophoto.")
    HELP = marked(
        "Writes how probable buildings and their contours are at each pixel of an orthophoto: the first half of Segment "
        "Buildings. Vectorize Probabilities is the second, and is quick: so outlines can be drawn again with another "
        "threshold.\n\nThe raster has pixels of the model's size, a band for buildings and one for contours, and values "
        "from 0 to 255."
    )
    TAGS = marked("building,probability,segmentation,deep learning,AI,orthophoto,aerial,heat map")
    STAGES = (("predict", 0, 95), ("overviews", 95, 100))

    def define(self) -> Iterator[QgsProcessingParameterDefinition]:
        yield p.image()
        yield p.extent()
        yield p.aoi()
        yield p.model()
        yield p.bands()
        yield p.tta()
        yield p.device()
        yield p.explained(
            QgsProcessingParameterRasterDestination("OUTPUT", tr("Probabilities")), tr("A GeoTIFF with overviews.")
        )

    def work(self, job: Job) -> dict[str, Any]:
        out = self.parameterAsOutputLayer(job.parameters, "OUTPUT", job.context)
        job.run(*self.image_arguments(job), "-o", os.path.abspath(out), *self.options(job))
        return {"OUTPUT": out}
