from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import geopandas as gpd
import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from geofootprint.errors import Cancelled, GeofootprintError, OptionError, OutputError, RasterError
from geofootprint.probabilities import MODEL_TAG
from geofootprint.raster import Grid
from geofootprint.regularize import METHODS
from geofootprint.vector import COLUMNS
from geofootprint.vectorize import OUTLINES, find_outlines, model_label, read_outlines, vectorize

MakeImage = Callable[..., Path]
Bands = NDArray[np.uint8]

GRID = Grid(CRS.from_epsg(25832), Affine(0.15, 0, 680_000, 0, -0.15, 5_238_000), 400, 300)
HOUSES = [(20, 20, 80, 100), (20, 100, 80, 160), (30, 160, 90, 230), (140, 30, 200, 130), (130, 200, 220, 330), (250, 0, 290, 60)]
"""Rows and columns: three in a row, two that stand alone, one at the left edge."""
COURTYARD = (160, 240, 190, 290)


class Listener:
    """Keeps what is told; may ask to stop."""

    def __init__(self, stop: bool = False) -> None:
        self.warnings: list[str] = []
        self.stop = stop

    def update(self, stage: str, done: float, total: float) -> None:
        if self.stop and done:
            raise Cancelled("Cancelled.")

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def houses(*, blur: float = 1.2, noise: float = 4, seed: int = 0) -> Bands:
    """Return probabilities (building, contour) of HOUSES as a good model would give them."""
    fields = np.zeros((2, 300, 400), np.float32)
    for top, left, bottom, right in HOUSES:
        fields[:, top:bottom, left:right] = 255
        fields[1, top + 2 : bottom - 2, left + 2 : right - 2] = 0
    top, left, bottom, right = COURTYARD
    fields[:, top:bottom, left:right] = 0
    soft = np.stack([cv2.GaussianBlur(field, (0, 0), blur) for field in fields])
    return np.clip(soft + np.random.default_rng(seed).normal(scale=noise, size=soft.shape), 0, 255).astype(np.uint8)


def truth() -> NDArray[Any]:
    a, c, f = GRID.transform.a, GRID.transform.c, GRID.transform.f
    boxes = [
        shapely.box(c + left * a, f - bottom * a, c + right * a, f - top * a)
        for top, left, bottom, right in [*HOUSES, COURTYARD]
    ]
    boxes[4] -= boxes.pop()
    return np.array(boxes)


def everywhere() -> NDArray[np.bool_]:
    return np.ones(GRID.shape, np.bool_)


def overlap(footprints: gpd.GeoDataFrame) -> float:
    shapes = footprints.geometry.to_numpy()
    first, second = shapely.STRtree(shapes).query(shapes)
    pairs = first < second
    return float(shapely.area(shapely.intersection(shapes[first[pairs]], shapes[second[pairs]])).max(initial=0))


@pytest.fixture
def prediction(make_image: MakeImage) -> Path:
    """Return a file as `predict` writes it."""
    path = make_image("prediction.tif", pixels=houses(), tiled=True, blockxsize=64, blockysize=64)
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ("building", "contour")
        dataset.update_tags(**{MODEL_TAG: json.dumps({"name": "toy", "sha256": "0123456789ab", "threshold": 0.4})})
    return path


@pytest.mark.parametrize("outline", OUTLINES)
def test_outlines_match_the_truth(outline: str) -> None:
    found = find_outlines(houses(), everywhere(), GRID, outline=outline)
    assert len(found) == len(HOUSES)
    assert found.is_valid.all()
    assert overlap(found) == 0
    for wanted in truth():
        shares = [shapely.area(wanted & shape) / shapely.area(wanted | shape) for shape in found.geometry]
        assert max(shares) > 0.97


def test_columns() -> None:
    found = find_outlines(houses(), everywhere(), GRID)
    assert tuple(found.columns) == (*COLUMNS, "geometry")
    assert found["id"].tolist() == [1, 2, 3, 4, 5, 6]
    assert found["at_edge"].tolist() == [False] * 5 + [True]
    assert found["confidence"].between(0.6, 0.95).all()
    assert found["confidence"].idxmax() == 4, "large and alone"
    assert found["method"].tolist()[:3] == ["attached"] * 3
    assert set(found["method"]) <= {"attached", *METHODS}
    assert found.crs == GRID.crs
    corners = [len(shape.exterior.coords) - 1 + sum(len(ring.coords) - 1 for ring in shape.interiors) for shape in found.geometry]
    assert found["vertices"].tolist() == corners
    assert max(corners) < 40
    # Reading order: the first pixel's row, then its column.
    tops = -found.bounds["maxy"]
    assert (tops.diff().dropna() > -1).all()


def test_sizes_are_those_on_the_ellipsoid() -> None:
    found = find_outlines(houses(), everywhere(), GRID)
    geod = pyproj.Geod(ellps="WGS84")
    for area, perimeter, shape in zip(found["area_m2"], found["perimeter"], found.to_crs(4326).geometry, strict=True):
        assert area == pytest.approx(abs(geod.geometry_area_perimeter(shape)[0]), rel=1e-3)
        assert perimeter == pytest.approx(geod.geometry_length(shape.boundary), rel=1e-3)


def test_row_of_houses_is_a_coverage_with_a_contour_and_one_building_without() -> None:
    row = find_outlines(houses(), everywhere(), GRID).geometry[:3].to_numpy()
    assert shapely.coverage_is_valid(row)
    assert shapely.union_all(row).geom_type == "Polygon"
    assert len(find_outlines(houses()[:1], everywhere(), GRID)) == len(HOUSES) - 2


def test_courtyards_are_kept_and_small_holes_filled() -> None:
    bands = houses()
    bands[:, 160:168, 60:68] = 0  # 1.4 m²
    found = find_outlines(bands, everywhere(), GRID)
    assert [len(shape.interiors) for shape in found.geometry] == [0, 0, 0, 1, 0, 0]


def test_threshold_and_min_area() -> None:
    ramp = np.tile(np.linspace(0, 255, 400).astype(np.uint8), (1, 300, 1))
    strict, loose = (find_outlines(ramp, everywhere(), GRID, threshold=t)["area_m2"].sum() for t in (0.8, 0.2))
    pixel = 0.15**2
    assert strict == pytest.approx(0.2 * 120_000 * pixel, rel=0.02)
    assert loose == pytest.approx(0.8 * 120_000 * pixel, rel=0.02)
    areas = find_outlines(houses(), everywhere(), GRID, min_area=0)["area_m2"]
    few = find_outlines(houses(), everywhere(), GRID, min_area=areas.median())
    assert len(few) == (areas >= areas.median()).sum()
    assert few["id"].tolist() == list(range(1, len(few) + 1))


def test_pixels_without_data_end_a_building() -> None:
    valid = everywhere()
    valid[:, 80:90] = False
    found = find_outlines(houses()[:1], valid, GRID)
    hole = shapely.box(680_000 + 12, 5_237_000, 680_000 + 13.5, 5_239_000)
    assert shapely.area(shapely.intersection(found.geometry.to_numpy(), hole)).max() < 1e-6
    assert found["at_edge"].sum() == 5


@pytest.mark.parametrize("bands", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_noise_gives_valid_outlines_without_overlaps(bands: int, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=(bands, *GRID.shape)).astype(np.float32)
    soft = np.stack([cv2.GaussianBlur(band, (0, 0), 2.5) for band in noise])
    field = np.clip(127 + soft / soft.std() * 70, 0, 255).astype(np.uint8)
    found = find_outlines(field, everywhere(), GRID, min_area=1)
    assert len(found) > 20
    assert found.is_valid.all()
    assert overlap(found) < 1e-6


@pytest.mark.parametrize("transform", [
    Affine(0.15, 0, 680_000, 0, 0.15, 5_238_000),
    Affine(0.15, 0, 680_000, 0, -0.15, 5_238_000) @ Affine.rotation(30),
])
def test_any_transform(transform: Affine) -> None:
    plain = find_outlines(houses(), everywhere(), GRID)
    found = find_outlines(houses(), everywhere(), Grid(GRID.crs, transform, 400, 300))
    assert found["area_m2"].tolist() == pytest.approx(plain["area_m2"].tolist(), rel=1e-3)
    assert shapely.is_ccw(shapely.get_exterior_ring(found.geometry.to_numpy())).all()


def test_degrees_and_web_mercator_are_measured_on_the_ground() -> None:
    at = Affine(0.15 / 0.6691, 0, 1_265_000, 0, -0.15 / 0.6691, 6_106_855)  # 1 / cos 48° map units a metre
    mercator = find_outlines(houses(), everywhere(), Grid(CRS.from_epsg(3857), at, 400, 300))
    degree = 0.15 / 111_195
    flat = Affine(degree, 0, 11, 0, -degree, 1)
    degrees = find_outlines(houses(), everywhere(), Grid(CRS.from_epsg(4326), flat, 400, 300))
    plain = find_outlines(houses(), everywhere(), GRID)
    for found in (mercator, degrees):
        assert found["area_m2"].tolist() == pytest.approx(plain["area_m2"].tolist(), rel=0.02)


def test_nothing_found_has_all_columns() -> None:
    found = find_outlines(np.zeros((1, 300, 400), np.uint8), everywhere(), GRID)
    full = find_outlines(houses(), everywhere(), GRID)
    assert found.empty
    assert found.dtypes.to_dict() == full.dtypes.to_dict()
    assert found.crs == GRID.crs


@pytest.mark.parametrize("block", [50, 64, 131, 4096])
def test_file_gives_the_same_as_the_array_whatever_the_block(prediction: Path, block: int) -> None:
    found, threshold = read_outlines(prediction, block=block)
    wanted = find_outlines(houses(), everywhere(), GRID, threshold=0.4)
    assert threshold == 0.4
    assert (shapely.to_wkb(found.geometry.to_numpy()) == shapely.to_wkb(wanted.geometry.to_numpy())).all()
    same = [name for name in COLUMNS if name not in ("source", "model")]
    assert found[same].equals(wanted[same])
    assert set(found["source"]) == {"prediction.tif"}
    assert set(found["model"]) == {"toy 01234567"}


def test_third_band_tells_where_buildings_touch(make_image: MakeImage) -> None:
    building, contour = houses()
    path = make_image("three.tif", pixels=np.stack([building, np.zeros_like(contour), contour]))
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ("building", "contour", "touch")
    assert len(read_outlines(path)[0]) == len(HOUSES)


@pytest.mark.parametrize("name", ["a.gpkg", "a.shp", "a.geojson", "a.fgb", "a.parquet"])
def test_formats(prediction: Path, tmp_path: Path, name: str) -> None:
    result = vectorize(prediction, tmp_path / name)
    found = gpd.read_parquet(tmp_path / name) if name.endswith("parquet") else gpd.read_file(tmp_path / name)
    assert len(found) == result.count == len(HOUSES)
    assert tuple(found.columns) == (*COLUMNS, "geometry")
    assert found.to_crs(GRID.crs).area.sum() == pytest.approx(result.area_m2, rel=0.01)
    assert found.crs == (4326 if name.endswith("geojson") else 25832)
    suffixes = {path.suffix for path in tmp_path.glob("a.*")}
    assert suffixes == ({".shp", ".shx", ".dbf", ".prj", ".cpg"} if name.endswith("shp") else {Path(name).suffix})
    assert not list(tmp_path.glob(".*")), "nothing temporary is left"


def test_options_are_kept_in_the_geopackage(prediction: Path, tmp_path: Path) -> None:
    vectorize(prediction, tmp_path / "a.gpkg", threshold=0.6, min_area=9, outline="raw")
    told = json.loads(pyogrio.read_info(tmp_path / "a.gpkg", layer="buildings")["layer_metadata"]["geofootprint"])
    assert told["options"] == {"threshold": 0.6, "min_area": 9, "outline": "raw", "full_scale": None}
    assert told["source"] == str(prediction)
    assert told["version"]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
@pytest.mark.parametrize("high", [1, 255])
def test_masks_of_any_type(make_image: MakeImage, tmp_path: Path, dtype: str, high: int) -> None:
    mask = ((houses(noise=0)[:1] > 127) * high).astype(dtype)
    path = make_image(pixels=mask)
    result = vectorize(path, tmp_path / "a.gpkg")
    assert result.count == len(HOUSES) - 2
    assert result.threshold == 0.5


def test_labels_come_back_as_buildings(make_image: MakeImage, tmp_path: Path) -> None:
    building, contour = houses(blur=0.5, noise=0) > 127
    listener = Listener()
    labels = make_image(pixels=(building * (1 + contour)).astype(np.uint8)[None])
    assert vectorize(labels, tmp_path / "a.gpkg", progress=listener).count == len(HOUSES)
    assert "labels" in listener.warnings[0]


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".geojson", ".fgb", ".parquet"])
def test_nothing_found_is_an_empty_layer_and_a_warning(make_image: MakeImage, tmp_path: Path, suffix: str) -> None:
    listener, out = Listener(), tmp_path / f"a{suffix}"
    result = vectorize(make_image(pixels=np.zeros((1, 80, 80), np.float32)), out, progress=listener)
    assert result.count == 0
    assert "No building" in listener.warnings[0]
    found = gpd.read_parquet(out) if suffix == ".parquet" else gpd.read_file(out)
    assert len(found) == 0
    if suffix != ".geojson":  # which has no columns but those of its features
        assert set(found.columns) == {*COLUMNS, "geometry"}


def test_cancel_leaves_nothing(prediction: Path, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        vectorize(prediction, tmp_path / "a.gpkg", progress=Listener(stop=True))
    assert {path.name for path in tmp_path.iterdir()} == {prediction.name}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"threshold": 0.0}, "threshold"),
        ({"threshold": 1.0}, "threshold"),
        ({"min_area": -1.0}, "smallest area"),
        ({"min_area": float("nan")}, "smallest area"),
        ({"outline": "round"}, "map, area, raw"),
    ],
)
def test_impossible_options(prediction: Path, tmp_path: Path, options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        vectorize(prediction, tmp_path / "a.gpkg", **options)
    assert not (tmp_path / "a.gpkg").exists()


def test_all_nodata_is_refused(make_image: MakeImage, tmp_path: Path) -> None:
    path = make_image(pixels=np.full((1, 60, 60), 255, np.uint8), nodata=255)
    with pytest.raises(RasterError, match=r"image\.tif has no valid pixels"):
        vectorize(path, tmp_path / "a.gpkg")
    assert not (tmp_path / "a.gpkg").exists()


def test_damaged_raster_is_named_and_leaves_nothing(prediction: Path, tmp_path: Path) -> None:
    data = prediction.read_bytes()
    prediction.write_bytes(data[: len(data) // 2])
    with pytest.raises(RasterError, match=r"prediction\.tif"):
        vectorize(prediction, tmp_path / "a.gpkg")
    assert {path.name for path in tmp_path.iterdir()} == {prediction.name}


def test_output_is_looked_at_before_the_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases: list[tuple[str, type[GeofootprintError], str]] = [
        ("no/a.gpkg", OutputError, "does not exist"),
        ("a.dxf", OptionError, "extension"),
    ]
    for name, kind, text in cases:
        with pytest.raises(kind, match=text):
            vectorize("missing.tif", tmp_path / name)
    monkeypatch.setattr("os.access", lambda *_: False)  # also holds for root
    with pytest.raises(OutputError, match="permission"):
        vectorize("missing.tif", tmp_path / "a.gpkg")


def test_model_label() -> None:
    assert model_label("toy", "0123456789ab") == "toy 01234567"
    assert model_label(None, None) == ""


def test_the_probabilities_are_not_overwritten(tmp_path: Path) -> None:
    probabilities = tmp_path / "probabilities.gpkg"
    probabilities.write_bytes(b"not to be lost")
    with pytest.raises(OptionError, match="itself read"):
        vectorize(probabilities, probabilities)
    assert probabilities.read_bytes() == b"not to be lost"
