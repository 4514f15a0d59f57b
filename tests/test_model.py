from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geofootprint.errors import MissingDependencyError, MissingFileError, ModelError, OptionError
from geofootprint.model import METADATA_KEY, SCHEMA, WITHOUT_OFFSET, Model, ModelInfo, load_model, read_info

MakeModel = Callable[..., Path]

INFO = ModelInfo(
    name="test", bands=3, gsd=0.15, gsd_range=(0.1, 0.3), training=({"name": "here", "licence": "CC0"},), scores={"iou": 0.7}
)


def test_description_survives_a_round_trip() -> None:
    told = ModelInfo.from_json(INFO.to_json(), name="x.onnx", sha256="abc")
    assert told == replace(INFO, sha256="abc")
    assert json.loads(INFO.to_json())["schema"] == WITHOUT_OFFSET
    shifted = replace(INFO, scale={"int16": (500.0,) * 3}, offset={"int16": (-10.0, 0.0, 3.5)}, dtype="int16")
    assert ModelInfo.from_json(shifted.to_json(), name="x.onnx") == shifted
    # An older geofootprint would leave the offset out.
    assert json.loads(shifted.to_json())["schema"] == SCHEMA


def test_keys_of_later_versions_are_left_out() -> None:
    text = json.dumps(json.loads(INFO.to_json()) | {"colour_of_the_sky": "blue"})
    assert ModelInfo.from_json(text, name="x.onnx") == INFO


@pytest.mark.parametrize(
    "changes", [{"overlap": 400}, {"overlap": 64, "context": 32}, {"classes": ("tree",), "channels": ("building",)}]
)
def test_impossible_descriptions(changes: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="export it again"):
        ModelInfo.from_json(json.dumps(json.loads(INFO.to_json()) | changes), name="x.onnx")


def test_file_describes_itself(make_model: MakeModel) -> None:
    path = make_model(name="mine", threshold=0.4)
    info = read_info(path)
    assert (info.name, info.threshold, info.bands) == ("mine", 0.4, 3)
    assert info.scale == {"uint8": (255.0, 255.0, 255.0)}
    assert len(info.sha256) == 64
    assert info.sha256 != read_info(make_model(name="other")).sha256


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 33, 71)])
def test_probabilities_of_any_shape(make_model: MakeModel, backend: str, shape: tuple[int, int, int]) -> None:
    pytest.importorskip(backend)
    model = load_model(make_model(), device="cpu", backend=backend, threads=1)
    batch = np.random.default_rng(0).random((shape[0], 3, *shape[1:]), np.float32)
    expected = 1 / (1 + np.exp(4 - 12 * (batch[:, 0] - batch[:, 1])))
    given = model.predict(batch)
    assert given.dtype == np.float32
    assert given.shape == (shape[0], 2, *shape[1:])
    assert np.abs(given[:, 0] - expected).max() < 0.02
    assert backend.lower() in model.backend.lower()


def test_channels_are_found_by_their_names() -> None:
    info = replace(INFO, channels=("background", "building", "contour"))
    model = Model(info, lambda batch: np.arange(3, dtype=np.float32).reshape(1, 3, 1, 1) + 0 * batch)
    assert model.predict(np.zeros((1, 3, 2, 2), np.float32))[0, :, 0, 0].tolist() == [1, 2]


def test_wrong_number_of_bands(make_model: MakeModel) -> None:
    with pytest.raises(ModelError, match=r"\(N, 3, H, W\), not \(1, 4, 8, 8\)"):
        load_model(make_model()).predict(np.zeros((1, 4, 8, 8), np.float32))


def test_files_that_are_no_models(make_model: MakeModel, tmp_path: Path) -> None:
    good = make_model().read_bytes()
    path = tmp_path / "bad.onnx"
    for content in (b"", b"garbage" * 100, good[: len(good) // 2], good[:-1], b"\xff" * 50, b"\x89PNG\r\n" + b"\0" * 99):
        path.write_bytes(content)
        with pytest.raises(ModelError, match="no ONNX model or is damaged"):
            load_model(path)


def test_missing_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingFileError, match="nowhere"):
        load_model(tmp_path / "nowhere.onnx")
    with pytest.raises(MissingFileError, match="folder"):
        load_model(tmp_path)
    monkeypatch.setattr("geofootprint.model.DEFAULT_MODEL", tmp_path / "default.onnx")
    with pytest.raises(MissingFileError, match="default model"):
        load_model()


def test_onnx_without_our_description(make_model: MakeModel, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(make_model())
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(ModelError, match="does not say which images"):
        load_model(tmp_path / "foreign.onnx")


def test_newer_and_incomplete_descriptions(make_model: MakeModel, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    for text, message in (
        (json.dumps({"schema": SCHEMA + 1}), "newer geofootprint"),
        (json.dumps({"schema": SCHEMA, "name": "x"}), "incompletely"),
        ("[]", "incompletely"),
        ("no json", "incompletely"),
    ):
        model = onnx.load(make_model())
        del model.metadata_props[:]
        model.metadata_props.add(key=METADATA_KEY, value=text)
        onnx.save(model, tmp_path / "new.onnx")
        with pytest.raises(ModelError, match=message):
            load_model(tmp_path / "new.onnx")


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_operators_that_a_backend_does_not_know(make_model: MakeModel, tmp_path: Path, backend: str) -> None:
    pytest.importorskip(backend)
    onnx = pytest.importorskip("onnx")
    model = onnx.load(make_model())
    model.graph.node[1].op_type = "Frobnicate"
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(ModelError, match="cannot be run"):
        load_model(tmp_path / "odd.onnx", device="cpu", backend=backend).predict(np.zeros((1, 3, 8, 8), np.float32))


def test_impossible_options(make_model: MakeModel) -> None:
    path = make_model()
    with pytest.raises(OptionError, match="'tpu'"):
        load_model(path, device="tpu")
    with pytest.raises(OptionError, match="'tensorrt'"):
        load_model(path, backend="tensorrt")
    with pytest.raises(OptionError, match="threads"):
        load_model(path, threads=0)
    with pytest.raises(OptionError, match="CUDA"):
        load_model(path, device="cuda", backend="openvino")


def test_cuda_where_there_is_none(make_model: MakeModel) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime has CUDA here")
    with pytest.raises(MissingDependencyError, match="onnxruntime-gpu"):
        load_model(make_model(), device="cuda")


def test_onnxruntime_takes_over_where_openvino_is_missing(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr("geofootprint.model.find_spec", lambda _name: None)
    assert load_model(make_model()).backend == "onnxruntime on CPU"
    with pytest.raises(MissingDependencyError, match="install openvino"):
        load_model(make_model(), backend="openvino")


QUIET = """
import os, sys
calls = []
def watch(event, arguments):
    if event.split(".")[0] in ("socket", "subprocess", "os.system", "urllib", "http"):
        calls.append(event)
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        calls.append(f"write {arguments[0]}")
sys.addaudithook(watch)
import numpy
from geofootprint.model import load_model
model = load_model(sys.argv[1], device="cpu", backend=sys.argv[2], threads=1)
model.predict(numpy.zeros((1, 3, 32, 32), numpy.float32))
assert "torch" not in sys.modules and "onnx" not in sys.modules
print(calls)
"""


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_backends_call_nobody_and_write_nothing(make_model: MakeModel, tmp_path: Path, backend: str) -> None:
    pytest.importorskip(backend)
    home = tmp_path / "home"
    home.mkdir()
    names = ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
    # Both keep silent of themselves where they think a test or a build server runs them.
    inherited = {name: value for name, value in os.environ.items() if "CI" not in name and "ORT_" not in name}
    done = subprocess.run(
        [sys.executable, "-B", "-W", "error", "-c", QUIET, make_model(), backend],
        env={**inherited, **dict.fromkeys(names, str(home))}, cwd=home, capture_output=True, text=True, timeout=120, check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""
    assert list(home.rglob("*")) == []


def test_a_scale_must_fit_the_bands_and_the_type() -> None:
    with pytest.raises(ModelError, match="each of its 3 bands"):
        replace(INFO, scale={"uint8": (255.0,)})
    with pytest.raises(ModelError, match="scale of float32"):
        replace(INFO, dtype="float32", scale={})
