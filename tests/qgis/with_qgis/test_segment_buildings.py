"""Segment Buildings in QGIS."""

from __future__ import annotations

import gc
import time
from pathlib import Path

import pytest
from conftest import is_running, write_layer
from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsFeatureRequest,
    QgsProcessingAlgRunnerTask,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingUtils,
    QgsRasterLayer,
    QgsVectorLayer,
)

SEGMENT = "segmentbuildings"


def temporary_folders():
    return set(Path(QgsProcessingUtils.tempFolder()).glob("geofootprint_*"))


def test_the_default_model_finds_buildings_in_memory(run, ortho, feedback):
    result = run(SEGMENT, feedback, INPUT=ortho, OUTPUT="memory:")
    layer = result["OUTPUT"]
    assert layer.featureCount() == result["COUNT"] > 0
    assert layer.crs().authid() == "EPSG:25832"
    assert [field.name() for field in layer.fields()] == [
        "id", "confidence", "area_m2", "perimeter", "method", "vertices", "at_edge", "source", "model",
    ]  # fmt: skip
    assert ortho.extent().buffered(1).contains(layer.extent())
    assert all(feature.geometry().isGeosValid() for feature in layer.getFeatures())
    assert feedback.stages
    assert temporary_folders() == set()


def test_a_shapefile_with_space_and_umlaut(run, ortho, tmp_path):
    out = tmp_path / "Höfe und Häuser" / "Gebäude neu.shp"
    out.parent.mkdir()
    result = run(SEGMENT, INPUT=ortho, OUTPUT=str(out))
    assert result["OUTPUT"] == str(out)
    assert "ETRS" in out.with_suffix(".prj").read_text()
    layer = QgsVectorLayer(str(out), "out", "ogr")
    assert layer.featureCount() == result["COUNT"] > 0
    assert layer.crs().authid() == "EPSG:25832"


def test_an_extent_leaves_out_the_rest(run, ortho):
    west = ortho.extent()
    west.setXMaximum(west.center().x())
    layer = run(SEGMENT, INPUT=ortho, EXTENT=west, OUTPUT="memory:")["OUTPUT"]
    assert layer.featureCount() > 0
    assert all(west.contains(feature.geometry().centroid().asPoint()) for feature in layer.getFeatures())


@pytest.mark.parametrize("extension", ["gpkg", "shp", "geojson", "fgb"])
def test_every_format_keeps_features_and_values(run, ortho, fake_engine, tmp_path, extension):
    out = tmp_path / f"out.{extension}"
    assert run(SEGMENT, INPUT=ortho, OUTPUT=str(out))["COUNT"] == 2
    features = list(QgsVectorLayer(str(out), "out", "ogr").getFeatures())
    assert sorted(feature["id"] for feature in features) == [0, 1]
    assert {feature["source"] for feature in features} == {"Straße.tif"}
    assert {round(feature["confidence"], 6) for feature in features} == {0.75}
    assert len({feature["at_edge"] for feature in features}) == 2


def test_what_is_not_said_is_left_to_the_engine(run, ortho, fake_engine):
    run(SEGMENT, INPUT=ortho, OUTPUT="memory:")
    command, image, flag, out = fake_engine.arguments
    assert (command, image, flag) == ("segment", ortho.source(), "-o")
    assert out.endswith("buildings.fgb")


def test_parameters_become_options(run, ortho, inputs, squares, fake_engine, tmp_path):
    model = tmp_path / "a model.onnx"
    model.touch()
    extent = "680810,680820.25,5236960,5236970 [EPSG:25832]"
    run(
        SEGMENT, INPUT=str(inputs / "ortho.tif"), MODEL=str(model), THRESHOLD=0, EXTENT=extent, OUTLINE="area",
        MIN_AREA=12.5, TTA=True, DEVICE="cpu", AOI=squares, OUTPUT="memory:",
    )  # fmt: skip
    (image, *bounds), options = fake_engine.arguments[1:7], fake_engine.arguments[9:]
    assert image == ortho.source()
    assert bounds == ["--bounds", "680810.0", "5236960.0", "680820.25", "5236970.0"]
    assert options == [
        "--aoi", squares, "--model", str(model), "--threshold", "0.0", "--outline", "area", "--min-area", "12.5",
        "--tta", "--device", "cpu",
    ]  # fmt: skip


def test_an_extent_is_given_in_the_image_s_crs(run, ortho, fake_engine):
    run(SEGMENT, INPUT=ortho, EXTENT="11.388,11.393,47.262,47.265 [EPSG:4326]", OUTPUT="memory:")
    west, south, east, north = map(float, fake_engine.arguments[3:7])
    assert 680_000 < west < east < 682_000
    assert 5_236_000 < south < north < 5_238_000


def test_the_engine_gets_a_clean_environment(run, ortho, fake_engine, monkeypatch):
    for name in ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "PYTHONPATH"):
        monkeypatch.setenv(name, "/of/qgis")
    run(SEGMENT, INPUT=ortho, OUTPUT="memory:")
    assert "/of/qgis" not in fake_engine.call["environ"].values()


def test_progress_warnings_and_noise_are_shown(run, ortho, fake_engine, feedback):
    fake_engine.write(f"""
        emit("progress", stage="probabilities", done=1, total=2)
        emit("warning", text="Four bands; the last is left out.")
        print("noise of a library", file=sys.stderr, flush=True)
        time.sleep(0.3)
        shutil.copy({fake_engine.result!r}, out)
        emit("result", count=2, area_m2=200.0)
    """)
    run(SEGMENT, feedback, INPUT=ortho, OUTPUT="memory:")
    assert feedback.stages == ["Probabilities ..."]
    assert feedback.warnings == ["Four bands; the last is left out."]
    assert "> noise of a library" in feedback.lines


@pytest.mark.parametrize(("count", "text"), [(1, "1 building found."), (2, "2 buildings found.")])
def test_the_number_of_buildings_is_told(run, ortho, fake_engine, feedback, tmp_path, count, text):
    made = QgsVectorLayer(fake_engine.result, "made", "ogr").materialize(QgsFeatureRequest().setLimit(count))
    some = write_layer(made, tmp_path / "some.fgb")
    fake_engine.write(f"shutil.copy({some!r}, out); emit('result', count={count}, area_m2=100.0)")
    run(SEGMENT, feedback, INPUT=ortho, OUTPUT="memory:")
    assert text in feedback.lines


def test_a_failure_is_one_sentence_and_leaves_the_old_output(run, ortho, fake_engine, tmp_path):
    out = tmp_path / "out.gpkg"
    run(SEGMENT, INPUT=ortho, OUTPUT=str(out))
    before = out.read_bytes()
    fake_engine.write("emit('error', code=2, text='The model is made of cheese; bake another.'); sys.exit(2)")
    with pytest.raises(QgsProcessingException, match=r"^The model is made of cheese; bake another\.$"):
        run(SEGMENT, INPUT=ortho, OUTPUT=str(out))
    assert out.read_bytes() == before
    assert temporary_folders() == set()


def test_a_crash_of_the_engine_does_not_touch_qgis(run, ortho, fake_engine):
    fake_engine.write("os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(QgsProcessingException, match=r"crashed .SIGSEGV"):
        run(SEGMENT, INPUT=ortho, OUTPUT="memory:")


def test_the_real_engine_s_sentence_arrives(run, inputs):
    with pytest.raises(QgsProcessingException, match=r"grey\.tif has 1 colour band"):
        run(SEGMENT, INPUT=str(inputs / "grey.tif"), OUTPUT="memory:")


def test_a_layer_without_crs_is_refused(run, inputs):
    with pytest.raises(QgsProcessingException, match=r"The layer no_crs has no CRS; set the one .* Set CRS of Layer\(s\)"):
        run(SEGMENT, INPUT=QgsRasterLayer(str(inputs / "no_crs.tif"), "no_crs"), OUTPUT="memory:")


def test_a_crs_that_was_set_in_qgis_holds(run, ortho, inputs):
    ortho.setCrs(QgsCoordinateReferenceSystem("EPSG:31254"))
    layer = run(SEGMENT, INPUT=ortho, OUTPUT="memory:")["OUTPUT"]
    assert layer.crs().authid() == "EPSG:31254"
    assert layer.featureCount() > 0
    assert ortho.extent().buffered(1).contains(layer.extent())
    assert {feature["source"] for feature in layer.getFeatures()} == {"ortho.tif"}


def test_a_crs_for_a_file_that_has_none(run, inputs, fake_engine):
    layer = QgsRasterLayer(str(inputs / "no_crs.tif"), "no_crs")
    layer.setCrs(QgsCoordinateReferenceSystem("EPSG:31254"))
    run(SEGMENT, INPUT=layer, OUTPUT="memory:")
    assert fake_engine.arguments[1] == f"vrt://{inputs / 'no_crs.tif'}?a_srs=EPSG:31254"


def test_a_crs_without_a_number_is_given_in_full(run, ortho, fake_engine):
    ortho.setCrs(QgsCoordinateReferenceSystem.fromProj("+proj=tmerc +lat_0=0 +lon_0=11.5 +ellps=GRS80 +units=m"))
    run(SEGMENT, INPUT=ortho, OUTPUT="memory:")
    assert "?a_srs=PROJCRS[" in fake_engine.arguments[1] or "?a_srs=PROJCS[" in fake_engine.arguments[1]


def test_a_crs_of_the_user_s_own_may_be_called_anything(run, ortho):
    own = QgsCoordinateReferenceSystem.fromProj("+proj=tmerc +lat_0=0 +lon_0=11.5 +ellps=GRS80 +units=m")
    own = QgsCoordinateReferenceSystem.fromWkt(own.toWkt().replace("unknown", "R&D? grid", 1))
    assert "&" in own.toWkt()
    ortho.setCrs(own)
    layer = run(SEGMENT, INPUT=ortho, BANDS=[1, 2, 3], OUTPUT="memory:")["OUTPUT"]
    assert layer.featureCount() > 0
    assert "+lon_0=11.5" in layer.crs().toProj()


def test_bands_are_chosen(run, inputs, fake_engine):
    run(SEGMENT, INPUT=str(inputs / "rgb_nir_alpha.tif"), BANDS=[4, 1, 2], OUTPUT="memory:")
    # The alpha band comes along: it says where there is no image.
    assert fake_engine.arguments[1] == f"vrt://{inputs / 'rgb_nir_alpha.tif'}?bands=4,1,2,5"


def test_a_missing_engine_is_told_before_anything_runs(provider, run, ortho, monkeypatch):
    monkeypatch.setenv("GEOFOOTPRINT_PYTHON", "/gone/python")
    can, text = provider.algorithm(SEGMENT).canExecute()
    assert not can
    assert "No Python is at /gone/python" in text
    with pytest.raises(QgsProcessingException, match="/gone/python"):
        run(SEGMENT, INPUT=ortho, OUTPUT="memory:")


POLITE = """
    emit("progress", stage="predict", done=1, total=2)
    sys.stdin.read()
    sys.exit(130)
"""
STUCK = """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    emit("progress", stage="predict", done=1, total=2)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("name", "body", "seconds"),
    [(SEGMENT, POLITE, 2), (SEGMENT, STUCK, 3), ("predictprobabilities", STUCK, 7.5)],
    ids=["polite", "stuck", "stuck with files that the user sees"],
)
def test_cancel(run, ortho, fake_engine, cancelling_feedback, tmp_path, name, body, seconds):
    fake_engine.write(body)
    out = tmp_path / "out.tif"
    start = time.monotonic()
    assert run(name, cancelling_feedback, INPUT=ortho, OUTPUT="memory:" if name == SEGMENT else str(out)) == {}
    assert time.monotonic() - start < seconds
    assert not out.exists()
    assert not is_running(fake_engine.call["pid"])
    assert temporary_folders() == set()


def test_cancel_of_a_task_as_the_desktop_runs_it(
    provider, ortho, project, fake_engine, feedback, qtbot, tmp_path
):
    fake_engine.write(POLITE)
    context = QgsProcessingContext()
    context.setProject(project)
    parameters = {"INPUT": ortho.id(), "OUTPUT": str(tmp_path / "out.gpkg")}
    task = QgsProcessingAlgRunnerTask(provider.algorithm(SEGMENT), parameters, context, feedback)
    with qtbot.waitSignal(task.executed, timeout=10_000):
        QgsApplication.taskManager().addTask(task)
        qtbot.waitUntil(lambda: feedback.stages == ["Looking at the image ..."], timeout=5_000)
        feedback.cancel()
        task.cancel()
    assert not (tmp_path / "out.gpkg").exists()


@pytest.mark.parametrize("_again", [False, True])
def test_a_loaded_layer_gets_its_style(run, ortho, project, fake_engine, tmp_path, _again):
    context = QgsProcessingContext()
    context.setProject(project)
    out = str(tmp_path / "out.gpkg")
    context.addLayerToLoadOnCompletion(out, context.LayerDetails("Buildings", project, "OUTPUT"))
    run(SEGMENT, context=context, INPUT=ortho, OUTPUT=out)
    gc.collect()
    processor = context.layerToLoadOnCompletionDetails(out).postProcessor()
    layer = QgsVectorLayer(out, "Buildings", "ogr")
    processor.postProcessLayer(layer, context, None)
    assert layer.renderer().classAttribute() == "confidence"
    assert [r.label() for r in layer.renderer().ranges()][-1] == "0.95 – 1"
    assert not layer.labelsEnabled()
    assert processor not in type(processor)._waiting


def test_a_layer_without_confidence_gets_a_plain_style(provider):
    from geofootprint_qgis.algorithms.results import BUILDINGS, Look

    layer = QgsVectorLayer("Polygon?crs=EPSG:25832", "drawn", "memory")
    Look.for_one_layer(BUILDINGS).postProcessLayer(layer, None, None)
    assert layer.renderer().symbol().symbolLayer(0).strokeColor().name() == "#d64a22"


def test_looks_may_be_made_while_another_thread_uses_one(provider, monkeypatch):
    from geofootprint_qgis.algorithms import results

    looks = [results.Look.for_one_layer(results.PLAIN) for _ in range(3)]

    def used_meanwhile(_look):
        results.Look._waiting.discard(looks[-1])
        return False

    monkeypatch.setattr(results.sip, "isdeleted", used_meanwhile)
    looks.append(results.Look.for_one_layer(results.PLAIN))
    monkeypatch.undo()
    assert results.Look._waiting >= {looks[0], looks[1], looks[3]}
    assert looks[2] not in results.Look._waiting
    results.Look._waiting.difference_update(looks)
