"""The plugin in `qgis_process`, QGIS's command line, with the real engine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time

import pytest
from conftest import is_running
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
    assert "trainmodel" in done.stdout


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


def test_two_runs_at_once_do_not_disturb_each_other(environment, inputs, tmp_path):
    outs = [tmp_path / f"Höfe {number}.gpkg" for number in (1, 2)]
    command = [PROGRAM, "run", SEGMENT, "--", f"INPUT={inputs / 'ortho.tif'}"]
    running = [
        subprocess.Popen([*command, f"OUTPUT={out}"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for out in outs
    ]
    for process in running:
        text, _ = process.communicate(timeout=120)
        assert process.returncode == 0, text
    first, second = (QgsVectorLayer(str(out), "out", "ogr").featureCount() for out in outs)
    assert first == second > 0


def test_parameters_of_every_kind_on_the_command_line(qgis_process, inputs, fake_engine, tmp_path):
    done = qgis_process(
        "run", SEGMENT, "--", f"INPUT={inputs / 'ortho.tif'}", "EXTENT=680810,680850,5236960,5237040 [EPSG:25832]",
        "THRESHOLD=0.4", "OUTLINE=area", "TTA=true", "BANDS=3", "BANDS=2", "BANDS=1", f"AOI={inputs / 'buildings.gpkg'}",
        f"OUTPUT={tmp_path / 'out.gpkg'}", GEOFOOTPRINT_PYTHON=str(fake_engine.path),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    said = fake_engine.arguments
    assert said[1] == f"vrt://{inputs / 'ortho.tif'}?bands=3,2,1"
    assert said[2:7] == ["--bounds", "680810.0", "5236960.0", "680850.0", "5237040.0"]
    assert said[9:] == [
        "--aoi", str(inputs / "buildings.gpkg"), "--threshold", "0.4", "--outline", "area", "--tta",
    ]  # fmt: skip


def test_the_help_has_every_parameter(qgis_process):
    done = qgis_process("help", SEGMENT)
    for name in ("INPUT", "EXTENT", "AOI", "MODEL", "THRESHOLD", "OUTLINE", "MIN_AREA", "BANDS", "TTA", "DEVICE", "OUTPUT"):
        assert f"\n{name}:" in done.stdout


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
