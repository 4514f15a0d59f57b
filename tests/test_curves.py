from __future__ import annotations

import numpy as np
import pytest
import shapely
import shapely.affinity

from geofootprint.curves import NAMES, draw_curve, fit_curves, measure_rings
from geofootprint.lines import Chains

CIRCLE = shapely.Point(3, 4).buffer(20, 64)
ELLIPSE = shapely.affinity.rotate(shapely.affinity.scale(CIRCLE, 1.4, 0.8), 25)


def regular(sides: int) -> shapely.Polygon:
    angle = 0.3 + 2 * np.pi * np.arange(sides) / sides
    return shapely.Polygon(20 * np.stack([np.cos(angle), np.sin(angle)], axis=1))


def test_moments_are_those_of_the_area() -> None:
    shape = measure_rings(Chains.of(np.array([shapely.box(2, 3, 14, 9).exterior])))
    assert shape.area == pytest.approx([72])
    assert shape.centre[0] == pytest.approx([8, 6])
    assert shape.moments[0] == pytest.approx([12**2 / 12, 0, 6**2 / 12])
    assert shape.roundness == pytest.approx([3 / np.pi])


@pytest.mark.parametrize(
    ("polygon", "name"),
    [(CIRCLE, "circle"), (ELLIPSE, "ellipse"), (regular(6), "hexagon"), (regular(8), "octagon")],
)
def test_best_curve_of_an_exact_shape_is_that_shape(polygon: shapely.Polygon, name: str) -> None:
    chains = Chains.of(np.array([polygon.exterior]))
    curves = fit_curves(chains, measure_rings(chains))
    best = int(curves.errors[0].argmin())
    assert NAMES[best] in ((name, "ellipse") if name == "circle" else (name,))
    drawn = shapely.Polygon(draw_curve(curves, 0, NAMES.index(name), min_edge=1))
    assert shapely.hausdorff_distance(drawn.exterior, polygon.exterior) < 0.15
    assert drawn.area == pytest.approx(polygon.area, rel=2e-3)


def test_squares_are_not_round() -> None:
    chains = Chains.of(np.array([shapely.box(0, 0, 20, 20).exterior]))
    assert len(fit_curves(chains, measure_rings(chains)).ring) == 0


@pytest.mark.parametrize("min_edge", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("polygon", [CIRCLE, ELLIPSE])
def test_drawn_curves_have_no_short_edge(polygon: shapely.Polygon, min_edge: float) -> None:
    chains = Chains.of(np.array([polygon.exterior]))
    curves = fit_curves(chains, measure_rings(chains))
    for column in (0, 1):
        points = draw_curve(curves, 0, column, min_edge=min_edge)
        assert np.hypot(*(np.roll(points, -1, axis=0) - points).T).min() >= min_edge
