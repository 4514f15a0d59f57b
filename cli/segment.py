"""`geofootprint segment`: an orthophoto to footprints."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from .console import Console
from .options import (
    aoi_option,
    bounds_option,
    device_option,
    given,
    json_option,
    min_area_option,
    model_option,
    out_option,
    outline_option,
    threshold_option,
    tta_option,
)


@click.command(
    short_help="Find the buildings of an orthophoto.",
    epilog="Example: geofootprint segment ortho.tif -o buildings.gpkg",
)
@click.argument("image", type=click.Path())
@out_option
@model_option
@aoi_option
@bounds_option
@threshold_option
@min_area_option
@outline_option
@tta_option
@device_option
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@json_option
@click.pass_obj
def command(console: Console, /, image: str, out: str, tta: bool, dry_run: bool, **options: Any) -> None:
    """Find the buildings of IMAGE and write their footprints in its CRS.

    The extension of --out names the format: .gpkg, .shp, .geojson, .fgb or .parquet. With --aoi or --bounds, buildings
    whose middle lies inside are kept, and kept whole.
    """
    from geofootprint.segment import plan_segment, segment

    if dry_run:
        plan = plan_segment(image, out, tta=tta, progress=console, **given(**options))
        console.result(
            asdict(plan),
            f"{plan.out} would come from {plan.width} x {plan.height} px of {plan.gsd:.3g} m in {plan.crs}: "
            f"{plan.patches} patches through {plan.model} on {plan.backend}, with up to {plan.disk_mb:.0f} MB of "
            "probabilities beside it meanwhile. Nothing was written.",
        )
        return
    result = segment(image, out, tta=tta, progress=console, **given(**options))
    console.result(
        asdict(result),
        f"{result.out}: {result.count} buildings, {result.area_m2:.0f} m² in all, in {result.seconds:.1f} s.",
    )
