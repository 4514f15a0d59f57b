"""Polygons that the engine gets are those that QGIS shows."""

from __future__ import annotations

import pytest
from qgis.core import (
    QgsApplication,
    QgsFeature,
    QgsGeometry,
    QgsProcessingAlgRunnerTask,
    QgsProcessingException,
    QgsProcessingFeatureSourceDefinition,
    QgsVectorLayer,
)

OPTIONS = [("segmentbuildings", "AOI"), ("regularizefootprints", "INPUT")]


@pytest.fixture
def drawn(squares, project):
    """Return the squares as a layer that is being edited; one was drawn, and nothing saved."""
    layer = project.addMapLayer(QgsVectorLayer(squares, "drawn", "ogr"))
    assert layer.startEditing()
    feature = QgsFeature(layer.fields())
    feature.setGeometry(QgsGeometry.fromWkt("POLYGON((680100 0, 680110 0, 680110 10, 680100 10, 680100 0))"))
    assert layer.addFeature(feature)
    yield layer
    layer.rollBack()


@pytest.fixture
def kept(fake_engine, tmp_path):
    """Have the engine keep the polygons that it gets, and return where."""
    kept = tmp_path / "kept.gpkg"
    fake_engine.write(f"""
        given = next(word for word in sys.argv if word.endswith(".gpkg"))
        shutil.copy(given, {str(kept)!r})
        shutil.copy({fake_engine.result!r}, out)
        emit("result", count=2, area_m2=1)
    """)
    return str(kept)


@pytest.mark.parametrize(("name", "option"), OPTIONS, ids=["area of interest", "footprints"])
def test_what_was_drawn_and_not_saved_counts(run, ortho, kept, drawn, name, option):
    run(name, **{"INPUT": ortho, option: drawn, "OUTPUT": "memory:"})
    assert QgsVectorLayer(kept, "kept", "ogr").featureCount() == 3
    assert drawn.isModified()


def test_what_was_drawn_counts_in_another_thread_as_the_desktop_runs_it(
    provider, ortho, kept, drawn, context, feedback, qtbot, tmp_path
):
    parameters = {"INPUT": ortho.id(), "AOI": drawn.id(), "OUTPUT": str(tmp_path / "out.gpkg")}
    task = QgsProcessingAlgRunnerTask(provider.algorithm("segmentbuildings"), parameters, context, feedback)
    with qtbot.waitSignal(task.executed, timeout=30_000) as done:
        QgsApplication.taskManager().addTask(task)
    assert done.args[0]
    layer = QgsVectorLayer(kept, "kept", "ogr")
    assert (layer.featureCount(), layer.extent().xMaximum()) == (3, 680_110)


def test_of_what_is_selected_the_rest_stays(run, ortho, kept, drawn):
    drawn.selectByExpression("x_min($geometry) > 680050")
    chosen = QgsProcessingFeatureSourceDefinition(drawn.id(), selectedFeaturesOnly=True)
    run("segmentbuildings", INPUT=ortho, AOI=chosen, OUTPUT="memory:")
    assert QgsVectorLayer(kept, "kept", "ogr").featureCount() == 1


def test_values_go_along_to_their_own_columns(run, kept, drawn):
    run("regularizefootprints", INPUT=drawn, OUTPUT="memory:")
    layer = QgsVectorLayer(kept, "kept", "ogr")
    saved = [feature for feature in layer.getFeatures() if feature["source"] == "Straße.tif"]
    assert [(feature["id"], feature["confidence"], feature["at_edge"]) for feature in saved] == [
        (0, 0.75, False), (1, 0.75, True),
    ]  # fmt: skip


def test_a_file_without_edits_is_read_where_it_lies(run, ortho, fake_engine, squares, project):
    layer = project.addMapLayer(QgsVectorLayer(squares, "saved", "ogr"))
    run("segmentbuildings", INPUT=ortho, AOI=layer, OUTPUT="memory:")
    assert fake_engine.arguments[fake_engine.arguments.index("--aoi") + 1] == squares


def test_a_full_disk_is_told(run, ortho, fake_engine, drawn, small_files):
    with small_files(100), pytest.raises(QgsProcessingException, match=r"The layer drawn could not be copied to .*aoi"):
        run("segmentbuildings", INPUT=ortho, AOI=drawn, OUTPUT="memory:")
    assert not fake_engine.started
