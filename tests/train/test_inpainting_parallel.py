"""The whole inpainting step, BatchNorm included, on one device and on eight."""

import fakes
import jax
import numpy as np
import optax

from hpax import train
from hpax.nn.inpainter import Inpainter
from hpax.tasks.inpaint import PairedInpainting
from hpax.train import parallel


def run(devices: int) -> train.Run:
    task = PairedInpainting(Inpainter(width=0.05, axis_name=train.AXIS))
    batches = fakes.Pairs(padding=5)  # of 16: of eight devices, two see nothing but padding and one half of it
    return train.Run(task, batches, optax.sgd(0.1), steps=2, devices=jax.local_devices()[:devices])


def trained(run: train.Run, initial: train.State) -> train.State:
    *_, (_, state, _) = train.updates(run, initial)
    return parallel.unreplicate(state)


def test_one_and_eight_devices_agree_on_a_ragged_batch():
    initial = run(1).initial()
    one, eight = (trained(run(devices), initial) for devices in (1, 8))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one, eight)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), one.params, initial.params)
    assert min(jax.tree.leaves(moved["source"]["conv1"])) > 1e-3, "the comparison says nothing if nothing moves"
