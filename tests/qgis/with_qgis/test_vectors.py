"""Polygons that the engine gets are those that QGIS shows."""

from __future__ import annotations

import pytest
from qgis.core import QgsFeature, QgsGeometry, QgsProcessingException, QgsVectorLayer

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


@pytest.mark.parametrize(("name", "option"), OPTIONS, ids=["area of interest", "footprints"])
def test_what_was_drawn_and_not_saved_counts(run, ortho, fake_engine, drawn, tmp_path, name, option):
    kept = tmp_path / "kept.gpkg"
    fake_engine.write(f"""
        given = next(word for word in sys.argv if word.endswith(".gpkg"))
        shutil.copy(given, {str(kept)!r})
        shutil.copy({fake_engine.result!r}, out)
        emit("result", count=2, area_m2=1)
    """)
    run(name, **{"INPUT": ortho, option: drawn, "OUTPUT": "memory:"})
    assert QgsVectorLayer(str(kept), "kept", "ogr").featureCount() == 3
    assert drawn.isModified()


def test_a_file_without_edits_is_read_where_it_lies(run, ortho, fake_engine, squares, project):
    layer = project.addMapLayer(QgsVectorLayer(squares, "saved", "ogr"))
    run("segmentbuildings", INPUT=ortho, AOI=layer, OUTPUT="memory:")
    assert fake_engine.arguments[fake_engine.arguments.index("--aoi") + 1] == squares


def test_a_full_disk_is_told(run, ortho, fake_engine, drawn, small_files):
    with small_files(100), pytest.raises(QgsProcessingException, match=r"The layer drawn could not be copied to .*aoi"):
        run("segmentbuildings", INPUT=ortho, AOI=drawn, OUTPUT="memory:")
    assert not fake_engine.started
