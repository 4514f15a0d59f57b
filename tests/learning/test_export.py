from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs geofootprint[train]")
onnx = pytest.importorskip("onnx", reason="needs geofootprint[train]")
pytest.importorskip("onnxscript", reason="needs geofootprint[train]")

from torch import nn  # noqa: E402

from geofootprint.config import PRESETS, GeneratorConfig, to_dict  # noqa: E402
from geofootprint.errors import MissingFileError, ModelError, OptionError, OutputError  # noqa: E402
from geofootprint.learning.checkpoint import save_checkpoint  # noqa: E402
from geofootprint.learning.export import ExportResult, export, export_network, fold_batch_norm  # noqa: E402
from geofootprint.learning.networks import build_generator  # noqa: E402
from geofootprint.model import ModelInfo, load_model, read_info  # noqa: E402

CONFIG = to_dict(PRESETS["footprint"]) | {"generator": {"name": "unet", "width": 4}}


def stir(network: nn.Module) -> nn.Module:
    """Give batch normalisation the statistics of noise, and parameters that matter."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    with torch.no_grad():
        network.train()(torch.rand(4, 3, 256, 256))
    return network.eval()


@pytest.fixture(scope="module")
def generator() -> nn.Module:
    torch.manual_seed(0)
    return stir(build_generator(GeneratorConfig(width=4), 3, 2))


@pytest.fixture(scope="module")
def checkpoint(generator: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "innsbruck" / "best.ckpt"
    path.parent.mkdir()
    wrong = {name: torch.zeros_like(value) for name, value in generator.state_dict().items()}
    save_checkpoint(path, {
        "config": CONFIG,
        "networks": {"generator": wrong, "generator_ema": generator.state_dict()},
        "score": {"iou": 0.71, "threshold": 0.45},
        "data": {"bands": 3, "dtype": "uint8", "gsd": 0.15, "classes": ["building", "contour"], "sources": ["a.tif"]},
    })
    return path


@pytest.fixture(scope="module")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExportResult]:
    out = tmp_path_factory.mktemp("exported") / "model.onnx"
    return out, export(checkpoint, out, licence="CC BY 4.0", sources=[("Innsbruck", "CC BY 4.0")])


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("shape", [(1, 128, 128), (2, 65, 97), (1, 31, 200)])
def test_file_computes_what_torch_does(
    exported: tuple[Path, ExportResult], generator: nn.Module, backend: str, shape: tuple[int, int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip(backend)
    monkeypatch.setattr("geofootprint.model._bfloat16_pays", lambda: False)
    batch = np.random.default_rng(0).random((shape[0], 3, *shape[1:]), np.float32)
    with torch.inference_mode():
        expected = torch.sigmoid(generator(torch.from_numpy(batch))).numpy()
    assert expected.std() > 0.02
    given = load_model(exported[0], device="cpu", backend=backend, threads=1).predict(batch)
    assert given.shape == expected.shape
    assert np.abs(given - expected).max() <= 1e-4


def test_result_and_description(exported: tuple[Path, ExportResult]) -> None:
    path, result = exported
    info = read_info(path)
    assert result.parity <= 1e-4
    assert result.sha256 == info.sha256
    assert result.megabytes == pytest.approx(path.stat().st_size / 1e6, abs=0.001)
    assert (info.name, info.bands, info.gsd, info.dtype) == ("innsbruck", 3, 0.15, "uint8")
    assert info.gsd_range == (0.1005, 0.3)
    assert info.threshold == 0.45
    assert info.classes == info.channels == ("building", "contour")
    assert info.scores == {"iou": 0.71, "threshold": 0.45}
    assert info.training == ({"name": "Innsbruck", "licence": "CC BY 4.0"},)
    assert (info.licence, info.preset, info.version) == ("CC BY 4.0", "footprint", "0.1.0")
    assert len(info.config_hash) == 64


def test_file_is_clean_onnx(exported: tuple[Path, ExportResult]) -> None:
    model = onnx.load(exported[0])
    onnx.checker.check_model(model, full_check=True)
    assert next(entry.version for entry in model.opset_import if entry.domain == "") >= 17
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    sizes = [axis.dim_param or axis.dim_value for axis in model.graph.output[0].type.tensor_type.shape.dim]
    assert sizes == ["batch", 2, "height", "width"]
    assert str(Path(__file__).parents[2]).encode() not in exported[0].read_bytes()
    keys = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(keys["model_type"]) == "Segmentor"
    assert json.loads(keys["class_names"]) == {"0": "building", "1": "contour"}
    assert json.loads(keys["resolution"]) == 15.0
    assert json.loads(keys["tiles_overlap"]) == 17


def test_weights_of_16_bits(
    exported: tuple[Path, ExportResult], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geofootprint.model._bfloat16_pays", lambda: False)
    result = export(checkpoint, tmp_path / "half.onnx", half=True)
    assert result.parity <= 1e-4
    assert result.megabytes < 0.6 * exported[1].megabytes
    batch = np.random.default_rng(0).random((1, 3, 96, 96), np.float32)
    for backend in ("openvino", "onnxruntime"):
        pytest.importorskip(backend)
        full, half = (
            load_model(path, device="cpu", backend=backend, threads=1).predict(batch)
            for path in (exported[0], tmp_path / "half.onnx")
        )
        assert 0 < np.abs(full - half).max() < 5e-3


def test_file_for_deepness(exported: tuple[Path, ExportResult], checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "deepness.onnx"
    export(checkpoint, path, deepness=True, patch=128, overlap=32)
    model = onnx.load(path)
    assert [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 128, 128]
    keys = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(keys["class_names"]) == {"0": "background", "1": "building", "2": "contour"}
    batch = np.random.default_rng(0).random((1, 3, 128, 128), np.float32)
    given, expected = (load_model(file, device="cpu").predict(batch) for file in (path, exported[0]))
    assert given.shape == (1, 2, 128, 128)
    assert np.abs(given - expected).max() < 0.03


def test_bad_input(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    with pytest.raises(MissingFileError, match="nowhere"):
        export(tmp_path / "nowhere.ckpt", out)
    with pytest.raises(OptionError, match=r"\.onnx"):
        export(checkpoint, tmp_path / "model.pt")
    with pytest.raises(OptionError, match="threshold"):
        export(checkpoint, out, threshold=1.5)
    with pytest.raises(OutputError, match="does not exist"):
        export(checkpoint, tmp_path / "no" / "model.onnx")
    with pytest.raises(ModelError, match="overlap"):
        export(checkpoint, out, overlap=500)
    (tmp_path / "bad.ckpt").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"bad\.ckpt"):
        export(tmp_path / "bad.ckpt", out)
    assert not out.exists()


@pytest.mark.parametrize("broken", [{"config": {}}, {"networks": {"generator": {}}}, {"data": {"bands": 4}}])
def test_checkpoint_that_contradicts_itself(checkpoint: Path, tmp_path: Path, broken: dict[str, Any]) -> None:
    state = torch.load(checkpoint, weights_only=True)
    if "data" in broken:
        broken = {"data": state["data"] | broken["data"]}
    torch.save(state | broken, tmp_path / "odd.ckpt")
    with pytest.raises(ModelError, match=r"odd\.ckpt does not hold the generator"):
        export(tmp_path / "odd.ckpt", tmp_path / "model.onnx")


def test_a_file_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geofootprint.learning.export.TOLERANCE", -1.0)
    info = ModelInfo(name="x", bands=3, gsd=0.15, gsd_range=(0.1, 0.3), patch=64, overlap=16, context=4)
    with pytest.raises(ModelError, match="differ from torch"):
        export_network(nn.Conv2d(3, 2, 1), info, tmp_path / "model.onnx", deepness=True)
    assert list(tmp_path.iterdir()) == []


class Shared(nn.Module):
    """Uses one convolution before two normalisations, and one normalisation that follows none."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.up = nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 4, 2, 2, bias=False)
        self.twice = nn.Conv2d(4, 4, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(5))

    def forward(self, x: Any) -> Any:
        x = self.norms[1](self.up(self.norms[0](self.first(x))))
        x = self.norms[2](self.twice(x)) + self.norms[3](self.twice(x + 1))
        return self.norms[4](x.relu())


def test_batch_norm_is_folded_where_it_follows_one_convolution() -> None:
    torch.manual_seed(0)
    network = stir(Shared())
    example = torch.rand(2, 3, 9, 9)
    before = copy.deepcopy(network.state_dict())
    folded = fold_batch_norm(network, example)
    kept = [index for index, norm in enumerate(folded.norms) if isinstance(norm, nn.BatchNorm2d)]  # type: ignore[arg-type]
    assert kept == [2, 3, 4]
    assert torch.allclose(folded(example), network(example), atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_weights_too_large_for_16_bits(tmp_path: Path) -> None:
    network = nn.Conv2d(3, 32, 1)
    nn.init.constant_(network.weight, 1e6)
    info = ModelInfo(name="x", bands=3, gsd=0.15, gsd_range=(0.1, 0.3), patch=64, overlap=16, context=4)
    with pytest.raises(ModelError, match="without --half"):
        export_network(network, info, tmp_path / "model.onnx", half=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unet256", "smp:unet:resnet18"])
def test_other_generators(name: str, tmp_path: Path) -> None:
    if name.startswith("smp:"):
        pytest.importorskip("segmentation_models_pytorch")
    network = stir(build_generator(GeneratorConfig(name, width=4, stride=1), 3, 2))
    info = ModelInfo(name="x", bands=3, gsd=0.15, gsd_range=(0.1, 0.3), patch=128, overlap=32, context=8)
    assert export_network(network, info, tmp_path / "model.onnx", half=True, deepness=True).parity <= 1e-4
