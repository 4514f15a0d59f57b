from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from notes import Notes
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from geofootprint.errors import GeofootprintError, MissingFileError, OptionError, RasterError
from geofootprint.raster import Grid, file_name, open_image, open_own_grid, open_raster, read_grid, windows_of

MakeImage = Callable[..., Path]

UTM = CRS.from_epsg(25832)
PLACE = Affine(0.15, 0, 680_000, 0, -0.15, 5_238_000)
DEGREES = Affine(2e-6, 0, 11.39, 0, -1.35e-6, 47.27)
ALL = Window(0, 0, 256, 256)


def ramp(transform: Affine, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return two bands that say where their pixels' centres lie, from the first pixel's corner."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    x, y = transform * (columns, rows)
    return np.stack([x - transform.c, y - transform.f]).astype(np.float32)


# -- Grid


def test_bounds_of_a_rotated_grid_hold_its_corners() -> None:
    turned = Grid(UTM, Affine.translation(100, 200) * Affine.rotation(30), 10, 10)
    west, south, east, north = turned.bounds
    assert west == pytest.approx(100 - 10 * math.sin(math.radians(30)))
    assert east == pytest.approx(100 + 10 * math.cos(math.radians(30)))
    assert (south, north) == pytest.approx((200, 200 + 10 * (0.5 + math.cos(math.radians(30)))))
    assert not turned.is_north_up


@pytest.mark.parametrize(
    ("crs", "transform", "expected"),
    [
        (UTM, PLACE, 0.15),
        (CRS.from_epsg(3857), Affine(0.149291070869367, 0, 9_519_926, 0, -0.149291070869367, 3_202_940), 0.1320),
        (CRS.from_epsg(4326), Affine(1e-6, 0, 11, 0, -1e-6, 0.0), 0.11095),
        (UTM, PLACE * Affine.rotation(30), 0.15),
        (UTM, PLACE * Affine.scale(2, 0.5), 0.15),
    ],
)
def test_gsd_is_in_true_metres(crs: CRS, transform: Affine, expected: float) -> None:
    assert Grid(crs, transform, 100, 100).gsd == pytest.approx(expected, rel=1e-3)


def test_a_grid_outside_its_crs_has_no_gsd() -> None:
    with pytest.raises(RasterError, match="assign the CRS it was made in"):
        _ = Grid(CRS.from_epsg(4326), PLACE, 10, 10).gsd


def test_a_crs_without_place_has_no_gsd() -> None:
    local = CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]')
    with pytest.raises(RasterError, match="no place on the Earth"):
        _ = Grid(local, PLACE, 10, 10).gsd


def test_crop_may_reach_beyond() -> None:
    cropped = Grid(UTM, PLACE, 10, 10).crop(Window(-2, 3, 20, 30))
    assert cropped.shape == (30, 20)
    assert cropped.transform * (2, -3) == pytest.approx((680_000, 5_238_000))


def test_at_gsd_keeps_origin_and_crs_and_covers_the_same_ground() -> None:
    grid = Grid(UTM, PLACE, 1000, 600)
    coarser = grid.at_gsd(0.3)
    assert (coarser.crs, coarser.transform.c, coarser.transform.f) == (UTM, 680_000, 5_238_000)
    assert coarser.shape == (300, 500)
    assert coarser.gsd == pytest.approx(0.3, rel=1e-6)


def test_at_gsd_of_degrees_goes_to_utm() -> None:
    metric = Grid(CRS.from_epsg(4326), DEGREES, 400, 300).at_gsd(0.15)
    assert metric.crs == CRS.from_epsg(32632)
    assert metric.gsd == pytest.approx(0.15, rel=1e-3)
    assert metric.transform.a == -metric.transform.e
    south = Grid(CRS.from_epsg(4326), Affine(1e-6, 0, 39.2, 0, -1e-6, -6.1), 100, 100).at_gsd(0.1)
    assert south.crs == CRS.from_epsg(32737)


def test_at_gsd_turns_a_rotated_grid() -> None:
    metric = Grid(UTM, PLACE * Affine.rotation(30), 100, 100).at_gsd(0.15)
    assert metric.is_north_up
    assert metric.crs == UTM
    assert metric.width == math.ceil(100 * (math.cos(math.radians(30)) + 0.5))


@pytest.mark.parametrize("gsd", [0.0, -1.0, math.nan, math.inf])
def test_at_gsd_wants_a_length(gsd: float) -> None:
    with pytest.raises(OptionError, match="more than 0 m"):
        Grid(UTM, PLACE, 10, 10).at_gsd(gsd)


def test_windows_cover_a_grid_once() -> None:
    seen = np.zeros((700, 1000), int)
    for window in windows_of(Grid(UTM, PLACE, 1000, 700), 256):
        seen[window.toslices()] += 1
    assert (seen == 1).all()


# -- opening


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.tif does not exist"), open_raster(tmp_path / "none.tif"):
        pass


@pytest.mark.parametrize("content", [b"", b"no raster at all", b"II*\x00\x08\x00\x00\x00"])
def test_what_is_no_raster_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "text.tif"
    path.write_bytes(content)
    with pytest.raises(RasterError, match=r"text\.tif cannot be read as a raster"), open_image(path):
        pass


def test_another_crs_and_other_bands_through_gdals_vrt_path(make_image: MakeImage) -> None:
    path = make_image(bands=4)
    seen = f"vrt://{path}?bands=3,2,1&a_srs=EPSG:31254"
    with open_raster(path) as own, open_raster(seen) as other:
        assert other.crs == CRS.from_epsg(31254)
        assert other.transform == own.transform
        np.testing.assert_array_equal(other.read(), own.read([3, 2, 1]))
    assert file_name(seen) == file_name(path) == path.name


def test_gdals_own_paths_are_left_to_gdal(make_image: MakeImage) -> None:
    path = make_image()
    with open_raster(f"GTIFF_DIR:1:{path}") as dataset:
        assert dataset.count == 3
    with pytest.raises(RasterError), open_raster("/vsimem/none.tif"):
        pass


def test_without_crs_or_place_there_is_no_grid(make_image: MakeImage) -> None:
    with pytest.raises(RasterError, match="no coordinate reference system; assign one"), open_image(
        make_image(crs=None)
    ):
        pass
    nowhere = make_image("nowhere.tif")
    with rasterio.open(nowhere, "r+") as dataset, pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        dataset.transform = Affine.identity()
    with pytest.raises(RasterError, match="no position on the ground"), open_image(nowhere):
        pass


@pytest.mark.parametrize("profile", [{"compress": "deflate"}, {"compress": "jpeg", "photometric": "YCBCR"}, {}])
def test_a_truncated_file_opens_and_fails_in_one_sentence(make_image: MakeImage, profile: dict[str, Any]) -> None:
    path = make_image(size=(1024, 1024), tiled=True, blockxsize=256, blockysize=256, interleave="pixel", **profile)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(RasterError, match=r"image\.tif (is damaged|cannot be read)"), open_image(path) as reader:
        reader.read(Window(0, 0, 1024, 1024))


def test_the_wrong_number_of_bands_is_refused(make_image: MakeImage) -> None:
    with pytest.raises(RasterError, match=r"1 colour band\(s\), but 3 are needed"), open_image(make_image(bands=1)):
        pass


def test_a_fourth_colour_is_left_out_with_a_note(make_image: MakeImage) -> None:
    notes = Notes()
    path = make_image(bands=4, photometric="RGB", alpha="NO")
    with open_image(path, progress=notes) as reader:
        image, valid = reader.read(ALL)
    assert image.shape == (3, 256, 256)
    assert valid.all()
    assert len(notes.warnings) == 1
    assert "band(s) 4 are left out" in notes.warnings[0]


def test_all_colours_are_read_where_no_count_is_given(make_image: MakeImage) -> None:
    for bands in (1, 3, 4, 5):
        with open_image(make_image(f"{bands}.tif", bands=bands, photometric="MINISBLACK"), count=None) as reader:
            assert reader.count == bands


def test_a_colour_table_is_refused(make_image: MakeImage) -> None:
    path = make_image(bands=1)
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {1: (255, 0, 0)})
    with pytest.raises(RasterError, match=r"gdal_translate -expand rgb"), open_image(path, count=1):
        pass


# -- validity


def test_pixels_are_read_as_they_are_and_windows_may_reach_beyond(make_image: MakeImage) -> None:
    pixels = np.random.default_rng(1).integers(0, 65535, (3, 50, 60)).astype(np.uint16)
    with open_image(make_image(pixels=pixels)) as reader:
        assert reader.grid == Grid(UTM, PLACE, 60, 50)
        assert reader.dtype == np.uint16
        image, valid = reader.read(Window(-5, -10, 80, 70))
        assert np.array_equal(image[:, 10:60, 5:65], pixels)
        assert valid[10:60, 5:65].all()
        assert valid.sum() == 50 * 60
        assert not image[:, ~valid].any()
        for beyond in (Window(60, 0, 5, 5), Window(0, -5, 5, 5), Window(1000, 1000, 3, 3)):
            assert not reader.read(beyond)[1].any()


def test_nodata_is_where_all_bands_have_it(make_image: MakeImage) -> None:
    pixels = np.full((3, 20, 20), 100, np.uint8)
    pixels[:, :5] = 0
    pixels[1, 10:] = 0
    with open_image(make_image(pixels=pixels, nodata=0)) as reader:
        _, valid = reader.read(Window(0, 0, 20, 20))
    assert not valid[:5].any()
    assert valid[5:].all()


def test_nodata_in_one_band_is_enough_where_values_are_measured(make_image: MakeImage) -> None:
    pixels = np.full((2, 20, 20), 100, np.int16)
    pixels[1, 5, 5] = -32768
    with open_image(make_image(pixels=pixels, nodata=-32768), count=None) as reader:
        image, valid = reader.read(Window(0, 0, 20, 20))
        assert np.array_equal(reader.read_valid(Window(0, 0, 20, 20)), valid)
    assert (~valid).sum() == 1
    assert image[:, 5, 5].tolist() == [0, 0]


def test_an_internal_mask_counts(make_image: MakeImage) -> None:
    path = make_image(size=(40, 40))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.arange(1600).reshape(40, 40) % 40 >= 20)
    with open_image(path) as reader:
        image, valid = reader.read(Window(0, 0, 40, 40))
        assert np.array_equal(reader.read_valid(Window(0, 0, 40, 40)), valid)
    assert valid[:, 20:].all()
    assert not valid[:, :20].any()
    assert not image[:, :, :20].any()


def test_alpha_is_no_colour_but_validity(make_image: MakeImage) -> None:
    pixels = np.full((4, 30, 30), 200, np.uint8)
    pixels[3] = 255
    pixels[3, :10] = 0
    path = make_image(pixels=pixels, photometric="RGB", alpha="YES")
    notes = Notes()
    for gsd in (None, 0.3, 0.05):
        with open_image(path, gsd=gsd, progress=notes) as reader:
            image, valid = reader.read(Window(0, 0, reader.grid.width, reader.grid.height))
        third = len(valid) // 3
        assert reader.count == 3
        assert not valid[: third - 1].any()
        assert valid[third + 1 :].all()
        assert set(np.unique(image[:, valid])) == {200}
    assert notes.warnings == []


def test_what_is_not_a_number_is_not_valid(make_image: MakeImage) -> None:
    pixels = np.ones((3, 20, 20), np.float32)
    pixels[1, 3, 4] = np.nan
    pixels[0, 5, 6] = np.inf
    with open_image(make_image(pixels=pixels)) as reader:
        image, valid = reader.read(Window(0, 0, 20, 20))
        assert np.array_equal(reader.read_valid(Window(0, 0, 20, 20)), valid)
    assert (~valid).sum() == 2
    assert image[0, 3, 4] == 0


def test_all_nodata_is_read_as_such(make_image: MakeImage) -> None:
    path = make_image(pixels=np.zeros((3, 64, 64), np.uint8), nodata=0)
    for gsd in (None, 0.3, 0.05):
        with open_image(path, gsd=gsd) as reader:
            image, valid = reader.read(Window(0, 0, 20, 20))
        assert not valid.any()
        assert not image.any()


# -- resampling


def read_all(path: Path, gsd: float | None, window: Window | None = None) -> tuple[Any, Any, Grid]:
    with open_image(path, gsd=gsd, count=None) as reader:
        whole = Window(0, 0, reader.grid.width, reader.grid.height)
        return *reader.read(window or whole), reader.grid


@pytest.mark.parametrize("gsd", [0.2, 0.3, 0.511, 0.1, 0.04])
@pytest.mark.parametrize("mask", [False, True])
def test_resampling_agrees_with_gdal(make_image: MakeImage, gsd: float, mask: bool) -> None:
    path = make_image(size=(200, 300))
    if mask:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
            dataset.write_mask(np.add.outer(np.arange(200), np.arange(300)) > 120)
    image, valid, grid = read_all(path, gsd)
    with rasterio.open(path) as source, WarpedVRT(
        source, crs=grid.crs, transform=grid.transform, width=grid.width, height=grid.height, add_alpha=True,
        resampling=Resampling.average if gsd > 0.15 else Resampling.bilinear,
    ) as warped:
        expected = warped.read()
    # Where the mask's edge or the raster's passes through a pixel, GDAL takes any share of it, we a half.
    inner = np.s_[2:-2, 2:-2]
    both = valid[inner] & (expected[3] == 255)[inner]
    if not mask:
        assert both.all()
    assert both.mean() > 0.5
    difference = np.abs(image.astype(int) - expected[:3])[:, inner[0], inner[1]][:, both]
    assert np.mean(difference > 1) < (0.02 if mask else 1e-9)


@pytest.mark.parametrize("gsd", [None, 0.2, 0.3, 0.1])
@pytest.mark.parametrize("place", ["utm", "degrees", "rotated", "south-up", "anisotropic"])
def test_pixels_lie_where_the_grid_says(make_image: MakeImage, gsd: float | None, place: str) -> None:
    """A ramp in map coordinates must read the same after any resampling: half a pixel of shift would show."""
    transform, crs = {
        "utm": (PLACE, UTM),
        "degrees": (DEGREES, CRS.from_epsg(4326)),
        "rotated": (PLACE * Affine.rotation(20), UTM),
        "south-up": (Affine(0.15, 0, 680_000, 0, 0.15, 5_238_000), UTM),
        "anisotropic": (Affine(0.3, 0, 680_000, 0, -0.075, 5_238_000), UTM),
    }[place]
    path = make_image(pixels=ramp(transform, (160, 120)), crs=crs, transform=transform)
    image, valid, grid = read_all(path, gsd)
    assert grid.is_north_up
    assert not grid.crs.is_geographic
    assert valid.mean() > (0.5 if place == "rotated" else 0.9)
    if gsd is not None:
        assert grid.gsd == pytest.approx(gsd, rel=1e-3)
    columns, rows = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    flat = [np.asarray(axis) for axis in grid.transform * (columns.ravel(), rows.ravel())]
    if crs.is_geographic:
        flat = [np.asarray(axis) for axis in rasterio.warp.transform(grid.crs, crs, *flat)]
    x, y = (axis.reshape(columns.shape) for axis in flat)
    unit = DEGREES.a if crs.is_geographic else 0.15
    error = (image - np.stack([x - transform.c, y - transform.f])) / unit
    inner = valid.copy()
    for axis in (0, 1):
        for step in range(-3, 4):
            inner &= np.roll(valid, step, axis)
    inner[:3] = inner[-3:] = False
    inner[:, :3] = inner[:, -3:] = False
    assert inner.any()
    # Averages over parts of pixels, which are flat inside, scatter about a ramp but do not lean.
    assert np.abs(error[:, inner]).max() < 0.15
    assert np.abs(error[:, inner].mean(axis=1)).max() < 0.01


@pytest.mark.parametrize("gsd", [0.2, 0.4, 0.1])
@pytest.mark.parametrize("crs", ["utm", "degrees"])
def test_a_pixel_does_not_depend_on_the_window(make_image: MakeImage, gsd: float, crs: str) -> None:
    where = {"crs": UTM, "transform": PLACE} if crs == "utm" else {"crs": CRS.from_epsg(4326), "transform": DEGREES}
    path = make_image(size=(300, 300), **where)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.hypot(*np.mgrid[-50:250, -50:250]) > 40)
    image, valid, _ = read_all(path, gsd)
    for window in (Window(30, 21, 50, 60), Window(47, 0, 33, 100), Window(0, 61, 90, 7), Window(8, 9, 1, 1)):
        part, mask, _ = read_all(path, gsd, window)
        rows, columns = window.toslices()
        assert np.array_equal(part, image[:, rows, columns])
        assert np.array_equal(mask, valid[rows, columns])


def test_nodata_does_not_bleed_into_colours(make_image: MakeImage) -> None:
    pixels = np.full((3, 90, 90), 200, np.uint8)
    pixels[:, :45] = 0
    for gsd in (0.4, 0.07):
        image, valid, _ = read_all(make_image(pixels=pixels, nodata=0), gsd)
        assert set(np.unique(image[:, valid])) == {200}


def test_about_the_same_gsd_is_not_resampled(make_image: MakeImage) -> None:
    path = make_image(size=(64, 64))
    image, _, grid = read_all(path, 0.1505)
    with rasterio.open(path) as dataset:
        assert np.array_equal(image, dataset.read())
    assert grid.transform == PLACE


def test_own_grid_is_the_file_s_whichever_way_up(make_image: MakeImage) -> None:
    turned = Affine(0.15, 0, 680_000, 0, 0.15, 5_238_000) * Affine.rotation(10)
    path = make_image(bands=2, size=(30, 40), transform=turned)
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
    with open_own_grid(path) as reader:
        assert reader.grid == Grid(UTM, turned, 40, 30)
        assert reader.count == 1
        assert reader.read_valid(Window(3, 4, 10, 11)).shape == (11, 10)


def test_read_grid_names_a_crs_that_is_not_understood() -> None:
    class Odd:
        @property
        def crs(self) -> CRS:
            raise rasterio.errors.CRSError("odd")

    with pytest.raises(GeofootprintError, match="not understood"):
        read_grid(Odd(), "odd.tif")


@pytest.mark.data
def test_a_mosaic_s_own_mask_is_read(data_folder: Path) -> None:
    with open_image(data_folder / "dhaka" / "ortho.tif", gsd=0.5) as reader:
        image, valid = reader.read(Window(0, 0, reader.grid.width, reader.grid.height))
    assert 0.05 < valid.mean() < 0.15
    assert image[:, valid].mean() > 50
    assert not image[:, ~valid].any()
