from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from geofootprint._version import __version__
from geofootprint.errors import MissingFileError
from geofootprint.info import PACKAGES, info
from geofootprint.progress import PROTOCOL


def test_versions() -> None:
    facts = info()
    assert facts["geofootprint"] == __version__
    assert facts["protocol"] == PROTOCOL
    assert set(facts["versions"]) == {*PACKAGES, "GDAL", "GEOS", "PROJ"}
    assert facts["versions"]["GDAL"].count(".") >= 2
    assert facts["devices"][0] == "cpu"
    assert json.loads(json.dumps(facts)) == facts


def test_default_model(make_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geofootprint.model.DEFAULT_MODEL", make_model(name="mine"))
    assert info()["model"]["name"] == "mine"
    assert len(info()["model"]["sha256"]) == 64
    monkeypatch.setattr("geofootprint.model.DEFAULT_MODEL", tmp_path / "none.onnx")
    assert info()["model"] is None


def test_a_model_file_is_described(make_model: Callable[..., Path], tmp_path: Path) -> None:
    assert info(make_model(name="of Tyrol"))["model"]["name"] == "of Tyrol"
    with pytest.raises(MissingFileError, match=r"none\.onnx does not exist"):
        info(tmp_path / "none.onnx")


def test_what_is_missing_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geofootprint.info.TRAINING", ("no_such_module",))
    monkeypatch.setattr("geofootprint.info.PACKAGES", ("no-such-distribution",))
    facts = info()
    assert facts["versions"]["no-such-distribution"] is None
    assert facts["can_train"] is False


def test_nothing_heavy_is_loaded() -> None:
    code = "import sys; from geofootprint.info import info; info(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert not {"torch", "openvino", "onnxruntime", "onnx", "geopandas", "cv2", "lightning_fabric"} & set(loaded)
