"""``geofootprint rasterize-labels``: footprints to label rasters."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from .console import Console
from .options import given, json_option, out_option


@click.command(
    "rasterize-labels", epilog="Example: geofootprint rasterize-labels buildings.gpkg ortho.tif -o labels.tif"
)
@click.argument("footprints", type=click.Path())
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path())
@out_option
@click.option(
    "--scheme",
    help="'contour': 0 background, 1 building, 2 contour. 'mask': 0 and 1. 'channels': the bands building and contour."
    "  [default: contour]",
)
@click.option("--contour-width", type=int, metavar="PX", help="Width of the buildings' contour.  [default: 2]")
@click.option("--all-touched", is_flag=True, help="Burn all pixels that a footprint touches.")
@json_option
@click.pass_obj
def command(console: Console, /, footprints: str, images: tuple[str, ...], out: str, **options: Any) -> None:
    """Burn FOOTPRINTS on the grid of each IMAGE.

    Pixels whose centre lies in a footprint are building, the outermost of them contour, and 255 is where the image
    has no data. OUT is a .tif file for one image and a folder for several.
    """
    from geofootprint.labels import rasterize_labels

    result = rasterize_labels(footprints, list(images), out, **given(**options), progress=console)
    console.result(
        asdict(result),
        f"{result.out}: {len(result.labels)} label raster(s) of {result.footprints} footprints, "
        f"{result.building_share:.1%} building.",
    )
