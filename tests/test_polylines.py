from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from geofootprint.polylines import fit_chains

RIGHT = np.radians([20, 110, 20, 110, 65, 155])


def chain(*corners: tuple[float, float], noise: float = 0.4, seed: int = 0) -> NDArray[np.float64]:
    """Return points at every unit between corners, turned by 20 degrees, with noise."""
    turn = np.array([[np.cos(RIGHT[0]), np.sin(RIGHT[0])], [-np.sin(RIGHT[0]), np.cos(RIGHT[0])]])
    parts = []
    for begin, end in pairwise(np.array(corners)):
        count = int(np.hypot(*(end - begin)))
        parts.append(begin + (end - begin) * np.arange(count)[:, None] / count)
    points = np.concatenate([*parts, np.array(corners[-1:], float)])
    noisy = points + np.random.default_rng(seed).normal(scale=noise, size=points.shape)
    return np.asarray(noisy @ turn, np.float64)


@pytest.mark.parametrize("seed", range(5))
def test_noisy_straight_wall_is_one_line_in_the_main_direction(seed: int) -> None:
    (line,) = fit_chains([chain((0, 0), (60, 0), seed=seed)], RIGHT[None])
    assert len(line) == 2
    step = line[1] - line[0]
    assert np.degrees(np.arctan2(step[1], step[0])) == pytest.approx(20, abs=0.01)
    assert np.hypot(*step) == pytest.approx(60, abs=2)


def test_wall_with_a_step_has_right_angles() -> None:
    (line,) = fit_chains([chain((0, 0), (40, 0), (40, 15), (80, 15), noise=0.2)], RIGHT[None])
    assert len(line) == 4
    steps = np.diff(line, axis=0)
    for before, after in pairwise(steps):
        assert abs(before @ after) < 1e-6 * np.hypot(*before) * np.hypot(*after)


def test_chains_are_fitted_alike_alone_and_together() -> None:
    chains = [chain((0, 0), (60, 0)), chain((0, 0), (30, 0), (30, 30), seed=1), chain((0, 0), (3, 0), seed=2)]
    together = fit_chains(chains, np.tile(RIGHT, (3, 1)))
    for one, line in zip(chains, together, strict=True):
        assert (fit_chains([one], RIGHT[None])[0] == line).all()


def test_no_chains() -> None:
    assert fit_chains([], np.zeros((0, 6))) == []
