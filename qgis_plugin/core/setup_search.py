"""Environments that have geofootprint already: found by their folders, without starting anything."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .engine import PRIVATE_FOLDER, python_in

INFO = re.compile(r"geofootprint-([^-]+)\.dist-info")
"""Folder by which an installed distribution is known, with its version."""

PACKAGE_FOLDERS = ("lib/python3.*/site-packages", "Lib/site-packages", "lib64/python3.*/site-packages")

COMMON = (
    "anaconda3",
    "miniconda3",
    "miniforge3",
    "mambaforge",
    "micromamba",
    "anaconda3/envs/*",
    "miniconda3/envs/*",
    "miniforge3/envs/*",
    "mambaforge/envs/*",
    "micromamba/envs/*",
    ".conda/envs/*",
    ".virtualenvs/*",
    ".venvs/*",
    "venvs/*",
    "envs/*",
    "geofootprint/.venv",
    "geofootprint/venv",
    ".local/pipx/venvs/geofootprint",
    ".local/share/pipx/venvs/geofootprint",
    ".local/share/uv/tools/geofootprint",
    ".pyenv/versions/*",
    "AppData/Local/anaconda3/envs/*",
    "AppData/Local/miniconda3/envs/*",
)
"""Folders below the home folder in which tools keep environments."""


@dataclass(frozen=True)
class Installation:
    """A Python that has geofootprint.

    Parameters
    ----------
    python : str
        The interpreter.
    version : str
        Of geofootprint.
    """

    python: str
    version: str

    @property
    def label(self) -> str:
        """How it is called in lists."""
        return f"geofootprint {self.version} ({self.python})"


def find_installations(environ: Mapping[str, str] | None = None, home: Path | None = None) -> list[Installation]:
    """Return the environments that have geofootprint, those in use first, without the private one.

    Parameters
    ----------
    environ, home : optional
        In place of the process's own environment and the user's home folder.
    """
    home = home or Path.home()
    private = home / PRIVATE_FOLDER
    folders = dict.fromkeys(_folders(os.environ if environ is None else environ, home))
    found = (_installation_in(folder) for folder in folders if folder != private)
    return [one for one in found if one is not None]


def _folders(environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if environ.get(variable):
            yield Path(environ[variable])
    yield from _conda_environments(home)
    for pattern in COMMON:
        yield from sorted(home.glob(pattern))
    yield from sorted(Path("/opt").glob("*conda*/envs/*"))


def _conda_environments(home: Path) -> Iterable[Path]:
    """Return what conda has written down of the environments it made, wherever they are."""
    try:
        lines = (home / ".conda" / "environments.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [Path(line.strip()) for line in lines if line.strip()]


def _installation_in(folder: Path) -> Installation | None:
    python = python_in(folder)
    try:
        if not python.is_file():
            return None
        for pattern in PACKAGE_FOLDERS:
            for info in folder.glob(f"{pattern}/geofootprint-*.dist-info"):
                match = INFO.fullmatch(info.name)
                if match:
                    return Installation(str(python), match.group(1))
    except OSError:  # a folder that may not be read, a network drive that is gone
        return None
    return None
