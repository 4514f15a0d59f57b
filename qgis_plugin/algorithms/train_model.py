"""Train Model: fit a model to datasets of tiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qgis.core import (
    QgsProcessingOutputDefinition,
    QgsProcessingOutputFile,
    QgsProcessingOutputNumber,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterFile,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterString,
)

from ..core.runner import EngineError
from ..core.texts import marked
from ..translation import tr
from . import parameters as p
from .base import Job
from .training import TrainingAlgorithm

DEFAULT = "INIT_FROM_DEFAULT"
"""Parameter for what the command takes as a file called default, which QGIS would take for one, too."""


class TrainModel(TrainingAlgorithm):
    """Runs `geofootprint train`."""

    COMMAND = "train"
    NAME = "trainmodel"
    TITLE = marked("Train Model")
    SUMMARY = marked("Fits the model to datasets of tiles.")
    HELP = marked(
        "Fits the model to datasets that Tile Orthophoto made. The folder of the run gets checkpoints, scores, pictures of "
        "some predictions and all settings; Export Model makes a model file of a checkpoint.\n\nA run that was cancelled "
        "goes on with 'Go on with the run in the folder'. The engine needs PyTorch, and a graphics card saves days."
    )
    STAGES = (("train", 0, 100),)
    TAGS = marked("train,fit,model,deep learning,AI,pix2pix,building,dataset")

    def define(self) -> Iterator[QgsProcessingParameterDefinition]:
        yield p.explained(
            QgsProcessingParameterFile(
                "DATASET", tr("Dataset"), behavior=QgsProcessingParameterFile.Behavior.Folder
            ),
            tr("Folder that Tile Orthophoto made."),
        )
        yield p.advanced(
            p.explained(
                QgsProcessingParameterString("MORE", tr("More datasets"), multiLine=True, optional=True),
                tr("A folder a line; with :0.5 behind it, crops are taken half as often."),
            )
        )
        yield p.explained(
            p.choice("PRESET", tr("Preset"), ["footprint", "pix2pix"], optional=True),
            tr("footprint: for buildings, the default. pix2pix: as in the paper."),
        )
        yield p.explained(
            p.integer("EPOCHS", tr("Epochs"), optional=True, minValue=1),
            tr("Length of the run. If not set, the preset's."),
        )
        yield p.explained(
            p.number("MINUTES", tr("Minutes"), optional=True, minValue=0, decimals=0),
            tr("Trains against the clock instead."),
        )
        yield p.explained(
            QgsProcessingParameterBoolean("RESUME", tr("Go on with the run in the folder"), defaultValue=False),
            tr("Continues from the last checkpoint, with its settings."),
        )
        yield p.explained(
            QgsProcessingParameterFile(
                "INIT_FROM", tr("Start from"), optional=True, fileFilter=tr("Checkpoint or model") + " (*.ckpt *.onnx)"
            ),
            tr("Checkpoint or model file that the run starts from, for a new region or more data."),
        )
        yield p.explained(
            QgsProcessingParameterBoolean(DEFAULT, tr("Start from the default model"), defaultValue=False),
            tr("Instead of a file: the model that comes with geofootprint."),
        )
        yield p.advanced(
            p.explained(
                QgsProcessingParameterString("BATCH", tr("Crops to a step"), optional=True),
                tr("A number, or auto for as many as fit into memory. If empty, as in the settings."),
            )
        )
        yield p.advanced(
            p.explained(
                QgsProcessingParameterFile("CONFIG", tr("Settings"), extension="toml", optional=True),
                tr("TOML file with settings that differ from the preset's."),
            )
        )
        yield p.device()
        yield p.advanced(
            p.explained(
                p.choice("PRECISION", tr("Precision"), ["auto", "32", "bf16", "16"], defaultValue="auto"),
                tr("Of the arithmetic; auto takes the fastest that is safe."),
            )
        )
        yield p.advanced(
            p.explained(
                p.integer("DEVICES", tr("Number of devices"), defaultValue=1, minValue=1),
                tr("Graphics cards that share the work."),
            )
        )
        yield p.advanced(
            p.explained(
                p.integer("SEED", tr("Seed"), optional=True, minValue=0), tr("Of weights, crops and noise.")
            )
        )
        yield p.explained(
            QgsProcessingParameterFolderDestination("OUTPUT", tr("Folder of the run")),
            tr("Gets checkpoints, scores and pictures."),
        )

    def define_outputs(self) -> Iterator[QgsProcessingOutputDefinition]:
        yield QgsProcessingOutputFile("BEST", tr("Best checkpoint"))
        yield QgsProcessingOutputFile("LAST", tr("Last checkpoint"))
        yield QgsProcessingOutputNumber("IOU", tr("IoU of validation"))

    def work(self, job: Job) -> dict[str, Any]:
        out = job.destination("OUTPUT")
        more = self.parameterAsString(job.parameters, "MORE", job.context).splitlines()
        datasets = [job.path("DATASET"), *(line.strip() for line in more if line.strip())]
        start = self._start(job)
        made = job.run(*datasets, "-o", out, *start, *self.options(job, "DATASET", "MORE", DEFAULT))
        return {"OUTPUT": out, "BEST": made["best"], "LAST": made["last"], "IOU": made["iou"]}

    def _start(self, job: Job) -> list[str]:
        if not self.parameterAsBoolean(job.parameters, DEFAULT, job.context):
            return []
        if job.has("INIT_FROM"):
            raise EngineError("A run starts from one model: give a file to start from, or the default model, not both.")
        return ["--init-from", "default"]
