"""Scores against counting by hand, shapely's areas, and an exhaustive search."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from shapely import affinity

from geofootprint.metrics import (
    Counts,
    count_covering,
    count_pixels,
    count_vertices,
    find_overlaps,
    find_pixel_overlaps,
    inner_band,
    match_polygons,
    polis,
)

Polygons = NDArray[Any]


def polygons(*shapes: Any) -> Polygons:
    return np.array(shapes, object)


def square(x: float, y: float, side: float = 10.0) -> Any:
    return shapely.box(x, y, x + side, y + side)


def random_boxes(seed: int, count: int, span: float = 60.0) -> Polygons:
    """Rotated rectangles that overlap each other as well."""
    rng = np.random.default_rng(seed)
    boxes = (shapely.box(0, 0, *rng.uniform(4, 20, 2)) for _ in range(count))
    placed = (affinity.rotate(affinity.translate(box, *rng.uniform(0, span, 2)), rng.uniform(0, 90)) for box in boxes)
    return polygons(*placed)


class TestCounts:
    def test_ratios_by_hand(self) -> None:
        counts = Counts(6, 2, 4)
        assert counts.iou == 6 / 12
        assert counts.precision == 6 / 8
        assert counts.recall == 6 / 10
        assert counts.f1 == pytest.approx(2 * 6 / (2 * 6 + 2 + 4))

    def test_nothing_to_find_and_nothing_found_is_perfect(self) -> None:
        counts = Counts()
        assert (counts.iou, counts.precision, counts.recall, counts.f1) == (1, 1, 1, 1)

    @pytest.mark.parametrize("counts", [Counts(0, 3, 0), Counts(0, 0, 3)])
    def test_one_side_alone_is_zero(self, counts: Counts) -> None:
        assert (counts.iou, counts.precision, counts.recall, counts.f1) == (0, 0, 0, 0)

    @given(*(st.integers(0, 1000) for _ in range(3)))
    @settings(deadline=None)
    def test_f1_is_the_harmonic_mean(self, both: int, false: int, missed: int) -> None:
        counts = Counts(both, false, missed)
        if counts.precision + counts.recall:
            harmonic = 2 * counts.precision * counts.recall / (counts.precision + counts.recall)
            assert counts.f1 == pytest.approx(harmonic)

    def test_adds_up(self) -> None:
        assert Counts(1, 2, 3) + Counts(10, 20, 30) == Counts(11, 22, 33)


class TestPixels:
    @given(st.integers(0, 2**32 - 1))
    @settings(deadline=None, max_examples=30)
    def test_same_as_sets_of_pixels(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        predicted, truth, within = rng.random((3, 7, 9)) < 0.5
        first, second, inside = ({*zip(*np.nonzero(mask), strict=True)} for mask in (predicted, truth, within))
        first, second = first & inside, second & inside
        expected = Counts(len(first & second), len(first - second), len(second - first))
        assert count_pixels(predicted, truth, within=within) == expected

    def test_halves_add_up_to_the_whole(self) -> None:
        predicted, truth = np.random.default_rng(1).random((2, 30, 40)) < 0.4
        halves = count_pixels(predicted[:, :17], truth[:, :17]) + count_pixels(predicted[:, 17:], truth[:, 17:])
        assert halves == count_pixels(predicted, truth)


class TestInnerBand:
    def test_ring_of_a_square(self) -> None:
        mask = np.zeros((20, 20), np.bool_)
        mask[4:16, 4:16] = True
        expected = mask.copy()
        expected[6:14, 6:14] = False
        assert np.array_equal(inner_band(mask, 2), expected)

    @pytest.mark.parametrize("width", [1, 3])
    def test_same_as_looking_at_every_neighbour(self, width: int) -> None:
        mask = np.random.default_rng(2).random((15, 13)) < 0.9
        padded = np.pad(mask, width)
        expected = np.zeros_like(mask)
        for row, column in itertools.product(range(15), range(13)):
            around = padded[row : row + 2 * width + 1, column : column + 2 * width + 1]
            expected[row, column] = mask[row, column] and not around.all()
        assert np.array_equal(inner_band(mask, width), expected)

    def test_border_of_the_array_is_an_outline(self) -> None:
        assert inner_band(np.ones((9, 9), np.bool_), 2).sum() == 9 * 9 - 5 * 5


class TestOverlaps:
    def test_same_as_every_pair_by_itself(self) -> None:
        predicted, truth = random_boxes(3, 40), random_boxes(4, 50)
        found = find_overlaps(predicted, truth)
        pairs = {(int(i), int(j)): (a, iou) for i, j, a, iou in zip(*vars(found).values(), strict=True)}
        for i, j in itertools.product(range(40), range(50)):
            shared = predicted[i].intersection(truth[j]).area
            assert ((i, j) in pairs) == (shared > 0)
            if shared:
                assert pairs[i, j][0] == pytest.approx(shared)
                assert pairs[i, j][1] == pytest.approx(shared / predicted[i].union(truth[j]).area)

    def test_touching_is_no_overlap(self) -> None:
        assert len(find_overlaps(polygons(square(0, 0)), polygons(square(10, 0))).area) == 0

    def test_in_chunks_as_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        predicted, truth = random_boxes(5, 30), random_boxes(6, 30)
        whole = find_overlaps(predicted, truth)
        monkeypatch.setattr("geofootprint.metrics.CHUNK", 7)
        for one, other in zip(vars(whole).values(), vars(find_overlaps(predicted, truth)).values(), strict=True):
            assert np.array_equal(one, other)

    def test_empty_layers(self) -> None:
        found = find_overlaps(polygons(), polygons(square(0, 0)))
        assert all(len(values) == 0 for values in vars(found).values())
        assert len(match_polygons(found, confidence=np.empty(0)).iou) == 0


class TestMatching:
    def test_a_layer_with_itself(self) -> None:
        layer = polygons(*(square(20 * i, 0) for i in range(5)))
        matches = match_polygons(find_overlaps(layer, layer))
        assert matches.predicted.tolist() == matches.truth.tolist() == [0, 1, 2, 3, 4]
        assert matches.iou == pytest.approx(1)

    def test_each_has_one_partner(self) -> None:
        predicted = polygons(square(0, 0), square(1, 0), square(0, 1))
        matches = match_polygons(find_overlaps(predicted, polygons(square(0, 0))))
        assert (matches.predicted.tolist(), matches.truth.tolist()) == ([0], [0])

    def test_the_confident_choose_first(self) -> None:
        predicted, truth = polygons(square(0, 0), square(1, 0)), polygons(square(0, 0))
        overlaps = find_overlaps(predicted, truth)
        assert match_polygons(overlaps, confidence=np.array([0.5, 0.9])).predicted.tolist() == [1]
        assert match_polygons(overlaps, confidence=np.array([0.9, 0.5])).predicted.tolist() == [0]
        assert match_polygons(overlaps, confidence=np.array([np.nan, 0.1])).predicted.tolist() == [1]

    def test_equally_confident_go_by_iou(self) -> None:
        predicted, truth = polygons(square(2, 0), square(1, 0)), polygons(square(0, 0))
        matches = match_polygons(find_overlaps(predicted, truth), confidence=np.array([0.7, 0.7]))
        assert matches.predicted.tolist() == [1]

    def test_threshold_is_included(self) -> None:
        # Half of the width of two in three: 10 x 5 of 10 x 10 is an IoU of exactly 0.5.
        predicted, truth = polygons(shapely.box(0, 0, 10, 5)), polygons(square(0, 0))
        overlaps = find_overlaps(predicted, truth)
        assert len(match_polygons(overlaps, threshold=0.5).iou) == 1
        assert len(match_polygons(overlaps, threshold=0.51).iou) == 0

    @given(st.integers(0, 2**32 - 1))
    @settings(deadline=None, max_examples=30)
    def test_same_as_greedy_by_definition(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        predicted, truth = random_boxes(seed, 12, 20), random_boxes(seed + 1, 12, 20)
        confidence = rng.random(12)
        expected: dict[int, int] = {}
        for i in np.argsort(-confidence):
            ious = {
                j: predicted[i].intersection(truth[j]).area / predicted[i].union(truth[j]).area
                for j in range(12)
                if j not in expected.values()
            }
            best = max(ious, key=lambda j: ious[j], default=None)
            if best is not None and ious[best] >= 0.3:
                expected[int(i)] = best
        matches = match_polygons(find_overlaps(predicted, truth), confidence=confidence, threshold=0.3)
        assert dict(zip(matches.predicted.tolist(), matches.truth.tolist(), strict=True)) == expected


def test_merges_and_splits() -> None:
    one, halves = polygons(shapely.box(0, 0, 20, 10)), polygons(square(0, 0), square(10, 0))
    found = find_overlaps(one, halves)
    assert count_covering(found.predicted, found.truth, found.area, shapely.area(halves)) == 1
    assert count_covering(found.truth, found.predicted, found.area, shapely.area(one)) == 0
    assert count_covering(found.predicted, found.truth, found.area, 3 * shapely.area(halves)) == 0


class TestPolis:
    def test_equal_outlines(self) -> None:
        shapes = random_boxes(7, 10)
        assert polis(shapes, shapes) == pytest.approx(0, abs=1e-9)

    def test_shifted_square_by_hand(self) -> None:
        # Two corners of each lie on a side of the other, two are 1 away from it.
        assert polis(polygons(square(0, 0)), polygons(square(1, 0))) == pytest.approx(0.5)

    def test_added_vertices_on_the_outline_dilute(self) -> None:
        fine = shapely.Polygon([(1, 0), (11, 0), (11, 10), (6, 10), (1, 10)])
        assert polis(polygons(square(0, 0)), polygons(fine)) == pytest.approx((2 / 4 + 2 / 5) / 2)

    def test_same_as_the_formula(self) -> None:
        first, second = random_boxes(8, 6), random_boxes(9, 6)
        for one, other, value in zip(first, second, polis(first, second), strict=True):
            there, back = (
                sum(b.exterior.distance(shapely.Point(xy)) for xy in a.exterior.coords[:-1])
                / (2 * len(a.exterior.coords[:-1]))
                for a, b in ((one, other), (other, one))
            )
            assert value == pytest.approx(there + back)

    def test_symmetric_and_holes_left_out(self) -> None:
        holed = polygons(square(0, 0).difference(square(3, 3, 4)))
        other = polygons(affinity.rotate(square(0, 0), 20))
        assert polis(holed, other) == pytest.approx(polis(other, holed))
        assert polis(holed, other) == pytest.approx(polis(polygons(square(0, 0)), other))

    def test_no_pairs(self) -> None:
        assert polis(polygons(), polygons()).shape == (0,)


def test_vertices_without_the_closing_ones() -> None:
    holed = square(0, 0).difference(square(3, 3, 4))
    circle = shapely.Point(0, 0).buffer(5, quad_segs=8)
    assert count_vertices(polygons(square(0, 0), holed, circle)).tolist() == [4, 8, 32]


def test_pixel_overlaps_are_those_of_polygons() -> None:
    rng = np.random.default_rng(3)
    layers = []
    for _ in range(2):
        labels = np.zeros((60, 60), np.int32)
        for number in range(1, 8):
            top, left = rng.integers(0, 45, 2)
            height, width = rng.integers(3, 15, 2)
            labels[top : top + height, left : left + width] = number
        present = np.unique(labels[labels > 0])
        layers.append(np.searchsorted(present, labels).astype(np.int32) + np.where(labels > 0, 1, 0).astype(np.int32))
    first, second = layers
    found = find_pixel_overlaps(first, second)
    expected = {
        (a - 1, b - 1): (int(((first == a) & (second == b)).sum()), int(((first == a) | (second == b)).sum()))
        for a in range(1, first.max() + 1) for b in range(1, second.max() + 1) if ((first == a) & (second == b)).any()
    }
    assert list(zip(found.predicted.tolist(), found.truth.tolist(), strict=True)) == list(expected)
    assert found.area.tolist() == [area for area, _ in expected.values()]
    assert found.iou.tolist() == [area / union for area, union in expected.values()]


def test_no_objects_share_no_pixels() -> None:
    nothing = np.zeros((4, 4), np.int32)
    assert find_pixel_overlaps(nothing, nothing + 1).iou.size == 0
    assert find_pixel_overlaps(nothing, nothing).iou.size == 0
