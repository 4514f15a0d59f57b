"""Evaluation of files: CRSs, the report's files, bad input, and that nothing half-done is left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely
from shapely import affinity

from geofootprint.errors import (
    Cancelled,
    GeofootprintError,
    MissingFileError,
    OptionError,
    OutputError,
    RasterError,
    ScoreError,
    VectorError,
)
from geofootprint.evaluate import evaluate, metric_crs
from geofootprint.vector import write_footprints

WEST, NORTH = 680_000.0, 5_238_000.0
"""Upper left corner of the images that `make_image` writes: 38.4 m wide."""


def houses() -> gpd.GeoDataFrame:
    shapes = [
        shapely.box(2, -12, 12, -3),
        affinity.rotate(shapely.box(16, -14, 30, -4), 20),
        shapely.box(4, -34, 18, -20).difference(shapely.box(8, -30, 14, -24)),
        shapely.Point(28, -28).buffer(5, quad_segs=2),
    ]
    placed = [affinity.translate(shape, WEST, NORTH) for shape in shapes]
    return gpd.GeoDataFrame({"id": range(4)}, geometry=placed, crs="EPSG:25832")


def shifted(x: float = 0.5, y: float = 0.0) -> gpd.GeoDataFrame:
    return houses().set_geometry(houses().translate(x, y))


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, frame: gpd.GeoDataFrame, crs: Any = None) -> Path:
        write_footprints(frame if crs is None else frame.to_crs(crs), tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def truth(save: Callable[..., Path]) -> Path:
    return save("truth.gpkg", houses())


@pytest.fixture
def mine(save: Callable[..., Path]) -> Path:
    return save("mine.gpkg", shifted())


class Listener:
    """Keeps what it is told, and cancels at a stage."""

    def __init__(self, cancel_at: str = "") -> None:
        self.cancel_at, self.stages, self.warnings = cancel_at, list[str](), list[str]()

    def update(self, stage: str, done: float, total: float) -> None:
        if stage == self.cancel_at:
            raise Cancelled("Cancelled.")
        self.stages.append(stage)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


class TestScores:
    def test_truth_against_itself(self, truth: Path) -> None:
        scores = evaluate(truth, truth).as_dict()
        names = ("iou", "precision", "recall", "f1", "boundary_iou", "matched_iou", "vertex_ratio")
        assert [scores[name] for name in (*names, "object_f1", "total_vertex_ratio")] == [1] * 9
        assert scores["polis_m"] == 0

    def test_a_shift_in_figures(self, mine: Path, truth: Path) -> None:
        scores = evaluate(mine, truth, gsd=0.05).scores
        one, other = shifted().union_all(), houses().union_all()
        assert scores.pixels.iou == pytest.approx(one.intersection(other).area / one.union(other).area, rel=2e-3)
        assert scores.objects.true_positive == 4

    @pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:32632", "EPSG:31287"])
    def test_crs_of_the_predictions_makes_no_difference(
        self, crs: str, mine: Path, truth: Path, save: Callable[..., Path]
    ) -> None:
        expected = evaluate(mine, truth).as_dict()
        scores = evaluate(save("moved.gpkg", shifted(), crs), truth).as_dict()
        assert scores["crs"] == "EPSG:25832"
        for name in ("iou", "boundary_iou", "polis_m", "area_m2"):
            assert scores[name] == pytest.approx(expected[name], rel=2e-3)

    @pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
    def test_metres_are_true_ones(self, crs: str, mine: Path, truth: Path, save: Callable[..., Path]) -> None:
        expected = evaluate(mine, truth).as_dict()
        scores = evaluate(mine, save("moved.gpkg", houses(), crs)).as_dict()
        assert scores["crs"] == "EPSG:32632"
        for name in ("iou", "boundary_iou", "polis_m"):
            assert scores[name] == pytest.approx(expected[name], rel=5e-3)

    def test_area_of_interest_in_another_crs(self, mine: Path, truth: Path, save: Callable[..., Path]) -> None:
        half = gpd.GeoDataFrame(geometry=[shapely.box(WEST, NORTH - 17, WEST + 40, NORTH)], crs="EPSG:25832")
        evaluation = evaluate(mine, truth, aoi=save("aoi.geojson", half, "EPSG:4326"))
        assert evaluation.scores.truth == 2
        assert evaluation.scores.area_m2 == pytest.approx(17 * 40, rel=1e-4)

    def test_invalid_and_multi_geometries(self, mine: Path, truth: Path, save: Callable[..., Path]) -> None:
        parts = houses().geometry
        bow = affinity.translate(shapely.Polygon([(60, 0), (70, 10), (70, 0), (60, 10)]), WEST, NORTH)
        frame = gpd.GeoDataFrame(
            geometry=[shapely.multipolygons([parts[0], parts[1]]), shapely.multipolygons([parts[2], parts[3]])],
            crs="EPSG:25832",
        )
        pyogrio.write_dataframe(frame, truth.with_name("multi.gpkg"))
        assert evaluate(mine, truth.with_name("multi.gpkg")).scores.ratios == evaluate(mine, truth).scores.ratios
        pyogrio.write_dataframe(
            gpd.GeoDataFrame(geometry=[*parts, bow], crs="EPSG:25832"), truth.with_name("bow.gpkg")
        )
        assert evaluate(mine, truth.with_name("bow.gpkg")).scores.truth == 6

    def test_nothing_predicted(self, truth: Path, save: Callable[..., Path], tmp_path: Path) -> None:
        empty = gpd.GeoDataFrame(geometry=[], crs="EPSG:25832")
        evaluation = evaluate(save("empty.gpkg", empty), truth, out=tmp_path / "report")
        assert evaluation.as_dict()["object_recall"] == 0
        assert evaluation.as_dict()["polis_m"] is None
        assert "no pairs" in evaluation.as_text()
        assert "no pairs" in (tmp_path / "report" / "report.html").read_text()

    def test_different_ground_without_area_is_said(
        self, truth: Path, save: Callable[..., Path]
    ) -> None:
        listener = Listener()
        evaluate(save("part.gpkg", shifted().iloc[:1]), truth, progress=listener)
        assert len(listener.warnings) == 1
        assert "--aoi" in listener.warnings[0]
        assert "scoring pixels" in listener.stages


class TestMetricCrs:
    @pytest.mark.parametrize("crs", ["EPSG:25832", "EPSG:31254", "EPSG:31287", "EPSG:3035"])
    def test_true_to_scale_stays(self, crs: str) -> None:
        assert metric_crs(houses().to_crs(crs)).to_string() == crs

    @pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:6933", "EPSG:2263", "+proj=utm +zone=32 +units=ft"])
    def test_others_go_to_utm(self, crs: str) -> None:
        assert metric_crs(houses().to_crs(crs) if crs != "EPSG:2263" else _new_york()).to_epsg() in {32632, 32618}

    def test_coordinates_outside_the_crs(self) -> None:
        with pytest.raises(VectorError, match="EPSG:4326"):
            metric_crs(houses().set_crs("EPSG:4326", allow_override=True))


def _new_york() -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(geometry=[shapely.box(-74, 40.7, -73.999, 40.701)], crs="EPSG:4326").to_crs("EPSG:2263")


class TestReport:
    def test_files(self, mine: Path, truth: Path, tmp_path: Path) -> None:
        out = tmp_path / "new" / "report"
        evaluation = evaluate(mine, truth, out=out)
        assert sorted(file.name for file in out.iterdir()) == ["matches.gpkg", "report.html", "scores.json"]
        assert json.loads((out / "scores.json").read_text()) == json.loads(json.dumps(evaluation.as_dict()))
        assert evaluation.out == out
        assert str(out / "report.html") in evaluation.as_text()

    def test_page_shows_scores_and_where_they_come_from(self, mine: Path, truth: Path, tmp_path: Path) -> None:
        evaluation = evaluate(mine, truth, out=tmp_path / "report", fail_under={"iou": 0.99})
        page = (tmp_path / "report" / "report.html").read_text()
        for text in (
            f"{evaluation.scores.pixels.iou:.3f}", "mine.gpkg", "truth.gpkg", "EPSG:25832", "below the mark", "PoLiS"
        ):
            assert text in page
        assert "http" not in page
        assert page.count("data:image/png") >= 2

    def test_photographs_when_there_is_an_image(
        self, mine: Path, truth: Path, make_image: Callable[..., Path], tmp_path: Path
    ) -> None:
        listener = Listener()
        evaluate(mine, truth, image=make_image(bands=5), out=tmp_path / "report", progress=listener)
        page = (tmp_path / "report" / "report.html").read_text()
        assert "data:image/jpeg" in page
        assert "data:image/png" not in page
        assert [text for text in listener.warnings if "band" in text] == listener.warnings
        assert len(listener.warnings) == 1

    def test_image_does_not_change_scores(
        self, mine: Path, truth: Path, make_image: Callable[..., Path], tmp_path: Path
    ) -> None:
        with_image = evaluate(mine, truth, image=make_image(), out=tmp_path / "report").scores
        assert with_image.ratios == evaluate(mine, truth).scores.ratios

    def test_matches_can_be_opened(self, mine: Path, truth: Path, tmp_path: Path) -> None:
        evaluate(mine, truth, out=tmp_path / "report")
        matches = gpd.read_file(tmp_path / "report" / "matches.gpkg")
        assert matches["status"].tolist() == ["found"] * 4
        assert (matches["iou"] > 0.5).all()
        assert matches.crs == "EPSG:25832"

    def test_again_into_the_same_folder(self, mine: Path, truth: Path, tmp_path: Path) -> None:
        (tmp_path / "report").mkdir()
        (tmp_path / "report" / "notes.txt").write_text("mine")
        evaluate(truth, truth, out=tmp_path / "report")
        evaluate(mine, truth, out=tmp_path / "report")
        assert json.loads((tmp_path / "report" / "scores.json").read_text())["iou"] < 1
        assert len(list((tmp_path / "report").iterdir())) == 4


class TestMarks:
    def test_reached_and_missed(self, mine: Path, truth: Path) -> None:
        evaluation = evaluate(mine, truth, fail_under={"object_f1": 1, "iou": 0.99, "precision": 0.5})
        assert len(evaluation.failed) == 1
        assert "iou" in evaluation.failed[0]
        with pytest.raises(ScoreError, match=r"0\.99"):
            evaluation.require_marks()

    def test_all_reached(self, truth: Path) -> None:
        evaluate(truth, truth, fail_under={"iou": 1, "matched_iou": 1}).require_marks()

    def test_score_that_does_not_exist_is_missed(self, truth: Path, save: Callable[..., Path]) -> None:
        empty = save("empty.gpkg", gpd.GeoDataFrame(geometry=[], crs="EPSG:25832"))
        assert len(evaluate(empty, truth, fail_under={"matched_iou": 0.1}).failed) == 1

    @pytest.mark.parametrize(("marks", "text"), [({"iuo": 0.8}, "iou"), ({"iou": 80}, "0 to 1")])
    def test_impossible(self, marks: dict[str, float], text: str, truth: Path) -> None:
        with pytest.raises(OptionError, match=text):
            evaluate(truth, truth, fail_under=marks)


class TestBadInput:
    def refuse(self, error: type[GeofootprintError], text: str, tmp_path: Path, *paths: Path, **options: Any) -> None:
        before = set(tmp_path.rglob("*"))
        with pytest.raises(error, match=text) as caught:
            evaluate(*paths, out=tmp_path / "deep" / "report", **options)
        assert "\n" not in str(caught.value)
        assert set(tmp_path.rglob("*")) == before

    def test_missing_files(self, mine: Path, truth: Path, tmp_path: Path) -> None:
        nowhere = tmp_path / "nowhere.gpkg"
        self.refuse(MissingFileError, "nowhere.gpkg", tmp_path, nowhere, truth)
        self.refuse(MissingFileError, "nowhere.gpkg", tmp_path, mine, nowhere)
        self.refuse(MissingFileError, "nowhere.gpkg", tmp_path, mine, truth, aoi=nowhere)
        self.refuse(MissingFileError, "nowhere.gpkg", tmp_path, mine, truth, image=nowhere)

    def test_no_crs(self, mine: Path, truth: Path, tmp_path: Path) -> None:
        frame = houses().set_crs(None, allow_override=True)
        with pytest.warns(UserWarning, match="crs"):
            pyogrio.write_dataframe(frame, tmp_path / "bare.shp")
        self.refuse(VectorError, "no coordinate reference system", tmp_path, tmp_path / "bare.shp", truth)
        self.refuse(VectorError, "no coordinate reference system", tmp_path, mine, tmp_path / "bare.shp")

    def test_empty_truth(self, mine: Path, tmp_path: Path, save: Callable[..., Path]) -> None:
        empty = save("empty.gpkg", gpd.GeoDataFrame(geometry=[], crs="EPSG:25832"))
        self.refuse(VectorError, "no features", tmp_path, mine, empty)

    def test_not_polygons(self, mine: Path, tmp_path: Path) -> None:
        lines = gpd.GeoDataFrame(geometry=houses().boundary, crs="EPSG:25832")
        pyogrio.write_dataframe(lines, tmp_path / "lines.gpkg")
        self.refuse(VectorError, "no polygons", tmp_path, mine, tmp_path / "lines.gpkg")

    def test_not_vectors(self, truth: Path, tmp_path: Path) -> None:
        (tmp_path / "broken.gpkg").write_bytes(truth.read_bytes()[:3000])
        (tmp_path / "table.csv").write_text("a,b\n1,2\n")
        self.refuse(VectorError, "broken.gpkg", tmp_path, tmp_path / "broken.gpkg", truth)
        self.refuse(VectorError, "no geometries", tmp_path, tmp_path / "table.csv", truth)

    def test_wrong_crs(self, truth: Path, tmp_path: Path) -> None:
        wrong = houses().set_crs("EPSG:4326", allow_override=True)
        pyogrio.write_dataframe(wrong, tmp_path / "wrong.gpkg")
        self.refuse(VectorError, "EPSG:4326", tmp_path, tmp_path / "wrong.gpkg", truth)
        self.refuse(VectorError, "EPSG:4326", tmp_path, truth, tmp_path / "wrong.gpkg")

    def test_area_elsewhere(self, mine: Path, truth: Path, tmp_path: Path, save: Callable[..., Path]) -> None:
        away = gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:4326")
        self.refuse(VectorError, "--aoi", tmp_path, mine, truth, aoi=save("away.geojson", away))

    def test_images(self, mine: Path, truth: Path, tmp_path: Path, make_image: Callable[..., Path]) -> None:
        grey, away = make_image("grey.tif", bands=1), make_image("away.tif", crs="EPSG:32633")
        self.refuse(RasterError, "1 colour band", tmp_path, mine, truth, image=grey)
        self.refuse(RasterError, "--image", tmp_path, mine, truth, image=away)

    def test_image_without_report(self, mine: Path, truth: Path, make_image: Callable[..., Path]) -> None:
        with pytest.raises(OptionError, match="-o"):
            evaluate(mine, truth, image=make_image())

    def test_gsd(self, mine: Path, truth: Path, tmp_path: Path) -> None:
        self.refuse(OptionError, "--gsd", tmp_path, mine, truth, gsd=0)

    def test_output_that_is_a_file(self, mine: Path, truth: Path) -> None:
        with pytest.raises(OutputError, match=r"mine\.gpkg"):
            evaluate(mine, truth, out=mine)
        with pytest.raises(OutputError, match="report"):
            evaluate(mine, truth, out=mine / "report")

    @pytest.mark.parametrize("stage", ["scoring pixels", "drawing"])
    def test_cancelling_leaves_nothing(self, stage: str, mine: Path, truth: Path, tmp_path: Path) -> None:
        self.refuse(Cancelled, "Cancelled", tmp_path, mine, truth, progress=Listener(stage))


@pytest.mark.data
class TestRealBuildings:
    def test_against_themselves(self, data_folder: Path) -> None:
        place = data_folder / "banepa_north"
        scores = evaluate(place / "buildings.gpkg", place / "buildings.gpkg", aoi=place / "aoi.geojson").as_dict()
        assert scores["crs"] == "EPSG:32645"
        assert scores["truth"] == 443
        assert {scores[name] for name in ("iou", "boundary_iou", "object_f1", "matched_iou", "vertex_ratio")} == {1}

    def test_shifted_by_half_a_metre(self, data_folder: Path, save: Callable[..., Path]) -> None:
        place = data_folder / "banepa_north"
        frame = gpd.read_file(place / "buildings.gpkg").to_crs("EPSG:32645")
        moved = frame.set_geometry(frame.translate(0.5))
        evaluation = evaluate(save("moved.gpkg", moved), place / "buildings.gpkg", aoi=place / "aoi.geojson")
        area = gpd.read_file(place / "aoi.geojson").to_crs("EPSG:32645").union_all()
        one, other = (layer.union_all().intersection(area) for layer in (moved, frame))
        expected = one.intersection(other).area / one.union(other).area
        assert evaluation.scores.pixels.iou == pytest.approx(expected, abs=1e-3)
        assert np.isclose(evaluation.scores.objects.f1, 1)


def test_layers_of_two_countries_are_refused_at_once(tmp_path: Path) -> None:
    here = gpd.GeoDataFrame(geometry=[shapely.box(680_000, 5_238_000, 680_010, 5_238_010)], crs="EPSG:25832")
    write_footprints(here, tmp_path / "here.gpkg")
    write_footprints(here.set_geometry(here.translate(900_000)), tmp_path / "there.gpkg")
    with pytest.raises(VectorError, match=r"lie 9\d\d km apart; check that both show the same place"):
        evaluate(tmp_path / "there.gpkg", tmp_path / "here.gpkg", out=tmp_path / "report")
    assert not (tmp_path / "report").exists()
