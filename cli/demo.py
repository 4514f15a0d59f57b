"""``geofootprint demo``: the whole path on a scene made by code."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from .console import Console
from .options import given, json_option, model_option


@click.command("demo", epilog="Example: geofootprint demo -o demo --seed 3")
@click.option("-o", "--out", type=click.Path(), help="Folder for what is made.  [default: geofootprint-demo]")
@click.option("--seed", type=int, help="Another number, another place.  [default: 7]")
@click.option("--size", type=int, metavar="PX", help="Sides of the image; a pixel is 0.15 m.  [default: 1024]")
@click.option(
    "--style", help="suburb, old_town, dense, town_edge, tropical, rural or industrial.  [default: suburb]"
)
@model_option
@json_option
@click.pass_obj
def command(console: Console, /, **options: Any) -> None:
    """Make an orthophoto, find its buildings, and compare them with the true ones.

    Writes the image, a GeoPackage of the buildings that were found, a picture of them, and a page with the scores:
    all that is needed to see what this program does, without any data.
    """
    from geofootprint.demo import demo

    result = demo(**given(**options), progress=console)
    console.result(
        asdict(result),
        f"{result.count} buildings found where {result.true_count} stand: IoU {result.iou:.3f}, "
        f"F1 of buildings {result.object_f1:.3f}, in {result.seconds:.0f} s.\n"
        f"picture    {result.overview}\n"
        f"footprints {result.buildings}\n"
        f"scores     {result.report}",
    )
