"""The plugin as QGIS loads it: provider, algorithms, settings page."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from qgis.core import QgsApplication, QgsSettings


def test_the_provider_and_its_algorithms(provider):
    assert (provider.id(), provider.name()) == ("geofootprint", "geofootprint")
    assert sorted(algorithm.id() for algorithm in provider.algorithms()) == [
        "geofootprint:rasterizelabels",
        "geofootprint:segmentbuildings",
    ]
    assert not provider.icon().isNull()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("segmentbuildings", ["INPUT", "EXTENT", "MODEL", "THRESHOLD", "OUTPUT"]),
        ("rasterizelabels", ["FOOTPRINTS", "IMAGE", "CONTOUR_WIDTH", "ALL_TOUCHED", "OUTPUT"]),
    ],
)
def test_an_algorithm_describes_itself(provider, name, parameters):
    algorithm = provider.algorithm(name)
    assert [parameter.name() for parameter in algorithm.parameterDefinitions()] == parameters
    assert algorithm.group() == "Buildings"
    assert algorithm.shortHelpString()
    assert algorithm.shortDescription()
    assert "building" in algorithm.tags()
    assert Path(algorithm.svgIconPath()).is_file()
    assert not algorithm.icon().isNull()
    assert algorithm.canExecute()[0]


def test_unloading_and_loading_in_the_desktop(plugin):
    registry = QgsApplication.processingRegistry()
    plugin.unload()
    assert registry.providerById("geofootprint") is None
    plugin.initGui()
    assert registry.algorithmById("geofootprint:segmentbuildings") is not None
    ((factory,), _) = plugin._iface.registerOptionsWidgetFactory.call_args
    plugin.unload()
    plugin._iface.unregisterOptionsWidgetFactory.assert_called_once_with(factory)
    plugin.initProcessing()


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
