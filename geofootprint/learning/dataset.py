"""Datasets of tiles, held in memory."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import geopandas as gpd
import numpy as np
from affine import Affine
from numpy.typing import NDArray

from geofootprint.errors import DatasetError, MissingFileError, OptionError
from geofootprint.labels import BACKGROUND, BUILDING, CONTOUR, NODATA
from geofootprint.raster import open_raster
from geofootprint.tiling import SCHEMA

__all__ = ["TOUCH", "Tile", "TileSet", "is_building", "is_contour", "is_touch", "read_tiles"]

KNOWN_LABELS = (BACKGROUND, BUILDING, CONTOUR, NODATA)
"""In files."""

TOUCH = 3
"""In memory, a contour along a wall that two buildings share."""

SAME_GSD = 0.02
"""Datasets whose ground sampling distances differ by less than this share go together."""

Folders = Sequence[tuple[str | os.PathLike[str], float]]


@dataclass(frozen=True)
class Tile:
    """One image and label pair.

    Attributes
    ----------
    image : array of shape (H, W, C)
    label : array of shape (H, W)
        As in files, and `TOUCH`.
    weight : float
        How often to take crops from it, against the others.
    """

    image: NDArray[np.uint8]
    label: NDArray[np.uint8]
    weight: float


@dataclass(frozen=True)
class TileSet:
    """The tiles of one split of one or more datasets.

    Attributes
    ----------
    tiles : list of Tile
    bands : int
        Colour bands of all images.
    gsd : float
        Metres per pixel of all images.
    sources : tuple of str
        The orthophotos they were cut from.
    """

    tiles: list[Tile]
    bands: int
    gsd: float
    sources: tuple[str, ...]

    @property
    def pixels(self) -> int:
        """Number of pixels, valid or not."""
        return sum(tile.label.size for tile in self.tiles)


def is_building(label: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where a label shows building, contours counted."""
    return np.asarray((label != BACKGROUND) & (label != NODATA))


def is_contour(label: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where a label shows a contour, those along shared walls counted."""
    return np.asarray((label == CONTOUR) | (label == TOUCH))


def is_touch(label: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where a label shows a contour along a wall that two buildings share."""
    return np.asarray(label == TOUCH)


def mark_touch(label: NDArray[np.uint8], contour_width: int) -> NDArray[np.uint8]:
    """Return a label with `TOUCH` where contours run along shared walls.

    Contours lie inside their building, at most their width from its edge. Where one is farther than that from all
    that is not building, the edge is another building's.

    Parameters
    ----------
    label : array of shape (H, W)
    contour_width : int
        With which the contours were drawn, in pixels.
    """
    around = np.ones((2 * contour_width + 1,) * 2, np.uint8)
    inside = cv2.erode(is_building(label).astype(np.uint8), around) > 0  # beyond the tile's edge counts as building
    return np.where(inside & (label == CONTOUR), np.uint8(TOUCH), label)


def read_tiles(folders: Folders, split: str) -> TileSet:
    """Read the tiles of a split into memory.

    A tile is drawn in proportion to its valid pixels, and up to four times as often where it shows buildings.

    Parameters
    ----------
    folders : sequence of (path, float)
        Datasets as `geofootprint.tiling.tile` makes them, and the weight of each.
    split : {"train", "val", "test"}

    Raises
    ------
    OptionError
        If a weight is not more than 0.
    MissingFileError, DatasetError
        If a folder is no dataset, has no tiles in the split or none with buildings, holds labels of unknown values or
        images that lie elsewhere than their labels, or the datasets differ in bands, type or ground sampling distance.
    """
    for folder, weight in folders:
        if not (math.isfinite(weight) and weight > 0):
            raise OptionError(f"The weight of {folder} must be more than 0, not {weight:g}; leave the dataset out instead.")
    infos = [_read_info(Path(folder)) for folder, _ in folders]
    _check_alike(infos, folders)
    tiles = [
        tile
        for info, (folder, weight) in zip(infos, folders, strict=True)
        for tile in _read_split(Path(folder), info, split, weight)
    ]
    names = " and ".join(os.fspath(folder) for folder, _ in folders)
    if not tiles:
        raise DatasetError(f"{names}: no tile is in the split '{split}'; tile again with a larger share for it in --split.")
    if not any(is_building(tile.label).any() for tile in tiles):
        raise DatasetError(
            f"{names}: no tile of the split '{split}' shows a building; check that the footprints lie on the image, or "
            "tile again with another --seed."
        )
    sources = tuple(dict.fromkeys(source for info in infos for source in info["sources"]))
    return TileSet(tiles, int(infos[0]["bands"]), float(infos[0]["gsd"]), sources)


def _read_info(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise MissingFileError(f"{folder} does not exist; give the folder of a dataset made by geofootprint tile.")
    try:
        info = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        known = {key: info[key] for key in ("schema", "bands", "dtype", "gsd", "contour_width", "sources")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{folder} is not a dataset: its dataset.json is missing or damaged; make one with geofootprint tile."
        ) from error
    if known["schema"] > SCHEMA:
        raise DatasetError(f"{folder} was made by a newer geofootprint ({info.get('made_with')}); update geofootprint.")
    return known


def _check_alike(infos: Sequence[dict[str, Any]], folders: Folders) -> None:
    first, first_name = infos[0], folders[0][0]
    if first["dtype"] != "uint8":
        raise DatasetError(
            f"{first_name} holds {first['dtype']} images; convert the orthophoto to 8 bit before it is tiled."
        )
    for info, (name, _) in zip(infos, folders, strict=True):
        for key in ("bands", "dtype"):
            if info[key] != first[key]:
                raise DatasetError(
                    f"{name} has {key} {info[key]}, but {first_name} has {first[key]}; train on datasets of one kind."
                )
        if abs(info["gsd"] / first["gsd"] - 1) > SAME_GSD:
            raise DatasetError(
                f"{name} has {info['gsd']:.3g} m per pixel, but {first_name} has {first['gsd']:.3g} m; "
                "tile both with one --gsd."
            )


def _read_split(folder: Path, info: dict[str, Any], split: str, weight: float) -> Iterator[Tile]:
    try:
        index = gpd.read_parquet(folder / "index.parquet")
        rows = index.loc[index["split"] == split, ["image", "label"]]
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(f"{folder} is not a dataset: its index.parquet is missing or damaged; tile it again.") from error
    for image_name, label_name in rows.itertuples(index=False):
        image, image_place = _read_array(folder / image_name)
        labels, label_place = _read_array(folder / label_name)
        label = labels[0]
        if image.shape[0] != info["bands"]:
            raise DatasetError(
                f"{folder / image_name} has {image.shape[0]} band(s), but its dataset {info['bands']}; tile it again."
            )
        if image.shape[1:] != label.shape or not image_place.almost_equals(label_place):
            raise DatasetError(f"{folder / image_name} and its label lie on different grids; tile the image again.")
        _check_values(label, folder / label_name)
        known = float((label != NODATA).sum())
        often = 0.25 + min(0.75, 5 * float(is_building(label).mean()))
        label = mark_touch(label, info["contour_width"])
        yield Tile(np.ascontiguousarray(np.moveaxis(image, 0, -1)), label, weight * known * often)


def _check_values(label: NDArray[np.uint8], path: Path) -> None:
    unknown = set(np.unique(label).tolist()) - set(KNOWN_LABELS)
    if unknown:
        values = ", ".join(str(value) for value in sorted(unknown))
        raise DatasetError(
            f"{path} has labels of unknown value ({values}); known are 0 background, 1 building, 2 contour, 255 no data."
        )


def _read_array(path: Path) -> tuple[NDArray[np.uint8], Affine]:
    with open_raster(path) as dataset:
        if dataset.dtypes[0] != "uint8":
            raise DatasetError(f"{path} holds {dataset.dtypes[0]} values, not uint8; tile the image again.")
        return np.asarray(dataset.read()), dataset.transform
