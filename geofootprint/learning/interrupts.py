"""Ctrl+C between two steps and not within one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from geofootprint.errors import Cancelled
from geofootprint.progress import Progress

__all__ = ["cancelled_by_interrupt"]


class _Interruptible:
    """A progress that raises `Cancelled` once it was told to stop."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.stop = False

    def update(self, stage: str, done: float, total: float) -> None:
        if self.stop:
            raise Cancelled("Cancelled.")
        self._progress.update(stage, done, total)

    def warn(self, text: str) -> None:
        self._progress.warn(text)


@contextmanager
def cancelled_by_interrupt(progress: Progress) -> Iterator[Progress]:
    """Give a progress that raises `Cancelled` at its next call after Ctrl+C; a second Ctrl+C stops at once.

    An exception between a discriminator's step and the generator's would leave a state that nobody can go on from.

    Yields
    ------
    Progress
        Reports to `progress`.
    """
    watched = _Interruptible(progress)
    before = signal.getsignal(signal.SIGINT)
    # Python handles signals in the main thread alone, and a shell's background job is to ignore this one.
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield watched
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        watched.stop = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, stop)
    try:
        yield watched
    finally:
        signal.signal(signal.SIGINT, before)
