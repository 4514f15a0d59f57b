"""Peak memory of `geofootprint segment` on a large orthophoto, against reading it whole.

Usage: python benchmarks/segment.py [--size 20000] [--limit 1500] [--model MODEL.onnx] [--keep FOLDER]

Prints one JSON object. The command runs as a user starts it, so that its peak is the operating system's own count and
start-up is in the seconds. The peer reads the image whole and outlines a mask of it with `rasterio.features.shapes`, the
usual way; it has no network, so its memory and its seconds are less than a program of that kind would need.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window

GSD = 0.15
TILE = 2000

WHOLE = """
import sys, rasterio, rasterio.features
with rasterio.open(sys.argv[1]) as dataset:
    image = dataset.read()
    mask = ((image[0] > image[1]) & (image[0] > 120)).astype("uint8")
    print(sum(1 for _ in rasterio.features.shapes(mask, mask=mask, transform=dataset.transform)))
"""


def make_image(path: Path, size: int) -> None:
    """Write a town of procedural scenes as a JPEG-compressed GeoTIFF."""
    from geofootprint.scenes import make_scene

    tiles = [make_scene(size=TILE, gsd=GSD, seed=seed).image for seed in range(2)]
    with rasterio.open(
        path, "w", driver="GTiff", width=size, height=size, count=3, dtype="uint8", crs="EPSG:25832",
        transform=Affine(GSD, 0, 680_000, 0, -GSD, 5_238_000), tiled=True, compress="jpeg", photometric="YCBCR",
    ) as dataset:
        for row in range(0, size, TILE):
            for column in range(0, size, TILE):
                height, width = min(TILE, size - row), min(TILE, size - column)
                tile = tiles[(row // TILE + column // TILE) % 2][:, :height, :width]
                dataset.write(np.ascontiguousarray(tile), window=Window(column, row, width, height))


def measure(command: list[str]) -> dict[str, Any]:
    """Run a program; return its seconds, its peak memory in MB and what it printed."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command[:4])} ended with {process.returncode}")
    unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes
    seconds = round(time.perf_counter() - start, 1)
    return {"seconds": seconds, "peak_mb": round(usage.ru_maxrss / unit), "printed": printed}


def run(folder: Path, size: int, model: str | None, limit: float) -> dict[str, Any]:
    """Measure both on the same image."""
    image, out = folder / "image.tif", folder / "buildings.gpkg"
    # In a process of its own: what a program counts as its peak begins with the memory of the one that started it.
    maker = multiprocessing.get_context("spawn").Process(target=make_image, args=(image, size))
    maker.start()
    maker.join()
    if maker.exitcode:
        sys.exit("the image could not be made")
    chosen = ["-m", model] if model else []
    command = [sys.executable, "-m", "geofootprint", "-q", "segment", str(image), "-o", str(out), *chosen, "--json"]
    ours = measure(command)
    told = json.loads(ours.pop("printed"))
    peer = measure([sys.executable, "-c", WHOLE, str(image)])
    return {
        "claim": f"segment stays under {limit:g} MB whatever the size of the raster",
        "size": size,
        "cpus": os.cpu_count(),
        "model": told["model"],
        "buildings": told["count"],
        **ours,
        "megapixels_per_second": round(size**2 / 1e6 / ours["seconds"], 2),
        "peer": {"name": "read whole, rasterio.features.shapes", "polygons": int(peer.pop("printed")), **peer},
        "limit_mb": limit,
        "holds": ours["peak_mb"] < limit,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=20_000)
    parser.add_argument("--limit", type=float, default=1500, help="megabytes")
    parser.add_argument("--model", help="model file; by default the one that comes along")
    parser.add_argument("--keep", type=Path, help="folder for the image and the footprints; by default a temporary one")
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        print(json.dumps(run(options.keep, options.size, options.model, options.limit)))
        return
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(run(Path(folder), options.size, options.model, options.limit)))


if __name__ == "__main__":
    main()
