"""The plugin in `qgis_process`, QGIS's command line, with the real engine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time

import pytest
from qgis.core import QgsVectorLayer

# Debian's wrapper passes an option that its own qgis_process does not know.
PROGRAM = shutil.which("qgis_process.bin") or shutil.which("qgis_process") or "qgis_process"
SEGMENT = "geofootprint:segmentbuildings"


@pytest.fixture(scope="module")
def environment(plugin_folder, tmp_path_factory):
    """Return the environment of a profile in which the plugin is enabled."""
    folder = tmp_path_factory.mktemp("profile")
    own = {**os.environ, "QGIS_CUSTOM_CONFIG_PATH": str(folder), "QGIS_PLUGINPATH": str(plugin_folder)}
    subprocess.run(
        [PROGRAM, "plugins", "enable", "geofootprint_qgis"], env=own, check=True, stdout=subprocess.DEVNULL, timeout=60
    )
    return own


@pytest.fixture
def qgis_process(environment):
    def call(*arguments, **changes):
        command = [PROGRAM, *map(str, arguments)]
        return subprocess.run(
            command, env={**environment, **changes}, capture_output=True, text=True, check=False, timeout=120
        )

    return call


def test_it_is_listed(qgis_process):
    done = qgis_process("list")
    assert "segmentbuildings" in done.stdout
    assert "rasterizelabels" in done.stdout


def test_segment_with_the_default_model_to_a_shapefile(qgis_process, inputs, tmp_path):
    out = tmp_path / "Gebäude neu.shp"
    done = qgis_process("run", SEGMENT, "--", f"INPUT={inputs / 'ortho.tif'}", f"OUTPUT={out}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert out.with_suffix(".prj").is_file()
    assert QgsVectorLayer(str(out), "out", "ogr").featureCount() > 0


def test_rasterize_labels(qgis_process, inputs, tmp_path):
    out = tmp_path / "labels.tif"
    done = qgis_process(
        "run", "geofootprint:rasterizelabels", "--", f"FOOTPRINTS={inputs / 'buildings.gpkg'}",
        f"IMAGE={inputs / 'ortho.tif'}", f"OUTPUT={out}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert out.is_file()


def test_a_failure_is_told_and_gives_code_1(qgis_process, inputs, tmp_path):
    out = tmp_path / "out.gpkg"
    done = qgis_process("run", SEGMENT, "--", f"INPUT={inputs / 'grey.tif'}", f"OUTPUT={out}")
    assert done.returncode == 1
    assert "grey.tif has 1 colour band" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not out.exists()


def test_a_missing_engine_is_told(qgis_process, inputs, tmp_path):
    out = tmp_path / "out.gpkg"
    done = qgis_process(
        "run", SEGMENT, "--", f"INPUT={inputs / 'ortho.tif'}", f"OUTPUT={out}", GEOFOOTPRINT_PYTHON="/gone/python"
    )
    assert done.returncode == 1
    assert "/gone/python" in done.stdout + done.stderr


@pytest.mark.parametrize(("number", "seconds"), [(signal.SIGINT, 4), (signal.SIGKILL, 8)], ids=["ctrl-c", "kill"])
def test_nothing_runs_on_when_qgis_process_is_ended(environment, inputs, fake_engine, tmp_path, number, seconds):
    pid = tmp_path / "pid"
    fake_engine.write(f"""
        with open({str(pid) + ".new"!r}, "w") as file:
            file.write(str(os.getpid()))
        os.rename({str(pid) + ".new"!r}, {str(pid)!r})
        sys.stdin.read()
        sys.exit(130)
    """)
    command = [PROGRAM, "run", SEGMENT, "--", f"INPUT={inputs / 'ortho.tif'}", f"OUTPUT={tmp_path / 'out.gpkg'}"]
    own = {**environment, "GEOFOOTPRINT_PYTHON": str(fake_engine.path)}
    with subprocess.Popen(command, env=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait(pid.exists, 30)
        process.send_signal(number)
        process.wait(seconds)
    wait(lambda: not is_running(int(pid.read_text())), seconds)
    assert not (tmp_path / "out.gpkg").exists()


def wait(condition, seconds):
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds
        time.sleep(0.05)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
