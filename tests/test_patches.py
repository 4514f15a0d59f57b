from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geofootprint.patches import WEIGHT_BITS, PatchAxis, mirror_axis


@st.composite
def axes(draw: st.DrawFn) -> PatchAxis:
    patch = draw(st.integers(4, 80))
    overlap = draw(st.integers(1, patch // 2))
    context = draw(st.integers(0, (overlap - 1) // 2))
    return PatchAxis(draw(st.integers(1, 400)), patch, overlap, context)


@given(axes())
def test_weights_sum_to_one_at_every_pixel(axis: PatchAxis) -> None:
    total = np.zeros(axis.size + 2 * axis.patch, np.uint32)
    for index in range(axis.count):
        start = index * axis.stride
        total[start : start + axis.patch] += axis.weights(index)
    assert (total[: axis.size] == 2**WEIGHT_BITS).all()


@given(axes(), st.data())
def test_patches_touching_pixels_are_those_with_weight_there(axis: PatchAxis, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, axis.size - 1))
    stop = data.draw(st.integers(start + 1, axis.size))
    covered = np.zeros(axis.size + 2 * axis.patch, np.uint32)
    for index in axis.touching(start, stop):
        place = index * axis.stride
        covered[place : place + axis.patch] += axis.weights(index)
    assert (covered[start:stop] == 2**WEIGHT_BITS).all()


def test_no_more_patches_touch_than_needed() -> None:
    axis = PatchAxis(1000, patch=100, overlap=20, context=5)
    assert list(axis.touching(0, 80)) == [0]
    assert list(axis.touching(80, 86)) == [0, 1]
    assert list(axis.touching(96, 160)) == [1]


def test_the_last_patch_reaches_the_end() -> None:
    for size in range(1, 300):
        axis = PatchAxis(size, patch=64, overlap=16, context=4)
        assert (axis.count - 1) * axis.stride + axis.patch >= size
        assert (axis.count - 2) * axis.stride + axis.patch < size or axis.count == 1


def test_edges_of_the_raster_have_full_weight() -> None:
    axis = PatchAxis(200, patch=64, overlap=16, context=4)
    assert axis.weights(0)[0] == 2**WEIGHT_BITS
    assert axis.weights(axis.count - 1)[-1] == 2**WEIGHT_BITS


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_axis_is_mirrored_beyond_its_ends(size: int) -> None:
    values = np.arange(size) * 10
    index, first, count = mirror_axis(-7, 30, size)
    assert (values[first : first + count][index] == np.pad(values, (7, 1000), "symmetric")[:30]).all()


def test_only_needed_pixels_are_read() -> None:
    _, first, count = mirror_axis(90, 20, 100)
    assert (first, count) == (90, 10)
