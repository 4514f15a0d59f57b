"""The toolbar button and the menu: Segment Buildings for the active layer, and Try It."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from qgis.core import (
    Qgis,
    QgsApplication,
    QgsProcessingAlgRunnerTask,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingUtils,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QEventLoop, QTimer
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtWidgets import QAction

from ..algorithms.base import ICON
from ..algorithms.results import BUILDINGS, STYLES
from ..translation import tr
from .setup_guide import MENU, has_engine

SEGMENT = "geofootprint:segmentbuildings"
DEMO = "geofootprint:makedemoscene"

RUNNING: set[DemoRun] = set()
"""Runs that go on. The task refers to what they own, and PyQt keeps no receiver of a signal alive."""

END_SECONDS = 20
"""Longest wait for a run that was cancelled: more than all stages of stopping its engine take."""


class Actions:
    """What the plugin adds to the menu Raster and to the toolbar of plugins.

    Parameters
    ----------
    iface : QgisInterface
    set_up : callable
        Opens the window that sets the engine up.
    """

    def __init__(self, iface: Any, set_up: Callable[[], None]) -> None:
        self._iface = iface
        self._set_up = set_up
        self.segment = self._action(tr("Segment Buildings..."), self.open_segment)
        self.segment.setToolTip(tr("Find the buildings of the active raster layer"))
        self.demo = self._action(tr("Try It With a Demo Scene"), self.try_it)
        self._run: DemoRun | None = None
        for action in (self.segment, self.demo):
            iface.addPluginToRasterMenu(MENU, action)
        iface.addToolBarIcon(self.segment)

    def _action(self, text: str, call: Callable[[], None]) -> QAction:
        action = QAction(QIcon(ICON), text, self._iface.mainWindow())
        action.triggered.connect(lambda _checked=False: call())
        return action

    def remove(self) -> None:
        """Take everything away again."""
        if self._run is not None:
            self._run.finish()
            self._run = None
        for action in (self.segment, self.demo):
            self._iface.removePluginRasterMenu(MENU, action)
            action.deleteLater()  # they belong to the main window, which stays
        self._iface.removeToolBarIcon(self.segment)

    def open_segment(self) -> Any:
        """Open Segment Buildings, with the active layer if that is a raster, and return the dialog."""
        import processing

        layer = self._iface.activeLayer()
        chosen = {"INPUT": layer.id()} if isinstance(layer, QgsRasterLayer) else {}
        if not has_engine(self._iface, self._set_up):
            return None
        dialog = processing.createAlgorithmDialog(SEGMENT, chosen)
        dialog.show()
        return dialog

    def try_it(self) -> None:
        """Make the demo scene, find its buildings, and show both."""
        if self._run is None and has_engine(self._iface, self._set_up):  # two runs would write the same folder
            self.demo.setEnabled(False)
            self._run = DemoRun(self._iface, self._demo_ended)

    def _demo_ended(self) -> None:
        if self._run is not None:
            self._run = None
            self.demo.setEnabled(True)


class DemoRun:
    """Make Demo Scene in the background; its progress and Cancel are those of QGIS's task manager.

    Parameters
    ----------
    iface : QgisInterface
    ended : callable
        Called when it is over, whatever came of it.
    """

    def __init__(self, iface: Any, ended: Callable[[], None]) -> None:
        self._iface = iface
        self._ended = ended
        self._folder = os.path.join(QgsProcessingUtils.tempFolder(), "geofootprint-demo")
        self._feedback = QgsProcessingFeedback(False)
        # The task takes both by reference only. Without a project, since the layers are added here, in `_load`.
        self._context = QgsProcessingContext()
        algorithm = QgsApplication.processingRegistry().algorithmById(DEMO).create()
        self._algorithm = algorithm
        self.task = QgsProcessingAlgRunnerTask(algorithm, {"OUTPUT": self._folder}, self._context, self._feedback)
        self.task.executed.connect(self._end)
        RUNNING.add(self)
        QgsApplication.taskManager().addTask(self.task)
        iface.messageBar().pushMessage(
            "geofootprint", tr("A demo scene is being made; that takes about half a minute."), Qgis.MessageLevel.Info, 10
        )

    def finish(self) -> None:
        """Cancel it, and wait until it has ended."""
        over = QEventLoop()
        self.task.executed.connect(over.quit)
        self.task.cancel()
        if self in RUNNING:  # a task that was not begun yet ends at once
            QTimer.singleShot(1000 * END_SECONDS, over.quit)
            over.exec(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents)

    def _end(self, successful: bool, results: dict[str, Any]) -> None:
        RUNNING.discard(self)
        self._ended()
        if successful and results:
            self._show(results)
        elif not self._feedback.isCanceled():
            text = self._feedback.textLog().strip().splitlines()[-1:] or [tr("See the log for the reason.")]
            self._iface.messageBar().pushMessage("geofootprint", text[0], Qgis.MessageLevel.Critical, 0)

    def _show(self, results: dict[str, Any]) -> None:
        image = self._load(results)
        canvas = self._iface.mapCanvas()
        canvas.setDestinationCrs(image.crs())
        canvas.setExtent(image.extent())
        canvas.refresh()
        text = tr("{count} buildings found where {true_count} stand.")
        self._iface.messageBar().pushMessage(
            "geofootprint",
            text.format(count=results["COUNT"], true_count=results["TRUE_COUNT"]),
            Qgis.MessageLevel.Success,
            0,
        )

    def _load(self, results: dict[str, Any]) -> QgsRasterLayer:
        """Add the image, and over it the buildings with their look."""
        image = QgsRasterLayer(results["IMAGE"], tr("Demo orthophoto"))
        found = QgsVectorLayer(results["BUILDINGS"], tr("Buildings"), "ogr")
        found.loadNamedStyle(str(STYLES / BUILDINGS))
        QgsProject.instance().addMapLayers([found, image])
        return image
