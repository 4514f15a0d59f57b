from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
from click.testing import Result
from models import paint_roofs

from geofootprint.segment import SegmentResult

Run = Callable[..., Result]
MakeFile = Callable[..., Path]


@pytest.fixture
def image(make_image: MakeFile) -> Path:
    return make_image(pixels=paint_roofs((200, 200), [(20, 20, 80, 100), (120, 50, 180, 140)]))


def test_options_reach_the_function(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def segment(image: str, out: str, **options: Any) -> SegmentResult:
        seen.update(options, image=image, out=out)
        return SegmentResult(out, 3, 120.4, 0.5, "m 0123", 0.1)

    monkeypatch.setattr("geofootprint.segment.segment", segment)
    result = run(
        "segment", "a.tif", "-o", "a.gpkg", "-m", "m.onnx", "--aoi", "b.gpkg", "--bounds", 1, 2, 3, 4, "--threshold", 0.4,
        "--min-area", 5, "--outline", "area", "--tta", "--device", "cpu",
    )
    assert result.exit_code == 0, result.output
    seen.pop("progress")
    assert seen == {
        "image": "a.tif", "out": "a.gpkg", "model": "m.onnx", "aoi": "b.gpkg", "bounds": (1, 2, 3, 4), "threshold": 0.4,
        "min_area": 5, "outline": "area", "tta": True, "device": "cpu",
    }
    assert "3 buildings, 120 m²" in result.stdout
    seen.clear()
    run("segment", "a.tif", "-o", "a.gpkg")
    assert set(seen) == {"image", "out", "progress", "tta"}


def test_orthophoto_to_footprints(run: Run, image: Path, make_model: MakeFile, tmp_path: Path) -> None:
    out = tmp_path / "a.gpkg"
    result = run("segment", image, "-o", out, "-m", make_model(), "--device", "cpu", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["count"] == len(gpd.read_file(out)) == 2
    assert told["area_m2"] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gpkg", "image.tif"]


def test_dry_run_writes_nothing(run: Run, image: Path, make_model: MakeFile, tmp_path: Path) -> None:
    arguments = ("segment", image, "-o", tmp_path / "a.gpkg", "-m", make_model(), "--device", "cpu", "--dry-run")
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "200 x 200 px" in result.stdout
    assert "Nothing was written" in result.stdout
    assert json.loads(run(*arguments, "--json").stdout)["patches"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["image.tif"]


def test_progress_lines(run: Run, image: Path, make_model: MakeFile, tmp_path: Path) -> None:
    result = run("--progress", "json", "segment", image, "-o", tmp_path / "a.gpkg", "-m", make_model(), "--device", "cpu")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert events[0]["event"] == "start"
    assert [event["stage"] for event in events if event["event"] == "progress"][-1] == "vectorize"
    assert events[-1]["event"] == "result"
    assert events[-1]["count"] == 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["no.tif", "-o", "a.gpkg"], "no.tif does not exist"),
        (["{image}", "-o", "no/a.gpkg"], "folder"),
        (["{image}", "-o", "a.dxf"], "no known extension"),
        (["{image}", "-o", "a.gpkg", "-m", "no.onnx"], "no.onnx"),
        (["{image}", "-o", "a.gpkg", "-m", "{image}"], "no ONNX model"),
        (["{image}", "-o", "a.gpkg", "--threshold", "7"], "threshold"),
        (["{image}", "-o", "a.gpkg", "--bounds", "1", "2", "3", "4"], "miss"),
        (["{image}", "-o", "a.gpkg", "--aoi", "no.gpkg"], "no.gpkg"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    run: Run, image: Path, make_model: MakeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    model = [] if "-m" in arguments else ["-m", str(make_model())]
    result = run("segment", *(part.format(image=image) for part in arguments), *model, "--device", "cpu")
    assert result.exit_code == 2
    assert text in result.stderr
    assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["image.tif"]


def test_warnings_reach_the_user(run: Run, make_image: MakeFile, make_model: MakeFile, tmp_path: Path) -> None:
    pixels = np.concatenate([paint_roofs((100, 100), []), np.full((1, 100, 100), 9, np.uint8)])
    image = make_image("nir.tif", pixels=pixels, photometric="RGB", alpha="NO")
    result = run("segment", image, "-o", tmp_path / "a.gpkg", "-m", make_model(), "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "left out" in result.stderr
    assert "No building" in result.stderr
