"""Fixtures that several test modules share: the command, the real data, small georeferenced images made by code."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from click.testing import CliRunner, Result
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def run() -> Callable[..., Result]:
    """Return a function that runs the installed command in this process."""
    (entry,) = entry_points(group="console_scripts", name="geofootprint")
    group = entry.load()

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(group, [str(argument) for argument in arguments], prog_name="geofootprint")

    return call


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Return the folder of the real orthophotos, or skip."""
    folder = Path(os.environ.get("GEOFOOTPRINT_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set GEOFOOTPRINT_DATA")
    return folder


def write_image(
    path: Path,
    pixels: NDArray[Any],
    *,
    crs: Any = "EPSG:25832",
    transform: Affine | None = None,
    nodata: float | None = None,
    **profile: Any,
) -> Path:
    """Write an array of shape (bands, height, width) as a GeoTIFF with 0.15 m pixels near Innsbruck."""
    bands, height, width = pixels.shape
    place = transform or Affine(0.15, 0, 680_000, 0, -0.15, 5_238_000)
    with rasterio.open(
        path, "w", driver="GTiff", crs=crs, transform=place, width=width, height=height,
        count=bands, dtype=pixels.dtype, nodata=nodata, **profile,
    ) as dataset:
        dataset.write(pixels)
    return path


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes the toy model; its options are fields of `geofootprint.model.ModelInfo`."""
    pytest.importorskip("onnx", reason="needs onnx to make a model; install geofootprint[train]")
    from models import write_toy_model

    return lambda **told: write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx", **told)


@pytest.fixture
def make_image(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes an image of seeded noise, or the pixels it is given, into the test's folder."""

    def make(
        name: str = "image.tif", *, size: tuple[int, int] = (256, 256), bands: int = 3, dtype: str = "uint8",
        pixels: NDArray[Any] | None = None, **options: Any,
    ) -> Path:
        if pixels is None:
            pixels = np.random.default_rng(0).integers(1, 255, (bands, *size)).astype(dtype)
        return write_image(tmp_path / name, pixels, **options)

    return make


@pytest.fixture
def houses(tmp_path: Path) -> Path:
    """Return a file of four houses on the image that `make_image` makes."""
    boxes = [shapely.box(680_000 + 10 * i, 5_237_990, 680_006 + 10 * i, 5_237_996) for i in range(4)]
    gpd.GeoDataFrame(geometry=boxes, crs="EPSG:25832").to_file(tmp_path / "houses.gpkg")
    return tmp_path / "houses.gpkg"
