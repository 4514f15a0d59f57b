"""Parameters that several algorithms share, each spelt once; a parameter's help goes into the algorithm's."""

from __future__ import annotations

from typing import Any, TypeVar

from qgis.core import (
    QgsProcessing,
    QgsProcessingParameterBand,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFeatureSink,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
)

from ..translation import tr

P = TypeVar("P", bound=QgsProcessingParameterDefinition)

POLYGONS = [QgsProcessing.SourceType.TypeVectorPolygon]


def explained(parameter: P, text: str) -> P:
    """Give a parameter its help."""
    parameter.setHelp(text)
    return parameter


def advanced(parameter: P) -> P:
    """Put a parameter among those that are folded away."""
    parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.Flag.FlagAdvanced)
    return parameter


def number(name: str, text: str, *, decimals: int = 2, **limits: Any) -> QgsProcessingParameterNumber:
    """Return a parameter for a real number."""
    parameter = QgsProcessingParameterNumber(name, text, type=QgsProcessingParameterNumber.Type.Double, **limits)
    parameter.setMetadata({"widget_wrapper": {"decimals": decimals}})
    return parameter


def integer(name: str, text: str, **limits: Any) -> QgsProcessingParameterNumber:
    """Return a parameter for a whole number."""
    return QgsProcessingParameterNumber(name, text, type=QgsProcessingParameterNumber.Type.Integer, **limits)


def choice(name: str, text: str, options: list[str], **more: Any) -> QgsProcessingParameterEnum:
    """Return a parameter for one of the command's words; words and not numbers, which would change with their order."""
    return QgsProcessingParameterEnum(name, text, options=options, usesStaticStrings=True, **more)


def image(
    name: str = "INPUT", *, optional: bool = False, label: str = "", text: str = ""
) -> QgsProcessingParameterRasterLayer:
    """Return the parameter for a raster, which is an orthophoto unless its label says something else."""
    parameter = QgsProcessingParameterRasterLayer(name, label or tr("Orthophoto"), optional=optional)
    return explained(parameter, text or tr("Raster with the bands red, green and blue. Its CRS is the one set in QGIS."))


def extent() -> QgsProcessingParameterExtent:
    """Return the parameter for a rectangle to look at."""
    return explained(
        QgsProcessingParameterExtent("EXTENT", tr("Extent"), optional=True),
        tr("Only this rectangle is looked at. Needed for a map service, which QGIS draws for it first."),
    )


def aoi() -> QgsProcessingParameterFeatureSource:
    """Return the parameter for an area of interest."""
    return explained(
        QgsProcessingParameterFeatureSource("AOI", tr("Area of interest"), POLYGONS, optional=True),
        tr("Polygons; what is outside is left out."),
    )


def model() -> QgsProcessingParameterFile:
    """Return the parameter for a model file."""
    return explained(
        QgsProcessingParameterFile("MODEL", tr("Model file"), extension="onnx", optional=True),
        tr("A model of your own, as Export Model makes it. If empty, the one that comes with geofootprint."),
    )


def threshold() -> QgsProcessingParameterNumber:
    """Return the parameter for the threshold."""
    return explained(
        number("THRESHOLD", tr("Threshold"), optional=True, minValue=0, maxValue=1),
        tr(
            "Probability from which a pixel is building, 0 to 1. A lower one finds more buildings, a higher one finds "
            "fewer by mistake. If not set, the model's own."
        ),
    )


def min_area(default: float = 8.0) -> QgsProcessingParameterNumber:
    """Return the parameter for the smallest building."""
    return explained(
        number("MIN_AREA", tr("Minimum area (m²)"), defaultValue=default, minValue=0, decimals=1),
        tr("Smaller buildings are left out."),
    )


def outline(*, raw: bool = True) -> QgsProcessingParameterEnum:
    """Return the parameter for the outlines' style."""
    options = ["map", "area", "raw"] if raw else ["map", "area"]
    text = tr("map: regular, with right angles and few vertices. area: also keeps the area of each building.")
    if raw:
        text += " " + tr("raw: the contour line of the probabilities.")
    return explained(choice("OUTLINE", tr("Outline style"), options, defaultValue="map"), text)


def bands() -> QgsProcessingParameterBand:
    """Return the parameter for other bands than the first three."""
    parameter = QgsProcessingParameterBand(
        "BANDS", tr("Bands"), parentLayerParameterName="INPUT", allowMultiple=True, optional=True
    )
    text = tr("Bands for red, green and blue, in this order. If empty, the first three.")
    return advanced(explained(parameter, text))


def tta() -> QgsProcessingParameterBoolean:
    """Return the parameter for averaging over turned images."""
    return advanced(
        explained(
            QgsProcessingParameterBoolean("TTA", tr("Test-time augmentation"), defaultValue=False),
            tr("Averages over eight turned and mirrored versions of the image: a little better, eight times slower."),
        )
    )


def device() -> QgsProcessingParameterEnum:
    """Return the parameter for the device."""
    return advanced(
        explained(
            choice("DEVICE", tr("Device"), ["auto", "cpu", "cuda"], defaultValue="auto"),
            tr("What computes: auto takes an NVIDIA graphics card if the engine can use it."),
        )
    )


def buildings(text: str = "") -> QgsProcessingParameterFeatureSink:
    """Return the parameter for the layer of buildings that is made."""
    return explained(
        QgsProcessingParameterFeatureSink("OUTPUT", tr("Buildings"), QgsProcessing.SourceType.TypeVectorPolygon),
        text or tr("Polygons with confidence, area, perimeter and more."),
    )


def contour_width() -> QgsProcessingParameterNumber:
    """Return the parameter for the width of contours in labels."""
    return explained(
        integer("CONTOUR_WIDTH", tr("Width of the contour in pixels"), defaultValue=2, minValue=1),
        tr("The contour lies inside the building and separates houses that share a wall."),
    )


def footprints(name: str, text: str, help_text: str) -> QgsProcessingParameterFeatureSource:
    """Return a parameter for a layer of footprints."""
    return explained(QgsProcessingParameterFeatureSource(name, text, POLYGONS), help_text)
