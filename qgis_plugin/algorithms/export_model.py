"""Export Model: a checkpoint becomes a model file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qgis.core import (
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterMatrix,
    QgsProcessingParameterString,
)

from ..core.texts import marked
from ..translation import tr
from . import parameters as p
from .base import Job
from .training import TrainingAlgorithm


class ExportModel(TrainingAlgorithm):
    """Runs `geofootprint export`."""

    COMMAND = "export"
    NAME = "exportmodel"
    TITLE = marked("Export Model")
    SUMMARY = marked("Makes a model file of a checkpoint.")
    HELP = marked(
        "Writes the network of a checkpoint as an ONNX file that describes itself: Segment Buildings takes it, on computers "
        "without PyTorch too."
    )
    TAGS = marked("export,model,ONNX,checkpoint,deep learning,AI,building")

    def define(self) -> Iterator[QgsProcessingParameterDefinition]:
        yield p.explained(
            QgsProcessingParameterFile("CHECKPOINT", tr("Checkpoint"), extension="ckpt"),
            tr("Such as best.ckpt in the folder of a run."),
        )
        yield p.explained(
            QgsProcessingParameterString("NAME", tr("Name"), optional=True),
            tr("Of the model. If empty, the run's folder."),
        )
        yield p.explained(
            QgsProcessingParameterString("LICENCE", tr("Licence"), optional=True), tr("Of the model.")
        )
        yield p.advanced(
            p.explained(
                QgsProcessingParameterMatrix(
                    "SOURCE", tr("Data"), headers=[tr("Name"), tr("Licence")], optional=True, numberRows=1
                ),
                tr("What it was trained on. If empty, the datasets' images."),
            )
        )
        yield p.advanced(p.explained(p.threshold(), tr("That Segment Buildings takes. If not set, validation's best.")))
        yield p.advanced(
            p.explained(
                p.integer("PATCH", tr("Size of a patch in pixels"), defaultValue=768, minValue=1),
                tr("What the network sees at once."),
            )
        )
        yield p.advanced(
            p.explained(
                p.integer("OVERLAP", tr("Overlap in pixels"), defaultValue=128, minValue=0),
                tr("Pixels that neighbouring patches share."),
            )
        )
        yield p.advanced(
            p.explained(
                QgsProcessingParameterBoolean("HALF", tr("Half the size"), defaultValue=False),
                tr("Stores the weights in 16 bits."),
            )
        )
        yield p.advanced(
            p.explained(
                QgsProcessingParameterBoolean("DEEPNESS", tr("For the plugin Deepness"), defaultValue=False),
                tr("Fixes the size and adds a background channel."),
            )
        )
        yield p.advanced(
            p.explained(
                QgsProcessingParameterFile(
                    "INT8", tr("Compute in 8 bits"), behavior=QgsProcessingParameterFile.Behavior.Folder, optional=True
                ),
                tr("Dataset by whose training tiles this is set up, and on whose validation tiles the loss is measured."),
            )
        )
        yield p.advanced(
            p.explained(
                p.number("MAX_LOSS", tr("Largest loss of 8 bits"), optional=True, minValue=0, maxValue=1, decimals=3),
                tr("In IoU; with more, no file is made. If not set, 0.01."),
            )
        )
        yield p.explained(
            QgsProcessingParameterFileDestination("OUTPUT", tr("Model file"), "ONNX (*.onnx)"), tr("An ONNX file.")
        )

    def work(self, job: Job) -> dict[str, Any]:
        cells = self.parameterAsMatrix(job.parameters, "SOURCE", job.context)
        pairs = [pair for pair in zip(cells[::2], cells[1::2]) if all(pair)]
        sources = [word for pair in pairs for word in ("--source", *map(str, pair))]
        out = job.destination("OUTPUT")
        options = self.options(job, "CHECKPOINT", "SOURCE")
        job.run(job.path("CHECKPOINT"), "-o", out, *sources, *options)
        return {"OUTPUT": out}
