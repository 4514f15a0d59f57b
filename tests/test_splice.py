from __future__ import annotations

import numpy as np
import pytest
import shapely
import shapely.affinity

from geofootprint.splice import splice

FIT = shapely.box(0, 0, 100, 60)


def test_a_place_that_strays_is_given_back_and_the_rest_stays() -> None:
    alley = shapely.box(40, 30, 46, 60)
    rough = shapely.Polygon([(0, 0.4), (50, -0.4), (100, 0.3), (99.6, 60), (0.3, 60.2)]).difference(alley)
    spliced = splice(FIT, rough, limit=2)
    assert spliced.is_valid
    assert shapely.area(spliced.intersection(alley)) < 0.1
    away = shapely.box(0, 0, 36, 60)
    assert shapely.hausdorff_distance(spliced.intersection(away).boundary, FIT.intersection(away).boundary) < 1e-3


def test_what_the_fit_lacks_is_added() -> None:
    wing = shapely.box(100, 10, 112, 20)
    spliced = splice(FIT, FIT.union(wing), limit=2)
    assert spliced.symmetric_difference(FIT.union(wing)).area < 1e-3


def test_a_fit_that_crosses_itself() -> None:
    crossing = shapely.Polygon([(0, 0), (100, 0), (100, 60), (60, 60), (60, -20), (50, -20), (50, 60), (0, 60)])
    assert not crossing.is_valid
    spliced = splice(crossing, FIT, limit=2)
    assert spliced.is_valid
    assert spliced.symmetric_difference(FIT).area < 1e-2


def test_holes_of_both() -> None:
    fitted = shapely.box(20, 20, 30, 30)
    other = shapely.box(60, 20, 75, 30)
    simple = FIT.difference(shapely.affinity.translate(fitted, 0.5, 0.5)).difference(other)
    spliced = splice(FIT.difference(fitted), simple, limit=2)
    assert len(spliced.interiors) == 2
    assert spliced.symmetric_difference(FIT.difference(fitted).difference(other)).area < 1e-2


@pytest.mark.parametrize("fit", [shapely.Polygon(), shapely.box(500, 500, 600, 600)])
def test_a_fit_of_no_use(fit: shapely.Polygon) -> None:
    assert splice(fit, FIT, limit=2).symmetric_difference(FIT).area < 1e-3


def test_any_two_outlines_give_one_valid_outline_between_them() -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        angles = np.sort(rng.uniform(0, 2 * np.pi, 30))
        radius = rng.uniform(20, 40, 30)
        star = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius[:, None]
        simple = shapely.Polygon(star)
        fit = shapely.Polygon(star + rng.normal(scale=3, size=star.shape)).buffer(0)
        spliced = splice(fit, simple, limit=4)
        assert spliced.is_valid
        assert spliced.geom_type == "Polygon"
        assert spliced.difference(fit.union(simple)).area < 0.1  # of rounding, along all outlines
        assert shapely.difference(fit.intersection(simple), spliced).area < 0.1 * simple.area  # of what hangs by a thread
        assert spliced.intersection(simple).area / spliced.union(simple).area > 0.7


def test_what_an_overlay_leaves_beside_polygons() -> None:
    # Rounding the pieces of this fit, which crosses itself, leaves a line beside them.
    rng = np.random.default_rng(5430)
    count = int(rng.integers(8, 30))
    angles = np.sort(rng.uniform(0, 2 * np.pi, count))
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    fit = shapely.Polygon(circle * rng.uniform(3, 9, (count, 1)) + rng.normal(scale=2, size=(count, 2)))
    spliced = splice(fit, shapely.Polygon(circle * 7), limit=1)
    assert spliced.is_valid
    assert spliced.geom_type == "Polygon"


def test_the_simplified_outline_is_the_same_object_where_nothing_else_is_left() -> None:
    simple = shapely.Polygon([(0.1, 0.2), (30.3, 0.7), (29.9, 20.1), (0.3, 19.7)])
    assert splice(shapely.Polygon(), simple, limit=2) is simple
    assert splice(shapely.box(500, 500, 600, 600), simple, limit=2) is simple
