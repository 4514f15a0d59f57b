from __future__ import annotations

from dataclasses import asdict

import pytest

pytest.importorskip("torch", reason="needs geofootprint[train]")

from geofootprint.learning.watchdog import BAD_IN_A_ROW, MOST_PAUSED, MOST_ROLLBACKS, WINDOW, Remedy, Watchdog, is_worth_telling


def judged(discriminator: float, adversarial: float) -> dict[str, float]:
    return {"discriminator_real": discriminator, "discriminator_fake": discriminator, "adversarial": adversarial}


def remedies(dog: Watchdog, discriminator: float, rise: float = 0.01) -> list[Remedy]:
    """Return what a window's steps come to, the adversarial loss rising at each."""
    told = [dog.look(finite=True, losses=judged(discriminator, 3 + rise * step)) for step in range(WINDOW)]
    return [remedy for remedy in told if remedy is not Remedy.NONE]


def test_a_single_bad_step_is_skipped() -> None:
    dog = Watchdog()
    for _ in range(3):
        assert dog.look(finite=False, losses={}) is Remedy.SKIPPED
        assert dog.look(finite=True, losses={}) is Remedy.NONE
    assert (dog.skipped, dog.bad_in_a_row, dog.rollbacks, dog.rate) == (3, 0, 0, 1.0)


def test_several_in_a_row_go_back_at_half_the_rate_until_it_is_too_often() -> None:
    dog = Watchdog()
    for time in range(1, MOST_ROLLBACKS + 2):
        told = [dog.look(finite=False, losses={}) for _ in range(BAD_IN_A_ROW)]
        assert told == [Remedy.SKIPPED] * (BAD_IN_A_ROW - 1) + [Remedy.ROLL_BACK]
        assert dog.rate == 0.5**time
        assert dog.has_given_up is (time > MOST_ROLLBACKS)


def test_a_discriminator_that_wins_is_paused_until_it_has_a_match() -> None:
    dog = Watchdog()
    assert remedies(dog, 0.01) == [Remedy.PAUSE]
    assert dog.paused
    assert remedies(dog, 0.2) == []
    assert remedies(dog, 0.5) == [Remedy.GO_ON]
    assert not dog.paused


def test_one_that_stays_ahead_is_reset() -> None:
    dog = Watchdog()
    remedies(dog, 0.01)
    told = [remedy for _ in range(MOST_PAUSED) for remedy in remedies(dog, 0.01)]
    assert told == [Remedy.RESET]
    assert not dog.paused


@pytest.mark.parametrize(("discriminator", "rise"), [(0.5, 0.01), (0.01, -0.01)], ids=["a match", "the generator gains"])
def test_others_learn_on(discriminator: float, rise: float) -> None:
    assert remedies(Watchdog(), discriminator, rise) == []


def test_it_goes_on_from_what_was_saved() -> None:
    dog = Watchdog()
    for step in range(WINDOW - 1):
        dog.look(finite=True, losses=judged(0.01, float(step)))
    again = Watchdog(**asdict(dog))
    assert again.look(finite=True, losses=judged(0.01, 500.0)) is Remedy.PAUSE


def test_the_first_and_each_that_doubles_is_told() -> None:
    assert [count for count in range(20) if is_worth_telling(count)] == [1, 2, 4, 8, 16]
