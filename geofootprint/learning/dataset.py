"""Datasets of tiles, held in memory."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from rasterio.enums import MaskFlags

from geofootprint.errors import DatasetError, MissingFileError, OptionError
from geofootprint.labels import BACKGROUND, BUILDING, CONTOUR, NODATA
from geofootprint.progress import SILENT, Progress
from geofootprint.raster import Grid, open_raster, read_grid
from geofootprint.scaling import Scaling, measure_scaling
from geofootprint.tiling import SCHEMA

__all__ = ["TOUCH", "Pixels", "Tile", "TileSet", "is_building", "is_contour", "is_touch", "read_tiles"]

Pixels = NDArray[np.unsignedinteger[Any]]
"""Colours of 0 to 1 as whole numbers from 0 to the largest of their type."""

KNOWN_LABELS = (BACKGROUND, BUILDING, CONTOUR, NODATA)
"""In files."""

TOUCH = 3
"""In memory, a contour along a wall that two buildings share."""

FULL = 65535
"""What 1 is in images of other types than uint8, once their bands are scaled."""

SAMPLES = 4096
"""Valid pixels of a tile, about, that its bands' range is measured on."""

SAME_GSD = 0.02
"""Datasets whose ground sampling distances differ by less than this share go together."""

Folders = Sequence[tuple[str | os.PathLike[str], float]]


@dataclass(frozen=True)
class Tile:
    """One image and label pair.

    Attributes
    ----------
    image : array of shape (H, W, C)
        As in the file for uint8; of another type, scaled to the whole range of uint16. 0 where there is no data.
    label : array of shape (H, W)
        As in files, and `TOUCH`; `NODATA` where the image has no data.
    weight : float
        How often to take crops from it, against the others.
    """

    image: Pixels
    label: NDArray[np.uint8]
    weight: float

    @property
    def picture(self) -> NDArray[np.uint8]:
        """The image in 8 bits, to look at."""
        return np.asarray(self.image if self.image.dtype == np.uint8 else self.image >> 8, np.uint8)


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
    dtype : str
        Pixel type of these.
    scaling : Scaling, optional
        What made 0 to 1 of their pixels; none for uint8, whose whole range it is.
    """

    tiles: list[Tile]
    bands: int
    gsd: float
    sources: tuple[str, ...]
    dtype: str = "uint8"
    scaling: Scaling | None = None

    @property
    def scalings(self) -> dict[str, Scaling]:
        """What `read_tiles` takes to scale other tiles alike."""
        return {} if self.scaling is None else {self.dtype: self.scaling}

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


def read_tiles(
    folders: Folders, split: str, *, scalings: Mapping[str, Scaling] = MappingProxyType({}), progress: Progress = SILENT
) -> TileSet:
    """Read the tiles of a split into memory.

    A tile is drawn in proportion to its valid pixels, and up to four times as often where it shows buildings. Pixels
    that are NaN, infinite or the image's nodata have no label. Tiles without any other are left out.

    Parameters
    ----------
    folders : sequence of (path, float)
        Datasets as `geofootprint.tiling.tile` makes them, and the weight of each.
    split : {"train", "val", "test"}
    scalings : mapping of str to Scaling
        By pixel types, what makes 0 to 1 of pixels that are not uint8; measured on these tiles where theirs is missing.
        Tiles of validation take that of the training tiles, a run that goes on from another that of the other.
    progress : Progress
        Warned of tiles that are left out.

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
    raw = [
        tile
        for info, (folder, weight) in zip(infos, folders, strict=True)
        for tile in _read_split(Path(folder), info, split, weight, progress)
    ]
    names = " and ".join(os.fspath(folder) for folder, _ in folders)
    if not raw:
        raise DatasetError(
            f"{names}: no tile is in the split '{split}', or none with data; tile again with a larger share for it in --split."
        )
    dtype = str(infos[0]["dtype"])
    scaling = None if dtype == "uint8" else scalings.get(dtype) or measure_scaling([tile.sample() for tile in raw])
    tiles = [tile.scaled(scaling) for tile in raw]
    if not any(is_building(tile.label).any() for tile in tiles):
        raise DatasetError(
            f"{names}: no tile of the split '{split}' shows a building; check that the footprints lie on the image, or "
            "tile again with another --seed."
        )
    sources = tuple(dict.fromkeys(source for info in infos for source in info["sources"]))
    return TileSet(tiles, int(infos[0]["bands"]), float(infos[0]["gsd"]), sources, dtype, scaling)


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
    if np.dtype(first["dtype"]).kind not in "uif":
        raise DatasetError(f"{first_name} holds {first['dtype']} images; convert the orthophoto before it is tiled.")
    for info, (name, _) in zip(infos, folders, strict=True):
        if info["contour_width"] != first["contour_width"]:
            raise DatasetError(
                f"{name} has contours of {info['contour_width']} px, but {first_name} of {first['contour_width']} px; "
                "tile both with one --contour-width."
            )
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


@dataclass(frozen=True)
class _RawTile:
    """A tile whose bands are not scaled yet."""

    image: NDArray[Any]  # (C, H, W)
    valid: NDArray[np.bool_]
    label: NDArray[np.uint8]
    weight: float

    def sample(self) -> NDArray[Any]:
        """Return valid pixels from all over the tile, of shape (C, pixels)."""
        pixels = self.image[:, self.valid]
        return pixels[:, :: math.ceil(pixels.shape[1] / SAMPLES)]

    def scaled(self, scaling: Scaling | None) -> Tile:
        """Return the tile with bands last, scaled if there is a scaling."""
        if scaling is None:
            image = np.where(self.valid, self.image, np.uint8(0))
        else:
            image = np.rint(scaling.apply(self.image, self.valid) * FULL).astype(np.uint16)
        return Tile(np.ascontiguousarray(np.moveaxis(image, 0, -1)), self.label, self.weight)


def _read_split(
    folder: Path, info: dict[str, Any], split: str, weight: float, progress: Progress
) -> Iterator[_RawTile]:
    try:
        index = gpd.read_parquet(folder / "index.parquet")
        rows = index.loc[index["split"] == split, ["image", "label"]]
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(f"{folder} is not a dataset: its index.parquet is missing or damaged; tile it again.") from error
    for image_name, label_name in rows.itertuples(index=False):
        image, valid, grid = _read_array(folder / image_name, bands=info["bands"], dtype=info["dtype"])
        labels, _, label_grid = _read_array(folder / label_name, bands=1, dtype="uint8")
        if not _is_same_place(grid, label_grid):
            raise DatasetError(f"{folder / image_name} and its label lie on different grids; tile the image again.")
        _check_values(labels[0], folder / label_name)
        if not valid.any():
            progress.warn(f"{folder / image_name} has no valid pixel; it is left out.")
            continue
        label = np.where(valid, labels[0], np.uint8(NODATA))
        known = float((label != NODATA).sum())
        often = 0.25 + min(0.75, 5 * float(is_building(label).mean()))
        yield _RawTile(image, valid, mark_touch(label, info["contour_width"]), weight * known * often)


def _is_same_place(grid: Grid, other: Grid) -> bool:
    return grid.shape == other.shape and grid.crs == other.crs and grid.transform.almost_equals(other.transform)


def _check_values(label: NDArray[np.uint8], path: Path) -> None:
    unknown = set(np.unique(label).tolist()) - set(KNOWN_LABELS)
    if unknown:
        values = ", ".join(str(value) for value in sorted(unknown))
        raise DatasetError(
            f"{path} has labels of unknown value ({values}); known are 0 background, 1 building, 2 contour, 255 no data."
        )


def _read_array(path: Path, *, bands: int, dtype: str) -> tuple[NDArray[Any], NDArray[np.bool_], Grid]:
    """Return the bands of a tile, which of its pixels have data, and where it lies."""
    with open_raster(path) as dataset:
        if dataset.dtypes[0] != dtype:
            raise DatasetError(f"{path} holds {dataset.dtypes[0]} values, not {dtype}; tile the image again.")
        if dataset.count != bands:
            raise DatasetError(f"{path} has {dataset.count} band(s), but its dataset {bands}; tile it again.")
        pixels = np.asarray(dataset.read())
        return pixels, _find_valid(dataset, pixels), read_grid(dataset, str(path))


def _find_valid(dataset: Any, pixels: NDArray[Any]) -> NDArray[np.bool_]:
    unsigned = pixels.dtype.kind == "u"
    valid = np.ones(pixels.shape[1:], np.bool_) if unsigned else np.isfinite(pixels).all(axis=0)
    flags = dataset.mask_flag_enums[0]
    # GDAL takes the last of four bands for transparency; here it is a colour.
    if MaskFlags.all_valid not in flags and MaskFlags.alpha not in flags:
        masks = dataset.read_masks()
        valid &= masks.any(axis=0) if unsigned else masks.all(axis=0)
    return valid
