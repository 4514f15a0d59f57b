from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from models import paint_roofs

from geofootprint.errors import (
    Cancelled,
    GeofootprintError,
    MissingFileError,
    ModelError,
    OptionError,
    OutputError,
    RasterError,
    VectorError,
)
from geofootprint.segment import plan_segment, segment
from geofootprint.vector import COLUMNS

MakeFile = Callable[..., Path]

ROOFS = [(20, 20, 80, 100), (20, 100, 80, 160), (150, 200, 220, 290), (250, 0, 290, 60)]
"""Rows and columns: two that touch, one alone, one at the left edge."""
ORIGIN = (680_000, 5_238_000)
BOUNDS = (680_000.0, 5_237_955.0, 680_045.0, 5_238_000.0)


class Listener:
    """Keeps what is told; may ask to stop once a stage has begun to move."""

    def __init__(self, stop_in: str | None = None) -> None:
        self.warnings: list[str] = []
        self.stages: list[str] = []
        self.stop_in = stop_in

    def update(self, stage: str, done: float, total: float) -> None:
        self.stages.append(stage)
        if stage == self.stop_in and done:
            raise Cancelled("Cancelled.")

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def ground(top: float, left: float, bottom: float, right: float) -> Any:
    x, y = ORIGIN
    return shapely.box(x + 0.15 * left, y - 0.15 * bottom, x + 0.15 * right, y - 0.15 * top)


@pytest.fixture
def image(make_image: MakeFile) -> Path:
    return make_image(pixels=paint_roofs((300, 300), ROOFS))


@pytest.fixture(scope="module")
def toy(make_model: MakeFile) -> Path:
    return make_model()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_roofs_become_footprints(image: Path, toy: Path, tmp_path: Path) -> None:
    listener = Listener()
    result = segment(image, tmp_path / "a.gpkg", model=toy, device="cpu", progress=listener)
    found = gpd.read_file(tmp_path / "a.gpkg")
    assert tuple(found.columns) == (*COLUMNS, "geometry")
    assert found.crs == 25832
    assert result.count == len(found) == 4
    assert result.area_m2 == pytest.approx(sum(ground(*roof).area for roof in ROOFS), rel=0.03)
    for wanted in (ground(*roof) for roof in ROOFS):
        assert max(shapely.area(wanted & shape) / shapely.area(wanted | shape) for shape in found.geometry) > 0.95
    assert shapely.coverage_is_valid(found.geometry[:2].to_numpy())
    assert found["at_edge"].tolist() == [False, False, False, True]
    assert set(found["source"]) == {"image.tif"}
    assert set(found["model"]) == {result.model}
    assert result.model.startswith("toy ")
    assert names(tmp_path) == {"image.tif", "a.gpkg"}
    assert set(listener.stages) == {"predict", "vectorize"}


def test_run_is_described_in_the_geopackage(image: Path, toy: Path, tmp_path: Path) -> None:
    segment(image, tmp_path / "a.gpkg", model=toy, device="cpu", threshold=0.6, bounds=BOUNDS)
    told = json.loads(pyogrio.read_info(tmp_path / "a.gpkg", layer="buildings")["layer_metadata"]["geofootprint"])
    assert told["command"] == "segment"
    assert told["image"] == str(image)
    assert told["options"]["threshold"] == 0.6
    assert told["options"]["bounds"] == list(BOUNDS)
    assert len(told["model"]["sha256"]) == 64
    assert told["version"]


def test_same_input_gives_the_same_footprints(image: Path, toy: Path, tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet"):
        segment(image, tmp_path / name, model=toy, device="cpu")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_shapefile_has_its_companions(image: Path, toy: Path, tmp_path: Path) -> None:
    segment(image, tmp_path / "a.shp", model=toy, device="cpu")
    assert names(tmp_path) == {"image.tif", *(f"a.{suffix}" for suffix in ("shp", "shx", "dbf", "prj", "cpg"))}
    assert (tmp_path / "a.cpg").read_text() == "UTF-8"
    assert "UTM" in (tmp_path / "a.prj").read_text()


def test_threshold_is_the_models_unless_said(image: Path, make_model: MakeFile, tmp_path: Path) -> None:
    strict = make_model(threshold=0.9)
    assert segment(image, tmp_path / "a.gpkg", model=strict, device="cpu").threshold == 0.9
    assert segment(image, tmp_path / "a.gpkg", model=strict, device="cpu", threshold=0.3).threshold == 0.3


def test_area_of_interest_keeps_whole_buildings_with_their_middle_inside(image: Path, toy: Path, tmp_path: Path) -> None:
    # Holds the middle of the first roof, a strip of the second, nothing of the others.
    area = ground(30, 10, 70, 105)
    gpd.GeoSeries([area], crs=25832).to_crs(4326).to_file(tmp_path / "aoi.geojson")
    segment(image, tmp_path / "a.gpkg", model=toy, device="cpu", aoi=tmp_path / "aoi.geojson")
    (found,) = gpd.read_file(tmp_path / "a.gpkg").geometry
    assert shapely.area(found & ground(*ROOFS[0])) > 0.95 * ground(*ROOFS[0]).area
    segment(image, tmp_path / "b.gpkg", model=toy, device="cpu", bounds=area.bounds)
    assert gpd.read_file(tmp_path / "b.gpkg").geometry[0].equals(found)


def test_footprints_come_in_the_images_crs(make_image: MakeFile, toy: Path, tmp_path: Path) -> None:
    degree = 0.15 / 111_195
    image = make_image(pixels=paint_roofs((300, 300), ROOFS), crs="EPSG:4326", transform=Affine(degree, 0, 9, 0, -degree, 0.5))
    result = segment(image, tmp_path / "a.gpkg", model=toy, device="cpu")
    found = gpd.read_file(tmp_path / "a.gpkg")
    assert found.crs == 4326
    assert result.count == 4
    assert shapely.box(8.999, 0.4, 9.1, 0.501).contains(shapely.union_all(found.geometry))
    assert found["area_m2"].sum() == pytest.approx(sum(ground(*roof).area for roof in ROOFS), rel=0.05)


def test_nothing_found_is_an_empty_layer_and_a_warning(make_image: MakeFile, toy: Path, tmp_path: Path) -> None:
    listener = Listener()
    image = make_image(pixels=paint_roofs((100, 100), []))
    assert segment(image, tmp_path / "a.gpkg", model=toy, device="cpu", progress=listener).count == 0
    found = gpd.read_file(tmp_path / "a.gpkg")
    assert tuple(found.columns) == (*COLUMNS, "geometry")
    assert "No building" in listener.warnings[0]


def test_fourth_band_is_left_out_with_a_note_or_is_alpha(make_image: MakeFile, toy: Path, tmp_path: Path) -> None:
    colours = paint_roofs((300, 300), ROOFS)
    alpha = np.full((1, 300, 300), 255, np.uint8)
    alpha[:, :, :100] = 0
    pixels = np.concatenate([colours, alpha])
    listener = Listener()
    infrared = make_image("nir.tif", pixels=pixels, photometric="RGB", alpha="NO")
    assert segment(infrared, tmp_path / "a.gpkg", model=toy, device="cpu", progress=listener).count == 4
    assert "left out" in listener.warnings[0]
    transparent = make_image("alpha.tif", pixels=pixels, photometric="RGB", alpha="YES")
    assert segment(transparent, tmp_path / "b.gpkg", model=toy, device="cpu").count == 2


def test_uint16_is_scaled_by_the_model_or_refused(make_image: MakeFile, make_model: MakeFile, toy: Path, tmp_path: Path) -> None:
    image = make_image(pixels=paint_roofs((300, 300), ROOFS).astype(np.uint16) * 16)
    with pytest.raises(RasterError, match="uint16"):
        segment(image, tmp_path / "a.gpkg", model=toy, device="cpu")
    able = make_model(scale={"uint8": (255.0,) * 3, "uint16": (4080.0,) * 3})
    assert segment(image, tmp_path / "a.gpkg", model=able, device="cpu").count == 4


@pytest.mark.parametrize("stage", ["predict", "vectorize"])
def test_cancel_leaves_nothing(image: Path, toy: Path, tmp_path: Path, stage: str) -> None:
    with pytest.raises(Cancelled):
        segment(image, tmp_path / "a.gpkg", model=toy, device="cpu", progress=Listener(stop_in=stage))
    assert names(tmp_path) == {"image.tif"}


def damaged(make_image: MakeFile) -> Path:
    path = make_image(pixels=paint_roofs((300, 300), ROOFS), compress="deflate")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    return path


def unplaced(make_image: MakeFile) -> Path:
    path = make_image(pixels=paint_roofs((60, 60), []))
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning), rasterio.open(path, "r+") as dataset:
        dataset.transform = Affine.identity()
    return path


IMAGES: dict[str, tuple[Callable[[MakeFile], Path], type[GeofootprintError], str]] = {
    "missing": (lambda _: Path("no.tif"), MissingFileError, "does not exist"),
    "truncated": (damaged, RasterError, r"image\.tif"),
    "without CRS": (lambda make: make(crs=None), RasterError, "coordinate reference system"),
    "without transform": (unplaced, RasterError, "position"),
    "one band": (lambda make: make(bands=1), RasterError, "1 colour band"),
    "all nodata": (lambda make: make(pixels=np.zeros((3, 60, 60), np.uint8), nodata=0), RasterError, "no data"),
    "no raster": (lambda make: Path(__file__), RasterError, "damaged or of an unknown format"),
}


@pytest.mark.parametrize("case", IMAGES)
def test_images_that_cannot_be_used(make_image: MakeFile, toy: Path, tmp_path: Path, case: str) -> None:
    make, kind, text = IMAGES[case]
    image = make(make_image)
    before = names(tmp_path)
    with pytest.raises(kind, match=text) as error:
        segment(image, tmp_path / "a.gpkg", model=toy, device="cpu")
    assert image.name in str(error.value)
    assert names(tmp_path) == before


@pytest.mark.parametrize("call", [segment, plan_segment])
@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"out": "no/a.gpkg"}, OutputError, "does not exist"),
        ({"out": "a.dxf"}, OptionError, "extension"),
        ({"model": "no.onnx"}, MissingFileError, "no.onnx"),
        ({"model": __file__}, ModelError, "no ONNX model"),
        ({"threshold": 2.0}, OptionError, "threshold"),
        ({"min_area": -1.0}, OptionError, "smallest area"),
        ({"outline": "round"}, OptionError, "outline"),
        ({"bounds": (3.0, 4.0, 1.0, 2.0)}, OptionError, "west south east north"),
        ({"bounds": (1.0, 2.0, 3.0, 4.0)}, OptionError, "miss"),
        ({"aoi": "no.geojson"}, MissingFileError, "no.geojson"),
    ],
)
def test_impossible_options(
    image: Path, toy: Path, tmp_path: Path, call: Callable[..., Any], options: dict[str, Any],
    kind: type[GeofootprintError], text: str,
) -> None:
    chosen: dict[str, Any] = {"out": "a.gpkg", "model": toy, "device": "cpu", **options}
    out = tmp_path / chosen.pop("out")
    with pytest.raises(kind, match=text):
        call(image, out, **chosen)
    assert names(tmp_path) == {"image.tif"}


def test_folder_that_cannot_be_written(image: Path, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # also holds for root
    with pytest.raises(OutputError, match="permission"):
        segment(image, tmp_path / "a.gpkg", model=toy, device="cpu")


def test_area_that_misses_the_image(image: Path, toy: Path, tmp_path: Path) -> None:
    gpd.GeoSeries([shapely.box(0, 0, 1, 1)], crs=4326).to_file(tmp_path / "far.geojson")
    with pytest.raises(VectorError, match=r"far\.geojson misses"):
        segment(image, tmp_path / "a.gpkg", model=toy, device="cpu", aoi=tmp_path / "far.geojson")
    assert names(tmp_path) == {"image.tif", "far.geojson"}


def test_area_of_interest_is_not_overwritten(image: Path, toy: Path, tmp_path: Path) -> None:
    area = tmp_path / "aoi.gpkg"
    gpd.GeoSeries([ground(0, 0, 300, 300)], crs=25832).to_file(area)
    before = area.read_bytes()
    with pytest.raises(OptionError, match="itself read"):
        segment(image, area, model=toy, device="cpu", aoi=area)
    assert area.read_bytes() == before


def test_model_is_not_overwritten(image: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.gpkg"
    model.write_bytes(b"not to be lost")
    with pytest.raises(OptionError, match="itself read"):
        segment(image, model, model=model)
    assert model.read_bytes() == b"not to be lost"


def test_plan_says_what_would_be_done(image: Path, toy: Path, tmp_path: Path) -> None:
    plan = plan_segment(image, tmp_path / "a.gpkg", model=toy, device="cpu")
    assert (plan.width, plan.height, plan.crs) == (300, 300, "EPSG:25832")
    assert plan.patches > 16
    assert plan.gsd == pytest.approx(0.15, rel=1e-3)
    assert plan.model.startswith("toy ")
    assert 0.1 < plan.disk_mb < 1
    small = plan_segment(image, tmp_path / "a.gpkg", model=toy, device="cpu", bounds=ground(290, 290, 300, 300).bounds)
    assert small.patches <= plan.patches
    assert names(tmp_path) == {"image.tif"}


@pytest.mark.data
def test_real_orthophoto(data_folder: Path, toy: Path, tmp_path: Path) -> None:
    # The toy sees red roofs at best; what counts is that a real file goes through: web mercator, JPEG, a mask.
    image = data_folder / "banepa_north" / "ortho.tif"
    with rasterio.open(image) as dataset:
        x, y = dataset.transform @ (1000, 1000)
        crs = dataset.crs
    result = segment(image, tmp_path / "a.gpkg", model=toy, device="cpu", bounds=(x, y - 40, x + 40, y), min_area=1)
    found = gpd.read_file(tmp_path / "a.gpkg")
    assert found.crs == crs
    assert len(found) == result.count
    assert found.is_valid.all()
