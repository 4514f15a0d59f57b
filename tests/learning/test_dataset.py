from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

pytest.importorskip("torch", reason="needs geofootprint[train]")

from geofootprint.errors import DatasetError, MissingFileError, OptionError, RasterError
from geofootprint.learning.dataset import TOUCH, is_building, is_contour, is_touch, mark_touch, read_tiles
from geofootprint.scaling import Scaling


@pytest.fixture
def copied(dataset: Path, tmp_path: Path) -> Path:
    """Return a dataset that the test may damage."""
    shutil.copytree(dataset, tmp_path / "tiles")
    return tmp_path / "tiles"


def change_info(folder: Path, **changes: object) -> None:
    path = folder / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def labels_of(folder: Path, split: str) -> list[Path]:
    index = gpd.read_parquet(folder / "index.parquet")
    return [folder / name for name in index.loc[index["split"] == split, "label"]]


def overwrite(path: Path, value: int) -> None:
    with rasterio.open(path, "r+") as label:
        label.write(np.full(label.shape, value, np.uint8), 1)


def test_tiles_of_a_split(dataset: Path) -> None:
    tiles = read_tiles([(dataset, 1.0)], "train")
    assert (tiles.bands, len(tiles.tiles)) == (3, len(labels_of(dataset, "train")))
    assert tiles.gsd == pytest.approx(0.15, rel=0.01)
    assert tiles.pixels == 64 * 64 * len(tiles.tiles)
    assert [Path(source).name for source in tiles.sources] == ["town.tif"]
    for tile in tiles.tiles:
        assert tile.image.shape == (64, 64, 3)
        # Houses are 120 brighter than the brightest ground.
        assert np.array_equal(tile.image.min(axis=2) >= 120, is_building(tile.label))


def test_splits_share_no_tile(dataset: Path) -> None:
    splits = [read_tiles([(dataset, 1.0)], split).tiles for split in ("train", "val", "test")]
    images = [tile.image.tobytes() for tiles in splits for tile in tiles]
    assert len(set(images)) == len(images) == 25


def test_buildings_and_valid_pixels_are_drawn_more_often(copied: Path) -> None:
    first, second, third = labels_of(copied, "train")[:3]
    overwrite(first, 0)
    overwrite(second, 1)
    overwrite(third, 255)
    weights = [tile.weight for tile in read_tiles([(copied, 2.0)], "train").tiles]
    assert weights[:3] == pytest.approx([2 * 4096 * 0.25, 2 * 4096, 0])


def test_several_datasets(dataset: Path, make_dataset: Callable[..., Path]) -> None:
    other = make_dataset(side=256)
    tiles = read_tiles([(dataset, 1.0), (other, 0.5)], "train")
    assert len(tiles.tiles) == len(labels_of(dataset, "train")) + len(labels_of(other, "train"))
    assert len(tiles.sources) == 2
    assert tiles.tiles[-1].weight == pytest.approx(read_tiles([(other, 1.0)], "train").tiles[-1].weight / 2)


def test_bands_differ(dataset: Path, make_dataset: Callable[..., Path]) -> None:
    with pytest.raises(DatasetError, match=r"has bands 4, but .* has 3; train on datasets of one kind"):
        read_tiles([(dataset, 1.0), (make_dataset(bands=4), 1.0)], "train")


def test_gsds_differ(dataset: Path, copied: Path) -> None:
    change_info(copied, gsd=0.3)
    with pytest.raises(DatasetError, match=r"has 0.3 m per pixel, but .* has 0.15 m; tile both with one --gsd"):
        read_tiles([(dataset, 1.0), (copied, 1.0)], "train")


def test_type_of_the_tiles_differs_from_that_of_the_dataset(copied: Path) -> None:
    change_info(copied, dtype="uint16")
    with pytest.raises(DatasetError, match="holds uint8 values, not uint16; tile the image again"):
        read_tiles([(copied, 1.0)], "train")


def test_types_that_are_no_numbers(copied: Path) -> None:
    change_info(copied, dtype="complex64")
    with pytest.raises(DatasetError, match="holds complex64 images; convert"):
        read_tiles([(copied, 1.0)], "train")


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_weights_must_be_positive(dataset: Path, weight: float) -> None:
    with pytest.raises(OptionError, match=r"weight of .* must be more than 0"):
        read_tiles([(dataset, weight)], "train")


def test_missing_folder_and_folder_that_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="none does not exist"):
        read_tiles([(tmp_path / "none", 1.0)], "train")
    with pytest.raises(DatasetError, match=r"is not a dataset: its dataset\.json is missing or damaged"):
        read_tiles([(tmp_path, 1.0)], "train")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"schema": 1}'])
def test_damaged_description(copied: Path, text: str) -> None:
    (copied / "dataset.json").write_text(text)
    with pytest.raises(DatasetError, match=r"dataset\.json is missing or damaged"):
        read_tiles([(copied, 1.0)], "train")


def test_newer_dataset(copied: Path) -> None:
    change_info(copied, schema=99)
    with pytest.raises(DatasetError, match="newer geofootprint"):
        read_tiles([(copied, 1.0)], "train")


def test_damaged_index(copied: Path) -> None:
    (copied / "index.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"index\.parquet is missing or damaged"):
        read_tiles([(copied, 1.0)], "train")


def test_empty_split(make_dataset: Callable[..., Path]) -> None:
    folder = make_dataset(split=(1.0, 0.0, 0.0))
    with pytest.raises(DatasetError, match="no tile is in the split 'val', or none with data; tile again with a larger share"):
        read_tiles([(folder, 1.0)], "val")


def test_no_buildings(copied: Path) -> None:
    for path in labels_of(copied, "train"):
        overwrite(path, 0)
    with pytest.raises(DatasetError, match="no tile of the split 'train' shows a building"):
        read_tiles([(copied, 1.0)], "train")


def test_unknown_labels(copied: Path) -> None:
    path = labels_of(copied, "train")[0]
    overwrite(path, 7)
    with pytest.raises(DatasetError, match=rf"{path.name} has labels of unknown value \(7\); known are 0"):
        read_tiles([(copied, 1.0)], "train")


def test_label_of_another_place(copied: Path) -> None:
    one, other = labels_of(copied, "train")[:2]
    one.write_bytes(other.read_bytes())
    with pytest.raises(DatasetError, match="and its label lie on different grids"):
        read_tiles([(copied, 1.0)], "train")


def rewrite(path: Path, *, bands: int | None = None, **changes: object) -> None:
    """Write a tile anew with other bands or another profile."""
    with rasterio.open(path) as dataset:
        pixels, profile = dataset.read(), dataset.profile
    path.unlink()
    pixels = pixels if bands is None else np.resize(pixels, (bands, *pixels.shape[1:]))
    with rasterio.open(path, "w", **(profile | {"count": len(pixels), "photometric": "MINISBLACK"} | changes)) as dataset:
        dataset.write(pixels)


def image_of(label: Path) -> Path:
    return label.parents[1] / "images" / label.name


def test_tiles_of_other_bands_or_another_crs(copied: Path) -> None:
    one, other, third = labels_of(copied, "train")[:3]
    rewrite(image_of(third), bands=4)
    with pytest.raises(DatasetError, match=rf"images/{third.name} has 4 band\(s\), but its dataset 3; tile it again"):
        read_tiles([(copied, 1.0)], "train")
    rewrite(other, bands=2)
    with pytest.raises(DatasetError, match=rf"labels/{other.name} has 2 band\(s\), but its dataset 1; tile it again"):
        read_tiles([(copied, 1.0)], "train")
    rewrite(one, crs="EPSG:25833")
    with pytest.raises(DatasetError, match=rf"{one.name} and its label lie on different grids"):
        read_tiles([(copied, 1.0)], "train")


def test_pixels_without_data_have_no_label(copied: Path) -> None:
    path = labels_of(copied, "train")[0]
    with rasterio.open(path) as dataset:
        before = dataset.read(1)
    mask = np.ones((64, 64), np.bool_)
    mask[10:20] = False
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(image_of(path), "r+") as dataset:
        dataset.write_mask(mask)
    first = read_tiles([(copied, 1.0)], "train").tiles[0]
    assert (first.label[10:20] == 255).all()
    assert not first.image[10:20].any()
    assert first.image[:10].any()
    assert np.array_equal(is_building(first.label[20:]), is_building(before[20:]))


def test_dataset_without_any_tile(copied: Path) -> None:
    index = gpd.read_parquet(copied / "index.parquet")
    index.iloc[:0].to_parquet(copied / "index.parquet")
    with pytest.raises(DatasetError, match="no tile is in the split 'train'"):
        read_tiles([(copied, 1.0)], "train")


def test_validation_without_buildings(copied: Path) -> None:
    for path in labels_of(copied, "val"):
        overwrite(path, 0)
    read_tiles([(copied, 1.0)], "train")
    with pytest.raises(DatasetError, match="no tile of the split 'val' shows a building"):
        read_tiles([(copied, 1.0)], "val")


def test_other_splits_take_the_scaling_they_are_given(copied: Path) -> None:
    change_info(copied, dtype="uint16")
    for path in (copied / "images").iterdir():
        with rasterio.open(path) as dataset:
            pixels, profile = dataset.read().astype(np.uint16) * 10, dataset.profile
        path.unlink()
        with rasterio.open(path, "w", **(profile | {"dtype": "uint16"})) as dataset:
            dataset.write(pixels)
    tiles = read_tiles([(copied, 1.0)], "train")
    assert tiles.scaling is not None
    assert tiles.scaling.divisor == pytest.approx([2090] * 3, abs=40)  # houses are of up to 209
    assert [part.dtype.name for part in (tiles.tiles[0].image, tiles.tiles[0].picture)] == ["uint16", "uint8"]
    assert np.abs(tiles.tiles[0].picture.astype(float) * 257 - tiles.tiles[0].image).max() <= 257
    half = Scaling((0.0,) * 3, tuple(2 * value for value in tiles.scaling.divisor))
    dark = read_tiles([(copied, 1.0)], "train", scalings={"uint16": half})
    assert dark.scaling == half
    bright = np.minimum(tiles.tiles[0].image / 2, 32768)
    ours = tiles.tiles[0].image < 65535
    assert np.abs(dark.tiles[0].image - bright)[ours].max() <= 1


def test_missing_and_truncated_tile(copied: Path) -> None:
    path = labels_of(copied, "train")[0]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RasterError, match=path.name):
        read_tiles([(copied, 1.0)], "train")
    path.unlink()
    with pytest.raises(MissingFileError, match=path.name):
        read_tiles([(copied, 1.0)], "train")


@pytest.mark.parametrize("width", [1, 2, 4])
def test_touch_is_the_contour_along_shared_walls(width: int) -> None:
    label = np.zeros((40, 60), np.uint8)
    for left in (10, 25):  # two houses of 15 px, the wall between them at 25; a third alone
        burn_house(label, left, width)
    burn_house(label, 42, width)
    marked = mark_touch(label, width)
    rows, columns = np.nonzero(marked == TOUCH)
    assert sorted(set(columns)) == list(range(25 - width, 25 + width))
    assert (rows.min(), rows.max()) == (10 + width, 29 - width)
    assert np.array_equal(is_building(marked), is_building(label))
    assert np.array_equal(is_contour(marked), label == 2)
    assert np.array_equal(is_touch(marked), marked == TOUCH)


def burn_house(label: NDArray[np.uint8], left: int, width: int) -> None:
    label[10:30, left : left + 15] = 2
    label[10 + width : 30 - width, left + width : left + 15 - width] = 1


def test_a_tiles_edge_is_no_shared_wall_and_nodata_is_none() -> None:
    label = np.full((40, 40), 1, np.uint8)
    label[:, 30:] = 255
    label[:, 28:30] = 2
    assert not is_touch(mark_touch(label, 2)).any()


def test_contours_of_one_width(dataset: Path, copied: Path) -> None:
    change_info(copied, contour_width=4)
    with pytest.raises(DatasetError, match=r"has contours of 4 px, but .* of 2 px; tile both with one --contour-width"):
        read_tiles([(dataset, 1.0), (copied, 1.0)], "train")
