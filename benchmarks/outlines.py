"""Outlines from noisy probabilities against the truth: raw pixels, Douglas and Peucker's method, sub-pixel rings, and ours.

Usage: python benchmarks/outlines.py [--levels low,mid,hard] [--seeds 0,1,2] [--gsd 0.3] [--size 2048]

Prints one JSON object. Every method gets the same fields of separate buildings of twelve shapes at any angle. A building's
outline is the polygon that shares most area with it; one that a method did not find counts with an IoU of 0.

- `iou`: mean intersection over union; `polis`: mean PoLiS distance in pixels (Avbelj et al. 2015), holes left out.
- `vertices`: mean number of vertices over that of the truth, where the truth has straight walls only.
- `bias`: mean of the area over the true area, less 1.
- `ms`: CPU milliseconds a building from the probabilities to the polygons, on one core.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from geofootprint.groups import CELL, Walk
from geofootprint.metrics import count_vertices, polis
from geofootprint.probabilities import ProbabilityArray
from geofootprint.progress import SILENT
from geofootprint.raster import Grid
from geofootprint.regularize import regularize_polygons
from geofootprint.rings import Rule

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.fields import LEVELS, Field, make_field

CURVED = ("circle", "ellipse", "apse")
"""Shapes whose number of vertices is a matter of taste."""

MIN_SIZE = 20.0
"""Square pixels of the smallest outline, for every method: noise makes specks."""

Method = Callable[[Field], NDArray[Any]]


def pixel_edges(field: Field) -> NDArray[Any]:
    """Outline pixels of at least a half by their edges."""
    mask = (field.probabilities[0] > 127).astype(np.uint8)
    shapes = rasterio.features.shapes(mask, mask=mask > 0)
    polygons = np.array([shapely.geometry.shape(shape) for shape, _ in shapes], object)
    return np.asarray(polygons[shapely.area(polygons) >= MIN_SIZE], object)


def simplified(tolerance: float) -> Method:
    """Return the method that simplifies pixel edges with a tolerance in pixels."""
    return lambda field: np.asarray(shapely.simplify(pixel_edges(field), tolerance), object)


def raw_rings(field: Field) -> NDArray[Any]:
    """Return sub-pixel contour lines."""
    probabilities = field.probabilities[:1]
    height, width = probabilities.shape[1:]
    grid = Grid(CRS.from_epsg(32632), Affine(field.gsd, 0, 5e5, 0, -field.gsd, 5e6), width, height)
    rule = Rule(
        level=127.5, peak=153, min_size=MIN_SIZE, min_hole=MIN_SIZE, min_gap=1, marker_size=20, outline="raw",
        extent=(0, 0, width, height),
    )
    source = ProbabilityArray(probabilities, np.ones((height, width), np.bool_), grid)
    groups = Walk(source, rule, block=CELL, progress=SILENT).rings()
    return np.concatenate([np.zeros(0, object), *(group.polygons for group in groups)])


def ours(outline: str) -> Method:
    """Return the method that regularizes sub-pixel rings."""
    return lambda field: regularize_polygons(raw_rings(field), outline=outline).polygons


METHODS: dict[str, Method] = {
    "pixels": pixel_edges,
    "pixels, Douglas-Peucker 1 px": simplified(1),
    "pixels, Douglas-Peucker 2 px": simplified(2),
    "geofootprint raw": raw_rings,
    "geofootprint map": ours("map"),
    "geofootprint area": ours("area"),
}


def score(polygons: NDArray[Any], field: Field) -> dict[str, float]:
    """Compare outlines with the truth."""
    tree = shapely.STRtree(polygons)
    building, found = tree.query(field.truth, predicate="intersects")
    shared = shapely.area(shapely.intersection(field.truth[building], polygons[found]))
    order = np.lexsort((-shared, building))
    numbers, first = np.unique(building[order], return_index=True)
    truth, best, shared = field.truth[numbers], polygons[found[order][first]], shared[order][first]
    area, true_area = shapely.area(best), shapely.area(truth)
    straight = ~np.isin(field.kinds[numbers], CURVED)
    return {
        "iou": float((shared / (area + true_area - shared)).sum() / len(field.truth)),
        "polis": float(polis(best, truth).mean()),
        "vertices": float((count_vertices(best) / count_vertices(truth))[straight].mean()),
        "bias": float((area / true_area).mean() - 1),
        "valid": float(shapely.is_valid(polygons).mean()),
    }


def measure(method: Method, field: Field) -> dict[str, float]:
    """Return scores and time of a method on a field."""
    start = time.process_time()
    polygons = method(field)
    seconds = time.process_time() - start
    return {**score(polygons, field), "ms": 1000 * seconds / len(field.truth)}


def run(levels: list[str], seeds: list[int], size: int, gsd: float) -> dict[str, Any]:
    """Measure every method on every field."""
    for method in METHODS.values():  # what is loaded or compiled once is no cost of a building
        method(make_field(LEVELS["low"], size=300, gsd=0.3))
    table: dict[str, dict[str, dict[str, float]]] = {}
    buildings = 0
    for level in levels:
        fields = [make_field(LEVELS[level], seed=seed, size=size, gsd=gsd) for seed in seeds]
        buildings = len(fields[0].truth)
        table[level] = {}
        for name, method in METHODS.items():
            runs = [measure(method, field) for field in fields]
            table[level][name] = {key: round(float(np.mean([run[key] for run in runs])), 4) for key in runs[0]}
            table[level][name]["iou_sd"] = round(float(np.std([run["iou"] for run in runs])), 4)
    return {
        "claim": "regular outlines are nearer to the truth than the rings that they are made from",
        "size": size, "gsd": gsd, "seeds": seeds, "buildings": buildings, "table": table,
        "holds": all(rows["geofootprint map"]["iou"] >= rows["geofootprint raw"]["iou"] for rows in table.values()),
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--levels", default="low,mid,hard")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--size", type=int, default=2048, help="pixels")
    parser.add_argument("--gsd", type=float, default=0.3, help="metres")
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    print(json.dumps(run(options.levels.split(","), seeds, options.size, options.gsd)))


if __name__ == "__main__":
    main()
