"""`geofootprint predict`: the probabilities of an orthophoto."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from .console import Console
from .options import aoi_option, bounds_option, device_option, given, json_option, model_option, out_option, tta_option


@click.command(
    short_help="Write the probability of buildings as a raster.",
    epilog="Example: geofootprint predict ortho.tif -o probabilities.tif",
)
@click.argument("image", type=click.Path())
@out_option
@model_option
@aoi_option
@bounds_option
@tta_option
@device_option
@json_option
@click.pass_obj
def command(console: Console, /, image: str, out: str, tta: bool, **options: Any) -> None:
    """Write how probable buildings and their contours are at each pixel of IMAGE.

    The result is a GeoTIFF of the model's ground sampling distance with one band a class, 0 to 255, and a mask of
    the pixels that the image has. `geofootprint vectorize` makes footprints of it.
    """
    from geofootprint.predict import predict

    result = predict(image, out, tta=tta, progress=console, **given(**options))
    console.result(
        asdict(result),
        f"{result.out}: {result.width} x {result.height} px of {result.gsd:.3g} m, {' and '.join(result.classes)}, "
        f"in {result.seconds:.1f} s.",
    )
