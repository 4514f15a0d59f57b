from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pyogrio.raw
import pytest
import shapely
from numpy.typing import NDArray

from geofootprint.errors import MissingFileError, VectorError
from geofootprint.layers import Layer, read_frame, read_layer

UTM = "EPSG:25832"
EAST, NORTH = 680_000.0, 5_238_000.0
HOUSE = shapely.box(EAST, NORTH, EAST + 10, NORTH + 8)

Read = Callable[..., Layer]


def write(path: Path, geometries: Any, **columns: Any) -> Path:
    frame = gpd.GeoDataFrame(columns, geometry=list(geometries), crs=UTM)
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_file(path)
    return path


def some_boxes(count: int) -> NDArray[Any]:
    x, y = np.array([[EAST], [NORTH]]) + np.random.default_rng(0).uniform(0, 1000, (2, count))
    return np.asarray(shapely.box(x, y, x + 30, y + 30))


def read_of_frame(*arguments: Any) -> Layer:
    return read_frame(*arguments)[0]


with_and_without_a_frame = pytest.mark.parametrize("read", [read_layer, read_of_frame])


@with_and_without_a_frame
def test_a_missing_file_is_named(tmp_path: Path, read: Read) -> None:
    with pytest.raises(MissingFileError, match=r"none\.gpkg does not exist"):
        read(tmp_path / "none.gpkg")


@with_and_without_a_frame
@pytest.mark.parametrize("name", ["a.gpkg", "a.shp", "a.geojson", "a.fgb", "a.parquet", "a.txt"])
def test_what_is_no_vector_file_is_refused(tmp_path: Path, name: str, read: Read) -> None:
    (tmp_path / name).write_bytes(b"not what it says")
    with pytest.raises(VectorError, match="cannot be read as a vector file"):
        read(tmp_path / name)


@with_and_without_a_frame
def test_a_truncated_geopackage_is_refused(tmp_path: Path, read: Read) -> None:
    path = write(tmp_path / "a.gpkg", [HOUSE] * 500)
    path.write_bytes(path.read_bytes()[:30_000])
    with pytest.raises(VectorError, match=r"a\.gpkg"):
        read(path)


@with_and_without_a_frame
@pytest.mark.filterwarnings("ignore:Registering non-standard gpkg_geom_TIN extension")
def test_geometries_that_shapely_lacks_are_refused(tmp_path: Path, read: Read) -> None:
    triangle = shapely.Polygon([(EAST, NORTH), (EAST + 1, NORTH), (EAST, NORTH + 1)])
    tin = b"\x01\x10\0\0\0\x01\0\0\0\x01\x11" + shapely.to_wkb(triangle, byte_order=1)[2:]
    pyogrio.raw.write(
        str(tmp_path / "a.gpkg"), np.array([tin], dtype=object), [], [], layer="a", driver="GPKG",
        geometry_type="Unknown", crs=UTM,
    )
    with pytest.raises(VectorError, match=r"a\.gpkg cannot be read as a vector file"):
        read(tmp_path / "a.gpkg")


@with_and_without_a_frame
def test_a_table_is_no_layer(tmp_path: Path, read: Read) -> None:
    pyogrio.write_dataframe(pd.DataFrame({"id": [1, 2]}), tmp_path / "a.gpkg", layer="table")
    with pytest.raises(VectorError, match="no geometries"):
        read(tmp_path / "a.gpkg")


@with_and_without_a_frame
def test_the_layer_with_polygons_is_found_among_others(tmp_path: Path, read: Read) -> None:
    path = tmp_path / "a.gpkg"
    houses = gpd.GeoDataFrame({"id": range(3)}, geometry=list(some_boxes(3)), crs=UTM)
    pyogrio.write_dataframe(houses.drop(columns="geometry"), path, layer="layer_styles")
    pyogrio.write_dataframe(houses.set_geometry(houses.centroid), path, layer="addresses")
    pyogrio.write_dataframe(houses, path, layer="houses")
    assert set(shapely.get_type_id(read(path).shapes)) == {shapely.GeometryType.POLYGON}


@with_and_without_a_frame
@pytest.mark.parametrize("bounds", [None, (EAST - 50, NORTH - 50, EAST + 2000, NORTH + 2000)])
@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".geojson", ".parquet"])
def test_geometries_come_as_they_are_in_the_file_s_order(tmp_path: Path, read: Read, suffix: str, bounds: Any) -> None:
    boxes = some_boxes(500)
    layer = read(write(tmp_path / f"a{suffix}", boxes, number=range(500)), UTM, bounds)
    assert shapely.equals(layer.shapes, boxes).all()
    assert layer.crs == UTM
    assert layer.features == 500


@with_and_without_a_frame
def test_what_is_far_from_the_bounds_is_left_out_but_counted(tmp_path: Path, read: Read) -> None:
    boxes = some_boxes(500)
    layer = read(write(tmp_path / "a.gpkg", [*boxes, None]), UTM, (EAST, NORTH, EAST + 300, NORTH + 300))
    wanted = boxes[shapely.intersects(boxes, shapely.box(EAST, NORTH, EAST + 300, NORTH + 300))]
    assert len(wanted) <= len(layer.shapes) < 100
    assert shapely.contains_properly(shapely.union_all(layer.shapes).buffer(1), wanted).all()
    assert layer.features == 501


@with_and_without_a_frame
def test_bounds_may_be_in_another_crs(tmp_path: Path, read: Read) -> None:
    path = write(tmp_path / "a.gpkg", some_boxes(500))
    degrees = gpd.GeoSeries([shapely.box(EAST, NORTH, EAST + 300, NORTH + 300)], crs=UTM).to_crs("EPSG:4326").total_bounds
    near = read(path, UTM, (EAST, NORTH, EAST + 300, NORTH + 300))
    assert len(near.shapes) <= len(read(path, "EPSG:4326", tuple(degrees)).shapes) < 100
    assert len(read(path, "EPSG:4326", (-180, -90, 180, 90)).shapes) == 500


def test_a_frame_has_the_columns_asked_for(tmp_path: Path) -> None:
    for suffix in (".gpkg", ".parquet"):
        path = write(tmp_path / f"a{suffix}", [HOUSE], name=["Hof"], storeys=[2])
        assert set(read_frame(path)[1].columns) == {"name", "storeys", "geometry"}
        assert set(read_frame(path, columns=["name"])[1].columns) == {"name", "geometry"}
