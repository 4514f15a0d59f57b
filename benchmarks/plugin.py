"""What the QGIS plugin costs: over the command it runs for 100 000 polygons, and when QGIS starts.

    python benchmarks/plugin.py

The command is `geofootprint vectorize` on a mask of 100 000 buildings. What the plugin adds, a second process and the copy
into QGIS's layer, is measured with that command's result behind a program that only hands it out, so that the command's own
time, which varies by more than the plugin's, drops out; `ratio` is (command + plugin) / command. The start is
measured in fresh processes against that of QGIS's own Python provider of Processing.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "scripts"))

from package_plugin import package_plugin  # noqa: E402
from test_qgis import clean, find_python  # noqa: E402

COUNT = 100_000
REPEATS = 5


def make_mask(path: Path) -> None:
    """Write a mask of buildings of 8 by 10 pixels, 16 pixels apart."""
    side = int(np.ceil(np.sqrt(COUNT)))
    one = np.zeros((16, 16), np.uint8)
    one[3:11, 3:13] = 1
    rows, columns = np.divmod(np.arange(side * side), side)
    mask = np.kron((rows * side + columns < COUNT).reshape(side, side).astype(np.uint8), one)
    with rasterio.open(
        path, "w", driver="GTiff", crs="EPSG:25832", transform=Affine(0.5, 0, 680_000, 0, -0.5, 5_238_000), count=1,
        height=mask.shape[0], width=mask.shape[1], dtype="uint8", compress="deflate", tiled=True,
    ) as dataset:
        dataset.write(mask, 1)


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


def timed(*command: str) -> float:
    """Return the seconds that a command takes."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print one JSON object."""
    python = find_python()
    if python is None:
        sys.exit("This needs QGIS.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = package_plugin(folder / "plugin.zip")
        zipfile.ZipFile(archive).extractall(folder)
        mask, result, stand_in = folder / "mask.tif", folder / "result.fgb", folder / "engine"
        make_mask(mask)
        command = timed(sys.executable, "-m", "geofootprint_cli", "vectorize", str(mask), "-o", str(result), "--outline", "raw")
        make_stand_in(stand_in, result)
        bare = min(timed(str(stand_in), "-o", str(folder / "copy.fgb")) for _ in range(REPEATS))
        runs = ask_qgis(python, folder, "run", GEOFOOTPRINT_PYTHON=str(stand_in))
        starts = [ask_qgis(python, folder, "start") for _ in range(REPEATS)]
        overhead = {kind: seconds - bare for kind, seconds in runs["seconds"].items()}
        own, peer = (statistics.median(start[key] for start in starts) for key in ("plugin_ms", "qgis_ms"))
        print(json.dumps({
            "polygons": runs["count"],
            "cores": os.cpu_count(),
            "command_s": round(command, 2),
            "overhead_s": {kind: round(seconds, 2) for kind, seconds in overhead.items()},
            "ratio": round((command + max(overhead.values())) / command, 3),
            "start_ms": round(own, 1),
            "start_of_qgis_provider_ms": round(peer, 1),
            "start_ratio": round(own / peer, 2),
            "zip_bytes": archive.stat().st_size,
        }))  # fmt: skip


if __name__ == "__main__":
    main()
