from __future__ import annotations

import math
from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="needs geofootprint[train]")

from geofootprint.config import PRESETS, TrainConfig, from_dict
from geofootprint.learning.schedule import WARM_UP, Counters, Schedule

STEPS = from_dict({"epochs": 10, "data": {"batch": 4, "crops_per_epoch": 403}})
CLOCK = replace(STEPS, minutes=2.0)


def test_an_epoch_covers_the_tiles_once() -> None:
    config = from_dict({"data": {"batch": 8, "patch": 100}})
    assert Schedule(config, pixels=100 * 100 * 4000).steps_per_epoch == 500
    assert Schedule(config, pixels=100 * 100).steps_per_epoch == 1000 // 8
    assert Schedule(STEPS, pixels=0).steps_per_epoch == 100


def test_share_by_steps_and_by_the_clock() -> None:
    counters = Counters(step=250, elapsed=30.0)
    assert Schedule(STEPS, 0).share(counters) == 0.25
    assert Schedule(STEPS, 0).done(counters) == (250, 1000)
    assert Schedule(CLOCK, 0).share(counters) == 0.25
    assert Schedule(CLOCK, 0).done(counters) == (30, 120)
    assert Schedule(CLOCK, 0).done(Counters(elapsed=500.0)) == (120, 120)
    assert Schedule(CLOCK, 0).is_over(Counters(elapsed=120.0))
    assert not Schedule(STEPS, 0).is_over(Counters(step=999))
    assert Schedule(STEPS, 0).is_over(Counters(step=1000))


def test_cosine_rises_and_falls() -> None:
    rate = Schedule(STEPS, 0).rate
    assert rate(Counters(step=0)) == pytest.approx(1 / WARM_UP)
    assert rate(Counters(step=49)) == pytest.approx(0.5 * 0.5 * (1 + math.cos(math.pi * 0.049)))
    assert rate(Counters(step=500)) == pytest.approx(0.5)
    assert rate(Counters(step=1000)) == pytest.approx(0.01)


def test_a_short_run_warms_up_in_a_tenth_of_it() -> None:
    rate = Schedule(replace(STEPS, epochs=1), 0).rate  # 100 steps
    assert rate(Counters(step=5)) == pytest.approx(0.5 * 0.5 * (1 + math.cos(math.pi * 0.05)))
    assert rate(Counters(step=10)) == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.1)))


def test_linear_is_the_papers() -> None:
    config = replace(PRESETS["pix2pix"], epochs=200, data=replace(PRESETS["pix2pix"].data, crops_per_epoch=1))
    rate = Schedule(config, 0).rate
    assert rate(Counters(step=0)) == rate(Counters(step=99)) == rate(Counters(step=100)) == 1
    assert rate(Counters(step=150)) == pytest.approx(0.5)
    assert rate(Counters(step=200)) == 0


@pytest.mark.parametrize(("config", "last"), [(STEPS, 799), (PRESETS["pix2pix"], -1)], ids=["footprint", "pix2pix"])
def test_when_the_discriminator_sets_in(config: TrainConfig, last: int) -> None:
    schedule = Schedule(config, 0)
    assert schedule.adversarial(Counters(step=last)) == 0 or last < 0
    assert schedule.adversarial(Counters(step=last + 1)) > 0


def test_the_adversarial_loss_rises_to_its_weight() -> None:
    share = Schedule(STEPS, 0).adversarial
    assert [share(Counters(step=step)) for step in (825, 850, 999)] == pytest.approx([0.5, 1.0, 1.0])
    assert Schedule(PRESETS["pix2pix"], 0).adversarial(Counters(step=0)) == 1


def test_never_with_a_weight_of_0() -> None:
    config = replace(STEPS, loss=replace(STEPS.loss, adversarial=0.0))
    assert Schedule(config, 0).adversarial(Counters(step=999)) == 0


def test_validations_end_epochs_and_the_run() -> None:
    schedule = Schedule(STEPS, 0)
    assert not schedule.is_validation_due(Counters(step=0))
    assert not schedule.is_validation_due(Counters(step=99))
    assert schedule.is_validation_due(Counters(step=100, validated=0))
    assert not schedule.is_validation_due(Counters(step=100, validated=100))
    clock = Schedule(CLOCK, 0)
    assert clock.is_validation_due(Counters(step=7, elapsed=121.0))
    assert not clock.is_validation_due(Counters(step=7, elapsed=121.0, validated=7))


def test_by_the_clock_validations_wait_until_training_had_ten_times_as_long() -> None:
    clock = Schedule(replace(CLOCK, minutes=60.0), 0)
    at_epochs_end = Counters(step=300, validated=200, validated_at=50.0, validation_seconds=4.0)
    assert not clock.is_validation_due(replace(at_epochs_end, elapsed=89.0))
    assert clock.is_validation_due(replace(at_epochs_end, elapsed=91.0))
    assert not clock.is_validation_due(replace(at_epochs_end, step=301, elapsed=91.0))
    assert Schedule(STEPS, 0).is_validation_due(replace(at_epochs_end, elapsed=51.0))


def test_a_run_that_is_long_enough_to_compile() -> None:
    assert not Schedule(CLOCK, 0).is_long
    assert Schedule(replace(CLOCK, minutes=10.0), 0).is_long
    assert not Schedule(STEPS, 0).is_long
    assert Schedule(replace(STEPS, epochs=20), 0).is_long
