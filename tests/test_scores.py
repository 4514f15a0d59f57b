"""Scores of layers against areas, against brute force over pixel centres, and at the border of an area."""

from __future__ import annotations

from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from shapely import affinity

from geofootprint import scores as module
from geofootprint.errors import OptionError, VectorError
from geofootprint.metrics import Counts, count_pixels, inner_band
from geofootprint.scores import Scores, score_footprints

WEST, SOUTH = 680_000.0, 5_238_000.0
"""In UTM 32 north, near Innsbruck; a multiple of every pixel used here."""


def layer(*shapes: Any, **columns: Any) -> gpd.GeoDataFrame:
    moved = [affinity.translate(shape, WEST, SOUTH) for shape in shapes]
    return gpd.GeoDataFrame(columns, geometry=moved, crs="EPSG:25832")


def area_of(*bounds: float) -> Any:
    return affinity.translate(shapely.box(*bounds), WEST, SOUTH)


def town(seed: int = 0, count: int = 40, span: float = 150.0) -> gpd.GeoDataFrame:
    """Rotated houses, some with a courtyard, that do not overlap."""
    rng = np.random.default_rng(seed)
    houses: list[Any] = []
    while len(houses) < count:
        width, depth = rng.uniform(7, 18, 2)
        house = shapely.box(0, 0, width, depth)
        if rng.random() < 0.2:
            house = house.difference(shapely.box(2.5, 2.5, width - 2.5, depth - 2.5))
        house = affinity.rotate(affinity.translate(house, *rng.uniform(0, span, 2)), rng.uniform(0, 90))
        if not any(house.intersects(other) for other in houses):
            houses.append(house)
    return layer(*houses)


def shifted(frame: gpd.GeoDataFrame, x: float, y: float = 0.0) -> gpd.GeoDataFrame:
    return frame.set_geometry(frame.translate(x, y))


def assert_perfect(scores: Scores, count: int) -> None:
    assert all(value == pytest.approx(1) for value in scores.ratios.values())
    assert (scores.pixels.false_positive, scores.pixels.false_negative) == (0, 0)
    assert scores.objects == Counts(count, 0, 0)
    assert (scores.predicted, scores.truth, scores.merged, scores.split) == (count, count, 0, 0)
    assert scores.polis == pytest.approx(0, abs=1e-6)
    assert scores.vertex_ratio == scores.total_vertex_ratio == 1


class TestTruthAgainstItself:
    def test_is_perfect(self) -> None:
        assert_perfect(score_footprints(town(), town()), 40)

    def test_is_perfect_in_an_area_that_cuts_buildings(self) -> None:
        area = affinity.rotate(area_of(30, 20, 120, 130), 25)
        scores = score_footprints(town(), town(), area=area)
        assert_perfect(scores, scores.truth)
        assert 5 < scores.truth < 35

    def test_is_perfect_for_touching_houses(self) -> None:
        row = layer(*(shapely.box(8 * i, 0, 8 * i + 8, 10 + i) for i in range(6)))
        assert_perfect(score_footprints(row, row), 6)

    @pytest.mark.parametrize("gsd", [0.05, 0.3, 1.0])
    def test_is_perfect_at_any_gsd(self, gsd: float) -> None:
        assert_perfect(score_footprints(town(), town(), gsd=gsd), 40)


class TestPixels:
    def test_count_of_boxes_on_the_grid(self) -> None:
        truth, predicted = layer(shapely.box(0, 0, 12, 9)), layer(shapely.box(3, 0, 15, 9))
        scores = score_footprints(predicted, truth, gsd=0.15)
        assert scores.pixels == Counts(60 * 60, 20 * 60, 20 * 60)

    def test_area_of_any_shapes(self) -> None:
        predicted, truth = shifted(town(), 1.3, -0.8), town()
        mine, true = predicted.union_all(), truth.union_all()
        scores = score_footprints(predicted, truth, gsd=0.05)
        assert scores.pixels.iou == pytest.approx(mine.intersection(true).area / mine.union(true).area, rel=2e-3)
        assert scores.pixels.true_positive * 0.05**2 == pytest.approx(mine.intersection(true).area, rel=2e-3)

    def test_pixel_centres_in_an_area_one_by_one(self) -> None:
        predicted, truth = shifted(town(1), 0.7), town(1)
        area = affinity.rotate(area_of(40, 40, 110, 90), 17)
        scores = score_footprints(predicted, truth, area=area, gsd=0.5)
        x, y = np.meshgrid(np.arange(WEST - 50, WEST + 220, 0.5) + 0.25, np.arange(SOUTH - 50, SOUTH + 220, 0.5) + 0.25)
        mine, true = (
            shapely.contains_xy(frame.union_all(), x.ravel(), y.ravel()) for frame in (predicted, truth)
        )
        inside = shapely.contains_xy(area, x.ravel(), y.ravel())
        assert scores.pixels == count_pixels(mine, true, within=inside)

    def test_bands_as_on_one_large_raster(self) -> None:
        predicted, truth = shifted(town(2), 0.7), town(2)
        scores = score_footprints(predicted, truth, gsd=0.5)
        x, y = np.meshgrid(np.arange(WEST - 50, WEST + 220, 0.5) + 0.25, np.arange(SOUTH - 50, SOUTH + 220, 0.5) + 0.25)
        bands = [
            inner_band(shapely.contains_xy(frame.union_all(), x.ravel(), y.ravel()).reshape(x.shape), 2)
            for frame in (predicted, truth)
        ]
        assert scores.boundary == count_pixels(*bands)

    def test_windows_make_no_difference(self, monkeypatch: pytest.MonkeyPatch) -> None:
        predicted, truth = shifted(town(), 1.0), town()
        area = affinity.rotate(area_of(10, 10, 140, 100), 5)
        whole = score_footprints(predicted, truth, area=area)
        monkeypatch.setattr(module, "WINDOW", 64)
        monkeypatch.setattr(module, "CELL_SIZE", 10)
        parts = score_footprints(predicted, truth, area=area)
        assert (parts.pixels, parts.boundary) == (whole.pixels, whole.boundary)
        assert parts.cells.counts.sum(axis=0).tolist() == whole.cells.counts.sum(axis=0).tolist()

    def test_a_building_far_away_moves_no_pixel(self) -> None:
        house, other = shapely.box(0.04, 0.09, 9.11, 7.77), shapely.box(-512.34, -77.77, -504.3, -70.01)
        alone = score_footprints(layer(house), layer(affinity.translate(house, 1.23)))
        both = score_footprints(layer(house, other), layer(affinity.translate(house, 1.23), other))
        assert alone.pixels.false_positive == both.pixels.false_positive
        assert alone.pixels.false_negative == both.pixels.false_negative

    def test_cells_hold_all_that_was_counted(self) -> None:
        scores = score_footprints(shifted(town(), 1.0), town())
        assert tuple(scores.cells.counts.sum(axis=0)) == tuple(vars(scores.pixels).values())
        boxes = shapely.box(*scores.cells.bounds.T)
        covered = shapely.union_all(boxes).buffer(1e-6)
        assert covered.covers(town().union_all())
        assert shapely.area(boxes).sum() == pytest.approx(shapely.union_all(boxes).area)


class TestObjects:
    def test_found_missed_and_false(self) -> None:
        truth = layer(shapely.box(0, 0, 10, 10), shapely.box(20, 0, 30, 10))
        predicted = layer(shapely.box(1, 0, 11, 10), shapely.box(27, 0, 37, 10), shapely.box(50, 0, 60, 10))
        scores = score_footprints(predicted, truth)
        assert scores.objects == Counts(1, 2, 1)
        assert scores.matched_iou == pytest.approx(9 / 11)
        assert scores.status["status"].tolist() == ["found", "missed", "false", "false"]
        assert scores.status["iou"].dropna().tolist() == pytest.approx([9 / 11])

    def test_merged_and_split(self) -> None:
        pair = layer(shapely.box(0, 0, 10, 10), shapely.box(10, 0, 20, 10))
        one = layer(shapely.box(0, 0, 20, 10))
        assert (score_footprints(one, pair).merged, score_footprints(one, pair).split) == (1, 0)
        assert (score_footprints(pair, one).merged, score_footprints(pair, one).split) == (0, 1)

    def test_the_confident_prediction_is_the_pair(self) -> None:
        predicted = layer(shapely.box(0, 0, 10, 10), shapely.box(1, 0, 11, 10), confidence=[0.2, 0.9])
        assert score_footprints(predicted, layer(shapely.box(0, 0, 10, 10))).matched_iou == pytest.approx(9 / 11)

    def test_confidence_in_words_is_left_alone(self) -> None:
        predicted = layer(shapely.box(0, 0, 10, 10), confidence=["high"])
        assert score_footprints(predicted, layer(shapely.box(0, 0, 10, 10))).objects == Counts(1, 0, 0)

    def test_ragged_outline_has_more_vertices(self) -> None:
        truth, square = layer(shapely.box(0, 0, 10, 10)), shapely.box(0, 0, 10, 10)
        scores = score_footprints(layer(shapely.segmentize(square, 5.0)), truth)
        assert scores.vertex_ratio == scores.total_vertex_ratio == 2
        assert scores.polis == pytest.approx(0, abs=1e-6)


class TestBorderOfTheArea:
    area = area_of(0, 0, 100, 100)

    def score(self, predicted: list[Any], truth: list[Any]) -> Scores:
        return score_footprints(layer(*predicted), layer(*truth), area=self.area)

    def test_prediction_that_ends_at_the_border_is_right(self) -> None:
        scores = self.score([shapely.box(94, 10, 100, 20)], [shapely.box(94, 10, 104, 20)])
        assert scores.objects == Counts(1, 0, 0)
        assert scores.matched_iou == pytest.approx(1)
        assert scores.pixels.iou == 1
        assert scores.boundary.iou == 1

    def test_outlines_that_are_cut_are_not_measured(self) -> None:
        inner = shapely.box(50, 50, 60, 60)
        scores = self.score([shapely.box(94, 10, 100, 20), inner], [shapely.box(94, 10, 104, 20), inner])
        assert scores.objects == Counts(2, 0, 0)
        assert scores.polis == pytest.approx(0, abs=1e-6)

    def test_building_with_its_middle_outside_counts_not(self) -> None:
        inner = shapely.box(50, 50, 60, 60)
        assert self.score([inner], [inner, shapely.box(97, 10, 110, 20)]).objects == Counts(1, 0, 0)

    def test_rest_of_a_building_outside_is_no_false_prediction(self) -> None:
        inner = shapely.box(50, 50, 60, 60)
        scores = self.score([inner, shapely.box(97, 10, 100, 20)], [inner, shapely.box(97, 10, 110, 20)])
        assert scores.objects == Counts(1, 0, 0)

    def test_prediction_with_its_middle_outside_finds_the_building_inside(self) -> None:
        scores = self.score([shapely.box(94, 10, 108, 20)], [shapely.box(94, 10, 104, 20)])
        assert scores.objects == Counts(1, 0, 0)

    def test_false_prediction_outside_counts_not(self) -> None:
        inner = shapely.box(50, 50, 60, 60)
        assert self.score([inner, shapely.box(97, 70, 110, 80)], [inner]).objects == Counts(1, 0, 0)

    def test_building_that_also_touches_the_border(self) -> None:
        # Cut, it is a polygon and a line: the wall that lies on the border from outside.
        shape = shapely.Polygon([(95, 10), (105, 10), (105, 40), (100, 40), (100, 30), (103, 30), (103, 20), (95, 20)])
        cut = shape.intersection(shapely.box(0, 0, 100, 100))
        assert cut.geom_type == "GeometryCollection"
        scores = self.score([shape, shapely.box(50, 50, 60, 60)], [shape, shapely.box(50, 50, 60, 60)])
        assert scores.pixels.iou == 1
        assert scores.objects.f1 == 1

    def test_area_is_the_ground_that_was_scored(self) -> None:
        inner = shapely.box(50, 50, 60, 60)
        assert self.score([inner], [inner]).area_m2 == pytest.approx(10_000)


class TestOddInput:
    def test_no_predictions(self) -> None:
        scores = score_footprints(layer(), town())
        assert scores.ratios == dict.fromkeys(module.RATIOS, 0) | {"matched_iou": None}
        assert (scores.polis, scores.vertex_ratio, scores.total_vertex_ratio) == (None, None, None)
        assert scores.objects == Counts(0, 0, 40)

    def test_predictions_where_no_building_is(self) -> None:
        scores = score_footprints(town(), layer(shapely.box(900, 900, 910, 910)), area=area_of(0, 0, 150, 150))
        assert scores.objects.precision == scores.pixels.precision == 0
        assert scores.truth == 0

    def test_area_without_footprints(self) -> None:
        with pytest.raises(VectorError, match="--aoi"):
            score_footprints(town(), town(), area=area_of(900, 900, 950, 950))

    @pytest.mark.parametrize("gsd", [0, -0.15, float("nan"), float("inf")])
    def test_impossible_gsd(self, gsd: float) -> None:
        with pytest.raises(OptionError, match="gsd"):
            score_footprints(town(), town(), gsd=gsd)

    def test_input_is_not_changed(self) -> None:
        predicted, truth = shifted(town(), 1.0), town()
        before = predicted.copy(), truth.copy()
        score_footprints(predicted, truth, area=area_of(20, 20, 90, 90))
        assert predicted.geom_equals(before[0]).all()
        assert truth.geom_equals(before[1]).all()
