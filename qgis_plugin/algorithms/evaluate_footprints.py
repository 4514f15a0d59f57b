"""Evaluate Footprints: how good footprints are, against the truth."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from qgis.core import (
    QgsProcessingOutputDefinition,
    QgsProcessingOutputFile,
    QgsProcessingOutputHtml,
    QgsProcessingOutputNumber,
    QgsProcessingOutputVectorLayer,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterFolderDestination,
)

from ..core.texts import marked
from ..translation import tr
from . import parameters as p
from .base import EngineAlgorithm, Job
from .vectors import polygons_path

SCORES = {
    "IOU": ("iou", marked("IoU of pixels")),
    "PRECISION": ("precision", marked("Precision of pixels")),
    "RECALL": ("recall", marked("Recall of pixels")),
    "OBJECT_F1": ("object_f1", marked("F1 of buildings")),
    "OBJECT_PRECISION": ("object_precision", marked("Precision of buildings")),
    "OBJECT_RECALL": ("object_recall", marked("Recall of buildings")),
    "PREDICTED_COUNT": ("predicted", marked("Number of buildings judged")),
    "TRUE_COUNT": ("truth", marked("Number of true buildings")),
}
"""Outputs that are numbers: where they stand in the command's result, and what they are called."""


class EvaluateFootprints(EngineAlgorithm):
    """Runs `geofootprint evaluate`."""

    COMMAND = "evaluate"
    NAME = "evaluatefootprints"
    TITLE = marked("Evaluate Footprints")
    SUMMARY = marked("Compares footprints with the truth: scores, and a report with pictures.")
    HELP = marked(
        "Compares footprints with true ones, such as a cadastre. Scores pixels (IoU, precision, recall), buildings paired "
        "one to one at an IoU of 0.5, and the outlines of the pairs, and writes a report with pictures of what was "
        "missed.\n\nWithout an area of interest everything in both layers counts: give the area where the truth is "
        "complete."
    )
    TAGS = marked("building,footprint,evaluate,accuracy,score,IoU,F1,precision,recall,quality,cadastre")

    def define(self) -> Iterator[QgsProcessingParameterDefinition]:
        yield p.footprints("PREDICTED", tr("Footprints to judge"), tr("Polygons of buildings, in any CRS."))
        yield p.footprints("TRUTH", tr("True footprints"), tr("Polygons of all buildings in the area, in any CRS."))
        yield p.aoi()
        yield p.image("IMAGE", optional=True, text=tr("Orthophoto for the report's pictures."))
        yield p.advanced(
            p.explained(
                p.number("GSD", tr("Pixel size (m)"), defaultValue=0.15, minValue=0.001, decimals=3),
                tr("Metres per pixel at which pixels are counted."),
            )
        )
        yield p.explained(
            QgsProcessingParameterFolderDestination("OUTPUT", tr("Folder of the report")),
            tr("Gets report.html, scores.json and matches.gpkg."),
        )

    def define_outputs(self) -> Iterator[QgsProcessingOutputDefinition]:
        yield QgsProcessingOutputHtml("REPORT", tr("Report"))
        yield QgsProcessingOutputFile("SCORES", tr("Scores as JSON"))
        yield QgsProcessingOutputVectorLayer("MATCHES", tr("Footprints found, missed and invented"))
        for name, (_, text) in SCORES.items():
            yield QgsProcessingOutputNumber(name, tr(text))

    def work(self, job: Job) -> dict[str, Any]:
        out = job.destination("OUTPUT")
        files = [polygons_path(job, name) for name in ("PREDICTED", "TRUTH")]
        picture = ["--image", self.image_path(job, "IMAGE")] if job.has("IMAGE") else []
        scores = job.run(*files, "-o", out, *picture, *self.options(job, "PREDICTED", "TRUTH"))
        names = {"REPORT": "report.html", "SCORES": "scores.json", "MATCHES": "matches.gpkg"}
        outputs: dict[str, Any] = {key: os.path.join(out, name) for key, name in names.items()}
        for name, (key, text) in SCORES.items():
            outputs[name] = scores[key]
            job.feedback.pushInfo(f"{tr(text)}: {scores[key]:.3g}" if scores[key] is not None else f"{tr(text)}: -")
        return {"OUTPUT": out, **outputs}
