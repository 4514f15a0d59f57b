"""Draw footprints on a part of an orthophoto, for the documentation: layers side by side, each on the same ground.

usage: draw_outlines.py IMAGE LAYER... --centre X Y [--side METRES] -o FILE.jpg    X, Y: longitude and latitude
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyproj
from rasterio.crs import CRS

from geofootprint.report import draw_outlines, encode_jpeg, read_picture
from geofootprint.vector import read_footprints

GAP = 6
"""White pixels between two pictures."""


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("layers", type=Path, nargs="+")
    parser.add_argument("--centre", type=float, nargs=2, required=True, metavar=("X", "Y"))
    parser.add_argument("--side", type=float, default=60.0)
    parser.add_argument("--size", type=int, default=460, help="pixels of each picture")
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    lon, lat = options.centre
    crs = CRS.from_epsg((32600 if lat >= 0 else 32700) + int((lon + 180) // 6) + 1)
    x, y = pyproj.Transformer.from_crs("EPSG:4326", crs.to_wkt(), always_xy=True).transform(lon, lat)
    half = options.side / 2
    image, grid = read_picture((x - half, y - half, x + half, y + half), crs, image=options.image, size=options.size)
    gap = np.full((3, image.shape[1], GAP), 255, np.uint8)
    pictures = []
    for layer in options.layers:
        pictures += [draw_outlines(image, grid, read_footprints(layer), width=1), gap]
    options.out.write_bytes(encode_jpeg(np.concatenate(pictures[:-1], axis=2), quality=80))


if __name__ == "__main__":
    main()
