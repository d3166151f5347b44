"""Data parallelism: the only place that knows pmap.

A replicated tree has a leading axis of local devices; so has a batch on its way to them. Everything else in hpax
sees plain trees and plain batches.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
import optax

from hpax.task import Task
from hpax.train.state import State
from hpax.train.update import per_example, update
from hpax.types import Array, Batch, ModelState, Params

Making = Callable[[Any, Batch], Batch]
"""What a device holds, and its part of a draw → its part of a batch."""

AXIS = "devices"
"""The name of the axis over which networks and updates reduce."""


def replicate(tree: Any, devices: Sequence[jax.Device] | None = None) -> Any:
    """Copies every leaf to each local device, on a new leading axis, placed as an update leaves it.

    Placed otherwise, as arrays of the host are, the first update would be compiled apart from all others.
    """
    count = len(devices or jax.local_devices())
    copies = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (count, *np.shape(leaf))), tree)
    return _placing(tuple(devices) if devices else None)(copies)


@functools.cache
def _placing(devices: tuple[jax.Device, ...] | None) -> Callable:
    return jax.pmap(lambda tree: tree, AXIS, devices=devices)


def placing(devices: Sequence[jax.Device] | None = None) -> jax.sharding.NamedSharding:
    """How a replicated tree lies on the devices of all processes: one entry of its leading axis on each."""
    return replicate(np.zeros((), np.int32), devices).sharding


def least(values: Iterable[float]) -> float:
    """The least of the values of all processes, each of which brings one or more for its devices."""
    here = replicate(np.float32(min(values)))
    return float(unreplicate(jax.pmap(lambda value: jax.lax.pmin(value, AXIS), AXIS)(here)))


def unreplicate(tree: Any) -> Any:
    """One device's copy, as NumPy arrays that later steps cannot touch."""

    def first(leaf: Any) -> Any:
        return leaf.addressable_shards[0].data if isinstance(leaf, jax.Array) else leaf

    copies = jax.device_get(jax.tree.map(first, tree))  # all under way at once
    return jax.tree.map(lambda leaf, copy: np.array(copy).reshape(np.shape(leaf)[1:]), tree, copies)


def shard(batch: Batch, devices: Sequence[jax.Device] | None = None) -> dict[str, Array]:
    """Splits the leading axis of this process's part of a batch over its devices.

    Raises:
        ValueError: there is no "mask", or the examples do not divide evenly; the message gives the nearest sizes that
            do.
    """
    count = len(devices or jax.local_devices())
    if "mask" not in batch:
        raise ValueError(
            f'a batch must hold "mask" (b,), 1 where a row is an example and 0 where it is padding; this one holds '
            f"{sorted(batch)}; where all rows are examples, add mask=np.ones(b, np.float32)"
        )
    size = len(batch["mask"])
    if size % count:
        below, above = size // count * count, -(-size // count) * count
        remedy = f"{below} or {above}" if below else f"{above}"
        if (processes := jax.process_count()) > 1:
            remedy += f", {processes} times that for all processes together"
        raise ValueError(f"the batch of a process, {size}, must divide by its {count} devices; use {remedy}")
    return {name: np.reshape(value, (count, size // count, *value.shape[1:])) for name, value in batch.items()}


def compile_update(
    task: Task,
    optimizer: optax.GradientTransformation,
    devices: Sequence[jax.Device] | None = None,
    making: Making | None = None,
) -> Callable:
    """`(replicated state, sharded batch, seed) -> (replicated state, report)`; the old state's memory is reused.

    With `making`, `(replicated state, sharded draw, seed, held) -> …`, where `making(held, draw)` is the batch of a
    device that holds examples. What was compiled for an equal task, the same optimiser, the same devices and an equal
    `making` is used again.
    """
    return _made(_update, task, optimizer, tuple(devices) if devices else None, making)


def compile_evaluation(task: Task, devices: Sequence[jax.Device] | None = None) -> Callable:
    """`(replicated params, replicated model state, sharded batch) -> (sums by name, count)` over all devices.

    What was compiled for an equal task and the same devices is used again.
    """
    return _made(_evaluation, task, tuple(devices) if devices else None)


def _made(make: Callable[..., Callable], *asked: Any) -> Callable:
    try:
        hash(asked)
    except TypeError:  # a task may hold arrays
        return make(*asked)
    return _kept(make, *asked)


@functools.lru_cache(maxsize=8)
def _kept(make: Callable[..., Callable], *asked: Any) -> Callable:
    return make(*asked)


def _update(
    task: Task,
    optimizer: optax.GradientTransformation,
    devices: tuple[jax.Device, ...] | None,
    making: Making | None,
) -> Callable:
    def step(state: State, batch: Batch, seed: Array) -> tuple[State, dict[str, Array]]:
        return update(task, optimizer, state, batch, seed, axis_name=AXIS)

    if making is None:
        return jax.pmap(step, AXIS, in_axes=(0, 0, None), devices=devices, donate_argnums=0)

    def resident_step(state: State, draw: Batch, seed: Array, held: dict[str, Array]) -> tuple[State, dict[str, Array]]:
        return step(state, making(held, draw), seed)

    return jax.pmap(resident_step, AXIS, in_axes=(0, 0, None, 0), devices=devices, donate_argnums=0)


def _evaluation(task: Task, devices: tuple[jax.Device, ...] | None) -> Callable:
    def totals(params: Params, model_state: ModelState, batch: Batch) -> tuple[dict[str, Array], Array]:
        real = batch["mask"] > 0
        values = task.evaluate(params, model_state, batch)
        for name, value in values.items():
            per_example(f"{type(task).__name__}.evaluate's {name!r}", value, batch)
        sums = {name: jax.numpy.where(real, value, 0).sum() for name, value in values.items()}
        return jax.lax.psum((sums, real.sum()), AXIS)

    return jax.pmap(totals, AXIS, devices=devices)
