"""What fills the blocks of procedural scenes: gardens, rows of houses, halls, farms, fields."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import shapely

from geofootprint.scenes.blocks import (
    Block,
    Parcel,
    Sketch,
    add_wall,
    box_corners,
    cut,
    inner_box,
    lay,
    make_car,
    plant,
    plant_hedge,
)
from geofootprint.scenes.buildings import Box, Frame, block_of_rows, make_building

__all__ = ["FILLERS", "OPEN_GROUND"]


def _describe(block: Block) -> Callable[[np.random.Generator], tuple[str, float]]:
    return lambda rng: (block.roof(), block.eaves())


# Blocks of detached houses


def fill_lots(sketch: Sketch, block: Block, *, roomy: float = 1.0) -> None:
    """Build detached and paired houses in gardens, in one or two rows along the streets."""
    lay(sketch, block, block.choose(block.style.yards))
    rows = 2 if block.height > 38 else 1
    depth = block.height / rows
    for row in range(rows):
        side = block.frame.at(0, 0, math.pi * row)
        u = -block.width / 2 + 1
        while u < block.width / 2 - 11:
            width = min(block.rng.uniform(14, 23) * roomy, block.width / 2 - 1 - u)
            lot = side.at(u, -block.height / 2)
            if width > 9:
                _fill_lot(sketch, block, lot, width, depth)
            u += width


def fill_villas(sketch: Sketch, block: Block) -> None:
    """Build houses in large gardens."""
    fill_lots(sketch, block, roomy=1.7)


def _fill_lot(sketch: Sketch, block: Block, lot: Frame, width: float, depth: float) -> None:
    rng = block.rng
    garden = lot.place(box_corners(0.3, 0, width - 0.3, depth))
    sketch.parcels.append(Parcel(garden, block.choose(block.style.yards), block.seed()))
    house_width, house_depth = min(rng.uniform(8, 15), width - 3), min(rng.uniform(7.5, 12), depth - 6)
    setback = min(rng.uniform(3, 8), depth - house_depth - 2)
    kind = block.choose({"rectangle": 6, "L": 2.2, "T": 1.0, "U": 0.3, "octagon": 0.15, "round": 0.08})
    middle = lot.at(width / 2, setback + house_depth / 2, rng.normal(0, 0.015) + math.pi * rng.integers(2))
    drive = rng.uniform(1.8, 3.2)
    at = rng.uniform(1, max(1.1, width - drive - 1))
    paved = block.choose(("paving", "asphalt", "gravel"))
    sketch.parcels.append(
        Parcel(lot.place(box_corners(at, -2.5, at + drive, setback + house_depth / 2)), paved, block.seed(), sharp=True)
    )
    terrace = box_corners(0.2 * width, setback + house_depth - 1, 0.75 * width, setback + house_depth + rng.uniform(2, 4))
    sketch.parcels.append(Parcel(lot.place(terrace), "paving", block.seed(), sharp=True))
    if rng.random() < 0.7:
        _add_house(sketch, block, kind, middle, house_width, house_depth)
    else:
        _add_pair(sketch, block, middle, house_width, house_depth)
    if rng.random() < 0.45:
        sketch.props.extend(make_car(lot.at(at + drive / 2, rng.uniform(2.4, 3.5), math.pi / 2), rng))
    _garden(sketch, block, lot, width, (setback + house_depth, depth))


def _add_house(sketch: Sketch, block: Block, kind: str, middle: Frame, width: float, depth: float) -> None:
    sketch.buildings.append(make_building(kind, middle, width, depth, block.eaves(), block.roof(), block.rng))


def _add_pair(sketch: Sketch, block: Block, middle: Frame, width: float, depth: float) -> None:
    """Add a house and what touches it: its twin, or a lower annexe."""
    rng = block.rng
    half, deep = round(width / 2, 2), round(depth / 2, 2)
    wall = round(half * rng.uniform(-0.3, 0.5), 2)
    back = round(-deep + rng.uniform(0, 0.5) * depth * (rng.random() < 0.6), 2)
    boxes = [(-half, -deep, wall, deep), (wall, back, half, deep)]
    roof, eaves = block.roof(), block.eaves()
    sketch.buildings += block_of_rows(
        boxes, middle, lambda rng: (roof, eaves - 1.5 * float(rng.random() < 0.5 and eaves > 4)), rng
    )


def _garden(sketch: Sketch, block: Block, lot: Frame, width: float, span: tuple[float, float]) -> None:
    """Fill the ground behind a house: shed, pool, beds, trees, hedge."""
    rng, (start, end) = block.rng, span
    if end - start > 6:
        if rng.random() < 0.4:
            middle = lot.at(rng.choice([2.6, width - 2.6]), end - 3, rng.normal(0, 0.02))
            material = block.choose(("bitumen", "metal", "brown", "tile"))
            sketch.buildings.append(
                make_building("rectangle", middle, rng.uniform(2.4, 4), rng.uniform(2.2, 5), 2.3, material, rng)
            )
        if rng.random() < 0.14 and width > 13:
            middle = lot.at(width / 2, (start + end) / 2 + 1)
            for grow, ground in ((1.0, "paving"), (0.0, "pool")):
                pool = middle.place(box_corners(-3.5 - grow, -1.8 - grow, 3.5 + grow, 1.8 + grow))
                sketch.parcels.append(Parcel(pool, ground, block.seed(), sharp=True))
        if rng.random() < 0.4:
            u = rng.uniform(1, width - 5)
            bed = lot.place(box_corners(u, end - 5, u + rng.uniform(2, 4), end - 2))
            sketch.parcels.append(Parcel(bed, "ploughed", block.seed(), furrows=0.8, angle=lot.angle))
    plant(sketch, block, lot, (0.5, start, width - 0.5, end), 3.5)
    plant(sketch, block, lot, (0.5, 0.5, width - 0.5, end), 3.0)
    plant(sketch, block, lot, (0.5, 0.5, width - 0.5, end), 6.0, species="shrub")
    if rng.random() < 0.6:
        plant_hedge(sketch, block, lot, (0, 1), (0, end - 1))
    if rng.random() < 0.4:
        plant_hedge(sketch, block, lot, (0, 0.4), (width - 4, 0.4))


def fill_plots(sketch: Sketch, block: Block) -> None:
    """Lay out plots of a growing town: houses of several storeys between bare and overgrown ground."""
    lay(sketch, block, block.choose(block.style.open_ground))
    for u0, v0, u1, v1 in cut(inner_box(block, 1.5), 15, block.rng):
        ground = block.choose((*block.style.yards, *block.style.open_ground))
        lay(sketch, block, ground, (u0, v0, u1, v1))
        frame = block.frame.at((u0 + u1) / 2, (v0 + v1) / 2, block.rng.normal(0, 0.05))
        width, depth = u1 - u0 - block.rng.uniform(2, 5), v1 - v0 - block.rng.uniform(2, 5)
        if block.rng.random() < 0.68 and min(width, depth) > 4:
            kind = block.choose({"rectangle": 5, "L": 2, "T": 0.6, "U": 0.4, "octagon": 0.1})
            roll = block.rng.random()
            if roll < 0.6:
                _add_house(sketch, block, kind, frame, width, depth)
            else:
                _add_pair(sketch, block, frame, width, depth)
        if block.rng.random() < 0.4:
            add_wall(sketch, block, block.frame, (u0 + 0.3, v0 + 0.3, u1 - 0.3, v1 - 0.3))
        plant(sketch, block, block.frame, (u0, v0, u1, v1), 2.2)
        plant(sketch, block, block.frame, (u0, v0, u1, v1), 4, species="shrub")


def fill_village(sketch: Sketch, block: Block) -> None:
    """Build single houses, set loosely, with worn ground around them."""
    rng = block.rng
    lay(sketch, block, block.choose(block.style.open_ground))
    for u0, v0, u1, v1 in cut(inner_box(block, 2), 19, rng):
        frame = block.frame.at((u0 + u1) / 2, (v0 + v1) / 2, rng.normal(0, 0.12) + math.pi / 2 * rng.integers(2))
        if rng.random() < 0.75:
            u, v = (u1 - u0) / 2 - 1, (v1 - v0) / 2 - 1
            yard = shapely.box(-u, -v, u, v).buffer(rng.uniform(0.5, 2.5))
            sketch.parcels.append(Parcel(frame.place(yard.exterior.coords), block.choose(block.style.yards), block.seed()))
            long = min(rng.uniform(7, 16), u1 - u0 - 1, v1 - v0 - 1)
            kind = block.choose({"rectangle": 7, "L": 1.5, "U": 0.4, "T": 0.4, "round": 0.25})
            if long > 4:
                _add_house(sketch, block, kind, frame, long, max(4.0, long * rng.uniform(0.55, 0.95)))
            _add_sheds(sketch, block, frame, long)
        plant(sketch, block, block.frame, (u0, v0, u1, v1), 3.5)
        plant(sketch, block, block.frame, (u0, v0, u1, v1), 6, species="shrub")


def _add_sheds(sketch: Sketch, block: Block, frame: Frame, distance: float) -> None:
    for _ in range(block.rng.poisson(0.5)):
        turn = block.rng.uniform(0, 2 * math.pi)
        place = frame.at(0.95 * distance * math.cos(turn), 0.95 * distance * math.sin(turn), block.rng.normal(0, 0.2))
        size = block.rng.uniform(1.8, 4, 2)
        material = block.choose(("rust", "metal", "thatch"))
        sketch.buildings.append(make_building("rectangle", place, size[0], size[1], 2.3, material, block.rng))


# Blocks of touching houses


def fill_rows(sketch: Sketch, block: Block) -> None:
    """Build houses wall to wall along both long sides, with yards between."""
    rng = block.rng
    lay(sketch, block, block.choose(block.style.yards))
    west, north, east, south = inner_box(block, 1.0)
    boxes: list[Box] = []
    back = round(min(rng.uniform(9, 13), (south - north) / 2), 2)
    for side in (1, -1):
        u = west
        while u < east - 3:
            width = round(min(rng.uniform(5, 10), east - u), 2)
            end = round(u + width, 2)
            if east - end < 4:
                end = east
            deep = round(back * rng.uniform(0.75, 1.0), 2)
            box = (u, north, end, round(north + deep, 2)) if side > 0 else (u, round(south - deep, 2), end, south)
            if rng.random() < 0.93:
                boxes.append(box)
            u = end
    sketch.buildings += block_of_rows(boxes, block.frame, _describe(block), rng)
    inner = (west + 3, north + back, east - 3, south - back)
    if inner[3] - inner[1] > 3:
        for u0, v0, u1, v1 in cut(inner, 9, rng):
            lay(sketch, block, block.choose(block.style.yards), (u0, v0, u1, v1))
        plant(sketch, block, block.frame, inner, block.width / 7)


def fill_dense(sketch: Sketch, block: Block) -> None:
    """Cover a block almost wholly with small touching houses; a few gaps and yards stay."""
    rng = block.rng
    lay(sketch, block, block.choose(block.style.yards))
    cells = cut(inner_box(block, 0.6), rng.uniform(5.5, 12), rng)
    boxes, yards = [], []
    for cell in cells:
        roll = rng.random()
        if roll < 0.78:
            boxes.append(cell)
        elif roll < 0.88:
            u0, v0, u1, v1 = cell
            boxes.append((u0, v0, u1, round(v0 + 0.6 * (v1 - v0), 2)))
        else:
            yards.append(cell)
    sketch.buildings += block_of_rows(boxes, block.frame, _describe(block), rng)
    for yard in yards:
        lay(sketch, block, block.choose(block.style.open_ground), yard)
        plant(sketch, block, block.frame, yard, 1.6)
        plant(sketch, block, block.frame, yard, 2.5, species="shrub")


# Large buildings


def fill_halls(sketch: Sketch, block: Block) -> None:
    """Build halls on paved ground with parked cars."""
    rng = block.rng
    lay(sketch, block, block.choose(block.style.yards), sharp=True)
    for u0, v0, u1, v1 in cut(inner_box(block, 3), 52, rng):
        width, depth = (u1 - u0) * rng.uniform(0.55, 0.85), (v1 - v0) * rng.uniform(0.55, 0.82)
        frame = block.frame.at((u0 + u1) / 2, (v0 + v1) / 2)
        if rng.random() < 0.88 and min(width, depth) > 8:
            kind = block.choose({"rectangle": 6, "L": 2, "T": 1, "U": 0.7, "courtyard": 0.4, "round": 0.2})
            _add_house(sketch, block, kind, frame, width, depth)
        _park(sketch, block, (u0 + 1, v1 - 5.2, u1 - 1, v1))
        if rng.random() < 0.5:
            lay(sketch, block, "lawn", (u0, v0, u1, v0 + rng.uniform(1.5, 4)))
            plant(sketch, block, block.frame, (u0, v0, u1, v0 + 2), (u1 - u0) / 9)


def _park(sketch: Sketch, block: Block, box: Box) -> None:
    for u in np.arange(box[0], box[2] - 2.6, 2.6):
        line = block.frame.place(box_corners(float(u), box[1], float(u) + 0.12, box[3]))
        sketch.parcels.append(Parcel(line, "concrete", block.seed(), sharp=True))
        if block.rng.random() < 0.45:
            place = block.frame.at(float(u) + 1.3, (box[1] + box[3]) / 2, math.pi / 2)
            sketch.props.extend(make_car(place, block.rng))


def fill_civic(sketch: Sketch, block: Block) -> None:
    """Build one large building of an unusual shape in a green or paved place."""
    rng = block.rng
    lay(sketch, block, block.choose((*block.style.yards, "lawn")))
    width, depth = min(block.width * 0.75, rng.uniform(24, 48)), min(block.height * 0.75, rng.uniform(20, 38))
    kind = block.choose({"courtyard": 3, "U": 2, "T": 1.5, "L": 1, "octagon": 1, "round": 0.8})
    lay(sketch, block, "paving", (-width * 0.62, -depth * 0.62, width * 0.62, depth * 0.62), sharp=True)
    _add_house(sketch, block, kind, block.frame, width, depth)
    plant(sketch, block, block.frame, inner_box(block, 2), block.width / 4)


def fill_farm(sketch: Sketch, block: Block) -> None:
    """Build a farm with its barns and silos, fields behind."""
    rng = block.rng
    fill_fields(sketch, block)
    yard = block.frame.at(rng.uniform(-0.2, 0.2) * block.width, -block.height / 2 + 24, rng.normal(0, 0.1))
    ground = shapely.box(-26, -20, 26, 20).buffer(4)
    sketch.parcels.append(Parcel(yard.place(ground.exterior.coords), "meadow", block.seed()))
    sketch.parcels.append(Parcel(yard.place(box_corners(-13, -24, 14, 13)), "gravel", block.seed()))
    kind = block.choose({"courtyard": 2, "U": 2, "L": 2, "T": 1})
    _add_house(sketch, block, kind, yard, rng.uniform(22, 32), rng.uniform(20, 28))
    barns = [(-25.0, 2.0), (24.0, -4.0), (23.0, 15.0)]
    for u, v in barns[: rng.integers(1, 4)]:
        _add_house(sketch, block, "rectangle", yard.at(u, v, rng.normal(0, 0.05)), rng.uniform(7, 13), rng.uniform(12, 20))
    for shift in range(rng.integers(0, 3)):
        _add_house(sketch, block, "round", yard.at(-16 + 5.2 * shift, 19), 4.4, 4.4)
    plant(sketch, block, yard, (-32, -24, 32, 26), 16)


# Open ground


def fill_fields(sketch: Sketch, block: Block) -> None:
    """Lay out fields with their furrows."""
    rng = block.rng
    lay(sketch, block, "meadow")
    angle = block.frame.angle + (math.pi / 2 if rng.random() < 0.3 else 0)
    for cell in cut(inner_box(block, 0.5), rng.choice([22.0, 45.0, 80.0]), rng):
        ground = block.choose(("crop", "crop", "ripe", "ploughed", "meadow", "crop"))
        u0, v0, u1, v1 = cell
        corners = block.frame.place(box_corners(u0 + 0.3, v0 + 0.3, u1 - 0.3, v1 - 0.3))
        furrows = {"meadow": 0.0, "ploughed": 1.1}.get(ground, rng.choice([0.9, 1.8, 3.0]))
        sketch.parcels.append(Parcel(corners, ground, block.seed(), float(furrows), angle + rng.normal(0, 0.01)))
    plant(sketch, block, block.frame, inner_box(block, 0), block.width * block.height / 1500)


def fill_meadow(sketch: Sketch, block: Block) -> None:
    """Leave open grass with a few trees."""
    lay(sketch, block, block.choose(block.style.open_ground))
    plant(sketch, block, block.frame, inner_box(block, 2), block.width * block.height / 350)
    plant(sketch, block, block.frame, inner_box(block, 1), block.width * block.height / 150, species="shrub")


def fill_scrub(sketch: Sketch, block: Block) -> None:
    """Scatter bushes and trees over worn ground."""
    lay(sketch, block, "scrub")
    plant(sketch, block, block.frame, inner_box(block, 0), block.width * block.height / 90)
    plant(sketch, block, block.frame, inner_box(block, 0), block.width * block.height / 60, species="shrub")


def fill_grove(sketch: Sketch, block: Block) -> None:
    """Plant a wood."""
    lay(sketch, block, "forest")
    species = block.choose(tuple(name for name in block.style.plants if name != "shrub"))
    plant(sketch, block, block.frame, inner_box(block, 0), block.width * block.height / 22, species=species)


def fill_green(sketch: Sketch, block: Block) -> None:
    """Lay out a park with paths and a pavilion."""
    lay(sketch, block, "lawn")
    lay(sketch, block, "gravel", (-block.width / 2, -1.2, block.width / 2, 1.2))
    lay(sketch, block, "gravel", (-1.2, -block.height / 2, 1.2, block.height / 2))
    plant(sketch, block, block.frame, inner_box(block, 1), block.width * block.height / 130)
    if min(block.width, block.height) > 20:
        kind = block.choose(("octagon", "round"))
        _add_house(sketch, block, kind, block.frame, block.rng.uniform(7, 13), block.rng.uniform(7, 13))


def fill_waste(sketch: Sketch, block: Block) -> None:
    """Leave ground that nobody uses: earth, rubble, bushes."""
    lay(sketch, block, block.choose(block.style.open_ground))
    for cell in cut(inner_box(block, 1), 14, block.rng):
        lay(sketch, block, block.choose((*block.style.open_ground, "rubble")), cell)
    plant(sketch, block, block.frame, inner_box(block, 0), block.width * block.height / 110)
    plant(sketch, block, block.frame, inner_box(block, 0), block.width * block.height / 40, species="shrub")


OPEN_GROUND = ("fields", "meadow", "scrub", "grove", "waste")
"""Kinds of blocks without buildings."""

FILLERS: Mapping[str, Callable[[Sketch, Block], None]] = {
    "lots": fill_lots, "villas": fill_villas, "plots": fill_plots, "village": fill_village, "rows": fill_rows,
    "dense": fill_dense, "halls": fill_halls, "civic": fill_civic, "farm": fill_farm, "fields": fill_fields,
    "meadow": fill_meadow, "scrub": fill_scrub, "grove": fill_grove, "green": fill_green, "waste": fill_waste,
}
"""What each kind of block is filled by."""
