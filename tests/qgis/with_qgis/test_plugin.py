"""The plugin as QGIS loads it: provider, algorithms, settings page."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from unittest.mock import Mock

import pytest
from qgis.core import QgsApplication, QgsRasterLayer, QgsSettings
from qgis.PyQt.QtWidgets import QAction, QWidget


def test_the_provider(provider):
    assert (provider.id(), provider.name()) == ("geofootprint", "geofootprint")
    assert not provider.icon().isNull()


def test_no_engine_is_started_by_loading(plugin_folder, fake_engine):
    script = "from geofootprint_qgis.provider import GeofootprintProvider as P; p = P(); p.refreshAlgorithms(); print(p)"
    subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(plugin_folder)}, check=True)
    assert not fake_engine.started


def test_unloading_and_loading_in_the_desktop(plugin):
    registry = QgsApplication.processingRegistry()
    plugin.unload()
    assert registry.providerById("geofootprint") is None
    plugin.initGui()
    assert registry.algorithmById("geofootprint:segmentbuildings") is not None
    ((factory,), _) = plugin._iface.registerOptionsWidgetFactory.call_args
    ((button,), _) = plugin._iface.addToolBarIcon.call_args
    menu = [call.args[1] for call in plugin._iface.addPluginToRasterMenu.call_args_list]
    assert [action.text() for action in menu] == ["Set Up Engine...", "Segment Buildings...", "Try It With a Demo Scene"]
    assert button is menu[1]
    plugin.unload()
    plugin._iface.unregisterOptionsWidgetFactory.assert_called_once_with(factory)
    plugin._iface.removeToolBarIcon.assert_called_once_with(button)
    assert plugin._iface.removePluginRasterMenu.call_count == 3
    plugin.initProcessing()


@pytest.fixture
def desktop(plugin, project):
    """Return QGIS's Desktop as far as the actions need it."""
    desktop = Mock()
    desktop.mainWindow.return_value = None
    return desktop


@pytest.fixture
def actions(desktop):
    from geofootprint_qgis.gui.actions import Actions

    actions = Actions(desktop, desktop.set_up)
    yield actions
    actions.remove()


def test_unloading_leaves_no_actions_in_the_main_window(desktop, qtbot):
    from geofootprint_qgis.gui.actions import Actions

    window = QWidget()
    qtbot.addWidget(window)
    desktop.mainWindow.return_value = window
    actions = Actions(desktop, desktop.set_up)
    assert len(window.findChildren(QAction)) == 2
    actions.remove()
    qtbot.waitUntil(lambda: not window.findChildren(QAction), timeout=5000)


def shown(desktop):
    return [call.args[1] for call in desktop.messageBar().pushMessage.call_args_list]


def test_the_button_opens_segment_buildings_with_the_active_layer(actions, desktop, ortho, monkeypatch):
    import processing

    opened = Mock()
    monkeypatch.setattr(processing, "createAlgorithmDialog", opened)
    desktop.activeLayer.return_value = ortho
    actions.segment.trigger()
    opened.assert_called_once_with("geofootprint:segmentbuildings", {"INPUT": ortho.id()})
    opened.return_value.show.assert_called_once_with()
    desktop.activeLayer.return_value = None
    actions.segment.trigger()
    assert opened.call_args.args == ("geofootprint:segmentbuildings", {})


def test_without_an_engine_the_actions_open_the_set_up(actions, desktop, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GEOFOOTPRINT_PYTHON")
    for action in (actions.segment, actions.demo):
        action.trigger()
    assert desktop.set_up.call_count == 2
    assert shown(desktop) == []


def test_a_wrong_variable_is_told_since_no_set_up_mends_it(actions, desktop, monkeypatch):
    monkeypatch.setenv("GEOFOOTPRINT_PYTHON", "/gone/python")
    for action in (actions.segment, actions.demo):
        action.trigger()
    assert len([text for text in shown(desktop) if "No Python is at /gone/python" in text]) == 2
    desktop.set_up.assert_not_called()


def test_try_it_shows_the_scene_and_its_buildings(actions, desktop, project, inputs, fake_engine, qtbot):
    image, buildings = str(inputs / "ortho.tif"), str(inputs / "buildings.gpkg")
    fields = {"image": image, "buildings": buildings, "truth": buildings, "report": "r.html", "count": 3, "true_count": 4}
    fake_engine.write(f"emit('result', **{fields!r})")
    actions.demo.trigger()
    qtbot.waitUntil(lambda: "3 buildings found where 4 stand." in shown(desktop), timeout=20_000)
    assert fake_engine.arguments[:2] == ["demo", "-o"]
    layers = sorted(layer.name() for layer in project.mapLayers().values())
    assert layers == ["Buildings", "Demo orthophoto"]
    ((extent,), _) = desktop.mapCanvas().setExtent.call_args
    assert extent == QgsRasterLayer(image, "i").extent()


def test_try_it_tells_what_went_wrong(actions, desktop, project, fake_engine, qtbot):
    fake_engine.write("emit('error', code=2, text='The moon is in the way.'); sys.exit(2)")
    actions.demo.trigger()
    qtbot.waitUntil(lambda: "The moon is in the way." in shown(desktop), timeout=20_000)
    assert not project.mapLayers()


def test_try_it_cannot_be_pressed_again_while_it_runs(actions, desktop, fake_engine, qtbot, tmp_path):
    go = tmp_path / "go"
    fake_engine.write(f"""
        while not os.path.exists({str(go)!r}):
            time.sleep(0.05)
        emit('error', code=2, text='The moon is in the way.'); sys.exit(2)
    """)
    actions.demo.trigger()
    assert not actions.demo.isEnabled()
    actions.demo.trigger()
    assert len(shown(desktop)) == 1
    go.touch()
    qtbot.waitUntil(lambda: "The moon is in the way." in shown(desktop), timeout=20_000)
    assert actions.demo.isEnabled()


def test_unloading_ends_try_it(desktop, fake_engine, qtbot):
    from geofootprint_qgis.gui.actions import RUNNING, Actions

    actions = Actions(desktop, desktop.set_up)
    fake_engine.write("sys.stdin.read(); sys.exit(130)")
    actions.demo.trigger()
    qtbot.waitUntil(lambda: fake_engine.started, timeout=20_000)
    (run,) = RUNNING
    ended = Mock()
    run.task.executed.connect(ended)
    actions.remove()
    ended.assert_called_once()
    assert not RUNNING
    assert len(shown(desktop)) == 1  # nothing is said of a run that unloading ended


def test_a_run_lives_until_it_has_ended(desktop, fake_engine, qtbot):
    from geofootprint_qgis.gui.actions import RUNNING, DemoRun

    fake_engine.write("emit('error', code=2, text='The moon is in the way.'); sys.exit(2)")
    DemoRun(desktop, desktop.ended)
    gc.collect()
    qtbot.waitUntil(lambda: "The moon is in the way." in shown(desktop), timeout=20_000)
    desktop.ended.assert_called_once_with()
    assert not RUNNING


@pytest.fixture
def page(provider, qtbot):
    from geofootprint_qgis.gui.options import OptionsFactory

    page = OptionsFactory().createWidget(None)
    qtbot.addWidget(page)
    yield page
    QgsSettings().remove("geofootprint/python")


def test_the_settings_page_keeps_the_path(page, monkeypatch, tmp_path):
    from geofootprint_qgis.algorithms.base import current_engine

    monkeypatch.delenv("GEOFOOTPRINT_PYTHON")
    python = tmp_path / "python"
    python.touch()
    page.python.setFilePath(str(python))
    page.apply()
    assert current_engine().python == str(python)


def test_check_tells_the_version(page):
    page.button.click()
    assert "works" in page.answer.text()
    assert os.environ["GEOFOOTPRINT_PYTHON"] in page.answer.text()


def test_check_tells_what_is_wrong(page, monkeypatch):
    monkeypatch.delenv("GEOFOOTPRINT_PYTHON")
    page.python.setFilePath("/gone/python")
    page.button.click()
    assert "No Python is at /gone/python" in page.answer.text()


def test_the_plugin_loads_nothing_heavy(plugin_folder):
    script = "import sys, geofootprint_qgis.provider; print(sorted(set(sys.modules) & {'numpy', 'osgeo', 'torch'}))"
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(plugin_folder)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    baseline = subprocess.run(
        [sys.executable, "-c", "import sys, qgis.core; print(sorted(set(sys.modules) & {'numpy', 'osgeo', 'torch'}))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == baseline.stdout
