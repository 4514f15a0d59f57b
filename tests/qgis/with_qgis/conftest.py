"""QGIS with the plugin as it is shipped, inputs, and engines that only pretend; see scripts/test_qgis.py."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from unittest.mock import Mock

import pytest

try:
    from qgis.core import (
        QgsApplication,
        QgsFeature,
        QgsFeatureRequest,
        QgsGeometry,
        QgsProcessingContext,
        QgsProcessingFeedback,
        QgsProject,
        QgsRasterLayer,
        QgsVectorFileWriter,
        QgsVectorLayer,
    )
except ImportError as error:
    raise pytest.UsageError("These tests need QGIS's own Python; run them with scripts/test_qgis.py.") from error

ROOT = Path(__file__).resolve().parents[3]
ENGINE = os.environ["GEOFOOTPRINT_PYTHON"]


@pytest.fixture(scope="session")
def plugin_folder(tmp_path_factory):
    """Return the folder that holds the unpacked zip of the plugin."""
    folder = tmp_path_factory.mktemp("plugins")
    archive = folder / "plugin.zip"
    subprocess.run([sys.executable, ROOT / "scripts" / "package_plugin.py", "-o", archive], check=True)
    zipfile.ZipFile(archive).extractall(folder)
    sys.path.insert(0, str(folder))
    return folder


@pytest.fixture(scope="session")
def plugin(qgis_app, plugin_folder):
    """Return the plugin, loaded as `qgis_process` does it but with a Desktop to hold on to."""
    # QGIS's own Processing, which pytest-qgis starts too late for the order of our imports.
    sys.path.insert(0, str(Path(QgsApplication.pkgDataPath()) / "python" / "plugins"))
    from processing.core.Processing import Processing

    Processing.initialize()
    from geofootprint_qgis import classFactory

    desktop = Mock()
    desktop.mainWindow.return_value = None
    plugin = classFactory(desktop)
    plugin.initProcessing()
    yield plugin
    plugin.unload()


@pytest.fixture
def provider(plugin):
    """Return the plugin's Processing provider."""
    return QgsApplication.processingRegistry().providerById("geofootprint")


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """Return a folder with a small scene and with rasters that cannot be used, made by the engine's Python."""
    folder = tmp_path_factory.mktemp("Eingaben für Höfe")
    subprocess.run([ENGINE, "-W", "ignore", Path(__file__).parent / "make_inputs.py", folder], check=True)
    return folder


@pytest.fixture(autouse=True)
def nothing_outlives_qgis():
    """Collect what a test's exceptions hold, their frames and the layers in these: QGIS crashes if they go after it."""
    yield
    sys.last_type = sys.last_value = sys.last_traceback = None
    gc.collect()


@pytest.fixture
def project(qgis_app):
    """Return the project, which ends without layers: QGIS crashes if Python deletes them late."""
    yield QgsProject.instance()
    QgsProject.instance().removeAllMapLayers()


@pytest.fixture
def ortho(inputs, project):
    """Return the scene's orthophoto as a layer of the project."""
    return project.addMapLayer(QgsRasterLayer(str(inputs / "ortho.tif"), "ortho"))


class Feedback(QgsProcessingFeedback):
    """Keeps what an algorithm says, and cancels at the first progress if it shall."""

    def __init__(self, *, cancel=False):
        super().__init__(False)
        self.warnings, self.lines, self.stages = [], [], []
        if cancel:
            self.progressChanged.connect(self.stop)

    def stop(self, _progress):
        self.cancel()

    def pushWarning(self, text):
        self.warnings.append(text)

    def pushInfo(self, text):
        self.lines.append(text)

    def pushConsoleInfo(self, text):
        self.lines.append(f"> {text}")

    def setProgressText(self, text):
        self.stages.append(text)


@pytest.fixture
def feedback():
    return Feedback()


@pytest.fixture
def cancelling_feedback():
    return Feedback(cancel=True)


@pytest.fixture
def context(project):
    """Return a context that loads its results into the project."""
    context = QgsProcessingContext()
    context.setProject(project)
    return context


@contextlib.contextmanager
def limited(size):
    """Let no file of this process grow beyond some bytes, as if the disk were full."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def small_files():
    return limited


@pytest.fixture
def run(provider):
    """Return a function that runs one of our algorithms with QGIS's own `processing.run`."""
    import processing

    def call(name, feedback=None, context=None, **parameters):
        return processing.run(f"geofootprint:{name}", parameters, feedback=feedback, context=context)

    return call


@pytest.fixture
def squares(tmp_path):
    """Return a GeoPackage with two squares, as the engine would write it."""
    columns = "id:integer&field=confidence:double&field=at_edge:bool&field=source:string(80)"
    layer = QgsVectorLayer(f"Polygon?crs=EPSG:25832&field={columns}", "squares", "memory")
    for number in (0, 1):
        feature = QgsFeature(layer.fields())
        left = 680_010 + 20 * number
        feature.setGeometry(
            QgsGeometry.fromWkt(f"POLYGON(({left} 0, {left + 10} 0, {left + 10} 10, {left} 10, {left} 0))")
        )
        feature.setAttributes([number, 0.75, bool(number), "Straße.tif"])
        layer.dataProvider().addFeatures([feature])
    return write_layer(layer, tmp_path / "squares.gpkg")


def write_layer(layer, path):
    """Write a layer as GeoPackage or FlatGeobuf and return its path."""
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = {".gpkg": "GPKG", ".fgb": "FlatGeobuf"}[path.suffix]
    QgsVectorFileWriter.writeAsVectorFormatV3(layer, str(path), QgsProject.instance().transformContext(), options)
    return str(path)


class FakeEngine:
    """A script in the place of the engine's Python that tells what it was called with."""

    def __init__(self, folder):
        self.path = folder / "python"
        self._calls = folder / "calls.json"

    def write(self, body):
        head = f"""\
            #!{sys.executable}
            import json, os, resource, shutil, signal, sys, time
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            def emit(event, **fields):
                print(json.dumps({{"event": event, **fields}}), flush=True)
            with open({str(self._calls)!r}, "w") as file:
                json.dump({{"argv": sys.argv[1:], "environ": dict(os.environ), "cwd": os.getcwd(), "pid": os.getpid()}}, file)
            out = sys.argv[sys.argv.index("-o") + 1] if "-o" in sys.argv else None
            emit("start", protocol=1)
            """
        self.path.write_text(textwrap.dedent(head) + textwrap.dedent(body), encoding="utf-8")
        self.path.chmod(0o755)

    @property
    def started(self):
        return self._calls.exists()

    @property
    def call(self):
        return json.loads(self._calls.read_text())

    @property
    def arguments(self):
        """What follows the part that is the same for all commands."""
        argv = self.call["argv"]
        assert argv[:5] == ["-m", "geofootprint_cli", "--progress", "json", "--watch-stdin"]
        return argv[5:]


def without_fid(path):
    layer = QgsVectorLayer(path, "squares", "ogr").materialize(QgsFeatureRequest())
    layer.dataProvider().deleteAttributes([layer.fields().indexOf("fid")])
    layer.updateFields()
    return layer


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def fake_engine(tmp_path, monkeypatch, squares):
    """Return an engine that writes two squares, until it is given another script."""
    folder = tmp_path / "fake"
    folder.mkdir()
    engine = FakeEngine(folder)
    # The engine's FlatGeobuf has no column fid.
    engine.result = write_layer(without_fid(squares), folder / "squares.fgb")
    engine.write(f"shutil.copy({engine.result!r}, out); emit('result', count=2, area_m2=200.0)")
    monkeypatch.setenv("GEOFOOTPRINT_PYTHON", str(engine.path))
    return engine
