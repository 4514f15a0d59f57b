"""The project's scripts as modules; they import each other by name, as Python lets them when one is started."""

import sys
from importlib import import_module
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def import_script(name):
    """Return a script as a module, without leaving its folder among those that are searched."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        return import_module(name)
    finally:
        sys.path.remove(str(SCRIPTS))
