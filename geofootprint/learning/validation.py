"""Scores of a generator on whole tiles, and the threshold that suits it best."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from geofootprint.errors import ModelError
from geofootprint.instances import separate_instances
from geofootprint.labels import NODATA
from geofootprint.learning.batches import Batch, to_batch
from geofootprint.learning.dataset import Tile, TileSet, is_building, is_contour
from geofootprint.metrics import Counts, Mask, count_pixels, find_pixel_overlaps, inner_band, match_polygons
from geofootprint.progress import SILENT, Progress
from geofootprint.scores import BOUNDARY_WIDTH, IOU_THRESHOLD

__all__ = ["Score", "Validation", "count_levels", "ious", "predict_probabilities"]

LEVELS = 255
"""Probabilities are counted in steps of 1/255, as they are kept on disk."""

HALF = 128
"""The first level that is at least a probability of 0.5."""

PIXELS_AT_ONCE = 2**20
"""Tiles are predicted in batches of about so many pixels."""

MIN_AREA, MIN_MARKER = 8.0, 6.0
"""Square metres of the smallest building, and of the smallest inside that marks one: those of `vectorize`."""

ALIKE = 0.005
"""Steps of object F1 in which validations are compared: less than this is chance."""

THREADS = max(1, (os.cpu_count() or 1) // 2)
"""That count objects while the network predicts the next tiles."""


@dataclass(frozen=True)
class Score:
    """How well buildings were predicted, over all valid pixels of all tiles.

    Attributes
    ----------
    iou, f1 : float
        Intersection over union and F1 of the building channel at probability 0.5.
    best_iou : float
        The intersection over union at `threshold`.
    threshold : float
        The probability between 0 and 1 at which that is highest.
    contour_iou : float
        Of the contour channel at 0.5; 0 if there is none.
    boundary_iou : float
        At `threshold`, of the pixels up to `geofootprint.scores.BOUNDARY_WIDTH` inside an outline.
    object_precision, object_recall, object_f1 : float
        Of buildings at `threshold`, paired from an intersection over union of `geofootprint.scores.IOU_THRESHOLD`.
    """

    iou: float
    f1: float
    best_iou: float
    threshold: float
    contour_iou: float
    boundary_iou: float = 0.0
    object_precision: float = 0.0
    object_recall: float = 0.0
    object_f1: float = 0.0

    @property
    def rank(self) -> tuple[int, float]:
        """What the best of several is chosen by: object F1 in steps of half a percent, then the IoU at 0.5."""
        return round(self.object_f1 / ALIKE), self.iou


class Validation:
    """Tiles that generators are scored on, again and again; what their labels say is worked out once.

    Buildings of a label are told apart by its contours, those of a prediction by its contour channel, both by the
    watershed that `vectorize` begins with. A tile's edge cuts both alike, and what is smaller than the smallest building
    counts in neither.

    Parameters
    ----------
    tiles : TileSet
    classes : sequence of str
        The generator's channels, building first.
    """

    def __init__(self, tiles: TileSet, classes: Sequence[str]) -> None:
        self.tiles, self.classes = tiles, classes
        pixel = tiles.gsd**2
        self._rule = _Rule(
            band=max(1, round(BOUNDARY_WIDTH / tiles.gsd)),
            min_size=math.ceil(MIN_AREA / pixel),
            marker_size=max(1, round(MIN_MARKER / pixel)),
        )

    @cached_property
    def _truths(self) -> list[_Truth]:
        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(self._rule.read_truth, self.tiles.tiles))

    def score(self, generator: nn.Module, fabric: Fabric, *, progress: Progress = SILENT) -> Score:
        """Score a generator, without gradients and with fixed statistics.

        Parameters
        ----------
        generator : torch.nn.Module
            Returns a channel of logits for each of the classes.
        fabric : lightning_fabric.Fabric
            Its device and precision.
        progress : Progress

        Raises
        ------
        ModelError
            If the generator's output is not finite.
        """
        counts = {name: np.zeros((2, LEVELS + 1), np.int64) for name in self.classes}
        predicted: dict[int, NDArray[np.uint8]] = {}
        for numbers, batch in _batches(self.tiles, self.classes):
            progress.update("validate", len(predicted), len(self.tiles.tiles))
            probability = predict_probabilities(generator, batch, fabric)
            if not torch.isfinite(probability).all():
                raise ModelError("The generator's output is not finite; train again with a lower optimizer.learning_rate.")
            for channel, name in enumerate(self.classes):
                counts[name] += count_levels(probability[:, channel], batch.target[:, channel], batch.valid)
            levels = (probability * LEVELS).round().byte().numpy()
            predicted |= dict(zip(numbers, levels, strict=True))
        building = ious(counts["building"])
        contour_iou = float(ious(counts["contour"])[HALF]) if "contour" in counts else 0.0
        # Thresholds of 0 and 1 would take all or nothing, whatever the image.
        best = 1 + int(building[1:LEVELS].argmax())
        boundary, objects = self._count(predicted, best)
        iou = float(building[HALF])
        return Score(
            iou, 2 * iou / (1 + iou), float(building[best]), best / LEVELS, contour_iou,
            boundary_iou=boundary.iou, object_precision=objects.precision, object_recall=objects.recall,
            object_f1=objects.f1,
        )

    def _count(self, predicted: dict[int, NDArray[np.uint8]], level: int) -> tuple[Counts, Counts]:
        """Return boundary pixels and objects that are right, false and missed, over all tiles."""
        def compare(number: int) -> tuple[Counts, Counts]:
            return self._rule.compare(predicted[number], level, self._truths[number], "contour" in self.classes)

        boundary, objects = Counts(), Counts()
        assert self._truths  # before threads ask for them
        with ThreadPoolExecutor(THREADS) as pool:
            for one, other in pool.map(compare, range(len(self.tiles.tiles))):
                boundary, objects = boundary + one, objects + other
        return boundary, objects


@dataclass(frozen=True)
class _Truth:
    """What a tile's label says."""

    valid: Mask
    band: Mask
    objects: NDArray[np.int32]


@dataclass(frozen=True)
class _Rule:
    """Sizes in pixels that decide what counts."""

    band: int
    min_size: int
    marker_size: int

    def read_truth(self, tile: Tile) -> _Truth:
        valid, mask = tile.label != NODATA, is_building(tile.label)
        between = _full(is_contour(tile.label))
        # A contour is as sure as can be: whatever it leaves of a building's inside marks it.
        objects = separate_instances(mask, _full(mask), between, marker_size=1)
        return _Truth(valid, self._band(mask), _without_small(objects, self.min_size))

    def compare(self, levels: NDArray[np.uint8], level: int, truth: _Truth, contour: bool) -> tuple[Counts, Counts]:
        mask = (levels[0] >= level) & truth.valid
        boundary = count_pixels(self._band(mask), truth.band, within=truth.valid)
        between = levels[1] if contour else None
        objects = _without_small(
            separate_instances(mask, levels[0], between, marker_size=self.marker_size), self.min_size
        )
        return boundary, match_objects(objects, truth.objects)

    def _band(self, mask: Mask) -> Mask:
        """Return the pixels near an outline; a tile's edge is none."""
        inner = slice(self.band, -self.band)
        return np.asarray(inner_band(np.pad(mask, self.band, mode="edge"), self.band)[inner, inner])


def match_objects(predicted: NDArray[np.int32], truth: NDArray[np.int32]) -> Counts:
    """Count objects that are found, false and missed, of two arrays with a number from 1 for each object."""
    pairs = len(match_polygons(find_pixel_overlaps(predicted, truth), threshold=IOU_THRESHOLD).iou)
    return Counts(pairs, int(predicted.max(initial=0)) - pairs, int(truth.max(initial=0)) - pairs)


def _without_small(objects: NDArray[np.int32], min_size: int) -> NDArray[np.int32]:
    sizes = np.bincount(objects.ravel(), minlength=1)
    large = sizes >= min_size
    large[0] = False
    return np.asarray(np.where(large, np.cumsum(large), 0).astype(np.int32)[objects])


def _full(mask: Mask) -> NDArray[np.uint8]:
    return np.asarray(np.where(mask, np.uint8(255), np.uint8(0)))


def predict_probabilities(generator: nn.Module, batch: Batch, fabric: Fabric) -> torch.Tensor:
    """Return probabilities of shape (N, K, H, W) in the CPU's memory; the generator keeps its mode."""
    was_training = generator.training
    generator.eval()
    with torch.inference_mode(), fabric.autocast():
        logits = generator(batch.image.to(fabric.device))
    generator.train(was_training)
    return torch.sigmoid(logits.float()).cpu()


def _batches(tiles: TileSet, classes: Sequence[str]) -> Iterator[tuple[list[int], Batch]]:
    """Give tiles of one size together, since a batch is one array, and their numbers."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for number, tile in enumerate(tiles.tiles):
        by_size.setdefault(tile.label.shape, []).append(number)
    for shape, group in by_size.items():
        step = max(1, PIXELS_AT_ONCE // (shape[0] * shape[1]))
        for start in range(0, len(group), step):
            numbers = group[start : start + step]
            some = [tiles.tiles[number] for number in numbers]
            images, labels = np.stack([tile.image for tile in some]), np.stack([tile.label for tile in some])
            yield numbers, to_batch(images, labels, classes)


def count_levels(probability: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> NDArray[np.int64]:
    """Return histograms of the probability over valid pixels.

    Parameters
    ----------
    probability, target, valid : tensors of shape (N, H, W)

    Returns
    -------
    array of shape (2, levels)
        Of the pixels that are of the class, and of those that are not.
    """
    level = (probability * LEVELS).round().long()
    other = 1 - target.long()
    flat = (other * (LEVELS + 1) + level)[valid > 0]
    counts = torch.bincount(flat, minlength=2 * (LEVELS + 1))
    return counts.reshape(2, LEVELS + 1).numpy()


def ious(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the intersection over union for each threshold level, from the histograms of `count_levels`."""
    predicted_true, predicted_false = (np.cumsum(row[::-1])[::-1] for row in counts)
    union = counts[0].sum() + predicted_false
    return np.asarray(predicted_true / np.maximum(union, 1), np.float64)
