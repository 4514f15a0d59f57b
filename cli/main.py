"""The command group: global options, and which module holds which command."""

from __future__ import annotations

import difflib
import importlib
import logging
from typing import Any

import click

from geofootprint._version import __version__

from .console import Console, run_at_edge

COMMANDS = {
    "demo": "demo",
    "evaluate": "evaluate",
    "export": "export",
    "info": "info",
    "predict": "predict",
    "rasterize-labels": "rasterize_labels",
    "regularize": "regularize",
    "segment": "segment",
    "tile": "tile",
    "train": "train",
    "vectorize": "vectorize",
}
"""Command name to module of this package, whose function `command` it is."""


class LazyGroup(click.Group):
    """Imports a command's module when it is asked for; errors become exit codes here, and nowhere else."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names without importing anything."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the one command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".{COMMANDS[cmd_name]}", __package__)
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the nearest name for a misspelt command."""
        near = difflib.get_close_matches(args[0], COMMANDS, n=1)
        if near and args[0] not in COMMANDS:
            raise click.UsageError(f"No such command '{args[0]}'. Did you mean '{near[0]}'?", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command at the edge where errors become sentences and exit codes."""
        return run_at_edge(lambda: super(LazyGroup, self).invoke(ctx), ctx)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True},
    epilog="Example: geofootprint segment ortho.tif -o buildings.gpkg",
)
@click.version_option(__version__, prog_name="geofootprint")
@click.option("-v", "--verbose", count=True, help="More log lines on stderr; with a traceback for errors.")
@click.option("-q", "--quiet", count=True, help="Fewer log lines, no progress bar.")
@click.option(
    "--progress", "progress_style", type=click.Choice(["auto", "json", "none"]), default="auto",
    help="A bar on stderr if that is a terminal, JSON lines on stdout, or nothing.",
)
@click.option("--watch-stdin", is_flag=True, help="Cancel when stdin ends, for programs that start this one.")
@click.pass_context
def main(ctx: click.Context, verbose: int, quiet: int, progress_style: str, watch_stdin: bool) -> None:
    """From orthophotos to building footprints."""
    logging.basicConfig(level=logging.WARNING - 10 * (verbose - quiet), format="%(levelname)s %(name)s: %(message)s")
    style = "none" if quiet and progress_style == "auto" else progress_style
    ctx.obj = Console(style=style, verbose=verbose, watch_stdin=watch_stdin)
