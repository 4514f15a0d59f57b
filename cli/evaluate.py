"""``geofootprint evaluate``: scores of footprints against the truth."""

from __future__ import annotations

from typing import Any

import click

from .console import Console
from .options import aoi_option, given, json_option


def _marks(_ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, float] | None:
    """Split ``iou=0.8``; which scores there are is known to the library."""
    pairs = [value.partition("=") for value in values]
    try:
        return {name.strip(): float(mark) for name, _, mark in pairs} or None
    except ValueError:
        raise click.BadParameter(f"'{' '.join(values)}' is no score and its mark; write for example iou=0.8.") from None


@click.command(
    "evaluate", epilog="Example: geofootprint evaluate mine.gpkg cadastre.gpkg --aoi area.geojson -o report"
)
@click.argument("predicted", type=click.Path())
@click.argument("truth", type=click.Path())
@aoi_option
@click.option("--image", type=click.Path(), help="Orthophoto for the report's pictures.  [default: white paper]")
@click.option("--gsd", type=float, help="Metres per pixel at which pixels are counted.  [default: 0.15]")
@click.option(
    "-o", "--out", type=click.Path(),
    help="Folder for report.html, scores.json and matches.gpkg.  [default: the scores are only printed]",
)
@click.option(
    "--fail-under", multiple=True, callback=_marks, metavar="SCORE=MARK",
    help="Exit code 2 if a score is below its mark, for example iou=0.8 or object_f1=0.7. Can be repeated.",
)
@json_option
@click.pass_obj
def command(console: Console, /, predicted: str, truth: str, **options: Any) -> None:
    """Compare footprints with the truth.

    Scores pixels (IoU, precision, recall, F1, boundary IoU), buildings paired one to one at an IoU of 0.5, and the
    outlines of the pairs. Without --aoi everything in both layers counts: give the area where the truth is complete.
    """
    from geofootprint.evaluate import evaluate

    evaluation = evaluate(predicted, truth, **given(**options), progress=console)
    console.result(evaluation.as_dict(), evaluation.as_text())
    # After the result, which a missed mark does not make less true. Exit code 2 and not 1: that would say that the
    # program is at fault, whereas the user can mend this, with a better model or a lower mark.
    evaluation.require_marks()
