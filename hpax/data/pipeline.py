"""Batches from a built data set: the batch of a step depends on nothing but (seed, step).

So a run resumes at any step, and one process or eight see the same rows. Threads read ahead through grain; memory
holds a few batches, the cache of decoded crops (bounded), and a few numbers per cell.
"""

import abc
import collections
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, SupportsIndex, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, UInt

from hpax import ahead
from hpax.data import pairs, preprocess
from hpax.types import Array

Prepare = Callable[[UInt[Array, "b s s c"]], Float[Array, "b s s c"]]
HostBatch = dict[str, np.ndarray]

FOREVER = 2**40  # steps of an endless iteration


@runtime_checkable
class Cells(Protocol):
    """What batches of cells need of a Source."""

    @property
    def info(self) -> Any:
        """`info.features["image"]` has the shape and the np_dtype of a crop."""
        ...

    def __len__(self) -> int: ...

    def __getitems__(self, indices: Sequence[SupportsIndex]) -> Sequence[Mapping[str, Any]]:
        """Some examples, each with its "image"."""
        ...


@runtime_checkable
class GroupedCells(Cells, Protocol):
    """What batches of pairs need of a Source."""

    @property
    def groups(self) -> Int[np.ndarray, " n"]:
        """The image of every cell, as a number."""
        ...


@dataclasses.dataclass(frozen=True)
class ProcessShard:
    """Which rows of each global batch this process gets, and how many devices they must divide by.

    Raises:
        ValueError: a process out of range.
    """

    process: int = 0
    processes: int = 1
    devices: int = 1  # of all processes together

    def __post_init__(self) -> None:
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


def this_process() -> ProcessShard:
    """The share of this process in the running program, as JAX knows it; asking starts JAX's devices.

    Devices do not count here: a run splits its process's rows over those that it uses, and says where they do not fit.
    """
    import jax  # here, so that whoever only builds data sets starts without it

    return ProcessShard(jax.process_index(), jax.process_count())


class ProcessRows:
    """The rows of each batch of `batch_size` that a process gets; without a `share`, those of this process.

    Then it is asked for at the first use, not before, so that batches may be made before `jax.distributed.initialize`.

    Raises:
        ValueError: `batch_size` does not divide, at once where a `share` is given.
    """

    def __init__(self, batch_size: int, share: ProcessShard | None):
        self._batch_size = batch_size
        self._rows = (share or ProcessShard()).rows(batch_size)
        self._known = share is not None

    @property
    def rows(self) -> slice:
        """This process's contiguous rows of a global batch."""
        if not self._known:
            self._rows, self._known = this_process().rows(self._batch_size), True
        return self._rows


class Crops:
    """Decodes crops of a source; the last ones used stay in memory, up to `cache_bytes`. Safe for threads."""

    def __init__(self, source: Cells, cache_bytes: int):
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

    def read(self, indices: Int[np.ndarray, " b"]) -> UInt[np.ndarray, "b s s c"]:
        """The crops at `indices`, past the cache."""
        return np.stack([example["image"] for example in self._source.__getitems__(indices.tolist())])

    def _remember(self, crops: dict[int, np.ndarray]) -> None:
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
        ValueError: `batch_size` does not divide by the devices or processes of `share` (`ProcessRows`).
    """

    def __init__(self, n: int, batch_size: int, *, share: ProcessShard | None, threads: int):
        self._process, self.threads = ProcessRows(batch_size, share), threads
        self.n, self.batch_size, self.steps_per_epoch = n, batch_size, -(-n // batch_size)

    def __getitem__(self, step: int) -> HostBatch:
        return padded(self._fill(*self._places(step)), self._process.rows)

    def _places(self, step: int) -> tuple[int, Int[np.ndarray, " b"]]:
        """The epoch of a step, and the places of it that are this process's."""
        epoch, position = divmod(step, self.steps_per_epoch)
        rows = self._process.rows
        return epoch, np.arange(self.n)[window(position, self.batch_size, rows, self.n)]

    def iterate(self, start: int = 0) -> Iterator[HostBatch]:
        """The batches from step `start` on, for ever, read ahead by threads."""
        return read_ahead(self.__getitem__, range(start, FOREVER), self.threads)

    def epoch(self, epoch: int = 0) -> Iterator[HostBatch]:
        """One pass, as for validation."""
        steps = range(epoch * self.steps_per_epoch, (epoch + 1) * self.steps_per_epoch)
        return read_ahead(self.__getitem__, steps, self.threads)

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
        source: GroupedCells,
        batch_size: int,
        *,
        seed: int = 0,
        pair: pairs.Pair = "sibling",
        images: Int[np.ndarray, " n"] | None = None,  # of each cell; None: the source's groups
        proteins: Int[np.ndarray, " n"] | None = None,  # of each cell, where pairs are of one protein
        prepare: Prepare = preprocess.human,
        flip: bool = True,
        shuffle: bool = True,
        share: ProcessShard | None = None,  # None: that of this process
        cache_bytes: int = 2**28,
        threads: int = 0,  # that read ahead; 0: as many as the process has cores
    ):
        super().__init__(len(source), batch_size, share=share, threads=threads)
        self.crops, self.prepare, self.flip = Crops(source, cache_bytes), prepare, flip
        self._groups = source.groups if images is None else images
        self._proteins, self._seed, self._pair, self._shuffle = proteins, seed, pair, shuffle
        self._plan = functools.lru_cache(maxsize=2)(self._make_plan)
        self._plan(0)

    def draw(self, step: int) -> HostBatch:
        """The batch of `step` before any pixel is read: `index`, `target_index`, `mask`, and `flips` (b, 2, 2)."""
        epoch, places = self._places(step)
        return padded(self._drawn(epoch, places), self._process.rows)

    def draws(self, start: int = 0) -> Iterator[HostBatch]:
        """`draw` of the steps from `start` on, for ever, read ahead by a thread."""
        return read_ahead(self.draw, range(start, FOREVER), threads=1)

    def _drawn(self, epoch: int, places: Int[np.ndarray, " b"]) -> HostBatch:
        plan = self._plan(epoch)
        sources = plan.order[places]
        return {"index": sources, "target_index": plan.targets[sources], "flips": plan.flips[sources]}

    def _fill(self, epoch: int, places: Int[np.ndarray, " b"]) -> HostBatch:
        drawn = self._drawn(epoch, places)
        flips = drawn.pop("flips")
        cells = paired(self.crops, drawn["index"], drawn["target_index"], flips, self.prepare, self.flip)
        return {name: np.asarray(value) for name, value in cells.items()} | drawn

    def _make_plan(self, epoch: int) -> Plan:
        drawn = {"seed": self._seed, "epoch": epoch}
        order = pairs.order(self.n, **drawn) if self._shuffle else np.arange(self.n)
        flips = pairs.flips(self.n, **drawn)
        if self._pair == "self":
            flips[:, 1] = flips[:, 0]
        return Plan(order, pairs.targets(self._groups, self._pair, proteins=self._proteins, **drawn), flips)


class CellBatches:
    """Every cell once, in the order of the source, as for feature extraction; batches read ahead when iterated.

    A batch holds this process's rows of `image` (b, s, s, c) float32 as `prepare` makes them, `index` (b,) int32 and
    `mask` (b,) float32. The last batch is padded: mask 0, images 0, indices -1.

    Raises:
        ValueError: `batch_size` does not divide by the devices or processes of `share`.
    """

    def __init__(
        self,
        source: Cells,
        batch_size: int,
        *,
        prepare: Prepare = preprocess.human,
        share: ProcessShard | None = None,  # None: that of this process
        threads: int = 0,  # that read ahead; 0: as many as the process has cores
    ):
        self._process, self._threads = ProcessRows(batch_size, share), threads
        self.n, self.batch_size = len(source), batch_size
        self._crops, self._prepare = Crops(source, cache_bytes=0), prepare

    def __len__(self) -> int:
        return -(-self.n // self.batch_size)

    def __getitem__(self, step: int) -> HostBatch:
        if not 0 <= step < len(self):
            raise IndexError(f"step must be in 0..{len(self) - 1}, got {step}")
        rows = self._process.rows
        cells = np.arange(self.n)[window(step, self.batch_size, rows, self.n)]
        return padded({"image": np.asarray(self._prepare(self._crops(cells))), "index": cells}, rows)

    def __iter__(self) -> Iterator[HostBatch]:
        return self.iterate()

    def iterate(self, start: int = 0) -> Iterator[HostBatch]:
        """The batches from step `start` to the last, read ahead by threads."""
        return read_ahead(self.__getitem__, range(start, len(self)), self._threads)


def paired(
    crops: Callable[[Any], UInt[Array, "n s s c"]],  # takes indices (n,)
    sources: Int[Array, " b"],
    targets: Int[Array, " b"],
    flips: Bool[Array, "b 2 2"],
    prepare: Prepare,
    flip: bool,
) -> dict[str, Float[Array, "b s s c"]]:
    """The cells `source` and `target` as a network sees them, of crops by index; of NumPy or of JAX."""
    xp = sources.__array_namespace__()
    images = prepare(crops(xp.concatenate([sources, targets])))
    images = preprocess.flip(images, flips.swapaxes(0, 1).reshape(-1, 2)) if flip else images
    return {"source": images[: len(sources)], "target": images[len(sources) :]}


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


def cores() -> int:
    """The cores that this process may run on, at least 2: how many threads make batches unless told otherwise."""
    return max(2, ahead.cores())


def read_ahead(batch: Callable[[int], HostBatch], steps: range, threads: int) -> Iterator[HostBatch]:
    """The batches of `steps` in order, made a few ahead of their use by so many threads; 0 is one for each core."""
    import grain  # here, as nothing else needs it

    threads = threads or cores()
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + 2)
    return iter(grain.MapDataset.range(steps.start, steps.stop).map(batch).to_iter_dataset(options))
