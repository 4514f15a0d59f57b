"""The part of plugin.py that runs in QGIS's Python: plugin_in_qgis.py run|start FOLDER."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qgis.core import QgsApplication, QgsVectorLayer

REPEATS = 3


def measure_start(_folder: Path) -> dict[str, float]:
    """Time, of CPU, importing and filling the plugin's provider, and that of QGIS's own algorithms in Python."""
    start = time.process_time()
    from geofootprint_qgis.provider import GeofootprintProvider

    mine = GeofootprintProvider()
    mine.refreshAlgorithms()
    middle = time.process_time()
    from processing.algs.qgis.QgisAlgorithmProvider import QgisAlgorithmProvider

    peer = QgisAlgorithmProvider()
    peer.refreshAlgorithms()
    end = time.process_time()
    if not mine.algorithms() or not peer.algorithms():
        raise RuntimeError("a provider is empty")
    return {"plugin_ms": 1000 * (middle - start), "qgis_ms": 1000 * (end - middle)}


def measure_run(folder: Path) -> dict[str, Any]:
    """Time Segment Buildings into memory and into a GeoPackage, and QGIS's own copy; the fastest of some runs each."""
    from geofootprint_qgis.provider import GeofootprintProvider
    from processing.core.Processing import Processing
    from qgis.analysis import QgsNativeAlgorithms

    registry = QgsApplication.processingRegistry()
    Processing.initialize()
    if registry.providerById("native") is None:
        registry.addProvider(QgsNativeAlgorithms(registry))
    provider = GeofootprintProvider()
    registry.addProvider(provider)

    image, result = str(folder / "ortho.tif"), str(folder / "result.fgb")
    outs = iter(str(folder / f"out{number}.gpkg") for number in range(100))
    return {
        "memory": fastest("geofootprint:segmentbuildings", lambda: {"INPUT": image, "OUTPUT": "memory:"}),
        "gpkg": fastest("geofootprint:segmentbuildings", lambda: {"INPUT": image, "OUTPUT": next(outs)}),
        "peer": fastest("native:savefeatures", lambda: {"INPUT": result, "OUTPUT": next(outs)}),
        "count": QgsVectorLayer(str(folder / "out0.gpkg"), "out", "ogr").featureCount(),
    }


def fastest(name: str, make_parameters: Callable[[], dict[str, Any]]) -> dict[str, float]:
    """Return the least seconds of some runs of an algorithm, by the clock and of CPU with its children."""
    import processing

    clock, cpu = [], []
    for _ in range(REPEATS):
        start, before = time.perf_counter(), os.times()
        processing.run(name, make_parameters())
        after = os.times()
        clock.append(time.perf_counter() - start)
        cpu.append(sum(after[:4]) - sum(before[:4]))
    return {"clock": min(clock), "cpu": min(cpu)}


if __name__ == "__main__":
    application = QgsApplication([], False)
    application.initQgis()
    sys.path[:0] = [sys.argv[2], str(Path(QgsApplication.pkgDataPath()) / "python" / "plugins")]
    print(json.dumps({"run": measure_run, "start": measure_start}[sys.argv[1]](Path(sys.argv[2]))))
    sys.stdout.flush()
