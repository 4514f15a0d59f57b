"""Where the engine is: a Python that has geofootprint installed."""

from __future__ import annotations

import configparser
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .runner import (
    PATIENCE,
    PROTOCOL,
    BrokenEngine,
    EngineError,
    Listener,
    NoAnswer,
    find_damage,
    other_protocol,
    run_command,
)
from .setup_marker import Marker, is_ours, read_marker
from .setup_process import run_program
from .setup_python import ask_interpreter
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

SET_UP, UPDATE, REPAIR = marked("Set up..."), marked("Update..."), marked("Repair...")
"""What the button of Settings > Options > geofootprint reads, by the state of the private environment."""

PRESS = {
    SET_UP: marked("Press Set up in Settings > Options > geofootprint."),
    UPDATE: marked("Press Update in Settings > Options > geofootprint."),
    REPAIR: marked("Press Repair in Settings > Options > geofootprint."),
}

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

    def run(
        self, *arguments: str, listener: Listener, cwd: str | None = None, patience: float = PATIENCE
    ) -> dict[str, Any]:
        """Run a command of geofootprint to its end and return the fields of its result.

        Parameters
        ----------
        *arguments : str
            The command and its arguments.
        listener, cwd, patience
            As of `runner.run_command`.

        Raises
        ------
        EngineCancelled
            If the listener asked to stop.
        EngineError
            If it fails; of an engine that is broken it says how to mend it.
        """
        with self._advising(listener):
            return run_command(self.command(*arguments), listener, cwd=cwd, patience=patience)

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
            If it does not start, lacks geofootprint, or speaks another protocol: it says how to mend that.
        """
        listener = listener or Listener()
        with self._advising(listener):
            return self.ask(listener)

    def ask(self, listener: Listener) -> dict[str, Any]:
        """Do the same as `check`, while there is nothing yet that could be mended: errors say what is wrong alone."""
        outcome = run_program(self.info_command(), _Waiting(self.python, listener))
        return read_answer(self.python, outcome.code, "\n".join(outcome.output), "\n".join(outcome.errors))

    @contextmanager
    def _advising(self, listener: Listener) -> Iterator[None]:
        try:
            yield
        except NoAnswer as error:
            if ask_interpreter(self.python, listener) is not None:
                raise error.advised(self.remedy()) from None
            raise BrokenEngine("{python} is no Python, or one that does not start.", python=self.python).advised(
                self.remedy()
            ) from error
        except BrokenEngine as error:
            raise error.advised(self.remedy()) from None

    def remedy(self) -> EngineError:
        """Return the sentence that says how an engine from this origin is mended: a button that is there, or a setting."""
        if self.origin == IN_ENVIRONMENT:
            return EngineError(
                "Let the environment variable {variable} name a Python that has this plugin's version of geofootprint, or "
                "take the variable away, and start QGIS again.",
                variable=VARIABLE,
            )
        folder = environment_of(Path(self.python))
        if folder is not None:
            return press_button(read_marker(folder))
        if self.origin == IN_SETTINGS:
            return EngineError(
                "Choose a Python that has this plugin's version of geofootprint in Settings > Options > geofootprint, or "
                "leave the field Python empty there, so that the plugin's own engine is taken."
            )
        return EngineError(
            "{folder} was not made by this plugin: rename it, and press Set up in Settings > Options > geofootprint.",
            folder=self.origin,
        )


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
            raise BrokenEngine(
                "{python} gave no answer for {seconds} seconds; first try it once more.",
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
    damage = find_damage(python, errors.splitlines()) if code != 0 else None
    if damage is not None:
        raise damage
    try:
        answer = json.loads(output)
    except ValueError:
        answer = None
    if code != 0 or not isinstance(answer, dict):
        raise NoAnswer(
            "{python} does not answer as geofootprint does ({words}).",
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


def setup_button(marker: Marker | None) -> str:
    """Return what the button of the settings page reads for an environment with this marker."""
    if marker is None:
        return SET_UP
    return UPDATE if marker.ready and is_newer(plugin_version(), marker.version) else REPAIR


def press_button(marker: Marker | None) -> EngineError:
    """Return the sentence that names that button."""
    return EngineError(PRESS[setup_button(marker)])


def environment_of(path: Path) -> Path | None:
    """Return the environment made by this plugin that a path is, or that an interpreter is in; None if there is none."""
    # `parents` itself has no slices before Python 3.10.
    return next((folder for folder in (path, *list(path.parents)[:2]) if is_ours(folder)), None)


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
    private = (home or Path.home()) / PRIVATE_FOLDER
    chosen = (setting or "").strip()
    if chosen:
        engine = _engine_at(chosen, IN_SETTINGS)
        if engine is None:
            raise NotSetUp(
                "No Python is at {python}, where Settings > Options > geofootprint says that it is; correct it there, "
                "or take the plugin's own engine.",
                python=chosen,
            ).advised(press_button(read_marker(environment_of(Path(chosen).expanduser()) or private)))
        return engine
    return _private_engine(private)


def _private_engine(folder: Path) -> Engine:
    python, marker = python_in(folder), read_marker(folder)
    if marker is not None and not marker.ready:
        raise NotSetUp(
            "The set-up of the engine in {folder} did not come to its end.", folder=folder
        ).advised(press_button(marker))
    if python.is_file():
        return Engine(str(python), str(folder))
    if marker is not None:
        raise NotSetUp(
            "The engine in {folder} has lost its Python, {python}.", folder=folder, python=marker.python
        ).advised(press_button(marker))
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
