from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from geofootprint.errors import Cancelled, MissingFileError, OptionError, OutputError, RasterError, VectorError
from geofootprint.model import Model, ModelInfo
from geofootprint.predict import MODEL_TAG, Predictor, predict, predict_window
from geofootprint.raster import open_image

MakeImage = Callable[..., Path]
Array = NDArray[np.float32]


def info(**told: Any) -> ModelInfo:
    fields = {"name": "test", "bands": 3, "gsd": 0.15, "gsd_range": (0.1, 0.3), "patch": 64, "overlap": 16, "context": 4}
    return ModelInfo(**{**fields, **told})


def constant(value: float) -> Model:
    return Model(info(), lambda batch: np.full((len(batch), 2, *batch.shape[2:]), value, np.float32))


def positional() -> Model:
    """Return a model whose result depends on the place in the patch and on all of it: the worst case for blending."""

    def run(batch: Array) -> Array:
        rows, columns = np.indices(batch.shape[2:])
        place = (rows * 7 + columns * 3) % 64 / 64
        mean = batch.mean(axis=(1, 2, 3), keepdims=True)
        return np.concatenate([batch[:, :1] * 0.5 + place * 0.5, np.broadcast_to(mean, batch[:, :1].shape)], 1).astype("f4")

    return Model(info(), run)


def first_band() -> Model:
    return Model(info(), lambda batch: batch[:, :2])


class Listener:
    def __init__(self, stop_at: int | None = None) -> None:
        self.updates: list[tuple[str, float, float]] = []
        self.warnings: list[str] = []
        self.stop_at = stop_at

    def update(self, stage: str, done: float, total: float) -> None:
        self.updates.append((stage, done, total))
        if len(self.updates) == self.stop_at:
            raise Cancelled("Cancelled.")

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def read(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    with rasterio.open(path) as dataset:
        return dataset.read(), dataset.dataset_mask() > 0


@pytest.mark.parametrize("size", [(1, 1), (20, 300), (64, 64), (65, 130), (200, 177)])
def test_constant_model_gives_a_constant_everywhere(make_image: MakeImage, tmp_path: Path, size: tuple[int, int]) -> None:
    image = make_image(size=size)
    for value in (0.0, 0.25, 1.0):
        predict(image, tmp_path / "out.tif", model=constant(value))
        probabilities, valid = read(tmp_path / "out.tif")
        assert probabilities.shape == (2, *size)
        assert (probabilities == round(value * 255)).all()
        assert valid.all()


def test_pixelwise_model_gives_the_pixels_back(make_image: MakeImage, tmp_path: Path) -> None:
    image = make_image(size=(150, 210))
    predict(image, tmp_path / "out.tif", model=first_band())
    with rasterio.open(image) as dataset:
        assert (read(tmp_path / "out.tif")[0] == dataset.read()[:2]).all()


def test_a_pixel_does_not_depend_on_the_window(make_image: MakeImage, tmp_path: Path) -> None:
    image = make_image(size=(190, 260))
    predict(image, tmp_path / "out.tif", model=positional())
    whole, _ = read(tmp_path / "out.tif")
    rng = np.random.default_rng(1)
    with open_image(image, gsd=0.15) as reader:
        windows = [Window(0, 0, 260, 190), Window(48, 96, 48, 48), Window(259, 189, 1, 1)]
        for _ in range(10):
            top, left = rng.integers(0, 150), rng.integers(0, 200)
            windows.append(Window(int(left), int(top), int(rng.integers(1, 60)), int(rng.integers(1, 40))))
        for window in windows:
            part, valid = predict_window(reader, positional(), window)
            rows = slice(window.row_off, window.row_off + window.height)
            columns = slice(window.col_off, window.col_off + window.width)
            assert (part == whole[:, rows, columns]).all()
            assert valid.all()


@pytest.mark.parametrize("batch_size", [2, 5])
def test_batches_change_nothing(make_image: MakeImage, tmp_path: Path, batch_size: int) -> None:
    image = make_image(size=(190, 260))
    predict(image, tmp_path / "one.tif", model=positional())
    model = positional()
    model.batch_size = batch_size
    predict(image, tmp_path / "many.tif", model=model)
    assert (read(tmp_path / "one.tif")[0] == read(tmp_path / "many.tif")[0]).all()


def test_small_cache_changes_nothing(
    make_image: MakeImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = make_image(size=(190, 600))
    predict(image, tmp_path / "one.tif", model=positional())
    monkeypatch.setattr("geofootprint.predict.CACHE_MB", 0)
    predict(image, tmp_path / "two.tif", model=positional())
    assert (read(tmp_path / "one.tif")[0] == read(tmp_path / "two.tif")[0]).all()


def test_each_patch_is_predicted_once(make_image: MakeImage, tmp_path: Path) -> None:
    counted: list[int] = []

    def run(batch: Array) -> Array:
        counted.append(len(batch))
        return batch[:, :2]

    model = Model(info(), run)
    listener = Listener()
    predict(make_image(size=(200, 1000)), tmp_path / "out.tif", model=model, progress=listener)
    assert sum(counted) == 4 * 21
    assert ("predict", 4 * 21, 4 * 21) in listener.updates
    assert listener.updates[-1] == ("overviews", 1, 1)


def test_cropping_along_the_patches_changes_nothing_inside(make_image: MakeImage, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 255, (3, 240, 240)).astype(np.uint8)
    stride = 48
    whole = make_image("whole.tif", pixels=pixels)
    transform = Affine(0.15, 0, 680_000, 0, -0.15, 5_238_000) * Affine.translation(stride, stride)
    part = make_image("part.tif", pixels=pixels[:, stride:, stride:], transform=transform)
    predict(whole, tmp_path / "a.tif", model=positional())
    predict(part, tmp_path / "b.tif", model=positional())
    a, b = read(tmp_path / "a.tif")[0], read(tmp_path / "b.tif")[0]
    # Where the cut has put a raster's edge, one patch rules alone.
    assert (a[:, stride + 16 :, stride + 16 :] == b[:, 16:, 16:]).all()


def test_model_file_gives_its_probabilities(
    make_image: MakeImage, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    image = make_image(size=(130, 130))
    result = predict(image, tmp_path / "out.tif", model=make_model(), device="cpu")
    probabilities, _ = read(tmp_path / "out.tif")
    with rasterio.open(image) as dataset:
        red, green, _ = dataset.read().astype(np.float64) / 255
    expected = 255 / (1 + np.exp(4 - 12 * (red - green)))
    assert np.abs(probabilities[0] - expected).max() <= 4  # 16 bit floats where the CPU computes in them
    assert result.model == "toy"
    assert result.valid_share == 1


def test_nodata_is_masked_and_does_not_reach_the_model(make_image: MakeImage, tmp_path: Path) -> None:
    pixels = np.full((3, 200, 200), 100, np.uint8)
    pixels[:, :, :90] = 0
    image = make_image(pixels=pixels, nodata=0)
    calls: list[float] = []

    def run(batch: Array) -> Array:
        calls.append(float(batch.max()))
        return np.ones((len(batch), 2, *batch.shape[2:]), np.float32)

    result = predict(image, tmp_path / "out.tif", model=Model(info(), run))
    probabilities, valid = read(tmp_path / "out.tif")
    assert not valid[:, :90].any()
    assert valid[:, 90:].all()
    assert (probabilities[:, ~valid] == 0).all()
    assert (probabilities[:, valid] == 255).all()
    assert min(calls) > 0  # patches without data are left out
    assert result.valid_share == pytest.approx(0.55)


def test_alpha_is_no_band(make_image: MakeImage, tmp_path: Path) -> None:
    pixels = np.full((4, 70, 70), 200, np.uint8)
    pixels[3, :30] = 0
    image = make_image(pixels=pixels, photometric="RGB", alpha="YES")
    predict(image, tmp_path / "out.tif", model=first_band())
    _, valid = read(tmp_path / "out.tif")
    assert not valid[:30].any()
    assert valid[30:].all()


def test_a_fourth_colour_is_left_out_with_a_note(make_image: MakeImage, tmp_path: Path) -> None:
    listener = Listener()
    image = make_image(bands=4, size=(70, 70), photometric="MINISBLACK")
    predict(image, tmp_path / "out.tif", model=first_band(), progress=listener)
    assert "4" in listener.warnings[0]


def test_area_of_interest(make_image: MakeImage, tmp_path: Path) -> None:
    image = make_image(size=(400, 400))
    x, y = 680_000, 5_238_000
    triangle = shapely.Polygon([(x + 15, y - 15), (x + 45, y - 15), (x + 15, y - 45)])
    aoi = tmp_path / "aoi.geojson"
    gpd.GeoDataFrame(geometry=[triangle], crs="EPSG:25832").to_crs("EPSG:4326").to_file(aoi)
    listener = Listener()
    result = predict(image, tmp_path / "out.tif", model=first_band(), aoi=aoi, progress=listener)
    assert abs(result.width - 200) <= 1
    _, valid = read(tmp_path / "out.tif")
    assert valid.mean() == pytest.approx(0.5, abs=0.02)
    with rasterio.open(tmp_path / "out.tif") as dataset:
        assert dataset.bounds.left == pytest.approx(x + 15, abs=0.16)
    assert max(total for stage, _, total in listener.updates if stage == "predict") < 40


def test_bounds_cut_the_result_without_changing_it(make_image: MakeImage, tmp_path: Path) -> None:
    image = make_image(size=(300, 300))
    predict(image, tmp_path / "whole.tif", model=positional())
    bounds = (680_000 + 15, 5_238_000 - 30, 680_000 + 24, 5_238_000 - 12)
    predict(image, tmp_path / "part.tif", model=positional(), bounds=bounds)
    whole, part = read(tmp_path / "whole.tif")[0], read(tmp_path / "part.tif")[0]
    assert part.shape == (2, 120, 60)
    assert (part == whole[:, 80:200, 100:160]).all()


def test_image_is_resampled_to_the_models_gsd(make_image: MakeImage, tmp_path: Path) -> None:
    image = make_image(size=(300, 400), transform=Affine(0.075, 0, 680_000, 0, -0.075, 5_238_000))
    result = predict(image, tmp_path / "out.tif", model=constant(0.5))
    assert result.gsd == pytest.approx(0.15, rel=0.001)
    assert abs(result.width - 200) <= 1
    assert abs(result.height - 150) <= 1


def test_output_says_what_it_is(make_image: MakeImage, tmp_path: Path) -> None:
    predict(make_image(size=(600, 600)), tmp_path / "out.tif", model=constant(0.5))
    with rasterio.open(tmp_path / "out.tif") as dataset:
        assert dataset.descriptions == ("building", "contour")
        assert dataset.dtypes == ("uint8", "uint8")
        assert dataset.profile["tiled"]
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.overviews(1) == [2]
        assert dataset.nodata is None
        assert '"name": "test"' in dataset.tags()[MODEL_TAG]
        assert dataset.crs.to_epsg() == 25832
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.tif", "out.tif"]


def test_without_overviews_for_a_file_of_passage(make_image: MakeImage, tmp_path: Path) -> None:
    image = make_image(size=(600, 600))
    predict(image, tmp_path / "cog.tif", model=positional())
    predict(image, tmp_path / "plain.tif", model=positional(), cog=False)
    with rasterio.open(tmp_path / "plain.tif") as dataset:
        assert dataset.profile["tiled"]
        assert dataset.overviews(1) == []
        assert dataset.descriptions == ("building", "contour")
    assert (read(tmp_path / "cog.tif")[0] == read(tmp_path / "plain.tif")[0]).all()


def test_coarse_image_is_warned_of(make_image: MakeImage, tmp_path: Path) -> None:
    listener = Listener()
    image = make_image(size=(40, 40), transform=Affine(1, 0, 680_000, 0, -1, 5_238_000))
    predict(image, tmp_path / "out.tif", model=constant(0.5), progress=listener)
    assert "1.00 m per pixel" in listener.warnings[0]


def test_other_pixel_types_are_refused_or_scaled(make_image: MakeImage, tmp_path: Path) -> None:
    image = make_image(size=(70, 70), dtype="uint16")
    with pytest.raises(RasterError, match=r"uint16.*gdal_translate"):
        predict(image, tmp_path / "out.tif", model=constant(0.5))
    scale = {"uint8": (255.0,) * 3, "uint16": (510.0,) * 3}
    model = Model(info(scale=scale), lambda batch: batch[:, :2])
    predict(image, tmp_path / "out.tif", model=model)
    with rasterio.open(image) as dataset:
        expected = dataset.read()[:2] / 2
    assert np.abs(read(tmp_path / "out.tif")[0] - expected).max() <= 0.5


def test_turned_versions_are_averaged(make_image: MakeImage, tmp_path: Path) -> None:
    image = make_image(size=(64, 64))
    predict(image, tmp_path / "same.tif", model=first_band(), tta=True)
    with rasterio.open(image) as dataset:
        assert np.abs(read(tmp_path / "same.tif")[0].astype(int) - dataset.read()[:2]).max() <= 1
    rows = np.broadcast_to(np.linspace(0, 1, 64, dtype=np.float32)[:, None], (1, 2, 64, 64))
    predict(image, tmp_path / "mean.tif", model=Model(info(), lambda batch: rows), tta=True)
    assert np.abs(read(tmp_path / "mean.tif")[0].astype(int) - 128).max() <= 1


def test_cancelling_leaves_nothing(make_image: MakeImage, tmp_path: Path) -> None:
    image = make_image(size=(300, 300))
    with pytest.raises(Cancelled):
        predict(image, tmp_path / "out.tif", model=constant(0.5), progress=Listener(stop_at=3))
    assert [path.name for path in tmp_path.iterdir()] == ["image.tif"]


def test_bad_input(make_image: MakeImage, tmp_path: Path) -> None:
    model, out = constant(0.5), tmp_path / "out.tif"
    with pytest.raises(MissingFileError, match="nowhere"):
        predict(tmp_path / "nowhere.tif", out, model=model)
    with pytest.raises(RasterError, match="1 colour band"):
        predict(make_image("grey.tif", bands=1), out, model=model)
    with pytest.raises(RasterError, match="no data"):
        predict(make_image("empty.tif", pixels=np.zeros((3, 100, 100), np.uint8), nodata=0), out, model=model)
    image = make_image()
    with pytest.raises(OutputError, match="does not exist"):
        predict(image, tmp_path / "no" / "out.tif", model=model)
    with pytest.raises(OptionError, match="miss"):
        predict(image, out, model=model, bounds=(0, 0, 1, 1))
    with pytest.raises(OptionError, match="west south east north"):
        predict(image, out, model=model, bounds=(1, 0, 0, 1))
    aoi = tmp_path / "aoi.gpkg"
    gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:4326").to_file(aoi)
    with pytest.raises(VectorError, match="misses"):
        predict(image, out, model=model, aoi=aoi)
    assert not out.exists()


def test_the_image_is_not_written_over(make_image: MakeImage) -> None:
    image = make_image(size=(64, 64))
    before = image.read_bytes()
    with pytest.raises(OptionError, match="is itself read"):
        predict(image, image, model=constant(0.5))
    assert image.read_bytes() == before


def test_neither_area_nor_model_is_written_over(make_image: MakeImage, tmp_path: Path) -> None:
    other = tmp_path / "other.tif"
    other.write_bytes(b"not to be lost")
    for inputs in ({"aoi": other, "model": constant(0.5)}, {"model": other}):
        with pytest.raises(OptionError, match="is itself read"):
            predict(make_image(size=(64, 64)), other, **inputs)
    assert other.read_bytes() == b"not to be lost"


def test_damaged_image_leaves_nothing(make_image: MakeImage, tmp_path: Path) -> None:
    image = make_image(size=(600, 600))
    image.write_bytes(image.read_bytes()[:400_000])
    with pytest.raises(RasterError, match="damaged"):
        predict(image, tmp_path / "out.tif", model=constant(0.5))
    assert not (tmp_path / "out.tif").exists()


def test_predictor_counts_patches(make_image: MakeImage) -> None:
    with open_image(make_image(size=(300, 300)), gsd=0.15) as reader:
        predictor = Predictor(reader, constant(0.5))
        assert predictor.stride == 48
        assert predictor.count_patches(Window(0, 0, 48, 48)) == 1
        assert predictor.count_patches(Window(0, 0, 300, 300)) == 36
