"""Runs the work of the set-up in a thread of its own and reports to the window by signals."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from qgis.PyQt.QtCore import QThread, pyqtSignal

from ..core.bundle import CHECKING
from ..core.runner import EngineError, Listener
from ..core.setup_engine import COLLECTING, INSTALLING, LOOKING, MAKING, TRYING

SPANS = {
    LOOKING: (0.0, 0.02),
    CHECKING: (0.02, 0.12),
    MAKING: (0.12, 0.16),
    COLLECTING: (0.16, 0.5),
    INSTALLING: (0.5, 0.95),
    TRYING: (0.95, 1.0),
}
"""Part of the bar that each stage fills, about as long as it takes."""


RUNNING: set[Worker] = set()
"""Threads that run: they are kept alive here, since a window may go before its thread does."""


class Worker(QThread):
    """A function in a thread.

    Parameters
    ----------
    work : callable
        Takes a `Listener`, to which it tells its progress and which says whether to stop.
    """

    moved = pyqtSignal(str, float)
    """Name of the stage, and the part of everything that is done."""
    said = pyqtSignal(str)
    """A line of a program's output."""
    succeeded = pyqtSignal(object)
    """What the function returned."""
    failed = pyqtSignal(object)
    """The `EngineError` that it raised."""

    def __init__(self, work: Callable[[Listener], Any]) -> None:
        super().__init__()
        self._work = work
        self._stopping = threading.Event()
        self.finished.connect(self._forget)

    def launch(self) -> None:
        """Start the thread."""
        RUNNING.add(self)
        self.start()

    def _forget(self) -> None:
        RUNNING.discard(self)

    def run(self) -> None:
        try:
            result = self._work(_Relay(self, self._stopping))
        except EngineError as error:
            self.failed.emit(error)
        except Exception as error:  # noqa: BLE001 - the edge of the thread: what gets out of it ends QGIS
            self.failed.emit(
                EngineError("This should not have happened ({what}); press the button again.", what=repr(error))
            )
        else:
            self.succeeded.emit(result)

    def stop(self) -> None:
        """Ask it to end; `failed` follows within a second or two."""
        self._stopping.set()

    def finish(self) -> None:
        """Ask it to end, and wait until it has."""
        self.stop()
        self.wait()


class _Relay(Listener):
    """Passes on what the work says; called in its thread."""

    def __init__(self, worker: Worker, stopping: threading.Event) -> None:
        self._worker = worker
        self._stopping = stopping
        self._last: tuple[str, float] | None = None

    def progress(self, stage: str, done: float, total: float) -> None:
        start, end = SPANS[stage]
        now = (stage, start + (end - start) * done / total)
        if now != self._last:  # told ten times a second while packages are unpacked
            self._last = now
            self._worker.moved.emit(*now)

    def line(self, text: str) -> None:
        self._worker.said.emit(text)

    def is_cancelled(self) -> bool:
        return self._stopping.is_set()


def finish_all() -> None:
    """End all threads and wait for them, as when the plugin is unloaded or QGIS ends."""
    for worker in tuple(RUNNING):
        worker.finish()
