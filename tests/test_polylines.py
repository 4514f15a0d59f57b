from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray

from geofootprint.lines import Chains
from geofootprint.polylines import fit_chains, fit_simplified

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


@pytest.mark.parametrize("seed", range(5))
def test_fitted_vertices_are_nearer_to_the_truth_than_those_that_are_kept(seed: int) -> None:
    box = shapely.box(0, 0, 60, 30)
    points = np.array([box.exterior.interpolate(at).coords[0] for at in np.arange(0, 180, 1.0)])
    ring = shapely.linearrings(points + np.random.default_rng(seed).normal(scale=0.3, size=points.shape))
    chains = Chains.of(np.array([ring], object))
    sample, which = chains.simplified(1.2)
    fitted = shapely.Polygon(fit_simplified(chains, sample, which, np.array([2.4])))
    kept = shapely.Polygon(chains.xy[sample])
    assert fitted.symmetric_difference(box).area < 0.7 * kept.symmetric_difference(box).area


def test_ends_of_open_chains_stay_and_so_does_what_would_move_too_far() -> None:
    (line,) = [chain((0, 0), (40, 0), (40, 30))]
    chains = Chains.of(np.array([shapely.linestrings(line)], object))
    sample, which = chains.simplified(2.0)
    free, held = (fit_simplified(chains, sample, which, np.array([reach])) for reach in (4.0, 0.0))
    assert free[0].tolist() == line[0].tolist()
    assert free[-1].tolist() == line[-1].tolist()
    assert len(free) == 3
    assert np.hypot(*(free[1] - chain((40, 0), (41, 0), noise=0)[0])) < 0.5
    assert held.tolist() == chains.xy[sample].tolist()


def test_exact_vertices_are_not_rounded() -> None:
    ring = shapely.linearrings([(0, 0), (20, 0), (20, 10), (10, 10), (10, 15), (0, 15)])
    chains = Chains.of(np.array([ring], object))
    sample, which = chains.simplified(0.6)
    assert fit_simplified(chains, sample, which, np.array([1.2])).tolist() == chains.xy[sample].tolist()
