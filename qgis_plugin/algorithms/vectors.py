"""Vector layers as files that the engine reads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qgis.core import QgsCoordinateTransform, QgsProcessingException, QgsProcessingUtils, QgsRectangle, QgsVectorLayer

from ..core.runner import EngineError

if TYPE_CHECKING:
    from .base import Job

READABLE = ["gpkg", "shp", "geojson", "fgb"]
"""Extensions of vector files that the engine reads where they lie."""


def is_plain(layer: QgsVectorLayer) -> bool:
    """Say whether QGIS shows a file as it is: in the file's own CRS, and its only layer."""
    provider = layer.dataProvider()
    return provider.crs() == layer.crs() and len(provider.subLayers()) <= 1


def polygons_path(job: Job, name: str) -> str:
    """Return a file with the polygons of a parameter: the layer's own, or a GeoPackage of what QGIS shows of it.

    Raises
    ------
    EngineError
        If the layer has no CRS.
    """
    algorithm = job.algorithm
    source = algorithm.parameterAsSource(job.parameters, name, job.context)
    if source is None:
        raise QgsProcessingException(algorithm.invalidSourceError(job.parameters, name))
    if not source.sourceCrs().isValid():
        raise EngineError("The layer {layer} has no CRS; set it (Layer > Set CRS).", layer=source.sourceName()
        )
    formats = READABLE if name in job.plain else []
    path = algorithm.parameterAsCompatibleSourceLayerPath(
        job.parameters, name, job.context, formats, "gpkg", job.feedback
    )
    path = os.path.abspath(path)
    if name not in job.plain or path.startswith(QgsProcessingUtils.tempFolder()):
        job.names[path] = source.sourceName()
    return path


def extent_of(job: Job, name: str, crs: object) -> QgsRectangle | None:
    """Return the rectangle around the polygons of a parameter in a CRS, or None if there are none."""
    source = job.algorithm.parameterAsSource(job.parameters, name, job.context)
    if source is None:
        return None
    to_crs = QgsCoordinateTransform(source.sourceCrs(), crs, job.context.transformContext())
    return to_crs.transformBoundingBox(source.sourceExtent())
