"""`geofootprint regularize`: anybody's polygons to regular footprints."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from .console import Console
from .options import given, json_option, out_option


@click.command(
    short_help="Clean polygons of buildings that anybody drew.",
    epilog="Example: geofootprint regularize drawn.gpkg -o buildings.gpkg",
)
@click.argument("footprints", type=click.Path())
@out_option
@click.option("--outline", help="map: few vertices; area: also keeps the area of each footprint.  [default: map]")
@click.option(
    "--tolerance", type=float, metavar="M",
    help="Metres; shorter edges and steps are noise.  [default: two of the outlines' usual steps, 0.5 if drawn by hand]",
)
@click.option(
    "--min-area", type=float, metavar="M2", help="Smallest footprint that is kept, in square metres.  [default: 0]"
)
@json_option
@click.pass_obj
def command(console: Console, /, footprints: str, out: str, **options: Any) -> None:
    """Draw FOOTPRINTS again with straight walls, right angles and round shapes where they have them.

    Any vector file in any CRS will do, no raster is needed. Walls that two footprints share, or nearly share, are drawn
    once; overlaps are taken away. Columns are kept; method, vertices, area_m2 and perimeter are told anew. The extension
    of --out names the format: .gpkg, .shp, .geojson, .fgb or .parquet.
    """
    from geofootprint.clean import regularize

    result = regularize(footprints, out, progress=console, **given(**options))
    console.result(
        asdict(result),
        f"{result.out}: {result.count} footprints with {result.vertices_after} instead of {result.vertices_before} "
        f"vertices, in {result.seconds:.1f} s.",
    )
