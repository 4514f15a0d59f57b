from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
from click.testing import Result

from geofootprint.vectorize import VectorizeResult

Run = Callable[..., Result]
MakeImage = Callable[..., Path]


@pytest.fixture
def mask(make_image: MakeImage) -> Path:
    pixels = np.zeros((1, 100, 100), np.uint8)
    pixels[:, 10:50, 10:60] = pixels[:, 60:90, 10:60] = 1
    return make_image("mask.tif", pixels=pixels)


def test_options_reach_the_function(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def vectorize(probabilities: str, out: str, **options: Any) -> VectorizeResult:
        seen.update(options, probabilities=probabilities, out=out)
        return VectorizeResult(out, 3, 120.4, 0.5, 0.1)

    monkeypatch.setattr("geofootprint.vectorize.vectorize", vectorize)
    said = ["--threshold", 0.4, "--min-area", 5, "--outline", "raw", "--full-scale", 100]
    result = run("vectorize", "p.tif", "-o", "a.gpkg", *said)
    assert result.exit_code == 0, result.output
    seen.pop("progress")
    wanted = {"threshold": 0.4, "min_area": 5, "outline": "raw", "full_scale": 100}
    assert seen == {"probabilities": "p.tif", "out": "a.gpkg", **wanted}
    assert "3 buildings, 120 m²" in result.stdout
    seen.clear()
    run("vectorize", "p.tif", "-o", "a.gpkg")
    assert set(seen) == {"probabilities", "out", "progress"}


def test_mask_to_footprints_and_json(run: Run, mask: Path, tmp_path: Path) -> None:
    result = run("vectorize", mask, "-o", tmp_path / "a.shp", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["count"], told["out"]) == (2, str(tmp_path / "a.shp"))
    assert len(gpd.read_file(tmp_path / "a.shp")) == 2


def test_percent_is_asked_for(run: Run, make_image: MakeImage, tmp_path: Path) -> None:
    pixels = np.zeros((1, 100, 100), np.uint8)
    pixels[:, 10:50, 10:60] = 90
    pixels[:, 60:70, 10:60] = 30
    path = make_image("percent.tif", pixels=pixels)
    refused = run("vectorize", path, "-o", tmp_path / "a.gpkg")
    assert refused.exit_code == 2
    assert "--full-scale" in refused.stderr
    result = run("vectorize", path, "-o", tmp_path / "a.gpkg", "--full-scale", 100, "--json")
    assert json.loads(result.stdout)["count"] == 1


def test_progress_lines(run: Run, mask: Path, tmp_path: Path) -> None:
    result = run("--progress", "json", "vectorize", mask, "-o", tmp_path / "a.gpkg")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert {"event": "progress", "stage": "vectorize", "done": 1, "total": 1} in events
    assert events[-1]["event"] == "result"
    assert events[-1]["count"] == 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["no.tif", "-o", "a.gpkg"], "no.tif does not exist"),
        (["{mask}", "-o", "no/a.gpkg"], "folder"),
        (["{mask}", "-o", "a.dxf"], "no known extension"),
        (["{mask}", "-o", "a.gpkg", "--threshold", "7"], "threshold"),
        (["{mask}", "-o", "a.gpkg", "--outline", "round"], "map, area, raw"),
        (["{text}", "-o", "a.gpkg"], "damaged or of an unknown format"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    run: Run, mask: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("vectorize", *(part.format(mask=mask, text=__file__) for part in arguments))
    assert result.exit_code == 2
    assert text in result.stderr
    assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mask.tif"]
