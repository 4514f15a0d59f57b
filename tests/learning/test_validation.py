from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs geofootprint[train]")

from torch import nn  # noqa: E402

from geofootprint.errors import Cancelled, ModelError  # noqa: E402
from geofootprint.learning.batches import to_batch  # noqa: E402
from geofootprint.learning.dataset import Tile, TileSet, read_tiles  # noqa: E402
from geofootprint.learning.validation import Score, Validation, count_levels, ious, predict_probabilities  # noqa: E402

if TYPE_CHECKING:
    from lightning_fabric import Fabric

CLASSES = ("building", "contour")


class Painted(nn.Module):
    """Takes the first band for the probability of building, the second for that of contour."""

    def forward(self, image: Any) -> Any:
        return torch.logit(image[:, :2], eps=1e-6)


def tile_of(building: list[int], contour: list[int], label: list[int]) -> Tile:
    image = np.zeros((1, len(label), 3), np.uint8)
    image[0, :, 0], image[0, :, 1] = building, contour
    return Tile(image, np.array([label], np.uint8), 1.0)


def test_scores_by_hand(fabric: Fabric) -> None:
    # Building: two of three found at 0.5 and one false alarm; unknown pixels do not count.
    first = tile_of([255, 128, 100, 200, 10, 255], [0, 200, 0, 0, 0, 255], [1, 2, 1, 0, 0, 255])
    second = tile_of([0, 0], [0, 0], [0, 0])
    score = Validation(TileSet([first, second], 3, 0.15, ()), CLASSES).score(Painted(), fabric)
    assert score.iou == pytest.approx(2 / 4)
    assert score.f1 == pytest.approx(2 * 2 / (3 + 3))
    # At 100/255 all three are found, with one false alarm.
    assert score.best_iou == pytest.approx(3 / 4)
    assert 10 < score.threshold * 255 <= 100
    assert score.contour_iou == pytest.approx(1.0)


def test_half_is_building(fabric: Fabric) -> None:
    # 0.5 lies between the levels 127 and 128.
    for level, iou in ((127, 0.0), (128, 1.0)):
        score = Validation(TileSet([tile_of([level], [0], [1])], 3, 0.15, ()), CLASSES).score(Painted(), fabric)
        assert score.iou == iou


def test_the_threshold_takes_neither_all_nor_nothing(fabric: Fabric) -> None:
    useless = tile_of([0, 0, 0], [0, 0, 0], [1, 1, 0])
    score = Validation(TileSet([useless], 3, 0.15, ()), CLASSES).score(Painted(), fabric)
    assert 0 < score.threshold < 1
    assert score.iou == score.best_iou == 0


def test_iou_of_every_level_against_a_plain_count() -> None:
    generator = torch.Generator().manual_seed(0)
    probability = torch.rand(2, 8, 8, generator=generator)
    target = (torch.rand(2, 8, 8, generator=generator) < 0.3).float()
    valid = (torch.rand(2, 8, 8, generator=generator) < 0.8).float()
    measured = ious(count_levels(probability, target, valid))
    level = np.rint(probability.numpy() * 255)
    truth, known = target.numpy() > 0, valid.numpy() > 0
    for threshold in (0, 1, 90, 128, 254, 255):
        predicted = level >= threshold
        expected = (predicted & truth & known).sum() / ((predicted | truth) & known).sum()
        assert measured[threshold] == pytest.approx(expected)


def test_tiles_of_several_sizes(fabric: Fabric) -> None:
    tiles = [tile_of([200], [0], [1]), tile_of([200, 0, 0], [0, 0, 0], [1, 0, 0]), tile_of([0], [0], [1])]
    assert Validation(TileSet(tiles, 3, 0.15, ()), CLASSES).score(Painted(), fabric).iou == pytest.approx(2 / 3)


def test_the_generator_keeps_its_mode_and_weights(fabric: Fabric) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    tiles = TileSet([tile_of([9, 8], [0, 0], [1, 0])], 3, 0.15, ())
    for training in (True, False):
        network.train(training)
        Validation(tiles, CLASSES).score(network, fabric)
        assert network.training is training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_probabilities_do_not_depend_on_their_batch(dataset: Path, fabric: Fabric) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.BatchNorm2d(2))
    tiles = read_tiles([(dataset, 1.0)], "val").tiles[:2]
    both = to_batch(np.stack([tile.image for tile in tiles]), np.stack([tile.label for tile in tiles]), CLASSES)
    alone = to_batch(tiles[0].image[None], tiles[0].label[None], CLASSES)
    together = predict_probabilities(network, both, fabric)[:1]
    assert torch.allclose(predict_probabilities(network, alone, fabric), together, atol=1e-6)


def test_output_that_is_not_finite(fabric: Fabric) -> None:
    network = nn.Conv2d(3, 2, 1)
    nn.init.constant_(network.weight, float("nan"))
    with pytest.raises(ModelError, match="output is not finite; train again with a lower"):
        Validation(TileSet([tile_of([9], [0], [1])], 3, 0.15, ()), CLASSES).score(network, fabric)


def test_it_can_be_cancelled(fabric: Fabric) -> None:
    class Stop:
        def update(self, stage: str, done: float, total: float) -> None:
            assert (stage, done, total) == ("validate", 0, 1)
            raise Cancelled("Cancelled.")

        def warn(self, text: str) -> None: ...

    with pytest.raises(Cancelled):
        Validation(TileSet([tile_of([9], [0], [1])], 3, 0.15, ()), CLASSES).score(Painted(), fabric, progress=Stop())


def houses(*boxes: tuple[int, int, int, int], side: int = 96) -> np.ndarray[Any, Any]:
    """Return a label of houses of (top, left, height, width), each with a contour of 2 px inside it."""
    label = np.zeros((side, side), np.uint8)
    for top, left, height, width in boxes:
        label[top : top + height, left : left + width] = 2
        label[top + 2 : top + height - 2, left + 2 : left + width - 2] = 1
    return label


def painted(label: Any, drawn: Any) -> Tile:
    """Return a tile whose image shows another label to `Painted`."""
    image = np.zeros((*label.shape, 3), np.uint8)
    image[..., 0], image[..., 1] = 255 * (drawn > 0), 255 * (drawn == 2)
    return Tile(image, label, 1.0)


ROW = ((10, 10, 24, 24), (10, 34, 24, 24), (60, 20, 24, 40))
"""Two houses that share a wall, and one that stands alone."""


def test_objects_by_hand(fabric: Fabric) -> None:
    truth = houses(*ROW)
    merged, apart = houses((10, 10, 24, 48), ROW[2]), truth.copy()
    for drawn, counts in (
        (apart, (3, 0, 0)),
        (merged, (2, 0, 1)),  # of both houses in one, each is just a half
        (houses(*ROW[:2], (40, 4, 10, 10)), (2, 0, 1)),  # a hut of 2 m2 is no building
        (houses(*ROW[:2], (70, 50, 24, 40)), (2, 1, 1)),
    ):
        score = Validation(TileSet([painted(truth, drawn)], 3, 0.15, ()), CLASSES).score(Painted(), fabric)
        right, false, missed = counts
        assert score.object_f1 == pytest.approx(2 * right / (2 * right + false + missed))
        assert score.object_precision == pytest.approx(right / (right + false))
        assert score.object_recall == pytest.approx(right / (right + missed))


def test_without_a_contour_channel_what_touches_is_one(fabric: Fabric) -> None:
    truth = houses(*ROW)
    score = Validation(TileSet([painted(truth, truth)], 3, 0.15, ()), ("building",)).score(Single(), fabric)
    assert score.iou == score.boundary_iou == 1.0
    assert score.contour_iou == 0.0
    assert score.object_f1 == pytest.approx(2 * 2 / (2 * 2 + 0 + 1))


class Single(nn.Module):
    """Takes the first band for the probability of building, and knows no contours."""

    def forward(self, image: Any) -> Any:
        return torch.logit(image[:, :1], eps=1e-6)


def test_boundary_pixels_by_hand(fabric: Fabric) -> None:
    # 1 m is 4 px at 0.25 m. A house of 20 x 20 px found 22 px wide: rings of 400 - 144 and 440 - 168 px.
    truth, drawn = houses((20, 20, 20, 20)), houses((20, 20, 20, 22))
    score = Validation(TileSet([painted(truth, drawn)], 3, 0.25, ()), CLASSES).score(Painted(), fabric)
    shared = (20 * 20 - 12 * 12) - 12 * 2  # the right wall's ring has moved by two of its four
    assert score.boundary_iou == pytest.approx(shared / (256 + 272 - shared))


def test_a_tiles_edge_is_no_outline(fabric: Fabric) -> None:
    label = np.ones((40, 40), np.uint8)
    drawn = label.copy()
    drawn[:, 20:] = 0
    score = Validation(TileSet([painted(label, drawn)], 3, 0.25, ()), CLASSES).score(Painted(), fabric)
    assert score.boundary_iou == 0.0  # none in the label, four columns in the prediction


def test_unknown_pixels_hold_no_objects(fabric: Fabric) -> None:
    truth = houses(ROW[2])
    drawn = truth.copy()
    drawn[:50] = houses(ROW[0])[:50]
    truth[:50] = 255
    score = Validation(TileSet([painted(truth, drawn)], 3, 0.15, ()), CLASSES).score(Painted(), fabric)
    assert (score.object_f1, score.boundary_iou) == (1.0, 1.0)


def test_the_best_is_chosen_by_objects_and_then_by_pixels() -> None:
    def rank(object_f1: float, iou: float) -> tuple[int, float]:
        return Score(iou, 0.0, 0.0, 0.5, 0.0, object_f1=object_f1).rank

    assert rank(0.61, 0.70) > rank(0.60, 0.75)
    assert rank(0.600, 0.75) > rank(0.601, 0.74)  # a thousandth of object F1 is chance
    assert rank(0.0, 0.2) > rank(0.0, 0.1)
