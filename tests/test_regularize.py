from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geofootprint import regularize
from geofootprint.errors import OptionError
from geofootprint.guard import find_faults
from geofootprint.regularize import METHODS, regularize_polygons

RECTANGLE = shapely.box(0, 0, 40, 24)
L = RECTANGLE - shapely.box(22, 12, 50, 50)
COURTYARD = shapely.box(0, 0, 50, 44) - shapely.box(14, 13, 37, 30)
CIRCLE = shapely.Point(0, 0).buffer(20, 32)
ELLIPSE = shapely.affinity.scale(CIRCLE, 1.3, 0.8)


def regular(sides: int, radius: float = 22) -> Any:
    angle = 2 * np.pi * np.arange(sides) / sides
    return shapely.Polygon(radius * np.stack([np.cos(angle), np.sin(angle)], axis=1))


SHAPES = {"rectangle": RECTANGLE, "L": L, "courtyard": COURTYARD, "circle": CIRCLE, "ellipse": ELLIPSE,
          "hexagon": regular(6), "octagon": regular(8)}  # fmt: skip


def turned(shape: Any, angle: float) -> Any:
    """Return a shape at an angle, somewhere with large coordinates."""
    return shapely.affinity.translate(shapely.affinity.rotate(shape, angle), 512_345.25, 5_240_987.5)


def roughened(shape: Any, sigma: float, rng: np.random.Generator) -> Any:
    """Return a shape whose boundary is dense and displaced by smooth noise."""
    rings = []
    for ring in shapely.get_rings(shapely.segmentize(shape, 0.8)):
        xy = shapely.get_coordinates(ring)[:-1]
        reach = np.minimum(np.arange(len(xy)), len(xy) - np.arange(len(xy)))
        kernel = np.exp(-((0.8 * reach / 5) ** 2) / 2)
        smooth = np.fft.ifft(np.fft.fft(rng.normal(size=xy.shape), axis=0) * np.fft.fft(kernel)[:, None], axis=0).real
        rings.append(xy + sigma * smooth / np.sqrt((kernel**2).sum()))
    return shapely.Polygon(rings[0], rings[1:])


def iou(first: Any, second: Any) -> NDArray[np.float64]:
    both = shapely.area(shapely.intersection(first, second))
    return np.asarray(both / (shapely.area(first) + shapely.area(second) - both), np.float64)


def directions(polygon: Any) -> NDArray[np.float64]:
    """Return the angles of all edges up to quarter turns, in degrees."""
    steps = [np.diff(shapely.get_coordinates(ring), axis=0) for ring in shapely.get_rings(polygon)]
    dx, dy = np.concatenate(steps).T
    return np.asarray(np.degrees(np.angle(np.exp(4j * np.arctan2(dy, dx)))) / 4, np.float64)


@pytest.mark.parametrize("angle", [0, 7, 30, 45, 81.3])
@pytest.mark.parametrize(
    ("name", "method", "vertices"),
    [("rectangle", "rectangle", 5), ("L", "right_angles", 7), ("courtyard", "right_angles", 10), ("hexagon", "angles", 7),
     ("octagon", "angles", 9)],
)  # fmt: skip
@pytest.mark.parametrize("spacing", [1000, 0.8])
def test_exact_shapes_come_out_unchanged(name: str, method: str, vertices: int, angle: float, spacing: float) -> None:
    truth = turned(SHAPES[name], angle)
    result = regularize_polygons(np.array([shapely.segmentize(truth, spacing)]))
    assert result.methods.tolist() == [method]
    assert shapely.get_num_coordinates(result.polygons[0]) == vertices
    assert shapely.hausdorff_distance(result.polygons[0], truth) < 0.01


@pytest.mark.parametrize("name", ["circle", "ellipse"])
def test_round_shapes_stay_round(name: str) -> None:
    rng = np.random.default_rng(1)
    truth = np.array([turned(SHAPES[name], angle) for angle in range(0, 180, 12)])
    rough = np.array([roughened(shape, 0.6, rng) for shape in truth])
    result = regularize_polygons(rough)
    assert set(result.methods) == {name}
    assert iou(result.polygons, truth).mean() > iou(rough, truth).mean() + 0.005
    assert shapely.get_num_coordinates(result.polygons).max() < 60


@pytest.mark.parametrize("sides", [6, 8])
def test_regular_polygons_do_not_become_circles(sides: int) -> None:
    rng = np.random.default_rng(2)
    truth = np.array([turned(regular(sides), angle) for angle in range(0, 60, 3)])
    result = regularize_polygons(np.array([roughened(shape, 0.6, rng) for shape in truth]))
    assert set(result.methods) == {"angles"}
    assert np.median(shapely.get_num_coordinates(result.polygons)) == sides + 1


@pytest.mark.parametrize("sigma", [0.3, 0.8, 1.3])
@pytest.mark.parametrize("outline", ["map", "area"])
def test_outlines_are_nearer_to_the_truth_than_noisy_rings(sigma: float, outline: str) -> None:
    rng = np.random.default_rng(3)
    truth = np.array([turned(shape, angle) for shape in SHAPES.values() for angle in rng.uniform(0, 360, 8)])
    rough = np.array([roughened(shape, sigma, rng) for shape in truth])
    result = regularize_polygons(rough, outline=outline)
    assert iou(result.polygons, truth).mean() > iou(rough, truth).mean() + 0.002
    assert abs((shapely.area(result.polygons) / shapely.area(rough)).mean() - 1) < 0.01


def test_area_outlines_have_the_area_of_the_ring() -> None:
    rng = np.random.default_rng(4)
    rough = np.array([roughened(turned(shape, 17), 0.8, rng) for shape in SHAPES.values()])
    result = regularize_polygons(rough, outline="area")
    assert shapely.area(result.polygons) == pytest.approx(shapely.area(rough), rel=1e-9)


def test_known_noise_is_taken() -> None:
    rng = np.random.default_rng(5)
    bump = shapely.box(0, 0, 60, 30) | shapely.box(20, 30, 32, 34)
    rough = np.array([roughened(turned(bump, 20), 0.1, rng)])
    assert shapely.get_num_coordinates(regularize_polygons(rough, noise=0.1).polygons[0]) == 9
    assert shapely.get_num_coordinates(regularize_polygons(rough, noise=1.5).polygons[0]) == 5


@pytest.mark.parametrize("sigma", [0.2, 0.8])
def test_holes_share_the_direction_of_the_outside(sigma: float) -> None:
    rng = np.random.default_rng(6)
    rough = np.array([roughened(turned(COURTYARD, angle), sigma, rng) for angle in range(0, 90, 10)])
    result = regularize_polygons(rough)
    straight = result.polygons[result.methods == "right_angles"]
    assert len(straight) >= 6
    for polygon in straight:
        angles = directions(polygon)
        apart = (angles - angles[0] + 45) % 90 - 45
        assert np.abs(apart).max() < 1e-6


def test_wing_keeps_its_own_direction() -> None:
    rng = np.random.default_rng(7)
    wing = shapely.affinity.rotate(shapely.box(-10, -13, 45, 13), 30, origin=(0, 0))
    house = turned(shapely.box(-60, -15, 0, 15) | wing, 12).simplify(0)
    result = regularize_polygons(np.array([roughened(house, 0.3, rng)]))
    angles = np.sort(directions(result.polygons[0]))
    assert iou(result.polygons[0], house) > 0.97
    assert len(np.unique(np.round(angles, 3))) == 2  # of the house, and of the wing


def test_each_polygon_is_fitted_alone() -> None:
    rng = np.random.default_rng(8)
    rough = np.array([roughened(turned(shape, 33), 0.8, rng) for shape in SHAPES.values()])
    together = regularize_polygons(rough)
    for i in range(len(rough)):
        alone = regularize_polygons(rough[i : i + 1])
        assert alone.polygons[0].wkb == together.polygons[i].wkb
        assert alone.methods[0] == together.methods[i]


def test_result_does_not_depend_on_the_first_vertex() -> None:
    rng = np.random.default_rng(9)
    ring = shapely.get_coordinates(roughened(L, 0.5, rng))[:-1]
    results = [regularize_polygons(np.array([shapely.Polygon(np.roll(ring, turn, axis=0))])) for turn in range(0, 120, 17)]
    assert len({shapely.normalize(shapely.set_precision(result.polygons[0], 1e-6)).wkb for result in results}) == 1


def blob(seed: int, points: int, size: float, holes: int) -> Any:
    """Return a valid polygon of any kind: spiky stars, slivers, with holes."""
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, points))
    radius = size * rng.uniform(0.2, 1, points)
    shell = shapely.Polygon(np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)).buffer(0)
    for _ in range(holes):
        shell = shell - shapely.Point(*rng.uniform(-size / 2, size / 2, 2)).buffer(size * rng.uniform(0.01, 0.2), 3)
    parts = shapely.get_parts(shell)
    return max(parts, key=shapely.area, default=RECTANGLE)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(3, 120), st.floats(4, 200), st.integers(0, 4),
    st.sampled_from([0.7, 1000]), st.sampled_from(["map", "area"]),
)  # fmt: skip
def test_guarantees_hold_for_any_polygon(
    seed: int, points: int, size: float, holes: int, spacing: float, outline: str
) -> None:
    polygon = shapely.segmentize(blob(seed, points, size, holes), spacing)
    result = regularize_polygons(np.array([polygon]), outline=outline)
    (out,) = result.polygons
    assert out.is_valid
    assert out.geom_type == "Polygon"
    assert out.area > 0
    assert result.methods[0] in METHODS
    assert iou(out, polygon) > 0.5
    # What is so small or thin that no outline with long edges is like it stays as it is.
    if iou(shapely.buffer(shapely.buffer(polygon, -2), 2), polygon) > 0.8:
        assert not find_faults(result.polygons, 2.0).any()


def test_a_hole_that_no_walls_fit_leaves_the_outside_as_it_is() -> None:
    outside = shapely.box(0, 0, 300, 200)
    sliver = shapely.Polygon([(150, 90), (153, 90.2), (156, 95), (155.5, 99), (152, 96), (150, 91)])
    yard = roughened(shapely.box(40, 40, 80, 90), 0.3, np.random.default_rng(1))
    rough = roughened(outside, 0.3, np.random.default_rng(0)).difference(sliver).difference(yard)
    fits = regularize_polygons(np.array([rough], object))
    assert fits.methods.tolist() == ["right_angles"]
    assert len(fits.polygons[0].exterior.coords) == 5
    assert iou(fits.polygons[0], outside.difference(yard)) > 0.995


def test_a_large_ring_keeps_its_walls_where_one_place_strays() -> None:
    steps = [(x, 200 + 12 * (x // 40 % 2)) for x in range(0, 801, 20)]
    outside = shapely.Polygon([(800, 0), (0, 0), *steps])
    alley = shapely.Polygon([(395, 0), (396, 60), (403, 66), (399, 70), (391, 62), (394, 0)])
    rough = roughened(outside, 0.3, np.random.default_rng(0)).difference(alley)
    fits = regularize_polygons(np.array([rough], object))
    assert fits.methods.tolist() != ["simplified"]
    assert shapely.get_num_coordinates(fits.polygons[0]) < 1.4 * shapely.get_num_coordinates(outside)
    assert iou(fits.polygons[0], outside.difference(alley)) > 0.99


def test_empty_and_degenerate_polygons_pass_through() -> None:
    line = shapely.Polygon([(0, 0), (10, 0), (20, 0)])
    polygons = np.array([shapely.Polygon(), line, RECTANGLE], object)
    result = regularize_polygons(polygons)
    assert result.polygons[0].is_empty
    assert result.polygons[1].equals(line)
    assert shapely.hausdorff_distance(result.polygons[2], RECTANGLE) < 1e-9
    assert len(regularize_polygons(np.zeros(0, object)).polygons) == 0


def test_triangles_and_tiny_polygons_are_kept() -> None:
    triangle = shapely.Polygon([(0, 0), (30, 0), (10, 25)])
    tiny = shapely.box(0, 0, 1.5, 1)
    result = regularize_polygons(np.array([triangle, tiny]))
    assert iou(result.polygons, np.array([triangle, tiny])).min() > 0.99


def test_heights_are_left_out() -> None:
    result = regularize_polygons(np.array([shapely.force_3d(RECTANGLE, 5.0)]))
    assert not result.polygons[0].has_z


def test_a_thousand_holes_stay() -> None:
    x, y = np.meshgrid(10.0 * np.arange(32), 10.0 * np.arange(32))
    holes = shapely.box(x + 3, y + 3, x + 8, y + 8).ravel()
    plate = shapely.Polygon(shapely.box(0, 0, 320, 320).exterior, [hole.exterior for hole in holes])
    result = regularize_polygons(np.array([shapely.segmentize(plate, 1)]))
    assert shapely.get_num_interior_rings(result.polygons[0]) == len(holes)
    assert iou(result.polygons[0], plate) > 0.999


def test_a_ring_of_very_many_points_is_followed() -> None:
    points = 20_000
    rng = np.random.default_rng(10)
    angle = 2 * np.pi * np.arange(points) / points
    radius = points / 10 * (1 + 0.002 * np.sin(points / 200 * angle)) + rng.normal(size=points) * 0.3
    ring = shapely.Polygon(np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1))
    assert iou(regularize_polygons(np.array([ring])).polygons[0], ring) > 0.99


def test_a_long_thin_rectangle() -> None:
    thin = turned(shapely.box(0, 0, 300, 4), 23)
    fit = regularize_polygons(np.array([thin]))
    assert fit.methods.tolist() == ["rectangle"]
    assert shapely.hausdorff_distance(fit.polygons[0], thin) < 0.01


def test_what_is_no_building_is_not_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regularize, "LARGEST", 100)
    fit = regularize_polygons(np.array([shapely.box(0, 0, 400, 400), RECTANGLE]))
    assert fit.methods.tolist() == ["simplified", "rectangle"]


@pytest.mark.parametrize(("options", "text"), [({"outline": "raw"}, "use map or area"), ({"noise": 0.0}, "more than 0")])
def test_impossible_options(options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        regularize_polygons(np.array([RECTANGLE]), **options)
