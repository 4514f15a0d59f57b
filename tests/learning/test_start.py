from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs geofootprint[train]")
onnx = pytest.importorskip("onnx", reason="needs geofootprint[train]")
pytest.importorskip("onnxscript", reason="needs geofootprint[train]")

from networks import stir  # noqa: E402

from geofootprint.config import DataConfig, GeneratorConfig, TrainConfig, load_config  # noqa: E402
from geofootprint.errors import MissingFileError, ModelError  # noqa: E402
from geofootprint.learning.dataset import TileSet, read_tiles  # noqa: E402
from geofootprint.learning.export import export_network  # noqa: E402
from geofootprint.learning.networks import build_generator  # noqa: E402
from geofootprint.learning.start import Start, read_start  # noqa: E402
from geofootprint.model import DEFAULT_MODEL, ModelInfo, load_model  # noqa: E402

INFO = ModelInfo(
    name="x", bands=3, gsd=0.15, gsd_range=(0.1, 0.3), patch=64, overlap=16, context=4,
    generator={"name": "unet", "width": 4, "stride": 1},
)


@pytest.fixture(scope="module")
def tiles(dataset: Path) -> TileSet:
    return read_tiles([(dataset, 1.0)], "train")


def settings_for(start: Start) -> TrainConfig:
    settings = load_config(start=start.settings)
    return replace(settings, data=replace(settings.data, patch=64))


def predict(start: Start, tiles: TileSet, batch: np.ndarray) -> np.ndarray:
    """Return what a generator that starts from a file gives."""
    network = build_generator(start.generator, start.bands, len(start.classes))
    network.load_state_dict(start.weights_for(settings_for(start), tiles))
    with torch.inference_mode():
        probabilities: np.ndarray = torch.sigmoid(network.eval()(torch.from_numpy(batch))).numpy()
    return probabilities


@pytest.mark.parametrize("name", ["default", str(DEFAULT_MODEL)])
def test_default_model_is_read_back(name: str, tiles: TileSet) -> None:
    start = read_start(name)
    assert start.generator == GeneratorConfig("unet", width=24, stride=2)  # of its weights: the file does not tell
    assert (start.classes, start.bands) == (("building", "contour"), 3)
    batch = np.stack([tile.image for tile in tiles.tiles[:2]]).transpose(0, 3, 1, 2).astype(np.float32) / 255
    expected = load_model(device="cpu", backend="onnxruntime", threads=1).predict(batch)
    assert expected.std() > 0.02
    assert np.abs(predict(start, tiles, batch) - expected).max() < 1e-4


def test_an_exported_file_is_read_back(tiles: TileSet, tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = GeneratorConfig(width=4, stride=1, upsampling="transposed")
    network = stir(build_generator(settings, 3, 3))
    info = replace(INFO, classes=("building", "contour", "touch"), channels=(), generator=vars(settings))
    export_network(network, info, tmp_path / "model.onnx", half=True)
    start = read_start(tmp_path / "model.onnx")
    assert start.generator == settings
    assert settings_for(start).data.touch
    batch = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
    expected = load_model(tmp_path / "model.onnx", device="cpu", backend="onnxruntime", threads=1).predict(batch)
    assert np.abs(predict(start, tiles, batch) - expected).max() < 1e-4


def test_settings_that_contradict_the_file_are_refused(tiles: TileSet) -> None:
    start = read_start("default")
    for settings, what in (
        (replace(settings_for(start), generator=GeneratorConfig(width=32)), r"generator \(name unet, width 32.*width 24"),
        (replace(settings_for(start), data=DataConfig(touch=True)), r"channels \(building, contour, touch\) but others \(buil"),
    ):
        with pytest.raises(ModelError, match=rf"default\.onnx does not hold this run's {what}"):
            start.weights_for(settings, tiles)
    with pytest.raises(ModelError, match=r"takes images of 3 band\(s\), but the datasets have 4"):
        start.weights_for(settings_for(start), replace(tiles, bands=4))


def test_files_that_cannot_be_started_from(tiles: TileSet, make_model: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.onnx does not exist"):
        read_start("none.onnx")
    with pytest.raises(MissingFileError, match=r"none\.ckpt does not exist"):
        read_start("none.ckpt")
    with pytest.raises(ModelError, match=r"toy\.onnx does not say which generator it holds"):
        read_start(make_model())
    with pytest.raises(ModelError, match=r"toy\.onnx computes in 8 bits"):
        read_start(make_model(quantization={"iou": 0.5}))
    with pytest.raises(ModelError, match=r"toy\.onnx was made for Deepness and holds buildings alone"):
        read_start(make_model(classes=("building",), channels=("background", "building")))
    with pytest.raises(ModelError, match=r"toy\.onnx has a generator that this version does not know"):
        read_start(make_model(generator={"name": "unet", "wings": 2}))
    start = read_start(make_model(generator={"name": "unet", "width": 4}))
    with pytest.raises(ModelError, match=r"toy\.onnx lacks weights by which training could go on"):
        start.weights_for(settings_for(start), tiles)
    torch.save({"schema": 1, "config": {}}, tmp_path / "odd.ckpt")
    with pytest.raises(ModelError, match=r"odd\.ckpt does not describe its generator"):
        read_start(tmp_path / "odd.ckpt")
