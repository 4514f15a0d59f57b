from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

pytest.importorskip("torch", reason="needs geofootprint[train]")

from geofootprint.learning.export import ExportResult

Run = Callable[..., Result]


def test_options_reach_the_function(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def export(checkpoint: str, out: str, **options: Any) -> ExportResult:
        seen.update(options, checkpoint=checkpoint, out=out)
        return ExportResult(out, "m", "abc", 1.5, 2e-7, 0.1)

    monkeypatch.setattr("geofootprint.learning.export.export", export)
    result = run(
        "export", "best.ckpt", "-o", "m.onnx", "--name", "alps", "--licence", "CC0", "--source", "Innsbruck", "CC BY 4.0",
        "--source", "Wien", "CC0", "--threshold", 0.4, "--patch", 256, "--overlap", 32, "--half", "--deepness", "--json",
    )
    assert result.exit_code == 0, result.output
    seen.pop("progress")
    assert seen == {
        "checkpoint": "best.ckpt", "out": "m.onnx", "name": "alps", "licence": "CC0",
        "sources": (("Innsbruck", "CC BY 4.0"), ("Wien", "CC0")), "threshold": 0.4, "patch": 256, "overlap": 32,
        "half": True, "deepness": True,
    }
    assert json.loads(result.stdout)["parity"] == 2e-7
    seen.clear()
    run("export", "best.ckpt", "-o", "m.onnx")
    assert set(seen) == {"checkpoint", "out", "progress", "half", "deepness"}


def test_bad_input_is_one_sentence_and_exit_code_2(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.ckpt").write_bytes(b"nothing")
    for checkpoint, message in (("none.ckpt", "does not exist"), ("bad.ckpt", "not a checkpoint")):
        result = run("export", tmp_path / checkpoint, "-o", tmp_path / "m.onnx")
        assert result.exit_code == 2
        assert message in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bad.ckpt"]
