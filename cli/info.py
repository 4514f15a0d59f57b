"""`geofootprint info`: versions, the default model, what can be done here."""

from __future__ import annotations

from typing import Any

import click

from .console import Console
from .options import given, json_option, model_option


@click.command(short_help="Show versions and what can be done here.", epilog="Example: geofootprint info --json")
@model_option
@json_option
@click.pass_obj
def command(console: Console, /, **options: Any) -> None:
    """Show versions, a model, devices and the number of the progress protocol."""
    from geofootprint.info import info

    facts = info(**given(**options))
    lines = [f"geofootprint {facts['geofootprint']}, protocol {facts['protocol']}, Python {facts['python']}"]
    lines += [f"  {name} {version or 'not installed'}" for name, version in facts["versions"].items()]
    model = facts["model"]
    kind = "model" if options["model"] else "default model"
    lines.append(f"{kind}: {model['name']} ({model['sha256'][:12]})" if model else f"{kind}: none")
    lines.append(f"runs models on: {', '.join(facts['devices'])}")
    lines.append(f"can train: {'yes' if facts['can_train'] else 'no, install geofootprint[train]'}")
    console.result(facts, "\n".join(lines))
