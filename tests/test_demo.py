"""The demonstration: all files, figures that fit them, and nothing left of a run that failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
import rasterio
import shapely
from models import write_toy_model

from geofootprint.demo import demo
from geofootprint.errors import Cancelled, GeofootprintError, MissingFileError, OptionError, OutputError
from geofootprint.evaluate import evaluate

FILES = [
    "area.geojson", "buildings.gpkg", "matches.gpkg", "ortho.tif", "overview.png", "report.html", "scores.json", "truth.gpkg"
]

no_place = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
"""The picture is a plain PNG."""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model that takes what is a little red for a roof, which many are."""
    return write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx", threshold=0.05)


@pytest.fixture(scope="module")
def folder(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of one run, which the tests only read."""
    out = tmp_path_factory.mktemp("demo") / "new" / "folder"
    result = demo(out, seed=3, size=400, model=toy)
    (out.parent / "result.json").write_text(json.dumps(vars(result)))
    return out


@pytest.fixture(scope="module")
def result(folder: Path) -> dict[str, Any]:
    """Return what that run returned."""
    fields: dict[str, Any] = json.loads((folder.parent / "result.json").read_text())
    return fields


def test_all_files_are_there(folder: Path, result: dict[str, Any]) -> None:
    assert sorted(file.name for file in folder.iterdir()) == FILES
    for name in ("image", "truth", "buildings", "overview", "report"):
        assert Path(result[name]).is_file()
    assert result["out"] == str(folder)


@no_place
def test_image_and_picture(folder: Path) -> None:
    with rasterio.open(folder / "ortho.tif") as image:
        assert (image.count, image.height, image.width) == (3, 400, 400)
        assert image.crs.is_projected
    with rasterio.open(folder / "overview.png") as picture:
        assert (picture.count, picture.height, picture.width) == (3, 400, 400)


@no_place
def test_picture_shows_the_footprints(folder: Path) -> None:
    found = gpd.read_file(folder / "buildings.gpkg")
    assert len(found)
    with rasterio.open(folder / "ortho.tif") as image, rasterio.open(folder / "overview.png") as picture:
        changed = (image.read() != picture.read()).any(axis=0)
        near = rasterio.features.rasterize(
            found.to_crs(image.crs).boundary.buffer(0.75), image.shape, transform=image.transform
        )
    assert changed.any()
    assert not (changed & (near == 0)).any()


def test_scores_are_those_of_the_files(folder: Path, result: dict[str, Any]) -> None:
    scores = evaluate(folder / "buildings.gpkg", folder / "truth.gpkg", aoi=folder / "area.geojson").as_dict()
    assert result["iou"] == pytest.approx(scores["iou"], abs=1e-4)
    assert result["object_f1"] == pytest.approx(scores["object_f1"], abs=1e-4)
    assert (result["count"], result["true_count"]) == (scores["predicted"], scores["truth"])
    assert result["true_count"] > 0
    assert json.loads((folder / "scores.json").read_text())["iou"] == scores["iou"]


def test_area_is_the_images_extent(folder: Path) -> None:
    with rasterio.open(folder / "ortho.tif") as image:
        extent = gpd.GeoSeries([shapely.box(*image.bounds)], crs=image.crs)
    area = gpd.read_file(folder / "area.geojson").to_crs(extent.crs).union_all()
    assert area.symmetric_difference(extent.iloc[0]).area < 1


def test_again_into_the_same_folder(toy: Path, tmp_path: Path) -> None:
    first = demo(tmp_path, size=256, seed=5, model=toy)
    second = demo(tmp_path, size=256, seed=5, model=toy)
    assert (first.count, first.iou) == (second.count, second.iou)
    assert sorted(file.name for file in tmp_path.iterdir()) == FILES


@pytest.mark.parametrize("options", [{"size": 100}, {"style": "atlantis"}])
def test_impossible_options_leave_nothing(options: dict[str, Any], toy: Path, tmp_path: Path) -> None:
    refuse(OptionError, tmp_path, model=toy, **options)


def test_missing_model_is_said_first(tmp_path: Path) -> None:
    refuse(MissingFileError, tmp_path, model=tmp_path / "no.onnx")


def test_folder_that_is_a_file(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="file"):
        demo(tmp_path / "file", model=toy)


@pytest.mark.parametrize("stage", ["scoring pixels", "drawing"])
def test_cancelling_leaves_nothing(stage: str, toy: Path, tmp_path: Path) -> None:
    class Canceller:
        def update(self, name: str, done: float, total: float) -> None:
            if name == stage:
                raise Cancelled("Cancelled.")

        def warn(self, text: str) -> None:
            pass

    refuse(Cancelled, tmp_path, model=toy, size=256, progress=Canceller())


def refuse(error: type[GeofootprintError], folder: Path, **options: Any) -> None:
    with pytest.raises(error):
        demo(folder / "demo", **options)
    assert list(folder.iterdir()) == []
