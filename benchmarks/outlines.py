"""Accuracy, regularity and cost of outlines, against the usual ways and packages from PyPI in the same run.

Usage: python benchmarks/outlines.py [--seeds 3] [--size 2048] [--real FOLDER ...] [--markdown TABLE.md] [--picture FILE.jpg]

Prints one JSON object. Each method gets the same noisy probability fields (benchmarks/fields.py), whose truth is exact: all
shapes at three levels of noise, several ground sampling distances, and rows of attached houses. A peer that is not
installed is reported as absent: pip install buildingregulariser geomltoolkits. With --real, the same table on real
predictions: a FOLDER has probabilities.tif, as `geofootprint predict` makes it, truth.gpkg, and aoi.geojson where the truth is
complete. Times are of one process's CPU, from probabilities to polygons, for a building.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from fields import LEVELS, Field, make_field, make_row
from methods import METHODS, Scene
from numpy.typing import NDArray
from tables import write_tables

from geofootprint.metrics import count_vertices, find_overlaps, match_polygons, polis
from geofootprint.probabilities import open_probabilities
from geofootprint.raster import windows_of
from geofootprint.vector import parts_of, read_area, read_footprints

GSD = 0.3
OTHER_GSDS = (0.1, 0.2, 0.5)
HOUSES = 8
CURVED = ("circle", "ellipse", "apse")
"""Shapes whose truth has as many vertices as its maker liked; they are left out of `vertex_ratio`."""

CLOSE = 1.0
"""Pixels under which a gap between two houses of a row is none that was meant."""

WALLED = 0.9
"""Share of a gap's outline that is along houses."""

Floats = NDArray[np.float64]


def as_scene(field: Field, name: str) -> Scene:
    """Return a field as a scene."""
    valid = np.ones(field.probabilities.shape[1:], np.bool_)
    return Scene(name, field.probabilities, valid, field.truth, field.kinds, field.gsd)


def read_real(folder: Path) -> Scene:
    """Read a real prediction, its truth and the area where that is complete, all in pixels."""
    with open_probabilities(folder / "probabilities.tif") as source:
        grid = source.grid
        (window,) = windows_of(grid, max(grid.shape))
        probabilities, valid = source.read(window)
        threshold = float(source.model.get("threshold") or 0.5)
    truth = read_footprints(folder / "truth.gpkg", crs=grid.crs).geometry.array
    aoi = folder / "aoi.geojson"
    a, b, c, d, e, f = (~grid.transform)[:6]

    def place(xy: Floats) -> Floats:
        return np.stack([a * xy[:, 0] + b * xy[:, 1] + c, d * xy[:, 0] + e * xy[:, 1] + f], axis=1)

    area = shapely.transform(read_area(aoi, grid.crs), place) if aoi.exists() else None
    polygons = np.asarray(shapely.transform(np.asarray(truth), place))
    return Scene(folder.name, probabilities, valid, polygons, np.full(len(polygons), "real"), grid.gsd, threshold, area)


def draw_all(scene: Scene) -> dict[str, tuple[NDArray[Any], float]]:
    """Return the outlines of each method that is here, and its seconds."""
    drawn = {}
    for name, method in METHODS.items():
        if method.is_here:
            started = time.process_time()
            polygons = method.draw(scene)
            drawn[name] = polygons, time.process_time() - started
    return drawn


def measure(scene: Scene, drawn: dict[str, tuple[NDArray[Any], float]]) -> dict[str, dict[str, Any]]:
    """Score each method's outlines of one scene."""
    truth = scene.truth
    if scene.area is not None:
        truth = truth[shapely.intersects(shapely.point_on_surface(truth), scene.area)]
    # The buildings that the raw ring finds are the same question to all methods.
    asked = best_iou(drawn["raw"][0], truth) >= 0.5
    return {name: score(polygons, seconds, truth, asked, scene) for name, (polygons, seconds) in drawn.items()}


def best_iou(polygons: NDArray[Any], truth: NDArray[Any]) -> Floats:
    """Return the largest IoU that each true building has with any outline."""
    overlaps = find_overlaps(repaired(polygons), truth)
    best = np.zeros(len(truth))
    np.maximum.at(best, overlaps.truth, overlaps.iou)
    return best


def repaired(polygons: NDArray[Any]) -> NDArray[Any]:
    """Return valid geometries, so that those of a method that makes others can be scored as well."""
    return np.asarray(shapely.make_valid(polygons, method="structure", keep_collapsed=False))


def score(
    polygons: NDArray[Any], seconds: float, truth: NDArray[Any], asked: NDArray[np.bool_], scene: Scene
) -> dict[str, Any]:
    """Return all figures of one method on one scene, lengths in pixels."""
    found = parts_of(repaired(polygons))
    pairs = match_polygons(find_overlaps(found, truth))
    ours, theirs = found[pairs.predicted], truth[pairs.truth]
    ratio = (count_vertices(ours) / count_vertices(theirs))[~np.isin(scene.kinds[pairs.truth], CURVED)]
    bias = shapely.area(ours) / shapely.area(theirs) - 1
    iou = best_iou(polygons, truth)
    return {
        "outlines": len(polygons),
        "asked": int(asked.sum()),
        "pairs": len(pairs.iou),
        "iou": mean(iou[asked]),
        "polis_px": mean(polis(ours, theirs)),
        "vertex_ratio": mean(ratio),
        "area_bias": mean(bias),
        "valid": mean(shapely.is_valid(polygons)),
        "overlap_m2": overlap(found) * scene.gsd**2,
        "ms_per_building": 1000 * seconds / max(1, len(polygons)),
        "iou_of_kind": {str(kind): mean(iou[scene.kinds == kind]) for kind in np.unique(scene.kinds)}
        if len(scene.kinds) == len(truth) else {},
    }


def mean(values: Any) -> float | None:
    """Return the mean, None of nothing."""
    return float(np.mean(values)) if len(values) else None


def overlap(polygons: NDArray[Any]) -> float:
    """Return the area that pairs of polygons share, summed."""
    first, second = shapely.STRtree(polygons).query(polygons)
    pairs = first < second
    return float(shapely.area(shapely.intersection(polygons[first[pairs]], polygons[second[pairs]])).sum())


def gaps(polygons: NDArray[Any]) -> float:
    """Return the area between polygons that is narrower than `CLOSE` and walled in by them."""
    union = shapely.union_all(polygons)
    options = {"join_style": "mitre", "mitre_limit": 10.0}
    closed = shapely.buffer(shapely.buffer(union, CLOSE / 2, **options), -CLOSE / 2, **options)
    slivers = shapely.get_parts(shapely.difference(closed, union))
    # A notch in a facade is open on one side.
    along = shapely.length(shapely.intersection(shapely.boundary(slivers), shapely.buffer(union, 1e-6)))
    return float(shapely.area(slivers)[along > WALLED * shapely.length(slivers)].sum())


def measure_row(seed: int, level: str) -> dict[str, dict[str, Any]]:
    """Score each method's outlines of one row of houses."""
    scene = as_scene(make_row(LEVELS[level], seed=seed, houses=HOUSES, gsd=GSD), f"row {level} {seed}")
    figures = {}
    for name, (polygons, _) in draw_all(scene).items():
        found = parts_of(repaired(polygons))
        figures[name] = {
            "outlines": len(found),
            "right_count": len(found) == HOUSES,
            "overlap_m2": overlap(found) * GSD**2,
            "gap_m2": gaps(found) * GSD**2,
            "iou": mean(best_iou(polygons, scene.truth)),
        }
    return figures


def average(runs: Sequence[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Return the mean over runs of each method's figures; counts and areas of overlaps are summed."""
    return {name: _average([run[name] for run in runs if name in run]) for name in runs[0]}


def _average(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    summed = ("outlines", "asked", "pairs", "overlap_m2", "gap_m2", "right_count")
    made: dict[str, Any] = {}
    for key, value in rows[0].items():
        if isinstance(value, dict):
            made[key] = _average([row[key] for row in rows])
        else:
            values = [row[key] for row in rows if row.get(key) is not None]
            made[key] = round(float(np.sum(values) if key in summed else np.mean(values)), 9) if values else None
    return made


def run(seeds: int, size: int, real: Iterable[Path]) -> dict[str, Any]:
    """Measure everything."""
    levels: dict[str, Any] = {}
    for level in LEVELS:
        fields = (make_field(LEVELS[level], seed=seed, size=size, gsd=GSD) for seed in range(seeds))
        levels[level] = average([measure(scene, draw_all(scene)) for scene in (as_scene(f, level) for f in fields)])
    distances = {}
    for gsd in OTHER_GSDS:
        scene = as_scene(make_field(LEVELS["mid"], seed=0, size=size, gsd=gsd), f"{gsd} m")
        distances[str(gsd)] = measure(scene, draw_all(scene))
    rows = {level: average([measure_row(seed, level) for seed in range(max(3, seeds))]) for level in LEVELS}
    predictions = {}
    for folder in real:
        scene = read_real(folder)
        predictions[scene.name] = measure(scene, draw_all(scene))
    return {
        "levels": levels, "gsd": distances, "rows": rows, "real": predictions, "seeds": seeds, "size": size,
        "cpus": os.cpu_count(),
        "peers": {name: method.version or "absent" for name, method in METHODS.items() if method.package},
    }


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=2048, help="pixels of a field's side")
    parser.add_argument("--real", type=Path, nargs="*", default=[], metavar="FOLDER")
    parser.add_argument("--markdown", type=Path, help="file for the tables")
    parser.add_argument("--picture", type=Path, help="draw the same twelve buildings by each method, and measure nothing")
    options = parser.parse_args()
    if options.picture:
        from pictures import draw_twelve

        scene = as_scene(make_field(LEVELS["mid"], seed=0, size=1024, gsd=GSD), "mid")
        draw_twelve(scene, draw_all(scene), options.picture)
        return
    figures = run(options.seeds, options.size, options.real)
    if options.markdown:
        write_tables(figures, options.markdown)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
