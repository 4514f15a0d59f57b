"""`geofootprint export`: a checkpoint as a model file."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from .console import Console
from .options import given, json_option, out_option


@click.command(
    short_help="Make a model file of a checkpoint.",
    epilog="Example: geofootprint export run/best.ckpt -o model.onnx --licence 'CC BY 4.0'",
)
@click.argument("checkpoint", type=click.Path())
@out_option
@click.option("--name", help="Name of the model.  [default: the run's folder]")
@click.option("--licence", help="Licence of the model.")
@click.option(
    "--source", "sources", nargs=2, multiple=True, metavar="NAME LICENCE",
    help="Data it was trained on; may be repeated.  [default: the datasets' images]",
)
@click.option("--threshold", type=float, help="Probability from which a pixel is building.  [default: validation's best]")
@click.option("--patch", type=int, help="Pixels of a patch's side at inference.  [default: 768]")
@click.option("--overlap", type=int, help="Pixels that neighbouring patches share.  [default: 128]")
@click.option("--half", is_flag=True, help="Store the weights in 16 bits: half the size.")
@click.option(
    "--int8", multiple=True, type=click.Path(), metavar="DATASET",
    help="Compute in 8 bits: ranges from DATASET's training tiles, the loss measured on its validation tiles; may be repeated.",
)
@click.option("--max-loss", type=float, help="IoU that 8 bits may cost.  [default: 0.01]")
@click.option(
    "--deepness", is_flag=True, help="Fix the size and give background and building alone, for the Deepness plugin and GeoDeep."
)
@json_option
@click.pass_obj
def command(console: Console, /, checkpoint: str, out: str, half: bool, deepness: bool, **options: Any) -> None:
    """Write the generator of CHECKPOINT as an ONNX file that describes itself, and compare it with torch."""
    try:
        from geofootprint.learning.export import export
    except ImportError as error:
        from geofootprint.errors import MissingDependencyError

        raise MissingDependencyError(
            f"Exporting needs {error.name}; install it with: pip install 'geofootprint[train]'"
        ) from error

    result = export(checkpoint, out, half=half, deepness=deepness, progress=console, **given(**options))
    text = f"{result.out}: {result.megabytes:.1f} MB, differs from torch by at most {result.parity:.1g}."
    loss = result.quantization
    if loss is not None:
        text += f" In 8 bits, IoU {loss.iou:.4f} instead of {loss.iou_before:.4f}."
    console.result(asdict(result), text)
