"""Which Python the engine's environment can be made with."""

from __future__ import annotations

import glob
import json
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .runner import EngineCancelled, EngineError, Listener
from .setup_process import run_program

OLDEST = (3, 10)
"""First Python that geofootprint runs in."""

USUAL = (3, 13)
"""Newest Python that all of geofootprint's dependencies are known to have wheels for."""

PROBE_SECONDS = 15

PROBE = """
import json, struct, sys
def has(name):
    try:
        __import__(name)
    except Exception:
        return False
    return True
def pip():
    try:
        from importlib.metadata import version
        return version("pip")
    except Exception:
        return ""
def ensurepip():
    try:
        import ensurepip
        ensurepip.version()
    except Exception:
        return False
    return True
print(json.dumps({
    "path": sys.executable, "version": list(sys.version_info[:3]), "prefix": sys.prefix, "bits": 8 * struct.calcsize("P"),
    "venv": has("venv"), "ensurepip": ensurepip(), "virtualenv": has("virtualenv"), "pip": pip(),
}))
"""
"""What an interpreter is asked; Debian's has venv without ensurepip unless python3-venv is installed."""

MACHINES = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}
"""Names of the same processor on other systems."""


@dataclass(frozen=True)
class Interpreter:
    """A Python that was started and asked.

    Parameters
    ----------
    path : str
        Of the interpreter.
    version : tuple of three int
        Its version.
    bits : int
        Of its addresses: there are wheels for 64 alone.
    prefix : str
        Folder of the installation; two paths with the same one are the same Python.
    has_venv, has_ensurepip, has_virtualenv : bool
        Whether it has these modules, and the wheels that ensurepip needs.
    pip : tuple of int
        Version of its own pip, or empty.
    """

    path: str
    version: tuple[int, int, int]
    bits: int
    prefix: str
    has_venv: bool
    has_ensurepip: bool
    has_virtualenv: bool
    pip: tuple[int, ...]

    @property
    def series(self) -> str:
        """The part of the version that wheels are made for, such as 3.11."""
        return f"{self.version[0]}.{self.version[1]}"

    @property
    def label(self) -> str:
        """How it is called in lists and messages."""
        return f"Python {'.'.join(map(str, self.version))} ({self.path})"

    @property
    def is_suitable(self) -> bool:
        """Whether geofootprint runs in it and an environment can be made with it."""
        return self.version[:2] >= OLDEST and self.bits == 64 and (self.has_venv or self.has_virtualenv)


def platform_name(system: str, machine: str) -> str:
    """Return the name of a platform as bundles have it, such as linux-x86_64."""
    lower = machine.lower()
    return f"{system.lower()}-{MACHINES.get(lower, lower)}"


def this_platform() -> str:
    """Return the name of the platform that QGIS runs on."""
    return platform_name(platform.system(), platform.machine())


def find_interpreters(paths: Iterable[str] | None = None, listener: Listener | None = None) -> Iterator[Interpreter]:
    """Start the Pythons that can be found, one after the other, and yield those that answer.

    Parameters
    ----------
    paths : iterable of str, optional
        In place of what `candidate_paths` finds.
    listener : Listener, optional
        May cancel.
    """
    seen = set()
    for path in candidate_paths() if paths is None else paths:
        if listener is not None and listener.is_cancelled():
            raise EngineCancelled("Cancelled.")
        interpreter = ask_interpreter(path, listener)
        if interpreter is not None and interpreter.prefix not in seen:
            seen.add(interpreter.prefix)
            yield interpreter


def ask_interpreter(path: str, listener: Listener | None = None) -> Interpreter | None:
    """Start a Python and return what it is, or None if it is no Python 3 or does not answer.

    Parameters
    ----------
    path : str
        Of the interpreter.
    listener : Listener, optional
        May cancel while it is waited for.

    Raises
    ------
    EngineCancelled
        If the listener asked to stop.
    """
    try:
        outcome = run_program([path, "-I", "-c", PROBE], _Impatient(listener or Listener()))
        answer = json.loads("\n".join(outcome.output))
    except EngineCancelled:
        raise
    except (EngineError, TimeoutError, ValueError):
        return None
    return _interpreter_of(answer) if isinstance(answer, dict) and answer.get("path") else None


class _Impatient(Listener):
    """Passes on whether to stop, and gives a Python up that does not answer in time."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._end = time.monotonic() + PROBE_SECONDS

    def is_cancelled(self) -> bool:
        return self._listener.is_cancelled()

    def tick(self) -> None:
        self._listener.tick()
        if time.monotonic() > self._end:
            raise TimeoutError


def _interpreter_of(answer: Mapping[str, Any]) -> Interpreter:
    return Interpreter(
        path=answer["path"],
        version=tuple(answer["version"]),
        bits=answer["bits"],
        prefix=answer["prefix"],
        has_venv=answer["venv"],
        has_ensurepip=answer["ensurepip"],
        has_virtualenv=answer["virtualenv"],
        pip=tuple(int(part) for part in re.findall(r"\d+", answer["pip"])),
    )


def choose_interpreter(interpreters: Iterable[Interpreter], series: str | None = None) -> Interpreter:
    """Return the first Python that will do, and of those too new for some wheels the first if there is no other.

    Parameters
    ----------
    interpreters : iterable of Interpreter
        As of `find_interpreters`; those behind the chosen one are not started.
    series : str, optional
        Such as 3.11, where wheels are for that one alone.

    Raises
    ------
    EngineError
        If none will do: it says what to install.
    """
    seen, fit = [], []
    for one in interpreters:
        seen.append(one)
        if one.is_suitable and series in (None, one.series):
            if series is not None or one.version[:2] <= USUAL:
                return one
            fit.append(one)
    if fit:
        return fit[0]
    raise _nothing_suitable(seen, series)


def _nothing_suitable(seen: list[Interpreter], series: str | None) -> EngineError:
    oldest = ".".join(map(str, OLDEST))
    if not seen:
        return EngineError(
            "geofootprint needs Python {oldest} or newer, and none was found; install one (on Debian or Ubuntu: "
            "sudo apt install python3 python3-venv, elsewhere from python.org) and try again.",
            oldest=oldest,
        )
    have = ", ".join(sorted({one.series for one in seen}))
    if series is not None and all(one.series != series for one in seen):
        return EngineError(
            "The bundle is for Python {series}, and this computer has {have}; take the bundle for one of these, or "
            "install Python {series} and try again.",
            series=series,
            have=have,
        )
    if any(one.version[:2] >= OLDEST for one in seen):
        return EngineError(
            "No Python here can make an environment; on Debian or Ubuntu run: sudo apt install python3-venv, elsewhere "
            "install Python from python.org, then try again."
        )
    return EngineError(
        "geofootprint needs Python {oldest} or newer, and this computer has {have}; install one (on Debian or Ubuntu: "
        "sudo apt install python3 python3-venv, elsewhere from python.org) and try again.",
        oldest=oldest,
        have=have,
    )


def interpreter_at(path: str) -> Interpreter:
    """Return the Python at a path that the user chose.

    Raises
    ------
    EngineError
        If it cannot be used.
    """
    interpreter = ask_interpreter(path)
    if interpreter is None:
        raise EngineError("{path} is not a Python that starts; choose another one under Python.", path=path)
    return choose_interpreter([interpreter])


def candidate_paths(environ: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yield where Pythons may be: QGIS's own, those on PATH, conda's, those of Windows's installer."""
    environ = os.environ if environ is None else environ
    path = environ.get("PATH", os.defpath)
    names = [f"python3.{minor}" for minor in range(USUAL[1] + 2, OLDEST[1] - 1, -1)]
    on_path = (shutil.which(name, path=path) for name in ("python3", *names, "python"))
    in_environments = (environ.get(name) for name in ("VIRTUAL_ENV", "CONDA_PREFIX"))
    beneath = (_python_beneath(folder) for folder in in_environments if folder)
    yield from dict.fromkeys(filter(None, (*_own_paths(), *_usual_first(on_path), *beneath, *_installed())))


def _usual_first(paths: Iterable[str | None]) -> list[str]:
    """Put Pythons that are too new for some wheels behind the others."""
    too_new = re.compile(r"python3\.(\d+)$")
    there = [path for path in paths if path]
    return sorted(there, key=lambda path: any(int(minor) > USUAL[1] for minor in too_new.findall(path)))


def _own_paths() -> Iterator[str]:
    """Yield the interpreter that belongs to QGIS, whose own program is no interpreter on Windows and macOS."""
    if re.match(r"python", Path(sys.executable or "").name, re.I):
        yield sys.executable
    for name in ("python.exe", "python3.exe", "bin/python3"):
        path = Path(sys.exec_prefix, name)
        if path.is_file():
            yield str(path)
    for path in (Path(sys.executable or "").parent / "bin" / "python3", Path(sys.executable or "").parent / "python3"):
        if sys.platform == "darwin" and path.is_file():
            yield str(path)


def _python_beneath(folder: str) -> str | None:
    for name in ("bin/python", "python.exe", "Scripts/python.exe"):
        if Path(folder, name).is_file():
            return str(Path(folder, name))
    return None


def _installed() -> Iterator[str]:
    """Yield interpreters of installers that do not put them on PATH, the newest first."""
    patterns = (
        os.path.expandvars(r"%LOCALAPPDATA%\Programs\Python\Python3*\python.exe"),
        os.path.expandvars(r"%ProgramFiles%\Python3*\python.exe"),
        os.path.expanduser("~/.pyenv/versions/3.*/bin/python"),
        os.path.expanduser("~/.local/share/uv/python/cpython-3.*/bin/python3"),
        "/usr/local/bin/python3.*",
        "/opt/homebrew/bin/python3.*",
        "/Library/Frameworks/Python.framework/Versions/3.*/bin/python3",
    )
    for pattern in patterns:
        for path in sorted(glob.glob(pattern), reverse=True):
            if re.search(r"python(3(\.\d+)?)?(\.exe)?$", path, re.I):
                yield path
