from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs geofootprint[train]")

from torch import nn  # noqa: E402

from geofootprint.errors import OutputError  # noqa: E402
from geofootprint.learning.dataset import Tile, TileSet  # noqa: E402
from geofootprint.learning.samples import COLOURS, SIDE, write_samples  # noqa: E402

if TYPE_CHECKING:
    from lightning.fabric import Fabric


CLASSES = ("building", "contour")


class Left(nn.Module):
    """Says that the left half is building, whatever the image."""

    def forward(self, image: Any) -> Any:
        logits = torch.full((len(image), 2, *image.shape[2:]), -20.0)
        logits[:, 0, :, : image.shape[3] // 2] = 20.0
        return logits


def tiles_of(*built: int, bands: int = 3, side: int = 32) -> TileSet:
    tiles = []
    for count in built:
        label = np.zeros((side, side), np.uint8)
        label[:count] = 1
        label[:1] = 2
        tiles.append(Tile(np.full((side, side, bands), 100, np.uint8), label, 1.0))
    return TileSet(tiles, bands, 0.15, ())


def test_image_label_and_prediction_side_by_side(tmp_path: Path, fabric: Fabric) -> None:
    path = tmp_path / "0001.png"
    write_samples(path, Left(), tiles_of(16), fabric, classes=CLASSES)
    picture = cv2.imread(str(path))
    assert picture is not None
    picture = np.asarray(picture)[..., ::-1]
    assert picture.shape == (SIDE, 3 * SIDE, 3)
    image, label, predicted = np.hsplit(picture, 3)
    assert (image == 100).all()
    orange, blue, dark = (np.array(colour) * 0.6 + 60 * 0.4 for colour in (*COLOURS[:2], (60, 60, 60)))
    assert np.abs(label[60, 10] - orange).max() <= 1
    assert label[2, 10, 2] > label[60, 10, 2]
    assert np.abs(label[-1, 10] - dark).max() <= 1
    assert np.abs(predicted[200, 10] - orange).max() <= 1
    assert np.abs(predicted[200, -10] - dark).max() <= 1
    assert blue[2] > blue[0]


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (4, 2), (40, 4)])
def test_a_row_for_some_of_the_tiles_with_most_buildings(tmp_path: Path, fabric: Fabric, count: int, rows: int) -> None:
    path = tmp_path / "0001.png"
    write_samples(path, Left(), tiles_of(*[min(32, 2 + number) for number in range(count)]), fabric, classes=CLASSES)
    picture = cv2.imread(str(path))
    assert picture is not None
    assert picture.shape[0] == rows * SIDE


@pytest.mark.parametrize(("bands", "side"), [(1, 32), (2, 32), (5, 300)])
def test_any_bands_and_size(tmp_path: Path, fabric: Fabric, bands: int, side: int) -> None:
    path = tmp_path / "0001.png"
    write_samples(path, Left(), tiles_of(9, bands=bands, side=side), fabric, classes=CLASSES)
    picture = cv2.imread(str(path))
    assert picture is not None
    assert (np.asarray(picture)[:, :SIDE] == 100).all()


def test_where_nothing_can_be_written(tmp_path: Path, fabric: Fabric) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        write_samples(tmp_path / "none" / "0001.png", Left(), tiles_of(9), fabric, classes=CLASSES)
