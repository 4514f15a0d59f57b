"""Drawings: where lines and tints fall, what stays as it was, and pictures of an orthophoto."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from geofootprint.errors import OutputError, RasterError
from geofootprint.raster import Grid
from geofootprint.report import (
    AGREED,
    ONLY_PREDICTED,
    ONLY_TRUE,
    PAPER,
    dim_outside,
    draw_comparison,
    draw_outlines,
    encode_jpeg,
    encode_png,
    read_picture,
    write_png,
)

UTM = CRS.from_epsg(25832)
GRID = Grid(UTM, Affine(0.5, 0, 1000, 0, -0.5, 2000), 60, 40)
"""30 m by 20 m, from (1000, 1980) to (1030, 2000)."""

RED = (255, 0, 0)


def polygons(*shapes: Any) -> NDArray[Any]:
    return np.array(shapes, object)


def blank(value: int = 100) -> NDArray[np.uint8]:
    return np.full((3, 40, 60), value, np.uint8)


def distance_to_colour(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.float64]:
    return np.asarray(np.abs(picture.astype(float) - np.array(colour).reshape(3, 1, 1)).sum(axis=0))


def decode(file: bytes) -> NDArray[np.uint8]:
    pixels = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return np.moveaxis(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), -1, 0).astype(np.uint8)


class TestOutlines:
    def test_line_lies_on_the_wall(self) -> None:
        # The west wall at x = 1005 is the border between columns 9 and 10; the line covers half of each side.
        drawn = draw_outlines(
            blank(0), GRID, polygons(shapely.box(1005, 1985, 1020, 1995)), colour=RED, width=2, casing=False
        )
        columns = np.arange(60) + 0.5
        row = drawn[0, 20, :20].astype(float)
        assert (row * columns[:20]).sum() / row.sum() == pytest.approx(10, abs=0.1)
        assert drawn[1].max() == drawn[2].max() == 0

    @pytest.mark.parametrize("offset", [0.1, 0.25, 0.4])
    def test_moves_with_fractions_of_a_pixel(self, offset: float) -> None:
        house = polygons(shapely.box(1005 + offset, 1985, 1020, 1995))
        row = draw_outlines(blank(0), GRID, house, colour=RED, casing=False)[0, 20, :20].astype(float)
        assert (row * (np.arange(20) + 0.5)).sum() / row.sum() == pytest.approx(10 + 2 * offset, abs=0.1)

    def test_courtyards_have_an_outline(self) -> None:
        holed = shapely.box(1002, 1982, 1028, 1998).difference(shapely.box(1010, 1988, 1020, 1992))
        drawn = draw_outlines(blank(0), GRID, polygons(holed), colour=RED)
        assert drawn[0, 20, 19:21].max() > 200
        assert drawn[0, 20, 30] == 0

    def test_the_image_is_not_changed(self) -> None:
        image = blank()
        drawn = draw_outlines(image, GRID, polygons(shapely.box(1005, 1985, 1020, 1995)))
        assert (image == 100).all()
        assert drawn.shape == image.shape
        assert drawn.dtype == np.uint8
        assert (drawn[:, :5] == 100).all()

    def test_shapes_far_larger_than_the_picture(self) -> None:
        huge = shapely.box(1005, -5e6, 5e6, 5e6)
        drawn = draw_outlines(blank(0), GRID, polygons(huge), colour=RED, casing=False)
        assert (drawn[0, :, 9:11] > 100).all()
        assert (drawn[0, :, 20:] == 0).all()

    def test_frames_in_another_crs(self) -> None:
        house = gpd.GeoDataFrame(geometry=[shapely.box(680_002, 5_238_002, 680_008, 5_238_008)], crs=UTM)
        grid = Grid(UTM, Affine(0.25, 0, 680_000, 0, -0.25, 5_238_010), 40, 40)
        image = np.zeros((3, 40, 40), np.uint8)
        here, there = draw_outlines(image, grid, house), draw_outlines(image, grid, house.to_crs(4326))
        assert np.abs(here.astype(int) - there).max() <= 16

    def test_nothing_to_draw(self) -> None:
        assert (draw_outlines(blank(), GRID, polygons()) == 100).all()
        assert (draw_outlines(blank(), GRID, polygons(shapely.box(0, 0, 1, 1))) == 100).all()


class TestComparison:
    def test_colours_of_agreement_and_of_both_errors(self) -> None:
        mine, true = shapely.box(1002, 1985, 1018, 1995), shapely.box(1010, 1985, 1026, 1995)
        drawn = draw_comparison(blank(), GRID, polygons(mine), polygons(true), opacity=1)
        for column, colour in ((10, ONLY_PREDICTED), (28, AGREED), (44, ONLY_TRUE)):
            assert distance_to_colour(drawn, colour)[20, column] <= 3
        assert (drawn[:, 20, 57] == 100).all()

    def test_layers_that_agree_show_no_error(self) -> None:
        shapes = polygons(*(shapely.Point(1000 + 6 * i, 1990).buffer(2.7) for i in range(5)))
        drawn = draw_comparison(blank(), GRID, shapes, shapes, opacity=0.5)
        # On the straight line from the image's colour to that of agreement, everywhere.
        share = (drawn.astype(float) - 100) / (np.array(AGREED, float).reshape(3, 1, 1) - 100)
        assert share.max(axis=0) == pytest.approx(share.min(axis=0), abs=0.06)

    def test_overlapping_shapes_do_not_cancel_out(self) -> None:
        two = polygons(shapely.box(1002, 1985, 1018, 1995), shapely.box(1010, 1985, 1026, 1995))
        drawn = draw_comparison(blank(), GRID, two, polygons(), opacity=1)
        assert distance_to_colour(drawn, ONLY_PREDICTED)[20, [10, 28, 44]].max() <= 3

    def test_courtyards_are_not_tinted(self) -> None:
        holed = shapely.box(1002, 1982, 1028, 1998).difference(shapely.box(1010, 1986, 1020, 1994))
        drawn = draw_comparison(blank(), GRID, polygons(holed), polygons(), opacity=1)
        assert (drawn[:, 20, 30] == 100).all()


def test_outside_of_an_area_fades() -> None:
    drawn = dim_outside(blank(0), GRID, polygons(shapely.box(1010, 1900, 1100, 2100)))
    assert (drawn[:, 20, 40] == 0).all()
    assert 0.5 < drawn[0, 20, 5] / PAPER[0] < 0.8


class TestReadPicture:
    bounds = (680_006.0, 5_237_980.0, 680_024.0, 5_237_992.0)

    def test_white_sheet(self) -> None:
        picture, grid = read_picture(self.bounds, UTM, size=90)
        assert picture.shape == (3, 60, 90)
        assert (picture == 255).all()
        assert grid.bounds == pytest.approx(self.bounds)

    def test_cut_out_shows_what_is_there(self, make_image: Callable[..., Path]) -> None:
        pixels = np.zeros((3, 256, 256), np.uint8)
        pixels[:, :, 100:] = 200  # from x = 680015 on
        picture, grid = read_picture(self.bounds, UTM, image=make_image(pixels=pixels), size=120)
        assert grid.bounds == pytest.approx(self.bounds, abs=0.2)
        edge = round((680_015 - grid.bounds[0]) / grid.transform.a)
        assert (picture[:, :, : edge - 2] == 0).all()
        assert (picture[:, :, edge + 2 :] == 200).all()

    def test_same_ground_from_another_crs(self, make_image: Callable[..., Path]) -> None:
        place = gpd.GeoSeries([shapely.box(*self.bounds)], crs=UTM)
        bounds = tuple(place.to_crs(32633).total_bounds)
        picture, grid = read_picture(bounds, CRS.from_epsg(32633), image=make_image(), size=120)
        assert grid.crs == UTM
        assert picture.shape[1:] == grid.shape
        west, south, east, north = grid.bounds
        assert shapely.box(west - 0.2, south - 0.2, east + 0.2, north + 0.2).covers(place.iloc[0])

    def test_no_data_is_paper(self, make_image: Callable[..., Path]) -> None:
        pixels = np.full((3, 256, 256), 50, np.uint8)
        pixels[:, :, 100:] = 0
        picture, _ = read_picture(self.bounds, UTM, image=make_image(pixels=pixels, nodata=0), size=120)
        assert (picture[:, 40, -5] == PAPER).all()
        assert (picture[:, 40, 5] == 50).all()

    def test_sixteen_bits_are_stretched(self, make_image: Callable[..., Path]) -> None:
        ramp = np.broadcast_to(np.arange(256, dtype=np.uint16) * 16 + 1, (3, 256, 256)).copy()
        picture, _ = read_picture(self.bounds, UTM, image=make_image(pixels=ramp), size=120)
        assert picture.min() == 0
        assert picture.max() == 255

    def test_image_of_another_place(self, make_image: Callable[..., Path]) -> None:
        with pytest.raises(RasterError, match="--image"):
            read_picture((100_000, 5_000_000, 100_020, 5_000_020), UTM, image=make_image())


class TestFiles:
    def test_png_keeps_every_pixel_and_the_order_of_colours(self, tmp_path: Path) -> None:
        picture = np.random.default_rng(0).integers(0, 255, (3, 20, 30)).astype(np.uint8)
        write_png(tmp_path / "a.png", picture)
        assert np.array_equal(decode((tmp_path / "a.png").read_bytes()), picture)
        assert [file.name for file in tmp_path.iterdir()] == ["a.png"]

    def test_jpeg_keeps_thin_coloured_lines(self) -> None:
        picture = np.full((3, 32, 32), 128, np.uint8)
        picture[:, :, 15] = np.array(ONLY_PREDICTED).reshape(3, 1)
        line = decode(encode_jpeg(picture))[:, :, 15]
        assert np.abs(line.astype(int) - np.array(ONLY_PREDICTED)[:, None]).max() < 60

    def test_encoded_bytes_are_files(self) -> None:
        assert encode_png(blank())[:4] == b"\x89PNG"
        assert encode_jpeg(blank())[:2] == b"\xff\xd8"

    def test_folder_that_does_not_exist(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="does not exist"):
            write_png(tmp_path / "no" / "a.png", blank())
