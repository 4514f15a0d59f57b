"""Options that several commands share, each spelt once.

================  =======================================================
option            commands
================  =======================================================
--aoi             evaluate, predict, segment, tile
--bounds          predict, segment
--device          predict, segment
--json            all
--min-area        segment, vectorize
-m, --model       demo, info, predict, segment
-o, --out         all that write
--outline         segment, vectorize
--threshold       segment, vectorize
--tta             predict, segment
================  =======================================================

No default is given here: what is not said on the command line is left to the library's function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from .console import Console

F = TypeVar("F", bound=Callable[..., Any])


def _set_json(ctx: click.Context, _parameter: click.Parameter, value: bool) -> bool:
    console = ctx.find_object(Console)
    if console is not None:
        console.json_result = value
    return value


json_option = click.option(
    "--json", "as_json", is_flag=True, expose_value=False, callback=_set_json,
    help="Print the result as one JSON object on stdout.",
)
out_option = click.option("-o", "--out", required=True, type=click.Path(), help="Where the result goes.")
model_option = click.option("-m", "--model", type=click.Path(), help="Model file (.onnx).  [default: the one that comes along]")
aoi_option = click.option("--aoi", type=click.Path(), help="Polygons of the area of interest; what is outside is left out.")
bounds_option = click.option(
    "--bounds", type=float, nargs=4, metavar="W S E N",
    help="West, south, east, north in the image's CRS; what is outside is left out.",
)
tta_option = click.option(
    "--tta", is_flag=True, help="Average over eight turned and mirrored versions: a little better, eight times slower."
)
device_option = click.option("--device", help="auto, cpu or cuda.  [default: auto]")
min_area_option = click.option(
    "--min-area", type=float, metavar="M2", help="Smallest building in square metres.  [default: 8]"
)
outline_option = click.option(
    "--outline",
    help="map: regular, with few vertices; area: also keeps the area of buildings that stand alone; raw: the contour line of the "
    "probabilities.  [default: map]",
)
threshold_option = click.option(
    "--threshold", type=float, help="Probability from which a pixel is building, 0 to 1.  [default: the model's]"
)


def given(**options: Any) -> dict[str, Any]:
    """Return the options that were said, so that the library's own defaults hold for the others."""
    return {name: value for name, value in options.items() if value is not None and value != ()}
