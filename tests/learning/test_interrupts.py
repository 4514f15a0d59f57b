from __future__ import annotations

import signal
import threading

import pytest

pytest.importorskip("torch", reason="needs geofootprint[train]")

from geofootprint.errors import Cancelled
from geofootprint.learning.interrupts import cancelled_by_interrupt


class Recorded:
    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def update(self, stage: str, done: float, total: float) -> None:
        self.told.append((stage, done, total))

    def warn(self, text: str) -> None:
        self.told.append((text,))


def test_it_reports_on() -> None:
    recorded = Recorded()
    with cancelled_by_interrupt(recorded) as progress:
        progress.update("train", 1, 2)
        progress.warn("Slow.")
    assert recorded.told == [("train", 1, 2), ("Slow.",)]


def test_ctrl_c_comes_at_the_next_report_and_a_second_one_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)
    recorded, steps = Recorded(), []
    with cancelled_by_interrupt(recorded) as progress:
        signal.raise_signal(signal.SIGINT)
        steps.append("finished")
        with pytest.raises(Cancelled):
            progress.update("train", 1, 2)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert steps == ["finished"]
    assert recorded.told == []
    assert signal.getsignal(signal.SIGINT) is before


def test_the_handler_comes_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), cancelled_by_interrupt(Recorded()):
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is before


def test_a_background_job_ignores_it_still() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with cancelled_by_interrupt(Recorded()) as progress:
            signal.raise_signal(signal.SIGINT)
            progress.update("train", 1, 2)
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_have_no_signals() -> None:
    recorded = Recorded()

    def work() -> None:
        with cancelled_by_interrupt(recorded) as progress:
            progress.update("train", 1, 2)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert recorded.told == [("train", 1, 2)]
