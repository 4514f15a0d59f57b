from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from notes import Notes
from rasterio.crs import CRS
from rasterio.windows import Window

from geofootprint import tiling
from geofootprint.errors import Cancelled, DatasetError, MissingFileError, OptionError, OutputError, RasterError, VectorError
from geofootprint.labels import CONTOUR, NODATA, burn_labels
from geofootprint.raster import Grid, open_image
from geofootprint.tiling import tile, tile_windows

MakeImage = Callable[..., Path]

UTM = CRS.from_epsg(25832)
PLACE = Affine(0.15, 0, 680_000, 0, -0.15, 5_238_000)
FAR = Affine(0.15, 0, 690_000, 0, -0.15, 5_238_000)


@pytest.fixture
def houses(tmp_path: Path) -> Path:
    """Return houses of 6 by 4 m, 10 m apart, on 150 m by 150 m of ground, in degrees."""
    corners = [(680_000 + 10 * i, 5_238_000 - 10 * j - 4) for i in range(15) for j in range(15)]
    frame = gpd.GeoDataFrame(geometry=[shapely.box(x, y, x + 6, y + 4) for x, y in corners], crs=UTM)
    frame.to_crs("EPSG:4326").to_file(tmp_path / "houses.gpkg")
    return tmp_path / "houses.gpkg"


def read_index(folder: Path) -> gpd.GeoDataFrame:
    return gpd.read_parquet(folder / "index.parquet")


def read_tile(folder: Path, row: Any) -> tuple[Any, Any, Grid]:
    with rasterio.open(folder / row["image"]) as image, rasterio.open(folder / row["label"]) as label:
        grid = Grid(image.crs, image.transform, image.width, image.height)
        assert grid == Grid(label.crs, label.transform, label.width, label.height)
        assert label.nodata == NODATA
        return image.read(), label.read(1), grid


# -- windows


@pytest.mark.parametrize(
    ("extent", "size", "overlap", "starts"),
    [
        (100, 256, 0, [0]),
        (256, 256, 0, [0]),
        (258, 256, 0, [0]),  # 1 % of a tile may go
        (259, 256, 0, [0, 256]),
        (512, 256, 0, [0, 256]),
        (1537, 256, 0, [0, 256, 512, 768, 1024, 1280]),
        (500, 256, 128, [0, 128, 256]),
    ],
)
def test_windows_cover_the_raster(extent: int, size: int, overlap: int, starts: list[int]) -> None:
    windows = tile_windows(Grid(UTM, PLACE, extent, size), size, overlap)
    assert [window.col_off for window in windows] == starts
    assert {(window.row_off, window.width, window.height) for window in windows} == {(0, size, size)}


# -- what a dataset holds


def test_a_dataset_is_images_labels_and_an_index(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    image = make_image("ortho.tif", size=(512, 384))
    result = tile(image, houses, tmp_path / "tiles", size=128)
    folder = tmp_path / "tiles"
    index = read_index(folder)
    assert index.crs == "EPSG:4326"
    assert len(index) == result.tiles == 12
    assert set(index.columns) == {
        "name", "image", "label", "split", "building_share", "valid_share", "gsd", "source", "block", "geometry",
    }
    assert sorted(os.listdir(folder)) == ["dataset.json", "images", "index.parquet", "labels"]
    assert sorted(f"images/{name}" for name in os.listdir(folder / "images")) == sorted(index["image"])
    assert sorted(f"labels/{name}" for name in os.listdir(folder / "labels")) == sorted(index["label"])
    about = json.loads((folder / "dataset.json").read_text())
    assert (about["schema"], about["bands"], about["dtype"], about["size"]) == (1, 3, "uint8", 128)
    assert (about["scheme"], about["contour_width"], about["sources"]) == ("contour", 2, [str(image)])
    assert about["gsd"] == pytest.approx(0.15, rel=1e-3)
    assert about["block"] >= 128 * 0.15
    assert result.train + result.val + result.test == 12
    assert result.building_share == pytest.approx(24 / 100, abs=0.05)


def test_tiles_are_cut_in_place(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    """Pixels, labels and positions are those of the whole; above all, a building cut by a tile has no wall there."""
    image = make_image(size=(300, 400))
    tile(image, houses, tmp_path / "tiles", size=128)
    frame = gpd.read_file(houses).to_crs(UTM)
    whole = Grid(UTM, PLACE, 400, 300)
    expected = np.full((384, 512), NODATA, np.uint8)
    expected[:300, :400] = burn_labels(frame, whole)
    with rasterio.open(image) as dataset:
        pixels = np.zeros((3, 384, 512), np.uint8)
        pixels[:, :300, :400] = dataset.read()
    index = read_index(tmp_path / "tiles")
    assert len(index) == 12
    for _, row in index.iterrows():
        tile_pixels, labels, grid = read_tile(tmp_path / "tiles", row)
        column, line = (round(value) for value in ~PLACE * (grid.transform.c, grid.transform.f))
        inside = np.s_[line : line + 128, column : column + 128]
        assert np.array_equal(tile_pixels, pixels[:, inside[0], inside[1]])
        assert np.array_equal(labels, expected[inside])
        assert row["valid_share"] == pytest.approx((labels != NODATA).mean())
        assert row["building_share"] == pytest.approx(np.isin(labels, (1, 2)).sum() / (labels != NODATA).sum())
        corners = gpd.GeoSeries([row["geometry"]], crs="EPSG:4326").to_crs(UTM).total_bounds
        assert np.allclose(corners, grid.bounds, atol=1e-3)


@pytest.mark.parametrize("gsd", [0.3, 0.1])
def test_tiles_are_resampled_to_the_gsd(tmp_path: Path, make_image: MakeImage, houses: Path, gsd: float) -> None:
    image = make_image(size=(512, 512))
    result = tile(image, houses, tmp_path / "tiles", size=128, gsd=gsd)
    assert result.gsd == pytest.approx(gsd, rel=1e-3)
    frame = gpd.read_file(houses).to_crs(UTM)
    with open_image(image, gsd=gsd) as reader:
        for _, row in read_index(tmp_path / "tiles").iterrows():
            pixels, labels, grid = read_tile(tmp_path / "tiles", row)
            column, line = (round(value) for value in ~reader.grid.transform * (grid.transform.c, grid.transform.f))
            expected, valid = reader.read(Window(column, line, 128, 128))
            assert np.array_equal(pixels, expected)
            assert np.array_equal(labels[valid], burn_labels(frame, grid)[valid])
            assert (labels[~valid] == NODATA).all()


def test_the_tirol_recipe_is_that_of_cutting_and_resizing(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    image = make_image(size=(2 * 675 + 3, 2 * 675 + 3))
    result = tile(image, houses, tmp_path / "tiles", recipe="tirol")
    assert result.tiles == 4
    with rasterio.open(image) as dataset:
        sheet = dataset.read().transpose(1, 2, 0)
    for row, column in ((0, 0), (0, 675), (675, 0), (675, 675)):
        crop = cv2.resize(sheet[row : row + 675, column : column + 675], (256, 256), interpolation=cv2.INTER_AREA)
        name = f"image_{row * 256 // 675:06d}_{column * 256 // 675:06d}"
        with rasterio.open(tmp_path / "tiles" / "images" / f"{name}.tif") as dataset:
            assert np.abs(dataset.read().transpose(1, 2, 0).astype(int) - crop).max() <= 1


def test_a_sheet_of_4053_px_gives_36_tiles() -> None:
    sheet = Grid(UTM, PLACE, 4053, 4053)
    assert len(tile_windows(sheet.at_gsd(sheet.gsd * 675 / 256), 256)) == 36
    longer = Grid(UTM, PLACE, 4053 + 100, 4053)
    assert len(tile_windows(longer.at_gsd(longer.gsd * 675 / 256), 256)) == 42


def test_what_is_not_valid_has_no_label_and_empty_tiles_are_left_out(
    tmp_path: Path, make_image: MakeImage, houses: Path
) -> None:
    pixels = np.full((3, 256, 384), 90, np.uint8)
    pixels[:, :, 200:] = 0
    tile(make_image(pixels=pixels, nodata=0), houses, tmp_path / "tiles", size=128)
    index = read_index(tmp_path / "tiles")
    assert len(index) == 4
    for _, row in index.iterrows():
        image, labels, _ = read_tile(tmp_path / "tiles", row)
        assert np.array_equal(labels == NODATA, image[0] == 0)
        with rasterio.open(tmp_path / "tiles" / row["image"]) as dataset:
            assert np.array_equal(dataset.dataset_mask() == 0, labels == NODATA)


def test_alpha_is_dropped_and_types_are_kept(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    pixels = np.full((4, 128, 128), 200, np.uint8)
    pixels[3, :, 100:] = 0
    tile(make_image("rgba.tif", pixels=pixels, photometric="RGB", alpha="YES"), houses, tmp_path / "rgba", size=128)
    image, labels, _ = read_tile(tmp_path / "rgba", read_index(tmp_path / "rgba").iloc[0])
    assert image.shape == (3, 128, 128)
    assert (labels[:, 100:] == NODATA).all()
    deep = make_image("deep.tif", size=(128, 128), bands=4, dtype="uint16", photometric="MINISBLACK")
    tile(deep, houses, tmp_path / "deep", size=128)
    about = json.loads((tmp_path / "deep" / "dataset.json").read_text())
    assert (about["bands"], about["dtype"]) == (4, "uint16")
    image, _, _ = read_tile(tmp_path / "deep", read_index(tmp_path / "deep").iloc[0])
    assert (image.dtype, image.shape) == (np.uint16, (4, 128, 128))


def test_outside_the_area_of_interest_there_is_no_label(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    area = shapely.box(680_000, 5_237_980, 680_015, 5_238_000)
    gpd.GeoDataFrame(geometry=[area], crs=UTM).to_crs("EPSG:4326").to_file(tmp_path / "aoi.geojson")
    tile(make_image(size=(256, 256)), houses, tmp_path / "tiles", size=128, aoi=tmp_path / "aoi.geojson")
    index = read_index(tmp_path / "tiles")
    assert len(index) == 2
    for _, row in index.iterrows():
        image, labels, grid = read_tile(tmp_path / "tiles", row)
        assert image.all()
        inside = rasterio.features.geometry_mask([area], grid.shape, grid.transform, invert=True)
        assert np.mean((labels != NODATA) != inside) < 0.01


def test_tiles_with_too_little_building_are_left_out(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    image = make_image(size=(1400, 256))
    everything = tile(image, houses, tmp_path / "all", size=128)
    dense = tile(image, houses, tmp_path / "dense", size=128, min_density=0.1)
    assert dense.tiles < everything.tiles
    assert read_index(tmp_path / "dense")["building_share"].min() >= 0.1
    assert read_index(tmp_path / "all")["building_share"].min() < 0.1


def test_the_contour_has_the_width_asked_for(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    image = make_image(size=(128, 128))
    shares = []
    for width in (1, 3):
        tile(image, houses, tmp_path / "tiles", size=128, contour_width=width)
        _, labels, _ = read_tile(tmp_path / "tiles", read_index(tmp_path / "tiles").iloc[0])
        shares.append((labels == CONTOUR).mean())
    assert 2 < shares[1] / shares[0] < 3


def test_overlapping_tiles_do_not_leak(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    result = tile(make_image(size=(700, 700)), houses, tmp_path / "tiles", size=128, overlap=64)
    assert result.dropped > 0
    index = read_index(tmp_path / "tiles").to_crs(UTM)
    assert result.tiles == len(index) == len(os.listdir(tmp_path / "tiles" / "images"))
    assert min(result.train, result.val, result.test) > 0
    unseen = index[index["split"] != "train"].union_all().buffer(-0.01)
    assert not index[index["split"] == "train"].intersects(unseen).any()


def test_the_seed_decides_about_the_split(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    image = make_image(size=(512, 512))
    splits = []
    for seed in (0, 0, 5):
        tile(image, houses, tmp_path / "tiles", size=64, seed=seed)
        splits.append(read_index(tmp_path / "tiles")["split"].tolist())
    assert splits[0] == splits[1] != splits[2]


# -- several images


def test_images_in_several_crs_make_one_dataset(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = make_image("a/ortho.tif", size=(256, 256))
    lon, lat = rasterio.warp.transform(UTM, "EPSG:4326", [680_000], [5_238_000])
    degrees = Affine(2e-6, 0, lon[0], 0, -1.35e-6, lat[0])
    two = make_image("b/ortho.tif", size=(256, 256), crs="EPSG:4326", transform=degrees)
    result = tile([one, two], houses, tmp_path / "tiles", size=128, gsd=0.15)
    index = read_index(tmp_path / "tiles")
    assert result.tiles + result.dropped >= 8
    assert {name.rsplit("_", 2)[0] for name in index["name"]} == {"a_ortho", "b_ortho"}
    assert index["name"].is_unique
    assert set(index["source"]) == {str(one), str(two)}
    assert index.total_bounds == pytest.approx([lon[0], lat[0], lon[0], lat[0]], abs=1e-3)


def test_images_must_be_alike(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    grey = make_image("grey.tif", bands=1)
    with pytest.raises(RasterError, match=r"has 3 band\(s\) of uint8, but .*grey\.tif has 1 of uint8"):
        tile([make_image(), grey], houses, tmp_path / "tiles")
    assert not (tmp_path / "tiles").exists()


def test_footprints_that_miss_are_an_error(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    far = make_image("far.tif", transform=FAR)
    with pytest.raises(VectorError, match=r"No footprint of .*houses\.gpkg meets the image .*far\.tif"):
        tile(far, houses, tmp_path / "tiles")
    notes = Notes()
    assert tile([make_image(), far], houses, tmp_path / "tiles", progress=notes).tiles == 1
    assert "far.tif" in notes.warnings[0]
    with pytest.raises(VectorError, match="meet none of the images"):
        tile([far, far], houses, tmp_path / "none", progress=notes)


# -- where it goes


def test_parents_are_made_and_an_old_dataset_is_replaced(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    out = tmp_path / "a" / "b" / "tiles"
    tile(make_image(size=(256, 256)), houses, out, size=64)
    (out / "images" / "stray.tif").write_text("of an older run")
    assert tile(make_image(size=(256, 256)), houses, out, size=256).tiles == 1
    assert len(os.listdir(out / "images")) == 1
    assert os.listdir(out.parent) == ["tiles"]
    assert oct(out.stat().st_mode) == oct(out.parent.stat().st_mode)


def test_an_empty_folder_becomes_a_dataset(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    (tmp_path / "tiles").mkdir()
    assert tile(make_image(), houses, tmp_path / "tiles").tiles == 1


def test_a_folder_with_something_else_is_refused(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").write_text("dear to somebody")
    (tmp_path / "file").write_text("a file")
    for out in ("photos", "file", "file/tiles"):
        with pytest.raises(OutputError, match=r"(cannot be written|is not a dataset and not empty)"):
            tile(make_image(), houses, tmp_path / out)
    assert sorted(os.listdir(tmp_path)) == ["file", "houses.gpkg", "image.tif", "photos"]
    assert os.listdir(tmp_path / "photos") == ["mine.jpg"]


def test_bad_input_leaves_nothing(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    image = make_image()
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(MissingFileError, match=r"none\.tif"):
        tile(tmp_path / "none.tif", houses, tmp_path / "a" / "tiles")
    with pytest.raises(MissingFileError, match=r"none\.gpkg"):
        tile(image, tmp_path / "none.gpkg", tmp_path / "a" / "tiles")
    with pytest.raises(MissingFileError, match=r"aoi\.geojson"):
        tile(image, houses, tmp_path / "a" / "tiles", aoi=tmp_path / "aoi.geojson")
    assert sorted(os.listdir(tmp_path)) == before


def test_an_image_without_data_makes_no_dataset(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    black = make_image(pixels=np.zeros((3, 64, 64), np.uint8), nodata=0)
    with pytest.raises(DatasetError, match="No tile has labelled pixels"):
        tile(black, houses, tmp_path / "tiles")
    assert not (tmp_path / "tiles").exists()


def test_a_damaged_image_leaves_the_old_dataset_alone(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    image = make_image(size=(1024, 1024), tiled=True, blockxsize=256, blockysize=256, compress="deflate")
    tile(image, houses, tmp_path / "tiles", size=512)
    image.write_bytes(image.read_bytes()[:1_000_000])
    with pytest.raises(RasterError, match=r"image\.tif"):
        tile(image, houses, tmp_path / "tiles", size=128)
    assert len(read_index(tmp_path / "tiles")) == 4
    assert sorted(os.listdir(tmp_path)) == ["houses.gpkg", "image.tif", "tiles"]


def test_cancelling_and_a_full_disk_leave_nothing(
    tmp_path: Path, make_image: MakeImage, houses: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Impatient(Notes):
        def update(self, stage: str, done: float, total: float) -> None:
            if done:
                raise Cancelled("enough")

    with pytest.raises(Cancelled):
        tile(make_image(), houses, tmp_path / "a" / "tiles", progress=Impatient())

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tiling, "_write_tile", fail)
    with pytest.raises(OutputError, match="No space left on device"):
        tile(make_image(), houses, tmp_path / "a" / "tiles")
    assert sorted(os.listdir(tmp_path)) == ["houses.gpkg", "image.tif"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"size": 8}, "at least 16 px"),
        ({"overlap": 256}, "from 0 to 255 px"),
        ({"gsd": -1.0}, "more than 0 m"),
        ({"recipe": "bavaria"}, "unknown; use tirol"),
        ({"recipe": "tirol", "gsd": 0.2}, "leave both options out"),
        ({"split": (0.5, 0.5)}, "three shares"),
        ({"split": (0.5, 0.6, -0.1)}, "three shares"),
        ({"split": (0.8, 0.1, 0.2)}, "add up to 1"),
        ({"block": 0.0}, "more than 0 m"),
        ({"min_density": 1.5}, "from 0 to 1"),
        ({"contour_width": 0}, "at least 1 px"),
    ],
)
def test_impossible_options_are_refused(
    tmp_path: Path, make_image: MakeImage, houses: Path, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(OptionError, match=text):
        tile(make_image(), houses, tmp_path / "tiles", **options)
    with pytest.raises(OptionError, match="at least one"):
        tile([], houses, tmp_path / "tiles")
    assert not (tmp_path / "tiles").exists()


@pytest.mark.data
def test_a_sparse_mosaic_gives_tiles_only_where_it_is(tmp_path: Path, data_folder: Path) -> None:
    place = data_folder / "dhaka"
    result = tile(place / "ortho.tif", place / "buildings.gpkg", tmp_path / "tiles", gsd=0.3)
    index = read_index(tmp_path / "tiles")
    assert result.tiles == len(index) < 40
    assert min(result.train, result.val) > 0
    assert 0.4 < result.building_share < 0.7
    assert index["valid_share"].min() > 0
