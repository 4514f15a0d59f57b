from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs geofootprint[train]")
onnx = pytest.importorskip("onnx", reason="needs geofootprint[train]")
pytest.importorskip("onnxscript", reason="needs geofootprint[train]")

from models import write_toy_model  # noqa: E402
from networks import stir  # noqa: E402
from torch import nn  # noqa: E402

from geofootprint.config import GeneratorConfig  # noqa: E402
from geofootprint.errors import DatasetError, ModelError, OptionError  # noqa: E402
from geofootprint.learning.dataset import is_building, read_tiles  # noqa: E402
from geofootprint.learning.export import ExportResult, export, export_network  # noqa: E402
from geofootprint.learning.networks import build_generator  # noqa: E402
from geofootprint.learning.quantization import measure_loss, quantize  # noqa: E402
from geofootprint.model import ModelInfo, load_model, read_info  # noqa: E402

INFO = ModelInfo(name="x", bands=3, gsd=0.15, gsd_range=(0.1, 0.3), patch=64, overlap=16, context=4)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Return a network whose logits are spread widely enough to be told apart in 8 bits."""
    torch.manual_seed(0)
    network = stir(build_generator(GeneratorConfig(width=8), 3, 2))
    with torch.no_grad():
        network.head.weight *= 3  # type: ignore[operator,union-attr]
    return network


@pytest.fixture(scope="module")
def exported(network: nn.Module, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, ExportResult]:
    folder = tmp_path_factory.mktemp("exported")
    full, small = folder / "full.onnx", folder / "int8.onnx"
    export_network(network, INFO, full)
    result = export_network(network, INFO, small, int8=[dataset], max_loss=0.5)
    return full, small, result


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 65, 97), (3, 31, 200), (1, 5, 1)])
def test_file_of_8_bits_computes_nearly_the_same_at_any_size(
    exported: tuple[Path, Path, ExportResult], backend: str, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(backend)
    monkeypatch.setattr("geofootprint.model._bfloat16_pays", lambda: False)
    batch = np.random.default_rng(0).random((shape[0], 3, *shape[1:]), np.float32)
    full, small = (
        load_model(path, device="cpu", backend=backend, threads=1).predict(batch) for path in exported[:2]
    )
    assert full.shape == small.shape == (shape[0], 2, *shape[1:])
    assert 0 < np.abs(full - small).mean() < 0.05


def test_convolutions_but_first_and_last_have_weights_of_8_bits(exported: tuple[Path, Path, ExportResult]) -> None:
    full, small, _ = exported
    model = onnx.load(small)
    onnx.checker.check_model(model, full_check=True)
    kinds = {array.name: array.data_type for array in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    stored = []
    for node in model.graph.node:
        if node.op_type == "Conv":
            maker = makers.get(node.input[1])
            stored.append(kinds[maker.input[0] if maker else node.input[1]])
    assert stored[0] == stored[-1] == onnx.TensorProto.FLOAT
    assert set(stored[1:-1]) == {onnx.TensorProto.INT8}
    assert small.stat().st_size < 0.5 * full.stat().st_size
    axes = [axis.dim_param or axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim]
    assert axes == ["batch", 3, "height", "width"]


def test_loss_is_told_by_result_and_file(exported: tuple[Path, Path, ExportResult], dataset: Path) -> None:
    full, small, result = exported
    loss = result.quantization
    assert loss is not None
    told = read_info(small).quantization
    assert told["iou"] == loss.iou
    assert told["datasets"] == (dataset.name,)
    assert read_info(full).quantization == {}
    # Computed once more, by other means.
    tiles = read_tiles([(dataset, 1.0)], "val").tiles
    assert loss.pixels == sum(tile.label.size for tile in tiles)
    images = np.stack([tile.image for tile in tiles]).transpose(0, 3, 1, 2).astype(np.float32) / 255
    truth = np.stack([is_building(tile.label) for tile in tiles])
    before, after = (load_model(path, device="cpu", backend="onnxruntime").predict(images) for path in (full, small))
    for probabilities, iou in ((before, loss.iou_before), (after, loss.iou)):
        found = probabilities[:, 0] >= INFO.threshold
        assert (found & truth).sum() / (found | truth).sum() == pytest.approx(iou, abs=1e-3)
    assert np.abs(before - after).max() == pytest.approx(loss.largest_difference, abs=2e-3)
    assert np.abs(before - after).mean() == pytest.approx(loss.mean_difference, abs=2e-4)


def test_more_loss_than_allowed_is_refused(
    exported: tuple[Path, Path, ExportResult], network: nn.Module, dataset: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("geofootprint.learning.export._to_onnx", lambda *_: onnx.load(exported[0]))  # saves seconds
    with pytest.raises(ModelError, match=r"8 bits would lower the IoU .* more than the -1 of --max-loss"):
        export_network(network, INFO, tmp_path / "model.onnx", int8=[dataset], max_loss=-1)
    assert list(tmp_path.iterdir()) == []


def test_loss_between_two_files(dataset: Path, tmp_path: Path) -> None:
    tiles = read_tiles([(dataset, 1.0)], "val")
    data = write_toy_model(tmp_path / "toy.onnx").read_bytes()
    same = measure_loss(data, data, tiles, INFO)
    assert (same.lost, same.largest_difference, same.mean_difference) == (0, 0, 0)


def test_datasets_that_do_not_fit(network: nn.Module, dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    with pytest.raises(DatasetError, match=r"has 0\.15 m per pixel, but the model 0\.3 m; tile it with --gsd 0\.3"):
        export_network(network, replace(INFO, gsd=0.3), out, int8=[dataset])
    with pytest.raises(DatasetError, match=r"has 3 band\(s\), but the model takes 4"):
        export_network(network, replace(INFO, bands=4, scale={"uint8": (255.0,) * 4}), out, int8=[dataset])
    with pytest.raises(OptionError, match="Both --half and --int8"):
        export("best.ckpt", out, half=True, int8=[dataset])


def test_a_network_without_inner_convolutions(dataset: Path, tmp_path: Path) -> None:
    model: Any = onnx.load(write_toy_model(tmp_path / "toy.onnx"))
    with pytest.raises(ModelError, match="no convolutions that could compute in 8 bits"):
        quantize(model, read_tiles([(dataset, 1.0)], "train"))


def test_quantizing_says_nothing(
    exported: tuple[Path, Path, ExportResult], dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    quantize(onnx.load(exported[0]), read_tiles([(dataset, 1.0)], "train"))
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
