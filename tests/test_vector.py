from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely
from geopandas.testing import assert_geodataframe_equal

from geofootprint import vector
from geofootprint.errors import OptionError, OutputError, VectorError
from geofootprint.vector import (
    COLUMNS,
    FORMATS,
    clean_polygons,
    measure_on_ellipsoid,
    parts_of,
    read_area,
    read_footprints,
    read_polygons,
    require_format,
    write_footprints,
)

UTM = "EPSG:25832"
EAST, NORTH = 680_000.0, 5_238_000.0
HOUSE = shapely.box(EAST, NORTH, EAST + 10, NORTH + 8)
BOW_TIE = shapely.Polygon([(EAST, NORTH), (EAST + 4, NORTH + 4), (EAST + 4, NORTH), (EAST, NORTH + 4)])
LINE = shapely.LineString([(EAST, NORTH), (EAST + 5, NORTH)])


def write(path: Path, geometries: list[Any], crs: Any = UTM, **columns: Any) -> Path:
    gpd.GeoDataFrame(columns, geometry=geometries, crs=crs).to_file(path)
    return path


def footprints(count: int = 3) -> gpd.GeoDataFrame:
    """Return footprints with all columns, a courtyard among them."""
    boxes = [shapely.box(EAST + 20 * i, NORTH, EAST + 20 * i + 10, NORTH + 8) for i in range(count)]
    if boxes:
        boxes[0] = boxes[0].difference(boxes[0].buffer(-2))
    columns = {
        "id": np.arange(1, count + 1), "confidence": np.linspace(0.5, 1, count), "area_m2": np.full(count, 80.0),
        "perimeter": np.full(count, 36.0), "method": ["map"] * count, "vertices": np.full(count, 4),
        "at_edge": np.zeros(count, np.bool_), "source": ["Sölden.tif"] * count, "model": ["v0:abc"] * count,
    }
    return gpd.GeoDataFrame(columns, geometry=boxes, crs=UTM)


# -- reading

Read = Callable[..., Any]
with_and_without_a_frame = pytest.mark.parametrize("read", [read_footprints, read_polygons])


@with_and_without_a_frame
def test_without_crs_footprints_are_refused(tmp_path: Path, read: Read) -> None:
    path = write(tmp_path / "a.shp", [HOUSE])
    path.with_suffix(".prj").unlink()
    with pytest.raises(VectorError, match="no coordinate reference system; assign one"):
        read(path)


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".fgb", ".geojson", ".parquet"])
def test_an_empty_layer_is_refused_unless_allowed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_footprints(footprints(0), path)
    with pytest.raises(VectorError, match=r"(has no features|no polygons)"):
        read_footprints(path)
    if suffix != ".geojson":  # which has no type without a feature
        assert read_footprints(path, crs="EPSG:3857", allow_empty=True).empty


@with_and_without_a_frame
@pytest.mark.parametrize("geometry", [LINE, shapely.Point(EAST, NORTH)])
def test_lines_and_points_are_no_footprints(tmp_path: Path, geometry: Any, read: Read) -> None:
    with pytest.raises(VectorError, match="no polygons; give a layer with polygons"):
        read(write(tmp_path / "a.gpkg", [geometry]))


def test_polygons_come_valid_flat_and_single(tmp_path: Path) -> None:
    multi = shapely.MultiPolygon([HOUSE, shapely.box(EAST + 20, NORTH, EAST + 25, NORTH + 5)])
    raised = shapely.force_3d(shapely.box(EAST + 40, NORTH, EAST + 45, NORTH + 5), 600)
    mixed = shapely.GeometryCollection([multi, LINE])
    sliver = shapely.Polygon([(EAST, NORTH), (EAST + 1, NORTH), (EAST, NORTH)])
    path = tmp_path / "a.gpkg"
    write(path, [BOW_TIE, multi, LINE, raised, mixed, None, shapely.Polygon(), sliver], name=list("abcdefgh"))
    frame = read_footprints(path)
    assert frame["name"].tolist() == ["a", "a", "b", "b", "d", "e", "e"]
    assert frame.index.tolist() == list(range(7))
    assert frame.is_valid.all()
    assert (frame.geom_type == "Polygon").all()
    assert not frame.has_z.any()


def test_footprints_come_in_the_crs_and_the_bounds_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    frame = footprints(30)
    write_footprints(frame.to_crs("EPSG:4326"), path)
    near = read_footprints(path, crs=UTM, bounds=(EAST + 95, NORTH - 5, EAST + 145, NORTH + 5))
    assert near.crs == UTM
    assert near["id"].tolist() == [6, 7, 8]
    assert np.allclose(near.total_bounds, frame.iloc[5:8].total_bounds, atol=1e-3)
    assert read_footprints(path, bounds=(0, 0, 1, 1)).empty
    assert not len(read_polygons(path, bounds=(0, 0, 1, 1)))
    assert list(read_footprints(path, columns=["method"]).columns) == ["method", "geometry"]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("crs", [UTM, "EPSG:3857"])
def test_polygons_alone_are_those_of_the_footprints(tmp_path: Path, suffix: str, crs: str) -> None:
    rng = np.random.default_rng(0)
    boxes = [shapely.box(x, y, x + 30, y + 30) for x, y in np.array([EAST, NORTH]) + rng.uniform(0, 500, (60, 2))]
    pair = shapely.MultiPolygon([shapely.box(EAST - 4, NORTH, EAST - 2, NORTH + 2), HOUSE.difference(HOUSE.buffer(-1))])
    path = tmp_path / f"a{suffix}"
    mixed = gpd.GeoDataFrame({"number": range(62)}, geometry=[*boxes, BOW_TIE, pair], crs=UTM)
    mixed.to_parquet(path) if suffix == ".parquet" else mixed.to_file(path)
    near = tuple(gpd.GeoSeries([shapely.box(EAST - 5, NORTH - 5, EAST + 300, NORTH + 300)], crs=UTM).to_crs(crs).total_bounds)
    for bounds in (None, near):
        frame = read_footprints(path, crs=crs, bounds=bounds)
        assert shapely.equals_exact(read_polygons(path, crs=crs, bounds=bounds), frame.geometry.to_numpy()).all()
        assert (len(frame) == 64) == (bounds is None)
    assert not len(read_polygons(path, crs=UTM, bounds=(EAST + 400, NORTH - 90, EAST + 500, NORTH - 80)))


def test_bounds_that_have_no_place_in_the_file_s_crs_read_everything(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", [HOUSE])
    assert len(read_footprints(path, crs="EPSG:4326", bounds=(-180, -90, 180, 90))) == 1


def test_coordinates_outside_their_crs_are_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", [HOUSE], crs="EPSG:4326")
    with pytest.raises(VectorError, match="outside the CRS that it states"):
        read_footprints(path, crs="EPSG:3857")


def test_an_area_is_one_geometry(tmp_path: Path) -> None:
    path = write(tmp_path / "a.geojson", [shapely.box(11, 47, 11.1, 47.1), shapely.box(11.1, 47, 11.2, 47.1)], "EPSG:4326")
    area = read_area(path, UTM)
    assert area.geom_type == "Polygon"
    assert area.area == pytest.approx(0.2 * 111_320 * np.cos(np.radians(47.05)) * 0.1 * 111_200, rel=0.01)


# -- geometries


def test_cleaning_keeps_order_and_drops_what_is_no_area() -> None:
    cleaned = clean_polygons(np.array([HOUSE, BOW_TIE, LINE, shapely.Polygon()], dtype=object))
    assert [shape.geom_type for shape in cleaned] == ["Polygon"] * 3
    assert cleaned[0].equals(HOUSE)
    assert shapely.is_valid(cleaned).all()


def test_parts_are_as_they_are() -> None:
    assert parts_of(np.array([None, BOW_TIE, LINE], dtype=object)).tolist() == [BOW_TIE]
    assert len(parts_of(np.array([], dtype=object))) == 0


@pytest.mark.parametrize("crs", [UTM, "EPSG:3857", "EPSG:4326"])
def test_areas_are_true_metres(crs: str) -> None:
    frame = gpd.GeoDataFrame(geometry=[HOUSE, HOUSE.difference(HOUSE.buffer(-2))], crs=UTM).to_crs(crs)
    area, perimeter = measure_on_ellipsoid(frame)
    # UTM is true to 4e-4 in length here.
    assert area == pytest.approx([80, 80 - 24], rel=2e-3)
    assert perimeter == pytest.approx([36, 36 + 20], rel=1e-3)


# -- writing


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_is_written_is_read_again(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"höfe{suffix}"
    frame = footprints()
    write_footprints(frame, path, metadata={"threshold": 0.5})
    again = read_footprints(path, crs=UTM).sort_values("id", ignore_index=True)  # FlatGeobuf sorts by place
    assert list(again.columns) == [*COLUMNS, "geometry"]
    assert again["source"].tolist() == ["Sölden.tif"] * 3
    assert again["at_edge"].astype(bool).tolist() == [False] * 3
    assert again["id"].tolist() == [1, 2, 3]
    assert again["confidence"].tolist() == pytest.approx([0.5, 0.75, 1.0])
    assert np.allclose(shapely.area(again.geometry), shapely.area(frame.geometry), rtol=5e-4)
    assert not any(name.startswith(".") for name in os.listdir(tmp_path))


def test_a_shapefile_has_its_companions(tmp_path: Path) -> None:
    path = tmp_path / "a.shp"
    (tmp_path / "a.qix").write_text("the index of an older file")
    (tmp_path / "a.txt").write_text("somebody's notes")
    write_footprints(footprints(), path)
    assert sorted(os.listdir(tmp_path)) == ["a.cpg", "a.dbf", "a.prj", "a.shp", "a.shx", "a.txt"]
    assert (tmp_path / "a.cpg").read_text() == "UTF-8"
    assert pyogrio.read_info(path)["fields"].tolist() == list(COLUMNS)


def test_a_geopackage_is_of_version_1_2_and_carries_the_run(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    (tmp_path / "a.gpkg-wal").write_bytes(b"the log of an older file")
    write_footprints(footprints(), path, metadata={"threshold": 0.5, "image": "Sölden.tif"})
    assert os.listdir(tmp_path) == ["a.gpkg"]
    assert pyogrio.list_layers(path).tolist() == [["buildings", "Polygon"]]
    about = pyogrio.read_info(path)["layer_metadata"]
    assert json.loads(about["geofootprint"]) == {"threshold": 0.5, "image": "Sölden.tif"}
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (10200,)
    connection.close()


def test_geojson_is_in_degrees(tmp_path: Path) -> None:
    write_footprints(footprints(), tmp_path / "a.geojson")
    content = json.loads((tmp_path / "a.geojson").read_text())
    lon, lat = content["features"][1]["geometry"]["coordinates"][0][0]
    assert (lon, lat) == pytest.approx((11.37, 47.26), abs=0.05)
    assert content.get("crs") is None


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_old_file_is_replaced(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_footprints(footprints(5), path)
    write_footprints(footprints(2), path)
    assert len(read_footprints(path)) == 2


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_failure_leaves_the_old_file_alone(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"a{suffix}"
    write_footprints(footprints(5), path)
    before = sorted(os.listdir(tmp_path))

    def fail(_footprints: Any, temporary: Path, _metadata: Any) -> None:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(vector, "_write", fail)
    with pytest.raises(OutputError, match="No space left on device"):
        write_footprints(footprints(2), path)
    assert sorted(os.listdir(tmp_path)) == before
    assert len(read_footprints(path)) == 5


def test_the_extension_names_the_format(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"no known extension; use one of \.gpkg, \.shp"):
        write_footprints(footprints(), tmp_path / "a.dxf")
    assert require_format(tmp_path / "A.GPKG") == tmp_path / "A.GPKG"


def test_the_folder_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist; make it first"):
        write_footprints(footprints(), tmp_path / "none" / "a.gpkg")


def test_without_crs_nothing_is_written(tmp_path: Path) -> None:
    for suffix in FORMATS:
        with pytest.raises(VectorError, match="no coordinate reference system"):
            write_footprints(footprints().set_crs(None, allow_override=True), tmp_path / f"a{suffix}")
    assert os.listdir(tmp_path) == []


def test_a_frame_is_not_changed_by_writing(tmp_path: Path) -> None:
    frame = footprints()
    for suffix in FORMATS:
        write_footprints(frame, tmp_path / f"a{suffix}")
    assert_geodataframe_equal(frame, footprints())


@pytest.mark.data
def test_real_footprints_are_read(data_folder: Path) -> None:
    frame = read_footprints(data_folder / "dhaka" / "buildings.gpkg", crs="EPSG:32646")
    assert len(frame) >= 820
    assert frame.is_valid.all()


def test_a_file_that_cannot_be_replaced_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.gpkg"
    write_footprints(footprints(), path)

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "used by another process")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OutputError, match=r"a\.gpkg cannot be written"):
        write_footprints(footprints(), path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.gpkg"]
