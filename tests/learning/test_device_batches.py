from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs geofootprint[train]")

from geofootprint.config import PRESETS, DataConfig  # noqa: E402
from geofootprint.learning import device_batches  # noqa: E402
from geofootprint.learning.batches import Batch, BatchStream  # noqa: E402
from geofootprint.learning.dataset import Tile, TileSet  # noqa: E402
from geofootprint.learning.device_batches import DeviceStream, open_stream  # noqa: E402
from geofootprint.learning.jpeg import compress  # noqa: E402
from geofootprint.scenes import make_scene  # noqa: E402

CPU = torch.device("cpu")

PLAIN = DataConfig(
    patch=96, batch=6, scale=(1.0, 1.0), rotation=0.0, colour=0.0, shadow=0.0, blur=0.0, noise=0.0, jpeg=0.0, touch=True
)


def tiles_of(*, bands: int = 3, dtype: str = "uint8") -> TileSet:
    """Return tiles of several sizes with smooth colours, and houses with contours in the labels."""
    rng = np.random.default_rng(0)
    full = np.iinfo(dtype).max
    tiles = []
    for height, width in ((150, 150), (200, 140), (64, 70)):
        coarse = rng.random((height // 8, width // 8, bands)).astype(np.float32)
        image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, bands)
        image += rng.normal(0, 0.02, image.shape).astype(np.float32)
        label = np.zeros((height, width), np.uint8)
        for top in range(5, height - 25, 30):
            for left in range(5, width - 25, 30):
                label[top : top + 20, left : left + 16] = 3
                label[top + 1 : top + 19, left + 1 : left + 16] = 2
                label[top + 2 : top + 18, left + 2 : left + 14] = 1
        label[:, -3:] = 255
        tiles.append(Tile((np.clip(image, 0, 1) * full).astype(dtype), label, 1.0))
    return TileSet(tiles, bands, 0.15, (), dtype)


def take(stream: DeviceStream | BatchStream, count: int) -> list[Batch]:
    with stream as batches:
        return [next(batches) for _ in range(count)]


def both(config: DataConfig, **options: Any) -> list[tuple[Batch, Batch]]:
    """Return batches of the device's stream, and the same of OpenCV's."""
    tiles = tiles_of(**options)
    ours = take(DeviceStream(tiles, config, CPU, seed=3), 4)
    return list(zip(ours, take(BatchStream(tiles, config, seed=3), 4), strict=True))


def difference(config: DataConfig, **options: Any) -> float:
    """Return the mean difference of images, in levels of 255."""
    pairs = both(config, **options)
    return 255 * float(torch.stack([(one.image - other.image).abs().mean() for one, other in pairs]).mean())


def test_batches_have_one_form() -> None:
    for one, other in both(PRESETS["footprint"].data):
        for name in ("image", "target", "valid"):
            ours, theirs = getattr(one, name), getattr(other, name)
            assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        assert one.image.is_contiguous(memory_format=torch.channels_last)
        assert 0 <= one.image.min() <= one.image.max() <= 1


@pytest.mark.parametrize(("bands", "dtype"), [(3, "uint8"), (1, "uint16"), (5, "uint16")])
def test_symmetries_copy_pixels(bands: int, dtype: str) -> None:
    for one, other in both(PLAIN, bands=bands, dtype=dtype):
        assert torch.equal(one.target, other.target)
        assert torch.equal(one.valid, other.valid)
        assert (one.image - other.image).abs().max() < 1e-6


@pytest.mark.parametrize("scale", [0.6, 1.0, 1.24, 1.3, 2.0, 3.0])
def test_any_scale_and_angle_is_opencvs(scale: float) -> None:
    """OpenCV rounds positions to a part of a pixel, and the mean of four pixels to a level.

    What it mirrors of such means beyond the source, where nothing is known, lies a pixel aside.
    """
    for one, other in both(replace(PLAIN, scale=(scale, scale), rotation=0.7)):
        agree = ((one.target == other.target).all(dim=1) & (one.valid == other.valid)).float().mean()
        assert agree >= 0.995
        apart = (one.image - other.image).abs().mean(dim=1)[other.valid > 0]
        assert apart.mean() * 255 < 0.5


@pytest.mark.parametrize(
    ("change", "most"), [({"colour": 1.0}, 0.3), ({"shadow": 1.0}, 0.5), ({"blur": 1.0}, 0.35), ({"jpeg": 1.0}, 1.0)]
)
def test_each_change_is_opencvs(change: dict[str, float], most: float) -> None:
    config = replace(PLAIN, **change)  # type: ignore[arg-type]
    assert difference(config) < most
    # And it is the change that agrees, not that there is none.
    plain = take(DeviceStream(tiles_of(), PLAIN, CPU, seed=3), 1)[0]
    changed = take(DeviceStream(tiles_of(), config, CPU, seed=3), 1)[0]
    assert 255 * float((plain.image - changed.image).abs().mean()) > 2 * most


def test_noise_has_the_same_strength() -> None:
    config = replace(PLAIN, noise=1.0, batch=2)
    tiles = TileSet([Tile(np.full((96, 96, 3), 128, np.uint8), np.zeros((96, 96), np.uint8), 1.0)], 3, 0.15, ())
    ours, theirs = take(DeviceStream(tiles, config, CPU, seed=3), 3), take(BatchStream(tiles, config, seed=3), 3)
    for one, other in zip(ours, theirs, strict=True):
        assert one.image.mean(dim=(1, 2, 3)).tolist() == pytest.approx([128 / 255] * 2, abs=0.002)
        for strength, expected in zip(one.image.std(dim=(1, 2, 3)), other.image.std(dim=(1, 2, 3)), strict=True):
            assert float(strength) == pytest.approx(float(expected), rel=0.05)
        assert not torch.equal(one.image[0], one.image[1])


def test_batches_are_those_of_their_number() -> None:
    tiles, config = tiles_of(), replace(PRESETS["footprint"].data, patch=96, batch=4)
    whole = take(DeviceStream(tiles, config, CPU, seed=5), 4)
    rest = take(DeviceStream(tiles, config, CPU, seed=5, first=8), 2)
    for one, other in zip(whole[2:], rest, strict=True):
        assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("image", "target", "valid"))
    parts = [take(DeviceStream(tiles, config, CPU, seed=5, rank=rank, world=2), 1)[0] for rank in (0, 1)]
    for rank in (0, 1):
        assert torch.equal(parts[rank].target, whole[0].target[rank::2])
        assert (parts[rank].image - whole[0].image[rank::2]).abs().max() < 1e-5


def test_the_device_takes_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    tiles = tiles_of()
    size = sum(tile.image.nbytes + tile.label.nbytes for tile in tiles.tiles)
    made: list[dict[str, Any]] = []
    for name in ("DeviceStream", "BatchStream"):
        monkeypatch.setattr(device_batches, name, lambda *_, name=name, **told: made.append(told | {"name": name}))
    for free in (5 * size, 3 * size):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 10 * size))
        open_stream(tiles, PLAIN, torch.device("cuda", 0), seed=1, first=8)
    open_stream(tiles, PLAIN, CPU, seed=1)
    assert [told["name"] for told in made] == ["DeviceStream", "BatchStream", "BatchStream"]
    assert [told.get("pinned") for told in made] == [None, True, False]
    assert made[0]["first"] == 8


@pytest.mark.parametrize("quality", [20, 50, 75, 95])
@pytest.mark.parametrize("size", [(128, 96), (77, 90)])
def test_jpeg_is_libjpegs(quality: int, size: tuple[int, int]) -> None:
    """But for the rounding of its cosines, which are whole numbers."""
    image = np.ascontiguousarray(np.moveaxis(make_scene(size=128, gsd=0.15, seed=1).image, 0, -1)[: size[0], : size[1]])
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    expected = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))[..., ::-1].astype(float)
    given = compress(torch.from_numpy(image / 255).permute(2, 0, 1)[None].float(), torch.tensor([quality]))
    ours = given[0].permute(1, 2, 0).numpy() * 255
    loss = np.abs(expected - image).mean()
    assert np.abs(ours - expected).mean() < min(0.6, 0.5 * loss)
    assert np.abs(ours - image).mean() == pytest.approx(loss, rel=0.04)
