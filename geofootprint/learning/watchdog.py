"""What goes wrong in a training run, noticed while it can still be mended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["Remedy", "Watchdog", "is_worth_telling"]

BAD_IN_A_ROW = 5
"""Steps in a row whose gradients are not finite before the run goes back: a few are chance, as of one odd tile."""

MOST_ROLLBACKS = 4
"""Times a run goes back; the learning rates are at a sixteenth then."""

SLOWER = 0.5
"""What going back multiplies the learning rates by."""

WINDOW = 200
"""Steps over which the discriminator is looked at."""

WON = 0.05
"""Mean of its two losses below which it has won; one that cannot tell true from predicted has ln 2, 0.69."""

BALANCED = 0.3
"""Mean of its two losses from which a paused one learns again."""

MOST_PAUSED = 3
"""Windows that a discriminator is paused before it is made anew."""


class Remedy(Enum):
    """What is to be done after a step."""

    NONE = "none"
    SKIPPED = "step skipped"
    ROLL_BACK = "rolled back"
    PAUSE = "discriminator paused"
    GO_ON = "discriminator resumed"
    RESET = "discriminator reset"


@dataclass
class Watchdog:
    """Looks at each step's gradients and at what the discriminator's losses come to; all of it is in a checkpoint.

    It goes by what every process of a run knows alike, and never by the clock: a resumed run is watched as an
    uninterrupted one.

    Attributes
    ----------
    skipped, bad_in_a_row : int
        Steps whose gradients were not finite, in all and just now.
    rollbacks : int
        How often the run went back.
    paused : bool
        Whether the discriminator judges but does not learn.
    paused_windows : int
        For how long.
    seen : int
        Steps of the window that is looked at.
    sums : list of float
        Over them, of the discriminator's loss; and of the adversarial loss in the window's two halves.
    """

    skipped: int = 0
    bad_in_a_row: int = 0
    rollbacks: int = 0
    paused: bool = False
    paused_windows: int = 0
    seen: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])

    @property
    def rate(self) -> float:
        """Share of the schedule's learning rates that is left."""
        return SLOWER**self.rollbacks

    @property
    def has_given_up(self) -> bool:
        """Whether the run went back too often."""
        return self.rollbacks > MOST_ROLLBACKS

    def look(self, *, finite: bool, losses: Mapping[str, float]) -> Remedy:
        """Return what to do after a step.

        Parameters
        ----------
        finite : bool
            Whether all gradients were.
        losses : mapping
            ``adversarial``, ``discriminator_real`` and ``discriminator_fake``, the same in all processes; empty where
            there is no discriminator.
        """
        if not finite:
            self.skipped += 1
            self.bad_in_a_row += 1
            return self.go_back() if self.bad_in_a_row >= BAD_IN_A_ROW else Remedy.SKIPPED
        self.bad_in_a_row = 0
        return self._look_at_discriminator(losses) if "adversarial" in losses else Remedy.NONE

    def go_back(self) -> Remedy:
        """Note that the run goes back to its last good state."""
        self.rollbacks += 1
        self.bad_in_a_row = 0
        self.paused = False
        self._open_window()
        return Remedy.ROLL_BACK

    def _look_at_discriminator(self, losses: Mapping[str, float]) -> Remedy:
        self.sums[0] += (losses["discriminator_real"] + losses["discriminator_fake"]) / 2
        self.sums[1 + 2 * self.seen // WINDOW] += losses["adversarial"]
        self.seen += 1
        if self.seen < WINDOW:
            return Remedy.NONE
        loss, climbs = self.sums[0] / WINDOW, self.sums[2] > self.sums[1]
        self._open_window()
        if self.paused:
            return self._look_at_paused(loss)
        if loss < WON and climbs:
            self.paused, self.paused_windows = True, 0
            return Remedy.PAUSE
        return Remedy.NONE

    def _look_at_paused(self, loss: float) -> Remedy:
        self.paused_windows += 1
        if loss >= BALANCED:
            self.paused = False
            return Remedy.GO_ON
        if self.paused_windows >= MOST_PAUSED:
            self.paused = False
            return Remedy.RESET
        return Remedy.NONE

    def _open_window(self) -> None:
        self.seen, self.sums = 0, [0.0, 0.0, 0.0]


def is_worth_telling(count: int) -> bool:
    """Return whether the n-th of many alike is told: the first, and each that doubles their number."""
    return count > 0 and count & (count - 1) == 0
