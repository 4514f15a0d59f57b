"""What all algorithms share: parameters that become options of a command, and the engine that runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from qgis.core import (
    QgsMapLayer,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputDefinition,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFeatureSink,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFile,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingUtils,
    QgsProviderRegistry,
    QgsRectangle,
    QgsSettings,
)
from qgis.PyQt.QtGui import QIcon

from ..core.engine import SETTING, Engine, find_engine
from ..core.runner import PATIENCE, EngineCancelled, EngineError, missing_model
from ..core.texts import marked
from ..translation import said, tr
from .messages import Messages
from .rasters import Raster, draw_service, no_area, raster_of
from .targets import target_of
from .vectors import extent_of, is_plain, polygons_path

ICON = str(Path(__file__).parents[1] / "icons" / "geofootprint.svg")

GROUPS = {"buildings": marked("Buildings"), "training": marked("Training")}


def current_engine() -> Engine:
    """Return the engine that the environment, QGIS's settings or the home folder names."""
    return find_engine(QgsSettings().value(SETTING, "", type=str))


@dataclass
class Job:
    """One run of an algorithm.

    Parameters
    ----------
    algorithm, parameters, context, feedback
        As QGIS gives them.
    folder : str
        For files in between; removed afterwards.
    rasters : mapping of str to list of Raster
        The layers of the parameters for rasters.
    plain : frozenset of str
        Names of the parameters whose vector layer is a file that the engine may read itself.
    names : dict of str to str
        Layers by what the engine reads of them where no user knows it: temporary files, and files with another CRS or bands.
    """

    algorithm: EngineAlgorithm
    parameters: dict[str, Any]
    context: QgsProcessingContext
    feedback: QgsProcessingFeedback
    folder: str
    rasters: Mapping[str, list[Raster]] = field(default_factory=dict)
    plain: frozenset[str] = frozenset()
    names: dict[str, str] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Say whether a parameter was given."""
        return self.parameters.get(name) not in (None, "", [])

    def path(self, name: str) -> str:
        """Return the absolute path of a file or folder parameter."""
        return os.path.abspath(self.algorithm.parameterAsString(self.parameters, name, self.context))

    def destination(self, name: str) -> str:
        """Return the absolute path of an output that is a file or folder."""
        return os.path.abspath(self.algorithm.parameterAsFileOutput(self.parameters, name, self.context))

    def run(self, *arguments: str) -> dict[str, Any]:
        """Run the algorithm's command and return the fields of its result.

        Raises
        ------
        EngineCancelled, EngineError
        """
        command = [self.algorithm.COMMAND, *arguments]
        self.feedback.pushCommandInfo(subprocess.list2cmdline(["geofootprint", *command]))
        messages = Messages(self.feedback, self.algorithm.STAGES, self.call_by_name)
        return self.engine().run(*command, listener=messages, cwd=self.folder, patience=self.algorithm.PATIENCE)

    def call_by_name(self, text: str) -> str:
        """Return a text in which layers have their names instead of temporary files."""
        # The longest first: one may be part of another, as a file is of the same file with other bands.
        for path in sorted(self.names, key=len, reverse=True):
            text = text.replace(path, self.names[path])
        return text

    def raster_path(self, raster: Raster, drawn: str = "", bands: list[int] | None = None) -> str:
        """Return what the engine shall open, as `Raster.gdal_path` does, and keep whose it is where no user knows it."""
        path = raster.gdal_path(drawn, bands)
        if path.startswith("vrt://"):
            self.names[path] = raster.name
        return path

    def engine(self) -> Engine:
        """Return the engine, and tell which it is."""
        engine = current_engine()
        self.feedback.pushDebugInfo(tr("Engine: {} ({})").format(engine.python, engine.origin))
        return engine

    def model_gsd(self) -> float:
        """Ask the engine how many metres a pixel of the chosen model has."""
        choice = ["--model", self.path("MODEL")] if self.has("MODEL") else []
        engine = current_engine()
        model = engine.run("info", *choice, listener=Messages(self.feedback), cwd=self.folder)["model"]
        if model is None:
            raise missing_model(engine.python).advised(engine.remedy())
        return float(model["gsd"])


class EngineAlgorithm(QgsProcessingAlgorithm):
    """An algorithm whose work a command of geofootprint does.

    A subclass says what it is called in `COMMAND` (of geofootprint), `NAME` (of the algorithm, for ever), `TITLE`,
    `SUMMARY`, `HELP` and `TAGS`, defines parameters and outputs, and does its work in `work`. A parameter `MIN_AREA` is
    the command's option `--min-area`.
    """

    COMMAND = ""
    NAME = ""
    GROUP = "buildings"
    TITLE = ""
    SUMMARY = ""
    HELP = ""
    TAGS = ""
    STAGES: ClassVar[Sequence[tuple[str, float, float]]] = ()
    PATIENCE = PATIENCE
    """Seconds that the command gets at each stage of being stopped, to tidy up where the user will see it."""

    def define(self) -> Iterable[QgsProcessingParameterDefinition]:
        """Give the parameters in the order of the dialog."""
        raise NotImplementedError

    def define_outputs(self) -> Iterable[QgsProcessingOutputDefinition]:
        """Give the outputs that are not parameters."""
        return ()

    def work(self, job: Job) -> dict[str, Any]:
        """Do the work and return the outputs.

        Raises
        ------
        EngineCancelled, EngineError
        """
        raise NotImplementedError

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        for parameter in self.define():
            self.addParameter(parameter)
        for output in self.define_outputs():
            self.addOutput(output)

    def createInstance(self) -> EngineAlgorithm:
        return type(self)()

    def name(self) -> str:
        return self.NAME

    def displayName(self) -> str:
        return tr(self.TITLE)

    def group(self) -> str:
        return tr(GROUPS[self.GROUP])

    def groupId(self) -> str:
        return self.GROUP

    def shortDescription(self) -> str:
        return tr(self.SUMMARY)

    def shortHelpString(self) -> str:
        parts = [f"<p>{part}</p>" for part in tr(self.HELP).split("\n\n")]
        for definition in self.parameterDefinitions():
            parts.append(f"<p><b>{definition.description()}</b><br>{definition.help()}</p>")
        return "\n".join(parts)

    def tags(self) -> list[str]:
        return tr(self.TAGS).split(",")

    def icon(self) -> QIcon:
        return QIcon(ICON)

    def svgIconPath(self) -> str:
        return ICON

    def canExecute(self) -> tuple[bool, str]:
        try:
            self.require_engine()
        except EngineError as error:
            return False, said(error)
        return True, ""

    def require_engine(self) -> None:
        """Look whether there is an engine, without starting it.

        Raises
        ------
        EngineError
        """
        current_engine()

    def checkParameterValues(
        self, parameters: dict[str, Any], context: QgsProcessingContext
    ) -> tuple[bool, str]:
        good, text = super().checkParameterValues(parameters, context)
        if not good:
            return good, text
        try:
            for name, rasters in self._rasters(parameters, context).items():
                for raster in rasters:
                    self.check_raster(name, raster, parameters)
            self._check_targets(parameters, context)
        except EngineError as error:
            return False, said(error)
        return True, ""

    def check_raster(self, name: str, raster: Raster, parameters: Mapping[str, Any]) -> None:
        """Refuse a layer before anything runs; here, a service that the algorithm cannot have drawn.

        Raises
        ------
        EngineError
        """
        if not raster.path:
            raise EngineError(
                "The layer {layer} comes from a service, not from a raster file; export it to a GeoTIFF "
                "(Layer > Save As) and take that.",
                layer=raster.name,
            )

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        # Layers belong to the main thread, where this is called and processAlgorithm is not. An exception
        # here would reach the user without its text, so that is kept for there.
        self._refusal: EngineError | None = None
        try:
            self._prepared = self._rasters(parameters, context)
            self._plain = frozenset(self._plain_sources(parameters, context))
            for name, rasters in self._prepared.items():
                for raster in rasters:
                    self.check_raster(name, raster, parameters)
            self._check_targets(parameters, context)
        except EngineError as error:
            self._refusal = error
        return True

    def _rasters(self, parameters: dict[str, Any], context: QgsProcessingContext) -> dict[str, list[Raster]]:
        found = {}
        for definition in self.parameterDefinitions():
            name = definition.name()
            if parameters.get(name) in (None, "", []):
                continue
            if isinstance(definition, QgsProcessingParameterRasterLayer):
                found[name] = [raster_of(self.parameterAsRasterLayer(parameters, name, context))]
            elif isinstance(definition, QgsProcessingParameterMultipleLayers):
                found[name] = list(map(raster_of, self.parameterAsLayerList(parameters, name, context)))
        return found

    def _check_targets(self, parameters: dict[str, Any], context: QgsProcessingContext) -> None:
        inputs = list(self._input_files(parameters, context))
        for definition in self.destinationParameterDefinitions():
            target = target_of(parameters.get(definition.name()))
            target.require_other(inputs)
            if isinstance(definition, QgsProcessingParameterFeatureSink):  # the engine itself looks after the others
                target.require_folder()

    def _input_files(self, parameters: dict[str, Any], context: QgsProcessingContext) -> Iterator[str]:
        """Yield the files that the inputs lie in, whatever part of them a layer shows."""
        for definition in self.parameterDefinitions():
            name = definition.name()
            if parameters.get(name) in (None, "", []):
                continue
            arguments = (parameters, name, context)
            if isinstance(definition, QgsProcessingParameterFile):
                yield self.parameterAsString(*arguments)
            elif isinstance(definition, QgsProcessingParameterRasterLayer):
                yield _file_of(self.parameterAsRasterLayer(*arguments))
            elif isinstance(definition, QgsProcessingParameterFeatureSource):
                yield _file_of(self.parameterAsVectorLayer(*arguments))
            elif isinstance(definition, QgsProcessingParameterMultipleLayers):
                yield from map(_file_of, self.parameterAsLayerList(*arguments))

    def _plain_sources(self, parameters: dict[str, Any], context: QgsProcessingContext) -> Iterator[str]:
        for definition in self.parameterDefinitions():
            name = definition.name()
            if isinstance(definition, QgsProcessingParameterFeatureSource) and parameters.get(name) is not None:
                layer = self.parameterAsVectorLayer(parameters, name, context)
                if layer is None or is_plain(layer):
                    yield name

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        if self._refusal is not None:
            raise QgsProcessingException(said(self._refusal))
        with work_folder() as folder:
            job = Job(self, parameters, context, feedback, folder, self._prepared, self._plain)
            try:
                return self.work(job)
            except EngineCancelled as cancelled:
                feedback.pushInfo(said(cancelled))
                return {}
            except EngineError as error:
                failure = job.call_by_name(said(error))
            except QgsProcessingException as error:
                failure = str(error)
        # A new one, without `from error`: QGIS never lets go of the exception that it gets, and those above hold frames
        # with open layers, on which QGIS crashes when it ends.
        raise QgsProcessingException(failure)

    def image_path(self, job: Job, name: str, drawn: str = "") -> str:
        """Return the one raster of a parameter as the engine shall open it, with the parameter BANDS if there is one.

        `drawn` is the file that QGIS has drawn of it, if it is a service.
        """
        bands = None
        if job.has("BANDS") and self.parameterDefinition("BANDS") is not None:
            bands = self.parameterAsInts(job.parameters, "BANDS", job.context)
        (raster,) = job.rasters[name]
        return job.raster_path(raster, drawn, bands)

    def options(self, job: Job, *without: str) -> list[str]:
        """Return the options of the command that the plain parameters stand for, as far as they were given.

        Numbers, flags, choices, texts, files and vector layers are plain. Rasters, bands, extents and outputs are not: the
        algorithm itself knows where they go.
        """
        given: list[str] = []
        for definition in self.parameterDefinitions():
            if definition.name() not in without and job.has(definition.name()):
                given += _option(job, definition)
        return given


def _file_of(layer: QgsMapLayer | None) -> str:
    """Return the file that a layer lies in, or "" for one in none."""
    if layer is None:
        return ""
    parts = QgsProviderRegistry.instance().decodeUri(layer.providerType(), layer.source())
    return str(parts.get("path") or "")


@contextmanager
def work_folder() -> Iterator[str]:
    """Give a folder for the engine's files, below the one that QGIS removes when it ends."""
    folder = tempfile.mkdtemp(prefix="geofootprint_", dir=QgsProcessingUtils.tempFolder())
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def option_name(parameter: str) -> str:
    """Return the command's option for an algorithm's parameter."""
    return "--" + parameter.lower().replace("_", "-")


def _option(job: Job, definition: QgsProcessingParameterDefinition) -> list[str]:
    name, algorithm = definition.name(), job.algorithm
    option, arguments = option_name(name), (job.parameters, name, job.context)
    if definition.isDestination():
        return []
    if isinstance(definition, QgsProcessingParameterBoolean):
        return [option] if algorithm.parameterAsBoolean(*arguments) else []
    if isinstance(definition, QgsProcessingParameterNumber):
        if definition.dataType() == QgsProcessingParameterNumber.Type.Integer:
            return [option, str(algorithm.parameterAsInt(*arguments))]
        return [option, repr(algorithm.parameterAsDouble(*arguments))]
    if isinstance(definition, QgsProcessingParameterEnum):
        return [option, algorithm.parameterAsEnumString(*arguments)]
    if isinstance(definition, QgsProcessingParameterFeatureSource):
        return [option, polygons_path(job, name)]
    if isinstance(definition, QgsProcessingParameterFile):
        return [option, job.path(name)]
    if isinstance(definition, QgsProcessingParameterString):
        return [option, algorithm.parameterAsString(*arguments)]
    return []


class ImageAlgorithm(EngineAlgorithm):
    """An algorithm that looks at an orthophoto through a model, within an extent or an area of interest."""

    def check_raster(self, name: str, raster: Raster, parameters: Mapping[str, Any]) -> None:
        if not raster.path and not (parameters.get("EXTENT") or parameters.get("AOI")):
            raise no_area(raster.name)

    def image_arguments(self, job: Job) -> list[str]:
        """Return the image, drawn by QGIS if it is a service, and the bounds asked for."""
        (raster,) = job.rasters["INPUT"]
        extent = None
        if job.has("EXTENT"):
            extent = self.parameterAsExtent(job.parameters, "EXTENT", job.context, raster.crs)
            if not extent.intersects(raster.extent):
                raise EngineError("The extent lies outside the layer {layer}; choose one on it.", layer=raster.name)
        path = self.image_path(job, "INPUT") if raster.path else self._drawn(job, raster, extent)
        if extent is None:
            return [path]
        edges = (extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum())
        return [path, "--bounds", *map(repr, edges)]

    def _drawn(self, job: Job, raster: Raster, extent: QgsRectangle | None) -> str:
        area = _area_to_draw(extent, extent_of(job, "AOI", raster.crs) if job.has("AOI") else None)
        path = draw_service(
            raster, area, job.model_gsd(), job.folder, job.context.transformContext(), job.feedback
        )
        job.names[path] = raster.name
        return self.image_path(job, "INPUT", path)


def _area_to_draw(extent: QgsRectangle | None, polygons: QgsRectangle | None) -> QgsRectangle | None:
    if extent is None or polygons is None:
        return polygons if extent is None else extent
    area = extent.intersect(polygons)
    if area.isEmpty():
        raise EngineError(
            "The extent and the area of interest do not meet; choose an extent with some of its polygons, or none at all."
        )
    return area
