"""Programs that set up the engine: their output line by line, and an end within a second of being cancelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .runner import Child, EngineCancelled, Listener

PATIENCE = 0.3
"""Seconds between the stages of stopping a program: half-made environments are thrown away, so it need not tidy up."""

WATCHED = """
import os, runpy, signal, sys, threading
def watch():
    while os.read(0, 64):
        pass
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(130)
threading.Thread(target=watch, daemon=True).start()
sys.path[:] = [*filter(None, sys.argv[1:2] + sys.path)]
del sys.argv[:2]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
"""Runs a module as `python -m` does, and ends it with all that it started when stdin ends, as when QGIS crashes.

Arguments: what comes first in the module search path, or nothing; the module; its own arguments.
"""


@dataclass(frozen=True)
class Outcome:
    """How a program ended.

    Parameters
    ----------
    code : int
        Its exit code.
    output, errors : tuple of str
        Lines of stdout and stderr.
    """

    code: int
    output: tuple[str, ...]
    errors: tuple[str, ...]

    @property
    def last_words(self) -> str:
        """The last line that says something, of errors rather than of output."""
        lines = [line for line in (*self.output, *self.errors) if line.strip()]
        return lines[-1].strip() if lines else f"exit code {self.code}"


def module_command(python: str, module: str, *arguments: str, search_path: str = "") -> list[str]:
    """Return the argument list that runs a module in a Python and does not outlive QGIS.

    Parameters
    ----------
    python : str
        The interpreter.
    module : str
        As after `python -m`.
    *arguments : str
        Of the module.
    search_path : str
        Folder or wheel in which the module is looked for first.
    """
    return [python, "-c", WATCHED, search_path, module, *arguments]


def run_program(
    command: Sequence[str], listener: Listener, *, environ: Mapping[str, str] | None = None
) -> Outcome:
    """Run a program to its end and hand its lines on.

    Raises
    ------
    EngineCancelled
        If the listener asked to stop.
    EngineError
        If the program cannot be started.
    """
    child = Child(command, None, environ)
    output: list[str] = []
    errors: list[str] = []
    try:
        while True:
            if listener.is_cancelled():
                raise EngineCancelled("Cancelled.")
            line = child.next_line()
            if line is not None:
                is_output, text = line
                (output if is_output else errors).append(text)
                listener.line(text)
            elif child.has_ended():
                return Outcome(child.process.returncode, tuple(output), tuple(errors))
            listener.tick()
    finally:
        child.stop(PATIENCE)
