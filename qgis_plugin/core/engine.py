"""Where the engine is: a Python that has geofootprint installed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .runner import (
    PROTOCOL,
    EngineError,
    clean_environment,
    detached,
    lacks_package,
    missing_package,
    other_protocol,
)

SETTING = "geofootprint/python"
"""Key of QGIS's settings that holds the path of the Python."""

VARIABLE = "GEOFOOTPRINT_PYTHON"
"""Environment variable that goes before the setting."""

PRIVATE_FOLDER = Path(".geofootprint", "venv")
"""Virtual environment below the home folder that is taken when neither of them is set."""

CHECK_SECONDS = 60
"""The first start after an installation compiles and reads everything from a cold disk."""


@dataclass(frozen=True)
class Engine:
    """A Python that has geofootprint.

    Parameters
    ----------
    python : str
        Path of the interpreter.
    origin : str
        What led to it, for messages.
    """

    python: str
    origin: str

    def command(self, *arguments: str) -> list[str]:
        """Return the argument list of a child that reports itself in JSON lines and ends with its parent."""
        return [self.python, "-m", "geofootprint_cli", "--progress", "json", "--watch-stdin", *arguments]

    def check(self) -> dict[str, Any]:
        """Start the engine and return what it tells of itself: versions, model, protocol.

        Raises
        ------
        EngineError
            If it does not start, lacks geofootprint, or speaks another protocol.
        """
        command = [self.python, "-m", "geofootprint_cli", "--progress", "none", "info", "--json"]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=CHECK_SECONDS,
                env=clean_environment(self.python),
                check=False,
                **detached(),
            )
        except OSError as error:
            raise EngineError(f"{self.python} cannot be started: {error.strerror or error}.") from error
        except subprocess.TimeoutExpired as error:
            raise EngineError(f"{self.python} gave no answer for {CHECK_SECONDS} seconds.") from error
        return _read_answer(self.python, done)


def _read_answer(python: str, done: subprocess.CompletedProcess) -> dict[str, Any]:
    errors = done.stderr.decode("utf-8", "replace").strip()
    if lacks_package(errors):
        raise EngineError(missing_package(python))
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = None
    if done.returncode != 0 or not isinstance(answer, dict):
        last = errors.splitlines()[-1] if errors else f"exit code {done.returncode}"
        raise EngineError(f"{python} does not answer as geofootprint does: {last}")
    if answer.get("protocol") != PROTOCOL:
        raise EngineError(other_protocol(answer.get("protocol")))
    return answer


def python_in(folder: Path) -> Path:
    """Return where the interpreter of a virtual or conda environment is."""
    if os.name != "nt":
        return folder / "bin" / "python"
    in_conda, in_venv = folder / "python.exe", folder / "Scripts" / "python.exe"
    return in_conda if in_conda.is_file() else in_venv


def find_engine(
    setting: str | None = None, environ: Mapping[str, str] | None = None, home: Path | None = None
) -> Engine:
    """Return the engine that is configured, without starting it.

    The first of these that is set counts, and is not passed over when it is wrong: the environment variable
    GEOFOOTPRINT_PYTHON, the setting, the private environment `~/.geofootprint/venv`.

    Parameters
    ----------
    setting : str, optional
        Path from QGIS's settings: an interpreter, or the folder of an environment.
    environ, home : optional
        In place of the process's own environment and the user's home folder.

    Raises
    ------
    EngineError
        If none is configured, or nothing is at the path that is.
    """
    environ = os.environ if environ is None else environ
    for path, origin in (
        (environ.get(VARIABLE), f"the environment variable {VARIABLE}"),
        (setting, "Settings > Options > geofootprint"),
    ):
        if path and path.strip():
            return _engine_at(Path(path.strip()).expanduser(), origin)
    private = python_in((home or Path.home()) / PRIVATE_FOLDER)
    if private.is_file():
        return Engine(str(private), str(private.parents[1]))
    raise EngineError(
        "geofootprint needs a Python that has it installed, and none is set: choose one in "
        f"Settings > Options > geofootprint, or name it in the environment variable {VARIABLE}."
    )


def _engine_at(path: Path, origin: str) -> Engine:
    python = python_in(path) if path.is_dir() else path
    if not python.is_file():
        raise EngineError(f"No Python is at {python}, where {origin} says that it is; correct it.")
    # Not resolved: the link of a virtual environment is what makes it one.
    return Engine(os.path.abspath(python), origin)
