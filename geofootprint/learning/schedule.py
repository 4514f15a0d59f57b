"""Where a run stands, how long it is, and how fast it learns."""

from __future__ import annotations

import math
from dataclasses import dataclass

from geofootprint.config import TrainConfig

__all__ = ["Counters", "Schedule"]

WARM_UP, WARM_UP_SHARE = 100, 0.1
"""Steps in which the learning rate rises to its highest, and the share of a short run that this may take."""

LEAST_RATE = 0.01
"""Share of the highest learning rate at which a cosine ends."""

LEAST_CROPS = 1000
"""Crops of an epoch of a small dataset."""

LONG_MINUTES, LONG_STEPS = 10.0, 2000
"""Length from which a run wins back the half minute that compiling takes, or the three minutes on a busy machine."""

VALIDATION_SHARE = 0.1
"""Of the time that a run by the clock spends on training, how much validations may take."""


@dataclass
class Counters:
    """Where a run stands; all of it is in a checkpoint.

    Attributes
    ----------
    step, epoch : int
        Training steps and validations done.
    elapsed : float
        Seconds of all parts of the run.
    best_epoch, stale : int
        The number of the best validation, and how many have been since then.
    validated : int
        The step of the last validation.
    validated_at, validation_seconds : float
        The time elapsed when it ended, and how long it took.
    good : int
        The step of the state that the run can go back to; 0 if there is none.
    """

    step: int = 0
    epoch: int = 0
    elapsed: float = 0.0
    best_epoch: int = 0
    stale: int = 0
    validated: int = 0
    validated_at: float = 0.0
    validation_seconds: float = 0.0
    good: int = 0


class Schedule:
    """The length of a run, by steps or by the clock, and what depends on the share of it that is done.

    Parameters
    ----------
    config : TrainConfig
    pixels : int
        Of the training tiles.
    """

    def __init__(self, config: TrainConfig, pixels: int) -> None:
        crops = config.data.crops_per_epoch or max(LEAST_CROPS, pixels // config.data.patch**2)
        self.steps_per_epoch = max(1, crops // config.data.batch)
        self._steps = config.epochs * self.steps_per_epoch
        self._seconds = config.minutes * 60
        self._config = config

    def done(self, counters: Counters) -> tuple[int, int]:
        """Return how much of the run is done, and all of it: in steps or, by the clock, in seconds."""
        if self._seconds:
            return round(min(counters.elapsed, self._seconds)), round(self._seconds)
        return min(counters.step, self._steps), self._steps

    def share(self, counters: Counters) -> float:
        """Return the share of the run that is done, from 0 to 1."""
        done = counters.elapsed / self._seconds if self._seconds else counters.step / self._steps
        return min(1.0, done)

    def is_over(self, counters: Counters) -> bool:
        """Return whether the run's length is reached, or nothing has become better for too long."""
        return self.share(counters) >= 1 or self.is_stale(counters)

    def is_stale(self, counters: Counters) -> bool:
        """Return whether so many validations were no better that the run ends early."""
        return 0 < self._config.patience <= counters.stale

    @property
    def is_long(self) -> bool:
        """Whether the run is long enough for what costs time once."""
        return self._config.minutes >= LONG_MINUTES if self._seconds else self._steps >= LONG_STEPS

    def is_validation_due(self, counters: Counters) -> bool:
        """Return whether a validation comes before the next step: at an epoch's end, and at the run's.

        By the clock, an epoch's end may pass without one: they must leave most of the time to training.
        """
        if counters.step == counters.validated:
            return False
        ends_epoch = counters.step % self.steps_per_epoch == 0
        return self.is_over(counters) or (ends_epoch and not self._validates_too_often(counters))

    def _validates_too_often(self, counters: Counters) -> bool:
        since = counters.elapsed - counters.validated_at
        return self._seconds > 0 and counters.validation_seconds > VALIDATION_SHARE * since

    def rate(self, counters: Counters) -> float:
        """Return the learning rate's share of its highest."""
        share = self.share(counters)
        if self._config.optimizer.schedule == "linear":
            return min(1.0, 2 * (1 - share))
        warm = min(1.0, max((counters.step + 1) / WARM_UP, share / WARM_UP_SHARE))
        return warm * max(LEAST_RATE, 0.5 * (1 + math.cos(math.pi * share)))

    def adversarial(self, counters: Counters) -> float:
        """Return the share of its weight that the adversarial loss has: 0 before the discriminator sets in, then rising."""
        loss, since = self._config.loss, self.share(counters) - self._config.loss.adversarial_start
        if loss.adversarial == 0 or since < 0:
            return 0.0
        # Not 0 at the first step: that would leave the discriminator out.
        return 1.0 if since >= loss.adversarial_ramp else max(since / loss.adversarial_ramp, 1e-3)
