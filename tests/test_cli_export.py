from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

pytest.importorskip("torch", reason="needs geofootprint[train]")

from geofootprint.learning.export import ExportResult
from geofootprint.learning.quantization import QuantizationLoss

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
        "--int8", "a", "--int8", "b", "--max-loss", 0.02,
    )
    assert result.exit_code == 0, result.output
    seen.pop("progress")
    assert seen == {
        "checkpoint": "best.ckpt", "out": "m.onnx", "name": "alps", "licence": "CC0",
        "sources": (("Innsbruck", "CC BY 4.0"), ("Wien", "CC0")), "threshold": 0.4, "patch": 256, "overlap": 32,
        "half": True, "deepness": True, "int8": ("a", "b"), "max_loss": 0.02,
    }
    assert json.loads(result.stdout)["parity"] == 2e-7
    seen.clear()
    run("export", "best.ckpt", "-o", "m.onnx")
    assert set(seen) == {"checkpoint", "out", "progress", "half", "deepness"}


def test_loss_of_8_bits_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = QuantizationLoss(0.7816, 0.781, 0.2, 0.003, 10**6)
    result = ExportResult("m.onnx", "m", "abc", 4.5, 2e-7, 9.0, loss)
    monkeypatch.setattr("geofootprint.learning.export.export", lambda *_, **__: result)
    assert "In 8 bits, IoU 0.7810 instead of 0.7816." in run("export", "best.ckpt", "-o", "m.onnx", "--int8", "a").output
    fields = json.loads(run("export", "best.ckpt", "-o", "m.onnx", "--int8", "a", "--json").stdout)
    assert fields["quantization"]["iou"] == 0.781


def test_bad_input_is_one_sentence_and_exit_code_2(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.ckpt").write_bytes(b"nothing")
    for checkpoint, message in (("none.ckpt", "does not exist"), ("bad.ckpt", "not a checkpoint")):
        result = run("export", tmp_path / checkpoint, "-o", tmp_path / "m.onnx")
        assert result.exit_code == 2
        assert message in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bad.ckpt"]
