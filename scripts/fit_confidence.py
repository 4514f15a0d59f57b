"""Fit the weights of `geofootprint.confidence` to places whose buildings are known, and check them on others.

usage: fit_confidence.py --fit PROBABILITIES TRUTH [AOI] ... --check PROBABILITIES TRUTH [AOI] [--plot FILE.png] [--write]

PROBABILITIES is what `geofootprint predict` made, TRUTH a vector file, AOI the area where it is complete. A building
counts as right where a true one overlaps it with an IoU of 0.5 or more, one to one. Prints one JSON object: the weights,
and for each place how often buildings of one confidence are right. A place named by --fit is told with the weights of the
other places, so that no figure is of the data that it was fitted to. --write puts the weights into geofootprint/confidence.py.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio.features
from numpy.typing import NDArray
from rasterio.windows import Window

from geofootprint import confidence as module
from geofootprint.confidence import FEATURES, confidence, describe_buildings
from geofootprint.metrics import find_overlaps, match_polygons
from geofootprint.probabilities import open_probabilities
from geofootprint.scores import IOU_THRESHOLD
from geofootprint.vector import read_area, read_footprints
from geofootprint.vectorize import read_outlines

RIDGE = 1.0
"""Of the standardized weights, so that a number which tells nothing gets none."""

BINS = 10

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """Buildings of one place: their features, and which are right."""

    name: str
    features: Floats
    right: NDArray[np.bool_]


def read_place(probabilities: str, truth: str, aoi: str | None = None) -> Place:
    """Outline the buildings and match them."""
    found, _ = read_outlines(probabilities)
    true = read_footprints(truth, crs=found.crs)
    with open_probabilities(probabilities) as source:
        grid = source.grid
        bands, valid = source.read(Window(-1, -1, grid.width + 2, grid.height + 2))
    labels = np.full(valid.shape, -1, np.int32)
    shapes = zip(found.geometry, range(1, len(found) + 1), strict=True)
    labels[1:-1, 1:-1] = rasterio.features.rasterize(shapes, grid.shape, transform=grid.transform, dtype="int32")
    labels[~valid] = -1
    table = describe_buildings(bands[0], labels, pixel_area=grid.gsd**2)
    features = np.full((len(found), len(FEATURES)), np.nan)
    features[: len(table)] = table
    pairs = find_overlaps(np.asarray(found.geometry.array), np.asarray(true.geometry.array))
    right = np.zeros(len(found), np.bool_)
    right[match_polygons(pairs, threshold=IOU_THRESHOLD).predicted] = True
    counted = np.isfinite(features).all(axis=1)
    if aoi is not None:
        counted &= found.representative_point().intersects(read_area(aoi, found.crs)).to_numpy()
    return Place(Path(probabilities).stem, features[counted], right[counted])


def fit(places: Sequence[Place]) -> dict[str, float]:
    """Return the weights of a logistic regression by Newton's method."""
    features, right = np.vstack([place.features for place in places]), np.concatenate([place.right for place in places])
    middle, spread = features.mean(axis=0), features.std(axis=0)
    spread[spread == 0] = 1
    table = np.column_stack([np.ones(len(right)), (features - middle) / spread])
    penalty = RIDGE * np.append(0.0, np.ones(len(FEATURES)))
    weights = np.zeros(len(FEATURES) + 1)
    for _ in range(50):
        share = 1 / (1 + np.exp(-table @ weights))
        slope = table.T @ (right - share) - penalty * weights
        bend = (table * (share * (1 - share))[:, None]).T @ table + np.diag(penalty)
        weights += np.linalg.solve(bend, slope)
    plain = weights[1:] / spread
    names = ("intercept", *FEATURES)
    return {name: round(float(w), 4) for name, w in zip(names, [weights[0] - plain @ middle, *plain], strict=True)}


def told(place: Place, weights: dict[str, float]) -> dict[str, Any]:
    """Return how well the confidence of these weights holds at a place."""
    module.COEFFICIENTS = weights
    said = confidence(place.features)
    number = np.minimum((said * BINS).astype(int), BINS - 1)
    bins = [
        {"said": round(float(said[number == i].mean()), 3), "right": round(float(place.right[number == i].mean()), 3),
         "count": int((number == i).sum())}
        for i in range(BINS) if (number == i).any()
    ]
    error = sum(b["count"] * abs(b["said"] - b["right"]) for b in bins) / len(said)
    return {
        "place": place.name, "buildings": len(said), "right": round(float(place.right.mean()), 3),
        "calibration_error": round(error, 3), "brier": round(float(((said - place.right) ** 2).mean()), 3),
        "auc": round(area_under_curve(said, place.right), 3), "bins": bins,
    }


def area_under_curve(said: Floats, right: NDArray[np.bool_]) -> float:
    """Return the share of pairs of a right and a wrong building in which the right one has the higher confidence."""
    wrong = np.sort(said[~right])
    below = np.searchsorted(wrong, said[right], "left") + np.searchsorted(wrong, said[right], "right")
    return float(below.mean() / 2 / max(1, len(wrong)))


def draw_reliability(reports: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw how many of the buildings that were said to be this sure are right, a panel a place."""
    side, margin = 260, 46
    panels = []
    for report in reports:
        panel = np.full((side + 2 * margin, side + 2 * margin, 3), 255, np.uint8)

        def at(x: float, y: float) -> tuple[int, int]:
            return round(margin + x * side), round(margin + (1 - y) * side)

        for share in np.linspace(0, 1, 6):
            cv2.line(panel, at(share, 0), at(share, 1), (230, 230, 230), 1)
            cv2.line(panel, at(0, share), at(1, share), (230, 230, 230), 1)
            write(panel, f"{share:.1f}", (at(share, 0)[0] - 9, at(0, 0)[1] + 16))
            write(panel, f"{share:.1f}", (at(0, 0)[0] - 28, at(0, share)[1] + 4))
        cv2.line(panel, at(0, 0), at(1, 1), (160, 160, 160), 1, cv2.LINE_AA)
        points = [at(b["said"], b["right"]) for b in report["bins"]]
        cv2.polylines(panel, [np.array(points, np.int32)], False, (180, 90, 20), 1, cv2.LINE_AA)
        for point, b in zip(points, report["bins"], strict=True):
            radius = 2 + round(12 * np.sqrt(b["count"] / report["buildings"]))
            cv2.circle(panel, point, radius, (180, 90, 20), -1, cv2.LINE_AA)
        write(panel, f"{report['place']}: {report['buildings']} buildings", (margin, 20))
        write(panel, f"off by {report['calibration_error']:.2f} on average", (margin, 37))
        write(panel, "confidence", (at(0.38, 0)[0], at(0, 0)[1] + 34))
        panels.append(panel)
    cv2.imwrite(str(path), np.hstack(panels))


def write(image: NDArray[np.uint8], text: str, place: tuple[int, int]) -> None:
    """Write black text on an image."""
    cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 40, 40), 1, cv2.LINE_AA)


def replace_weights(weights: dict[str, float]) -> None:
    """Put the weights into the module's source."""
    path = Path(str(module.__file__))
    lines = "".join(f'    "{name}": {value},\n' for name, value in weights.items())
    text = re.sub(r"COEFFICIENTS = \{.*?\}", f"COEFFICIENTS = {{\n{lines}}}", path.read_text(), count=1, flags=re.DOTALL)
    path.write_text(text)


def main() -> None:
    """Fit, check and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", nargs="+", action="append", required=True, metavar="FILE")
    parser.add_argument("--check", nargs="+", action="append", default=[], metavar="FILE")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    fitted, checked = ([read_place(*files) for files in part] for part in (options.fit, options.check))
    weights = fit(fitted)
    reports = [told(place, weights) for place in checked]
    for place in fitted if len(fitted) > 1 else []:
        reports.append(told(place, fit([other for other in fitted if other is not place])))
    print(json.dumps({"weights": weights, "places": reports}))
    if options.plot:
        draw_reliability(reports, options.plot)
    if options.write:
        replace_weights(weights)


if __name__ == "__main__":
    main()
