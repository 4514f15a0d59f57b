"""Make Demo Scene: a made-up orthophoto and its buildings, to see what the plugin does without any data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingOutputDefinition,
    QgsProcessingOutputHtml,
    QgsProcessingOutputNumber,
    QgsProcessingOutputRasterLayer,
    QgsProcessingOutputVectorLayer,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterFolderDestination,
)

from ..core.texts import marked
from ..translation import tr
from . import parameters as p
from .base import EngineAlgorithm, Job
from .results import BUILDINGS, set_style

STYLES = ["suburb", "old_town", "dense", "town_edge", "tropical", "rural", "industrial"]


class MakeDemoScene(EngineAlgorithm):
    """Runs `geofootprint demo` and loads what it made."""

    COMMAND = "demo"
    NAME = "makedemoscene"
    TITLE = marked("Make Demo Scene")
    SUMMARY = marked("Makes up an orthophoto, finds its buildings, and compares them with the true ones.")
    HELP = marked(
        "Makes up an orthophoto, finds its buildings, and compares them with the true ones: all that is needed to see what "
        "this plugin does, without any data. The image and the buildings are added to the map."
    )
    TAGS = marked("demo,example,test,try,scene,building,orthophoto")
    STAGES = (
        ("making a scene", 0, 5), ("predict", 5, 70), ("vectorize", 70, 75), ("join", 75, 77), ("scoring pixels", 77, 90),
        ("drawing", 90, 100),
    )  # fmt: skip

    def define(self) -> Iterator[QgsProcessingParameterDefinition]:
        yield p.explained(
            p.choice("STYLE", tr("Settlement"), STYLES, defaultValue="suburb"), tr("What kind of place it is.")
        )
        yield p.explained(
            p.integer("SIZE", tr("Size in pixels"), defaultValue=1024, minValue=256),
            tr("Sides of the image; a pixel is 0.15 m."),
        )
        yield p.explained(
            p.integer("SEED", tr("Seed"), defaultValue=7, minValue=0), tr("Another number, another place.")
        )
        yield p.model()
        yield p.explained(
            QgsProcessingParameterFolderDestination("OUTPUT", tr("Folder of the scene")),
            tr("Gets the orthophoto, true buildings and those that were found, a picture, and a report."),
        )

    def define_outputs(self) -> Iterator[QgsProcessingOutputDefinition]:
        yield QgsProcessingOutputRasterLayer("IMAGE", tr("Orthophoto"))
        yield QgsProcessingOutputVectorLayer("BUILDINGS", tr("Buildings"))
        yield QgsProcessingOutputVectorLayer("TRUTH", tr("True footprints"))
        yield QgsProcessingOutputHtml("REPORT", tr("Report"))
        yield QgsProcessingOutputNumber("COUNT", tr("Number of buildings"))
        yield QgsProcessingOutputNumber("TRUE_COUNT", tr("Number of true buildings"))

    def work(self, job: Job) -> dict[str, Any]:
        out = job.destination("OUTPUT")
        made = job.run("-o", out, *self.options(job))
        text = tr("{count} buildings found where {true_count} stand.")
        job.feedback.pushInfo(text.format(count=made["count"], true_count=made["true_count"]))
        project = job.context.project()
        if project is not None:
            for path, title in ((made["image"], tr("Orthophoto")), (made["buildings"], tr("Buildings"))):
                job.context.addLayerToLoadOnCompletion(path, QgsProcessingContext.LayerDetails(title, project, title))
            set_style(made["buildings"], BUILDINGS, job.context)
        results = {key.upper(): made[key] for key in ("image", "buildings", "truth", "report", "count", "true_count")}
        return {"OUTPUT": out, **results}
