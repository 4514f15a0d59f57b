"""`geofootprint vectorize`: probabilities or a mask to footprints."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from .console import Console
from .options import given, json_option, min_area_option, out_option, outline_option, threshold_option


@click.command(
    short_help="Outline the buildings in a raster of probabilities or a mask.",
    epilog="Example: geofootprint vectorize probabilities.tif -o buildings.gpkg",
)
@click.argument("probabilities", type=click.Path())
@out_option
@threshold_option
@min_area_option
@outline_option
@click.option(
    "--full-scale", type=float, metavar="VALUE",
    help="Value of a certain building in PROBABILITIES, such as 100 for percent.  [default: told from the values]",
)
@json_option
@click.pass_obj
def command(console: Console, /, probabilities: str, out: str, **options: Any) -> None:
    """Outline the buildings in PROBABILITIES.

    That is what `geofootprint predict` made, or any raster with one band: probabilities 0 to 1 or 0 to 255 (others with
    --full-scale), a mask, or labels (1 building, 2 contour). The extension of --out names the format: .gpkg, .shp,
    .geojson, .fgb or .parquet.
    """
    from geofootprint.vectorize import vectorize

    result = vectorize(probabilities, out, progress=console, **given(**options))
    console.result(
        asdict(result),
        f"{result.out}: {result.count} buildings, {result.area_m2:.0f} m² in all, in {result.seconds:.1f} s.",
    )
