from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio.features
import shapely
import shapely.affinity
import shapely.geometry
from affine import Affine
from notes import Notes

from geofootprint import clean
from geofootprint.clean import OUTLINES, clean_footprints, regularize, sample_evenly, usual_tolerance
from geofootprint.errors import GeofootprintError, MissingDependencyError, MissingFileError, OptionError, VectorError

UTM = "EPSG:25832"
EAST, NORTH = 680_000.0, 5_238_000.0


def at(*boxes: tuple[float, float, float, float], angle: float = 0) -> list[Any]:
    """Return boxes (west, south, east, north) in metres near Innsbruck, turned together by an angle."""
    turned = (shapely.affinity.rotate(shapely.box(*box), angle, origin=(0, 0)) for box in boxes)
    return [shapely.affinity.translate(box, EAST, NORTH) for box in turned]


def layer(geometries: list[Any], crs: Any = UTM, **columns: Any) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(columns, geometry=geometries, crs=UTM).to_crs(crs)


def pixel_polygons(shapes: list[Any], pixel: float = 0.3) -> list[Any]:
    """Return shapes as a raster has them: along the edges of pixels."""
    west, south, east, north = shapely.total_bounds(shapes)
    transform = Affine(pixel, 0, west - 5, 0, -pixel, north + 5)
    size = int((north - south + 10) / pixel), int((east - west + 10) / pixel)
    burnt = rasterio.features.rasterize(shapes, out_shape=size, transform=transform, dtype="uint8")
    found = rasterio.features.shapes(burnt, mask=burnt > 0, transform=transform)
    return [shapely.geometry.shape(geometry) for geometry, _ in found]


def overlap(frame: gpd.GeoDataFrame) -> float:
    """Return the largest area that two footprints share, in square metres."""
    shapes = np.asarray(frame.to_crs(UTM).geometry.array)
    first, second = shapely.STRtree(shapes).query(shapes)
    pairs = first < second
    return float(shapely.area(shapely.intersection(shapes[first[pairs]], shapes[second[pairs]])).max(initial=0))


def iou(one: Any, other: Any) -> float:
    return float(shapely.area(one & other) / shapely.area(one | other))


@pytest.mark.parametrize("crs", [UTM, "EPSG:3857", "EPSG:4326"])
@pytest.mark.parametrize("outline", OUTLINES)
def test_stairs_of_pixels_become_walls_in_any_crs(crs: str, outline: str) -> None:
    houses = at((0, 0, 14, 9), (30, 0, 42, 12), angle=23)
    cleaned = clean_footprints(layer(pixel_polygons(houses), crs), outline=outline, tolerance=0.6)
    assert cleaned.crs == crs
    assert len(cleaned) == 2
    assert cleaned["vertices"].max() <= 8
    for house, shape in zip(houses, sorted(cleaned.to_crs(UTM).geometry, key=lambda shape: shape.bounds), strict=True):
        assert iou(house, shape) > 0.95


def test_walls_that_nearly_coincide_are_shared() -> None:
    row = at((0, 0, 10, 8), (10.03, 0.02, 18, 8.01), (17.98, -1, 26, 7), angle=31)
    cleaned = clean_footprints(layer(row, "EPSG:3857"))
    assert len(cleaned) == 3
    assert shapely.coverage_is_valid(np.asarray(cleaned.geometry.array))
    assert shapely.union_all(cleaned.geometry.array).geom_type == "Polygon"
    assert overlap(cleaned) < 1e-6
    assert cleaned["area_m2"].tolist() == pytest.approx([80, 64, 64], rel=0.02)


def test_a_wall_without_vertices_opposite_is_shared_too() -> None:
    cleaned = clean_footprints(layer(at((0, 0, 10, 8), (10.03, -4, 18, 14))))
    assert shapely.coverage_is_valid(np.asarray(cleaned.geometry.array))
    assert shapely.union_all(cleaned.geometry.array).geom_type == "Polygon"


def test_houses_with_a_gap_stay_apart() -> None:
    cleaned = clean_footprints(layer(at((0, 0, 10, 8), (10.4, 0, 18, 8))))
    assert shapely.distance(*cleaned.geometry) == pytest.approx(0.4, abs=0.05)


def test_overlaps_are_taken_from_the_larger_one() -> None:
    progress = Notes()
    house, wing, shed, again = at((0, 0, 10, 8), (9, 0, 16, 6), (3, 3, 6, 6), (0, 0, 10, 8))
    cleaned = clean_footprints(layer([house, wing, shed, again], name=list("abcd")), progress=progress)
    assert overlap(cleaned) < 1e-6
    assert cleaned["name"].tolist() == ["a", "b", "c"]
    assert cleaned["area_m2"].sum() == pytest.approx(80 + 42 - 6, rel=0.02)
    assert progress.warnings == ["1 footprint(s) are drawn twice or lie wholly under others; they are left out."]


def test_overlaps_without_shapely_22(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(shapely, "coverage_clean")
    with pytest.raises(MissingDependencyError, match=r"shapely 2\.2"):
        clean_footprints(layer(at((0, 0, 10, 8), (9, 0, 16, 6))))
    assert len(clean_footprints(layer(at((0, 0, 10, 8), (20, 0, 26, 6))))) == 2


def test_columns_are_kept_and_geometry_is_told_anew() -> None:
    given = layer(at((0, 0, 10, 8), (20, 0, 28, 7)), street=["a", "b"], area_m2=[0.0, 0.0], id=[7, 5]).rename_geometry("shape")
    cleaned = clean_footprints(given.set_index("street", drop=False))
    assert list(cleaned.columns) == ["street", "area_m2", "id", "perimeter", "method", "vertices", "shape"]
    assert cleaned["street"].tolist() == ["a", "b"]
    assert cleaned["id"].tolist() == [7, 5]
    assert cleaned["area_m2"].tolist() == pytest.approx([80, 56], rel=0.01)
    assert cleaned["perimeter"].tolist() == pytest.approx([36, 30], rel=0.01)
    assert cleaned["vertices"].tolist() == [4, 4]


def test_order_does_not_depend_on_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    boxes = [(x, y, x + rng.uniform(6, 12), y + 9) for x in range(0, 200, 12) for y in range(0, 100, 15)]
    given = layer(at(*boxes, angle=20), n=range(len(boxes))).sample(frac=1, random_state=2)
    whole = clean_footprints(given)
    monkeypatch.setattr(clean, "BATCH", 7)
    parts = clean_footprints(given)
    assert whole["n"].tolist() == parts["n"].tolist() == given["n"].tolist()
    assert whole.normalize().geom_equals_exact(parts.normalize(), 1e-6).all()
    assert clean_footprints(given).geometry.to_wkb().tolist() == parts.geometry.to_wkb().tolist()


def test_small_ones_go_only_if_asked() -> None:
    given = layer(at((0, 0, 10, 8), (20, 0, 22, 2)))
    assert len(clean_footprints(given)) == 2
    assert clean_footprints(given, min_area=5)["area_m2"].tolist() == pytest.approx([80], rel=0.01)


def test_tolerance_follows_the_drawing() -> None:
    pixels = layer(pixel_polygons(at((0, 0, 14, 9), (30, 0, 42, 12), angle=23)), "EPSG:3857")
    assert usual_tolerance(pixels) == pytest.approx(0.6, rel=0.01)
    assert usual_tolerance(layer(at((0, 0, 14, 9)))) == 2 * clean.HAND_STEP
    assert usual_tolerance(layer([])) == 2 * clean.HAND_STEP


def test_samples_of_a_shared_wall_are_equal() -> None:
    pair = np.array(at((0, 0, 10, 8), (10, 0, 17, 8), angle=17))
    samples = sample_evenly(pair, 0.3)
    assert shapely.coverage_is_valid(samples)
    assert shapely.area(samples ^ pair).max() < 1e-6
    chords = np.diff(shapely.get_coordinates(samples[0].exterior), axis=0)
    assert np.hypot(*chords.T).max() <= 0.3 + 1e-9
    shared = {*map(tuple, shapely.get_coordinates(samples[0]))} & {*map(tuple, shapely.get_coordinates(samples[1]))}
    assert len(shared) == 28


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"outline": "raw"}, "map, area"),
        ({"tolerance": 0}, "tolerance must be from 0.04 to 100 m"),
        ({"tolerance": float("nan")}, "tolerance must be from 0.04 to 100 m"),
        ({"min_area": -1}, "0 m² or more"),
    ],
)
def test_impossible_options(options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        clean_footprints(layer(at((0, 0, 10, 8))), **options)


def test_no_crs_and_a_wrong_one() -> None:
    frame = layer(at((0, 0, 10, 8)))
    with pytest.raises(VectorError, match="no coordinate reference system"):
        clean_footprints(frame.set_crs(None, allow_override=True))
    with pytest.raises(VectorError, match="outside their CRS, EPSG:4326"):
        clean_footprints(frame.set_crs("EPSG:4326", allow_override=True))


# -- files


def write(path: Path, geometries: list[Any], **columns: Any) -> Path:
    layer(geometries, **columns).to_file(path)
    return path


def test_what_a_file_may_hold(tmp_path: Path) -> None:
    """Self-crossings, multipolygons, heights and what has no area."""
    eight = [(0, 0), (10, 8), (10, 0), (0, 8)]
    crossing = shapely.affinity.translate(shapely.Polygon(eight), EAST, NORTH)
    multi = shapely.MultiPolygon(at((30, 0, 40, 8), (50, 0, 60, 8)))
    raised = shapely.force_3d(at((70, 0, 80, 8))[0], 600)
    flat = shapely.Polygon([(EAST, NORTH), (EAST + 10, NORTH), (EAST + 5, NORTH)])
    path, progress = write(tmp_path / "a.gpkg", [crossing, multi, raised, flat], name=list("abcd")), Notes()
    result = regularize(path, tmp_path / "b.gpkg", progress=progress)
    cleaned = gpd.read_file(tmp_path / "b.gpkg")
    assert cleaned["name"].tolist() == ["a", "a", "b", "b", "c"]
    assert result.count == 5
    assert cleaned.is_valid.all()
    assert not cleaned.has_z.any()
    assert result.area_m2 == pytest.approx(40 + 3 * 80, rel=0.02)
    assert progress.warnings == [
        f"{path} has heights (Z values); they are left out.",
        f"{path} has 1 feature(s) without any polygon of some area; they are left out.",
    ]


def test_the_file_says_how_it_was_made(tmp_path: Path) -> None:
    path = write(tmp_path / "a.geojson", at((0, 0, 10, 8)))
    result = regularize(path, tmp_path / "b.gpkg", tolerance=0.4)
    told = json.loads(pyogrio.read_info(tmp_path / "b.gpkg")["layer_metadata"]["geofootprint"])
    assert told["command"] == "regularize"
    assert told["options"] == {"outline": "map", "tolerance": 0.4, "min_area": 0.0}
    assert (result.vertices_before, result.vertices_after, result.tolerance) == (4, 4, 0.4)


def test_a_thousand_holes_are_regularized(tmp_path: Path) -> None:
    holes = [shapely.box(x, y, x + 1.5, y + 1.5) for x in range(2, 98, 3) for y in range(2, 98, 3)]
    hall = shapely.box(0, 0, 100, 100) - shapely.union_all(holes)
    assert len(hall.interiors) == 1024
    path = write(tmp_path / "a.gpkg", [shapely.affinity.translate(hall, EAST, NORTH)])
    result = regularize(path, tmp_path / "b.gpkg")
    assert result.count == 1
    assert result.area_m2 == pytest.approx(hall.area, rel=0.03)


def test_nothing_large_enough_leaves_an_empty_layer(tmp_path: Path) -> None:
    progress = Notes()
    result = regularize(write(tmp_path / "a.gpkg", at((0, 0, 2, 2))), tmp_path / "b.gpkg", min_area=9, progress=progress)
    assert result.count == 0
    assert "has 9 m² or more" in progress.warnings[0]
    assert gpd.read_file(tmp_path / "b.gpkg").empty


def no_crs(path: Path) -> Path:
    write(path.with_suffix(".shp"), at((0, 0, 10, 8)))
    path.with_suffix(".prj").unlink()
    return path.with_suffix(".shp")


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda path: write(path, [shapely.LineString([(EAST, NORTH), (EAST + 9, NORTH)])]), VectorError, "has no polygons"),
        (lambda path: write(path, [shapely.Point(EAST, NORTH)]), VectorError, "has no polygons"),
        (lambda path: write(path, []), VectorError, "no features|no polygons"),
        (no_crs, VectorError, "no coordinate reference system; assign one"),
        (lambda path: path, MissingFileError, "does not exist"),
    ],
)
def test_files_that_cannot_be_used(
    tmp_path: Path, make: Callable[[Path], Path], kind: type[GeofootprintError], text: str
) -> None:
    with pytest.raises(kind, match=text):
        regularize(make(tmp_path / "a.gpkg"), tmp_path / "b.gpkg")
    assert not (tmp_path / "b.gpkg").exists()


def test_the_input_is_not_replaced(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", at((0, 0, 10, 8)))
    before = path.read_bytes()
    with pytest.raises(OptionError, match="give the result another name"):
        regularize(path, path)
    with pytest.raises(OptionError, match="no known extension"):
        regularize(path, tmp_path / "b.dxf")
    assert path.read_bytes() == before


def test_exact_neighbours_come_back_exactly() -> None:
    rng = np.random.default_rng(4)
    pairs = []
    for number in range(60):
        width, other, depth = rng.uniform(7, 14, 3)
        two = at((0, 0, width, depth), (width, 0, width + other, depth), angle=float(rng.uniform(0, 90)))
        pairs += [shapely.affinity.translate(house, 60 * (number % 10), 60 * (number // 10)) for house in two]
    cleaned = clean_footprints(layer(pairs), tolerance=0.5)
    apart = shapely.hausdorff_distance(np.array(pairs), np.asarray(cleaned.geometry.array))
    assert apart.max() < 0.01


def test_noise_that_grows_towards_neighbours_leaves_no_overlap() -> None:
    for seed in (1, 2):
        field = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(300, 300)), (0, 0), 4)
        mask = (field / field.std() * 0.4 > 0.05).astype(np.uint8)
        blobs = [
            shapely.geometry.shape(found)
            for found, _ in rasterio.features.shapes(mask, mask=mask > 0, transform=Affine(0.15, 0, EAST, 0, -0.15, NORTH))
        ]
        assert overlap(clean_footprints(layer(blobs), tolerance=0.5)) < 1e-6


@pytest.mark.parametrize("tolerance", [1e-6, float("inf")])
def test_a_tolerance_beyond_reason(tolerance: float) -> None:
    with pytest.raises(OptionError, match=r"The tolerance must be from 0\.04 to 100 m"):
        clean_footprints(layer(at((0, 0, 10, 10))), tolerance=tolerance)
