from __future__ import annotations

import numpy as np
import pytest
import shapely
from test_regularize import COURTYARD, RECTANGLE, SHAPES, L, roughened, turned

from geofootprint.boundaries import Boundaries
from geofootprint.lines import Floats
from geofootprint.noise import estimate_noise


def noise_of(polygons: list[shapely.Polygon]) -> Floats:
    rings, owner = shapely.get_rings(np.array(polygons), return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    local = shapely.linearrings(xy - xy.min(axis=0), indices=ring)
    return estimate_noise(Boundaries.of(local, owner, min_edge=2))


@pytest.mark.parametrize("sigma", [0.3, 0.6, 1.0])
def test_noise_of_straight_and_round_boundaries_is_told(sigma: float) -> None:
    rng = np.random.default_rng(0)
    rough = [roughened(turned(shape, angle), sigma, rng) for shape in SHAPES.values() for angle in (5, 35, 65)]
    assert np.median(noise_of(rough)) == pytest.approx(sigma, rel=0.35)


def test_more_noise_seems_more() -> None:
    found = [noise_of([roughened(L, sigma, np.random.default_rng(1))])[0] for sigma in (0.2, 0.6, 1.2)]
    assert found == sorted(found)


def test_chosen_vertices_have_no_noise() -> None:
    assert noise_of([RECTANGLE, COURTYARD, L]) == pytest.approx(0.1)
