"""Segment Buildings: an orthophoto becomes a layer of building footprints."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

from qgis.core import (
    QgsFeature,
    QgsFeatureSink,
    QgsFields,
    QgsMapLayer,
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
    QgsProcessingOutputNumber,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFeatureSink,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsVectorLayer,
)

from ..core.runner import EngineCancelled
from .base import EngineAlgorithm, work_folder

STYLE = str(Path(__file__).parents[1] / "styles" / "buildings.qml")


class SegmentBuildings(EngineAlgorithm):
    """Runs `geofootprint segment` and copies its footprints into whatever output was chosen."""

    NAME = "segmentbuildings"
    TITLE = "Segment Buildings"
    SUMMARY = "Finds buildings in an orthophoto and draws their outlines."
    HELP = (
        "Finds buildings in an orthophoto and draws their outlines as polygons, each with a confidence from "
        "0 to 1.\n\nThe orthophoto needs red, green and blue bands of 8 bits, a CRS, and pixels of about 0.1 "
        "to 0.3 m. Without a model file the one that comes with geofootprint is used, and without a "
        "threshold the model's own: a lower one finds more buildings, a higher one finds fewer by mistake."
    )
    TAGS = "building,footprint,house,roof,segmentation,deep learning,orthophoto,aerial,extract"

    MODEL, THRESHOLD, EXTENT, OUTPUT, COUNT = "MODEL", "THRESHOLD", "EXTENT", "OUTPUT", "COUNT"

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.addParameter(QgsProcessingParameterRasterLayer(self.IMAGE, self.tr("Orthophoto")))
        self.addParameter(QgsProcessingParameterExtent(self.EXTENT, self.tr("Extent"), optional=True))
        self.addParameter(
            QgsProcessingParameterFile(self.MODEL, self.tr("Model file"), extension="onnx", optional=True)
        )
        threshold = QgsProcessingParameterNumber(
            self.THRESHOLD,
            self.tr("Threshold"),
            type=QgsProcessingParameterNumber.Type.Double,
            optional=True,
            minValue=0,
            maxValue=1,
        )
        threshold.setMetadata({"widget_wrapper": {"decimals": 2}})
        self.addParameter(threshold)
        self.addParameter(
            QgsProcessingParameterFeatureSink(
                self.OUTPUT, self.tr("Buildings"), QgsProcessing.SourceType.TypeVectorPolygon
            )
        )
        self.addOutput(QgsProcessingOutputNumber(self.COUNT, self.tr("Number of buildings")))

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        with work_folder() as folder:
            result = os.path.join(folder, "buildings.gpkg")
            arguments = [self._image, "-o", result, *self._options(parameters, context)]
            try:
                self.run_engine(feedback, folder, "segment", *arguments)
            except EngineCancelled:
                return {}
            # The output is touched only now: an old one outlives a failure.
            destination, count = self._copy(result, parameters, context, feedback)
        feedback.pushInfo(self.tr("{} buildings found.").format(count))
        _set_style(destination, context)
        return {self.OUTPUT: destination, self.COUNT: count}

    def _options(self, parameters: dict[str, Any], context: QgsProcessingContext) -> list[str]:
        options = []
        model = self.parameterAsFile(parameters, self.MODEL, context)
        if model:
            options += ["--model", os.path.abspath(model)]
        if parameters.get(self.THRESHOLD) is not None:
            options += ["--threshold", repr(self.parameterAsDouble(parameters, self.THRESHOLD, context))]
        if parameters.get(self.EXTENT):
            extent = self.parameterAsExtent(parameters, self.EXTENT, context, self._image_crs)
            edges = (extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum())
            options += ["--bounds", *map(repr, edges)]
        return options

    def _copy(
        self,
        path: str,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> tuple[str, int]:
        """Copy the engine's footprints into the output and return its name and their number."""
        layer = QgsVectorLayer(path, "buildings", "ogr")
        if not layer.isValid():
            raise QgsProcessingException(self.tr("The engine's result cannot be read by QGIS."))
        kept = [i for i, field in enumerate(layer.fields()) if field.name() != "fid"]
        fields = QgsFields()
        for i in kept:
            fields.append(layer.fields()[i])
        sink, destination = self.parameterAsSink(
            parameters, self.OUTPUT, context, fields, layer.wkbType(), layer.crs()
        )
        if sink is None:
            raise QgsProcessingException(self.invalidSinkError(parameters, self.OUTPUT))
        for feature in layer.getFeatures():
            if feedback.isCanceled():
                break
            copy = QgsFeature(fields)
            copy.setGeometry(feature.geometry())
            copy.setAttributes([feature.attribute(i) for i in kept])
            if not sink.addFeature(copy, QgsFeatureSink.Flag.FastInsert):
                raise QgsProcessingException(self.writeFeatureError(sink, parameters, self.OUTPUT))
        return destination, layer.featureCount()


def _set_style(destination: str, context: QgsProcessingContext) -> None:
    if context.willLoadLayerOnCompletion(destination):
        context.layerToLoadOnCompletionDetails(destination).setPostProcessor(BuildingStyle.for_one_layer())


class BuildingStyle(QgsProcessingLayerPostProcessorInterface):
    """Gives the loaded layer the look of buildings."""

    _waiting: ClassVar[set[BuildingStyle]] = set()

    @classmethod
    def for_one_layer(cls) -> BuildingStyle:
        """Return a new one: the context that it is given to deletes it."""
        style = cls()
        # QGIS keeps the part of it that is C++; what is Python would be gone before it is called.
        cls._waiting.add(style)
        return style

    def postProcessLayer(
        self, layer: QgsMapLayer, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> None:
        layer.loadNamedStyle(STYLE)
        layer.triggerRepaint()
        self._waiting.discard(self)
