from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine
from notes import Notes
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.windows import Window

from geofootprint import labels as labels_module
from geofootprint.errors import Cancelled, MissingFileError, OptionError, OutputError, RasterError, VectorError
from geofootprint.labels import BUILDING, CONTOUR, NODATA, LabelBurner, burn_labels, rasterize_labels
from geofootprint.raster import Grid

MakeImage = Callable[..., Path]

UTM = CRS.from_epsg(25832)
PLACE = Affine(0.15, 0, 680_000, 0, -0.15, 5_238_000)
GRIDS = {
    "north-up": Grid(UTM, PLACE, 300, 260),
    "south-up": Grid(UTM, Affine(0.15, 0, 680_000, 0, 0.15, 5_237_960), 300, 260),
    "rotated": Grid(UTM, PLACE * Affine.rotation(25), 300, 260),
    "oblong": Grid(UTM, Affine(0.3, 0, 680_000, 0, -0.1, 5_238_000), 150, 390),
}


def some_houses(grid: Grid, *, count: int = 60, seed: int = 0) -> NDArray[Any]:
    """Return a row of touching houses, houses with courtyards and turned ones that overlap and leave the grid."""
    rng = np.random.default_rng(seed)
    west, south, east, north = grid.bounds
    x, y = rng.uniform((west, south), (east, north), (count, 2)).T
    w, h = rng.uniform(1, 6, (2, count))
    turned = [
        shapely.affinity.rotate(shapely.box(a - c, b - d, a + c, b + d), angle)
        for a, b, c, d, angle in zip(x, y, w, h, rng.uniform(0, 90, count), strict=True)
    ]
    court = turned[0].difference(shapely.affinity.scale(turned[0], 0.4, 0.4))
    middle = (south + north) / 2
    row = [shapely.box(west + 3 * i, middle, west + 3 * i + 3, middle + 5) for i in range(8)]
    return np.array([court, *turned[1:], *row], dtype=object)


def by_opencv(instances: NDArray[Any], width: int) -> NDArray[np.bool_]:
    """Return the contours that OpenCV finds and draws for each building alone."""
    drawn = np.zeros(instances.shape, np.uint8)
    for number in range(1, int(instances.max()) + 1):
        own = np.pad((instances == number).astype(np.uint8), width)
        found, _ = cv2.findContours(own, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        outline = np.zeros(own.shape, np.uint8)
        cv2.drawContours(outline, found, -1, 1, 1)
        reach = np.hypot(*np.mgrid[1 - width : width, 1 - width : width]) < width - 0.5
        thick = np.asarray(cv2.dilate(outline & own, reach.astype(np.uint8)))[width:-width, width:-width]
        drawn |= thick
    return (drawn > 0) & (instances > 0)


# -- burn_labels


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("all_touched", [False, True])
def test_building_pixels_are_those_of_rasterio(name: str, all_touched: bool) -> None:
    grid = GRIDS[name]
    houses = some_houses(grid)
    expected = rasterio.features.rasterize(
        houses, grid.shape, transform=grid.transform, all_touched=all_touched, dtype="uint8"
    )
    for scheme in ("contour", "mask", "channels"):
        labels = burn_labels(houses, grid, scheme=scheme, all_touched=all_touched)
        assert labels.dtype == np.uint8
        assert np.array_equal(labels > 0, expected > 0)
        assert (CONTOUR in labels) == (scheme != "mask")


@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_contours_are_what_opencv_finds_and_draws_for_each_house(width: int) -> None:
    grid = GRIDS["north-up"]
    houses = some_houses(grid)
    # A margin wider than the contour, so that no house is cut by the array's edge.
    wide = grid.crop(Window(-60, -60, 420, 380))
    instances = rasterio.features.rasterize(
        zip(houses, range(1, len(houses) + 1), strict=True), wide.shape, transform=wide.transform, dtype="int32"
    )
    expected = np.where(instances > 0, BUILDING, 0) + by_opencv(instances, width)
    labels = burn_labels(houses, grid, contour_width=width)
    assert np.array_equal(labels, expected[60:-60, 60:-60])


def test_a_shared_wall_is_contour_on_both_sides() -> None:
    grid = Grid(UTM, Affine(1, 0, 0, 0, -1, 20), 20, 20)
    labels = burn_labels([shapely.box(2, 4, 10, 16), shapely.box(10, 4, 18, 16)], grid, contour_width=1)
    assert labels[10].tolist() == [0, 0, 2, 1, 1, 1, 1, 1, 1, 2, 2, 1, 1, 1, 1, 1, 1, 2, 0, 0]


def test_a_contour_has_its_width_on_the_inside() -> None:
    grid = Grid(UTM, Affine(1, 0, 0, 0, -1, 30), 30, 30)
    for width in (1, 2, 4):
        labels = burn_labels([shapely.box(5, 5, 25, 25)], grid, contour_width=width)
        assert labels[15, :15].tolist() == [0] * 5 + [2] * width + [1] * (10 - width)


@pytest.mark.parametrize("count", [255, 256, 70_000])
def test_walls_between_very_many_houses_are_kept(count: int) -> None:
    """However many houses a window holds, each has a number of its own."""
    west = np.arange(count)
    grid = Grid(UTM, Affine(0.25, 0, 0, 0, -0.25, 2), 4 * count, 8)
    labels = burn_labels(shapely.box(west, 0, west + 1, 2), grid, contour_width=1)
    assert np.array_equal(labels[3], np.tile([CONTOUR, BUILDING, BUILDING, CONTOUR], count))


def test_a_cut_is_no_wall() -> None:
    grid = Grid(UTM, Affine(1, 0, 0, 0, -1, 20), 20, 20)
    labels = burn_labels([shapely.box(-10, 5, 12, 40)], grid)
    assert labels[:10, 0].tolist() == [1] * 10
    assert labels[0, :10].tolist() == [1] * 10
    assert labels[14, 0] == CONTOUR


@pytest.mark.parametrize("name", GRIDS)
def test_windows_agree_with_the_whole(name: str) -> None:
    grid = GRIDS[name]
    burner = LabelBurner(some_houses(grid), grid, contour_width=3)
    whole = burner.burn(Window(0, 0, grid.width, grid.height))
    for size in (16, 37, 128):
        for row in range(0, grid.height, size):
            for column in range(0, grid.width, size):
                window = Window(column, row, min(size, grid.width - column), min(size, grid.height - row))
                assert np.array_equal(burner.burn(window), whole[window.toslices()])


def test_a_frame_in_another_crs_is_reprojected() -> None:
    grid = GRIDS["north-up"]
    frame = gpd.GeoDataFrame(geometry=some_houses(grid), crs=UTM)
    there = burn_labels(frame.to_crs("EPSG:4326"), grid)
    assert np.mean(there != burn_labels(frame, grid)) < 1e-3


def test_what_is_no_polygon_is_left_out() -> None:
    grid = Grid(UTM, Affine(1, 0, 0, 0, -1, 20), 20, 20)
    house = shapely.box(2, 2, 9, 9)
    mixed = [
        None, shapely.Point(5, 5), shapely.Polygon(), shapely.LineString([(0, 0), (20, 20)]),
        shapely.GeometryCollection([shapely.MultiPolygon([house]), shapely.Point(1, 1)]),
    ]
    assert np.array_equal(burn_labels(mixed, grid), burn_labels([house], grid))
    assert not burn_labels([], grid).any()


@pytest.mark.parametrize(("options", "text"), [({"scheme": "edges"}, "unknown"), ({"contour_width": 0}, "at least 1")])
def test_impossible_options_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        burn_labels([], GRIDS["north-up"], **options)


# -- rasterize_labels


def write_houses(path: Path, houses: Any, crs: Any = UTM, driver: str | None = None) -> Path:
    gpd.GeoDataFrame(geometry=list(houses), crs=crs).to_file(path, driver=driver)
    return path


@pytest.fixture
def houses(tmp_path: Path) -> Path:
    """Return a GeoPackage in degrees with houses on the images that `make_image` makes."""
    frame = gpd.GeoDataFrame(geometry=some_houses(GRIDS["north-up"]), crs=UTM).to_crs("EPSG:4326")
    return write_houses(tmp_path / "houses.gpkg", frame.geometry, "EPSG:4326")


@pytest.mark.parametrize("name", GRIDS)
def test_labels_lie_on_the_image_s_own_grid(tmp_path: Path, make_image: MakeImage, name: str, houses: Path) -> None:
    grid = GRIDS[name]
    image = make_image(size=grid.shape, transform=grid.transform)
    result = rasterize_labels(houses, image, tmp_path / "labels.tif")
    with rasterio.open(tmp_path / "labels.tif") as dataset:
        assert Grid(dataset.crs, dataset.transform, dataset.width, dataset.height) == grid
        assert (dataset.count, dataset.dtypes[0], dataset.nodata) == (1, "uint8", NODATA)
        labels = dataset.read(1)
    frame = gpd.read_file(houses).to_crs(UTM)
    assert np.array_equal(labels, burn_labels(frame, grid))
    assert result.labels == (str(tmp_path / "labels.tif"),)
    assert result.building_share == pytest.approx((labels > 0).mean())


@pytest.mark.parametrize("size", [64, 100, 1024])
def test_blocks_do_not_show(
    tmp_path: Path, make_image: MakeImage, houses: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels_module, "BLOCK", size)
    rasterize_labels(houses, make_image(size=(260, 300)), tmp_path / "labels.tif", contour_width=4)
    with rasterio.open(tmp_path / "labels.tif") as dataset:
        labels = dataset.read(1)
    frame = gpd.read_file(houses).to_crs(UTM)
    assert np.array_equal(labels, burn_labels(frame, GRIDS["north-up"], contour_width=4))


def test_what_is_not_valid_in_the_image_is_nodata(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    pixels = np.full((3, 260, 300), 9, np.uint8)
    pixels[:, :, 200:] = 0
    pixels[0, 100] = 0
    rasterize_labels(houses, make_image(pixels=pixels, nodata=0), tmp_path / "labels.tif")
    with rasterio.open(tmp_path / "labels.tif") as dataset:
        labels = dataset.read(1)
    assert (labels[:, 200:] == NODATA).all()
    assert NODATA not in labels[:, :200]


def test_channels_are_two_bands(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    image = make_image(size=(260, 300))
    rasterize_labels(houses, image, tmp_path / "one.tif")
    rasterize_labels(houses, image, tmp_path / "two.tif", scheme="channels")
    with rasterio.open(tmp_path / "one.tif") as one, rasterio.open(tmp_path / "two.tif") as two:
        assert two.descriptions == ("building", "contour")
        assert np.array_equal(two.read(1), one.read(1) > 0)
        assert np.array_equal(two.read(2), one.read(1) == CONTOUR)


def test_any_raster_gives_a_grid(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    one_band = make_image(bands=1, dtype="float32")
    with rasterio.open(make_image("table.tif", bands=1), "r+") as dataset:
        dataset.write_colormap(1, {1: (255, 0, 0)})
    for image in (one_band, tmp_path / "table.tif"):
        assert rasterize_labels(houses, image, tmp_path / "labels.tif").footprints > 0


def test_several_images_get_a_folder(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    images = [make_image("a/ortho.tif"), make_image("b/ortho.tif")]
    result = rasterize_labels(houses, images, tmp_path / "labels")
    assert sorted(os.listdir(tmp_path / "labels")) == ["a_ortho.tif", "b_ortho.tif"]
    assert len(result.labels) == 2


FAR = Affine(0.15, 0, 690_000, 0, -0.15, 5_238_000)


def test_footprints_that_miss_the_image_are_an_error(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    far = make_image("far.tif", transform=FAR)
    with pytest.raises(VectorError, match=r"No footprint of .*houses\.gpkg meets the image .*far\.tif; check"):
        rasterize_labels(houses, far, tmp_path / "labels.tif")
    notes = Notes()
    result = rasterize_labels(houses, [make_image(), far], tmp_path / "labels", progress=notes)
    assert len(result.labels) == len(notes.warnings) == 1
    with pytest.raises(VectorError, match="meet none of the 2 images"):
        rasterize_labels(houses, [far, far], tmp_path / "none", progress=notes)
    assert not (tmp_path / "none").exists()


def test_bad_input_leaves_nothing(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    image = make_image()
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(MissingFileError):
        rasterize_labels(houses, tmp_path / "none.tif", out / "labels.tif")
    with pytest.raises(MissingFileError):
        rasterize_labels(tmp_path / "none.gpkg", image, out / "labels.tif")
    with pytest.raises(RasterError, match="no coordinate reference system"):
        rasterize_labels(houses, make_image("no_crs.tif", crs=None), out / "labels.tif")
    with pytest.raises(OutputError, match="does not exist; make it first"):
        rasterize_labels(houses, image, out / "none" / "labels.tif")
    with pytest.raises(OptionError, match=r"give a \.tif file for one image"):
        rasterize_labels(houses, image, out / "labels.png")
    with pytest.raises(OptionError, match="give a folder for several images"):
        rasterize_labels(houses, [image, image], out / "labels.tif")
    with pytest.raises(OptionError, match="unknown"):
        rasterize_labels(houses, image, out / "labels.tif", scheme="edges")
    with pytest.raises(OptionError, match="at least one"):
        rasterize_labels(houses, [], out)
    assert list(out.iterdir()) == []


def test_a_damaged_mask_leaves_nothing(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    path = make_image(size=(600, 600), nodata=0, compress="deflate", tiled=True, blockxsize=256, blockysize=256)
    path.write_bytes(path.read_bytes()[:300_000])
    with pytest.raises(RasterError, match=r"image\.tif"):
        rasterize_labels(houses, path, tmp_path / "labels.tif")
    assert sorted(os.listdir(tmp_path)) == ["houses.gpkg", "image.tif"]


def test_cancelling_leaves_nothing(tmp_path: Path, make_image: MakeImage, houses: Path) -> None:
    class Impatient(Notes):
        def update(self, stage: str, done: float, total: float) -> None:
            if done:
                raise Cancelled("enough")

    with pytest.raises(Cancelled):
        rasterize_labels(houses, make_image(), tmp_path / "labels.tif", progress=Impatient())
    assert not (tmp_path / "labels.tif").exists()


@pytest.mark.data
def test_real_footprints_are_burnt_in_place(tmp_path: Path, data_folder: Path) -> None:
    place = data_folder / "fixtures"
    rasterize_labels(place / "banepa_512.geojson", place / "banepa_512.tif", tmp_path / "labels.tif")
    with rasterio.open(place / "banepa_512.tif") as dataset:
        frame = gpd.read_file(place / "banepa_512.geojson").to_crs(dataset.crs)
        expected = rasterio.features.rasterize(frame.geometry, dataset.shape, transform=dataset.transform)
    with rasterio.open(tmp_path / "labels.tif") as dataset:
        labels = dataset.read(1)
    assert np.array_equal(labels > 0, expected > 0)
    assert 0.1 < np.mean(labels[labels > 0] == CONTOUR) < 0.6
