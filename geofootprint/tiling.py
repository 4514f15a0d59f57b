"""Datasets: orthophotos cut into georeferenced tiles with their labels, split by place.

A dataset is a folder::

    OUT/images/NAME.tif    colour bands of the orthophoto
    OUT/labels/NAME.tif    0 background, 1 building, 2 contour, 255 no data
    OUT/index.parquet      one row a tile: where it lies, its split, what it shows (GeoParquet, EPSG:4326)
    OUT/dataset.json       how it was made
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyproj
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.errors import RasterioIOError
from rasterio.windows import Window

from geofootprint._version import __version__
from geofootprint.errors import DatasetError, GeofootprintError, OptionError, OutputError, RasterError, VectorError
from geofootprint.labels import BACKGROUND, BUILDING, CONTOUR, NODATA, LabelBurner, MissedError, footprints_on
from geofootprint.output import distinct_names
from geofootprint.progress import SILENT, Progress, track
from geofootprint.raster import Grid, ImageReader, open_image, open_raster, read_grid
from geofootprint.splits import SPLITS, blocks_of, default_block, leaks, split_tiles
from geofootprint.vector import read_area

__all__ = ["RECIPES", "SCHEMA", "TileResult", "tile", "tile_windows"]

SCHEMA = 1
"""Number of the dataset folder's format."""

RECIPES = {"tirol": 675}
"""Pixels of the orthophoto that one tile's side shows. A Tirol sheet of 4053 px so gives 6 x 6 tiles of 256 px."""

LEFT_OUT = 0.01
"""Share of a tile's side that may be left out at a raster's right and lower edge; where more remains, a tile is padded."""


@dataclass(frozen=True)
class TileResult:
    """What `tile` made.

    Attributes
    ----------
    out : str
        The dataset's folder.
    tiles : int
        Image and label pairs in it.
    train, val, test : int
        Tiles of each split.
    dropped : int
        Tiles left out since they showed ground of another split.
    gsd : float
        Metres per pixel.
    building_share : float
        Share of the labelled pixels that are building, contours counted.
    """

    out: str
    tiles: int
    train: int
    val: int
    test: int
    dropped: int
    gsd: float
    building_share: float


@dataclass(frozen=True)
class _Options:
    """What is the same for all tiles of a dataset, as `dataset.json` tells it."""

    size: int
    overlap: int
    gsd: float | None
    recipe: str | None
    split: tuple[float, float, float]
    block: float | None
    min_density: float
    seed: int
    contour_width: int

    def check(self) -> None:
        if self.size < 16:
            raise OptionError(f"The size of a tile must be at least 16 px, not {self.size}; use for example 256.")
        if not 0 <= self.overlap < self.size:
            raise OptionError(f"The overlap must be from 0 to {self.size - 1} px, less than the tile's size, not {self.overlap}.")
        if self.recipe is not None and self.recipe not in RECIPES:
            raise OptionError(f"The recipe {self.recipe!r} is unknown; use {' or '.join(RECIPES)}, or none.")
        if self.recipe is not None and (self.gsd is not None or self.overlap):
            raise OptionError(f"The recipe {self.recipe!r} sets the GSD and has no overlap; leave both options out.")
        if len(self.split) != len(SPLITS) or min(self.split) < 0 or abs(sum(self.split) - 1) > 1e-6:
            shares = ",".join(f"{share:g}" for share in self.split)
            raise OptionError(f"The split must be three shares (train, val, test) that add up to 1, not {shares}.")
        if self.block is not None and self.block <= 0:
            raise OptionError(f"The side of a spatial block must be more than 0 m, not {self.block:g}.")
        if not 0 <= self.min_density <= 1:
            raise OptionError(f"The least building share must be from 0 to 1, not {self.min_density:g}.")


def tile(
    images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    footprints: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    size: int = 256,
    overlap: int = 0,
    gsd: float | None = None,
    recipe: str | None = None,
    split: tuple[float, float, float] = (0.8, 0.1, 0.1),
    block: float | None = None,
    min_density: float = 0.0,
    aoi: str | os.PathLike[str] | None = None,
    contour_width: int = 2,
    seed: int = 0,
    progress: Progress = SILENT,
) -> TileResult:
    """Cut orthophotos and footprints into a dataset of image and label tiles.

    Parameters
    ----------
    images : path or sequence of paths
        Orthophotos with the same bands and type, in any CRS each.
    footprints : path
        The buildings of all images, in any CRS.
    out : path
        Folder of the dataset; parents are made, an older dataset is replaced.
    size : int
        Pixels of a tile's side. At the right and lower edge tiles are padded with no data.
    overlap : int
        Pixels that neighbouring tiles share.
    gsd : float, optional
        Metres per pixel of the tiles; the image's own by default.
    recipe : {"tirol"}, optional
        Tiles show 675 px of the image, resampled to `size`; a sheet of 4053 px is cut to 4050 px first.
    split : (float, float, float)
        Shares of the pixels for training, validation, test.
    block : float, optional
        Metres of the side of the square blocks of ground that go to one split as a whole. By default the widest of
        500 m, 250 m, ... that gives 20 blocks, and never less than a tile.
    min_density : float
        Least share of building in a tile, 0 to 1.
    aoi : path, optional
        Where the footprints are complete; pixels outside have no label (255).
    contour_width : int
        Pixels of the contour.
    seed : int
        Of the choice of blocks.
    progress : Progress

    Returns
    -------
    TileResult

    Raises
    ------
    OptionError
        If an option is impossible.
    MissingFileError, RasterError, VectorError
        If an input cannot be used, or the footprints miss all images.
    OutputError
        If `out` cannot be written, or is a folder with something else in it.
    """
    options = _Options(size, overlap, gsd, recipe, tuple(split), block, min_density, seed, contour_width)  # type: ignore[arg-type]
    options.check()
    paths = [images] if isinstance(images, str | os.PathLike) else list(images)
    if not paths:
        raise OptionError("No image is given; name at least one orthophoto.")
    with _new_dataset(out) as folder:
        rows, bands, dtype = _cut_images(paths, footprints, folder, options, aoi, progress)
        index, side, dropped = _index_tiles(rows, folder, options, progress)
        _write_index(index, folder, {**asdict(options), "block": side, "bands": bands, "dtype": dtype})
    return _summarise(index, os.fspath(out), dropped)


def tile_windows(grid: Grid, size: int, overlap: int = 0) -> list[Window]:
    """Return the windows of a grid's tiles, row by row from its origin.

    All have `size` by `size` pixels; the last ones of a row or column may reach beyond the grid. A remainder of at
    most 1 % of a tile gets no tile of its own.

    Parameters
    ----------
    grid : Grid
    size, overlap : int
        Pixels.
    """
    stride = size - overlap

    def starts(extent: int) -> range:
        rest = extent - size - math.floor(size * LEFT_OUT)
        return range(0, max(0, math.ceil(rest / stride)) * stride + 1, stride)

    return [Window(column, row, size, size) for row in starts(grid.height) for column in starts(grid.width)]


def _cut_images(
    paths: Sequence[str | os.PathLike[str]],
    footprints: str | os.PathLike[str],
    folder: Path,
    options: _Options,
    aoi: str | os.PathLike[str] | None,
    progress: Progress,
) -> tuple[list[dict[str, Any]], int, str]:
    """Write the tiles of all images; return their rows of the index, their bands and their type."""
    rows: list[dict[str, Any]] = []
    missed: list[MissedError] = []
    kinds: dict[tuple[int, str], str] = {}
    for path, name in zip(paths, distinct_names(paths), strict=True):
        with open_image(path, gsd=_wanted_gsd(path, options), count=None, progress=progress) as reader:
            kinds.setdefault((reader.count, str(reader.dtype)), reader.name)
            _check_alike(kinds)
            try:
                found = footprints_on(footprints, reader.grid, reader.name)
            except MissedError as error:
                if len(paths) == 1:
                    raise
                missed.append(error)
                progress.warn(str(error))
                continue
            burner = LabelBurner(found, reader.grid, contour_width=options.contour_width)
            area = None if aoi is None else _area_burner(aoi, reader.grid)
            cutter = _Cutter(reader, name, folder, burner, area, options)
            windows = tile_windows(reader.grid, options.size, options.overlap)
            rows += filter(None, map(cutter.cut, track(windows, f"Tiles of {name}", len(windows), progress)))
    if len(missed) == len(paths):
        raise VectorError(f"The footprints of {os.fspath(footprints)} meet none of the images; check the CRS of both.")
    if not rows:
        raise DatasetError(
            "No tile has labelled pixels and enough building; check the images' nodata, the area of interest "
            "and the least building share."
        )
    ((bands, dtype),) = kinds
    return rows, bands, dtype


def _check_alike(kinds: dict[tuple[int, str], str]) -> None:
    if len(kinds) > 1:
        (first, one), (second, other) = kinds.items()
        raise RasterError(
            f"{one} has {first[0]} band(s) of {first[1]}, but {other} has {second[0]} of {second[1]}; "
            "make one dataset of each."
        )


def _wanted_gsd(path: str | os.PathLike[str], options: _Options) -> float | None:
    if options.recipe is None:
        return options.gsd
    with open_raster(path) as dataset:
        return read_grid(dataset, os.fspath(path)).gsd * RECIPES[options.recipe] / options.size


def _area_burner(aoi: str | os.PathLike[str], grid: Grid) -> LabelBurner:
    return LabelBurner([read_area(aoi, grid.crs)], grid, scheme="mask")


@dataclass(frozen=True)
class _Cutter:
    """Writes the tiles of one image."""

    reader: ImageReader
    name: str
    folder: Path
    burner: LabelBurner
    area: LabelBurner | None
    options: _Options

    def cut(self, window: Window) -> dict[str, Any] | None:
        """Write the pair of a window and return its row of the index; None where there is nothing to learn."""
        image, valid = self.reader.read(window)
        if not valid.any():
            return None
        labels = self.burner.burn(window)
        labels[~valid] = NODATA
        if self.area is not None:
            labels[self.area.burn(window) == 0] = NODATA
        labelled = int((labels != NODATA).sum())
        building = int(((labels > 0) & (labels != NODATA)).sum())
        if labelled == 0 or building / labelled < self.options.min_density:
            return None
        name = f"{self.name}_{int(window.row_off):06d}_{int(window.col_off):06d}"
        grid = self.reader.grid.crop(window)
        _write_tile(self.folder / "images" / f"{name}.tif", grid, image, valid)
        _write_tile(self.folder / "labels" / f"{name}.tif", grid, labels[None], None)
        return {
            "name": name,
            "image": f"images/{name}.tif",
            "label": f"labels/{name}.tif",
            "building_share": building / labelled,
            "valid_share": labelled / labels.size,
            "gsd": self.reader.grid.gsd,
            "source": self.reader.name,
            "geometry": _outline(self.reader.grid, window),
            "extent": _outline(self.reader.grid, _inside(self.reader.grid, window)),
        }


def _inside(grid: Grid, window: Window) -> Window:
    return Window(
        window.col_off, window.row_off,
        min(window.width, grid.width - window.col_off), min(window.height, grid.height - window.row_off),
    )


def _outline(grid: Grid, window: Window) -> Any:
    """Return the four corners of a window as a polygon in EPSG:4326."""
    cut = grid.crop(window)
    corners = [cut.transform * xy for xy in ((0, 0), (0, cut.height), (cut.width, cut.height), (cut.width, 0))]
    return shapely.Polygon(_to_degrees(grid.crs.to_wkt()).itransform(corners))


@lru_cache
def _to_degrees(crs: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)


def _write_tile(path: Path, grid: Grid, pixels: NDArray[Any], valid: NDArray[np.bool_] | None) -> None:
    # Said of four bands too: GDAL would take the last for transparency.
    profile = {"nodata": NODATA} if valid is None else {"photometric": "RGB" if len(pixels) == 3 else "MINISBLACK"}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(
        path, "w", driver="GTiff", crs=grid.crs, transform=grid.transform, width=grid.width, height=grid.height,
        count=len(pixels), dtype=pixels.dtype, compress="deflate", interleave="pixel", **profile,
    ) as dataset:
        dataset.write(pixels)
        if valid is not None and not valid.all():
            dataset.write_mask(valid)


def _index_tiles(
    rows: list[dict[str, Any]], folder: Path, options: _Options, progress: Progress
) -> tuple[gpd.GeoDataFrame, float, int]:
    """Return the index of the tiles with their splits, the side of the blocks, and how many leaking tiles it removed."""
    index = gpd.GeoDataFrame(rows, geometry="geometry", crs="EPSG:4326")
    side = options.block or default_block(index, options.size * float(index["gsd"].min()))
    index["block"] = blocks_of(index, side)
    index["split"] = split_tiles(index, options.split, seed=options.seed, progress=progress)
    leaking = leaks(index)
    for row in index[leaking].itertuples():
        (folder / row.image).unlink()
        (folder / row.label).unlink()
    return index[~leaking].drop(columns="extent").reset_index(drop=True), side, int(leaking.sum())


@contextmanager
def _new_dataset(out: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary folder beside `out` that takes its place on success and is removed on any failure."""
    target = Path(os.path.realpath(out))
    if target.exists() and not (target.is_dir() and _may_be_replaced(target)):
        raise OutputError(f"{os.fspath(out)} is not a dataset and not empty; choose another folder for the dataset.")
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    missing = [folder for folder in target.parents if not folder.exists()]
    try:
        for part in ("images", "labels"):
            (temporary / part).mkdir(parents=True)
        yield temporary
        _take_place(temporary, target)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()
        if isinstance(error, GeofootprintError) or not isinstance(error, OSError | RasterioIOError):
            raise
        raise OutputError(f"{os.fspath(out)} cannot be written: {error}.") from error


def _may_be_replaced(folder: Path) -> bool:
    return (folder / "dataset.json").is_file() or not any(folder.iterdir())


def _take_place(temporary: Path, target: Path) -> None:
    old = target.with_name(f"{temporary.name}.old")
    if target.exists():
        target.rename(old)
    temporary.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _write_index(index: gpd.GeoDataFrame, folder: Path, options: dict[str, Any]) -> None:
    index.to_parquet(folder / "index.parquet")
    about = {
        "schema": SCHEMA,
        **options,
        "gsd": float(index["gsd"].mean()),
        "scheme": "contour",
        "classes": {"background": BACKGROUND, "building": BUILDING, "contour": CONTOUR, "nodata": NODATA},
        "sources": sorted(index["source"].unique()),
        "made_with": f"geofootprint {__version__}",
    }
    (folder / "dataset.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _summarise(index: gpd.GeoDataFrame, out: str, dropped: int) -> TileResult:
    train, val, test = (int((index["split"] == name).sum()) for name in SPLITS)
    valid = index["valid_share"]
    share = float((index["building_share"] * valid).sum() / valid.sum())
    return TileResult(out, len(index), train, val, test, dropped, float(index["gsd"].mean()), share)
