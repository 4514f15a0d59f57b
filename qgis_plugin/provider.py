"""The group `geofootprint` in the Processing toolbox."""

from __future__ import annotations

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .algorithms.base import ICON
from .algorithms.evaluate_footprints import EvaluateFootprints
from .algorithms.export_model import ExportModel
from .algorithms.make_demo_scene import MakeDemoScene
from .algorithms.predict_probabilities import PredictProbabilities
from .algorithms.rasterize_labels import RasterizeLabels
from .algorithms.regularize_footprints import RegularizeFootprints
from .algorithms.segment_buildings import SegmentBuildings
from .algorithms.tile_orthophoto import TileOrthophoto
from .algorithms.train_model import TrainModel
from .algorithms.vectorize_probabilities import VectorizeProbabilities

ALGORITHMS = (
    EvaluateFootprints,
    ExportModel,
    MakeDemoScene,
    PredictProbabilities,
    RasterizeLabels,
    RegularizeFootprints,
    SegmentBuildings,
    TileOrthophoto,
    TrainModel,
    VectorizeProbabilities,
)
"""One for each command of geofootprint but `info`, which is the settings page's."""


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
