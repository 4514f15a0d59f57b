from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from geofootprint.errors import GeofootprintError, OptionError, OutputError
from geofootprint.output import (
    atomic_path,
    create_geotiff,
    created_folder,
    distinct_names,
    require_folder,
    require_other,
    require_tiff,
)
from geofootprint.raster import Grid

GRID = Grid(CRS.from_epsg(25832), Affine(0.2, 0, 680_000, 0, -0.2, 5_238_000), 700, 600)

as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")


def fail_after_writing(path: Path) -> float:
    path.write_text("half")
    return 1 / 0


def fail_beside_another_program(folder: Path) -> float:
    (folder / "another program's.txt").write_text("kept")
    return fail_after_writing(folder / "new.txt")


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.suffix == ".txt"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_leaves_the_old_file_alone(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        fail_after_writing(temporary)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_input_that_cannot_be_read_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "out.txt"):
        (tmp_path / "input.txt").read_text()
    assert not isinstance(caught.value, GeofootprintError)


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"out\.txt cannot be written: No space left on device\."), atomic_path(
        tmp_path / "out.txt"
    ):
        raise OSError(28, "No space left on device")


def test_require_folder_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist; make it first"):
        require_folder(tmp_path / "no" / "out.tif")
    with pytest.raises(OutputError, match="it is a folder"):
        require_folder(tmp_path)
    assert require_folder(tmp_path / "out.tif") == tmp_path / "out.tif"


@as_root
def test_require_folder_needs_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="no permission"):
        require_folder(tmp_path / "out.tif")


def test_a_new_folder_goes_with_what_failed_in_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), created_folder(tmp_path / "a" / "b", ["one.txt"]) as folder:
        fail_after_writing(folder / "one.txt")
    assert not (tmp_path / "a").exists()


def test_a_folder_that_was_there_keeps_its_own(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("old")
    with pytest.raises(ZeroDivisionError), created_folder(tmp_path, ["old.txt", "new.txt"]) as folder:
        fail_beside_another_program(folder)
    assert {path.name for path in tmp_path.iterdir()} == {"old.txt", "another program's.txt"}


def test_names_are_distinct() -> None:
    assert distinct_names(["a/one.tif", "b/two.tif"]) == ["one", "two"]
    assert distinct_names(["a/ortho.tif", "b/ortho.tif"]) == ["a_ortho", "b_ortho"]
    assert distinct_names(["x/a/ortho.tif", "y/a/ortho.tif"]) == ["a_ortho_1", "a_ortho_2"]


def test_a_geotiff_is_tiled_compressed_and_complete(tmp_path: Path) -> None:
    path = tmp_path / "out.tif"
    for suffix in (".aux.xml", ".ovr"):
        Path(f"{path}{suffix}").write_text("of an older file")
    with create_geotiff(path, GRID, nodata=255) as dataset:
        dataset.write(np.ones((1, *GRID.shape), np.uint8))
    with rasterio.open(path) as dataset:
        assert (dataset.crs, dataset.transform, dataset.shape) == (GRID.crs, GRID.transform, GRID.shape)
        assert dataset.block_shapes == [(512, 512)]
        assert dataset.compression.name == "deflate"
        assert dataset.nodata == 255
    assert list(tmp_path.iterdir()) == [path]


def test_a_small_geotiff_is_not_tiled(tmp_path: Path) -> None:
    small = Grid(GRID.crs, GRID.transform, 30, 20)
    with create_geotiff(tmp_path / "out.tif", small) as dataset:
        dataset.write(np.ones((1, 20, 30), np.uint8))
    with rasterio.open(tmp_path / "out.tif") as dataset:
        assert dataset.read(1).all()


FULL_DISK = """
import resource, signal, sys
import numpy as np
from tests.test_output import GRID
from geofootprint.errors import OutputError
from geofootprint.output import create_geotiff

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    with create_geotiff(sys.argv[1], GRID) as dataset:
        dataset.write(np.random.default_rng(0).integers(0, 255, (1, *GRID.shape), np.uint8))
except OutputError as error:
    print("refused:", error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files there")
def test_a_geotiff_on_a_full_disk_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path / "out.tif"], capture_output=True, text=True,
        cwd=Path(__file__).parents[1], check=False,
    )
    assert "refused:" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_result_is_not_written_over_its_input(tmp_path: Path) -> None:
    (tmp_path / "größe.tif").write_bytes(b"image")
    require_other(tmp_path / "new.tif", tmp_path / "größe.tif", None)
    with pytest.raises(OptionError, match="give the result another name"):
        require_other(tmp_path / "größe.tif", None, tmp_path / ".." / tmp_path.name / "größe.tif")


def test_a_geotiff_has_its_extension(tmp_path: Path) -> None:
    assert require_tiff(tmp_path / "a.TIF") == tmp_path / "a.TIF"
    with pytest.raises(OptionError, match=r"let it end in \.tif"):
        require_tiff(tmp_path / "a.gpkg")
