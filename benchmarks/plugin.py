"""What the QGIS plugin costs: over the command it runs for 100 000 polygons, and when QGIS starts.

    python benchmarks/plugin.py

A program that hands out 100 000 buildings stands for the command, so that only what the plugin adds is measured: starting a
process, following it, and copying its result into the output. The peer is QGIS's own copy of the same file
(native:savefeatures), which nobody's plugin could go below by much. Times are of CPU, of QGIS and the child together, beside
those of the clock. The start is measured in fresh processes against that of QGIS's own Python provider of Processing.
"""

from __future__ import annotations

import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from affine import Affine

from geofootprint.vector import write_footprints

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "scripts"))

from package_plugin import package_plugin  # noqa: E402
from test_qgis import clean, find_python  # noqa: E402

COUNT = 100_000
REPEATS = 5


def make_result(path: Path) -> None:
    """Write buildings of 8 by 10 m in rows, with the columns of the command."""
    side = math.ceil(math.sqrt(COUNT))
    rows, columns = np.divmod(np.arange(COUNT), side)
    west, south = 680_000 + 16.0 * columns, 5_238_000 + 16.0 * rows
    buildings = gpd.GeoDataFrame(
        {
            "id": np.arange(1, COUNT + 1), "confidence": 0.75, "area_m2": 80.0, "perimeter": 36.0, "method": "map",
            "vertices": 4, "at_edge": False, "source": "ortho.tif", "model": "default 0123456789ab",
        },
        geometry=shapely.box(west, south, west + 8, south + 10), crs="EPSG:25832",
    )  # fmt: skip
    write_footprints(buildings, path)


def write_image(path: Path) -> None:
    """Write an image that only has to be one."""
    place = Affine(0.15, 0, 680_000, 0, -0.15, 5_238_000)
    with rasterio.open(
        path, "w", driver="GTiff", crs="EPSG:25832", transform=place, width=64, height=64, count=3, dtype="uint8"
    ) as dataset:
        dataset.write(np.zeros((3, 64, 64), np.uint8))


def make_stand_in(path: Path, result: Path) -> None:
    """Write a program that answers as the engine does and hands out a result that is there already."""
    path.write_text(
        f"#!{sys.executable}\nimport json, shutil, sys\n"
        "print(json.dumps({'event': 'start', 'protocol': 1}), flush=True)\n"
        f"shutil.copy({str(result)!r}, sys.argv[sys.argv.index('-o') + 1])\n"
        f"print(json.dumps({{'event': 'result', 'count': {COUNT}, 'area_m2': 1.0}}), flush=True)\n"
    )
    path.chmod(0o755)


def ask_qgis(python: str, folder: Path, what: str, **environment: str) -> dict[str, Any]:
    """Run a part of plugin_in_qgis.py in QGIS's Python and return what it measured."""
    done = subprocess.run(
        [python, str(HERE / "plugin_in_qgis.py"), what, str(folder)],
        env={**clean(), **environment, "XDG_RUNTIME_DIR": str(folder), "QGIS_CUSTOM_CONFIG_PATH": str(folder)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def timed(*command: str) -> tuple[float, float]:
    """Return the seconds that a command takes, by the clock and of CPU."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu


def main() -> None:
    """Measure and print one JSON object."""
    python = find_python()
    if python is None:
        sys.exit("This needs QGIS.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = package_plugin(folder / "plugin.zip")
        zipfile.ZipFile(archive).extractall(folder)
        result, stand_in = folder / "result.fgb", folder / "engine"
        make_result(result)
        make_stand_in(stand_in, result)
        write_image(folder / "ortho.tif")
        bare = [timed(str(stand_in), "-o", str(folder / "copy.fgb")) for _ in range(REPEATS)]
        runs = ask_qgis(python, folder, "run", GEOFOOTPRINT_PYTHON=str(stand_in))
        starts = [ask_qgis(python, folder, "start") for _ in range(REPEATS)]
        own, peer = (statistics.median(start[key] for start in starts) for key in ("plugin_ms", "qgis_ms"))
        clock, cpu = (min(times) for times in zip(*bare, strict=True))
        print(json.dumps({
            "polygons": runs["count"],
            "cores": os.cpu_count(),
            "overhead_s": {kind: round(runs[kind]["clock"] - clock, 2) for kind in ("memory", "gpkg")},
            "overhead_cpu_s": {kind: round(runs[kind]["cpu"] - cpu, 2) for kind in ("memory", "gpkg")},
            "native_savefeatures_cpu_s": round(runs["peer"]["cpu"], 2),
            "ratio": round((runs["gpkg"]["cpu"] - cpu) / runs["peer"]["cpu"], 2),
            "start_cpu_ms": round(own, 1),
            "start_of_qgis_provider_cpu_ms": round(peer, 1),
            "start_ratio": round(own / peer, 2),
            "zip_bytes": archive.stat().st_size,
        }))  # fmt: skip


if __name__ == "__main__":
    main()
