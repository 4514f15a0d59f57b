"""Fixtures of the tests that need torch: a small dataset cut by `tile`, tiny settings, one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray

from geofootprint.tiling import tile

if TYPE_CHECKING:
    from lightning.fabric import Fabric

GSD = 0.15

TINY = """\
compile = false
[generator]
width = 4
[discriminator]
width = 4
[loss]
adversarial_start = 0.0
[data]
patch = 64
batch = 4
crops_per_epoch = 8
"""
"""Two steps of four crops an epoch, the discriminator with them from the first."""


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Keep sums in one order, and the machine free."""
    torch = pytest.importorskip("torch", reason="needs geofootprint[train]")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_town(folder: Path, *, bands: int, side: int) -> tuple[Path, Path]:
    """Write an image of bright houses on dark ground, one in most cells of 32 px, and their footprints."""
    rng = np.random.default_rng(0)
    place = Affine(GSD, 0, 680_000, 0, -GSD, 5_238_000)
    pixels: NDArray[np.uint8] = rng.integers(30, 90, (bands, side, side)).astype(np.uint8)
    houses = []
    for top in range(0, side, 32):
        for left in range(0, side, 32):
            height, width = rng.integers(10, 22, 2)
            row, column = top + rng.integers(2, 30 - height), left + rng.integers(2, 30 - width)
            if rng.random() < 0.8:
                pixels[:, row : row + height, column : column + width] += np.uint8(120)
                corners = [(column, row), (column + width, row), (column + width, row + height), (column, row + height)]
                houses.append(shapely.Polygon([place * corner for corner in corners]))
    image, footprints = folder / "town.tif", folder / "town.gpkg"
    with rasterio.open(
        image, "w", driver="GTiff", count=bands, height=side, width=side, dtype="uint8", crs="EPSG:25832",
        transform=place, photometric="RGB" if bands == 3 else "MINISBLACK",
    ) as dataset:
        dataset.write(pixels)
    gpd.GeoDataFrame(geometry=houses, crs="EPSG:25832").to_file(footprints)
    return image, footprints


@pytest.fixture
def town() -> Callable[..., tuple[Path, Path]]:
    """Return `make_town`."""
    return make_town


@pytest.fixture(scope="session")
def make_dataset(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that cuts a dataset of 64 px tiles; its options are those of `make_town` and of `tile`."""

    def make(*, bands: int = 3, side: int = 320, **options: object) -> Path:
        folder = tmp_path_factory.mktemp("town")
        image, footprints = make_town(folder, bands=bands, side=side)
        told = {"size": 64, "split": (0.6, 0.2, 0.2), **options}
        tile(image, footprints, folder / "tiles", **told)  # type: ignore[arg-type]
        return folder / "tiles"

    return make


@pytest.fixture(scope="session")
def dataset(make_dataset: Callable[..., Path]) -> Path:
    """Return a dataset of 25 tiles that no test changes."""
    return make_dataset()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a configuration of tiny networks."""
    path = tmp_path_factory.mktemp("settings") / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture
def fabric() -> Fabric:
    """Return what runs networks on the CPU in float32."""
    from geofootprint.learning.devices import make_fabric

    return make_fabric(device="cpu", precision="32")
