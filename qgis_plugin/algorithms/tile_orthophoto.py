"""Tile Orthophoto: orthophotos and footprints become a dataset to train with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingOutputDefinition,
    QgsProcessingOutputNumber,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterString,
)

from ..core.texts import marked
from ..translation import tr
from . import parameters as p
from .base import EngineAlgorithm, Job

COUNTS = {
    "TILES": marked("Number of tiles"),
    "TRAIN": marked("Tiles for training"),
    "VAL": marked("Tiles for validation"),
    "TEST": marked("Tiles for testing"),
}


class TileOrthophoto(EngineAlgorithm):
    """Runs `geofootprint tile`."""

    COMMAND = "tile"
    NAME = "tileorthophoto"
    GROUP = "training"
    TITLE = marked("Tile Orthophoto")
    SUMMARY = marked("Cuts orthophotos and footprints into georeferenced tiles with labels, to train a model with.")
    HELP = marked(
        "Cuts orthophotos and footprints into pairs of image and label tiles, with an index that says where each lies and "
        "whether it is for training, validation or test. That goes by blocks of ground, so that tiles of different kinds "
        "are seldom next to each other.\n\nTrain Model takes the folder."
    )
    TAGS = marked("building,tile,dataset,training data,orthophoto,label,split,deep learning")

    def define(self) -> Iterator[QgsProcessingParameterDefinition]:
        yield p.explained(
            QgsProcessingParameterMultipleLayers("IMAGES", tr("Orthophotos"), QgsProcessing.SourceType.TypeRaster),
            tr("Rasters with the same bands, in any CRS each. Their CRS is the one set in QGIS."),
        )
        yield p.footprints(
            "FOOTPRINTS", tr("Footprints"), tr("Polygons of all buildings on the orthophotos, in any CRS.")
        )
        yield p.aoi()
        yield p.explained(
            p.number("GSD", tr("Pixel size (m)"), optional=True, minValue=0.001, decimals=3),
            tr("Metres per pixel on the ground. If not set, the image's own."),
        )
        yield p.explained(
            p.integer("SIZE", tr("Size of a tile in pixels"), defaultValue=256, minValue=1), tr("Of its sides.")
        )
        yield p.explained(
            p.integer("OVERLAP", tr("Overlap in pixels"), defaultValue=0, minValue=0),
            tr("Pixels that neighbouring tiles share."),
        )
        yield p.explained(
            QgsProcessingParameterString("SPLIT", tr("Shares for training, validation, test"), "0.8,0.1,0.1"),
            tr("Three numbers with commas between them; together 1."),
        )
        yield p.advanced(p.contour_width())
        yield p.advanced(
            p.explained(
                p.number("BLOCK", tr("Side of the blocks of ground (m)"), optional=True, minValue=0, decimals=0),
                tr("A block goes to one share as a whole. If not set, the widest that gives 20 blocks, at most 500 m."),
            )
        )
        yield p.advanced(
            p.explained(
                p.number("MIN_DENSITY", tr("Least share of building"), defaultValue=0, minValue=0, maxValue=1),
                tr("Tiles with less of it are left out, 0 to 1."),
            )
        )
        yield p.advanced(
            p.explained(
                p.choice("RECIPE", tr("Recipe"), ["tirol"], optional=True),
                tr("tirol: tiles show 675 pixels of the image, resampled; instead of a pixel size."),
            )
        )
        yield p.advanced(
            p.explained(p.integer("SEED", tr("Seed"), defaultValue=0, minValue=0), tr("Of the choice of blocks."))
        )
        yield p.explained(
            QgsProcessingParameterFolderDestination("OUTPUT", tr("Folder of the dataset")),
            tr("Gets the tiles and their index."),
        )

    def define_outputs(self) -> Iterator[QgsProcessingOutputDefinition]:
        for name, text in COUNTS.items():
            yield QgsProcessingOutputNumber(name, tr(text))

    def work(self, job: Job) -> dict[str, Any]:
        out = job.destination("OUTPUT")
        images = [job.raster_path(raster) for raster in job.rasters["IMAGES"]]
        made = job.run(*images, "-o", out, *self.options(job))
        return {"OUTPUT": out, **{name: made[name.lower()] for name in COUNTS}}
