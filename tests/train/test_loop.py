"""What the loop yields and when actions happen, by a tape of events."""

import fakes
import optax
import pytest

from hpax import train


def tape(steps: int, every: int, start: int = 0) -> list[int]:
    run = train.Run(fakes.Regression(), fakes.Numbers(), optax.sgd(0.1), steps=steps)
    events = []
    act = train.Every(every, lambda step, state, report: events.append(step), last=steps)
    for event in train.updates(run, run.initial().replace(step=start)):
        act(*event)
    return events


def test_every_acts_at_multiples_and_once_at_the_last_step():
    assert tape(10, 4) == [4, 8, 10]
    assert tape(8, 4) == [4, 8]
    assert tape(3, 100) == [3]


def test_updates_goes_on_from_the_state_and_ends_at_once_when_done():
    assert tape(10, 1, start=7) == [8, 9, 10]
    assert tape(10, 1, start=10) == []


@pytest.mark.parametrize("bad", [{"steps": 0}, {"steps": -1}])
def test_a_run_without_steps_is_refused(bad):
    with pytest.raises(ValueError, match="at least 1 step"):
        train.Run(fakes.Regression(), fakes.Numbers(), optax.sgd(0.1), **bad)
