"""What a user does with the plugin in QGIS Desktop, done by code and photographed; started by qgis_desktop.py."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import processing
from qgis.core import QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import QTimer
from qgis.PyQt.QtWidgets import QApplication, QDockWidget, QLineEdit, QWidget
from qgis.utils import iface, plugins

SHOTS = Path(os.environ["GEOFOOTPRINT_SHOTS"])
SCENE = Path(os.environ["GEOFOOTPRINT_SCENE"])
BUNDLE = os.environ.get("GEOFOOTPRINT_BUNDLE")
SEGMENT = "geofootprint:segmentbuildings"
SETTING_UP = 900
"""Seconds that a set-up may take on a busy machine."""


def wait(condition: Callable[[], Any], seconds: float) -> None:
    """Let QGIS work until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s: {condition.__name__}")
        QApplication.processEvents()
        time.sleep(0.02)


def rest(seconds: float = 1.0) -> None:
    """Let QGIS draw."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.02)


def shoot(name: str, widget: QWidget | None = None) -> None:
    """Save what a widget, by default the main window, looks like."""
    rest()
    (widget or iface.mainWindow()).grab().save(str(SHOTS / f"{name}.png"))


def run(dialog: Any, *, picture: str) -> bool:
    """Press Run, photograph the log on the way, and return whether it went well."""
    ends: list[bool] = []
    dialog.algorithmFinished.connect(lambda successful, _results: ends.append(bool(successful)))
    dialog.runButton().click()
    rest(1.5)
    dialog.grab().save(str(SHOTS / f"{picture}_running.png"))

    def finished() -> bool:
        return bool(ends)

    wait(finished, 120)
    return ends[0]


def show_toolbox() -> None:
    """Open the toolbox and search for our algorithms."""
    toolbox = iface.mainWindow().findChild(QDockWidget, "ProcessingToolbox")
    toolbox.setUserVisible(True)
    toolbox.findChildren(QLineEdit)[0].setText("geofootprint")
    rest(2)


def set_up(plugin: Any, bundle: str) -> None:
    """Press the button without an engine, and set one up in the window that comes instead."""
    from geofootprint_qgis.gui.options import OptionsPage

    shoot("0_first_run")
    if plugin._actions.open_segment() is not None or plugin._guide.dialog is None:
        raise RuntimeError("the button did not lead to the set-up")
    dialog = plugin._guide.dialog

    def done() -> bool:
        return not dialog.is_running

    def far() -> bool:
        return dialog.bar.value() > 550 or done()

    rest(3)
    shoot("setup_1_before", dialog)
    dialog.sources.from_bundle.setChecked(True)
    dialog.sources.bundle.setFilePath(str(SHOTS / "geofootprint-bundle-gone.zip"))
    dialog.start_button.click()
    wait(done, SETTING_UP)
    shoot("setup_2_failed", dialog)
    dialog.sources.bundle.setFilePath(bundle)
    dialog.start_button.click()
    wait(far, SETTING_UP)
    shoot("setup_3_running", dialog)
    wait(done, SETTING_UP)
    shoot("setup_4_done", dialog)
    dialog.advanced.setCollapsed(False)
    shoot("setup_5_advanced", dialog)
    dialog.close()
    page = OptionsPage()
    page.resize(760, 400)
    page.show()
    page.check()
    shoot("setup_6_settings", page)
    page.close()


def session() -> None:
    """Do it all."""
    iface.mainWindow().resize(1280, 800)
    image = QgsRasterLayer(str(SCENE / "ortho.tif"), "orthophoto")
    QgsProject.instance().addMapLayer(image)
    iface.setActiveLayer(image)
    iface.mapCanvas().setExtent(image.extent())
    show_toolbox()
    plugin = plugins["geofootprint_qgis"]
    if BUNDLE:
        set_up(plugin, BUNDLE)
    shoot("1_toolbox")

    dialog = plugin._actions.open_segment()
    dialog.resize(820, 640)
    shoot("2_dialog", dialog)
    if not run(dialog, picture="3"):
        raise RuntimeError("Segment Buildings failed")
    shoot("4_done", dialog)
    dialog.close()
    layers = [layer for layer in QgsProject.instance().mapLayers().values() if layer is not image]
    if len(layers) != 1 or layers[0].featureCount() == 0 or layers[0].renderer().type() != "graduatedSymbol":
        raise RuntimeError("no styled layer of buildings was loaded")
    iface.mapCanvas().zoomByFactor(0.6)
    rest(2)
    shoot("5_result")

    failing = processing.createAlgorithmDialog(SEGMENT, {"INPUT": image.id(), "EXTENT": "0,10,0,10 [EPSG:25832]"})
    failing.resize(820, 640)
    failing.show()
    if run(failing, picture="6"):
        raise RuntimeError("an extent outside the image was taken")
    shoot("6_failure", failing)
    failing.close()

    QgsProject.instance().removeAllMapLayers()
    plugin._actions.try_it()

    def scene_is_shown() -> bool:
        return len(QgsProject.instance().mapLayers()) == 2

    wait(scene_is_shown, 120)
    rest(2)
    shoot("7_try_it")


def main() -> None:
    """Run the session, write down how it went, and end QGIS."""
    try:
        session()
        verdict = "good"
    except Exception:  # noqa: BLE001 the edge: nobody sees this process's output
        verdict = traceback.format_exc()
        iface.mainWindow().grab().save(str(SHOTS / "verdict.png"))
    (SHOTS / "verdict.txt").write_text(verdict + "\n", encoding="utf-8")
    QgsProject.instance().clear()
    QApplication.quit()


# The main window has to be up first.
QTimer.singleShot(3000, main)
