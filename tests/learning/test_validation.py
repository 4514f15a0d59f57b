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
from geofootprint.learning.validation import count_levels, ious, predict_probabilities, validate  # noqa: E402

if TYPE_CHECKING:
    from lightning.fabric import Fabric

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
    score = validate(Painted(), TileSet([first, second], 3, 0.15, ()), fabric, classes=CLASSES)
    assert score.iou == pytest.approx(2 / 4)
    assert score.f1 == pytest.approx(2 * 2 / (3 + 3))
    # At 100/255 all three are found, with one false alarm.
    assert score.best_iou == pytest.approx(3 / 4)
    assert 10 < score.threshold * 255 <= 100
    assert score.contour_iou == pytest.approx(1.0)


def test_half_is_building(fabric: Fabric) -> None:
    # 0.5 lies between the levels 127 and 128.
    for level, iou in ((127, 0.0), (128, 1.0)):
        score = validate(Painted(), TileSet([tile_of([level], [0], [1])], 3, 0.15, ()), fabric, classes=CLASSES)
        assert score.iou == iou


def test_the_threshold_takes_neither_all_nor_nothing(fabric: Fabric) -> None:
    useless = tile_of([0, 0, 0], [0, 0, 0], [1, 1, 0])
    score = validate(Painted(), TileSet([useless], 3, 0.15, ()), fabric, classes=CLASSES)
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
    assert validate(Painted(), TileSet(tiles, 3, 0.15, ()), fabric, classes=CLASSES).iou == pytest.approx(2 / 3)


def test_the_generator_keeps_its_mode_and_weights(fabric: Fabric) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    tiles = TileSet([tile_of([9, 8], [0, 0], [1, 0])], 3, 0.15, ())
    for training in (True, False):
        network.train(training)
        validate(network, tiles, fabric, classes=CLASSES)
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
        validate(network, TileSet([tile_of([9], [0], [1])], 3, 0.15, ()), fabric, classes=CLASSES)


def test_it_can_be_cancelled(fabric: Fabric) -> None:
    class Stop:
        def update(self, stage: str, done: float, total: float) -> None:
            assert (stage, done, total) == ("validate", 0, 1)
            raise Cancelled("Cancelled.")

        def warn(self, text: str) -> None: ...

    with pytest.raises(Cancelled):
        validate(Painted(), TileSet([tile_of([9], [0], [1])], 3, 0.15, ()), fabric, classes=CLASSES, progress=Stop())
