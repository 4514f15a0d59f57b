"""``geofootprint tile``: orthophotos and footprints to a dataset."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from .console import Console
from .options import aoi_option, given, json_option, out_option


def _shares(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"'{value}' is not a list of shares; write for example 0.8,0.1,0.1.") from None


@click.command("tile", epilog="Example: geofootprint tile ortho.tif --footprints buildings.gpkg --gsd 0.15 -o tiles")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path())
@click.option("--footprints", required=True, type=click.Path(), help="Vector file with the buildings of all images.")
@out_option
@click.option("--size", type=int, help="Pixels of a tile's side.  [default: 256]")
@click.option("--overlap", type=int, help="Pixels that neighbouring tiles share.  [default: 0]")
@click.option("--gsd", type=float, help="Metres per pixel on the ground.  [default: the image's own]")
@click.option("--recipe", help="'tirol': tiles show 675 px of the image, resampled; instead of --gsd.")
@click.option("--split", callback=_shares, help="Shares for training, validation, test.  [default: 0.8,0.1,0.1]")
@click.option(
    "--block", type=float, metavar="M",
    help="Side of the blocks of ground that go to one split as a whole.  [default: the widest that gives 20, at most 500]",
)
@click.option("--min-density", type=float, help="Least share of building in a tile, 0 to 1.  [default: 0]")
@aoi_option
@click.option("--contour-width", type=int, metavar="PX", help="Width of the buildings' contour.  [default: 2]")
@click.option("--seed", type=int, help="Of the choice of blocks.  [default: 0]")
@json_option
@click.pass_obj
def command(
    console: Console, /, images: tuple[str, ...], footprints: str, out: str, **options: Any
) -> None:
    """Cut orthophotos and footprints into georeferenced tiles with labels.

    The dataset holds pairs of image and label, and an index that says where each lies and whether it is for training,
    validation or test: that goes by blocks of ground, so that no tile of one split is next door to most of another.
    """
    from geofootprint.tiling import tile

    result = tile(list(images), footprints, out, **given(**options), progress=console)
    console.result(
        asdict(result),
        f"{result.out}: {result.tiles} tiles ({result.train} train, {result.val} val, {result.test} test) "
        f"at {result.gsd:.3f} m, {result.building_share:.1%} building.",
    )
