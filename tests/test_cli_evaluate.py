"""The command: options to keywords, what it prints, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
import shapely
from click.testing import Result

from geofootprint.vector import write_footprints

Run = Callable[..., Result]


def write_houses(path: Path, shift: float = 0.0) -> Path:
    boxes = [shapely.box(680_000 + 20 * i + shift, 5_238_000, 680_010 + 20 * i + shift, 5_238_010) for i in range(3)]
    write_footprints(gpd.GeoDataFrame(geometry=boxes, crs="EPSG:25832"), path)
    return path


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    return write_houses(tmp_path / "truth.gpkg")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return write_houses(tmp_path / "mine.gpkg", 1.5)


def test_options_become_keywords(run: Run, truth: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from geofootprint import evaluate as module

    calls: list[tuple[Any, ...]] = []
    real = module.evaluate

    def spy(*paths: Any, **options: Any) -> Any:
        options.pop("progress")
        calls.append((*paths, options))
        return real(truth, truth)

    monkeypatch.setattr(module, "evaluate", spy)
    assert run("evaluate", "a", "b").exit_code == 0
    every = ["--aoi", "c", "--image", "d", "--gsd", "0.3", "-o", "e", "--fail-under", "iou=0.8", "--fail-under", "f1=.5"]
    assert run("evaluate", "a", "b", *every).exit_code == 0
    marks = {"iou": 0.8, "f1": 0.5}
    assert calls == [
        ("a", "b", {}),
        ("a", "b", {"aoi": "c", "image": "d", "gsd": 0.3, "out": "e", "fail_under": marks}),
    ]


def test_prints_scores_alone_without_out(run: Run, mine: Path, truth: Path, tmp_path: Path) -> None:
    result = run("evaluate", mine, truth)
    assert result.exit_code == 0
    assert "IoU 0.739" in result.stdout  # 57 of 67 + 10 columns of pixels
    assert "3 true, 3 predicted, 3 pairs" in result.stdout
    assert {file.name for file in tmp_path.iterdir()} == {"mine.gpkg", "truth.gpkg"}


def test_report_and_json(run: Run, mine: Path, truth: Path, tmp_path: Path) -> None:
    result = run("evaluate", mine, truth, "-o", tmp_path / "report", "--json")
    assert result.exit_code == 0
    fields = json.loads(result.stdout)
    assert fields["iou"] == pytest.approx(0.739, abs=2e-3)
    assert fields == json.loads((tmp_path / "report" / "scores.json").read_text())
    assert (tmp_path / "report" / "report.html").is_file()


def test_missed_mark_is_exit_code_2_after_the_result(run: Run, mine: Path, truth: Path, tmp_path: Path) -> None:
    result = run("evaluate", mine, truth, "-o", tmp_path / "report", "--fail-under", "iou=0.8", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["failed"]
    assert "below the mark of 0.8" in result.stderr
    assert "defect" not in result.stderr
    assert (tmp_path / "report" / "scores.json").is_file()


def test_reached_mark_is_exit_code_0(run: Run, truth: Path) -> None:
    assert run("evaluate", truth, truth, "--fail-under", "iou=1", "--fail-under", "object_f1=1").exit_code == 0


@pytest.mark.parametrize("mark", ["iou", "iou=high", "iuo=0.8", "iou=80"])
def test_impossible_marks(mark: str, run: Run, truth: Path) -> None:
    result = run("evaluate", truth, truth, "--fail-under", mark)
    assert result.exit_code == 2
    assert "fail-under" in result.stderr


def test_missing_file_is_one_sentence(run: Run, truth: Path) -> None:
    result = run("evaluate", "nowhere.gpkg", truth)
    assert result.exit_code == 2
    assert result.stderr.strip() == "Error: nowhere.gpkg does not exist; check the path of the vector file."
    assert result.stdout == ""


def test_json_lines(run: Run, mine: Path, truth: Path) -> None:
    result = run("--progress", "json", "evaluate", mine, truth)
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert events[0]["event"] == "start"
    assert events[-1]["event"] == "result"
    assert {event["stage"] for event in events[1:-1]} == {"scoring pixels"}
