"""Make procedural orthophotos to train on: N images side by side, and the footprints of all in one file.

usage: make_scenes.py COUNT FOLDER [--size PX] [--gsd M] [--seed N] [--styles NAME,NAME...]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import geopandas as gpd
import pandas as pd

from geofootprint.output import create_geotiff
from geofootprint.scenes import make_scene
from geofootprint.vector import write_footprints

GAP = 100.0
"""Metres between two scenes, so that no building lies on two images."""


def main() -> None:
    """Write FOLDER/scene_NN.tif and FOLDER/buildings.gpkg."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--gsd", type=float, default=0.15)
    parser.add_argument("--seed", type=int, default=1000, help="of the first scene")
    parser.add_argument("--styles", type=lambda text: text.split(","), default=[None], help="in turn; by chance if not given")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    footprints = []
    for number in range(options.count):
        style = options.styles[number % len(options.styles)]
        origin = (680_000 + number * (options.size * options.gsd + GAP), 5_238_000)
        scene = make_scene(size=options.size, gsd=options.gsd, seed=options.seed + number, origin=origin, style=style)
        path = options.folder / f"scene_{number:02d}.tif"
        with create_geotiff(path, scene.grid, count=3, compress="jpeg", photometric="ycbcr", jpeg_quality=90) as dataset:
            dataset.write(scene.image)
        footprints.append(scene.footprints)
        print(f"{path}: {scene.style}, {len(scene.footprints)} buildings", flush=True)
    write_footprints(gpd.GeoDataFrame(pd.concat(footprints, ignore_index=True)), options.folder / "buildings.gpkg")


if __name__ == "__main__":
    main()
