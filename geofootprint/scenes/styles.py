"""Kinds of settlement that procedural scenes know, and the colours of their grounds and roofs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["GROUNDS", "ROOFS", "STYLES", "Ground", "Roof", "Style"]

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Ground:
    """How a kind of ground looks: two colours (0..255) that noise mixes, and how rough its texture is."""

    colour: Colour
    other: Colour
    roughness: float


GROUNDS: Mapping[str, Ground] = {
    "lawn": Ground((100, 110, 72), (118, 120, 82), 0.10),
    "meadow": Ground((96, 106, 70), (128, 122, 88), 0.13),
    "scrub": Ground((86, 96, 64), (140, 126, 100), 0.17),
    "forest": Ground((58, 70, 44), (80, 80, 54), 0.22),
    "crop": Ground((88, 106, 66), (106, 116, 72), 0.09),
    "ripe": Ground((176, 160, 110), (158, 146, 98), 0.07),
    "ploughed": Ground((126, 104, 84), (142, 120, 96), 0.11),
    "earth": Ground((150, 130, 108), (128, 112, 92), 0.14),
    "red earth": Ground((158, 118, 92), (134, 106, 84), 0.14),
    "sand": Ground((190, 176, 142), (164, 156, 118), 0.11),
    "rubble": Ground((142, 134, 124), (120, 112, 102), 0.15),
    "gravel": Ground((158, 152, 142), (138, 132, 122), 0.07),
    "paving": Ground((160, 154, 146), (142, 138, 132), 0.06),
    "concrete": Ground((176, 172, 162), (156, 152, 144), 0.06),
    "asphalt": Ground((118, 117, 117), (98, 98, 100), 0.045),
    "dusty asphalt": Ground((148, 141, 131), (124, 119, 112), 0.06),
    "pool": Ground((92, 172, 190), (110, 184, 200), 0.03),
    "water": Ground((58, 72, 70), (72, 86, 78), 0.03),
}


@dataclass(frozen=True)
class Roof:
    """How a roof looks: colours to choose from (0..255), pattern, share of stains, spread of single sheets or tiles."""

    colours: tuple[Colour, ...]
    pattern: str
    stains: float
    spread: float


ROOFS: Mapping[str, Roof] = {
    "tile": Roof(((152, 96, 76), (136, 84, 70), (164, 110, 88), (122, 84, 74), (146, 104, 88)), "rows", 0.10, 0.07),
    "brown": Roof(((112, 88, 74), (96, 80, 72), (122, 100, 86)), "rows", 0.10, 0.06),
    "slate": Roof(((96, 98, 104), (82, 84, 90), (112, 112, 116)), "rows", 0.08, 0.05),
    "metal": Roof(((172, 181, 181), (158, 166, 168), (142, 150, 154), (186, 191, 189)), "sheets", 0.07, 0.06),
    "blue": Roof(((78, 118, 162), (96, 134, 172), (68, 100, 140)), "sheets", 0.06, 0.05),
    "rust": Roof(((138, 98, 80), (122, 88, 76), (152, 128, 112), (150, 108, 84)), "sheets", 0.26, 0.13),
    "red": Roof(((158, 74, 66), (140, 68, 64), (172, 96, 84)), "sheets", 0.06, 0.05),
    "thatch": Roof(((128, 114, 94), (112, 102, 86)), "rows", 0.20, 0.05),
    "concrete": Roof(((168, 164, 152), (150, 146, 138), (182, 175, 162), (138, 134, 128), (174, 160, 143)), "slab", 0.22, 0.0),
    "gravel": Roof(((146, 144, 138), (162, 158, 150), (128, 126, 122)), "slab", 0.10, 0.0),
    "bitumen": Roof(((104, 104, 106), (90, 92, 94), (120, 118, 116)), "slab", 0.10, 0.0),
    "shell": Roof(((150, 130, 108), (140, 126, 110)), "slab", 0.25, 0.0),
}


@dataclass(frozen=True)
class Style:
    """A kind of settlement.

    Parameters
    ----------
    block : float
        Usual length of a block's side in metres.
    main_street, side_street : float
        Metres between blocks.
    carriageway : float
        Share of that taken by the carriageway.
    main_surface : str
        One of `GROUNDS`.
    side_surface : tuple of str
    bend : float
        How far streets swing from a straight line, in metres.
    blocks : mapping
        Weights of the kinds of blocks.
    roofs : mapping
        Weights of the roofs' materials.
    yards : tuple of str
        Grounds around houses.
    open_ground : tuple of str
        Grounds of meadows and of what is not built.
    storeys : (fewest, most)
    water : float
        Share of the scenes with a river or a pond.
    traffic : float
        Cars in 100 m of street.
    footways, markings : bool
        Whether streets have them.
    plants : tuple of str
        Species of trees.
    """

    block: float
    main_street: float
    side_street: float
    carriageway: float
    main_surface: str
    side_surface: tuple[str, ...]
    bend: float
    blocks: Mapping[str, float]
    roofs: Mapping[str, float]
    yards: tuple[str, ...]
    open_ground: tuple[str, ...]
    storeys: tuple[int, int]
    water: float
    traffic: float
    footways: bool
    markings: bool
    plants: tuple[str, ...]


STYLES: Mapping[str, Style] = {
    "suburb": Style(
        block=62, main_street=13, side_street=8, carriageway=0.62, main_surface="asphalt",
        side_surface=("asphalt",), bend=7,
        blocks={"lots": 7, "villas": 1.5, "rows": 1, "civic": 0.8, "green": 0.7, "meadow": 0.3},
        roofs={"tile": 5, "brown": 2, "slate": 2, "metal": 0.4, "gravel": 1, "bitumen": 0.4},
        yards=("lawn", "lawn", "meadow"), open_ground=("meadow", "lawn"), storeys=(1, 2), water=0.15, traffic=1.6,
        footways=True, markings=True, plants=("broadleaf", "broadleaf", "conifer", "shrub"),
    ),
    "old_town": Style(
        block=34, main_street=9, side_street=5, carriageway=0.7, main_surface="asphalt",
        side_surface=("paving", "asphalt"), bend=5,
        blocks={"rows": 6, "dense": 4, "civic": 0.8, "green": 0.4},
        roofs={"tile": 6, "brown": 2, "slate": 2, "metal": 0.6, "gravel": 0.5},
        yards=("paving", "gravel", "lawn"), open_ground=("lawn", "paving"), storeys=(2, 4), water=0.15, traffic=2.0,
        footways=True, markings=False, plants=("broadleaf", "shrub"),
    ),
    "dense": Style(
        block=40, main_street=8, side_street=3.4, carriageway=0.8, main_surface="dusty asphalt",
        side_surface=("earth", "concrete", "red earth"), bend=5,
        blocks={"dense": 8, "village": 1, "waste": 1, "halls": 0.4},
        roofs={"concrete": 7, "rust": 2.2, "metal": 1.5, "blue": 0.8, "red": 0.3, "shell": 0.5, "tile": 0.2},
        yards=("earth", "concrete", "rubble"), open_ground=("scrub", "earth", "rubble"), storeys=(1, 5), water=0.08,
        traffic=1.2, footways=False, markings=False, plants=("broadleaf", "shrub", "shrub"),
    ),
    "town_edge": Style(
        block=60, main_street=8, side_street=4.5, carriageway=0.75, main_surface="dusty asphalt",
        side_surface=("red earth", "earth", "earth"), bend=8,
        blocks={"plots": 5, "fields": 3, "village": 1.5, "waste": 1, "dense": 0.7, "meadow": 0.7},
        roofs={"concrete": 7, "rust": 1, "metal": 1.6, "blue": 1, "red": 0.6, "shell": 0.8},
        yards=("earth", "red earth", "scrub"), open_ground=("scrub", "meadow", "red earth"), storeys=(1, 4),
        water=0.12, traffic=0.8, footways=False, markings=False, plants=("broadleaf", "shrub", "shrub"),
    ),
    "tropical": Style(
        block=75, main_street=7, side_street=4.5, carriageway=0.75, main_surface="sand",
        side_surface=("sand", "earth"), bend=9,
        blocks={"village": 8, "scrub": 2, "fields": 1, "civic": 0.7, "grove": 0.7},
        roofs={"metal": 6, "rust": 2, "thatch": 0.8, "shell": 1.2, "red": 0.2, "concrete": 0.6},
        yards=("sand", "earth", "scrub"), open_ground=("scrub", "meadow", "scrub"), storeys=(1, 1), water=0.05,
        traffic=0.5, footways=False, markings=False, plants=("palm", "broadleaf", "shrub", "shrub"),
    ),
    "rural": Style(
        block=85, main_street=8, side_street=4, carriageway=0.7, main_surface="asphalt",
        side_surface=("gravel", "asphalt", "earth"), bend=12,
        blocks={"fields": 4, "farm": 3, "meadow": 1.2, "grove": 1, "lots": 1},
        roofs={"tile": 5, "brown": 3, "slate": 1, "metal": 1, "red": 0.2},
        yards=("gravel", "meadow", "lawn"), open_ground=("meadow", "crop"), storeys=(1, 2), water=0.3, traffic=0.4,
        footways=False, markings=True, plants=("broadleaf", "broadleaf", "conifer", "shrub"),
    ),
    "industrial": Style(
        block=120, main_street=15, side_street=11, carriageway=0.65, main_surface="asphalt",
        side_surface=("asphalt",), bend=4,
        blocks={"halls": 7, "meadow": 1, "green": 0.5, "lots": 0.4},
        roofs={"gravel": 4, "bitumen": 2, "metal": 4, "blue": 0.4, "concrete": 1},
        yards=("asphalt", "concrete", "gravel"), open_ground=("meadow", "lawn"), storeys=(2, 3), water=0.1,
        traffic=1.2, footways=True, markings=True, plants=("broadleaf", "shrub"),
    ),
}
"""Settlements by name; dense, town_edge and tropical are after drone images of South Asia and East Africa."""
