from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs geofootprint[train]")

from geofootprint.errors import OptionError  # noqa: E402
from geofootprint.learning import devices  # noqa: E402
from geofootprint.learning.devices import is_first_process, make_fabric  # noqa: E402


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_a_gpu_that_is_not_there(no_gpu: None) -> None:
    with pytest.raises(OptionError, match="No CUDA device is available here; use --device cpu"):
        make_fabric(device="cuda")
    assert make_fabric(device="auto").device.type == "cpu"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "no device 'gpu'; use auto, cpu or cuda"),
        ({"precision": "64"}, "no precision '64'; use auto, 32, bf16 or 16"),
        ({"device": "cpu", "precision": "16"}, "CPUs do not train in 16-bit floats"),
        ({"device": "cpu", "devices": 0}, "--devices must be at least 1, not 0"),
    ],
)
def test_what_cannot_be(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make_fabric(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("precision", "inside"), [("32", torch.float32), ("bf16", torch.bfloat16)])
def test_precision_is_said_to_nobody(
    precision: str, inside: object, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    fabric = make_fabric(device="cpu", precision=precision)
    with fabric.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == inside
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


@pytest.mark.parametrize(("computes", "inside"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_asks_the_hardware(monkeypatch: pytest.MonkeyPatch, computes: bool, inside: object) -> None:
    monkeypatch.setattr(devices, "_computes_bf16", lambda accelerator: computes)
    with make_fabric(device="cpu").autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == inside


def test_this_process_is_the_first() -> None:
    assert is_first_process()
