"""Runs the engine as a child process and follows its JSON lines.

Nothing here waits on a pipe: two threads read stdout and stderr, the caller's thread looks ten times a second
at what they found and asks whether to stop. The child's stdin stays open as its life-line: when this process
ends, in whatever way, the child sees the end of it and stops too.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

PROTOCOL = 1
"""Version of the JSON lines that this plugin understands."""

POLL = 0.1
"""Seconds between two looks at the child."""

PATIENCE = 3.0
"""Seconds that a child gets at each stage of being stopped."""

LONGEST_READ = 65536
"""Bytes of stderr read as one line, so that output without line ends does not gather in memory."""

LONGEST_SHOWN = 500
"""Characters of a line that are shown."""

FOREIGN = (
    "CONDA_",
    "DYLD_",
    "GDAL_DATA",
    "GDAL_DRIVER_PATH",
    "LD_",
    "PROJ_",
    "PYTHON",
    "QGIS_",
    "QT_",
    "VIRTUAL_ENV",
)
"""Beginnings of the variables that are set for QGIS's own libraries and break those of another Python."""

KILLED = -9
"""Exit code of a child that the system killed, most likely for its memory."""

LACKS_MODULE = re.compile(r"\bModuleNotFoundError: No module named '(\w+)|: No module named (geofootprint)_cli$")
FAILS_TO_IMPORT = re.compile(r"\bImportError: (.+?)(?:\. This is a defect of geofootprint.*)?$")
LACKS_MODEL = re.compile(r"^(?:Error: )?The default model .+ is missing\b")
"""How an engine tells that its installation is not whole."""


Failure = TypeVar("Failure", bound="EngineError")


class EngineError(Exception):
    """The engine could not do what was asked; the text is a sentence for the user.

    Parameters
    ----------
    template : str
        The sentence, with the names of `values` in braces; it is what a translation is looked up by.
    **values
        What takes the place of the braces; without any the template is the sentence as it is.
    """

    def __init__(self, template: str, **values: object) -> None:
        super().__init__(template.format(**values) if values else template)
        self.template = template
        self.values = values
        self.remedy: EngineError | None = None

    def __str__(self) -> str:
        problem = super().__str__()
        return f"{problem} {self.remedy}" if self.remedy is not None else problem

    def advised(self: Failure, remedy: EngineError) -> Failure:
        """Return the error itself, with a sentence behind it that says what to do."""
        self.remedy = remedy
        return self


class EngineCancelled(EngineError):
    """The engine was stopped because the user asked for it."""


class BrokenEngine(EngineError):
    """The engine does not work, whatever it is asked; what to do depends on where it comes from: `engine.Engine` adds it."""


class NoAnswer(BrokenEngine):
    """It ended without a word of the protocol, so that it may be no Python at all."""


class Listener:
    """Hears what the child says; each method may be overridden."""

    def progress(self, stage: str, done: float, total: float) -> None:
        """Hear that `done` of `total` units of a stage are finished."""

    def warn(self, text: str) -> None:
        """Hear a sentence that the user should know."""

    def line(self, text: str) -> None:
        """Hear a line of output that is not part of the protocol."""

    def is_cancelled(self) -> bool:
        """Say whether the child shall be stopped."""
        return False

    def tick(self) -> None:
        """Do what has to be done regularly in this thread; called ten times a second or more."""


def clean_environment(python: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for the engine: without what QGIS set for itself, with UTF-8 and no buffering.

    Parameters
    ----------
    python : str
        The engine's interpreter; its folders come first in PATH, where Windows looks for libraries.
    environ : mapping, optional
        In place of this process's environment.
    """
    source = os.environ if environ is None else environ
    kept = {name: value for name, value in source.items() if not name.upper().startswith(FOREIGN)}
    folder = Path(python).parent
    folders = [folder, folder / "Scripts", folder / "Library" / "bin"] if os.name == "nt" else [folder]
    kept["PATH"] = os.pathsep.join([*map(str, folders), kept.get("PATH", os.defpath)])
    for name in ("PYTHONUTF8", "PYTHONUNBUFFERED", "PYTHONNOUSERSITE", "PYTHONSAFEPATH"):
        kept[name] = "1"
    return kept


def detached() -> dict[str, Any]:
    """Return the arguments of Popen that keep a child's signals and windows apart from QGIS's."""
    if os.name != "nt":
        return {"start_new_session": True}
    startup = subprocess.STARTUPINFO()
    startup.dwFlags |= subprocess.STARTF_USESHOWWINDOW
    return {"startupinfo": startup, "creationflags": subprocess.CREATE_NO_WINDOW}


def run_command(
    command: Sequence[str], listener: Listener, *, cwd: str | None = None, patience: float = PATIENCE
) -> dict[str, Any]:
    """Run the engine to its end and return the fields of its result.

    Parameters
    ----------
    command : sequence of str
        As of `engine.Engine.command`.
    listener : Listener
        Hears progress and warnings, and says when to stop. All calls come from this thread.
    cwd : str, optional
        Folder that the child works in.
    patience : float
        Seconds between the stages of stopping it: end of stdin, SIGTERM, SIGKILL.

    Raises
    ------
    EngineCancelled
        If the listener asked to stop.
    EngineError
        If the child does not start, fails, crashes, or ends without a result.
    """
    child = Child(command, cwd)
    try:
        answer = _follow(child, listener)
    finally:
        child.stop(patience)
    if answer.result is not None and child.process.returncode == 0:
        return answer.result
    raise answer.failure(command[0], child.process.returncode)


def _follow(child: Child, listener: Listener) -> _Answer:
    """Hand the child's lines on until it ends."""
    answer = _Answer(listener)
    while True:
        if listener.is_cancelled():
            raise EngineCancelled("Cancelled; nothing was written.")
        line = child.next_line()
        if line is not None:
            answer.take(*line)
        elif child.has_ended():
            return answer
        listener.tick()


class Child:
    """A process whose output is read by threads into one queue.

    Parameters
    ----------
    command : sequence of str
        Path of the program and its arguments.
    cwd : str or None
        Folder that it works in.
    environ : mapping, optional
        In place of the clean environment.

    Raises
    ------
    EngineError
        If it cannot be started.
    """

    def __init__(self, command: Sequence[str], cwd: str | None, environ: Mapping[str, str] | None = None) -> None:
        try:
            self.process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=cwd,
                env=clean_environment(command[0]) if environ is None else dict(environ),
                **detached(),
            )
        except OSError as error:
            raise cannot_start(command[0], error) from error
        self._lines: queue.Queue[tuple[bool, str]] = queue.Queue()
        # A line of the protocol is read whole, however long.
        self._readers = [
            threading.Thread(target=self._read, args=(stream, limit), daemon=True)
            for stream, limit in ((self.process.stdout, -1), (self.process.stderr, LONGEST_READ))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[bytes], limit: int) -> None:
        with stream:
            for line in iter(lambda: stream.readline(limit), b""):
                self._lines.put((limit < 0, line.decode("utf-8", "replace").rstrip()))

    def next_line(self) -> tuple[bool, str] | None:
        """Return the next line and whether it came on stdout, or None after a while without one."""
        try:
            return self._lines.get(timeout=POLL)
        except queue.Empty:
            return None

    def has_ended(self) -> bool:
        """Say whether the process has ended and all its output was taken."""
        if self.process.poll() is None:
            return False
        for reader in self._readers:
            reader.join(1)  # not for ever: a grandchild may hold the pipe open
        return self._lines.empty()

    def stop(self, patience: float) -> None:
        """End the process and all it started: ask by the end of stdin, then tell, then force."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        if not self._wait(patience):
            self._signal("SIGTERM")
        if not self._wait(patience):
            self._signal("SIGKILL")
            self._wait(patience)
        elif any(reader.is_alive() for reader in self._readers):
            self._signal("SIGKILL")  # to the grandchild that holds the pipe
        for reader in self._readers:
            reader.join(1)

    def _wait(self, seconds: float) -> bool:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _signal(self, name: str) -> None:
        """Signal the whole group; Windows has no such thing as asking, there the tree is ended."""
        if os.name == "nt":
            taskkill = os.path.join(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "taskkill.exe")
            subprocess.run([taskkill, "/T", "/F", "/PID", str(self.process.pid)], check=False, **_quiet())
        else:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, getattr(signal, name))


def _quiet() -> dict[str, Any]:
    return {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **detached()}


class _Answer:
    """What the child has said so far."""

    def __init__(self, listener: Listener) -> None:
        self.result: dict[str, Any] | None = None
        self.error: str | None = None
        self._has_begun = False
        self._listener = listener
        self._tail: deque[str] = deque(maxlen=40)

    def take(self, is_stdout: bool, line: str) -> None:
        """Hand a line on to the listener, or keep it if it is the result or an error."""
        event = _parse(line) if is_stdout else None
        if event is not None:
            self._take_event(event)
        elif line:
            self._tail.append(line[:LONGEST_SHOWN])
            self._listener.line(line[:LONGEST_SHOWN])

    def _take_event(self, event: dict[str, Any]) -> None:
        kind = event.pop("event")
        self._has_begun = True
        if kind == "start" and event.get("protocol") != PROTOCOL:
            raise other_protocol(event.get("protocol"))
        if kind == "progress":
            self._listener.progress(str(event.get("stage", "")), event.get("done", 0), event.get("total", 0))
        elif kind == "warning":
            self._listener.warn(str(event.get("text", "")))
        elif kind == "error":
            self.error = str(event.get("text", ""))
        elif kind == "result":
            self.result = event

    def failure(self, python: str, code: int) -> EngineError:
        """Return the error that tells why there is no result."""
        damage = find_damage(python, [self.error] if self.error else self._tail)
        if damage is not None:
            return damage
        if self.error:
            return EngineError(self.error)
        end = _cause_of_death(python, code, self._tail[-1] if self._tail else "-")
        return end if self._has_begun or code == KILLED else NoAnswer(end.template, **end.values)


def _parse(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def find_damage(python: str, lines: Iterable[str]) -> BrokenEngine | None:
    """Return the error that an installation is not whole, if that is what the engine complains of.

    Parameters
    ----------
    python : str
        The engine's interpreter.
    lines : iterable of str
        What it wrote to stderr, or told as its error.
    """
    for line in lines:
        if lacking := LACKS_MODULE.search(line):
            return missing_package(python, lacking[1] or lacking[2])
        if failing := FAILS_TO_IMPORT.search(line):
            return BrokenEngine("{python} cannot load what geofootprint needs ({words}).", python=python, words=failing[1])
        if LACKS_MODEL.search(line):
            return missing_model(python)
    return None


def cannot_start(program: str, error: OSError) -> BrokenEngine:
    """Return the error that a program does not even start."""
    return BrokenEngine("{program} cannot be started: {why}.", program=program, why=error.strerror or error)


def missing_package(python: str, module: str) -> BrokenEngine:
    """Return the error that a Python lacks geofootprint, or a module that geofootprint needs."""
    if module in ("geofootprint", "geofootprint_cli"):
        return BrokenEngine("{python} has no geofootprint.", python=python)
    return BrokenEngine("{python} lacks {module}, which geofootprint needs.", python=python, module=module)


def missing_model(python: str) -> BrokenEngine:
    """Return the error that the model is missing that comes along with geofootprint."""
    return BrokenEngine("The model that belongs to geofootprint is missing in {python}.", python=python)


def other_protocol(number: object) -> EngineError:
    """Return the error that engine and plugin are too far apart in age, which tells the older of the two."""
    if isinstance(number, int) and number > PROTOCOL:
        return EngineError(
            "The engine is newer than this plugin (protocol {engine} instead of {plugin}); update the plugin in "
            "Plugins > Manage and Install Plugins.",
            engine=number,
            plugin=PROTOCOL,
        )
    return BrokenEngine(
        "The engine is older than this plugin (protocol {engine} instead of {plugin}).",
        engine=number,
        plugin=PROTOCOL,
    )


def _cause_of_death(python: str, code: int, last: str) -> EngineError:
    if code == 0:
        return EngineError("The engine {python} ended without a result.", python=python)
    if code == KILLED:
        return EngineError("The engine was killed by the system, most likely because the memory was full.")
    if code < 0 or code >= 0xC0000000:  # a signal, or Windows's way to tell of a crash
        name = f"{code:#x}"
        with contextlib.suppress(ValueError):
            name = signal.Signals(-code).name
        return EngineError("The engine crashed ({name}). Its last words: {last}", name=name, last=last)
    return EngineError("The engine ended with exit code {code}. Its last words: {last}", code=code, last=last)
