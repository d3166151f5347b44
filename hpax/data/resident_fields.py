"""Batches of fields, and of bags of their cells, that devices make of what lives in their memory, augmented there."""

import abc
import concurrent.futures
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from hpax.data import device_augment
from hpax.data.augment import Augmentation
from hpax.data.bags import BagBatches
from hpax.data.balance import FieldBatches
from hpax.data.image_batches import ImageBatches, window
from hpax.data.pipeline import FOREVER, HostBatch, cores, read_ahead
from hpax.types import Array, Batch, Take

T = TypeVar("T")


class ResidentBatches(abc.ABC):
    """What fields, bags and patches share. See `hpax.train.resident.Resident`.

    A batch is what `materialise` makes of a draw and the examples that it names, wherever these are: where devices lack
    memory for all of them, the host reads those of each batch (`iterate`) and the augmentation is the devices' all the
    same, so that what is learnt does not depend on the memory that was free.
    """

    augmented_by = "devices"
    """Belongs to what a run is (`hpax.train.identity`): the host draws other numbers."""

    materialise: Callable[[Take, Batch], Batch]

    def __init__(self, batches: FieldBatches):
        self._of_host = batches
        self.steps_per_epoch = batches.steps_per_epoch

    @property
    @abc.abstractmethod
    def n(self) -> int:
        """Examples that devices hold; the first time that it is asked for, every field is read."""

    @abc.abstractmethod
    def draw(self, step: int) -> HostBatch:
        """The batch of `step` before any pixel is seen."""

    @abc.abstractmethod
    def _examples(self, numbers: Int[np.ndarray, " k"]) -> HostBatch:
        """Some examples, as devices hold them."""

    @abc.abstractmethod
    def _numbers(self, draw: Batch) -> Int[Array, " k"]:
        """The examples that a draw names."""

    def __getitem__(self, step: int) -> HostBatch:
        draw = self.draw(step)
        numbers = np.maximum(np.asarray(self._numbers(draw)), 0)
        made = _compiled(self.materialise, self._examples(numbers), numbers, draw)
        return {name: np.asarray(value) for name, value in made.items()}

    def iterate(self, start: int = 0) -> Iterator[HostBatch]:
        """The batches from step `start` on, for ever, of examples that the host reads."""
        return read_ahead(self.__getitem__, range(start, FOREVER), self._of_host.threads)

    def draws(self, start: int = 0) -> Iterator[HostBatch]:
        """`draw` of the steps from `start` on, for ever, read ahead by a thread."""
        return read_ahead(self.draw, range(start, FOREVER), threads=1)

    def examples(self, first: int, last: int) -> HostBatch:
        """The examples from `first` up to `last`, in bytes."""
        return self._examples(np.arange(first, last))


@functools.partial(jax.jit, static_argnums=0)
def _compiled(
    materialise: Callable[[Take, Batch], Batch], examples: Batch, numbers: Int[Array, " k"], draw: Batch
) -> Batch:
    def take(wanted: Int[Array, " n"]) -> dict[str, Array]:
        places = jnp.argmax(wanted[:, None] == numbers, axis=1)
        return {name: jnp.asarray(value)[places] for name, value in examples.items()}

    return materialise(take, draw)


class ResidentFields(ResidentBatches):
    """The batches of an `ImageBatches`, made by devices that hold every field at the network's pixel size, in bytes.

    For `train.Run(batches=ResidentFields(batches), …)`. The fields of a step, their labels and, where the augmentation
    leaves pixels in their places, their windows are those of `batches`; the rest of the augmentation is drawn by the
    devices by (seed, epoch, place), alike in distribution (`device_augment`). Without augmentation the batch is that of
    `batches`, to the bit on CPUs. A field takes the room of the largest one.
    """

    def __init__(self, batches: ImageBatches):
        super().__init__(batches)
        self._batches = batches
        self.materialise = FieldsOfDevice(batches.augmentation, batches.size)

    @property
    def n(self) -> int:
        """The number of fields."""
        return len(self._batches.source)

    def draw(self, step: int) -> HostBatch:
        """The batch of `step` before any pixel is seen: `index`, `labels`, `mask`, `random` (b, 3) uint32.

        Where no pixel is moved, also `corner` (b, 2) int32, where the window begins.
        """
        return self._batches.drawn(step, self._corner)

    def _corner(self, rng: np.random.Generator, plan: Int[np.ndarray, " n"], place: int) -> Mapping[str, Any]:
        batches = self._batches
        if not batches.augmentation.whole:
            return {}
        middle, side = window(rng, batches.augmentation, self._extents[int(plan[place])], batches.size)
        return {"corner": np.array([round(at - side / 2) for at in middle])}

    @functools.cached_property
    def _extents(self) -> list[tuple[int, int]]:
        """Height and width of every field at the network's pixel size; reads them all."""

        def extent(field: int) -> tuple[int, int]:
            height, width, _ = self._batches.field(field).shape
            return height, width

        return over(extent, np.arange(self.n))

    def _examples(self, numbers: Int[np.ndarray, " k"]) -> HostBatch:
        fields = over(self._batches.field, numbers)
        height, width = np.max(self._extents, axis=0)
        image = np.zeros((len(fields), height, width, fields[0].shape[-1]), np.uint8)
        for row, field in zip(image, fields, strict=True):
            row[: field.shape[0], : field.shape[1]] = field
        return {"image": image, "extent": np.array([field.shape[:2] for field in fields], np.int32)}

    def _numbers(self, draw: Batch) -> Int[Array, " k"]:
        return draw["index"]


@dataclasses.dataclass(frozen=True)
class FieldsOfDevice:
    """Makes the batch of a draw: `make(take, draw)`. Equal ones are compiled once."""

    augmentation: Augmentation
    size: int  # pixels of the window

    def __call__(self, take: Take, draw: Batch) -> dict[str, Array]:
        """The batch of `ResidentFields`."""
        batch = dict(draw)
        keys, corner = device_augment.keys(batch.pop("random")), batch.pop("corner", None)
        held = take(jnp.maximum(draw["index"], 0))
        image = device_augment.varied(
            keys, self.augmentation, held["image"], held["extent"], size=self.size, corners=corner
        )
        return batch | {"image": jnp.where(draw["mask"][:, None, None, None] > 0, image, 0)}


class ResidentBags(ResidentBatches):
    """The batches of a `BagBatches`, made by devices that hold the crops of every cell, in bytes.

    For `train.Run(batches=ResidentBags(batches), …)`. The fields of a step, which of their cells are shown, and their
    labels and targets are those of `batches`; the augmentation is drawn by the devices by (seed, epoch, place, cell of
    the bag), alike in distribution (`device_augment`). Without it the batch is that of `batches`, to the bit on CPUs.
    """

    def __init__(self, batches: BagBatches):
        super().__init__(batches)
        self._batches = batches
        self.materialise = BagsOfDevice(batches.augmentation, batches.size)

    @property
    def n(self) -> int:
        """The number of cells, at least 1: where there is none, a black one."""
        return max(1, int(self._first[-1]))

    def draw(self, step: int) -> HostBatch:
        """The batch of `step` before any pixel is seen, with `number` (b, m) int32 of each cell among all, -1 for none,
        and `random` (b, 3) uint32."""
        return self._batches.drawn(step, self._bag)

    def _bag(self, rng: np.random.Generator, plan: Int[np.ndarray, " n"], place: int) -> Mapping[str, Any]:
        field = int(plan[place])
        drawn, row = self._batches.bag(rng, field, *self._known[field])
        number = np.full(self._batches.cells, -1)
        number[: len(drawn)] = self._first[field] + drawn
        return row | {"number": number}

    @functools.cached_property
    def _known(self) -> list[tuple[Int[np.ndarray, " k"], Float[np.ndarray, "k n"]]]:
        """The cells of every field and their targets; reads them all."""

        def known(field: int) -> tuple[np.ndarray, np.ndarray]:
            indices, _, targets = self._batches.field(field)
            return indices, targets

        return over(known, np.arange(len(self._batches.source)))

    @functools.cached_property
    def _first(self) -> Int[np.ndarray, " f"]:
        """The number of the first cell of every field, and of all cells."""
        return np.cumsum([0, *(len(indices) for indices, _ in self._known)])

    def _examples(self, numbers: Int[np.ndarray, " k"]) -> HostBatch:
        of_field = np.maximum(np.searchsorted(self._first, numbers, side="right") - 1, 0)
        of_field = np.minimum(of_field, len(self._known) - 1)
        asked = np.unique(of_field)
        crops = dict(zip(asked.tolist(), over(lambda field: self._batches.field(field)[1], asked), strict=True))
        image = np.zeros((len(numbers), *next(iter(crops.values())).shape[1:]), np.uint8)
        for row, number, field in zip(image, numbers, of_field.tolist(), strict=True):
            if len(crops[field]):
                row[:] = crops[field][number - self._first[field]]
        return {"image": image}

    def _numbers(self, draw: Batch) -> Int[Array, " k"]:
        return draw["number"].reshape(-1)


@dataclasses.dataclass(frozen=True)
class BagsOfDevice:
    """Makes the batch of a draw: `make(take, draw)`. Equal ones are compiled once."""

    augmentation: Augmentation
    size: int  # pixels of a cell's image

    def __call__(self, take: Take, draw: Batch) -> dict[str, Array]:
        """The batch of `ResidentBags`."""
        batch = dict(draw)
        bags, number = device_augment.keys(batch.pop("random")), batch.pop("number")
        bag, cells = number.shape
        keys = jax.vmap(lambda key: jax.vmap(lambda cell: jax.random.fold_in(key, cell))(jnp.arange(cells)))(bags)
        crops = take(jnp.maximum(number.reshape(-1), 0))["image"]
        extents = np.full((len(crops), 2), crops.shape[1], np.int32)
        images = device_augment.varied(keys.reshape(-1), self.augmentation, crops, extents, size=self.size)
        image = images.reshape(bag, cells, self.size, self.size, -1)
        real = (batch["present"] > 0) & (batch["mask"][:, None] > 0)
        return batch | {"image": jnp.where(real[..., None, None, None], image, 0)}


def over(work: Callable[[int], T], numbers: Int[np.ndarray, " k"]) -> list[T]:
    """What `work` makes of each number, by as many threads as there are cores."""
    with concurrent.futures.ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(work, numbers.tolist()))
