from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rasterio.windows import Window

from geofootprint import resampling
from geofootprint.resampling import Stretch, Warp, axis_taps, resample


@pytest.mark.parametrize("ratio", [0.3, 0.5, 1.0, 1.136, 2.0, 2.637, 7.9])
def test_weights_add_up_to_one_inside(ratio: float) -> None:
    count = int(100 / ratio)
    taps = axis_taps(0, count, ratio, 100)
    assert np.allclose(taps.weight.sum(axis=0), 1)
    assert (taps.weight >= -1e-12).all()
    assert taps.index.min() == 0
    assert taps.index.max() == taps.stop - taps.start - 1


def test_an_output_pixel_beyond_the_source_has_less_weight() -> None:
    assert axis_taps(0, 4, 3.0, 10).weight.sum(axis=0) == pytest.approx([1, 1, 1, 1 / 3])


def test_taps_begin_where_the_window_does() -> None:
    whole, part = axis_taps(0, 50, 1.7, 100), axis_taps(20, 10, 1.7, 100)
    assert np.array_equal(part.weight, whole.weight[:, 20:30])
    used = part.weight > 0
    assert np.array_equal((part.index + part.start)[used], (whole.index + whole.start)[:, 20:30][used])


def test_a_whole_ratio_averages() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(1, 4, 6)
    taps = axis_taps(0, 2, 2.0, 4), axis_taps(0, 3, 2.0, 6)
    image, valid = resample(pixels, np.ones((4, 6), np.bool_), *taps)
    assert valid.all()
    assert image[0].tolist() == np.rint(pixels.reshape(2, 2, 3, 2).mean(axis=(1, 3))).tolist()


def test_an_average_is_of_what_is_valid_and_needs_half_of_it() -> None:
    pixels = np.array([[[10, 99, 30, 99], [20, 99, 40, 40]]], np.uint8)
    valid = pixels[0] != 99
    image, mask = resample(pixels, valid, axis_taps(0, 1, 2.0, 2), axis_taps(0, 2, 2.0, 4))
    assert mask.tolist() == [[True, True]]
    assert image[0].tolist() == [[15, 37]]
    valid[0, 0] = False
    image, mask = resample(pixels, valid, axis_taps(0, 1, 2.0, 2), axis_taps(0, 2, 2.0, 4))
    assert mask.tolist() == [[False, True]]
    assert image[0, 0, 0] == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
def test_the_type_stays(dtype: Any) -> None:
    pixels = np.full((2, 9, 9), 3, dtype)
    image, _ = resample(pixels, np.ones((9, 9), np.bool_), axis_taps(0, 4, 2.1, 9), axis_taps(0, 30, 0.3, 9))
    assert image.dtype == dtype
    assert image == pytest.approx(3)


def source_of(pixels: NDArray[Any], valid: NDArray[np.bool_]) -> Any:
    def read(window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        rows, columns = window.toslices()
        assert min(rows.start, columns.start) >= 0
        assert rows.stop <= pixels.shape[1]
        assert columns.stop <= pixels.shape[2]
        return pixels[:, rows, columns].copy(), valid[rows, columns].copy()

    return read


@pytest.mark.parametrize("ratio", [0.7, 1.0, 1.31])
def test_a_tall_window_is_the_same_as_its_strips(ratio: float) -> None:
    rng = np.random.default_rng(0)
    pixels, valid = rng.integers(0, 255, (3, 700, 40), np.uint8), rng.random((700, 40)) > 0.1
    stretch = Stretch((ratio, ratio), (700, 40))
    height, width = int(700 / ratio), int(40 / ratio)
    image, mask = stretch.read(source_of(pixels, valid), Window(0, 0, width, height))
    part, part_mask = stretch.read(source_of(pixels, valid), Window(3, 200, 10, 150))
    assert np.array_equal(part, image[:, 200:350, 3:13])
    assert np.array_equal(part_mask, mask[200:350, 3:13])


def test_an_overview_of_a_large_source_reads_little_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (1, 400, 300), np.uint8)
    valid = np.ones((400, 300), np.bool_)
    stretch, window = Stretch((10.0, 10.0), (400, 300)), Window(0, 0, 30, 40)
    at_once = stretch.read(source_of(pixels, valid), window)[0]
    monkeypatch.setattr(resampling, "STRIP_PIXELS", 9_000)
    read, areas = source_of(pixels, valid), []

    def watched(wanted: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        areas.append(wanted.width * wanted.height)
        return read(wanted)  # type: ignore[no-any-return]

    assert np.array_equal(stretch.read(watched, window)[0], at_once)
    assert max(areas) < 2 * 9_000


def test_a_warp_by_whole_pixels_copies() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (1, 50, 60), np.uint8)
    valid = np.ones((50, 60), np.bool_)
    warp = Warp(lambda columns, rows: (columns + 5, rows - 3), 1.0, (50, 60))
    image, mask = warp.read(source_of(pixels, valid), Window(0, 0, 60, 50))
    assert np.array_equal(image[0, 3:, :55], pixels[0, :47, 5:])
    assert mask[3:, :55].all()
    assert not mask[:3].any()
    assert not mask[:, 55:].any()


def test_a_warp_to_elsewhere_is_empty() -> None:
    warp = Warp(lambda columns, rows: (columns + 500, rows), 1.0, (50, 60))
    image, mask = warp.read(source_of(np.ones((2, 50, 60), np.uint16), np.ones((50, 60), np.bool_)), Window(0, 0, 9, 8))
    assert image.shape == (2, 8, 9)
    assert image.dtype == np.uint16
    assert not mask.any()
