"""The command: options to keywords, what it prints, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rasterio
from click.testing import Result

from geofootprint import labels
from geofootprint.labels import LabelsResult

Run = Callable[..., Result]


def test_options_become_keywords(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    def spy(*paths: Any, **options: Any) -> LabelsResult:
        options.pop("progress")
        calls.append((*paths, options))
        return LabelsResult("out.tif", ("out.tif",), 12, 0.25)

    monkeypatch.setattr(labels, "rasterize_labels", spy)
    result = run("rasterize-labels", "b.gpkg", "a.tif", "-o", "out.tif")
    assert result.output == "out.tif: 1 label raster(s) of 12 footprints, 25.0% building.\n"
    every = ["--scheme", "channels", "--contour-width", "3", "--all-touched"]
    assert run("rasterize-labels", "b.gpkg", "a.tif", "c.tif", "-o", "out", *every).exit_code == 0
    assert calls == [
        ("b.gpkg", ["a.tif"], "out.tif", {"all_touched": False}),
        ("b.gpkg", ["a.tif", "c.tif"], "out", {"scheme": "channels", "contour_width": 3, "all_touched": True}),
    ]


def test_labels_are_made(run: Run, tmp_path: Path, make_image: Callable[..., Path], houses: Path) -> None:
    out = tmp_path / "labels.tif"
    result = run("rasterize-labels", houses, make_image(), "-o", out, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "out": str(out), "labels": [str(out)], "footprints": 4, "building_share": pytest.approx(0.095, abs=0.01),
    }
    with rasterio.open(out) as dataset:
        assert set(dataset.read(1).ravel()) == {0, 1, 2}


def test_progress_is_json_lines(run: Run, tmp_path: Path, make_image: Callable[..., Path], houses: Path) -> None:
    result = run("--progress", "json", "rasterize-labels", houses, make_image(), "-o", tmp_path / "labels.tif")
    events = [json.loads(line)["event"] for line in result.stdout.splitlines()]
    assert events[0] == "start"
    assert "progress" in events
    assert events[-1] == "result"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["none.gpkg", "image.tif", "-o", "labels.tif"], "none.gpkg does not exist"),
        (["houses.gpkg", "none.tif", "-o", "labels.tif"], "none.tif does not exist"),
        (["houses.gpkg", "image.tif", "-o", "none/labels.tif"], "does not exist; make it first"),
        (["houses.gpkg", "image.tif", "-o", "labels.png"], "give a .tif file for one image"),
        (["houses.gpkg", "image.tif", "-o", "labels.tif", "--scheme", "edges"], "'edges' is unknown"),
        (["image.tif", "image.tif", "-o", "labels.tif"], "cannot be read as a vector file"),
        (["houses.gpkg", "houses.gpkg", "-o", "labels.tif"], "cannot be read as a raster"),
    ],
)
def test_what_the_user_can_mend_is_one_sentence(
    run: Run, tmp_path: Path, make_image: Callable[..., Path], houses: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    make_image()
    result = run("rasterize-labels", *arguments)
    assert result.exit_code == 2
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["houses.gpkg", "image.tif"]


def test_an_image_is_not_replaced_by_its_labels(run: Run, tmp_path: Path, make_image: Callable[..., Path], houses: Path) -> None:
    image = make_image()
    before = image.read_bytes()
    result = run("rasterize-labels", houses, image, "-o", image)
    assert result.exit_code == 2
    assert "give the result another name" in result.stderr
    assert image.read_bytes() == before
