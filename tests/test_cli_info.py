from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from geofootprint.info import info


def test_json(run: Callable[..., Result]) -> None:
    result = run("info", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == info()


def test_a_model_file(run: Callable[..., Result], make_model: Callable[..., Path]) -> None:
    model = make_model(name="of Tyrol")
    assert json.loads(run("info", "--model", str(model), "--json").stdout)["model"]["name"] == "of Tyrol"
    assert "\nmodel: of Tyrol (" in run("info", "--model", str(model)).stdout


def test_a_wrong_model_file(run: Callable[..., Result]) -> None:
    result = run("info", "--model", "none.onnx")
    assert result.exit_code == 2
    assert "none.onnx does not exist" in result.stderr


def test_sentences(run: Callable[..., Result]) -> None:
    result = run("info")
    assert result.exit_code == 0
    assert "geofootprint " in result.stdout
    assert "GDAL" in result.stdout
    assert "can train: " in result.stdout
