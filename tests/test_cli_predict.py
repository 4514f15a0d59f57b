from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rasterio
from click.testing import Result

from geofootprint.predict import PredictResult

Run = Callable[..., Result]
MakeFile = Callable[..., Path]


def test_options_reach_the_function(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def predict(image: str, out: str, **options: Any) -> PredictResult:
        seen.update(options, image=image, out=out)
        return PredictResult(out, 3, 2, 0.15, ("building",), "m", 1.0, 0.1)

    monkeypatch.setattr("geofootprint.predict.predict", predict)
    result = run(
        "predict", "a.tif", "-o", "p.tif", "-m", "m.onnx", "--aoi", "a.gpkg", "--bounds", 1, 2, 3, 4, "--tta", "--device", "cpu"
    )
    assert result.exit_code == 0, result.output
    seen.pop("progress")
    assert seen == {
        "image": "a.tif", "out": "p.tif", "model": "m.onnx", "aoi": "a.gpkg", "bounds": (1, 2, 3, 4), "tta": True,
        "device": "cpu",
    }
    assert "3 x 2 px" in result.stdout
    seen.clear()
    run("predict", "a.tif", "-o", "p.tif")
    assert set(seen) == {"image", "out", "progress", "tta"}


def test_probabilities_and_json(run: Run, make_image: MakeFile, make_model: MakeFile, tmp_path: Path) -> None:
    out = tmp_path / "p.tif"
    result = run("predict", make_image(size=(100, 80)), "-o", out, "-m", make_model(), "--device", "cpu", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["out"], told["width"], told["height"], told["model"]) == (str(out), 80, 100, "toy")
    with rasterio.open(out) as dataset:
        assert dataset.count == 2


def test_progress_lines(run: Run, make_image: MakeFile, make_model: MakeFile, tmp_path: Path) -> None:
    image = make_image(size=(100, 80))
    result = run("--progress", "json", "predict", image, "-o", tmp_path / "p.tif", "-m", make_model(), "--device", "cpu")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert events[0]["event"] == "start"
    assert {"event": "progress", "stage": "predict", "done": 4, "total": 4} in events
    assert events[-1]["event"] == "result"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no image", "does not exist"),
        ("no model", "does not exist"),
        ("model is an image", "no ONNX model"),
        ("uint16", "uint16"),
        ("one band", "1 colour band"),
        ("outside", "miss"),
        ("no folder", "does not exist"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    run: Run, make_image: MakeFile, make_model: MakeFile, tmp_path: Path, kind: str, message: str
) -> None:
    image = make_image(dtype="uint16" if kind == "uint16" else "uint8", bands=1 if kind == "one band" else 3)
    out = tmp_path / ("no" if kind == "no folder" else "") / "p.tif"
    model: Path | str = make_model()
    extra: tuple[Any, ...] = ("--bounds", 0, 0, 1, 1) if kind == "outside" else ()
    if kind == "no image":
        image = tmp_path / "none.tif"
    elif kind == "no model":
        model = tmp_path / "none.onnx"
    elif kind == "model is an image":
        model = image
    before = set(tmp_path.iterdir())
    result = run("predict", image, "-o", out, "-m", model, *extra)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert set(tmp_path.iterdir()) == before
