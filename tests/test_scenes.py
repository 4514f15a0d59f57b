from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.features import rasterize

from geofootprint.errors import OptionError, OutputError
from geofootprint.scenes import STYLE_NAMES, Scene, make_scene, write_scene
from geofootprint.scenes.layout import make_layout
from geofootprint.scenes.light import cast_shadows, make_light
from geofootprint.scenes.styles import STYLES
from geofootprint.vector import read_footprints


@pytest.fixture(scope="module")
def small() -> Scene:
    return make_scene(size=(200, 240), gsd=0.3, seed=7, style="old_town")


def burn(scene: Scene, footprints: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.asarray(rasterize(footprints, out_shape=scene.grid.shape, transform=scene.grid.transform) > 0)


def test_a_scene_has_an_image_a_grid_and_footprints(small: Scene) -> None:
    assert small.image.shape == (3, 200, 240)
    assert small.image.dtype == np.uint8
    assert small.grid.shape == (200, 240)
    assert small.grid.crs.to_epsg() == 32632
    assert small.footprints.crs.to_epsg() == 32632
    assert list(small.footprints.columns) == ["id", "kind", "height", "roof", "geometry"]
    assert len(small.footprints) > 10
    assert small.style == "old_town"


def test_equal_arguments_give_an_equal_scene(small: Scene) -> None:
    again = make_scene(size=(200, 240), gsd=0.3, seed=7, style="old_town")
    np.testing.assert_array_equal(again.image, small.image)
    assert again.footprints.geometry.geom_equals_exact(small.footprints.geometry, 0).all()
    other = make_scene(size=(200, 240), gsd=0.3, seed=8, style="old_town")
    assert (other.image != small.image).any()


@pytest.mark.parametrize("style", STYLE_NAMES)
def test_every_style_is_valid_and_free_of_overlaps(style: str) -> None:
    scene = make_scene(size=200, gsd=0.4, seed=3, style=style)
    shapes = scene.footprints.geometry.array
    assert len(shapes) > 0
    assert shapely.is_valid(shapes).all()
    assert (shapely.get_type_id(shapes) == shapely.GeometryType.POLYGON).all()
    assert shapely.area(shapes).min() > 2
    assert (scene.footprints["height"] > 1.5).all()
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    apart = first < second
    assert shapely.area(shapely.intersection(shapes[first[apart]], shapes[second[apart]])).max(initial=0) < 1e-5
    assert all(shape.intersects(shapely.box(*scene.grid.bounds)) for shape in shapes)
    assert 25 < scene.image.mean() < 220
    assert scene.image.std() > 12


@pytest.mark.parametrize("crs", ["EPSG:25832", "EPSG:3857", "EPSG:4326"])
def test_houses_in_rows_share_their_walls_to_the_last_bit(crs: str) -> None:
    scene = make_scene(size=160, gsd=0.4, seed=5, style="dense", crs=crs)
    rows = scene.footprints[scene.footprints["kind"] == "row"].geometry.array
    walls: dict[frozenset[tuple[float, float]], int] = {}
    for shape in rows:
        ring = shapely.get_coordinates(shape.exterior).tolist()
        for start, end in pairwise(ring):
            wall = frozenset([tuple(start), tuple(end)])
            walls[wall] = walls.get(wall, 0) + 1
    assert sum(count == 2 for count in walls.values()) > len(rows) / 2
    assert shapely.coverage_is_valid(rows)


def test_all_kinds_of_shapes_occur() -> None:
    kinds: dict[str, Any] = {}
    for seed in range(3):
        for style in ("suburb", "rural", "old_town", "industrial"):
            layout = make_layout((240, 240), STYLES[style], np.random.default_rng(seed), density=1, trees=1)
            kinds.update({building.kind: building.footprint for building in layout.sketch.buildings})
    assert set(kinds) == {"rectangle", "L", "T", "U", "courtyard", "round", "octagon", "row"}
    corners = {kind: len(shape.exterior.coords) - 1 for kind, shape in kinds.items()}
    assert (corners["rectangle"], corners["L"], corners["T"], corners["octagon"]) == (4, 6, 8, 8)
    assert len(kinds["courtyard"].interiors) == 1


@pytest.mark.parametrize(
    ("crs", "origin"),
    [
        ("EPSG:32632", None),
        ("EPSG:3857", (9_500_000.0, 3_200_000.0)),
        ("EPSG:4326", (85.5, 27.6)),
        ("EPSG:32737", None),
        ("EPSG:2263", None),
    ],
)
@pytest.mark.parametrize("gsd", [0.05, 1.0])
def test_pixels_are_true_metres_in_any_crs(crs: str, origin: tuple[float, float] | None, gsd: float) -> None:
    scene = make_scene(size=(64, 96), gsd=gsd, seed=1, crs=crs, origin=origin, density=0.0)
    assert scene.grid.gsd == pytest.approx(gsd, rel=1e-4)
    assert scene.grid.is_north_up
    if origin:
        assert (scene.grid.transform.c, scene.grid.transform.f) == origin


def test_the_same_seed_keeps_its_houses_in_another_crs() -> None:
    metric = make_scene(size=128, gsd=0.5, seed=2, style="suburb")
    geographic = make_scene(size=128, gsd=0.5, seed=2, style="suburb", crs="EPSG:4326")
    np.testing.assert_array_equal(metric.image, geographic.image)
    np.testing.assert_array_equal(
        burn(metric, metric.footprints.geometry), burn(geographic, geographic.footprints.geometry)
    )


def test_the_image_shows_the_footprints_where_they_are() -> None:
    """A roof's edge is where the grey values change most: moved footprints must fit worse, in every direction."""
    scene = make_scene(size=360, gsd=0.25, seed=11, style="town_edge", trees=0.0)
    grey = scene.image.mean(axis=0)
    steepness = np.hypot(*np.gradient(grey))

    def fit(column: float, row: float) -> float:
        a, e = scene.grid.transform.a, scene.grid.transform.e
        moved = scene.footprints.geometry.translate(column * a, row * e)
        outlines = rasterize(moved.boundary, out_shape=scene.grid.shape, transform=scene.grid.transform)
        return float(steepness[outlines > 0].mean())

    here = fit(0, 0)
    assert here > 1.5 * steepness.mean()
    for column, row in ((2, 0), (-2, 0), (0, 2), (0, -2)):
        assert fit(column, row) < here


def test_density_and_trees_thin_out() -> None:
    empty = make_scene(size=128, gsd=0.5, seed=2, style="suburb", density=0.0)
    assert len(empty.footprints) == 0
    assert empty.footprints.crs is not None
    assert list(empty.footprints.columns) == ["id", "kind", "height", "roof", "geometry"]
    bare = make_scene(size=128, gsd=0.5, seed=2, style="suburb", trees=0.0)
    full = make_scene(size=128, gsd=0.5, seed=2, style="suburb")
    assert (bare.image != full.image).any()
    assert bare.footprints.geometry.geom_equals_exact(full.footprints.geometry, 0).all()


def test_a_scene_of_several_blocks_has_no_seams() -> None:
    scene = make_scene(size=(120, 1100), gsd=0.5, seed=4, style="rural")
    grey = scene.image.mean(axis=0)
    steps = np.abs(np.diff(grey, axis=1)).mean(axis=0)
    assert steps[1023] < 1.6 * np.median(steps)


def test_shadows_fall_away_from_the_sun() -> None:
    light = make_light(np.random.default_rng(0))
    height = np.zeros((120, 120), np.float32)
    height[55:65, 55:65] = 10
    hidden = cast_shadows(height, 0.5, light)
    rows, columns = np.nonzero(hidden > 0.5)
    reach = np.array([columns.mean() - 59.5, rows.mean() - 59.5])
    assert reach @ np.array(light.direction) < 0
    length = 10 / np.tan(light.elevation) / 0.5
    assert np.hypot(columns - 59.5, rows - 59.5).max() == pytest.approx(length + 7, abs=4)
    assert hidden[60, 60] == 0


def test_write_scene_writes_both_files(small: Scene, tmp_path: Path) -> None:
    write_scene(small, tmp_path / "ortho.tif", tmp_path / "buildings.gpkg")
    with rasterio.open(tmp_path / "ortho.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(), small.image)
        assert dataset.crs == small.grid.crs
        assert dataset.transform == small.grid.transform
        assert [meaning.name for meaning in dataset.colorinterp] == ["red", "green", "blue"]
    read = read_footprints(tmp_path / "buildings.gpkg")
    assert read.geometry.geom_equals_exact(small.footprints.geometry, 1e-9).all()
    assert list(read["kind"]) == list(small.footprints["kind"])


def test_write_scene_leaves_nothing_where_it_cannot_write(small: Scene, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="extension"):
        write_scene(small, tmp_path / "ortho.tif", tmp_path / "buildings.txt")
    with pytest.raises(OutputError, match="does not exist"):
        write_scene(small, tmp_path / "no" / "ortho.tif", tmp_path / "buildings.gpkg")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"size": 0}, "size"),
        ({"gsd": 0.0}, "gsd"),
        ({"gsd": 5.0}, "gsd"),
        ({"style": "castle"}, "suburb"),
        ({"density": 1.5}, "density"),
        ({"trees": -1.0}, "trees"),
        ({"crs": "EPSG:1"}, "EPSG:32632"),
        ({"crs": "EPSG:32632", "origin": (1e12, 1e12)}, "origin"),
    ],
)
def test_impossible_arguments_are_named(options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        make_scene(**{"size": 32, **options})
