"""Every algorithm with the real engine on the small scene, and what they have in common."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import ENGINE
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsProcessingException,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProcessingModelOutput,
    QgsProcessingModelParameter,
    QgsProcessingParameterRasterLayer,
    QgsRasterLayer,
    QgsVectorLayer,
)

NAMES = [
    "evaluatefootprints", "exportmodel", "makedemoscene", "predictprobabilities", "rasterizelabels", "regularizefootprints",
    "segmentbuildings", "tileorthophoto", "trainmodel", "vectorizeprobabilities",
]  # fmt: skip
TINY = """\
compile = false
[generator]
width = 4
[discriminator]
width = 4
noise = 0.0
[data]
patch = 64
batch = 4
crops_per_epoch = 8
"""


@pytest.mark.parametrize("name", NAMES)
def test_an_algorithm_describes_itself(provider, name):
    algorithm = provider.algorithm(name)
    assert algorithm.displayName()
    assert algorithm.displayName() != name
    assert algorithm.group() in {"Buildings", "Training"}
    assert algorithm.shortDescription()
    assert "building" in algorithm.tags()
    assert Path(algorithm.svgIconPath()).is_file()
    assert not algorithm.icon().isNull()
    assert type(algorithm.create()) is type(algorithm)
    text = algorithm.shortHelpString()
    for parameter in algorithm.parameterDefinitions():
        assert parameter.help(), parameter.name()
        assert f"<b>{parameter.description()}</b><br>{parameter.help()}" in text


def test_parameters_are_called_what_they_are(provider):
    probabilities = provider.algorithm("vectorizeprobabilities").parameterDefinition("INPUT")
    assert probabilities.description() == "Probabilities"
    assert provider.algorithm("segmentbuildings").parameterDefinition("INPUT").description() == "Orthophoto"
    regularized = provider.algorithm("regularizefootprints").parameterDefinition("OUTPUT")
    assert "confidence" not in regularized.help()


def test_these_are_all(provider):
    assert sorted(algorithm.name() for algorithm in provider.algorithms()) == NAMES


def test_probabilities_and_their_outlines(run, ortho, tmp_path):
    probabilities = run("predictprobabilities", INPUT=ortho, OUTPUT=str(tmp_path / "Höfe p.tif"))["OUTPUT"]
    layer = QgsRasterLayer(probabilities, "p")
    assert layer.crs() == ortho.crs()
    assert layer.extent().toString(2) == ortho.extent().toString(2)
    result = run("vectorizeprobabilities", INPUT=layer, THRESHOLD=0.5, OUTPUT="memory:")
    assert result["OUTPUT"].featureCount() == result["COUNT"] > 5
    strict = run("vectorizeprobabilities", INPUT=layer, THRESHOLD=0.5, MIN_AREA=60, OUTPUT="memory:")
    assert strict["COUNT"] < result["COUNT"]


def test_footprints_are_regularized(run, inputs):
    drawn = QgsVectorLayer(str(inputs / "buildings.gpkg"), "buildings", "ogr")
    result = run("regularizefootprints", INPUT=drawn, TOLERANCE=1.0, OUTPUT="memory:")
    assert result["OUTPUT"].featureCount() == result["COUNT"] == drawn.featureCount()
    assert result["OUTPUT"].crs() == drawn.crs()
    assert all(feature["method"] for feature in result["OUTPUT"].getFeatures())


def test_footprints_are_evaluated(run, inputs, ortho, feedback, tmp_path):
    truth, out = str(inputs / "buildings.gpkg"), tmp_path / "Bericht über Höfe"
    result = run("evaluatefootprints", feedback, PREDICTED=truth, TRUTH=truth, IMAGE=ortho, OUTPUT=str(out))
    assert (result["IOU"], result["OBJECT_F1"]) == (1, 1)
    assert result["PREDICTED_COUNT"] == result["TRUE_COUNT"] > 5
    assert "<html" in Path(result["REPORT"]).read_text(encoding="utf-8")
    assert json.loads(Path(result["SCORES"]).read_text())["iou"] == 1
    assert QgsVectorLayer(result["MATCHES"], "m", "ogr").isValid()
    assert "IoU of pixels: 1" in feedback.lines


def test_a_demo_scene(run, tmp_path):
    result = run("makedemoscene", SIZE=256, SEED=3, OUTPUT=str(tmp_path / "demo"))
    assert QgsRasterLayer(result["IMAGE"], "i").isValid()
    assert QgsVectorLayer(result["BUILDINGS"], "b", "ogr").featureCount() == result["COUNT"]
    assert Path(result["REPORT"]).is_file()


def can_train():
    command = [ENGINE, "-m", "geofootprint_cli", "info", "--json"]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["can_train"]


def test_tiles_a_model_trained_on_them_and_its_file(run, inputs, ortho, feedback, tmp_path):
    tiles = run(
        "tileorthophoto", IMAGES=[ortho], FOOTPRINTS=str(inputs / "buildings.gpkg"), SIZE=128, SPLIT="0.6,0.2,0.2",
        BLOCK=20, OUTPUT=str(tmp_path / "Kacheln für Höfe"),
    )  # fmt: skip
    assert tiles["TILES"] == tiles["TRAIN"] + tiles["VAL"] + tiles["TEST"] == 25
    if not can_train():
        pytest.skip("the engine has no PyTorch")
    config = tmp_path / "tiny.toml"
    config.write_text(TINY)
    trained = run(
        "trainmodel", feedback, DATASET=tiles["OUTPUT"], CONFIG=str(config), EPOCHS=1, DEVICE="cpu",
        OUTPUT=str(tmp_path / "run"),
    )  # fmt: skip
    assert 0 <= trained["IOU"] <= 1
    assert "Training ..." in feedback.stages
    exported = run(
        "exportmodel", CHECKPOINT=trained["LAST"], NAME="of Tyrol", SOURCE=["Orthophoto", "CC BY 4.0"], PATCH=128, OVERLAP=32,
        OUTPUT=str(tmp_path / "model.onnx"),
    )  # fmt: skip
    found = run(
        "segmentbuildings", INPUT=ortho, MODEL=exported["OUTPUT"], EXTENT=ortho.extent().buffered(-40), OUTPUT="memory:"
    )
    assert found["OUTPUT"].isValid()


def test_training_is_refused_without_pytorch(provider, fake_engine):
    fake_engine.write("print('{\"protocol\": 1, \"can_train\": false}')")
    fake_engine.path.write_text(fake_engine.path.read_text().replace('emit("start", protocol=1)', ""))
    for name in ("trainmodel", "exportmodel"):
        can, text = provider.algorithm(name).canExecute()
        assert not can
        assert 'has no PyTorch' in text
        assert "geofootprint[train]" in text
    assert provider.algorithm("segmentbuildings").canExecute()[0]


def test_training_is_offered_where_the_engine_can(provider, fake_engine):
    fake_engine.write("print('{\"protocol\": 1, \"can_train\": true}')")
    fake_engine.path.write_text(fake_engine.path.read_text().replace('emit("start", protocol=1)', ""))
    assert provider.algorithm("trainmodel").canExecute() == (True, "")


def test_an_engine_that_is_made_anew_is_asked_again_whether_it_can_train(provider, fake_engine, monkeypatch):
    from geofootprint_qgis.core.setup_marker import MARKER

    folder = fake_engine.path.parents[1]
    binaries = folder / "bin"
    binaries.mkdir()
    marker = folder / MARKER
    python = binaries / "python"
    monkeypatch.setenv("GEOFOOTPRINT_PYTHON", str(python))

    def make(made, answer):
        marker.touch()
        os.utime(marker, (made, made))
        python.write_text(f"#!/bin/sh\necho '{answer}'\n")
        python.chmod(0o755)

    make(1_000, '{"protocol": 1, "can_train": true}')
    assert provider.algorithm("trainmodel").canExecute() == (True, "")
    make(2_000, '{"protocol": 1, "can_train": false}')
    can, text = provider.algorithm("trainmodel").canExecute()
    assert not can
    assert "has no PyTorch" in text


def test_options_of_training(run, fake_engine, tmp_path):
    fake_engine.write("""
        if "info" in sys.argv:
            print('{"event": "x"}'); sys.exit(0)
        emit("result", best="b", last="l", iou=0.5)
    """)
    (tmp_path / "tiles").mkdir()
    result = run(
        "trainmodel", DATASET=str(tmp_path / "tiles"), MORE="/other\n /third:0.5\n", PRESET="pix2pix", MINUTES=1.5, RESUME=True,
        SEED=3, OUTPUT=str(tmp_path / "run"),
    )  # fmt: skip
    assert fake_engine.arguments == [
        "train", str(tmp_path / "tiles"), "/other", "/third:0.5", "-o", str(tmp_path / "run"), "--preset", "pix2pix",
        "--minutes", "1.5", "--resume", "--seed", "3",
    ]  # fmt: skip
    assert result["BEST"] == "b"


def test_a_training_starts_from_the_default_model(run, fake_engine, tmp_path):
    fake_engine.write("emit('result', best='b', last='l', iou=0.5, can_train=True)")
    (tmp_path / "tiles").mkdir()
    start = {"DATASET": str(tmp_path / "tiles"), "INIT_FROM_DEFAULT": True, "OUTPUT": str(tmp_path / "run")}
    run("trainmodel", **start)
    assert fake_engine.arguments == ["train", start["DATASET"], "-o", start["OUTPUT"], "--init-from", "default"]
    with pytest.raises(QgsProcessingException, match="give a file to start from, or the default model, not both"):
        run("trainmodel", **start, INIT_FROM="some.ckpt")


def test_images_of_a_dataset_keep_the_crs_of_qgis(run, ortho, squares, fake_engine, tmp_path):
    fake_engine.write("emit('result', tiles=3, train=1, val=1, test=1)")
    ortho.setCrs(QgsCoordinateReferenceSystem("EPSG:31254"))
    run("tileorthophoto", IMAGES=[ortho], FOOTPRINTS=squares, RECIPE="tirol", OUTPUT=str(tmp_path / "tiles"))
    assert fake_engine.arguments == [
        "tile", f"vrt://{ortho.source()}?a_srs=EPSG:31254", "-o", str(tmp_path / "tiles"), "--footprints", squares,
        "--recipe", "tirol",
    ]  # fmt: skip


def test_a_model_of_two_steps(provider, ortho, project, context, feedback):
    """Segment Buildings into native:buffer, as the graphical modeler runs it."""
    model = QgsProcessingModelAlgorithm("chain", "test")
    model.addModelParameter(QgsProcessingParameterRasterLayer("image", "image"), QgsProcessingModelParameter("image"))
    find = QgsProcessingModelChildAlgorithm("geofootprint:segmentbuildings")
    find.setChildId("find")
    source = QgsProcessingModelChildParameterSource
    find.addParameterSources("INPUT", [source.fromModelParameter("image")])
    grow = QgsProcessingModelChildAlgorithm("native:buffer")
    grow.setChildId("grow")
    grow.addParameterSources("INPUT", [source.fromChildOutput("find", "OUTPUT")])
    grow.addParameterSources("DISTANCE", [source.fromStaticValue(1.0)])
    output = QgsProcessingModelOutput("grown", "grown")
    output.setChildOutputName("OUTPUT")
    grow.setModelOutputs({"grown": output})
    for child in (find, grow):
        model.addChildAlgorithm(child)
    model.initAlgorithm()
    (name,) = (definition.name() for definition in model.destinationParameterDefinitions())
    results, good = model.run({"image": ortho.id(), name: "TEMPORARY_OUTPUT"}, context, feedback)
    assert good
    grown = context.getMapLayer(results[name])
    assert grown.featureCount() > 5
    assert {field.name() for field in grown.fields()} >= {"confidence", "area_m2"}


def test_texts_are_german_in_a_german_qgis(provider, run):
    from geofootprint_qgis.translation import install_translator
    from qgis.PyQt.QtCore import QCoreApplication

    assert install_translator("fr_FR") is None
    translator = install_translator("de_AT")
    try:
        algorithm = provider.algorithm("segmentbuildings").create()
        assert algorithm.displayName() == "Gebäude erkennen"
        assert algorithm.parameterDefinition("THRESHOLD").description() == "Schwellenwert"
        assert "Wahrscheinlichkeit" in algorithm.shortHelpString()
        service = QgsRasterLayer("type=xyz&url=file:///gone/%7Bz%7D/%7Bx%7D/%7By%7D.png", "Karte", "wms")
        with pytest.raises(QgsProcessingException, match="Der Layer Karte ist ein Kartendienst ohne Ende"):
            run("segmentbuildings", INPUT=service, OUTPUT="memory:")
    finally:
        QCoreApplication.removeTranslator(translator)
