"""Rasterize Labels: footprints become a label raster on the grid of an orthophoto."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from qgis.core import (
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterRasterDestination,
)

from ..core.texts import marked
from ..translation import tr
from . import parameters as p
from .base import EngineAlgorithm, Job
from .results import LABELS, set_style
from .vectors import polygons_path


class RasterizeLabels(EngineAlgorithm):
    """Runs `geofootprint rasterize-labels`."""

    COMMAND = "rasterize-labels"
    NAME = "rasterizelabels"
    GROUP = "training"
    TITLE = marked("Rasterize Labels")
    SUMMARY = marked("Burns footprints into a label raster on the grid of an orthophoto.")
    HELP = marked(
        "Burns building footprints into a raster on exactly the grid of an orthophoto, to train or to test a model with: "
        "0 is background, 1 building, 2 the building's contour, 255 where there is no image."
    )
    TAGS = marked("building,footprint,label,rasterize,burn,mask,training data,orthophoto,contour")

    def define(self) -> Iterator[QgsProcessingParameterDefinition]:
        yield p.footprints("FOOTPRINTS", tr("Footprints"), tr("Polygons of buildings, in any CRS."))
        yield p.image("IMAGE", text=tr("Raster whose grid the labels get."))
        yield p.explained(
            p.choice("SCHEME", tr("Scheme"), ["contour", "mask", "channels"], defaultValue="contour"),
            tr(
                "contour: 0 background, 1 building, 2 contour. mask: 0 and 1. channels: a band for buildings and one for "
                "contours."
            ),
        )
        yield p.contour_width()
        yield p.explained(
            QgsProcessingParameterBoolean("ALL_TOUCHED", tr("All touched pixels"), defaultValue=False),
            tr("A pixel belongs to a building if any part of it lies inside, and not its centre."),
        )
        yield p.explained(
            QgsProcessingParameterRasterDestination("OUTPUT", tr("Labels")), tr("A GeoTIFF of small whole numbers.")
        )

    def work(self, job: Job) -> dict[str, Any]:
        out = self.parameterAsOutputLayer(job.parameters, "OUTPUT", job.context)
        files = [polygons_path(job, "FOOTPRINTS"), self.image_path(job, "IMAGE")]
        job.run(*files, "-o", os.path.abspath(out), *self.options(job, "FOOTPRINTS"))
        if self.parameterAsEnumString(job.parameters, "SCHEME", job.context) != "channels":
            set_style(out, LABELS, job.context)
        return {"OUTPUT": out}
