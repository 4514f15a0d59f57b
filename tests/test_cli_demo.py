"""The command: options to keywords, and a run whose files a person can open."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from models import write_toy_model

Run = Callable[..., Result]


def test_options_become_keywords(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from geofootprint import demo as module

    calls: list[dict[str, Any]] = []

    def spy(**options: Any) -> module.DemoResult:
        options.pop("progress")
        calls.append(options)
        return module.DemoResult("out", "i", "t", "b", "overview.png", "report.html", 7, 8, 0.9, 0.8, 2.0)

    monkeypatch.setattr(module, "demo", spy)
    result = run("demo")
    assert result.exit_code == 0
    assert "7 buildings found where 8 stand" in result.stdout
    assert "overview.png" in result.stdout
    every = ["-o", "a", "--seed", "4", "--size", "300", "--style", "rural", "-m", "b.onnx"]
    assert run("demo", *every).exit_code == 0
    assert calls == [{}, {"out": "a", "seed": 4, "size": 300, "style": "rural", "model": "b.onnx"}]


def test_run_and_json(run: Run, tmp_path: Path) -> None:
    toy = write_toy_model(tmp_path / "toy.onnx", threshold=0.05)
    result = run("demo", "-o", tmp_path / "demo", "--size", "256", "--seed", "5", "-m", toy, "--json")
    assert result.exit_code == 0, result.stderr
    fields = json.loads(result.stdout)
    assert Path(fields["overview"]).is_file()
    assert Path(fields["buildings"]).is_file()
    assert 0 <= fields["iou"] <= 1


def test_bad_option_is_one_sentence(run: Run, tmp_path: Path) -> None:
    result = run("demo", "-o", tmp_path / "demo", "--size", "10")
    assert result.exit_code == 2
    assert "256" in result.stderr
    assert list(tmp_path.iterdir()) == []
