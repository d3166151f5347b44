"""Batches from a built data set: the batch of a step depends on nothing but (seed, step).

So a run resumes at any step, and one process or eight see the same rows. Threads read ahead through grain; memory
holds a few batches, the cache of decoded crops (bounded), and a few numbers per cell.
"""

import abc
import collections
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterator, Sequence

import grain
import numpy as np
from jaxtyping import Bool, Float, Int, UInt

from hpax.data import pairs
from hpax.data.source import Source
from hpax.ops import preprocess

Prepare = Callable[[UInt[np.ndarray, "b s s c"]], Float[np.ndarray, "b s s c"]]
HostBatch = dict[str, np.ndarray]

FOREVER = 2**40  # steps of an endless iteration


@dataclasses.dataclass(frozen=True)
class ProcessShard:
    """Which rows of each global batch this process gets, and how many devices they must divide by.

    Raises:
        ValueError: a process out of range.
    """

    process: int = 0
    processes: int = 1
    devices: int = 1  # of all processes together

    def __post_init__(self):
        if not 0 <= self.process < self.processes:
            raise ValueError(f"process must be in 0..{self.processes - 1}, got {self.process}")

    def rows(self, batch_size: int) -> slice:
        """This process's contiguous rows of a global batch.

        Raises:
            ValueError: the batch does not divide by devices and processes.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        unit = int(np.lcm(self.devices, self.processes))
        if batch_size % unit:
            what = f"{self.devices} devices" if unit == self.devices else f"{self.processes} processes"
            below = batch_size // unit * unit
            use = f"{below} or {below + unit}" if below else f"{unit}"
            raise ValueError(f"batch_size {batch_size} must divide by {what}; use {use}")
        share = batch_size // self.processes
        return slice(self.process * share, (self.process + 1) * share)


class Crops:
    """Decodes crops of a source; the last ones used stay in memory, up to `cache_bytes`. Safe for threads."""

    def __init__(self, source: Source, cache_bytes: int):
        feature = source.info.features["image"]
        self.shape, self.dtype = tuple(feature.shape), np.dtype(feature.np_dtype)
        self._source = source
        self._capacity = cache_bytes // (int(np.prod(self.shape)) * self.dtype.itemsize)
        self._cache: collections.OrderedDict[int, np.ndarray] = collections.OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, indices: Int[np.ndarray, " b"]) -> UInt[np.ndarray, "b s s c"]:
        """The crops at `indices`, repeats welcome."""
        wanted = [int(index) for index in indices]
        with self._lock:
            known = {index: self._cache[index] for index in wanted if index in self._cache}
        missing = sorted(set(wanted) - set(known))
        known.update(zip(missing, (example["image"] for example in self._source.__getitems__(missing)), strict=True))
        self._remember(known)
        return np.stack([known[index] for index in wanted]) if wanted else np.zeros((0, *self.shape), self.dtype)

    def _remember(self, crops: dict[int, np.ndarray]):
        with self._lock:
            for index, crop in crops.items():
                self._cache[index] = crop
                self._cache.move_to_end(index)
            while len(self._cache) > self._capacity:
                self._cache.popitem(last=False)


class Epochs(abc.ABC):
    """Endless batches of `n` examples an epoch; the batch of a step depends on nothing but the step.

    A subclass says what stands at some places of an epoch (`_fill`): rows without padding, `index` among them.

    Raises:
        ValueError: `batch_size` does not divide by the devices or processes of `share`.
    """

    def __init__(self, n: int, batch_size: int, *, share: ProcessShard, threads: int):
        self._rows, self._threads = share.rows(batch_size), threads
        self.n, self.batch_size, self.steps_per_epoch = n, batch_size, -(-n // batch_size)

    def __getitem__(self, step: int) -> HostBatch:
        epoch, position = divmod(step, self.steps_per_epoch)
        places = np.arange(self.n)[window(position, self.batch_size, self._rows, self.n)]
        return padded(self._fill(epoch, places), self._rows)

    def iterate(self, start: int = 0) -> Iterator[HostBatch]:
        """The batches from step `start` on, for ever, read ahead by threads."""
        return read_ahead(self.__getitem__, range(start, FOREVER), self._threads)

    def epoch(self, epoch: int = 0) -> Iterator[HostBatch]:
        """One pass, as for validation."""
        steps = range(epoch * self.steps_per_epoch, (epoch + 1) * self.steps_per_epoch)
        return read_ahead(self.__getitem__, steps, self._threads)

    @abc.abstractmethod
    def _fill(self, epoch: int, places: Int[np.ndarray, " b"]) -> HostBatch: ...


@dataclasses.dataclass(frozen=True)
class Plan:
    """One epoch: the order of sources, and the target and flips of each cell."""

    order: Int[np.ndarray, " n"]
    targets: Int[np.ndarray, " n"]
    flips: Bool[np.ndarray, "n 2 2"]


class PairBatches(Epochs):
    """Endless batches of pairs of cells: each cell once per epoch as the source, its target drawn by `pair`.

    A batch holds this process's rows of `source` and `target` (b, s, s, c) float32 as `prepare` makes them, each
    flipped at random (a cell paired with itself keeps its flips), `index` and `target_index` (b,) int32, and `mask`
    (b,) float32. The last batch of an epoch is padded: mask 0, images 0, indices -1.

    Raises:
        ValueError: `batch_size` does not divide by the devices or processes of `share`, the source is empty, or its
            cells cannot be paired (see `pairs.targets`; an image of one cell is the usual reason).
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        *,
        seed: int = 0,
        pair: pairs.Pair = "sibling",
        prepare: Prepare = preprocess.human,
        flip: bool = True,
        shuffle: bool = True,
        share: ProcessShard = ProcessShard(),
        cache_bytes: int = 2**28,
        threads: int = 1,
    ):
        super().__init__(len(source), batch_size, share=share, threads=threads)
        self._groups, self._crops, self._prepare = source.groups, Crops(source, cache_bytes), prepare
        self._seed, self._pair, self._flip, self._shuffle = seed, pair, flip, shuffle
        self._plan = functools.lru_cache(maxsize=2)(self._make_plan)
        self._plan(0)

    def _fill(self, epoch: int, places: Int[np.ndarray, " b"]) -> HostBatch:
        plan = self._plan(epoch)
        sources = plan.order[places]
        targets = plan.targets[sources]
        images = self._prepare(self._crops(np.concatenate([sources, targets])))
        flips = plan.flips[sources].swapaxes(0, 1).reshape(-1, 2)
        images = preprocess.flip(images, flips) if self._flip else images
        rows = {"source": images[: len(sources)], "target": images[len(sources) :]}
        return {**rows, "index": sources, "target_index": targets}

    def _make_plan(self, epoch: int) -> Plan:
        drawn = {"seed": self._seed, "epoch": epoch}
        order = pairs.order(self.n, **drawn) if self._shuffle else np.arange(self.n)
        flips = pairs.flips(self.n, **drawn)
        if self._pair == "self":
            flips[:, 1] = flips[:, 0]
        return Plan(order, pairs.targets(self._groups, self._pair, **drawn), flips)


class CellBatches(Sequence[HostBatch]):
    """Every cell once, in the order of the source, as for feature extraction; batches read ahead when iterated.

    A batch holds this process's rows of `image` (b, s, s, c) float32 as `prepare` makes them, `index` (b,) int32 and
    `mask` (b,) float32. The last batch is padded: mask 0, images 0, indices -1.

    Raises:
        ValueError: `batch_size` does not divide by the devices or processes of `share`.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        *,
        prepare: Prepare = preprocess.human,
        share: ProcessShard = ProcessShard(),
        threads: int = 1,
    ):
        self._rows, self._threads = share.rows(batch_size), threads
        self.n, self.batch_size = len(source), batch_size
        self._crops, self._prepare = Crops(source, cache_bytes=0), prepare

    def __len__(self) -> int:
        return -(-self.n // self.batch_size)

    def __getitem__(self, step: int) -> HostBatch:
        if not 0 <= step < len(self):
            raise IndexError(f"step must be in 0..{len(self) - 1}, got {step}")
        cells = np.arange(self.n)[window(step, self.batch_size, self._rows, self.n)]
        return padded({"image": self._prepare(self._crops(cells)), "index": cells}, self._rows)

    def __iter__(self) -> Iterator[HostBatch]:
        return self.iterate()

    def iterate(self, start: int = 0) -> Iterator[HostBatch]:
        """The batches from step `start` to the last, read ahead by threads."""
        return read_ahead(self.__getitem__, range(start, len(self)), self._threads)


def window(position: int, batch_size: int, rows: slice, n: int) -> slice:
    """Where this process's rows of the batch at `position` lie in an epoch of `n` cells; may be short or empty."""
    first = position * batch_size
    return slice(min(first + rows.start, n), min(first + rows.stop, n))


def padded(batch: HostBatch, rows: slice) -> HostBatch:
    """A batch filled up to this process's rows, floats by 0 and integers (then int32) by -1, with its `mask`."""
    size, filled = rows.stop - rows.start, len(batch["index"])
    filled_up = {}
    for name, array in batch.items():
        whole = array.astype(np.int32) if array.dtype.kind == "i" else array
        padding = np.full((size - filled, *array.shape[1:]), -1 if array.dtype.kind == "i" else 0, whole.dtype)
        filled_up[name] = np.concatenate([whole, padding]) if size > filled else whole
    return {**filled_up, "mask": (np.arange(size) < filled).astype(np.float32)}


def read_ahead(batch: Callable[[int], HostBatch], steps: range, threads: int) -> Iterator[HostBatch]:
    """The batches of `steps` in order, made by threads a few ahead of their use."""
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(4, 2 * threads))
    return iter(grain.MapDataset.range(steps.start, steps.stop).map(batch).to_iter_dataset(options))
