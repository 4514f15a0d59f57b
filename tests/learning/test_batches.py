from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs geofootprint[train]")

from geofootprint.config import DataConfig  # noqa: E402
from geofootprint.learning.batches import Batch, BatchStream, to_batch  # noqa: E402
from geofootprint.learning.dataset import Tile, TileSet, read_tiles  # noqa: E402

CONFIG = DataConfig(patch=32, batch=4)


@pytest.fixture(scope="module")
def tiles(dataset: Path) -> TileSet:
    return read_tiles([(dataset, 1.0)], "train")


def take(stream: BatchStream, count: int) -> list[Batch]:
    with stream as batches:
        return [next(batches) for _ in range(count)]


def equal(one: Batch, other: Batch) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("image", "target", "valid"))


def test_a_batch_says_what_labels_mean() -> None:
    image = np.zeros((1, 1, 4, 3), np.uint8)
    image[0, 0, 1] = (255, 51, 0)
    batch = to_batch(image, np.array([[[0, 1, 2, 255]]], np.uint8), ("building", "contour"))
    assert batch.target[0, 0].tolist() == [[0, 1, 1, 0]]
    assert batch.target[0, 1].tolist() == [[0, 0, 1, 0]]
    assert batch.valid[0].tolist() == [[1, 1, 1, 0]]
    assert batch.image.shape == (1, 3, 1, 4)
    assert batch.image[0, :, 0, 1].tolist() == pytest.approx([1, 0.2, 0])
    assert {batch.image.dtype, batch.target.dtype, batch.valid.dtype} == {torch.float32}


def test_batches_are_those_of_their_number(tiles: TileSet) -> None:
    whole = take(BatchStream(tiles, CONFIG, seed=5), 6)
    rest = take(BatchStream(tiles, CONFIG, seed=5, first=4 * CONFIG.batch), 2)
    assert all(equal(one, other) for one, other in zip(whole[4:], rest, strict=True))
    assert not any(equal(whole[0], other) for other in whole[1:])
    assert not equal(whole[0], take(BatchStream(tiles, CONFIG, seed=6), 1)[0])


def test_processes_share_a_batch(tiles: TileSet) -> None:
    (whole,) = take(BatchStream(tiles, CONFIG, seed=0), 1)
    parts = [take(BatchStream(tiles, CONFIG, seed=0, rank=rank, world=2), 1)[0] for rank in (0, 1)]
    assert [len(part.image) for part in parts] == [2, 2]
    assert torch.equal(whole.image[0::2], parts[0].image)
    assert torch.equal(whole.image[1::2], parts[1].image)


def test_tiles_are_drawn_by_weight() -> None:
    flat = [Tile(np.full((32, 32, 3), value, np.uint8), np.zeros((32, 32), np.uint8), weight) for value, weight in
            ((10, 0.0), (20, 1.0), (30, 3.0), (40, 0.0))]
    config = replace(CONFIG, colour=0.0, shadow=0.0, blur=0.0, noise=0.0, jpeg=0.0)
    stream = BatchStream(TileSet(flat, 3, 0.15, ()), config, seed=0)
    drawn = [int(stream.crop(number)[0][0, 0, 0]) for number in range(400)]
    assert set(drawn) == {20, 30}
    assert drawn.count(30) == pytest.approx(300, abs=40)


def test_an_error_in_a_thread_reaches_the_loop(tiles: TileSet) -> None:
    broken = TileSet([replace(tiles.tiles[0], image=np.zeros((0, 0, 3), np.uint8))], 3, 0.15, ())
    with BatchStream(broken, CONFIG, seed=0) as batches, pytest.raises(cv2.error):
        next(batches)
