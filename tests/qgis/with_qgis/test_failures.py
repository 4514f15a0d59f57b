"""Bad input: one sentence that says what to do, and nothing lost."""

from __future__ import annotations

import os
import shutil
import stat
import sys

import pytest
from conftest import ENGINE
from qgis.core import QgsCoordinateReferenceSystem, QgsProcessingException, QgsRasterLayer, QgsVectorLayer

SEGMENT = "segmentbuildings"


def refused(run, match, **parameters):
    # Rasters among them have to be the project's: QGIS never lets go of an exception, whose frames hold the parameters.
    with pytest.raises(QgsProcessingException, match=match):
        run(SEGMENT, **{"OUTPUT": "memory:", **parameters})


def test_an_extent_outside_the_image(run, ortho):
    refused(run, "The extent lies outside the layer ortho; choose one on it", INPUT=ortho, EXTENT="0,10,0,10 [EPSG:25832]")


def test_an_area_of_interest_outside_the_image(run, ortho, squares):
    refused(run, r"squares\.gpkg misses .*ortho\.tif", INPUT=ortho, AOI=squares)


def test_an_area_of_interest_without_crs(run, ortho):
    layer = QgsVectorLayer("Polygon", "drawn", "memory")
    layer.setCrs(QgsCoordinateReferenceSystem())
    refused(run, "The layer drawn has no CRS", INPUT=ortho, AOI=layer)


def test_a_layer_that_had_to_be_written_out_is_called_by_its_name(run, ortho):
    layer = QgsVectorLayer("Polygon?crs=EPSG:25832", "drawn", "memory")
    refused(run, "^drawn has no features; give a layer with polygons", INPUT=ortho, AOI=layer)


def test_a_layer_with_another_crs_is_called_by_its_name(run, ortho, squares):
    ortho.setCrs(QgsCoordinateReferenceSystem("EPSG:25833"))
    refused(run, "^[^ ]*squares.gpkg misses ortho; give an area that lies on it", INPUT=ortho, AOI=squares)


def test_warnings_call_a_layer_by_its_name(run, ortho, fake_engine, feedback):
    fake_engine.write(f"""
        emit("warning", text=f"Nothing in {{sys.argv[sys.argv.index('segment') + 1]}}.")
        shutil.copy({fake_engine.result!r}, out)
        emit("result", count=2, area_m2=200.0)
    """)
    run(SEGMENT, feedback, INPUT=ortho, BANDS=[3, 2, 1], OUTPUT="memory:")
    assert feedback.warnings == ["Nothing in ortho."]


def test_a_file_that_was_moved(run, project, inputs, tmp_path):
    shutil.copy(inputs / "ortho.tif", tmp_path / "moved.tif")
    layer = project.addMapLayer(QgsRasterLayer(str(tmp_path / "moved.tif"), "moved"))
    (tmp_path / "moved.tif").unlink()
    refused(run, "The file of the layer moved is no longer there: .*moved.tif", INPUT=layer)


def test_a_layer_that_never_was_readable(run, tmp_path):
    layer = QgsRasterLayer(str(tmp_path / "gone.tif"), "gone")
    refused(run, "The layer gone cannot be read; its file was moved, or is no image", INPUT=layer)


def test_a_model_file_that_is_none(run, ortho, tmp_path):
    model = tmp_path / "model.onnx"
    model.write_text("no model")
    refused(run, "model.onnx is no ONNX model or is damaged", INPUT=ortho, MODEL=str(model))


def test_a_rotated_raster_works(run, inputs):
    result = run(SEGMENT, INPUT=str(inputs / "rotated.tif"), OUTPUT="memory:")
    assert result["COUNT"] > 5
    assert result["OUTPUT"].crs().authid() == "EPSG:25832"


def test_a_question_mark_in_the_name_of_a_file(run, project, inputs, tmp_path):
    path = tmp_path / "what?.tif"
    shutil.copy(inputs / "ortho.tif", path)
    layer = project.addMapLayer(QgsRasterLayer(str(path), "what"))
    refused(run, "has a question mark; export it", INPUT=layer, BANDS=[3, 2, 1])


def test_an_engine_of_another_protocol(run, ortho, fake_engine):
    fake_engine.write("emit('start', protocol=9); time.sleep(60)")
    refused(run, r"newer than this plugin \(protocol 9 instead of 1\); update the plugin in Plugins", INPUT=ortho)


def test_a_python_without_geofootprint(run, ortho, monkeypatch):
    monkeypatch.setenv("GEOFOOTPRINT_PYTHON", "/usr/bin/python3")
    refused(run, "/usr/bin/python3 has no geofootprint. Let the environment variable GEOFOOTPRINT_PYTHON", INPUT=ortho)


def test_without_an_engine_the_way_to_the_set_up_is_told(provider, run, ortho, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GEOFOOTPRINT_PYTHON")
    can, text = provider.algorithm("segmentbuildings").canExecute()
    assert not can
    assert "press Set up in Settings > Options > geofootprint" in text
    refused(run, "press Set up in Settings > Options > geofootprint", INPUT=ortho)


def test_an_engine_that_cannot_be_started(run, ortho, tmp_path, monkeypatch):
    broken = tmp_path / "python"
    broken.write_text("no program")
    monkeypatch.setenv("GEOFOOTPRINT_PYTHON", str(broken))
    refused(run, "python cannot be started", INPUT=ortho)


@pytest.fixture
def engine_on_a_full_disk(tmp_path, monkeypatch):
    """Make the real engine's files end at 20 kB, as if the disk were full."""
    script = tmp_path / "python"
    script.write_text(
        f"#!{sys.executable}\nimport os, resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        f"os.execv({ENGINE!r}, [{ENGINE!r}, *sys.argv[1:]])\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("GEOFOOTPRINT_PYTHON", str(script))


@pytest.mark.usefixtures("engine_on_a_full_disk")
def test_a_disk_that_fills_while_the_engine_writes(run, ortho, tmp_path):
    out = tmp_path / "probabilities.tif"
    with pytest.raises(QgsProcessingException, match=r"cannot be written|could not be written|No space|File too large"):
        run("predictprobabilities", INPUT=ortho, OUTPUT=str(out))
    assert sorted(os.listdir(tmp_path)) == ["python"]
