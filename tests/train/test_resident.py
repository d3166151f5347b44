"""Examples in the memory of devices: all on each, or a part on each, they make the same batches as the host."""

import dataclasses
import logging

import fakes
import jax
import numpy as np
import optax
import pytest

from hpax import train
from hpax.train import parallel, resident

ROW = 4 * (fakes.FEATURES + 1)  # bytes of an example
ROOM = {"all": 1e9, "parts": 10 * ROW, "none": ROW}  # of 37 rows, five a device where there are eight


def run(devices: int = 8, batches=None) -> train.Run:
    batches = batches or fakes.ResidentNumbers()
    return train.Run(fakes.Regression(), batches, optax.sgd(0.05), steps=6, devices=jax.local_devices()[:devices])


def trained(plan: train.Run) -> train.State:
    *_, (_, state, _) = train.updates(plan, plan.initial())
    return parallel.unreplicate(state)


@pytest.fixture
def room(monkeypatch):
    """Sets how many bytes examples may take on a device."""

    def fix(bytes):
        monkeypatch.setattr(resident, "free", lambda device: bytes / resident.SHARE)

    return fix


@pytest.mark.parametrize(("devices", "where"), [(1, "all"), (8, "all"), (8, "parts")])
def test_devices_make_the_batches_of_the_host(room, devices, where):
    room(ROOM[where])
    batches = fakes.ResidentNumbers()
    kept = resident.keep(batches, jax.local_devices()[:devices])
    assert kept.making.split == (where == "parts")
    make = jax.pmap(kept.making, parallel.AXIS, devices=jax.local_devices()[:devices])
    for step in range(3):
        made = make(kept.held, parallel.shard(batches.draw(step), jax.local_devices()[:devices]))
        for name, value in batches[step].items():
            np.testing.assert_array_equal(np.reshape(made[name], value.shape), value)


@pytest.mark.parametrize("chunk", [1, 3 * ROW, 1000 * ROW])
@pytest.mark.parametrize("where", ["all", "parts"])
def test_examples_are_sent_whole_in_chunks_of_any_size(room, monkeypatch, chunk, where):
    room(ROOM[where])
    monkeypatch.setattr(resident, "_CHUNK", chunk)
    held = resident.keep(fakes.ResidentNumbers()).held["x"]
    everything = fakes.ResidentNumbers().examples(0, 37)["x"]
    rows = np.asarray(held)[0] if where == "all" else np.asarray(held).reshape(-1, fakes.FEATURES)
    np.testing.assert_array_equal(rows[:37], everything)
    assert not rows[37:].any()


def test_one_and_eight_devices_agree_wherever_examples_lie(room):
    states = []
    for devices, where in ((1, "all"), (8, "all"), (8, "parts")):
        room(ROOM[where])
        states.append(trained(run(devices, fakes.ResidentNumbers(padding=5))))
    host = trained(run(8, HostOnly(fakes.ResidentNumbers(padding=5))))
    for state in states:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), state, host)
    jax.tree.map(np.testing.assert_array_equal, states[1], states[2])


@dataclasses.dataclass(frozen=True)
class HostOnly:
    """What a resident sequence of batches is to whoever does not know of devices."""

    batches: fakes.ResidentNumbers

    def __getitem__(self, step):
        return self.batches[step]

    def iterate(self, start):
        return self.batches.iterate(start)


def test_without_room_the_host_makes_the_batches_and_says_so(room, caplog):
    room(ROOM["none"])
    with caplog.at_level(logging.WARNING):
        state = trained(run())
    assert "must fit into 50% of the free memory of 8 devices" in caplog.text
    jax.tree.map(np.testing.assert_array_equal, state, trained(run(batches=HostOnly(fakes.ResidentNumbers()))))


def test_the_devices_of_a_processor_share_its_memory():
    assert 0 < resident.free(jax.local_devices()[0]) < 1e15


class Power(Exception):
    """The power goes."""


@dataclasses.dataclass(frozen=True)
class Failing(fakes.ResidentNumbers):
    """Draws that stop the run before update `at`."""

    at: int = 0

    def draw(self, step):
        if step and step == self.at:
            raise Power
        return super().draw(step)


def test_a_run_that_failed_ends_as_an_unbroken_one(tmp_path):
    options = {"log_every": 1, "evaluate_every": 2, "save_every": 2}
    whole = train.fit(run(), tmp_path / "whole", **options)
    with pytest.raises(Power):
        train.fit(run(batches=Failing(at=3)), tmp_path / "broken", **options)
    resumed = train.fit(run(), tmp_path / "broken", **options)
    jax.tree.map(np.testing.assert_array_equal, whole, resumed)
