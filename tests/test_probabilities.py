from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from geofootprint import probabilities
from geofootprint.errors import MissingFileError, OptionError, RasterError
from geofootprint.probabilities import MODEL_TAG, ProbabilityArray, open_probabilities
from geofootprint.raster import Grid

MakeImage = Callable[..., Path]


class Listener:
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def update(self, stage: str, done: float, total: float) -> None:
        """Need not hear."""

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def read(
    path: Path, window: Window | None = None, *, full_scale: float | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    with open_probabilities(path, full_scale=full_scale) as source:
        return source.read(window or Window(0, 0, source.grid.width, source.grid.height))


def test_array_gives_windows_also_beyond_it() -> None:
    grid = Grid(CRS.from_epsg(25832), Affine(1, 0, 0, 0, -1, 0), 4, 3)
    pixels = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    source = ProbabilityArray(pixels, np.ones((3, 4), np.bool_), grid)
    values, valid = source.read(Window(-1, 1, 4, 4))
    assert values.tolist() == [[[0, 4, 5, 6], [0, 8, 9, 10], [0, 0, 0, 0], [0, 0, 0, 0]]]
    assert valid.sum() == 6


@pytest.mark.parametrize(
    ("values", "dtype", "wanted"),
    [
        ([0, 1, 1], "uint8", [0, 255, 255]),
        ([0, 128, 255], "uint8", [0, 128, 255]),
        ([0, 1, 1], "int32", [0, 255, 255]),
        ([0, 128, 255], "uint16", [0, 128, 255]),
        ([0, 0.5, 1], "float32", [0, 128, 255]),
        ([0, 0.5, 1], "float64", [0, 128, 255]),
        ([0, 1, 1], "int8", [0, 255, 255]),
        ([0, 1, 1], "uint16", [0, 255, 255]),
        ([0, 1, 1], "float32", [0, 255, 255]),
        ([0, 255, 255], "uint8", [0, 255, 255]),
        ([0, 255, 255], "float32", [0, 255, 255]),
        ([0, 65535, 0], "uint16", [0, 255, 0]),
        ([0, 7, 0], "uint32", [0, 255, 0]),
        ([0, 0.31, 0], "float32", [0, 79, 0]),
        ([-1e-5, 0.5, 1.00005], "float32", [0, 128, 255]),
        ([0, 128, 255], "int16", [0, 128, 255]),
        ([0, 0, 0], "int64", [0, 0, 0]),
    ],
)
def test_values_are_scaled(make_image: MakeImage, values: list[float], dtype: str, wanted: list[int]) -> None:
    band, valid = read(make_image(pixels=np.array(values, dtype).reshape(1, 1, 3)))
    assert band.dtype == np.uint8
    assert band.tolist() == [[wanted]]
    assert valid.all()


@pytest.mark.parametrize(
    ("values", "dtype", "full_scale", "wanted"),
    [
        ([0, 50, 100], "uint8", 100, [0, 128, 255]),
        ([0, 50, 100], "uint8", 255, [0, 50, 100]),
        ([0, 50, 100], "float32", 100, [0, 128, 255]),
        ([0, 1, 2], "uint8", 100, [0, 3, 5]),
        ([0, 5000, 10000], "uint16", 10000, [0, 128, 255]),
        ([0, 32768, 65535], "uint16", 65535, [0, 128, 255]),
        ([0, 64, 127], "int8", 127, [0, 129, 255]),
        ([0, 0.25, 0.5], "float64", 0.5, [0, 128, 255]),
    ],
)
def test_full_scale_says_what_is_certain(
    make_image: MakeImage, values: list[float], dtype: str, full_scale: float, wanted: list[int]
) -> None:
    band, _ = read(make_image(pixels=np.array(values, dtype).reshape(1, 1, 3)), full_scale=full_scale)
    assert band.tolist() == [[wanted]]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([0, 40, 97], "uint8"), ([0, 40, 97], "float32"), ([0, 1, 3], "int32"), ([0, 128, 255], "float32"), ([0, 4, 900], "uint16")],
)
def test_what_may_be_several_kinds_is_asked_for(make_image: MakeImage, values: list[float], dtype: str) -> None:
    path = make_image(pixels=np.array(values, dtype).reshape(1, 1, 3))
    with pytest.raises(RasterError, match=r"image\.tif has values up to .* name with --full-scale"):
        read(path)


def test_values_beyond_the_full_scale(make_image: MakeImage) -> None:
    path = make_image(pixels=np.array([[[0, 40, 140]]], np.uint8))
    with pytest.raises(RasterError, match="beyond the full scale of 100"):
        read(path, full_scale=100)
    for impossible in (0, -1, float("nan"), float("inf")):
        with pytest.raises(OptionError, match="full scale must be more than 0"):
            read(path, full_scale=impossible)


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("uint8", 255), ("int8", -128), ("int16", -32768), ("uint16", 65535), ("int32", -1), ("float32", -1), ("float64", np.nan)],
)
def test_nodata_of_a_mask_of_any_type(make_image: MakeImage, dtype: str, nodata: float) -> None:
    band, valid = read(make_image(pixels=np.array([[[0, 1, nodata]]]).astype(dtype), nodata=nodata))
    assert band.tolist() == [[[0, 255, 0]]]
    assert valid.tolist() == [[True, True, False]]


def test_all_windows_are_looked_through(make_image: MakeImage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first window alone would be a mask, or empty."""
    monkeypatch.setattr(probabilities, "SCAN_BLOCK", 2)
    for values, wanted in (([0, 0, 1, 2], [0, 0, 255, 255]), ([0, 255, 3, 0], [0, 255, 3, 0]), ([0, 0, 0, 9], [0, 0, 0, 255])):
        assert read(make_image(pixels=np.array([[values]], np.uint8)))[0][0].tolist() == [wanted]
    with pytest.raises(RasterError, match="--full-scale"):
        read(make_image(pixels=np.array([[[0, 0.5, 3, 0]]], np.float32)))


def test_labels_give_building_and_contour(make_image: MakeImage) -> None:
    listener = Listener()
    path = make_image(pixels=np.array([[[0, 1, 2, 255]]], np.uint8), nodata=255)
    with open_probabilities(path, progress=listener) as source:
        bands, valid = source.read(Window(0, 0, 4, 1))
    assert bands.tolist() == [[[0, 255, 255, 0]], [[0, 0, 255, 0]]]
    assert valid.tolist() == [[True, True, True, False]]
    assert "read as labels" in listener.warnings[0]


def test_nodata_is_not_valid_but_a_nodata_value_of_0_is_no_building(make_image: MakeImage) -> None:
    floats = np.array([[[-9999, np.nan, 0.25]]], np.float32)
    _, valid = read(make_image("f.tif", pixels=floats, nodata=-9999))
    assert valid.tolist() == [[False, False, True]]
    mask = np.array([[[0, 1, 1]]], np.uint8)
    band, valid = read(make_image("m.tif", pixels=mask, nodata=0), Window(-1, 0, 4, 1))
    assert band.tolist() == [[[0, 0, 255, 255]]]
    assert valid.tolist() == [[False, True, True, True]]


def test_alpha_of_a_mask_tells_what_is_valid(make_image: MakeImage) -> None:
    path = make_image(pixels=np.array([[[1, 1]], [[255, 0]]], np.uint8))
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
    band, valid = read(path)
    assert len(band) == 1
    assert valid.tolist() == [[True, False]]


def test_model_and_contour_of_a_prediction(make_image: MakeImage) -> None:
    path = make_image(pixels=np.array([[[0, 1]], [[1, 2]]], np.uint8))
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ("building", "contour")
        dataset.update_tags(**{MODEL_TAG: json.dumps({"name": "toy", "threshold": 0.4})})
    with open_probabilities(path) as source:
        assert source.model == {"name": "toy", "threshold": 0.4}
        bands, _ = source.read(Window(0, 0, 2, 1))
    assert bands.tolist() == [[[0, 1]], [[1, 2]]], "a prediction of nothing is not taken for a mask"


def test_damaged_model_tag(make_image: MakeImage) -> None:
    path = make_image(bands=1)
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(**{MODEL_TAG: "{"})
    with pytest.raises(RasterError, match="damaged tag"), open_probabilities(path):
        pass


@pytest.mark.parametrize(
    ("pixels", "text"),
    [
        (np.array([[[0, -9999, 300]]], np.int16), "values from -9999 to 300"),
        (np.full((1, 4, 4), -1, np.int16), "values from -1 to 0"),
        (np.array([[[-3, 0.5, 1]]], np.float32), "values from -3 to 1"),
        (np.full((1, 4, 4), 1j, np.complex64), "complex64"),
        (np.full((3, 4, 4), 100, np.uint8), "3 bands"),
    ],
)
def test_values_that_are_no_probabilities(make_image: MakeImage, pixels: NDArray[Any], text: str) -> None:
    path = make_image(pixels=pixels)
    with pytest.raises(RasterError, match=text) as error:
        read(path)
    assert path.name in str(error.value)


def test_files_that_cannot_be_used(make_image: MakeImage, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no\.tif"):
        read(tmp_path / "no.tif")
    with pytest.raises(RasterError, match="coordinate reference system"):
        read(make_image("crs.tif", bands=1, crs=None))
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(RasterError, match=r"text\.tif"):
        read(tmp_path / "text.tif")


def test_no_position(tmp_path: Path) -> None:
    path = tmp_path / "place.tif"
    with (
        pytest.warns(rasterio.errors.NotGeoreferencedWarning),
        rasterio.open(path, "w", driver="GTiff", width=4, height=4, count=1, dtype="uint8", crs="EPSG:25832") as dataset,
    ):
        dataset.write(np.ones((1, 4, 4), np.uint8))
    with pytest.raises(RasterError, match="position"):
        read(path)
