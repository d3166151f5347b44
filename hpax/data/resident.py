"""Batches that devices make themselves, of cells that live in their memory as the bytes they are stored as."""

import concurrent.futures
import dataclasses
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from hpax.data.pipeline import HostBatch, PairBatches, Prepare, cores, paired
from hpax.types import Array, Batch, Take


class ResidentPairs:
    """The batches of a `PairBatches`, made by the devices: once they hold the cells, they are sent indices alone.

    For `train.Run(batches=ResidentPairs(pairs), …)`. The batch of a step is that of `pairs`, to the bit on CPUs; where
    the devices lack memory for the cells, training reads `pairs` and says so. `prepare` must work on JAX arrays, as
    those of `preprocess` do. See `hpax.train.resident.Resident`.
    """

    def __init__(self, pairs: PairBatches):
        self._pairs = pairs
        self.n = pairs.n
        self.materialise = PairsOfDevice(pairs.prepare, pairs.flip)

    def __getitem__(self, step: int) -> HostBatch:
        return self._pairs[step]

    def iterate(self, start: int = 0) -> Iterator[HostBatch]:
        """The batches from step `start` on, made by the host."""
        return self._pairs.iterate(start)

    def draws(self, start: int = 0) -> Iterator[HostBatch]:
        """What the devices are sent from step `start` on: which cells, how flipped, and which rows are real."""
        return self._pairs.draws(start)

    def examples(self, first: int, last: int) -> HostBatch:
        """The cells from `first` up to `last`, as stored."""
        threads = cores()
        parts = np.array_split(np.arange(first, last), min(threads, last - first))
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            return {"image": np.concatenate(list(pool.map(self._pairs.crops.read, parts)))}


@dataclasses.dataclass(frozen=True)
class PairsOfDevice:
    """Makes the batch of a draw: `make(take, draw)`. Equal ones are compiled once."""

    prepare: Prepare
    flip: bool

    def __call__(self, take: Take, draw: Batch) -> dict[str, Array]:
        """The batch that `PairBatches` would have made of `draw`."""
        sources, targets = (jnp.maximum(draw[name], 0) for name in ("index", "target_index"))
        images = paired(lambda cells: take(cells)["image"], sources, targets, draw["flips"], self.prepare, self.flip)
        real = draw["mask"][:, None, None, None] > 0
        batch = {name: jnp.where(real, image, 0) for name, image in images.items()}
        return batch | {name: draw[name] for name in ("index", "target_index", "mask")}
