"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rasterio
import rasterio.shutil
from rasterio.errors import RasterioError

from geofootprint.errors import OptionError, OutputError

if TYPE_CHECKING:
    from geofootprint.raster import Grid

__all__ = [
    "BLOCK_CACHE_MB",
    "atomic_path",
    "copy_as_cog",
    "create_geotiff",
    "created_folder",
    "distinct_names",
    "require_folder",
    "require_other",
    "require_tiff",
]

BLOCK_CACHE_MB = 128
"""GDAL's block cache while a step runs; its default, 5 % of the machine's memory, is no bound.

rasterio hands GDAL_CACHEMAX to GDALSetCacheMax64 and so takes bytes, where the environment variable takes megabytes.
"""

COMPANIONS = (".aux.xml", ".msk", ".ovr")
"""What GDAL keeps beside a raster; that of an older file would be taken for the new one's."""


def require_folder(path: str | os.PathLike[str]) -> Path:
    """Return `path` if a file can be written there, and fail before any work is done if not.

    Raises
    ------
    OutputError
        If the folder of `path` does not exist or cannot be written to, or `path` is a folder.
    """
    target = Path(path)
    folder = target.parent
    if not folder.is_dir():
        raise OutputError(f"{target} cannot be written: the folder {folder} does not exist; make it first.")
    if target.is_dir():
        raise OutputError(f"{target} cannot be written: it is a folder; give the name of a file.")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{target} cannot be written: no permission in {folder}; choose another folder.")
    return target


def require_other(path: str | os.PathLike[str], *inputs: str | os.PathLike[str] | None) -> None:
    """Fail if a result would replace one of the inputs it is made from.

    Raises
    ------
    OptionError
    """
    target = Path(path)
    for name in inputs:
        if name is not None and target.exists() and Path(name).exists() and target.samefile(name):
            raise OptionError(f"{target} is itself read for the result; give the result another name.")


def require_tiff(path: str | os.PathLike[str]) -> Path:
    """Return `path` if a GeoTIFF can be written there, and fail before any work is done if not.

    Raises
    ------
    OptionError
        If the extension is not .tif or .tiff.
    OutputError
        As of `require_folder`.
    """
    if Path(path).suffix.lower() not in (".tif", ".tiff"):
        raise OptionError(f"{os.fspath(path)} is a name for no GeoTIFF; let it end in .tif.")
    return require_folder(path)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary name beside `path`, renamed to it on success and removed on any failure.

    Yields
    ------
    pathlib.Path
        With the extension of `path`, which drivers go by.

    Raises
    ------
    OutputError
        If the folder cannot be written to, or the disk is full.
    """
    target = require_folder(path)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        # Ours have no number, and an input that cannot be read names itself: neither is about this file.
        if error.errno is None or error.filename not in (None, str(temporary), str(target)):
            raise
        raise OutputError(f"{target} cannot be written: {error.strerror}.") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def created_folder(path: str | os.PathLike[str], names: Iterable[str]) -> Iterator[Path]:
    """Give a folder for several files, made if need be; on any failure those that are new go, and it too if it was made.

    Parameters
    ----------
    path : path
    names : iterable of str
        The files that will be written in it. Others are not touched: another program may write them meanwhile.

    Yields
    ------
    pathlib.Path

    Raises
    ------
    OutputError
        If it cannot be made or written to.
    """
    target = Path(path)
    missing = [folder for folder in (target, *target.parents) if not folder.exists()]
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{target} cannot be made ({error.strerror}); choose another folder.") from error
    if not os.access(target, os.W_OK):
        raise OutputError(f"{target} cannot be written to: no permission; choose another folder.")
    new = [target / name for name in names if not (target / name).exists()]
    try:
        yield target
    except BaseException:
        for file in new:
            file.unlink(missing_ok=True)
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()
        raise


def distinct_names(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Return a name for what is made of each input; sheets are often all called ``ortho.tif``, in a folder each."""
    stems = [Path(path).stem for path in paths]
    if len(set(stems)) < len(stems):
        stems = [f"{Path(path).absolute().parent.name}_{stem}" for path, stem in zip(paths, stems, strict=True)]
    if len(set(stems)) < len(stems):
        stems = [f"{stem}_{number}" for number, stem in enumerate(stems, start=1)]
    return stems


@contextmanager
def create_geotiff(
    path: str | os.PathLike[str],
    grid: Grid,
    *,
    count: int = 1,
    dtype: str = "uint8",
    nodata: float | None = None,
    compress: str = "deflate",
    **profile: Any,
) -> Iterator[Any]:
    """Create a tiled, compressed GeoTIFF that appears under its name only when it is complete.

    Parameters
    ----------
    path : path
        Where it ends.
    grid : Grid
        Its pixels.
    count, dtype, nodata, compress
        As of rasterio.
    **profile
        Further creation options of GDAL's GTiff driver.

    Yields
    ------
    rasterio.io.DatasetWriter
        To be written by window.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    block = 512 if min(grid.shape) >= 512 else None
    tiled = {"tiled": True, "blockxsize": block, "blockysize": block} if block else {}
    # What does not fit a GeoTIFF would go to an .aux.xml under the temporary name.
    environment = rasterio.Env(GDAL_CACHEMAX=BLOCK_CACHE_MB * 2**20, GDAL_PAM_ENABLED=False)
    with atomic_path(path) as temporary:
        try:
            with environment, rasterio.open(
                temporary, "w", driver="GTiff", crs=grid.crs, transform=grid.transform,
                width=grid.width, height=grid.height, count=count, dtype=dtype, nodata=nodata,
                compress=compress, bigtiff="if_safer", **tiled, **profile,
            ) as dataset:
                yield dataset
        except RasterioError as error:
            raise OutputError(f"{path} cannot be written ({error}).") from error
        for suffix in COMPANIONS:
            Path(f"{os.fspath(path)}{suffix}").unlink(missing_ok=True)


def copy_as_cog(source: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Copy a raster to a Cloud Optimized GeoTIFF, which has overviews and can be read in parts over a network.

    Parameters
    ----------
    source : path
        With its mask, tags and descriptions, which are copied too.
    path : path
        Where it ends.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    options = {
        "blocksize": 512, "compress": "deflate", "overview_resampling": "average", "bigtiff": "if_safer",
    }
    with atomic_path(path) as temporary:
        try:
            with rasterio.Env(GDAL_CACHEMAX=BLOCK_CACHE_MB * 2**20, GDAL_PAM_ENABLED=False):
                rasterio.shutil.copy(source, temporary, driver="COG", **options)
        except RasterioError as error:
            raise OutputError(f"{path} cannot be written ({error}).") from error
    for suffix in COMPANIONS:
        Path(f"{os.fspath(path)}{suffix}").unlink(missing_ok=True)
