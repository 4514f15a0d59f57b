"""Rasterize Labels in QGIS."""

from __future__ import annotations

import pytest
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsFeatureRequest,
    QgsProcessingException,
    QgsProcessingFeatureSourceDefinition,
    QgsRasterBandStats,
    QgsRasterLayer,
    QgsVectorLayer,
)

LABELS = "rasterizelabels"


@pytest.fixture
def footprints(inputs, project):
    """Return the scene's buildings as a layer of the project."""
    return project.addMapLayer(QgsVectorLayer(str(inputs / "buildings.gpkg"), "buildings", "ogr"))


@pytest.fixture
def fake_engine(fake_engine, tmp_path):
    """Return an engine that keeps the footprints it was given."""
    fake_engine.kept = str(tmp_path / "kept.gpkg")
    fake_engine.write(f"""
        given = sys.argv[sys.argv.index("rasterize-labels") + 1]
        shutil.copy(given, {fake_engine.kept!r})
        emit("result")
    """)
    return fake_engine


def test_labels_lie_on_the_image_s_grid(run, footprints, ortho, tmp_path):
    out = tmp_path / "Etiketten für Höfe.tif"
    result = run(LABELS, FOOTPRINTS=footprints, IMAGE=ortho, OUTPUT=str(out))
    labels = QgsRasterLayer(result["OUTPUT"], "labels")
    assert labels.extent() == ortho.extent()
    assert (labels.width(), labels.height(), labels.bandCount()) == (ortho.width(), ortho.height(), 1)
    assert labels.crs() == ortho.crs()
    stats = labels.dataProvider().bandStatistics(1, QgsRasterBandStats.Stats.All)
    assert (stats.minimumValue, stats.maximumValue) == (0, 2)


def test_a_temporary_output_is_a_geotiff(run, footprints, ortho):
    assert run(LABELS, FOOTPRINTS=footprints, IMAGE=ortho, OUTPUT="TEMPORARY_OUTPUT")["OUTPUT"].endswith(".tif")


def test_a_plain_file_is_read_where_it_lies(run, footprints, ortho, fake_engine, tmp_path):
    out = str(tmp_path / "labels.tif")
    run(LABELS, FOOTPRINTS=footprints, IMAGE=ortho, CONTOUR_WIDTH=3, ALL_TOUCHED=True, OUTPUT=out)
    assert fake_engine.arguments == [
        "rasterize-labels", footprints.source().split("|")[0], ortho.source(), "-o", out,
        "--contour-width", "3", "--all-touched",
    ]  # fmt: skip


def test_what_is_not_said_is_left_to_the_engine(run, footprints, ortho, fake_engine, tmp_path):
    run(LABELS, FOOTPRINTS=footprints, IMAGE=ortho, OUTPUT=str(tmp_path / "labels.tif"))
    assert len(fake_engine.arguments) == 5


def kept_features(engine):
    layer = QgsVectorLayer(engine.kept, "kept", "ogr")
    assert layer.crs().authid() == "EPSG:25832"
    return layer.featureCount()


def test_a_memory_layer_is_written_out(run, squares, ortho, fake_engine, tmp_path):
    layer = QgsVectorLayer(squares, "squares", "ogr").materialize(QgsFeatureRequest())
    run(LABELS, FOOTPRINTS=layer, IMAGE=ortho, OUTPUT=str(tmp_path / "labels.tif"))
    assert kept_features(fake_engine) == 2


def test_a_filter_holds(run, squares, ortho, fake_engine, tmp_path):
    layer = QgsVectorLayer(squares, "squares", "ogr")
    layer.setSubsetString("id = 1")
    run(LABELS, FOOTPRINTS=layer, IMAGE=ortho, OUTPUT=str(tmp_path / "labels.tif"))
    assert kept_features(fake_engine) == 1


def test_selected_features_only(run, squares, ortho, project, fake_engine, tmp_path):
    layer = project.addMapLayer(QgsVectorLayer(squares, "squares", "ogr"))
    layer.selectByExpression("id = 0")
    source = QgsProcessingFeatureSourceDefinition(layer.id(), selectedFeaturesOnly=True)
    run(LABELS, FOOTPRINTS=source, IMAGE=ortho, OUTPUT=str(tmp_path / "labels.tif"))
    assert kept_features(fake_engine) == 1


def test_a_crs_set_in_qgis_holds(run, squares, ortho, fake_engine, tmp_path):
    layer = QgsVectorLayer(squares, "squares", "ogr")
    layer.setCrs(QgsCoordinateReferenceSystem("EPSG:31254"))
    run(LABELS, FOOTPRINTS=layer, IMAGE=ortho, OUTPUT=str(tmp_path / "labels.tif"))
    assert QgsVectorLayer(fake_engine.kept, "kept", "ogr").crs().authid() == "EPSG:31254"


def test_footprints_without_crs_are_refused(run, ortho, tmp_path):
    layer = QgsVectorLayer("Polygon?field=id:integer", "drawn", "memory")
    layer.setCrs(QgsCoordinateReferenceSystem())
    with pytest.raises(QgsProcessingException, match="The layer drawn has no CRS"):
        run(LABELS, FOOTPRINTS=layer, IMAGE=ortho, OUTPUT=str(tmp_path / "labels.tif"))


def test_the_real_engine_s_sentence_arrives(run, squares, ortho, tmp_path):
    out = tmp_path / "labels.tif"
    with pytest.raises(QgsProcessingException, match=r"No footprint of .* meets the image"):
        run(LABELS, FOOTPRINTS=squares, IMAGE=ortho, OUTPUT=str(out))
    assert list(tmp_path.glob("*labels*")) == []
