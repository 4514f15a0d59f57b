"""Time and peak memory of outlines for very many buildings, on one core.

Usage: python benchmarks/many.py [--counts 5000 20000 1000000] [--level mid]

Prints one JSON object. One field of 225 buildings of every shape (benchmarks/fields.py) is repeated without end, and read
block by block through the same code as the raster of a whole state would be; each count runs in a process of its own, whose
peak memory is the operating system's count. `minutes_a_million` is what the time of each count comes to.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from fields import LEVELS, Field, make_field
from methods import MIN_AREA, NORTH, UTM, WEST
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.windows import Window

from geofootprint.groups import Walk
from geofootprint.outlines import regularize_rings
from geofootprint.progress import SILENT
from geofootprint.raster import Grid
from geofootprint.vectorize import gather, outline_rule, to_footprints

BLOCK = 2048


@dataclass
class Endless:
    """A field repeated to the right and downwards, as `geofootprint.probabilities.Source` wants it."""

    field: Field
    grid: Grid

    def read(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return the pixels of a window; nothing is valid outside of the grid."""
        rows = np.arange(int(window.row_off), int(window.row_off + window.height))
        columns = np.arange(int(window.col_off), int(window.col_off + window.width))
        height, width = self.field.probabilities.shape[1:]
        pixels = self.field.probabilities.take(rows % height, axis=1).take(columns % width, axis=2)
        valid = ((rows >= 0) & (rows < self.grid.height))[:, None] & (columns >= 0) & (columns < self.grid.width)
        return pixels, valid


def peak_megabytes() -> int:
    """Return the peak of this process; `ru_maxrss` would be that of the one which started it. Linux only."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) // 1024


def measure(count: int, field: Field) -> dict[str, Any]:
    """Outline at least so many buildings."""
    size = field.probabilities.shape[1]
    wide = int(np.ceil(np.sqrt(count / len(field.truth))))
    high = int(np.ceil(count / len(field.truth) / wide))
    transform = Affine(field.gsd, 0, WEST, 0, -field.gsd, NORTH)
    grid = Grid(CRS.from_string(UTM), transform, wide * size, high * size)
    rule = outline_rule(grid, threshold=0.5, min_area=MIN_AREA, outline="map")
    before = peak_megabytes()
    started = time.process_time()
    rings = gather(regularize_rings(Walk(Endless(field, grid), rule, block=BLOCK, progress=SILENT).rings(), rule))
    found = len(to_footprints(rings, grid, min_area=MIN_AREA, outline="map"))
    seconds = time.process_time() - started
    return {
        "buildings": found, "seconds": round(seconds, 1), "ms_a_building": round(1000 * seconds / found, 3),
        "minutes_a_million": round(seconds / found * 1e6 / 60, 1), "megabytes_before": before, "peak_megabytes": peak_megabytes(),
    }


def main() -> None:
    """Measure each count in a new process, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[5000, 20_000])
    parser.add_argument("--level", choices=list(LEVELS), default="mid")
    options = parser.parse_args()
    fresh = multiprocessing.get_context("spawn")
    field = make_field(LEVELS[options.level])  # here, so that its making is in nobody's peak
    runs = []
    for count in options.counts:
        with fresh.Pool(1) as pool:
            runs.append(pool.apply(measure, (count, field)))
    print(json.dumps({"level": options.level, "runs": runs}))


if __name__ == "__main__":
    main()
