"""The command: options to keywords, what it prints, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from geofootprint import tiling
from geofootprint.tiling import TileResult

Run = Callable[..., Result]


def test_options_become_keywords(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    def spy(*paths: Any, **options: Any) -> TileResult:
        options.pop("progress")
        calls.append((*paths, options))
        return TileResult("out", 10, 8, 1, 1, 0, 0.15, 0.3)

    monkeypatch.setattr(tiling, "tile", spy)
    result = run("tile", "a.tif", "--footprints", "b.gpkg", "-o", "out")
    assert result.output == "out: 10 tiles (8 train, 1 val, 1 test) at 0.150 m, 30.0% building.\n"
    every = [
        "--size", "128", "--overlap", "16", "--gsd", "0.2", "--recipe", "tirol", "--split", "0.7,0.2,0.1", "--block",
        "300", "--min-density", "0.05", "--aoi", "c.geojson", "--contour-width", "3", "--seed", "7",
    ]
    assert run("tile", "a.tif", "d.tif", "--footprints", "b.gpkg", "-o", "out", *every).exit_code == 0
    assert calls == [
        (["a.tif"], "b.gpkg", "out", {}),
        (
            ["a.tif", "d.tif"], "b.gpkg", "out",
            {
                "size": 128, "overlap": 16, "gsd": 0.2, "recipe": "tirol", "split": (0.7, 0.2, 0.1), "block": 300.0,
                "min_density": 0.05, "aoi": "c.geojson", "contour_width": 3, "seed": 7,
            },
        ),
    ]


def test_a_dataset_is_made(run: Run, tmp_path: Path, make_image: Callable[..., Path], houses: Path) -> None:
    out = tmp_path / "a" / "tiles"
    result = run("tile", make_image(), "--footprints", houses, "-o", out, "--size", "128", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["tiles"] == 4
    assert (out / "index.parquet").is_file()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--split", "80,10"], "three shares"),
        (["--split", "most"], "is not a list of shares"),
        (["--size", "0"], "at least 16 px"),
        (["--gsd", "0"], "more than 0 m"),
    ],
)
def test_what_the_user_can_mend_is_one_sentence(
    run: Run, tmp_path: Path, make_image: Callable[..., Path], houses: Path, options: list[str], text: str
) -> None:
    result = run("tile", make_image(), "--footprints", houses, "-o", tmp_path / "tiles", *options)
    assert result.exit_code == 2
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "tiles").exists()


def test_an_image_must_be_named(run: Run) -> None:
    assert run("tile", "--footprints", "b.gpkg", "-o", "out").exit_code == 2
