"""Model files in programs of others: by the rules of the Deepness plugin, and in GeoDeep itself where it is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="needs geofootprint[train]")
pytest.importorskip("onnx", reason="needs geofootprint[train]")
pytest.importorskip("onnxscript", reason="needs geofootprint[train]")

from geofootprint.config import load_config  # noqa: E402
from geofootprint.learning.dataset import Tile, TileSet  # noqa: E402
from geofootprint.learning.export import export_network  # noqa: E402
from geofootprint.learning.networks import build_generator  # noqa: E402
from geofootprint.learning.start import read_start  # noqa: E402
from geofootprint.model import import_onnxruntime, load_model, read_info  # noqa: E402
from geofootprint.predict import predict  # noqa: E402
from geofootprint.raster import open_raster  # noqa: E402
from geofootprint.scenes import Scene, make_scene, write_scene  # noqa: E402

PATCH = 256


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(size=480, seed=7, style="suburb")


@pytest.fixture(scope="module")
def model_file(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the default model, read back and exported for Deepness."""
    start = read_start("default")
    settings = load_config(start=start.settings)
    image = np.ascontiguousarray(np.moveaxis(scene.image, 0, -1))
    tiles = TileSet([Tile(image, np.zeros(image.shape[:2], np.uint8), 1.0)], 3, 0.15, ())
    network = build_generator(start.generator, 3, 2)
    network.load_state_dict(start.weights_for(settings, tiles))
    info = read_info()
    told = {**vars(info), "patch": PATCH, "overlap": 64, "context": 16}
    out = tmp_path_factory.mktemp("deepness") / "deepness.onnx"
    export_network(network.eval(), type(info)(**told), out, deepness=True)
    return out


class Deepness:
    """Reads a model as the plugin does, by its page "Add metadata to model" and what its class Segmentor checks."""

    def __init__(self, path: Path) -> None:
        self.session = import_onnxruntime().InferenceSession(path, providers=["CPUExecutionProvider"])
        (entry,), (out,) = self.session.get_inputs(), self.session.get_outputs()
        self.name, self.shape, self.out_shape = entry.name, entry.shape, out.shape
        told = self.session.get_modelmeta().custom_metadata_map
        self.told = {key: json.loads(told[key]) for key in (
            "model_type", "class_names", "resolution", "tile_size", "tiles_overlap", "seg_thresh", "seg_small_segment",
            "standardization_mean", "standardization_std",
        )}

    def classes_of(self, tiles: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the class of each pixel of tiles (N, H, W, C)."""
        mean, std = (np.array(self.told[f"standardization_{name}"], np.float32) for name in ("mean", "std"))
        scaled = ((tiles / 255).astype(np.float32) - mean) / std
        (probabilities,) = self.session.run(None, {self.name: scaled.transpose(0, 3, 1, 2)})
        probabilities[probabilities < float(self.told["seg_thresh"])] = 0
        classes: NDArray[np.int64] = probabilities.argmax(axis=1)
        return classes


def test_deepness_finds_what_it_looks_for(model_file: Path) -> None:
    plugin = Deepness(model_file)
    assert plugin.shape == [1, 3, PATCH, PATCH]  # it reads the tile's size from here, and cannot do with names
    assert plugin.out_shape == [1, 2, PATCH, PATCH]  # square, four axes
    told = plugin.told
    assert str(told["model_type"]).capitalize() == "Segmentor"
    assert [int(key) for key in told["class_names"]] == list(range(plugin.out_shape[1]))
    assert list(told["class_names"].values()) == ["background", "building"]
    assert float(told["resolution"]) == 15.0  # centimetres
    assert int(told["tile_size"]) == PATCH
    assert isinstance(told["tiles_overlap"], int)  # per cent
    assert 0 < told["tiles_overlap"] < 100
    assert isinstance(told["seg_small_segment"], int)
    assert len(told["standardization_mean"]) == len(told["standardization_std"]) == plugin.shape[-3]


def test_deepness_sees_the_buildings_that_we_see(model_file: Path, scene: Scene) -> None:
    pixels = scene.image[:, :PATCH, :PATCH]
    model = load_model(device="cpu", backend="onnxruntime", threads=1)
    ours = model.predict(pixels[None].astype(np.float32) / np.float32(255))[0, 0] >= model.info.threshold
    theirs = Deepness(model_file).classes_of(pixels.transpose(1, 2, 0)[None])[0]
    assert ours.mean() > 0.05
    assert iou(theirs == 1, ours) > 0.999


GEODEEP = """\
import sys
import geodeep
import numpy as np
np.save(sys.argv[3], geodeep.segment(sys.argv[1], sys.argv[2], output_type="raw", max_threads=1))
"""


def test_geodeep_sees_the_buildings_that_we_see(model_file: Path, scene: Scene, tmp_path: Path) -> None:
    pytest.importorskip("geodeep", reason="needs geodeep; install geofootprint[test]")
    image, mask = tmp_path / "ortho.tif", tmp_path / "mask.npy"
    write_scene(scene, image, tmp_path / "truth.gpkg")
    # In a process of its own: it changes Python's warnings when it is imported.
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", GEODEEP, image, model_file, mask], check=True, timeout=300,
        env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"},
    )
    predict(image, tmp_path / "probabilities.tif", model=model_file, device="cpu")
    with open_raster(tmp_path / "probabilities.tif") as dataset:
        ours = dataset.read(1) >= 255 * read_info().threshold
    theirs: NDArray[Any] = np.load(mask)
    assert theirs.shape == ours.shape
    assert iou(theirs == 1, ours) > 0.95  # it smooths, leaves out what is small, and does not blend its tiles


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())
