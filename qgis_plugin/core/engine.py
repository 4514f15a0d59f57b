"""Where the engine is: a Python that has geofootprint installed."""

from __future__ import annotations

import configparser
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .runner import (
    PROTOCOL,
    EngineError,
    Listener,
    lacks_package,
    missing_package,
    other_protocol,
)
from .setup_marker import read_marker
from .setup_process import run_program
from .texts import marked

SETTING = "geofootprint/python"
"""Key of QGIS's settings that holds the path of the Python."""

VARIABLE = "GEOFOOTPRINT_PYTHON"
"""Environment variable that goes before the setting."""

IN_ENVIRONMENT = marked("the environment variable GEOFOOTPRINT_PYTHON")
IN_SETTINGS = marked("Settings > Options > geofootprint")
"""Origins of an engine."""

PRIVATE_FOLDER = Path(".geofootprint", "venv")
"""Virtual environment below the home folder that is taken when neither of them is set."""

CHECK_SECONDS = 60
"""The first start after an installation compiles and reads everything from a cold disk."""


class NotSetUp(EngineError):
    """There is no engine, and setting it up helps."""


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

    def info_command(self) -> list[str]:
        """Return the argument list of a child that tells versions, model and protocol as JSON, and ends."""
        return [self.python, "-m", "geofootprint_cli", "--progress", "none", "info", "--json"]

    def check(self, listener: Listener | None = None) -> dict[str, Any]:
        """Start the engine and return what it tells of itself: versions, model, protocol.

        Parameters
        ----------
        listener : Listener, optional
            May cancel while it is waited for; it hears none of the lines.

        Raises
        ------
        EngineCancelled
            If the listener asked to stop.
        EngineError
            If it does not start, lacks geofootprint, or speaks another protocol.
        """
        outcome = run_program(self.info_command(), _Waiting(self.python, listener or Listener()))
        return read_answer(self.python, outcome.code, "\n".join(outcome.output), "\n".join(outcome.errors))


class _Waiting(Listener):
    """Passes on whether to stop and nothing that the engine says, and gives it up after `CHECK_SECONDS`."""

    def __init__(self, python: str, listener: Listener) -> None:
        self._python = python
        self._listener = listener
        self._end = time.monotonic() + CHECK_SECONDS

    def is_cancelled(self) -> bool:
        return self._listener.is_cancelled()

    def tick(self) -> None:
        self._listener.tick()
        if time.monotonic() > self._end:
            raise EngineError(
                "{python} gave no answer for {seconds} seconds; press Check again, or Repair.",
                python=self._python,
                seconds=CHECK_SECONDS,
            )


def read_answer(python: str, code: int, output: str, errors: str) -> dict[str, Any]:
    """Return what the engine told of itself.

    Parameters
    ----------
    python : str
        Interpreter that was started, for messages.
    code : int
        Its exit code.
    output, errors : str
        What it wrote to stdout and stderr.

    Raises
    ------
    EngineError
        If that is no answer, or one of another protocol.
    """
    if lacks_package(errors):
        raise missing_package(python)
    try:
        answer = json.loads(output)
    except ValueError:
        answer = None
    if code != 0 or not isinstance(answer, dict):
        raise EngineError(
            "{python} does not answer as geofootprint does; press Repair in Settings > Options > geofootprint. "
            "Its last words: {words}",
            python=python,
            words=errors.splitlines()[-1] if errors else f"exit code {code}",
        )
    if answer.get("protocol") != PROTOCOL:
        raise other_protocol(answer.get("protocol"))
    return answer


def plugin_version() -> str:
    """Return the version of this plugin, which is that of the geofootprint it goes with."""
    metadata = configparser.ConfigParser()
    metadata.read(Path(__file__).parents[1] / "metadata.txt", encoding="utf-8")
    return metadata["general"]["version"]


def is_newer(version: str, other: str) -> bool:
    """Say whether a version is newer than another one, by the numbers that they begin with."""
    return _numbers(version) > _numbers(other)


def _numbers(version: str) -> tuple[int, ...]:
    """Return 0.2.0 as (0, 2), and 0.2.1rc1 as (0, 2, 1)."""
    numbers = re.match(r"\d+(\.\d+)*", version)
    parts = [int(part) for part in numbers.group().split(".")] if numbers else []
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


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
    NotSetUp
        If none is configured, or nothing is at the path in the settings.
    EngineError
        If nothing is at the path that the environment variable names.
    """
    environ = os.environ if environ is None else environ
    named = (environ.get(VARIABLE) or "").strip()
    if named:
        engine = _engine_at(named, IN_ENVIRONMENT)
        if engine is None:
            raise EngineError(
                "No Python is at {python}, where the environment variable {variable} says that it is; correct it and "
                "start QGIS again.",
                python=named,
                variable=VARIABLE,
            )
        return engine
    chosen = (setting or "").strip()
    if chosen:
        engine = _engine_at(chosen, IN_SETTINGS)
        if engine is None:
            raise NotSetUp(
                "No Python is at {python}, where Settings > Options > geofootprint says that it is; correct it, or press "
                "Set up there.",
                python=chosen,
            )
        return engine
    return _private_engine(home or Path.home())


def _private_engine(home: Path) -> Engine:
    folder = home / PRIVATE_FOLDER
    python, marker = python_in(folder), read_marker(folder)
    if marker is not None and not marker.ready:
        raise NotSetUp(
            "The set-up of the engine in {folder} did not come to its end; press Set up in "
            "Settings > Options > geofootprint.",
            folder=folder,
        )
    if python.is_file():
        return Engine(str(python), str(folder))
    if marker is not None:
        raise NotSetUp(
            "The engine in {folder} has lost its Python, {python}; press Repair in Settings > Options > geofootprint.",
            folder=folder,
            python=marker.python,
        )
    raise NotSetUp(
        "geofootprint needs an engine, and none is set up yet: press Set up in Settings > Options > geofootprint. "
        "A Python that has geofootprint can be chosen there too, or be named in the environment variable {variable}.",
        variable=VARIABLE,
    )


def _engine_at(text: str, origin: str) -> Engine | None:
    """Return the engine at a path, which may be an interpreter or the folder of an environment."""
    path = Path(text).expanduser()
    python = python_in(path) if path.is_dir() else path
    if not python.is_file():
        return None
    # Not resolved: the link of a virtual environment is what makes it one.
    return Engine(os.path.abspath(python), origin)
