from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="needs geofootprint[train]")

from geofootprint.labels import NODATA
from geofootprint.learning.transforms import Colours, cut, disturb, draw_colours, draw_disturbance, draw_geometry, recolour

Pixels = NDArray[np.uint8]


def addresses(height: int, width: int) -> tuple[Pixels, Pixels]:
    """Return an image that tells each pixel's row and column, and a label that follows from them."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    image = np.stack([rows, columns, rows ^ columns], axis=-1)
    return image, label_of(image)


def label_of(image: Pixels) -> Pixels:
    return np.asarray((image[..., 0].astype(int) * 7 + image[..., 1].astype(int) * 3) % 3, np.uint8)


def crop(image: Pixels, label: Pixels, seed: int, **options: Any) -> tuple[Pixels, Pixels]:
    told = {"patch": 32, "scale": (1.0, 1.0), "rotation": 0.0, **options}
    return cut(image, label, draw_geometry(np.random.default_rng(seed), image.shape, **told), told["patch"])


def jitter(image: Pixels, seed: int, *, strength: float = 1.0) -> Pixels:
    colours = draw_colours(np.random.default_rng(seed), image.shape[2], strength=strength)
    return image if colours is None else recolour(image, colours)


def symmetries(array: Pixels) -> list[Pixels]:
    turned = [np.rot90(array, turns) for turns in range(4)]
    return [*turned, *(np.flip(each, axis=1) for each in turned)]


def test_a_crop_of_the_whole_source_is_the_source() -> None:
    image, label = addresses(32, 32)
    crops = [crop(image, label, seed, quarter_turns=False) for seed in range(10)]
    upright = [(i, lab) for i, lab in crops if np.array_equal(i, image)]
    assert upright
    assert all(np.array_equal(lab, label) for _, lab in upright)
    mirrored = [(i, lab) for i, lab in crops if np.array_equal(i, image[:, ::-1])]
    assert all(np.array_equal(lab, label[:, ::-1]) for _, lab in mirrored)
    assert len(upright) + len(mirrored) == 10


def test_eight_symmetries_keep_label_on_image_to_the_pixel() -> None:
    image, label = addresses(32, 32)
    seen = set()
    for seed in range(100):
        piece, cut_label = crop(image, label, seed)
        assert np.array_equal(cut_label, label_of(piece))
        matches = [number for number, each in enumerate(symmetries(image)) if np.array_equal(each, piece)]
        assert len(matches) == 1
        seen.add(matches[0])
    assert seen == set(range(8))


@pytest.mark.parametrize("size", [(80, 61), (33, 32)])
def test_crops_within_a_larger_source_copy_pixels(size: tuple[int, int]) -> None:
    image, label = addresses(*size)
    corners = set()
    for seed in range(50):
        piece, cut_label = crop(image, label, seed)
        assert np.array_equal(cut_label, label_of(piece))
        assert np.array_equal(piece[..., 2], piece[..., 0] ^ piece[..., 1])  # no pixel is mixed from others
        assert len(np.unique(piece[..., 0])) == len(np.unique(piece[..., 1])) == 32
        corners.add((int(piece[..., 0].min()), int(piece[..., 1].min())))
    assert len(corners) > 1


def ramps() -> tuple[Pixels, Pixels]:
    """Return an image that brightens by 2 from pixel to pixel, to the right and downwards, and the pixels' numbers."""
    numbers = np.tile(np.arange(120, dtype=np.uint8), (120, 1))
    return np.stack([2 * numbers, 2 * numbers.T, 2 * numbers], axis=-1), numbers


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.2, 1.3, 2.0, 3.0])
@pytest.mark.parametrize("rotation", [0.0, 1.0])
def test_label_lies_on_image_at_any_scale_and_angle(scale: float, rotation: float) -> None:
    image, numbers = ramps()
    for band, label in ((0, numbers), (1, np.ascontiguousarray(numbers.T))):
        means = []
        for seed in range(40):
            piece, cut_label = crop(image, label, seed, patch=16, scale=(scale, scale), rotation=rotation)
            apart = piece[..., band] / 2 - cut_label
            assert np.abs(apart).max() <= 0.8  # half a pixel to the nearest label, half a level of rounding
            means.append(apart.mean())
        # The nearest pixel is before as often as behind; a shift of half a pixel would stand out.
        assert abs(np.mean(means)) < 0.12


def test_scale_is_source_pixels_to_a_crops_pixel() -> None:
    image, numbers = ramps()
    piece, _ = crop(image, numbers, 1, scale=(2.0, 2.0), quarter_turns=False)
    assert np.abs(np.diff(piece[0, :, 0].astype(int))).mean() == pytest.approx(4, abs=0.1)


def test_nothing_is_known_beyond_the_source() -> None:
    image, label = addresses(16, 16)
    piece, cut_label = crop(image, label, 0)
    assert (cut_label != NODATA).sum() == 16 * 16
    inside = cut_label[8:24, 8:24]
    assert np.array_equal(inside, label_of(piece)[8:24, 8:24])
    assert (np.delete(cut_label, np.s_[8:24], axis=0) == NODATA).all()


def test_nodata_stays_nodata() -> None:
    image, label = addresses(64, 64)
    label[:, 20:] = NODATA
    for seed in range(5):
        piece, cut_label = crop(image, label, seed)
        assert np.array_equal(cut_label == NODATA, piece[..., 1] >= 20)


@pytest.mark.parametrize("bands", [1, 2, 4, 6])
def test_any_number_of_bands(bands: int) -> None:
    image = np.random.default_rng(0).integers(0, 255, (50, 50, bands)).astype(np.uint8)
    label = np.zeros((50, 50), np.uint8)
    for scale in (1.0, 2.0):
        cropped, _ = crop(image, label, 0, scale=(scale, scale), rotation=1.0)
        assert cropped.shape == (32, 32, bands)
        assert jitter(cropped, 0).shape == (32, 32, bands)


def test_the_seed_decides() -> None:
    image, label = addresses(80, 80)
    options = {"scale": (0.7, 1.5), "rotation": 0.5}
    assert np.array_equal(crop(image, label, 3, **options)[0], crop(image, label, 3, **options)[0])
    assert not np.array_equal(crop(image, label, 3, **options)[0], crop(image, label, 4, **options)[0])


def test_colours_of_strength_0_stay() -> None:
    image, _ = addresses(32, 32)
    assert np.array_equal(jitter(image, 0, strength=0), image)


def test_colours_are_seeded_and_leave_the_source() -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    before = image.copy()
    changed = [jitter(image, seed) for seed in range(20)]
    again = [jitter(image, seed) for seed in range(20)]
    assert np.array_equal(image, before)
    assert all(np.array_equal(one, other) for one, other in zip(changed, again, strict=True))
    assert len({one.tobytes() for one in changed}) == 20
    assert {one.dtype for one in changed} == {np.dtype(np.uint8)}


def by_formula(image: Pixels, colours: Colours) -> NDArray[np.float64]:
    """Return gamma, then the matrix, shift and mean, in double precision."""
    full = np.iinfo(image.dtype).max
    x = (image.astype(float) / full) ** colours.gamma
    changed = x @ colours.matrix.T.astype(float) + colours.shift + colours.weight * x.mean()
    return np.asarray(np.clip(changed, 0, 1) * full)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("bands", [1, 3, 4, 6])
def test_colours_by_their_formula(dtype: type, bands: int) -> None:
    full = np.iinfo(dtype).max
    image: Any = np.random.default_rng(0).integers(0, full, (40, 30, bands)).astype(dtype)
    for seed in range(5):
        colours = draw_colours(np.random.default_rng(seed), bands, strength=1.0)
        assert colours is not None
        changed = recolour(image, colours)
        assert changed.dtype == dtype
        assert np.abs(changed - by_formula(image, colours)).max() <= 0.5 + full / 2**17


def test_contrast_is_about_the_mean_and_further_bands_are_not_mixed() -> None:
    image = np.full((8, 8, 4), 100, np.uint8)
    image[..., 3] = 200
    for seed in range(20):
        colours = draw_colours(np.random.default_rng(seed), 4, strength=1.0)
        assert colours is not None
        assert (colours.matrix[3, :3] == 0).all()
        assert (colours.matrix[:3, 3] == 0).all()
        gain = colours.matrix.sum(axis=1) + colours.weight  # of a grey image, whose mean is its value
        grey = Colours(1.0, colours.matrix, np.zeros(4, np.float32), colours.weight)
        expected = np.clip(np.rint(120 * gain), 0, 255)
        assert np.abs(recolour(np.full((8, 8, 4), 120, np.uint8), grey)[0, 0] - expected).max() <= 1


@pytest.mark.parametrize("scale", [1.3, 2.0])
def test_a_part_of_a_large_source_gives_what_the_whole_gives(scale: float) -> None:
    image = np.random.default_rng(0).integers(0, 255, (300, 300, 3)).astype(np.uint8)
    label = image[..., 0]
    geometry = draw_geometry(np.random.default_rng(1), image.shape, patch=64, scale=(scale, scale), rotation=1.0)
    piece, _ = cut(image, label, geometry, 64)
    whole = cv2.warpAffine(
        cv2.blur(image, (2, 2)), np.column_stack([geometry.linear, geometry.offset + 0.5]), (64, 64),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    assert np.abs(piece.astype(int) - whole).max() <= 1


DISTURBANCES = ("shadow", "blur", "noise", "jpeg")


def disturbed(image: NDArray[np.uint8], *, seed: int = 0, **shares: float) -> NDArray[np.uint8]:
    told = {name: shares.get(name, 0.0) for name in DISTURBANCES}
    return disturb(image, draw_disturbance(np.random.default_rng(seed), len(image), **told))


def test_each_disturbance_can_be_switched_off() -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    before = image.copy()
    assert np.array_equal(disturbed(image), image)
    for name in DISTURBANCES:
        only: dict[str, Any] = {name: 1.0}
        changed = disturbed(image, **only)
        assert changed.dtype == np.uint8
        assert not np.array_equal(changed, image), name
        assert np.array_equal(disturbed(image, **only), changed)
    assert np.array_equal(image, before)


def test_what_disturbances_do() -> None:
    flat = np.full((64, 64, 3), 200, np.uint8)
    assert np.array_equal(disturbed(flat, blur=1.0), flat)
    shadowed = disturbed(flat, shadow=1.0)
    assert (shadowed <= flat).all()
    assert 0.35 * 200 < shadowed.min() < 0.85 * 200
    noisy = disturbed(flat, noise=1.0).astype(float)
    assert 0.003 * 255 < noisy.std() < 0.045 * 255
    assert noisy.mean() == pytest.approx(200, abs=1)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4, 6])
def test_disturbances_take_any_bands(bands: int, dtype: str) -> None:
    image: Any = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (32, 32, bands)).astype(dtype)
    changed = disturbed(image, shadow=1.0, blur=1.0, noise=1.0, jpeg=1.0)
    assert changed.shape == (32, 32, bands)
    assert changed.dtype == np.dtype(dtype)


def test_jpeg_keeps_the_order_of_bands() -> None:
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 200
    for seed in range(5):
        changed = disturbed(red, seed=seed, jpeg=1.0)
        assert changed[..., 0].mean() > changed[..., 2].mean() + 150
