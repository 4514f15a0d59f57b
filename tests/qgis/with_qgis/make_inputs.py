"""Make what the tests in QGIS work on; runs in the engine's Python: make_inputs.py FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp

from geofootprint.scenes import make_scene, write_scene

PLACE = Affine(0.15, 0, 680_000, 0, -0.15, 5_238_000)


def write_raster(path, pixels, place=PLACE, **profile):
    """Write an array of shape (bands, height, width) near Innsbruck."""
    bands, height, width = pixels.shape
    with rasterio.open(
        path, "w", driver="GTiff", transform=place, width=width, height=height, count=bands, dtype="uint8", **profile
    ) as dataset:
        dataset.write(pixels)


folder = Path(sys.argv[1])
scene = make_scene(size=640, gsd=0.15, seed=1, style="suburb", crs="EPSG:25832")
write_scene(scene, folder / "ortho.tif", folder / "buildings.gpkg")
noise = np.random.default_rng(0).integers(1, 255, (3, 256, 256)).astype("uint8")
write_raster(folder / "grey.tif", noise[:1], crs="EPSG:25832")
write_raster(folder / "no_crs.tif", noise, crs=None)
with rasterio.open(folder / "ortho.tif") as dataset:
    write_raster(folder / "rotated.tif", dataset.read(), PLACE * Affine.rotation(10), crs="EPSG:25832")
five = noise[[0, 1, 2, 0, 1]].copy()
write_raster(folder / "rgb_nir_alpha.tif", five, crs="EPSG:25832", photometric="rgb")
with rasterio.open(folder / "rgb_nir_alpha.tif", "r+") as dataset:
    dataset.colorinterp = [*dataset.colorinterp[:3], ColorInterp.undefined, ColorInterp.alpha]
