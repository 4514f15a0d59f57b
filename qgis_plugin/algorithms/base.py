"""What all algorithms share: the engine, its messages in QGIS's log, and the layers as files it can read."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingUtils,
    QgsProviderRegistry,
    QgsRasterLayer,
    QgsSettings,
)
from qgis.PyQt.QtCore import QCoreApplication, QThread
from qgis.PyQt.QtGui import QIcon

from ..core.engine import SETTING, find_engine
from ..core.runner import EngineCancelled, EngineError, Listener, run_command

ICON = str(Path(__file__).parents[1] / "icons" / "geofootprint.svg")


def current_engine() -> Any:
    """Return the engine that the environment, QGIS's settings or the home folder names."""
    return find_engine(QgsSettings().value(SETTING, "", type=str))


def raster_path(layer: QgsRasterLayer) -> str:
    """Return what GDAL opens of a raster layer.

    Raises
    ------
    EngineError
        If the layer is no raster of GDAL's, or has a CRS that its file does not know.
    """
    name = layer.name()
    if layer.providerType() != "gdal":
        raise EngineError(
            f"The layer {name} comes from a service, not from a raster file; export it to a GeoTIFF "
            "(Layer > Save As) and take that."
        )
    if not layer.crs().isValid():
        raise EngineError(
            f"The layer {name} has no CRS; assign one (Raster > Projections > Assign Projection)."
        )
    if layer.dataProvider().crs() != layer.crs():
        raise EngineError(
            f"The layer {name} has another CRS in QGIS than in its file; write it into the file "
            "(Raster > Projections > Assign Projection)."
        )
    parts = QgsProviderRegistry.instance().decodeUri("gdal", layer.source())
    # A file of several rasters is opened by GDAL's own name for one of them.
    path = layer.source() if parts.get("layerName") else parts.get("path") or layer.source()
    return os.path.abspath(path) if os.path.exists(path) else path


class EngineAlgorithm(QgsProcessingAlgorithm):
    """An algorithm whose work the `geofootprint` command does.

    A subclass gives NAME, TITLE, SUMMARY, HELP and TAGS, its parameters, and `processAlgorithm`.
    """

    NAME = ""
    TITLE = ""
    SUMMARY = ""
    HELP = ""
    TAGS = ""
    IMAGE = "INPUT"

    def tr(self, text: str) -> str:
        return QCoreApplication.translate("Geofootprint", text)

    def createInstance(self) -> EngineAlgorithm:
        return type(self)()

    def name(self) -> str:
        return self.NAME

    def displayName(self) -> str:
        return self.tr(self.TITLE)

    def group(self) -> str:
        return self.tr("Buildings")

    def groupId(self) -> str:
        return "buildings"

    def shortDescription(self) -> str:
        return self.tr(self.SUMMARY)

    def shortHelpString(self) -> str:
        return self.tr(self.HELP)

    def tags(self) -> list[str]:
        return self.tr(self.TAGS).split(",")

    def icon(self) -> QIcon:
        return QIcon(ICON)

    def svgIconPath(self) -> str:
        return ICON

    def canExecute(self) -> tuple[bool, str]:
        try:
            current_engine()
        except EngineError as error:
            return False, str(error)
        return True, ""

    def checkParameterValues(
        self, parameters: dict[str, Any], context: QgsProcessingContext
    ) -> tuple[bool, str]:
        good, text = super().checkParameterValues(parameters, context)
        if not good:
            return good, text
        try:
            raster_path(self.parameterAsRasterLayer(parameters, self.IMAGE, context))
        except EngineError as error:
            return False, str(error)
        return True, ""

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        # Layers belong to the main thread, where this is called and processAlgorithm is not. An exception
        # here would reach the user without its text, so that is kept for there.
        try:
            layer = self.parameterAsRasterLayer(parameters, self.IMAGE, context)
            self._image, self._image_crs = raster_path(layer), layer.crs()
            self._refusal = ""
        except EngineError as error:
            self._image, self._refusal = "", str(error)
        return True

    def run_engine(self, feedback: QgsProcessingFeedback, folder: str, *arguments: str) -> dict[str, Any]:
        """Run a command of the engine in a folder of its own and return its result.

        Raises
        ------
        EngineCancelled
            If the user pressed Cancel; the algorithm then returns an empty dict.
        QgsProcessingException
            With the engine's sentence if it failed.
        """
        try:
            if self._refusal:
                raise EngineError(self._refusal)
            engine = current_engine()
            feedback.pushDebugInfo(self.tr("Engine: {} ({})").format(engine.python, engine.origin))
            feedback.pushCommandInfo(subprocess.list2cmdline(["geofootprint", *arguments]))
            return run_command(engine.command(*arguments), _Feedback(feedback), cwd=folder)
        except EngineCancelled:
            feedback.pushInfo(self.tr("Cancelled; nothing was written."))
            raise
        except EngineError as error:
            raise QgsProcessingException(str(error)) from error


@contextmanager
def work_folder() -> Iterator[str]:
    """Give a folder for the engine's files, below the one that QGIS removes when it ends."""
    folder = tempfile.mkdtemp(prefix="geofootprint_", dir=QgsProcessingUtils.tempFolder())
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Feedback(Listener):
    """Tells QGIS what the engine says."""

    def __init__(self, feedback: QgsProcessingFeedback) -> None:
        self._feedback = feedback
        self._stage = ""
        application = QCoreApplication.instance()
        self._in_main_thread = application is not None and QThread.currentThread() == application.thread()

    def progress(self, stage: str, done: float, total: float) -> None:
        if stage != self._stage:
            self._stage = stage
            self._feedback.setProgressText(f"{stage[:1].upper()}{stage[1:]} ...")
        if total > 0:
            self._feedback.setProgress(100 * done / total)

    def warn(self, text: str) -> None:
        self._feedback.pushWarning(text)

    def line(self, text: str) -> None:
        self._feedback.pushConsoleInfo(text)

    def is_cancelled(self) -> bool:
        return self._feedback.isCanceled()

    def tick(self) -> None:
        # qgis_process and scripts run algorithms in the main thread; without its events no Ctrl-C arrives.
        if self._in_main_thread:
            QCoreApplication.processEvents()
