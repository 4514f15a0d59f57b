"""How long work reports itself and learns that it should stop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

__all__ = ["PROTOCOL", "SILENT", "Progress", "track"]

PROTOCOL = 1
"""Number of the format of progress as JSON lines; goes up when a reader of the old one would misread the new one."""

T = TypeVar("T")


class Progress(Protocol):
    """What a step calls while it works.

    Any call may raise `geofootprint.errors.Cancelled`: that is how a step is stopped. A step therefore writes to
    temporary names and cleans up on any exception.
    """

    def update(self, stage: str, done: float, total: float) -> None:
        """Say that `done` of `total` units of `stage` are finished."""

    def warn(self, text: str) -> None:
        """Say, in one sentence, what the user should know but need not mend."""


class _Silent:
    """Reports to nobody and is never cancelled."""

    def update(self, stage: str, done: float, total: float) -> None:
        """Do nothing."""

    def warn(self, text: str) -> None:
        """Do nothing."""


SILENT: Progress = _Silent()


def track(items: Iterable[T], stage: str, total: int, progress: Progress) -> Iterator[T]:
    """Yield the items and report each one when its consumer comes back for the next."""
    progress.update(stage, 0, total)
    for done, item in enumerate(items, start=1):
        yield item
        progress.update(stage, done, total)
