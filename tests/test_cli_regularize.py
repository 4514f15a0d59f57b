from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
import shapely
from click.testing import Result

from geofootprint.clean import RegularizeResult

Run = Callable[..., Result]


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """Return a file with two houses."""
    boxes = [shapely.box(680_000 + x, 5_238_000, 680_010 + x, 5_238_008) for x in (0, 20)]
    gpd.GeoDataFrame({"street": ["a", "b"]}, geometry=boxes, crs="EPSG:25832").to_file(tmp_path / "drawn.gpkg")
    return tmp_path / "drawn.gpkg"


def test_options_reach_the_function(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def regularize(footprints: str, out: str, **options: Any) -> RegularizeResult:
        seen.update(options, footprints=footprints, out=out)
        return RegularizeResult(out, 3, 120.4, 500, 14, 0.6, 0.1)

    monkeypatch.setattr("geofootprint.clean.regularize", regularize)
    result = run("regularize", "p.shp", "-o", "a.gpkg", "--outline", "area", "--tolerance", 0.4, "--min-area", 5)
    assert result.exit_code == 0, result.output
    seen.pop("progress")
    assert seen == {"footprints": "p.shp", "out": "a.gpkg", "outline": "area", "tolerance": 0.4, "min_area": 5}
    assert "3 footprints with 14 instead of 500 vertices" in result.stdout
    seen.clear()
    run("regularize", "p.shp", "-o", "a.gpkg")
    assert set(seen) == {"footprints", "out", "progress"}


@pytest.mark.parametrize("name", ["a.gpkg", "a.shp", "a.geojson", "a.fgb", "a.parquet"])
def test_polygons_to_footprints_and_json(run: Run, drawn: Path, tmp_path: Path, name: str) -> None:
    result = run("regularize", drawn, "-o", tmp_path / name, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["count"], told["vertices_after"], told["out"]) == (2, 8, str(tmp_path / name))
    made = gpd.read_parquet(tmp_path / name) if name.endswith("parquet") else gpd.read_file(tmp_path / name)
    assert sorted(made["street"]) == ["a", "b"]
    assert made["area_m2"].tolist() == pytest.approx([80, 80], rel=0.01)


def test_progress_lines(run: Run, drawn: Path, tmp_path: Path) -> None:
    result = run("--progress", "json", "regularize", drawn, "-o", tmp_path / "a.gpkg")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert {"event": "progress", "stage": "regularize", "done": 1, "total": 1} in events
    assert events[-1]["event"] == "result"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["no.gpkg", "-o", "a.gpkg"], "no.gpkg does not exist"),
        (["{drawn}", "-o", "no/a.gpkg"], "folder"),
        (["{drawn}", "-o", "a.dxf"], "no known extension"),
        (["{drawn}", "-o", "{drawn}"], "another name"),
        (["{drawn}", "-o", "a.gpkg", "--tolerance", "0"], "tolerance"),
        (["{drawn}", "-o", "a.gpkg", "--outline", "raw"], "map, area"),
        (["{text}", "-o", "a.gpkg"], "damaged or of an unknown format"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    run: Run, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("regularize", *(part.format(drawn=drawn, text=__file__) for part in arguments))
    assert result.exit_code == 2
    assert text in result.stderr
    assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["drawn.gpkg"]
