"""Examples that live in the memory of devices, and batches made of them there."""

import dataclasses
import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from hpax.train import parallel
from hpax.types import Array, Batch, Take

log = logging.getLogger(__name__)

Materialise = Callable[[Take, Batch], Batch]
"""What a device makes of a draw. Pure, to be compiled; equal ones are compiled once."""

SHARE = 0.5
"""Of a device's free memory, what examples may fill; the rest is for the network."""

_CHUNK = 2**28
"""Bytes that are read and sent at once."""


@runtime_checkable
class Resident(Protocol):
    """Batches that a device can make of examples that it holds, given what the host draws.

    `batches[step]` is what `materialise` makes of the draw of that step. A draw holds indices of examples, flips and
    the like, and `mask`, (b, …) each.
    """

    @property
    def n(self) -> int:
        """How many examples there are, numbered from 0."""
        ...

    @property
    def materialise(self) -> Materialise:
        """What makes a batch."""
        ...

    def __getitem__(self, step: int) -> Batch: ...

    def iterate(self, start: int) -> Iterator[Batch]:
        """The batches of examples that the host reads, for where devices have no room."""
        ...

    def draws(self, start: int) -> Iterator[Batch]:
        """This process's draws from update number `start` on, prefetched."""
        ...

    def examples(self, first: int, last: int) -> Batch:
        """The examples from `first` up to `last`, in few bytes."""
        ...


@dataclasses.dataclass(frozen=True)
class Making:
    """A device's examples and a draw → its part of a batch; called inside of what is mapped over devices."""

    materialise: Materialise
    shapes: tuple[tuple[str, tuple[int, ...]], ...]  # of an example, by name
    split: bool  # each device holds a part of the examples, not all of them

    def __call__(self, held: dict[str, Array], draw: Batch) -> Batch:
        """The batch of `draw`; `held` has a row for each example, (rows, size)."""
        rows_at = _rows_of_all if self.split else _rows

        def take(indices: Int[Array, " n"]) -> dict[str, Array]:
            return {name: rows_at(held[name], indices).reshape(-1, *shape) for name, shape in self.shapes}

        return self.materialise(take, draw)


class Kept(NamedTuple):
    """Examples in the memory of devices, and how batches are made of them."""

    held: dict[str, Array]  # (devices, rows, size)
    making: Making


def keep(batches: Resident, devices: Sequence[jax.Device] | None = None) -> Kept | None:
    """Sends every example to the devices: all to each, or where that is too much, to each its part.

    None, and a remark with the bytes, where not even the parts fit into `SHARE` of the memory that is free.
    """
    placing = parallel.placing(devices)
    one = batches.examples(0, 1)
    size, count = sum(value.nbytes for value in one.values()), len(placing.device_set)
    room = parallel.least(SHARE * free(device) for device in devices or jax.local_devices())
    part = -(-batches.n // count)
    if part * size > room:
        told = "%.3g GB of examples must fit into %.0f%% of the free memory of %d devices, %.3g GB each; the host reads"
        log.warning(f"{told} those of each batch", batches.n * size / 1e9, 100 * SHARE, count, room / 1e9)
        return None
    split = batches.n * size > room
    making = Making(batches.materialise, tuple((name, value.shape[1:]) for name, value in one.items()), split)
    return Kept(_sent(batches, one, placing, part if split else batches.n, max(1, _CHUNK // size)), making)


def free(device: jax.Device) -> float:
    """The bytes of memory that arrays may still take on a device; the devices of a processor share its memory."""
    told = device.memory_stats()
    if told:
        return told["bytes_limit"] - told["bytes_in_use"]
    pages = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in os.sysconf_names else "SC_PHYS_PAGES"
    return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE") / jax.local_device_count()


def _sent(
    batches: Resident, one: Batch, placing: jax.sharding.NamedSharding, rows: int, chunk: int
) -> dict[str, Array]:
    """Every example on its devices, `rows` on each, read `chunk` at a time; the host never holds them all."""
    count = len(placing.device_set)
    whole = rows == batches.n
    places = placing.addressable_devices_indices_map((count,))
    parts: dict[jax.Device, dict[str, jax.Array]] = {}
    for device in places:
        parts[device] = {
            name: jnp.zeros((1, rows, math.prod(value.shape[1:])), value.dtype, device=device)
            for name, value in one.items()
        }
    holders: dict[int, list[jax.Device]] = {}
    for device, index in places.items():
        assert index is not None
        holders.setdefault(0 if whole else (index[0].start or 0) * rows, []).append(device)
    for first, group in holders.items():
        last = min(first + rows, batches.n)
        for start in range(first, last, chunk):
            some = batches.examples(start, min(start + chunk, last))
            flat = {name: value.reshape(1, len(value), -1) for name, value in some.items()}
            for device in group:
                parts[device] = _written(parts[device], flat, np.int32(start - first))
    join = jax.make_array_from_single_device_arrays
    return {
        name: join((count, *value.shape[1:]), placing, [part[name] for part in parts.values()])
        for name, value in next(iter(parts.values())).items()
    }


@partial(jax.jit, donate_argnums=0)
def _written(held: dict[str, jax.Array], some: dict[str, Array], at: Array) -> dict[str, jax.Array]:
    """`held` with `some` in it from row `at` on, in the same memory."""
    return {name: jax.lax.dynamic_update_slice_in_dim(held[name], some[name], at, 1) for name in held}


def _rows(held: Array, indices: Int[Array, " n"]) -> Array:
    return jnp.take(held, indices, axis=0, mode="clip")


def _rows_of_all(held: Array, indices: Int[Array, " n"]) -> Array:
    """The rows at `indices` of the examples of all devices: each answers for its own to those that ask."""
    asked = jax.lax.all_gather(indices, parallel.AXIS, tiled=True)
    places = asked - jax.lax.axis_index(parallel.AXIS) * len(held)
    own = (places >= 0) & (places < len(held))
    answers = jnp.where(own[:, None], _rows(held, places), 0)
    return jax.lax.psum_scatter(answers, parallel.AXIS, tiled=True)
