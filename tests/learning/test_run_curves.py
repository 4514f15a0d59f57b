from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs geofootprint[train]")

from geofootprint.learning.run_curves import COLOURS, HEIGHT, LEFT, RIGHT, TOP, WIDTH, draw_curves

SCORES = [{"step": str(step), "object_f1": str(step / 100), "iou": "0.5", "boundary_iou": "0.2"} for step in (20, 40, 80)]
LOSSES = [
    {"step": str(step), "bce": str(1 / step), "dice": "0.4", "touch": "", "adversarial": "", "discriminator_real": ""}
    for step in range(20, 4000, 20)
]


def has(picture: np.ndarray[tuple[int, int, int], np.dtype[np.uint8]], colour: tuple[int, int, int]) -> bool:
    return bool((picture == np.array(colour, np.uint8)[:, None, None]).all(axis=0).any())


def test_a_panel_for_what_has_begun() -> None:
    assert draw_curves([], []).shape == (3, HEIGHT, WIDTH)
    assert draw_curves([], SCORES).shape == (3, HEIGHT, WIDTH)
    assert draw_curves(LOSSES, SCORES).shape == (3, 2 * HEIGHT, WIDTH)
    players = [row | {"adversarial": "0.7", "discriminator_real": "0.6", "discriminator_fake": "0.5"} for row in LOSSES]
    assert draw_curves(players, SCORES).shape == (3, 3 * HEIGHT, WIDTH)


def test_each_curve_has_its_colour_and_lies_inside_the_axes() -> None:
    picture = draw_curves([], SCORES)
    assert [has(picture, colour) for colour in COLOURS] == [True] * 3 + [False] * 3
    # F1 rises from 0.2 at a quarter of the steps to 0.8, the highest, at the right end.
    blue = (picture == np.array(COLOURS[0], np.uint8)[:, None, None]).all(axis=0)[:, : WIDTH - RIGHT]
    row, column = (int(index[-1]) for index in np.nonzero(blue[:, ::-1].T)[::-1])
    assert row > HEIGHT / 2
    assert abs(WIDTH - RIGHT - 1 - column - (LEFT + (WIDTH - RIGHT - LEFT) / 4)) < 6
    assert np.nonzero(blue)[0].min() >= TOP - 4


def test_the_same_rows_are_the_same_picture() -> None:
    assert np.array_equal(draw_curves(LOSSES, SCORES), draw_curves(LOSSES, SCORES))


@pytest.mark.parametrize("value", ["0.5", "0", "nan", "1e-9", "1e6"])
def test_any_single_value(value: str) -> None:
    row = {"step": "1", "object_f1": value, "iou": value}
    assert draw_curves([], [row]).shape == (3, HEIGHT, WIDTH)
