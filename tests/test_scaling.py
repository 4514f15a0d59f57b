from __future__ import annotations

import numpy as np
import pytest

from geofootprint.scaling import Scaling, measure_scaling


def test_scaled_by_hand() -> None:
    image = np.array([[[-10, 0, 90, 500]], [[0, 50, 100, 25]]], np.int16)
    valid = np.array([[True, True, True, False]])
    scaled = Scaling((-10.0, 0.0), (200.0, 100.0)).apply(image, valid)
    assert scaled.dtype == np.float32
    assert scaled[0, 0].tolist() == pytest.approx([0, 0.05, 0.5, 0])
    assert scaled[1, 0].tolist() == pytest.approx([0, 0.5, 1, 0])


def test_what_lies_beyond_the_range_is_cut_and_what_is_not_valid_is_0() -> None:
    image = np.array([[[-5.0, 15.0, 5.0]]], np.float32)
    assert Scaling((0.0,), (10.0,)).apply(image, np.array([[True, True, False]]))[0, 0].tolist() == [0, 1, 0]


def test_large_offsets_lose_nothing() -> None:
    image = np.array([[[1e9, 1e9 + 0.5, 1e9 + 1]]])
    scaled = Scaling((1e9,), (1.0,)).apply(image, np.ones((1, 3), np.bool_))
    assert scaled[0, 0].tolist() == [0, 0.5, 1]


def test_whole_numbers_of_32_bits_lose_nothing() -> None:
    image = np.array([[[2**30, 2**30 + 1, 2**30 + 2]]], np.int32)
    scaled = Scaling((float(2**30),), (2.0,)).apply(image, np.ones((1, 3), np.bool_))
    assert scaled[0, 0].tolist() == [0, 0.5, 1]


def test_the_lowest_float_as_nodata_is_no_overflow() -> None:
    image = np.array([[[np.finfo(np.float32).min, 0.25]]], np.float32)
    assert Scaling((0.0,), (0.5,)).apply(image, np.array([[False, True]]))[0, 0].tolist() == [0, 0.5]


def test_the_range_leaves_out_the_last_pixels_of_a_thousand() -> None:
    values = np.arange(100_000) % 10_000
    values[:50] = 65_535  # glints
    scaling = measure_scaling([values[None, :40_000].astype(np.uint16), values[None, 40_000:].astype(np.uint16)])
    assert scaling.offset == (0.0,)
    assert scaling.divisor[0] == pytest.approx(9_995, abs=5)


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_signed_and_real_values_have_an_offset(dtype: str) -> None:
    heights = np.linspace(500, 700, 50_001).astype(dtype)
    differences = np.linspace(-40, 60, 50_001).astype(dtype)
    scaling = measure_scaling([np.stack([heights, differences])])
    assert scaling.offset == pytest.approx((500, -40), abs=2)
    assert scaling.divisor == pytest.approx((200, 100), abs=3)


def test_a_band_without_range() -> None:
    scaling = measure_scaling([np.full((1, 100), 7, np.float32), np.full((1, 5), 7, np.float32)])
    assert scaling == Scaling((7.0,), (1.0,))
    assert measure_scaling([np.zeros((1, 100), np.uint16)]).divisor == (1.0,)
