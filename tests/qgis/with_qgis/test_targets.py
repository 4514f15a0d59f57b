"""Outputs that cannot be written: nothing is lost that was there before, and nothing half is left."""

from __future__ import annotations

import os
import sqlite3
from unittest.mock import Mock

import pytest
from conftest import without_fid, write_layer
from osgeo import gdal
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsGeometry,
    QgsProcessingException,
    QgsProcessingOutputLayerDefinition,
    QgsProperty,
    QgsRasterLayer,
    QgsRemappingSinkDefinition,
    QgsVectorLayer,
    QgsWkbTypes,
)

SEGMENT = "segmentbuildings"
FULL = "could not be written; is its disk full"


def rows(path, table):
    """Count a table's rows without QGIS; None where there is no such table."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    except sqlite3.OperationalError:
        return None
    finally:
        connection.close()


@pytest.fixture
def cadastre(squares, tmp_path):
    """Return a GeoPackage whose one layer, with two rows, is called as the file."""
    return write_layer(without_fid(squares), tmp_path / "cadastre.gpkg")


def appended(sink, path):
    """Return the output that Append to Layer stands for."""
    crs = QgsCoordinateReferenceSystem("EPSG:25832")
    mapping = QgsRemappingSinkDefinition()
    mapping.setFieldMap({name: QgsProperty.fromField(name) for name in ("id", "source")})
    mapping.setSourceCrs(crs)
    mapping.setDestinationCrs(crs)
    mapping.setDestinationWkbType(QgsWkbTypes.Type.Polygon)
    mapping.setDestinationFields(QgsVectorLayer(path, "fields", "ogr").fields())
    output = QgsProcessingOutputLayerDefinition(sink)
    output.setRemappingDefinition(mapping)
    return output


FORMS = ["{}", 'ogr:dbname=\'{}\' table="cadastre" (geom)']


@pytest.mark.parametrize("form", FORMS, ids=["file", "table"])
def test_buildings_are_appended_to_a_layer(run, ortho, fake_engine, cadastre, form):
    assert run(SEGMENT, INPUT=ortho, OUTPUT=appended(form.format(cadastre), cadastre))["COUNT"] == 2
    assert rows(cadastre, "cadastre") == 4


@pytest.mark.parametrize("form", FORMS, ids=["file", "table"])
def test_a_layer_outlives_what_it_refuses_to_take(run, ortho, fake_engine, cadastre, form):
    connection = sqlite3.connect(cadastre)
    connection.execute("CREATE TRIGGER closed BEFORE INSERT ON cadastre BEGIN SELECT RAISE(ABORT, 'closed'); END")
    connection.close()
    with pytest.raises(QgsProcessingException, match=r"^Not all buildings could be added to .*cadastre\.gpkg"):
        run(SEGMENT, INPUT=ortho, OUTPUT=appended(form.format(cadastre), cadastre))
    assert rows(cadastre, "cadastre") == 2


@pytest.mark.parametrize(
    ("extension", "text"),
    [("gpkg", r"^Could not create layer .*out\.gpkg"), ("shp", f"out.shp {FULL}"), ("geojson", f"out.geojson {FULL}")],
)
def test_a_disk_that_fills_while_a_file_is_written(run, ortho, fake_engine, tmp_path, small_files, extension, text):
    folder = tmp_path / "full"
    folder.mkdir()
    with small_files(100), pytest.raises(QgsProcessingException, match=text):
        run(SEGMENT, INPUT=ortho, OUTPUT=str(folder / f"out.{extension}"))
    assert not [name for name in os.listdir(folder) if name.endswith(extension)]


@pytest.fixture
def many(fake_engine, tmp_path):
    """Have the engine find 4000 buildings."""
    layer = QgsVectorLayer("Polygon?crs=EPSG:25832&field=id:integer&field=source:string(80)", "many", "memory")
    features = []
    for number in range(4000):
        feature = QgsFeature(layer.fields())
        feature.setAttributes([number, "Straße.tif" * 8])
        feature.setGeometry(QgsGeometry.fromWkt(f"POLYGON(({number} 0, {number} 1, {number + 1} 1, {number} 0))"))
        features.append(feature)
    layer.dataProvider().addFeatures(features)
    path = write_layer(layer, tmp_path / "many.fgb")
    fake_engine.write(f"shutil.copy({path!r}, out); emit('result', count=4000, area_m2=200.0)")


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("table", ["found", "new"])
def test_a_disk_that_fills_while_a_table_is_written(run, ortho, cadastre, small_files, tmp_path, table):
    path = tmp_path / "new.gpkg" if table == "new" else cadastre
    with small_files(200_000), pytest.raises(QgsProcessingException, match=FULL):
        run(SEGMENT, INPUT=ortho, OUTPUT=f"ogr:dbname='{path}' table=\"{table}\" (geom)")
    assert rows(cadastre, "cadastre") == 2
    assert rows(cadastre, "found") is None
    assert not (tmp_path / "new.gpkg").exists()


@pytest.mark.usefixtures("many")
def test_a_table_takes_what_there_is_room_for(run, ortho, cadastre):
    output = f"ogr:dbname='{cadastre}' table=\"found\" (geom)"
    assert run(SEGMENT, INPUT=ortho, OUTPUT=output)["COUNT"] == 4000
    assert rows(cadastre, "found") == 4000
    assert rows(cadastre, "cadastre") == 2


@pytest.mark.parametrize("form", ["{}", 'ogr:dbname=\'{}\' table="found" (geom)'], ids=["file", "table"])
def test_a_full_disk_is_seen_before_an_old_output_is_lost(run, ortho, fake_engine, tmp_path, monkeypatch, form):
    from geofootprint_qgis.algorithms import targets

    out = tmp_path / "out.gpkg"
    run(SEGMENT, INPUT=ortho, OUTPUT=str(out))
    before = out.read_bytes()
    monkeypatch.setattr(targets.shutil, "disk_usage", lambda _folder: Mock(free=1000))
    with pytest.raises(QgsProcessingException, match=r"The disk of .*out\.gpkg is full; make room for 1 MB"):
        run(SEGMENT, INPUT=ortho, OUTPUT=form.format(out))
    assert out.read_bytes() == before


@pytest.fixture
def ortho_in_geopackage(inputs, project, tmp_path):
    """Return a GeoPackage that holds the orthophoto, and its layer."""
    path = str(tmp_path / "ortho.gpkg")
    options = gdal.TranslateOptions(format="GPKG")
    gdal.Translate(path, str(inputs / "ortho.tif"), options=options)
    return path, project.addMapLayer(QgsRasterLayer(path, "ortho"))


@pytest.mark.parametrize("algorithm", [SEGMENT, "vectorizeprobabilities"])
def test_a_raster_is_not_replaced_by_what_is_made_of_it(run, ortho_in_geopackage, algorithm):
    path, layer = ortho_in_geopackage
    with open(path, "rb") as file:
        before = file.read()
    with pytest.raises(QgsProcessingException, match="is itself read for the result"):
        run(algorithm, INPUT=layer.id(), OUTPUT=path)
    with open(path, "rb") as file:
        assert file.read() == before


def test_other_inputs_are_not_replaced(run, ortho, squares):
    for algorithm, parameters in (
        ("regularizefootprints", {"INPUT": squares, "OUTPUT": squares}),
        (SEGMENT, {"INPUT": ortho, "AOI": squares, "OUTPUT": squares}),
    ):
        with pytest.raises(QgsProcessingException, match="is itself read for the result"):
            run(algorithm, **parameters)


def test_an_output_that_cannot_be_written_is_refused_before_the_engine_starts(run, ortho, fake_engine, tmp_path):
    (tmp_path / "text.tif").write_text("no folder")
    for out, text in (
        (tmp_path / "gone" / "x.gpkg", "there is no folder"),
        (tmp_path / "text.tif" / "x.gpkg", "there is no folder"),
        (tmp_path / "x.dxf", "DXF has no columns"),
    ):
        with pytest.raises(QgsProcessingException, match=text):
            run(SEGMENT, INPUT=ortho, OUTPUT=str(out))
    assert not fake_engine.started
