"""The part of plugin.py that runs in QGIS's Python: plugin_in_qgis.py run|start FOLDER."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from qgis.core import QgsApplication

REPEATS = 3


def measure_start(_folder: Path) -> dict[str, float]:
    """Time importing and filling the plugin's provider, and that of QGIS's own algorithms in Python."""
    start = time.perf_counter()
    from geofootprint_qgis.provider import GeofootprintProvider

    mine = GeofootprintProvider()
    mine.refreshAlgorithms()
    middle = time.perf_counter()
    from processing.algs.qgis.QgisAlgorithmProvider import QgisAlgorithmProvider

    peer = QgisAlgorithmProvider()
    peer.refreshAlgorithms()
    end = time.perf_counter()
    if not mine.algorithms() or not peer.algorithms():
        raise RuntimeError("a provider is empty")
    return {"plugin_ms": 1000 * (middle - start), "qgis_ms": 1000 * (end - middle)}


def measure_run(folder: Path) -> dict[str, Any]:
    """Time Vectorize Probabilities into memory and into a GeoPackage; the fastest of some runs."""
    from geofootprint_qgis.provider import GeofootprintProvider
    from processing.core.Processing import Processing

    Processing.initialize()
    provider = GeofootprintProvider()
    QgsApplication.processingRegistry().addProvider(provider)
    import processing

    seconds, count = {}, 0
    for kind in ("memory", "gpkg"):
        times = []
        for number in range(REPEATS):
            out = "memory:" if kind == "memory" else str(folder / f"out{number}.gpkg")
            start = time.perf_counter()
            result = processing.run(
                "geofootprint:vectorizeprobabilities", {"INPUT": str(folder / "mask.tif"), "OUTPUT": out}
            )
            times.append(time.perf_counter() - start)
            count = result["COUNT"]
        seconds[kind] = min(times)
    return {"seconds": seconds, "count": count}


if __name__ == "__main__":
    application = QgsApplication([], False)
    application.initQgis()
    sys.path[:0] = [sys.argv[2], str(Path(QgsApplication.pkgDataPath()) / "python" / "plugins")]
    print(json.dumps({"run": measure_run, "start": measure_start}[sys.argv[1]](Path(sys.argv[2]))))
    sys.stdout.flush()
