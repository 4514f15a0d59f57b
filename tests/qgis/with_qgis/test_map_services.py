"""Segment Buildings on map services: QGIS draws them for the engine; the tiles come from a folder, not from the network."""

from __future__ import annotations

from pathlib import Path

import pytest
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsFeature,
    QgsGeometry,
    QgsProcessingAlgRunnerTask,
    QgsProcessingException,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
)

SEGMENT = "segmentbuildings"
HALF = 20_037_508.342789244
"""Half the width of the world in Web Mercator."""
ZOOM = 20


def draw_tile(layer, column, row, path):
    from qgis.core import QgsMapRendererSequentialJob, QgsMapSettings
    from qgis.PyQt.QtCore import QSize
    from qgis.PyQt.QtGui import QColor

    side = 2 * HALF / 2**ZOOM
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:3857"))
    settings.setOutputSize(QSize(256, 256))
    settings.setBackgroundColor(QColor(0, 0, 0, 0))
    left, top = column * side - HALF, HALF - row * side
    settings.setExtent(QgsRectangle(left, top - side, left + side, top))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    path.parent.mkdir(parents=True, exist_ok=True)
    assert job.renderedImage().save(str(path))


@pytest.fixture(scope="module")
def mercator(inputs):
    """Return where the scene lies in Web Mercator."""
    layer = QgsRasterLayer(str(inputs / "ortho.tif"), "ortho")
    to_mercator = QgsCoordinateTransform(
        layer.crs(), QgsCoordinateReferenceSystem("EPSG:3857"), QgsProject.instance().transformContext()
    )
    return to_mercator.transformBoundingBox(layer.extent())


@pytest.fixture(scope="module")
def tiles(inputs, mercator, tmp_path_factory):
    """Return the address of the scene's tiles."""
    folder = tmp_path_factory.mktemp("tiles")
    layer = QgsRasterLayer(str(inputs / "ortho.tif"), "ortho")
    side = 2 * HALF / 2**ZOOM
    for column in range(int((mercator.xMinimum() + HALF) / side), int((mercator.xMaximum() + HALF) / side) + 1):
        for row in range(int((HALF - mercator.yMaximum()) / side), int((HALF - mercator.yMinimum()) / side) + 1):
            draw_tile(layer, column, row, folder / str(ZOOM) / str(column) / f"{row}.png")
    return f"type=xyz&zmin={ZOOM}&zmax={ZOOM}&url=file://{folder}/%7Bz%7D/%7Bx%7D/%7By%7D.png"


@pytest.fixture
def service(tiles, project):
    layer = project.addMapLayer(QgsRasterLayer(tiles, "Luftbild Höfe", "wms"))
    assert layer.providerType() == "wms"
    return layer


def test_buildings_of_an_extent(run, service, mercator, ortho, feedback):
    result = run(SEGMENT, feedback, INPUT=service, EXTENT=mercator, OUTPUT="memory:")
    layer = result["OUTPUT"]
    assert layer.crs().authid() == "EPSG:3857"
    direct = run(SEGMENT, INPUT=ortho, OUTPUT="memory:")["COUNT"]
    assert abs(result["COUNT"] - direct) <= 0.2 * direct
    assert mercator.buffered(20).contains(layer.extent())
    assert {feature["source"] for feature in layer.getFeatures()} == {"Luftbild Höfe.tif"}
    # 96 m and twice the margin of 60 m, at the model's 0.15 m; the map's own metres are longer there.
    (size,) = (line for line in feedback.lines if line.startswith("QGIS draws"))
    width = int(size.split()[2])
    assert width == pytest.approx(216 / 0.15, rel=0.05)


def test_buildings_of_an_area_of_interest(run, service, ortho, fake_engine, inputs, tmp_path):
    fake_engine.write(f"""
        if "info" in sys.argv:
            emit("result", model={{"gsd": 0.5}}); sys.exit(0)
        shutil.copy(sys.argv[sys.argv.index("segment") + 1], {str(tmp_path / "kept.tif")!r})
        shutil.copy({fake_engine.result!r}, out)
        emit("result", count=2, area_m2=1)
    """)
    aoi = str(inputs / "buildings.gpkg")
    run(SEGMENT, INPUT=service, AOI=aoi, OUTPUT="memory:")
    drawn = QgsRasterLayer(str(tmp_path / "kept.tif"), "kept")
    assert drawn.crs().authid() == "EPSG:3857"
    around = QgsCoordinateTransform(QgsVectorLayer(aoi, "a", "ogr").crs(), drawn.crs(), QgsProject.instance())
    assert drawn.extent().contains(around.transformBoundingBox(QgsVectorLayer(aoi, "a", "ogr").extent()))
    assert "--bounds" not in fake_engine.arguments
    # A pixel is 0.5 m on the ground, and more in Web Mercator's units: 1 / cos(47.3°).
    assert drawn.rasterUnitsPerPixelX() == pytest.approx(0.5 / 0.678, rel=0.01)


def test_in_another_thread_as_the_desktop_runs_it(
    provider, service, mercator, project, context, fake_engine, feedback, qtbot, tmp_path
):
    from qgis.core import QgsApplication

    fake_engine.write(f"""
        if "info" in sys.argv:
            emit("result", model={{"gsd": 0.5}}); sys.exit(0)
        shutil.copy(sys.argv[sys.argv.index("segment") + 1], {str(tmp_path / "kept.tif")!r})
        shutil.copy({fake_engine.result!r}, out)
        emit("result", count=2, area_m2=1)
    """)
    parameters = {"INPUT": service.id(), "EXTENT": mercator, "OUTPUT": str(tmp_path / "out.gpkg")}
    task = QgsProcessingAlgRunnerTask(provider.algorithm(SEGMENT), parameters, context, feedback)
    with qtbot.waitSignal(task.executed, timeout=60_000) as done:
        QgsApplication.taskManager().addTask(task)
    assert done.args[0]
    assert QgsRasterLayer(str(tmp_path / "kept.tif"), "kept").width() > 100


def test_a_service_with_a_long_name(run, service, mercator, fake_engine):
    service.setName("Höfe/" * 60)
    fake_engine.write(f"""
        if "info" in sys.argv:
            emit("result", model={{"gsd": 1.0}}); sys.exit(0)
        shutil.copy({fake_engine.result!r}, out)
        emit("result", count=2, area_m2=1)
    """)
    run(SEGMENT, INPUT=service, EXTENT=mercator, OUTPUT="memory:")
    assert fake_engine.arguments[1].endswith("/" + "Höfe_" * 12 + ".tif")


def test_without_an_extent_it_is_refused(run, service):
    with pytest.raises(QgsProcessingException, match="Luftbild Höfe is a map service without end; choose an extent"):
        run(SEGMENT, INPUT=service, OUTPUT="memory:")


def test_an_area_of_interest_without_polygons_is_refused(run, service, fake_engine):
    empty = QgsVectorLayer("Polygon?crs=EPSG:25832", "drawn", "memory")
    with pytest.raises(QgsProcessingException, match=r"^The layer drawn has no polygons"):
        run(SEGMENT, INPUT=service, AOI=empty, OUTPUT="memory:")


def layer_of(wkt, crs):
    layer = QgsVectorLayer(f"Polygon?crs={crs}", "drawn", "memory")
    feature = QgsFeature()
    feature.setGeometry(QgsGeometry.fromWkt(wkt))
    layer.dataProvider().addFeatures([feature])
    return layer


def test_an_area_of_interest_where_the_image_has_no_coordinates_is_refused(run, service, fake_engine):
    beyond = layer_of("POLYGON((200 95, 210 95, 210 99, 200 95))", "EPSG:4326")
    with pytest.raises(QgsProcessingException, match=r"^The polygons of the layer drawn lie where the CRS EPSG:3857 "):
        run(SEGMENT, INPUT=service, AOI=beyond, OUTPUT="memory:")


def test_an_extent_and_an_area_of_interest_that_do_not_meet_are_refused(run, service, mercator, fake_engine):
    elsewhere = layer_of("POLYGON((10 40, 11 40, 11 41, 10 40))", "EPSG:4326")
    with pytest.raises(QgsProcessingException, match=r"^The extent and the area of interest do not meet"):
        run(SEGMENT, INPUT=service, EXTENT=mercator, AOI=elsewhere, OUTPUT="memory:")


def test_too_large_an_extent_is_refused_before_anything_is_fetched(run, service, mercator, fake_engine):
    fake_engine.write("emit('result', model={'gsd': 0.2})")
    with pytest.raises(QgsProcessingException, match=r"too many to fetch .* at most 2000 m by 2000 m"):
        run(SEGMENT, INPUT=service, EXTENT=mercator.buffered(3000), OUTPUT="memory:")
    assert fake_engine.arguments == ["info"]


def test_a_service_that_does_not_answer(run, mercator, fake_engine):
    fake_engine.write("emit('result', model={'gsd': 1.0})")
    silent = QgsRasterLayer("type=xyz&zmax=20&url=file:///gone/%7Bz%7D/%7Bx%7D/%7By%7D.png", "still", "wms")
    with pytest.raises(QgsProcessingException, match="The service still gave no image"):
        run(SEGMENT, INPUT=silent, EXTENT=mercator, OUTPUT="memory:")


@pytest.fixture
def column_of_tiles(service, mercator):
    """Return the folder of one column of tiles, in the middle of the scene; it is put back afterwards."""
    folder = Path(service.source().partition("file://")[2].partition("/%7B")[0]) / str(ZOOM)
    column = folder / str(int((mercator.center().x() + HALF) / (2 * HALF / 2**ZOOM)))
    yield column
    column.with_suffix(".gone").rename(column)


def test_a_service_that_does_not_answer_all_requests(run, service, mercator, fake_engine, column_of_tiles, feedback):
    fake_engine.write(f"""
        if "info" in sys.argv:
            emit("result", model={{"gsd": 0.5}}); sys.exit(0)
        shutil.copy({fake_engine.result!r}, out)
        emit("result", count=2, area_m2=1)
    """)
    inner = mercator.buffered(-0.1 * mercator.width())
    run(SEGMENT, feedback, INPUT=service, EXTENT=inner, OUTPUT="memory:")
    assert feedback.warnings == []
    column_of_tiles.rename(column_of_tiles.with_suffix(".gone"))
    # QGIS keeps the tiles that it has fetched in the layer's address.
    renewed = QgsRasterLayer(service.source() + "?again", "renewed", "wms")
    run(SEGMENT, feedback, INPUT=renewed, EXTENT=inner, OUTPUT="memory:")
    (warning,) = feedback.warnings
    column = 2 * HALF / 2**ZOOM
    share = int(warning.partition("about ")[2].partition(" %")[0])
    assert warning.startswith("The service renewed gave no image for about")
    assert share == pytest.approx(100 * column / inner.width(), abs=3)


def test_other_algorithms_want_a_file(run, service, squares, tmp_path):
    with pytest.raises(QgsProcessingException, match="comes from a service, not from a raster file"):
        run("rasterizelabels", IMAGE=service, FOOTPRINTS=squares, OUTPUT=str(tmp_path / "labels.tif"))
