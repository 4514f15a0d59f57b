"""Vector layers as files that the engine reads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsFeature,
    QgsFeatureRequest,
    QgsFields,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeatureSource,
    QgsProcessingUtils,
    QgsRectangle,
    QgsVectorFileWriter,
    QgsVectorLayer,
)

from ..core.runner import EngineError

if TYPE_CHECKING:
    from .base import Job

READABLE = ["gpkg", "shp", "geojson", "fgb"]
"""Extensions of vector files that the engine reads where they lie."""


def is_plain(layer: QgsVectorLayer) -> bool:
    """Say whether QGIS shows a file as it is: in the file's own CRS, its only layer, and without edits to be saved."""
    provider = layer.dataProvider()
    return provider.crs() == layer.crs() and len(provider.subLayers()) <= 1 and not layer.isModified()


def polygons_path(job: Job, name: str) -> str:
    """Return a file with the polygons of a parameter: the layer's own, or a GeoPackage of what QGIS shows of it.

    Raises
    ------
    EngineError
        If the layer has no CRS, or cannot be written out.
    """
    algorithm = job.algorithm
    source = algorithm.parameterAsSource(job.parameters, name, job.context)
    if source is None:
        raise QgsProcessingException(algorithm.invalidSourceError(job.parameters, name))
    if not source.sourceCrs().isValid():
        raise EngineError("The layer {layer} has no CRS; set it (Layer > Set CRS of Layer(s)).", layer=source.sourceName())
    if name in job.plain:
        path = os.path.abspath(
            algorithm.parameterAsCompatibleSourceLayerPath(
                job.parameters, name, job.context, READABLE, "gpkg", job.feedback
            )
        )
    else:
        path = _written_out(source, os.path.join(job.folder, f"{name.lower()}.gpkg"), job.context)
    if path.startswith(QgsProcessingUtils.tempFolder()):
        job.names[path] = source.sourceName()
    return path


def _written_out(source: QgsProcessingFeatureSource, path: str, context: QgsProcessingContext) -> str:
    """Write what QGIS shows, edits that are not saved too, and return the GeoPackage.

    QGIS's own way of doing so loses a polygon for each new one: that comes first and gets the fid of one that has it already.
    So the column fid stays behind; it is a file's count of its rows, and no file of another kind has it.
    """
    fields = QgsFields()
    kept = [number for number, field in enumerate(source.fields()) if field.name().lower() != "fid"]
    for number in kept:
        fields.append(source.fields().at(number))
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = "GPKG"
    writer = QgsVectorFileWriter.create(
        path, fields, source.wkbType(), source.sourceCrs(), context.transformContext(), options
    )
    count = 0
    # The engine mends geometries itself, or says which it cannot use.
    unchecked = QgsProcessingFeatureSource.Flag.FlagSkipGeometryValidityChecks
    for feature in source.getFeatures(QgsFeatureRequest(), unchecked):
        copy = QgsFeature(fields)
        copy.setAttributes([feature.attributes()[number] for number in kept])
        copy.setGeometry(feature.geometry())
        writer.addFeature(copy)
        count += 1
    reason = writer.errorMessage()
    del writer  # closes the file
    if QgsVectorLayer(path, "written", "ogr").featureCount() < count:
        raise EngineError(
            "The layer {layer} could not be copied to {path}; is its disk full? {reason}",
            layer=source.sourceName(),
            path=path,
            reason=reason,
        )
    return path


def extent_of(job: Job, name: str, crs: QgsCoordinateReferenceSystem) -> QgsRectangle:
    """Return the rectangle around the polygons of a parameter in a CRS.

    Raises
    ------
    EngineError
        If there are no polygons, or they lie where the CRS is not defined.
    """
    source = job.algorithm.parameterAsSource(job.parameters, name, job.context)
    if source is None:
        raise QgsProcessingException(job.algorithm.invalidSourceError(job.parameters, name))
    extent = source.sourceExtent()
    if extent.isEmpty():
        raise EngineError(
            "The layer {layer} has no polygons, or none of those asked for is there; draw some, or choose another layer.",
            layer=source.sourceName(),
        )
    to_crs = QgsCoordinateTransform(source.sourceCrs(), crs, job.context.transformContext())
    try:
        return to_crs.transformBoundingBox(extent)
    except QgsCsException as error:
        raise EngineError(
            "The polygons of the layer {layer} lie where the CRS {crs} is not defined; check the layer's own CRS.",
            layer=source.sourceName(),
            crs=crs.userFriendlyIdentifier(),
        ) from error
