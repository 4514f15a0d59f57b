"""From an image of any type through tiles, training and export to probabilities: all see the same numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="needs geofootprint[train]")
pytest.importorskip("onnxscript", reason="needs geofootprint[train]")

from notes import Notes  # noqa: E402

from geofootprint.config import from_dict  # noqa: E402
from geofootprint.errors import DatasetError  # noqa: E402
from geofootprint.labels import NODATA  # noqa: E402
from geofootprint.learning.batches import to_batch  # noqa: E402
from geofootprint.learning.checkpoint import load_checkpoint, save_checkpoint, scaling_of  # noqa: E402
from geofootprint.learning.dataset import read_tiles  # noqa: E402
from geofootprint.learning.export import export  # noqa: E402
from geofootprint.learning.networks import build_generator  # noqa: E402
from geofootprint.learning.trainer import train  # noqa: E402
from geofootprint.model import load_model, read_info  # noqa: E402
from geofootprint.onnx_metadata import read_metadata  # noqa: E402
from geofootprint.predict import predict  # noqa: E402
from geofootprint.tiling import tile  # noqa: E402

Town = Callable[..., tuple[Path, Path]]

SIDE = 192


def convert(image: Path, dtype: str) -> NDArray[Any]:
    """Rewrite an image of bytes in another type, each band in another range, and return its pixels."""
    with rasterio.open(image) as dataset:
        pixels, profile = dataset.read().astype(np.float64), dataset.profile
    ranges = {"uint16": (0, 40), "float32": (-0.25, 1 / 255)}
    low, gain = ranges[dtype]
    pixels = np.stack([low * (band + 1) + gain * (band + 1) * values for band, values in enumerate(pixels)]).astype(dtype)
    if dtype == "float32":
        pixels[:, 20:25, 20:40] = np.nan
        pixels[0, 100, 100] = np.inf
        pixels[:, 64:128, 128:192] = np.nan  # a tile without any other
    profile.update(dtype=dtype, photometric="MINISBLACK")
    with rasterio.open(image, "w", **profile) as dataset:
        dataset.write(pixels)
    return np.asarray(pixels)


@pytest.mark.parametrize(("dtype", "bands"), [("uint16", 4), ("float32", 3)])
def test_training_and_inference_see_the_same_numbers(
    tmp_path: Path, town: Town, tiny: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, bands: int
) -> None:
    monkeypatch.setattr("geofootprint.model._bfloat16_pays", lambda: False)
    image, footprints = town(tmp_path, bands=bands, side=SIDE)
    pixels = convert(image, dtype)
    tile(image, footprints, tmp_path / "tiles", size=64, split=(0.6, 0.4, 0.0))
    assert json.loads((tmp_path / "tiles" / "dataset.json").read_text())["dtype"] == dtype
    train(tmp_path / "tiles", tmp_path / "run", config=tiny, epochs=1, device="cpu", precision="32")
    state = load_checkpoint(tmp_path / "run" / "last.ckpt")
    export(tmp_path / "run" / "last.ckpt", tmp_path / "model.onnx", patch=SIDE, overlap=32)

    # Training: what the network got of a tile, by its place in the image.
    scaling = scaling_of(state)
    assert scaling is not None
    assert (state["data"]["dtype"], len(scaling.divisor)) == (dtype, bands)
    low, span = (np.array(values)[:, None, None] for values in (scaling.offset, scaling.divisor))
    assert (low == 0).all() if dtype == "uint16" else (low < 0).all()
    valid = np.isfinite(pixels).all(axis=0)
    expected = np.where(valid, np.clip((np.where(valid, pixels, 0) - low) / span, 0, 1), 0)
    assert 0.2 < expected[0].mean() < 0.8
    index = gpd.read_parquet(tmp_path / "tiles" / "index.parquet")
    names = index.loc[index["split"] == "train", "name"]
    tiles = read_tiles([(tmp_path / "tiles", 1.0)], "train").tiles
    for name, one in zip(names, tiles, strict=True):
        row, column = (int(part) for part in name.split("_")[1:])
        part = np.s_[row : row + 64, column : column + 64]
        batch = to_batch(one.image[None], one.label[None], ("building",))
        assert np.abs(batch.image[0].numpy() - expected[:, part[0], part[1]]).max() < 1e-5
        assert (one.label[~valid[part]] == NODATA).all()

    # Inference: the network by hand on those numbers, against the model file on the image.
    info = read_info(tmp_path / "model.onnx")
    assert info.scale == {dtype: scaling.divisor}
    keys, _ = read_metadata(tmp_path / "model.onnx")
    mean, deviation = (np.array(json.loads(keys[f"standardization_{name}"])) for name in ("mean", "std"))
    assert (pixels[:, 0, 0] / 255 - mean) / deviation == pytest.approx((pixels[:, 0, 0] - low[:, 0, 0]) / span[:, 0, 0])
    network = build_generator(from_dict(state["config"]).generator, bands, 2).eval()
    network.load_state_dict(state["networks"]["generator_ema"])
    with torch.inference_mode():
        by_hand = torch.sigmoid(network(torch.from_numpy(expected[None].astype(np.float32))))[0].numpy()
    model = load_model(tmp_path / "model.onnx", device="cpu", threads=1)
    predict(image, tmp_path / "probabilities.tif", model=model)
    with rasterio.open(tmp_path / "probabilities.tif") as dataset:
        probabilities, mask = dataset.read(), dataset.dataset_mask() > 0
    assert np.array_equal(mask, valid)
    assert np.abs(probabilities / 255 - by_hand)[:, valid].max() <= 0.5 / 255 + 1e-4
    assert (probabilities[:, ~valid] == 0).all()


def test_a_run_keeps_its_type(tmp_path: Path, town: Town, dataset: Path, tiny: Path) -> None:
    train(dataset, tmp_path / "run", config=tiny, epochs=1, device="cpu", precision="32")
    image, footprints = town(tmp_path, bands=3, side=SIDE)
    convert(image, "uint16")
    tile(image, footprints, tmp_path / "tiles", size=64)
    with pytest.raises(DatasetError, match=r"has dtype uint16, but .* has uint8; train on datasets of one kind"):
        read_tiles([(dataset, 1.0), (tmp_path / "tiles", 1.0)], "train")
    # A run goes on with what it began with.
    state = load_checkpoint(tmp_path / "run" / "last.ckpt")
    state["data"]["tiles"] = len(read_tiles([(tmp_path / "tiles", 1.0)], "train").tiles)
    save_checkpoint(tmp_path / "run" / "last.ckpt", state)
    with pytest.raises(DatasetError, match="was trained on uint8 images, but the datasets hold uint16; resume with"):
        train(tmp_path / "tiles", tmp_path / "run", resume=True, device="cpu")


def test_tiles_without_data_are_left_out_with_a_warning(tmp_path: Path, town: Town) -> None:
    image, footprints = town(tmp_path, bands=2, side=SIDE)
    convert(image, "float32")
    tile(image, footprints, tmp_path / "tiles", size=64, split=(1.0, 0.0, 0.0))
    tiles = read_tiles([(tmp_path / "tiles", 1.0)], "train").tiles
    assert len(tiles) == 8  # the ninth of nine has no data, and was not cut
    paths = sorted((tmp_path / "tiles" / "images").iterdir())
    for path, value in zip(paths, (np.nan, -9999.0), strict=False):  # as another program may leave tiles
        with rasterio.open(path) as old:
            profile = old.profile | {"nodata": -9999.0}
        path.unlink()
        with rasterio.open(path, "w", **profile) as new:
            new.write(np.full((2, 64, 64), value, np.float32))
    notes = Notes()
    read = read_tiles([(tmp_path / "tiles", 1.0)], "train", progress=notes)
    assert len(read.tiles) == 6
    assert [Path(text.split(" has no valid pixel; it is left out")[0]) for text in notes.warnings] == paths[:2]
    assert read.scaling is not None
    assert min(read.scaling.offset) > -1


def test_four_bands_of_bytes_are_four_colours(tmp_path: Path, town: Town) -> None:
    """GDAL takes the last of four bands for transparency where nothing else is said."""
    image, footprints = town(tmp_path, bands=4, side=SIDE)
    tile(image, footprints, tmp_path / "tiles", size=64, split=(1.0, 0.0, 0.0))
    for path in (tmp_path / "tiles" / "images").iterdir():
        with rasterio.open(path) as dataset:
            assert "alpha" not in {meaning.name for meaning in dataset.colorinterp}
    assert {one.image.shape for one in read_tiles([(tmp_path / "tiles", 1.0)], "train").tiles} == {(64, 64, 4)}
