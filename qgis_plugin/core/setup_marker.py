"""The file that marks an environment as ours, and says whether its set-up came to an end.

Nothing is ever removed or replaced that lacks it.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

MARKER = "geofootprint-setup.json"
"""Name of the file, in the folder of the environment."""


@dataclass(frozen=True)
class Marker:
    """What is known of an environment that was made by this plugin.

    Parameters
    ----------
    ready : bool
        Whether the set-up came to its end; False while it goes on, and for ever if it was interrupted.
    version : str
        Of geofootprint, as it was asked for.
    python : str
        Interpreter that the environment was made with.
    python_version : str
        Its version.
    source : str
        Where the packages came from, in a word: PyPI, index or bundle. No address: it may hold a password.
    """

    ready: bool
    version: str
    python: str
    python_version: str
    source: str


def read_marker(folder: Path) -> Marker | None:
    """Return the marker of an environment, or None if the folder is not ours."""
    try:
        content = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):  # the file is there, so the folder is ours; its text was cut off
        content = {}
    known = content if isinstance(content, dict) else {}
    texts = {field.name: str(known.get(field.name, "")) for field in fields(Marker) if field.name != "ready"}
    return Marker(ready=known.get("ready") is True, **texts)


def write_marker(folder: Path, marker: Marker) -> None:
    """Write the marker whole or not at all."""
    partial = folder / f"{MARKER}.part"
    partial.write_text(json.dumps(asdict(marker), indent=1), encoding="utf-8")
    os.replace(partial, folder / MARKER)


def is_ours(folder: Path) -> bool:
    """Say whether the folder was made by this plugin."""
    found = False
    with contextlib.suppress(OSError):
        found = (folder / MARKER).is_file()
    return found
