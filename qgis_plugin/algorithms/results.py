"""The engine's footprints as an output of QGIS, and their look."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from qgis.core import (
    QgsFeatureSink,
    QgsMapLayer,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
    QgsVectorLayer,
)
from qgis.PyQt import sip

from ..core.runner import EngineError
from .targets import Target, target_of

if TYPE_CHECKING:
    from .base import Job

STYLES = Path(__file__).parents[1] / "styles"

BUILDINGS, PLAIN, LABELS = "buildings.qml", "footprints.qml", "labels.qml"
"""Looks: graded by confidence, all alike, and of label rasters."""

SHORT_PATIENCE = 0.3
"""Seconds at each stage of stopping a command that writes in the work folder alone: nothing that matters is lost."""

RESULT = "buildings.fgb"
"""File that the engine writes: FlatGeobuf adds no column of its own, so that rows can be copied as they are."""


def copy_footprints(job: Job, path: str, name: str) -> tuple[str, int]:
    """Copy the engine's footprints into the output of a parameter and return its name and their number.

    It is not interrupted: half a layer would be worse than the second that it takes.

    Raises
    ------
    EngineError
        If the output cannot be written; what there is of it is taken away, and a layer that was appended to stays.
    """
    algorithm = job.algorithm
    layer = QgsVectorLayer(path, "buildings", "ogr")
    if not layer.isValid():
        raise EngineError("QGIS cannot read what the engine wrote: {path}", path=path)
    target = target_of(job.parameters.get(name))
    target.require_room(os.path.getsize(path))
    try:
        sink, destination = algorithm.parameterAsSink(
            job.parameters, name, job.context, layer.fields(), layer.wkbType(), layer.crs()
        )
    except QgsProcessingException:
        target.take_away()
        raise
    if sink is None:
        raise QgsProcessingException(algorithm.invalidSinkError(job.parameters, name))
    written = sink.addFeatures(layer.getFeatures(), QgsFeatureSink.Flag.FastInsert) and sink.flushBuffer()
    reason = sink.lastError()
    del sink  # closes the file
    if not written or target.has_lost(destination, layer.featureCount()):
        target.take_away(destination)
        raise _not_written(target, destination, reason)
    set_style(destination, BUILDINGS, job.context)
    return destination, layer.featureCount()


def _not_written(target: Target, destination: str, reason: str) -> EngineError:
    if target.appends:
        return EngineError(
            "Not all buildings could be added to {out}; is its disk full, or does it refuse a value? What it held before "
            "is still there. {reason}",
            out=target.path,
            reason=reason,
        )
    return EngineError("The output {out} could not be written; is its disk full? {reason}", out=destination, reason=reason)


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
        # This may run in an algorithm's thread while the main one calls others: the set itself is never replaced.
        for one in tuple(cls._waiting):
            if sip.isdeleted(one):
                cls._waiting.discard(one)
        cls._waiting.add(look)
        return look

    def postProcessLayer(
        self, layer: QgsMapLayer, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> None:
        # Polygons that somebody drew have no confidence to be graded by.
        plain = self._style == BUILDINGS and layer.fields().indexOf("confidence") < 0
        layer.loadNamedStyle(str(STYLES / (PLAIN if plain else self._style)))
        layer.triggerRepaint()
        type(self)._waiting.discard(self)
