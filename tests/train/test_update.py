"""The same step on one device or eight, whatever the padding."""

import dataclasses

import fakes
import jax
import numpy as np
import optax
import pytest

from hpax import train
from hpax.train import parallel
from hpax.train.update import update


def trained(run: train.Run) -> train.State:
    *_, (_, state, _) = train.updates(run, run.initial())
    return parallel.unreplicate(state)


def run(devices: int, **batches) -> train.Run:
    return train.Run(
        fakes.Regression(), fakes.Numbers(**batches), optax.sgd(0.05), steps=3, devices=jax.local_devices()[:devices]
    )


@pytest.mark.parametrize("padding", [0, 3, 11])
def test_one_and_eight_devices_agree_on_a_ragged_batch(padding):
    one, eight = trained(run(1, padding=padding)), trained(run(8, padding=padding))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one, eight)


def test_update_alone_equals_the_gradient_of_the_mean_over_real_examples():
    batch = fakes.Numbers(padding=5)[0]
    state = run(1).initial()
    after, report = update(fakes.Regression(), optax.sgd(0.05), state, batch, np.uint32(0))
    x, y, w = batch["x"][:-5], batch["y"][:-5], np.asarray(state.params["w"])
    gradient = (2 * (x @ w - y)[:, None] * x).mean(0)
    np.testing.assert_allclose(after.params["w"], w - 0.05 * gradient, atol=1e-6)
    np.testing.assert_allclose(report["loss"], np.square(x @ w - y).mean(), rtol=1e-5)
    assert report["examples"] == 11


def test_a_batch_of_padding_only_changes_nothing_and_stays_finite():
    state = run(1).initial()
    after, report = update(fakes.Regression(), optax.sgd(0.05), state, fakes.Numbers(padding=16)[0], np.uint32(0))
    np.testing.assert_array_equal(after.params["w"], state.params["w"])
    assert report["loss"] == 0


def test_randomness_differs_between_steps_seeds_and_devices():
    task, batch, optimizer = fakes.Regression(noise=1.0), fakes.Numbers()[0], optax.sgd(0.1)
    state = run(1).initial()
    later = state.replace(step=state.step + 1)
    places = [(at, np.uint32(seed)) for at in (state, later) for seed in (0, 1)]
    losses = {float(update(task, optimizer, at, batch, seed)[1]["loss"]) for at, seed in places}
    assert len(losses) == 4
    same = {name: np.repeat(value[:1], 8, axis=0) for name, value in batch.items()}
    advance = parallel.compile_update(task, optimizer)
    _, report = advance(parallel.replicate(state), parallel.shard(same), np.uint32(0))
    alone = update(task, optimizer, state, {name: value[:1] for name, value in same.items()}, np.uint32(0))[1]["loss"]
    assert not np.isclose(float(parallel.unreplicate(report["loss"])), float(alone))


def test_a_batch_that_does_not_divide_names_the_sizes_that_do():
    with pytest.raises(ValueError, match="12, must divide by its 8 devices; use 8 or 16"):
        parallel.shard(fakes.Numbers(size=12)[0])


def test_evaluation_is_the_mean_over_real_examples_of_all_batches():
    run_ = run(8)
    state = run_.initial()
    batches = [fakes.Numbers(padding=3)[0], fakes.Numbers(padding=9)[1]]
    scores = train.evaluate(run_.task, state.params, state.model_state, batches)
    errors = np.concatenate([(b["x"] @ np.asarray(state.params["w"]) - b["y"])[b["mask"] > 0] for b in batches])
    np.testing.assert_allclose(scores["loss"], np.square(errors).mean(), rtol=1e-5)
    np.testing.assert_allclose(scores["bias"], errors.mean(), rtol=1e-4)
    assert scores["examples"] == 20


def test_evaluating_nothing_is_an_error():
    state = run(1).initial()
    with pytest.raises(ValueError, match="at least one example"):
        train.evaluate(fakes.Regression(), state.params, state.model_state, [])


@pytest.mark.parametrize("devices", [1, 8])
def test_a_state_is_placed_as_an_update_leaves_it(devices):
    """Placed otherwise, the second update would be compiled anew."""
    plan = run(devices)
    before = parallel.replicate(plan.initial(), plan.devices)
    placed = [leaf.sharding for leaf in jax.tree.leaves(before)]
    advance = parallel.compile_update(plan.task, plan.optimizer, plan.devices)
    after, _ = advance(before, parallel.shard(plan.batches[0], plan.devices), np.uint32(0))
    assert placed == [leaf.sharding for leaf in jax.tree.leaves(after)]


@dataclasses.dataclass(frozen=True)
class Scaled(fakes.Regression):
    """A task that counts how often it is traced; arrays make it unhashable."""

    traced: list = dataclasses.field(default_factory=list, compare=False)
    factor: float | np.ndarray = 1.0

    def loss(self, params, model_state, batch, *, key):
        self.traced.append(1)
        error, model_state = super().loss(params, model_state, batch, key=key)
        return self.factor * error, model_state


def test_runs_of_equal_tasks_are_compiled_once_and_others_are_not_confused():
    traced, optimizer = [], optax.sgd(0.05)

    def loss(factor, optimizer=optimizer):
        task = Scaled(traced=traced, factor=factor)
        plan = train.Run(task, fakes.Numbers(), optimizer, steps=1, devices=jax.local_devices()[:2])
        ((_, _, report),) = train.updates(plan, plan.initial())
        return float(parallel.unreplicate(report["loss"])), len(traced)

    first, once = loss(1.0)
    assert loss(1.0) == (first, once)
    double, twice = loss(2.0)
    assert double == pytest.approx(2 * first)
    assert twice > once
    array, thrice = loss(np.full(1, 2.0))
    assert array == pytest.approx(double)
    assert thrice > twice
    assert loss(1.0, optax.sgd(0.1))[1] > thrice
