from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geofootprint.instances import separate_instances

SURE = np.full((60, 60), 255, np.uint8)


def blobs(seed: int, size: int = 60) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(size=(2, size, size)).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(band, (0, 0), 2) for band in noise])
    return np.asarray(np.clip(127 + smooth / smooth.std() * 60, 0, 255), np.uint8)


def test_without_a_contour_each_connected_part_is_one_building() -> None:
    mask = np.zeros((6, 9), np.bool_)
    mask[1:3, 1:3] = mask[3:5, 3:5] = True  # touch at a corner only
    mask[1:3, 6:8] = True
    labels = separate_instances(mask, SURE[:6, :9], None)
    assert labels.dtype == np.int32
    assert (labels[1, 1], labels[1, 6], labels[3, 3]) == (1, 2, 3), "numbers go by first pixel, row by row"
    assert ((labels > 0) == mask).all()


def test_contour_separates_touching_buildings_halfway() -> None:
    mask = np.ones((5, 12), np.bool_)
    contour = np.zeros((5, 12), np.uint8)
    contour[:, 4:8] = 200
    labels = separate_instances(mask, SURE[: mask.shape[0], : mask.shape[1]], contour)
    assert (labels[:, :6] == 1).all()
    assert (labels[:, 6:] == 2).all()


def test_buildings_of_contour_alone_and_small_interiors_stay_whole() -> None:
    mask, sure = np.ones((5, 12), np.bool_), SURE[:5, :12]
    assert (separate_instances(mask, sure, np.full((5, 12), 255, np.uint8)) == 1).all()
    contour = np.full((5, 12), 255, np.uint8)
    contour[1:4, 1:4] = contour[2, 9] = 0
    assert separate_instances(mask, sure, contour).max() == 2
    assert separate_instances(mask, sure, contour, marker_size=2).max() == 1


def test_pixels_go_to_a_marker_on_a_way_inside_the_mask() -> None:
    mask = np.ones((7, 7), np.bool_)
    mask[:6, 3] = False  # a wall of air: the right half is near the marker, but only around it
    contour = np.full((7, 7), 255, np.uint8)
    contour[0, 0] = contour[6, 6] = 0
    labels = separate_instances(mask, SURE[: mask.shape[0], : mask.shape[1]], contour)
    assert labels[0, 2] == 1
    assert labels[0, 4] == 2


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_labels_cover_the_mask_and_are_connected(seed: int) -> None:
    building, contour = blobs(seed)
    mask = building > 127
    labels = separate_instances(mask, building, contour, marker_size=9)
    assert ((labels > 0) == mask).all()
    for label in range(1, int(labels.max()) + 1):
        count, _ = cv2.connectedComponents((labels == label).astype(np.uint8), connectivity=4)
        assert count == 2


@pytest.mark.parametrize(("top", "left"), [(0, 0), (1, 0), (0, 1), (3, 5)])
def test_labels_do_not_depend_on_where_the_array_was_cut(top: int, left: int) -> None:
    building, contour = blobs(3)
    mask = building > 127
    mask[:6] = mask[:, :6] = False
    whole = separate_instances(mask, building, contour, marker_size=9)
    cut = separate_instances(mask[top:, left:], building[top:, left:], contour[top:, left:], marker_size=9)
    assert (whole[top:, left:] == cut).all()
