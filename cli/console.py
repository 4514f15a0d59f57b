"""The edge between the library and the person or program that runs a command.

Progress becomes a bar or JSON lines, errors become one sentence and an exit code: 0 done, 1 a defect of ours,
2 something the user can mend, 130 cancelled.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

import click

from geofootprint.errors import Cancelled, GeofootprintError
from geofootprint.progress import PROTOCOL

if TYPE_CHECKING:
    import rich.progress

JSON_INTERVAL = 0.1
"""Seconds between two progress lines of one stage: a reader in QGIS polls at this rate."""

FORCED_EXIT = 5.0
"""Seconds after the end of stdin until the process ends even if a library does not return."""


def _take_stdout() -> TextIO:
    """Return a stream to stdout of our own and send what anybody else prints there to stderr.

    Libraries in C print to the descriptor, not to `sys.stdout`, and would tear the protocol's lines as well.
    """
    own = sys.stdout
    with contextlib.suppress(OSError, ValueError):  # no descriptor: a test's stream in memory
        if own.fileno() == 1:
            own = os.fdopen(os.dup(1), "w", encoding="utf-8")
            os.dup2(2, 1)
    sys.stdout = sys.stderr
    return own


def _wait_for_end_of_stdin() -> None:
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            # A read that waits in a thread blocks every look at the pipe, and numpy's DLLs take one when they
            # are loaded: the import would never return (numpy#24290). Peeking does not wait.
            import _winapi
            import msvcrt

            while True:
                _winapi.PeekNamedPipe(msvcrt.get_osfhandle(0), 0)
                time.sleep(JSON_INTERVAL)
        # os.read and not sys.stdin: a thread blocked in the latter's lock stops the interpreter from ending.
        while os.read(0, 4096):
            pass


class Console:
    """Shows progress, warnings and the result of one command; a `geofootprint.progress.Progress`.

    Parameters
    ----------
    style : {"auto", "json", "none"}
        A bar on a terminal's stderr; JSON lines on stdout; nothing.
    verbose : int
        From 1, errors come with their traceback.
    watch_stdin : bool
        End of file on stdin cancels.
    """

    def __init__(self, *, style: str, verbose: int = 0, watch_stdin: bool = False) -> None:
        self.style = style
        self.verbose = verbose
        self.json_result = False
        self._cancelled = threading.Event()
        self._bar: rich.progress.Progress | None = None
        self._tasks: dict[str, rich.progress.TaskID] = {}
        self._last_line = ("", 0.0)
        self._stdout: TextIO = sys.stdout
        if style == "json":
            self._stdout = _take_stdout()
            self._emit("start", protocol=PROTOCOL)
        if watch_stdin:
            threading.Thread(target=self._watch_stdin, daemon=True).start()
        with contextlib.suppress(ValueError):  # not in the main thread: whoever runs us there handles signals
            signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._cancelled.set()

    def _watch_stdin(self) -> None:
        _wait_for_end_of_stdin()
        self._cancelled.set()
        time.sleep(FORCED_EXIT)
        os._exit(130)

    def _emit(self, event: str, **fields: Any) -> None:
        try:
            self._stdout.write(json.dumps({"event": event, **fields}) + "\n")
            self._stdout.flush()
        except BrokenPipeError:  # whoever read this is gone, and with it the reason to go on
            self._cancelled.set()

    def update(self, stage: str, done: float, total: float) -> None:
        """Show progress, and stop the command here if that was asked for."""
        if self._cancelled.is_set():
            raise Cancelled("Cancelled; nothing was written.")
        if self.style == "json":
            now = time.monotonic()
            if self._last_line[0] != stage or done >= total or now - self._last_line[1] >= JSON_INTERVAL:
                self._last_line = (stage, now)
                self._emit("progress", stage=stage, done=done, total=total)
        elif self.style == "auto" and sys.stderr.isatty():
            self._draw(stage, done, total)

    def _draw(self, stage: str, done: float, total: float) -> None:
        if self._bar is None:
            from rich.console import Console as Terminal
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            text = TextColumn("{task.description}")
            self._bar = Progress(
                text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Terminal(stderr=True)
            )
            self._bar.start()
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(stage, total=total)
        self._bar.update(self._tasks[stage], completed=done, total=total)

    def warn(self, text: str) -> None:
        """Show a sentence that the user should know."""
        if self.style == "json":
            self._emit("warning", text=text)
        elif self._bar is not None:
            self._bar.console.print(f"Warning: {text}", style="yellow", markup=False)
        else:
            click.secho(f"Warning: {text}", fg="yellow", err=True)

    def result(self, fields: Mapping[str, Any], sentence: str) -> None:
        """Show what the command made: one JSON object if that was asked for, else a sentence."""
        self.close()
        if self.style == "json":
            self._emit("result", **fields)
        elif self.json_result:
            click.echo(json.dumps(dict(fields)))
        else:
            click.echo(sentence)

    def fail(self, text: str, code: int) -> None:
        """Show why the command ends without a result."""
        self.close()
        if self.style == "json":
            self._emit("error", code=code, text=text)
        else:
            click.secho(text if code == 130 else f"Error: {text}", err=True)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _console_of(ctx: click.Context) -> Console:
    if isinstance(ctx.obj, Console):
        return ctx.obj
    # The command's name is wrong or its module fails to import: the group's body has not made a console yet.
    console = Console(style=ctx.params.get("progress_style", "none"), verbose=ctx.params.get("verbose", 0))
    ctx.obj = console
    return console


def run_at_edge(call: Callable[[], Any], ctx: click.Context) -> Any:
    """Run a command and end the process with the exit code that fits what happened.

    The one place where every exception is caught: beyond it is the user.
    """
    try:
        return call()
    except click.exceptions.Exit:
        raise
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, click.ClickException) and ctx.params.get("progress_style") != "json":
            raise  # click shows the usage with it
        text, code = _explain(error)
        console = _console_of(ctx)
        console.fail(text, code)
        if console.verbose and code != 130:
            traceback.print_exception(error)
        ctx.exit(code)
    finally:
        if isinstance(ctx.obj, Console):
            ctx.obj.close()


def _explain(error: BaseException) -> tuple[str, int]:
    """Return the sentence and the exit code for an exception."""
    if isinstance(error, Cancelled):
        return str(error), 130
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return "Cancelled; nothing was written.", 130
    if isinstance(error, click.ClickException):
        return error.format_message(), 2
    if isinstance(error, GeofootprintError):
        return str(error), 2
    return f"{type(error).__name__}: {error}. This is a defect of geofootprint; run again with -v and report it.", 1
