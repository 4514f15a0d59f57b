"""What the engine says, in QGIS's log and progress bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from qgis.core import QgsProcessingFeedback
from qgis.PyQt.QtCore import QCoreApplication, QThread

from ..core.runner import Listener
from ..core.texts import marked
from ..translation import tr

STAGES = {
    "predict": marked("Looking at the image"),
    "overviews": marked("Writing overviews"),
    "vectorize": marked("Drawing outlines"),
    "join": marked("Joining buildings"),
    "regularize": marked("Straightening outlines"),
    "check": marked("Reading the raster"),
    "scoring pixels": marked("Comparing pixels"),
    "drawing": marked("Drawing the report"),
    "making a scene": marked("Making a scene"),
    "train": marked("Training"),
    "validate": marked("Validating"),
    "export": marked("Exporting the model"),
    "measure": marked("Measuring what 8 bits lose"),
}
"""The engine's stages and how they are called in the log."""

OF_FILES = {"Labels of ": marked("Labels of {}"), "Tiles of ": marked("Tiles of {}")}
"""Beginnings of stages that go on with the name of a file, and how they are called."""

REPEAT = 10.0
"""Seconds between two lines in the log about the time that is left."""


class Messages(Listener):
    """Tells QGIS what the engine says.

    Parameters
    ----------
    feedback : QgsProcessingFeedback
    stages : sequence of (str, float, float)
        From where to where in the progress bar, in percent, a stage goes; any other leaves the bar where it is. If none is
        given, each fills all of it.
    call_by_name : callable
        Puts names that the user knows into a sentence of the engine.
    """

    def __init__(
        self,
        feedback: QgsProcessingFeedback,
        stages: Sequence[tuple[str, float, float]] = (),
        call_by_name: Callable[[str], str] = str,
    ) -> None:
        self._feedback = feedback
        self._call_by_name = call_by_name
        self._shares = {stage: (first, last) for stage, first, last in stages}
        self._stage = ""
        self._told = 0.0
        self._begun: dict[str, tuple[float, float]] = {}
        application = QCoreApplication.instance()
        self._in_main_thread = application is not None and QThread.currentThread() == application.thread()

    def progress(self, stage: str, done: float, total: float) -> None:
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._told = stage, now
            self._feedback.setProgressText(f"{stage_name(stage)} ...")
        if total > 0 and (stage in self._shares or not self._shares):
            first, last = self._shares.get(stage, (0, 100))
            self._feedback.setProgress(first + (last - first) * done / total)
        left = self._seconds_left(stage, now, done, total)
        if left and now - self._told >= REPEAT:
            self._told = now
            text = tr("{stage}: {percent} % done, about {time} left")
            self._feedback.setProgressText(
                text.format(stage=stage_name(stage), percent=int(100 * done / total), time=spoken(left))
            )

    def _seconds_left(self, stage: str, now: float, done: float, total: float) -> float:
        """Return what a stage still takes at its pace so far, or 0 where that is not known.

        It may begin with a part that an earlier run has done, and others may come between, such as validations, which take
        their time again and again.
        """
        started, before = self._begun.setdefault(stage, (now, done))
        if done <= before:  # begins, or does so once more
            self._begun[stage] = (now, done)
            return 0.0
        return (now - started) / (done - before) * (total - done)

    def warn(self, text: str) -> None:
        self._feedback.pushWarning(self._call_by_name(text))

    def line(self, text: str) -> None:
        self._feedback.pushConsoleInfo(text)

    def is_cancelled(self) -> bool:
        return self._feedback.isCanceled()

    def tick(self) -> None:
        # qgis_process and scripts run algorithms in the main thread; without its events no Ctrl-C arrives.
        if self._in_main_thread:
            QCoreApplication.processEvents()


def stage_name(stage: str) -> str:
    """Return how a stage is called in the log."""
    if stage in STAGES:
        return tr(STAGES[stage])
    for beginning, text in OF_FILES.items():
        if stage.startswith(beginning):
            return tr(text).format(stage[len(beginning) :])
    return f"{stage[:1].upper()}{stage[1:]}"


def spoken(seconds: float) -> str:
    """Return a duration as people say it."""
    if seconds < 90:
        return tr("{} s").format(max(1, round(seconds)))
    if seconds < 90 * 60:
        return tr("{} min").format(round(seconds / 60))
    return tr("{:.1f} h").format(seconds / 3600)
