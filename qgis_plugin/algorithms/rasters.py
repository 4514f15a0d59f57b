"""Raster layers as files that the engine opens.

A file is read where it lies. What QGIS knows better than the file, its CRS, goes along by GDAL's path of the kind
``vrt://FILE?a_srs=CRS``, and chosen bands likewise. A map service has no file: QGIS draws the wanted ground into one.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransformContext,
    QgsDistanceArea,
    QgsPointXY,
    QgsProcessingFeedback,
    QgsProviderRegistry,
    QgsRaster,
    QgsRasterBlockFeedback,
    QgsRasterFileWriter,
    QgsRasterIterator,
    QgsRasterLayer,
    QgsRasterPipe,
    QgsRectangle,
)

from ..core.runner import EngineCancelled, EngineError
from ..translation import tr

MOST_PIXELS = 100_000_000
"""Most that is fetched from a service: 10 by 10 thousand pixels, some 3000 requests of an ordinary tile service."""

MARGIN = 60.0
"""Metres around the area asked for that are fetched too; the engine looks at 50 m, so that buildings come out whole."""

LONGEST_STEM = 60
"""Characters of a layer's name that become a file's: no file system takes more than 255 bytes, and Windows no long path."""

CREATION = ["COMPRESS=DEFLATE", "TILED=YES", "BIGTIFF=IF_SAFER"]


@dataclass(frozen=True)
class Raster:
    """A raster layer as it was when the algorithm was started; made in the main thread, to which layers belong.

    Parameters
    ----------
    name : str
        Of the layer.
    crs : QgsCoordinateReferenceSystem
        As QGIS has it.
    extent : QgsRectangle
        Of the layer; that of a service may be the world.
    path : str
        What GDAL opens, or "" for a service.
    own_crs : bool
        False where QGIS has another CRS than the file.
    alphas : tuple of int
        Bands, from 1, that say what is transparent.
    provider : QgsRasterDataProvider, optional
        Of a service, for this algorithm alone.
    """

    name: str
    crs: QgsCoordinateReferenceSystem
    extent: QgsRectangle
    path: str
    own_crs: bool = True
    alphas: tuple[int, ...] = ()
    provider: Any = None

    def gdal_path(self, path: str = "", bands: list[int] | None = None) -> str:
        """Return what the engine shall open, where `path` may stand for what was drawn of a service.

        Raises
        ------
        EngineError
            If the file's name cannot be part of such a path.
        """
        options = []
        if bands:
            chosen = [*bands, *(band for band in self.alphas if band not in bands)]
            options.append("bands=" + ",".join(map(str, chosen)))
        if not self.own_crs:
            options.append("a_srs=" + _crs_option(self.crs))
        path = path or self.path
        if not options:
            return path
        if "?" in path:
            raise EngineError(
                "The layer {layer} cannot be given another CRS or other bands, since the name of its file has a "
                "question mark; export it to a GeoTIFF and take that.",
                layer=self.name,
            )
        return f"vrt://{path}?{'&'.join(options)}"


def _crs_option(crs: QgsCoordinateReferenceSystem) -> str:
    if crs.authid().startswith(("EPSG:", "ESRI:")):
        return crs.authid()
    # An & would end the option. Only a name can have one, and names do not say where something lies.
    return crs.toWkt().replace("&", "and")


def raster_of(layer: QgsRasterLayer | None) -> Raster:
    """Return a layer as the engine needs it.

    Raises
    ------
    EngineError
        If the layer is broken, has no CRS, or its file is gone.
    """
    if layer is None or not layer.isValid():
        raise EngineError(
            "The layer {layer} cannot be read; its file was moved, or is no image.",
            layer="?" if layer is None else layer.name(),
        )
    name, provider = layer.name(), layer.dataProvider()
    if not layer.crs().isValid():
        raise EngineError("The layer {layer} has no CRS; set the one it was made in (Layer > Set CRS of Layer(s)).", layer=name)
    if layer.providerType() != "gdal":
        return Raster(name, layer.crs(), layer.extent(), "", provider=provider.clone())
    file, path = _file_and_path(layer)
    if os.path.isabs(file) and not file.startswith("/vsi") and not os.path.exists(file):
        raise EngineError(
            "The file of the layer {layer} is no longer there: {path}. Put it back, or add the layer anew from where the file "
            "is now.",
            layer=name,
            path=file,
        )
    alphas = tuple(
        band
        for band in range(1, provider.bandCount() + 1)
        if provider.colorInterpretation(band) == QgsRaster.ColorInterpretation.AlphaBand
    )
    return Raster(name, layer.crs(), layer.extent(), path, provider.crs() == layer.crs(), alphas)


def _file_and_path(layer: QgsRasterLayer) -> tuple[str, str]:
    """Return the file that a layer lies in, and what GDAL opens: the two differ where the file is an archive."""
    # The provider's own, since it opens an archive that the layer names without saying that it is one.
    source = layer.dataProvider().dataSourceUri()
    parts = QgsProviderRegistry.instance().decodeUri("gdal", source)
    file = parts.get("path") or source
    if parts.get("layerName"):  # A file of several rasters is opened by GDAL's own name for one of them.
        return file, source
    if os.path.exists(file):
        file = os.path.abspath(file)
    return file, f"{parts.get('vsiPrefix') or ''}{file}{parts.get('vsiSuffix') or ''}"


def draw_service(
    raster: Raster,
    area: QgsRectangle | None,
    gsd: float,
    folder: str,
    transforms: QgsCoordinateTransformContext,
    feedback: QgsProcessingFeedback,
) -> str:
    """Have QGIS draw the ground of an area from a service, and return the GeoTIFF.

    Parameters
    ----------
    raster : Raster
        Without a path.
    area : QgsRectangle or None
        In the raster's CRS.
    gsd : float
        Metres on the ground of a pixel's side.
    folder : str
        Where the file goes.
    transforms, feedback
        Of the algorithm's context; the size is told before anything is fetched, and afterwards what is missing.

    Raises
    ------
    EngineError
        If there is no area, it is too large, or the service gives nothing for it.
    EngineCancelled
        If the user pressed Cancel.
    """
    if area is None:
        raise no_area(raster.name)
    across, down = _pixel_sides(raster.crs, area.center(), gsd, transforms)
    wide, high = across / gsd * MARGIN, down / gsd * MARGIN
    ground = QgsRectangle(
        area.xMinimum() - wide, area.yMinimum() - high, area.xMaximum() + wide, area.yMaximum() + high
    )
    width, height = max(1, round(ground.width() / across)), max(1, round(ground.height() / down))
    _tell_size(raster.name, width, height, gsd, feedback)
    path = os.path.join(folder, re.sub(r"[^\w .-]", "_", raster.name[:LONGEST_STEM]) + ".tif")
    _write(raster, path, (width, height), ground, transforms, feedback)
    if feedback.isCanceled():
        raise EngineCancelled("Cancelled; nothing was written.")
    _look_for_holes(path, raster, area, feedback)
    return path


def no_area(name: str) -> EngineError:
    """Return the error that a service needs an area."""
    return EngineError(
        "The layer {layer} is a map service without end; choose an extent, or polygons as area of interest.", layer=name
    )


def _pixel_sides(
    crs: QgsCoordinateReferenceSystem, centre: QgsPointXY, gsd: float, transforms: QgsCoordinateTransformContext
) -> tuple[float, float]:
    """Return the sides of a pixel in map units, which are no true metres in Web Mercator and none at all in degrees."""
    measure = QgsDistanceArea()
    measure.setSourceCrs(crs, transforms)
    measure.setEllipsoid("EPSG:7030")
    step = 1e-4 if crs.isGeographic() else 10.0
    east = measure.measureLine(centre, QgsPointXY(centre.x() + step, centre.y()))
    north = measure.measureLine(centre, QgsPointXY(centre.x(), centre.y() + step))
    return gsd * step / east, gsd * step / north


def _tell_size(name: str, width: int, height: int, gsd: float, feedback: QgsProcessingFeedback) -> None:
    if width * height > MOST_PIXELS:
        raise EngineError(
            "The extent has {width} x {height} pixels of {gsd} m, too many to fetch from the service {layer}; choose "
            "one of at most {side} m by {side} m.",
            layer=name,
            width=width,
            height=height,
            gsd=round(gsd, 3),
            side=int(MOST_PIXELS**0.5 * gsd / 100) * 100,
        )
    feedback.pushInfo(
        tr("QGIS draws {width} x {height} pixels of {gsd} m from the service {layer}: {megabytes} MB at most.").format(
            layer=name, width=width, height=height, gsd=round(gsd, 3), megabytes=max(1, round(width * height * 4 / 2**20))
        )
    )


def _write(
    raster: Raster,
    path: str,
    size: tuple[int, int],
    ground: QgsRectangle,
    transforms: QgsCoordinateTransformContext,
    feedback: QgsProcessingFeedback,
) -> None:
    pipe = QgsRasterPipe()
    pipe.set(raster.provider.clone())
    writer = QgsRasterFileWriter(path)
    writer.setOutputFormat("GTiff")
    writer.setCreateOptions(CREATION)
    watch = QgsRasterBlockFeedback()
    watch.progressChanged.connect(feedback.setProgress)
    feedback.canceled.connect(watch.cancel)
    feedback.setProgressText(tr("Fetching the image ..."))
    code = writer.writeRaster(pipe, *size, ground, raster.crs, transforms, watch)
    if feedback.isCanceled():
        return
    if code != QgsRasterFileWriter.WriterError.NoError:
        raise EngineError(
            "The image of the service {layer} could not be written; is the disk of {path} full?",
            layer=raster.name,
            path=path,
        )
    for error in watch.errors():
        feedback.pushWarning(error)


def _look_for_holes(path: str, raster: Raster, area: QgsRectangle, feedback: QgsProcessingFeedback) -> None:
    """Refuse a picture without an image in the area, and warn of holes: a service leaves out what it does not answer."""
    drawn = QgsRasterLayer(path, raster.name)
    if drawn.bandCount() < 4:
        return
    # Pixels on the edge of what the service has are no holes.
    inside = area.intersect(raster.extent.buffered(-2 * max(drawn.rasterUnitsPerPixelX(), drawn.rasterUnitsPerPixelY())))
    missing = _transparent_share(drawn, area if inside.isEmpty() else inside)
    if missing == 1:
        raise EngineError(
            "The service {layer} gave no image for the extent; check its address and the extent.", layer=raster.name
        )
    if missing > 0:
        feedback.pushWarning(
            tr(
                "The service {layer} gave no image for about {percent} % of the extent, and no buildings are found there. "
                "If there should be one, run again: the service did not answer all requests."
            ).format(layer=raster.name, percent=max(1, round(100 * missing)))
        )


def _transparent_share(drawn: QgsRasterLayer, area: QgsRectangle) -> float:
    """Return how much of an area, from 0 to 1, is wholly transparent; band 4 says so."""
    width = max(1, round(area.width() / drawn.rasterUnitsPerPixelX()))
    height = max(1, round(area.height() / drawn.rasterUnitsPerPixelY()))
    parts = QgsRasterIterator(drawn.dataProvider())
    parts.startRasterRead(4, width, height, area)
    holes = 0
    while True:
        more, _, _, block, _, _ = parts.readNextRasterPart(4)
        if not more:
            return holes / (width * height)
        holes += bytes(block.data()).count(0)
