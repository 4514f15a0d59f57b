"""``geofootprint train``: fit the model to datasets."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from .console import Console
from .options import given, json_option, out_option


def _split_weight(text: str) -> tuple[str, float]:
    """Return path and weight of PATH:WEIGHT; a path may hold colons of its own."""
    path, _, weight = text.rpartition(":")
    if path and not Path(text).exists():
        try:
            return path, float(weight)
        except ValueError:
            pass
    return text, 1.0


def _read_batch(_ctx: click.Context, _parameter: click.Parameter, text: str | None) -> int | str | None:
    if text in (None, "auto"):
        return text
    try:
        return int(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither a whole number nor auto.") from None


@click.command(
    "train",
    short_help="Fit the model to datasets of tiles.",
    epilog="Example: geofootprint train tiles -o run --minutes 30",
)
@click.argument("datasets", nargs=-1, required=True, metavar="DATASET...")
@out_option
@click.option("--preset", help="footprint or pix2pix.  [default: footprint]")
@click.option("--config", type=click.Path(), help="TOML file with settings that differ from the preset's.")
@click.option("--epochs", type=int, help="Length of the run.  [default: the preset's]")
@click.option("--minutes", type=float, help="Train against the clock instead.")
@click.option("--resume", is_flag=True, help="Go on with the run in the folder.")
@click.option(
    "--init-from", type=click.Path(), metavar="FILE",
    help="Checkpoint or model file whose generator the run starts from; `default` is the one that comes along.",
)
@click.option("--device", help="auto, cpu or cuda.  [default: auto]")
@click.option("--precision", help="auto, 32, bf16 or 16.  [default: auto]")
@click.option("--devices", type=int, help="Number of devices.  [default: 1]")
@click.option(
    "--batch", callback=_read_batch, metavar="N|auto",
    help="Crops to a step, or auto: as many as fit into memory.  [default: the preset's]"
)
@click.option("--seed", type=int, help="Of weights, crops and noise.  [default: 0]")
@json_option
@click.pass_obj
def command(console: Console, /, datasets: tuple[str, ...], out: str, resume: bool, **options: Any) -> None:
    """Fit Pix2Pix to DATASETs made by `geofootprint tile`; DATASET:0.5 takes crops half as often.

    The folder of the run gets checkpoints (last.ckpt, best.ckpt), losses and scores as tables, as curves (progress.png)
    and for TensorBoard, pictures of some predictions, all settings, and in the end report.html. A run that was cancelled
    or killed goes on with --resume.
    """
    try:
        from geofootprint.learning.devices import is_first_process
        from geofootprint.learning.trainer import train
    except ImportError as error:
        from geofootprint.errors import MissingDependencyError

        raise MissingDependencyError(
            f"Training needs {error.name}; install it with: pip install 'geofootprint[train]'"
        ) from error

    weighted = [_split_weight(text) for text in datasets]
    result = train(weighted, out, resume=resume, progress=console, **given(**options))
    if is_first_process():
        console.result(
            asdict(result),
            f"The best validation, of epoch {result.best_epoch}, has object F1 {result.object_f1:.3f} and pixel IoU "
            f"{result.iou:.3f}; {result.images_per_second:.1f} images/s; {result.ended}. Checkpoints are {result.best} and "
            f"{result.last}, the report is {result.report}.",
        )
