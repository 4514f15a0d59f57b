from __future__ import annotations

import itertools

import numpy as np
import pytest
import shapely

from geofootprint.lines import Chains, Floats
from geofootprint.spans import Nodes, Walls, cheapest_walls, wall_errors


def rough_chain(seed: int) -> tuple[Chains, Nodes]:
    rng = np.random.default_rng(seed)
    corners = np.cumsum(rng.uniform(-15, 15, (7, 2)), axis=0)
    points = shapely.get_coordinates(shapely.segmentize(shapely.LineString(corners), 1)) + rng.normal(size=(1, 2))
    chains = Chains.of(np.array([shapely.LineString(points + rng.normal(size=points.shape) * 0.4)]))
    sample, chain = chains.simplified(1.2)
    return chains, Nodes(sample[-9:] if len(sample) > 9 else sample, chain[:9])


def energy_of(errors: Floats, prices: Floats, noise: float, way: tuple[int, ...], kinds: tuple[int, ...]) -> float:
    total = 0.0
    for (first, last), kind in zip(itertools.pairwise(way), kinds, strict=True):
        total += errors[last, last - first - 1, kind] / (20 * noise**2) + prices[kind]
    return total


@pytest.mark.parametrize("seed", range(5))
def test_walls_are_the_cheapest_of_all_ways_to_cut_a_chain(seed: int) -> None:
    chains, nodes = rough_chain(seed)
    angles, noise = np.array([[0.2, 0.2 + np.pi / 2, np.nan, np.nan]]), 0.6
    errors = wall_errors(chains, nodes, angles, min_edge=2)
    walls = cheapest_walls(nodes, errors, np.full(len(nodes.sample), noise))
    prices = np.array([3.0, 3.0, 6.0, 6.0, 8.0])  # as they stand at this noise
    count = len(nodes.sample)
    best = np.inf
    for size in range(count - 1):
        for inner in itertools.combinations(range(1, count - 1), size):
            for kinds in itertools.product((0, 1, 4), repeat=size + 1):
                if any(a == b < 4 for a, b in itertools.pairwise(kinds)):
                    continue
                best = min(best, energy_of(errors, prices, noise, (0, *inner, count - 1), kinds))
                if size > 3:
                    break
    assert walls.energy[0] <= best + 1e-9
    way = (0, *np.searchsorted(nodes.sample, walls.last))
    kinds = tuple(4 if kind < 0 else int(kind) for kind in walls.kind)
    assert walls.energy[0] == pytest.approx(energy_of(errors, prices, noise, way, kinds))


def cut(shape: object, angles: Floats, noise: float) -> Walls:
    chains = Chains.of(np.array([shape]))
    nodes = Nodes(*chains.simplified(0.5))
    return cheapest_walls(nodes, wall_errors(chains, nodes, angles, min_edge=2), np.full(len(nodes.sample), noise))


def test_rectangle_has_four_walls_along_its_directions() -> None:
    ring = shapely.segmentize(shapely.box(0, 0, 30, 20), 0.8).exterior
    walls = cut(ring, np.array([[0, np.pi / 2, np.pi / 4, 3 * np.pi / 4]]), 0.5)
    assert walls.kind.tolist() in ([0, 1, 0, 1], [1, 0, 1, 0])
    assert walls.first[1:].tolist() == walls.last[:-1].tolist()


def test_more_noise_makes_fewer_walls() -> None:
    steps = shapely.LineString([(0, 0), (20, 0), (20, 7), (40, 7), (40, 0), (60, 0)])
    angles = np.zeros((1, 0))
    assert len(cut(steps, angles, 0.1).kind) == 5
    assert len(cut(steps, angles, 5.0).kind) == 1
