"""Rasters that QGIS shows and that the engine opens by GDAL's own names for them."""

from __future__ import annotations

import gzip
import shutil
import zipfile

import pytest
from qgis.core import QgsCoordinateReferenceSystem, QgsProcessingException, QgsRasterLayer

SEGMENT = "segmentbuildings"


@pytest.fixture
def archive(inputs, tmp_path):
    """Return a zip that holds the orthophoto in a folder."""
    path = tmp_path / "Höfe 1.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.write(inputs / "ortho.tif", "Bilder/ortho.tif")
    return path


@pytest.fixture
def zipped(archive, project):
    layer = project.addMapLayer(QgsRasterLayer(f"/vsizip/{archive}/Bilder/ortho.tif", "zipped"))
    assert layer.isValid()
    return layer


def test_an_orthophoto_in_an_archive(run, ortho, zipped):
    found = run(SEGMENT, INPUT=zipped, OUTPUT="memory:")
    assert found["COUNT"] == run(SEGMENT, INPUT=ortho, OUTPUT="memory:")["COUNT"] > 5
    assert {feature["source"] for feature in found["OUTPUT"].getFeatures()} == {"ortho.tif"}


def test_an_orthophoto_in_an_archive_takes_the_crs_that_was_set_in_qgis(run, zipped):
    zipped.setCrs(QgsCoordinateReferenceSystem("EPSG:25833"))
    found = run(SEGMENT, INPUT=zipped, BANDS=[1, 2, 3], OUTPUT="memory:")
    assert found["OUTPUT"].crs().authid() == "EPSG:25833"


def test_an_archive_that_qgis_recognises_itself(run, inputs, project, fake_engine, tmp_path):
    path = tmp_path / "ortho.tif.gz"
    with (inputs / "ortho.tif").open("rb") as source, gzip.open(path, "wb") as target:
        shutil.copyfileobj(source, target)
    layer = project.addMapLayer(QgsRasterLayer(str(path), "gzipped"))
    assert layer.isValid()
    run(SEGMENT, INPUT=layer, OUTPUT="memory:")
    assert fake_engine.arguments[1] == f"/vsigzip/{path}"


def test_an_archive_that_was_moved(run, zipped, archive):
    archive.unlink()
    with pytest.raises(QgsProcessingException, match=r"The file of the layer zipped is no longer there: .*Höfe 1\.zip"):
        run(SEGMENT, INPUT=zipped, OUTPUT="memory:")


def test_an_archive_is_not_replaced_by_what_is_made_of_it(run, zipped, archive):
    with pytest.raises(QgsProcessingException, match="is itself read for the result"):
        run(SEGMENT, INPUT=zipped, OUTPUT=str(archive))
