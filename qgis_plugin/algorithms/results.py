"""The engine's footprints as an output of QGIS, and their look."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from qgis.core import (
    QgsFeatureSink,
    QgsMapLayer,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
    QgsProcessingOutputLayerDefinition,
    QgsVectorFileWriter,
    QgsVectorLayer,
)
from qgis.PyQt import sip

from ..core.runner import EngineError

if TYPE_CHECKING:
    from .base import Job

STYLES = Path(__file__).parents[1] / "styles"

BUILDINGS, PLAIN, LABELS = "buildings.qml", "footprints.qml", "labels.qml"
"""Looks: graded by confidence, all alike, and of label rasters."""

SHORT_PATIENCE = 0.3
"""Seconds at each stage of stopping a command that writes in the work folder alone: nothing that matters is lost."""

SMALLEST = 2**19
"""Bytes that any output needs beside its features; an empty GeoPackage has a fifth of that."""

RESULT = "buildings.fgb"
"""File that the engine writes: FlatGeobuf adds no column of its own, so that rows can be copied as they are."""


def copy_footprints(job: Job, path: str, name: str) -> tuple[str, int]:
    """Copy the engine's footprints into the output of a parameter and return its name and their number.

    It is not interrupted: half a layer would be worse than the second that it takes.

    Raises
    ------
    EngineError
        If the output cannot be written; what there is of it is removed.
    """
    algorithm = job.algorithm
    layer = QgsVectorLayer(path, "buildings", "ogr")
    if not layer.isValid():
        raise EngineError("QGIS cannot read what the engine wrote: {path}", path=path)
    target = _file_of(job.parameters.get(name))
    _require_room(target, os.path.getsize(path))
    is_new = not os.path.exists(target)
    try:
        sink, destination = algorithm.parameterAsSink(
            job.parameters, name, job.context, layer.fields(), layer.wkbType(), layer.crs()
        )
    except QgsProcessingException:
        if is_new:
            _remove(target)
        raise
    if sink is None:
        raise QgsProcessingException(algorithm.invalidSinkError(job.parameters, name))
    written = sink.addFeatures(layer.getFeatures(), QgsFeatureSink.Flag.FastInsert) and sink.flushBuffer()
    reason = sink.lastError()
    del sink  # closes the file
    if not written or _holds_too_few(destination, layer.featureCount(), job.context):
        _remove(destination)
        raise EngineError(
            "The output {out} could not be written; is its disk full? {reason}", out=destination, reason=reason
        )
    set_style(destination, BUILDINGS, job.context)
    return destination, layer.featureCount()


def _file_of(value: Any) -> str:
    """Return the file that an output's value names, or something that is none."""
    if isinstance(value, QgsProcessingOutputLayerDefinition):
        value = value.sink.staticValue()
    return value if isinstance(value, str) else ""


def _require_room(target: str, size: int) -> None:
    """Refuse a full disk as long as an old output is still whole: QGIS's first step is to delete that."""
    folder = os.path.dirname(os.path.abspath(target))
    is_file = bool(os.path.splitext(target)[1]) and os.path.isdir(folder)
    if is_file and shutil.disk_usage(folder).free < size + SMALLEST:
        raise EngineError(
            "The disk of {out} is full; make room for {megabytes} MB.", out=target, megabytes=_megabytes(size)
        )


def _megabytes(size: int) -> int:
    return max(1, round((size + SMALLEST) / 2**20))


def _holds_too_few(destination: str, count: int, context: QgsProcessingContext) -> bool:
    """Say whether features got lost when a file was closed, of which QGIS says nothing."""
    if not os.path.isfile(destination):
        return False
    written = QgsVectorLayer(destination, "written", "ogr")
    return not written.isValid() or 0 <= written.featureCount() < count


def _remove(destination: str) -> None:
    if destination.lower().endswith(".shp"):
        QgsVectorFileWriter.deleteShapeFile(destination)
    elif os.path.isfile(destination):
        for path in (destination, f"{destination}-journal", f"{destination}-wal", f"{destination}-shm"):
            if os.path.exists(path):
                os.remove(path)


def set_style(destination: str, style: str, context: QgsProcessingContext) -> None:
    """Give a layer its look, if QGIS is going to load it.

    Parameters
    ----------
    destination : str
        The output's name.
    style : str
        File in the folder `styles`.
    context : QgsProcessingContext
    """
    if context.willLoadLayerOnCompletion(destination):
        context.layerToLoadOnCompletionDetails(destination).setPostProcessor(Look.for_one_layer(style))


class Look(QgsProcessingLayerPostProcessorInterface):
    """Gives a loaded layer a style."""

    _waiting: ClassVar[set[Look]] = set()

    def __init__(self, style: str) -> None:
        super().__init__()
        self._style = style

    @classmethod
    def for_one_layer(cls, style: str) -> Look:
        """Return a new one: the context that it is given to deletes it."""
        look = cls(style)
        # QGIS keeps the part of it that is C++; what is Python would be gone before it is called. A context whose layers
        # are not loaded in the end deletes its part without a call.
        cls._waiting = {one for one in cls._waiting if not sip.isdeleted(one)} | {look}
        return look

    def postProcessLayer(
        self, layer: QgsMapLayer, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> None:
        # Polygons that somebody drew have no confidence to be graded by.
        plain = self._style == BUILDINGS and layer.fields().indexOf("confidence") < 0
        layer.loadNamedStyle(str(STYLES / (PLAIN if plain else self._style)))
        layer.triggerRepaint()
        type(self)._waiting.discard(self)
