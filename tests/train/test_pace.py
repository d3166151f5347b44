"""A run says at which rates batches come and are eaten, where the former is the slower one."""

import itertools
import logging
import time

import fakes
import jax
import optax
import pytest

from hpax import train
from hpax.train import pace


class Kept(fakes.Numbers):
    """The same batch at every step, each `wait` seconds after it is asked for."""

    wait = 0.0

    def iterate(self, start):
        batch = self[0]
        for _ in itertools.count(start):
            if self.wait:
                time.sleep(self.wait)
            yield batch


class Slow(Kept):
    wait = 0.1


@pytest.mark.parametrize(
    ("batches", "worth", "told"), [(Kept, 1.0, False), (Slow, 1.0, True), (Slow, pace.WORTH, False)]
)
def test_slow_reading_is_told_once_if_it_matters(monkeypatch, caplog, batches, worth, told):
    monkeypatch.setattr(pace, "WORTH", worth)  # seconds; what is left of this run waits for 1.5
    monkeypatch.setattr(pace, "FIRST", 4)
    monkeypatch.setattr(pace, "WATCHED", 6)
    monkeypatch.setattr(pace, "SLACK", 1.0)  # for machines that do other things
    run = train.Run(fakes.Regression(), batches(), optax.sgd(0.1), steps=25, devices=jax.local_devices()[:1])
    with caplog.at_level(logging.WARNING):
        for _ in train.updates(run, run.initial()):
            pass
    assert len(caplog.messages) == told
    if told:
        come, eaten = (float(word) for word in caplog.messages[0].replace(":", " ").split() if word[0].isdigit())
        assert come <= 16 / Slow.wait
        assert come < eaten
