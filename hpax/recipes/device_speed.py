"""How fast hpax is on the devices that are there: training, features, scoring and neighbours of data drawn in memory.

Each `time_…` takes a `Workload` and returns metrics by name, and the counts that they rest on. The peak is that of a
large matrix product in the same precision; a part is busy for the time that its updates take on a draw that stays the
same, over the time that they take with data.
"""

import dataclasses
import functools
import importlib
import itertools
import time
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hpax import train
from hpax.data import (
    CopyPasteBatches,
    ImageBatches,
    PairBatches,
    ResidentFields,
    ResidentPairs,
    ResidentPatches,
    preprocess,
)
from hpax.data.pipeline import ProcessShard
from hpax.fields import Field, Masks
from hpax.metrics import detection, neighbours
from hpax.metrics.counting import CLASSES, Counts
from hpax.metrics.timing import Stopwatch, flops, peak_flops
from hpax.nn import rivals
from hpax.nn.efficientnet import EfficientNet
from hpax.nn.heads import CamNet, CellNet
from hpax.nn.inception import Inception
from hpax.nn.inpainter import Inpainter
from hpax.nn.reference import PlainInpainter
from hpax.ops import matching
from hpax.recipes import learning
from hpax.recipes.configs import Strength
from hpax.task import Task
from hpax.tasks.inpaint import PairedInpainting
from hpax.tasks.localize import Localization
from hpax.train import resident
from hpax.train.update import update
from hpax.types import Array, Batch

ADAM = optax.adam(1e-4, b1=0.5)
TINY: dict[str, Any] = {"widths": (16,), "depths": (1,), "expansions": (4,), "sizes": (3,), "strides": (2,)}
CELLS_ALONG = 5  # cells along each side of a field
DTYPES = {"float32": None, "bfloat16": jnp.bfloat16}

Measured = tuple[dict[str, float], dict[str, int]]
"""Metrics and counts."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """What to time, and how large it is."""

    batch: int  # examples of a batch, on each device
    width: float = 1.0  # inpainting: of the network
    dtype: Literal["float32", "bfloat16"] = "bfloat16"  # networks: what they compute in
    cells: int = 65_536  # inpainting: in memory
    fields: int = 2_048  # fields: in memory
    augmentation: Strength = "light"  # fields
    copy_paste: bool = False  # fields: patches that mix them and their cells
    seconds: float = 0.4  # of each of the repeats
    beside: bool = True  # time plain Flax and PyTorch too
    fast: bool = False  # sizes for a test on CPUs
    seed: int = 0

    @property
    def stopwatch(self) -> Stopwatch:
        """What times it."""
        return Stopwatch(0, 2) if self.fast else Stopwatch(self.seconds)


@functools.cache
def peak(dtype: str, fast: bool) -> float:
    """FLOP/s of a large matrix product."""
    return peak_flops(dtype, 256, Stopwatch(0, 2)) if fast else peak_flops(dtype, 8192, Stopwatch(0.2))


class Cells:
    """Cells of random bytes in memory, ten of an image, as a source of pairs."""

    def __init__(self, n: int, side: int, seed: int):
        self.images = np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), np.uint8)
        self.groups = np.arange(n) // 10 % (n // 10)  # those that remain join the first images
        feature = types.SimpleNamespace(shape=self.images.shape[1:], np_dtype=np.uint8)
        self.info = types.SimpleNamespace(features={"image": feature})

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: Sequence[SupportsIndex]) -> list[dict[str, np.ndarray]]:
        """Some cells."""
        return [{"image": self.images[int(index)]} for index in indices]


class Constant:
    """Batches that devices make of the same draw every time: what an update takes where no data has to come."""

    def __init__(self, batches: resident.Resident):
        self._batches, self.n, self.materialise = batches, batches.n, batches.materialise
        self.examples, self.iterate = batches.examples, batches.iterate

    def __getitem__(self, step: int) -> Batch:
        return self._batches[0]

    def draws(self, start: int = 0) -> Iterator[Batch]:
        """The first draw, for ever."""
        return itertools.repeat(next(self._batches.draws(0)))


class Fields:
    """Fields of random bytes in memory, larger by an eighth than the window, with square cells and 19 classes."""

    def __init__(self, n: int, window: int, seed: int):
        draw, side = np.random.default_rng(seed), window + window // 8
        self._images = draw.integers(0, 256, (n, side, side, 4), np.uint8)
        row, column = np.indices((side, side)) * CELLS_ALONG // side
        cells = (1 + row * CELLS_ALONG + column).astype(np.uint16)
        self._masks = Masks(cells, cells)
        self.labels = draw.integers(0, 2, (n, CLASSES)).astype(np.uint8)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: SupportsIndex) -> Field:
        return Field(str(int(index)), self._images[int(index)], um_per_pixel=1.0, masks=self._masks)


def time_inpainting(work: Workload) -> Measured:
    """Updates by the training loop; Flax's and PyTorch's on a batch that stays on the device."""
    side = 16 if work.fast else 64
    cells = Cells(200 if work.fast else work.cells, side, work.seed)
    share = ProcessShard(devices=jax.device_count())
    pairs = PairBatches(cells, work.batch * jax.device_count(), seed=work.seed, share=share, cache_bytes=0)
    task = PairedInpainting(Inpainter(work.width, axis_name=train.AXIS, dtype=DTYPES[work.dtype]))
    initial = train.create(task, ADAM, pairs[0], seed=work.seed)
    held = ResidentPairs(pairs)
    sides: dict[str, train.Batches] = {"resident": held, "constant": Constant(held), "host": pairs}
    seconds = {}
    for name, batches in sides.items():
        seconds[name] = seconds_of_updates(task, batches, initial, work)
        print(f"{name}: {pairs.batch_size / seconds[name]:.4g} pairs/s", flush=True)
    operations = flops_of_update(PairedInpainting(Inpainter(work.width, dtype=DTYPES[work.dtype])), pairs[0])
    metrics = {f"{name} (pairs/s)": pairs.batch_size / each for name, each in seconds.items()}
    metrics |= speed(operations / seconds["resident"], work)
    metrics["busy, resident"] = min(1.0, seconds["constant"] / seconds["resident"])
    metrics["busy, host"] = min(1.0, seconds["constant"] / seconds["host"])
    if work.beside:
        batch = jax.device_put(pairs[0])
        plain = PairedInpainting(PlainInpainter(work.width, DTYPES[work.dtype]))
        metrics["flax (pairs/s)"] = pairs.batch_size / work.stopwatch(updater(plain, batch))
        metrics |= beside_torch("pairs/s", rivals.torch_inpainting, work, side=side, width=work.width)
    return metrics, {"pairs": pairs.batch_size, "cells": len(cells)}


def seconds_of_updates(task: Task, batches: train.Batches, initial: train.State, work: Workload) -> float:
    """Seconds of an update in `train.updates`, whatever it waits for included."""
    plan = train.Run(task, batches, ADAM, steps=2**40, seed=work.seed)
    loop = train.updates(plan, initial)
    try:
        return work.stopwatch(lambda: next(loop)[2]["loss"])
    finally:
        loop.close()


def first_seconds(call: Callable[[], Any], what: str) -> float:
    """Seconds of a first call, most of which compiles; said at once, since a compiler may take longer than one has."""
    start = time.perf_counter()
    jax.block_until_ready(call())
    seconds = time.perf_counter() - start
    print(f"{what}: the first update took {seconds:.1f} s", flush=True)
    return seconds


def updater(task: Task, batch: Batch, optimizer: optax.GradientTransformation = ADAM) -> Callable[[], Array]:
    """One update after another on the same batch; returns the loss."""
    state = train.create(task, optimizer, batch, seed=0)
    step = jax.jit(lambda state, batch: update(task, optimizer, state, batch, np.uint32(0)), donate_argnums=0)

    def advance() -> Array:
        nonlocal state
        state, report = step(state, batch)
        return report["loss"]

    return advance


def flops_of_update(task: Task, batch: Batch) -> float:
    """Of one update on a batch of this shape."""
    state = jax.eval_shape(lambda: train.create(task, ADAM, batch, seed=0))
    return flops(lambda state, batch: update(task, ADAM, state, batch, np.uint32(0)), state, dict(batch))


def speed(rate: float, work: Workload) -> dict[str, float]:
    """FLOP/s of all devices, and their share of the peak."""
    devices = jax.device_count()
    return {"TFLOP/s": rate / 1e12, "share of peak": rate / devices / peak(work.dtype, work.fast)}


def beside_torch(unit: str, make: Callable[..., Callable[[], Any]], work: Workload, **options: Any) -> dict[str, float]:
    """PyTorch's rate on batches of the same size; nothing where it is not installed or lacks memory.

    `make(torch, batch=…, dtype=…, **options)` gives what is timed: channels last, in bfloat16 by autocast, else TF32.
    """
    if jax.default_backend() == "cpu":
        return {}
    try:
        torch = importlib.import_module("torch")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
        call = make(torch, batch=work.batch, dtype=work.dtype, **options)

        def finished() -> None:
            call()
            torch.cuda.synchronize()

        return {f"pytorch ({unit})": work.batch / work.stopwatch(finished)}
    except (ImportError, RuntimeError) as error:
        print(f"without PyTorch: {type(error).__name__}: {str(error)[:200]}", flush=True)
        return {}


def time_efficientnet(work: Workload) -> Measured:
    """Updates of a field-level classifier on fields that are on the device."""
    side = 64 if work.fast else 256
    draw = np.random.default_rng(work.seed)
    fields = {
        "image": draw.random((work.batch, side, side, 4), np.float32),
        "labels": draw.integers(0, 2, (work.batch, 19)).astype(np.float32),
        "mask": np.ones(work.batch, np.float32),
    }
    task = Localization(CamNet(EfficientNet(dtype=DTYPES[work.dtype], **(TINY if work.fast else {}))))
    advance = updater(task, jax.device_put(fields))
    first = first_seconds(advance, "EfficientNet-B0")
    seconds = work.stopwatch(advance)
    metrics = {"trained (fields/s)": work.batch / seconds, **speed(flops_of_update(task, fields) / seconds, work)}
    metrics["first update (s)"] = first
    if work.beside:
        metrics |= beside_torch("fields/s", rivals.torch_efficientnet, work, side=side)
    return metrics, {"fields": work.batch}


def time_fields(work: Workload) -> Measured:
    """Updates of EfficientNet-B0 by the training loop: fields held and augmented by the device, and by the host."""
    side, devices = 64 if work.fast else 256, jax.device_count()
    kind = CopyPasteBatches if work.copy_paste else ImageBatches
    batches = kind(
        Fields(64 if work.fast else work.fields, side, work.seed),
        work.batch * devices,
        um_per_pixel=1.0,
        size=side,
        augmentation=learning.augmentation(work.augmentation),
        seed=work.seed,
        share=ProcessShard(devices=devices),
        cached=work.fields,
    )
    network = functools.partial(EfficientNet, dtype=DTYPES[work.dtype], **(TINY if work.fast else {}))
    task = Localization(CamNet(network(axis_name=train.AXIS)))
    initial = train.create(task, ADAM, batches[0], seed=work.seed)
    held = ResidentPatches(batches) if isinstance(batches, CopyPasteBatches) else ResidentFields(batches)
    sides: dict[str, train.Batches] = {"resident": held, "constant": Constant(held), "host": batches}
    seconds = {}
    for name, each in sides.items():
        seconds[name] = seconds_of_updates(task, each, initial, work)
        print(f"{name}: {batches.batch_size / seconds[name]:.4g} fields/s", flush=True)
    made = jax.device_put(held[0])
    seconds["made already"] = work.stopwatch(updater(Localization(CamNet(network())), made)) / devices
    operations = flops_of_update(Localization(CamNet(network())), batches[0])
    metrics = {f"{name} (fields/s)": batches.batch_size / each for name, each in seconds.items()}
    metrics |= speed(operations / seconds["resident"], work)
    for name in ("resident", "host"):
        metrics[f"busy, {name}"] = min(1.0, seconds["made already"] / seconds[name])
    return metrics, {"fields": batches.batch_size, "fields in memory": len(batches.source)}


def time_inception(work: Workload) -> Measured:
    """Features of cells that are sent as bytes, batch after batch, and of those that are on the device."""
    side = 75 if work.fast else 128
    draw = np.random.default_rng(work.seed)
    sent = [draw.integers(0, 256, (work.batch, side, side, 4), np.uint8) for _ in range(3)]
    model = CellNet(Inception(dtype=DTYPES[work.dtype], thin=16 if work.fast else 1))
    variables = jax.jit(model.init)(jax.random.key(work.seed), preprocess.as_float(sent[0][:1]))

    def features(variables: Any, cells: Array) -> Array:
        said: Any = model.apply(variables, preprocess.as_float(cells))
        return said.features

    encode, batches, held = jax.jit(features), itertools.cycle(sent), jax.device_put(sent[0])
    seconds = {
        "sent as bytes": work.stopwatch(lambda: encode(variables, jax.device_put(next(batches)))),
        "on the device": work.stopwatch(lambda: encode(variables, held)),
    }
    metrics = {f"{name} (cells/s)": work.batch / each for name, each in seconds.items()}
    metrics |= speed(flops(features, variables, held) / seconds["sent as bytes"], work)
    metrics["busy"] = min(1.0, seconds["on the device"] / seconds["sent as bytes"])
    if work.beside:
        metrics |= beside_torch("cells/s", rivals.torch_inception, work, side=side)
    return metrics, {"cells": work.batch}


def time_scoring(work: Workload) -> Measured:
    """Every cell listed for every class, as submissions do; one threshold."""
    images, cells = (20, 400) if work.fast else (1_776, 41_597)
    found = drawn_tally(images, cells, work.seed)
    ranking, truths = detection.rank(found), found.truths.sum(0, dtype=np.int64)
    with jax.enable_x64(True):
        arrays = ranking.tier, ranking.truth, ranking.iou, truths, np.array([detection.IOU])
        held, room = jax.device_put(arrays), matching.bucket(int(truths.max()))
        compiled = work.stopwatch(lambda: matching.evaluate(*held, truths=room)[0])
    metrics = {
        "compiled part (ms)": 1e3 * compiled,
        "ranking, on the host (ms)": 1e3 * work.stopwatch(lambda: detection.rank(found).tier),
        "whole (ms)": 1e3 * work.stopwatch(lambda: detection.score(found).ap),
    }
    return metrics, {"images": images, "cells": cells, "detections": len(found.label)}


def drawn_tally(images: int, cells: int, seed: int) -> Counts:
    """What is left of a submission whose masks all overlap a true one, each of which has one class."""
    draw = np.random.default_rng(seed)
    of_cell = np.sort(draw.integers(0, images, cells)).astype(np.int32)
    truth_label = draw.integers(0, CLASSES, cells)
    counts = np.zeros((images, CLASSES), np.int32)
    np.add.at(counts, (of_cell, truth_label), 1)
    kind = of_cell * CLASSES + truth_label
    place = np.empty(cells, np.int32)  # of each truth among those of its class in its image
    place[np.argsort(kind, kind="stable")] = np.arange(cells) - np.repeat(
        np.cumsum(counts) - counts.ravel(), counts.ravel()
    )
    label = np.tile(np.arange(CLASSES, dtype=np.int32), cells)
    own = label == np.repeat(truth_label, CLASSES)
    per_image = np.bincount(of_cell, minlength=images)
    first = np.cumsum(per_image) - per_image
    iou = draw.uniform(0.4, 1, cells)
    return Counts(
        image=np.repeat(of_cell, CLASSES),
        label=label,
        score=draw.random(cells * CLASSES),
        position=np.arange(cells * CLASSES, dtype=np.int32) - np.repeat(first[of_cell] * CLASSES, CLASSES).astype("i4"),
        truth=np.where(own, np.repeat(place, CLASSES), -1).astype(np.int32),
        iou=np.where(own, np.repeat(iou, CLASSES), 0),
        images=np.arange(images, dtype=np.int32),
        truths=counts,
        cells=np.stack([per_image, per_image], 1).astype(np.int32),
        ignored=np.zeros(images, np.int32),
        matched=of_cell,
        matched_iou=iou,
    )


def drawn(cells: int, features: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of cells in groups of about ten, and their groups."""
    random = np.random.default_rng(seed)
    table = random.standard_normal((cells, features), np.float32)
    return table, random.integers(0, max(2, cells // 10), cells)


def time_neighbours(work: Workload) -> Measured:
    """All cells are asked for, groups of about ten are left out."""
    cells, features = (500, 32) if work.fast else (30_889, 384)
    table, groups = drawn(cells, features, work.seed)
    seconds = work.stopwatch(lambda: neighbours.nearest(table, groups, k=11))
    rate = speed(2 * cells**2 * features / seconds, dataclasses.replace(work, dtype="float32"))
    return {"search (s)": seconds, **rate}, {"cells": cells}
