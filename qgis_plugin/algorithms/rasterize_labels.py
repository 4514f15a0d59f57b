"""Rasterize Labels: footprints become a label raster on the grid of an orthophoto."""

from __future__ import annotations

import os
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsVectorLayer,
)

from ..core.runner import EngineCancelled
from .base import EngineAlgorithm, work_folder

READABLE = ["gpkg", "shp", "geojson", "fgb"]
"""Extensions of vector files that the engine reads where they lie."""


class RasterizeLabels(EngineAlgorithm):
    """Runs `geofootprint rasterize-labels`."""

    NAME = "rasterizelabels"
    TITLE = "Rasterize Labels"
    SUMMARY = "Burns footprints into a label raster on the grid of an orthophoto."
    HELP = (
        "Burns building footprints into a raster on exactly the grid of an orthophoto, to train or to test a "
        "model with: 0 is background, 1 building, 2 the building's contour, 255 where there is no image.\n\n"
        "A pixel belongs to a building if its centre lies inside, or with 'All touched pixels' if any part "
        "of it does. The contour lies inside the building and separates houses that share a wall."
    )
    TAGS = "building,footprint,label,rasterize,burn,mask,training data,orthophoto,contour"

    IMAGE = "IMAGE"
    FOOTPRINTS, CONTOUR_WIDTH, ALL_TOUCHED, OUTPUT = "FOOTPRINTS", "CONTOUR_WIDTH", "ALL_TOUCHED", "OUTPUT"

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.addParameter(
            QgsProcessingParameterFeatureSource(
                self.FOOTPRINTS, self.tr("Footprints"), [QgsProcessing.SourceType.TypeVectorPolygon]
            )
        )
        self.addParameter(QgsProcessingParameterRasterLayer(self.IMAGE, self.tr("Orthophoto")))
        self.addParameter(
            QgsProcessingParameterNumber(
                self.CONTOUR_WIDTH,
                self.tr("Width of the contour in pixels"),
                type=QgsProcessingParameterNumber.Type.Integer,
                optional=True,
                minValue=1,
            )
        )
        self.addParameter(
            QgsProcessingParameterBoolean(self.ALL_TOUCHED, self.tr("All touched pixels"), defaultValue=False)
        )
        self.addParameter(QgsProcessingParameterRasterDestination(self.OUTPUT, self.tr("Labels")))

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        layer = self.parameterAsVectorLayer(parameters, self.FOOTPRINTS, context)
        self._must_export = layer is not None and not _is_plain(layer)
        return super().prepareAlgorithm(parameters, context, feedback)

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        out = self.parameterAsOutputLayer(parameters, self.OUTPUT, context)
        footprints = self._footprints_path(parameters, context, feedback)
        arguments = [footprints, self._image, "-o", os.path.abspath(out)]
        if parameters.get(self.CONTOUR_WIDTH) is not None:
            width = self.parameterAsInt(parameters, self.CONTOUR_WIDTH, context)
            arguments += ["--contour-width", str(width)]
        if self.parameterAsBoolean(parameters, self.ALL_TOUCHED, context):
            arguments.append("--all-touched")
        with work_folder() as folder:
            try:
                self.run_engine(feedback, folder, "rasterize-labels", *arguments)
            except EngineCancelled:
                return {}
        return {self.OUTPUT: out}

    def _footprints_path(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> str:
        """Return a file with the footprints: the layer's own, or a GeoPackage of what QGIS shows of it."""
        source = self.parameterAsSource(parameters, self.FOOTPRINTS, context)
        if source is None:
            raise QgsProcessingException(self.invalidSourceError(parameters, self.FOOTPRINTS))
        if not source.sourceCrs().isValid():
            raise QgsProcessingException(
                self.tr("The layer {} has no CRS; set it (Layer > Set CRS).").format(source.sourceName())
            )
        formats = [] if self._must_export else READABLE
        path = self.parameterAsCompatibleSourceLayerPath(
            parameters, self.FOOTPRINTS, context, formats, "gpkg", feedback
        )
        return os.path.abspath(path)


def _is_plain(layer: QgsVectorLayer) -> bool:
    """Say whether QGIS shows the file as it is: in the file's own CRS, and its only layer."""
    provider = layer.dataProvider()
    return provider.crs() == layer.crs() and len(provider.subLayers()) <= 1
