"""Label rasters against gdal_rasterize: the same footprints on the same grid, contours only in ours.

Usage: python benchmarks/labels.py [--size 20000] [--footprints 100000] [--runs 1]

Prints one JSON object: seconds of the whole commands as a user starts them, start-up included, seconds of their
processors, which a busy machine changes less, and their peak memory.
gdal_rasterize (gdal-bin) is measured as it comes, writing rows without compression, and writing the kind of file that
ours is: tiled and packed. `holds` and `ratio` are against the first, with the second that ours may take to start.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyogrio.raw
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray

PIXEL = 0.2
"""Metres, as of the Tirol orthophoto."""

WEST, NORTH, CRS = 680_000.0, 5_240_000.0, "EPSG:25832"


def make_houses(count: int, size: int, seed: int = 0) -> NDArray[np.object_]:
    """Return rectangles, L-shapes and round houses on a town's lattice; every third touches its neighbour."""
    rng = np.random.default_rng(seed)
    side = math.ceil(math.sqrt(count))
    cell = size * PIXEL / side
    row, column = np.divmod(np.arange(count), side)
    centre = np.stack([WEST + (column + 0.5) * cell, NORTH - (row + 0.5) * cell], axis=1)
    width, depth = rng.uniform(0.4, 0.95, (2, count, 1)) * cell / 2
    touching = (np.arange(count) % 3 == 0)[:, None]
    width = np.where(touching, cell / 2, width)
    corner = np.array([[-1, -1], [1, -1], [1, 0], [0, 0], [0, 1], [-1, 1]])
    around = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    angle = np.where(touching[:, 0], 0, rng.uniform(-0.15, 0.15, count))
    turn = np.stack([np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)], axis=1).reshape(-1, 2, 2)
    half = np.stack([width, depth], axis=2)
    kinds = [
        np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]),
        corner,
        np.stack([np.cos(around), np.sin(around)], axis=1),
    ]
    kind = rng.choice(3, count, p=[0.6, 0.35, 0.05])
    houses = np.empty(count, dtype=object)
    for number, shape in enumerate(kinds):
        chosen = kind == number
        rings = (shape[None] * half[chosen]) @ turn[chosen] + centre[chosen][:, None]
        houses[chosen] = shapely.polygons(rings)
    return houses


def make_input(folder: Path, size: int, count: int) -> tuple[Path, Path]:
    """Write the footprints, and an image without pixels: neither program reads any."""
    footprints, image = folder / "houses.gpkg", folder / "image.tif"
    pyogrio.raw.write(
        str(footprints), shapely.to_wkb(make_houses(count, size)), [], [], layer="houses", driver="GPKG",
        geometry_type="Polygon", crs=CRS,
    )
    with rasterio.open(
        image, "w", driver="GTiff", width=size, height=size, count=3, dtype="uint8", crs=CRS, tiled=True,
        transform=Affine(PIXEL, 0, WEST, 0, -PIXEL, NORTH), sparse_ok=True, compress="deflate",
    ):
        pass
    return footprints, image


class Cost(NamedTuple):
    """Least seconds of some runs, least seconds of their processors, and the most megabytes."""

    wall: float
    cpu: float
    peak: int


def measure(command: list[str], out: Path, runs: int) -> Cost:
    """Run a command some times."""
    costs = []
    for _ in range(runs):
        out.unlink(missing_ok=True)
        start = time.perf_counter()
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        costs.append((time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss // 1024))
        if status:
            sys.exit(f"failed: {' '.join(command)}")
    wall, cpu, peak = zip(*costs, strict=True)
    return Cost(min(wall), min(cpu), max(peak))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=20_000)
    parser.add_argument("--footprints", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        footprints, image = make_input(folder, options.size, options.footprints)
        ours, plain, packed = (folder / f"{name}.tif" for name in ("ours", "plain", "packed"))
        extent = [WEST, NORTH - options.size * PIXEL, WEST + options.size * PIXEL, NORTH]
        gdal = ["gdal_rasterize", "-q", "-burn", "1", "-ot", "Byte", "-te", *map(str, extent)]
        gdal += ["-ts", str(options.size), str(options.size)]
        packing = ["-co", "TILED=YES", "-co", "BLOCKXSIZE=512", "-co", "BLOCKYSIZE=512", "-co", "COMPRESS=PACKBITS"]
        mine = [sys.executable, "-m", "geofootprint", "-q", "rasterize-labels", str(footprints), str(image)]
        to_plain = measure([*gdal, str(footprints), str(plain)], plain, options.runs)
        to_packed = measure([*gdal, *packing, str(footprints), str(packed)], packed, options.runs)
        to_ours = measure([*mine, "-o", str(ours)], ours, options.runs)
        differing = count_differences(ours, plain)
    print(
        json.dumps({
            "claim": "labels with contours take no longer than gdal_rasterize plus 1 s",
            "size": options.size, "footprints": options.footprints, "cpus": os.cpu_count(), "runs": options.runs,
            "geofootprint_s": round(to_ours.wall, 2), "gdal_rasterize_s": round(to_plain.wall, 2),
            "gdal_rasterize_packed_s": round(to_packed.wall, 2), "ratio": round(to_ours.wall / (to_plain.wall + 1), 2),
            "ratio_packed": round(to_ours.wall / (to_packed.wall + 1), 2), "holds": to_ours.wall <= to_plain.wall + 1,
            "geofootprint_cpu_s": round(to_ours.cpu, 2), "gdal_rasterize_cpu_s": round(to_plain.cpu, 2),
            "peak_mb": to_ours.peak, "gdal_rasterize_peak_mb": to_plain.peak, "differing_pixels": differing,
        })
    )


def count_differences(ours: Path, theirs: Path) -> int:
    """Return how many pixels are building in one and not in the other."""
    with rasterio.open(ours) as one, rasterio.open(theirs) as other:
        windows = (window for _, window in one.block_windows(1))
        return sum(
            int(((one.read(1, window=window) > 0) != (other.read(1, window=window) > 0)).sum()) for window in windows
        )


if __name__ == "__main__":
    main()
