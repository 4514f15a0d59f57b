"""The group `geofootprint` in the Processing toolbox."""

from __future__ import annotations

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .algorithms.base import ICON
from .algorithms.rasterize_labels import RasterizeLabels
from .algorithms.segment_buildings import SegmentBuildings

ALGORITHMS = (RasterizeLabels, SegmentBuildings)


class GeofootprintProvider(QgsProcessingProvider):
    """Offers the commands of geofootprint as algorithms."""

    def id(self) -> str:
        return "geofootprint"

    def name(self) -> str:
        return "geofootprint"

    def icon(self) -> QIcon:
        return QIcon(ICON)

    def svgIconPath(self) -> str:
        return ICON

    def loadAlgorithms(self) -> None:
        for algorithm in ALGORITHMS:
            self.addAlgorithm(algorithm())

    def supportedOutputRasterLayerExtensions(self) -> list[str]:
        return ["tif"]
