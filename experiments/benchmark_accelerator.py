"""How fast hpax is on an accelerator that is at hand for minutes: rates, share of the peak, share of time it is busy.

`inpainting`: updates of the paired inpainting network by the training loop, with cells in the device's memory and with
batches made by the host, beside the same network of plain Flax layers, and PyTorch's where it is installed.
`efficientnet`: training of EfficientNet-B0 on fields that are on the device. `inception`: Inception-v3's features of
cells sent as bytes. `scoring`: the compiled part of mask mAP at the size of the competition's test set. `neighbours`:
the leave-one-out search of 30,889 cells. All data is drawn in memory, and nothing is read.

`python -m experiments.benchmark_accelerator --sweep all` does them all, the most telling first. Every part leaves its
result as it ends; `--minutes` after the start the process ends, whatever it does. The peak is that of a large matrix
product in the same precision; a part is busy for the time that its updates take on a draw that stays the same, over
the time that they take with data. Times are medians of several, without the first.
"""

import dataclasses
import functools
import importlib
import itertools
import json
import math
import os
import statistics
import threading
import time
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hpax import launch, train
from hpax.data import PairBatches, ResidentPairs, preprocess
from hpax.data.pipeline import HostBatch, ProcessShard
from hpax.metrics import detection, neighbours
from hpax.metrics.counting import CLASSES, Counts
from hpax.nn import inpainter
from hpax.nn.efficientnet import EfficientNet
from hpax.nn.heads import CamNet, CellNet
from hpax.nn.inception import Inception
from hpax.nn.inpainter import Inpainter
from hpax.nn.reference import PlainInpainter, scaled
from hpax.ops import matching
from hpax.task import Task
from hpax.tasks.inpaint import PairedInpainting
from hpax.tasks.localize import Localization
from hpax.train.update import update
from hpax.types import Array, Batch

START, REPEATS = time.monotonic(), 5
ADAM = optax.adam(1e-4, b1=0.5)
TINY: dict[str, Any] = {"widths": (16,), "depths": (1,), "expansions": (4,), "sizes": (3,), "strides": (2,)}
DTYPES = {"float32": None, "bfloat16": jnp.bfloat16}
BATCHES = {"inpainting": 512, "efficientnet": 128, "inception": 1024}
"""Examples of a batch; those of narrow networks are four times as many."""


@dataclasses.dataclass(frozen=True)
class Config:
    """What to time."""

    part: Literal["inpainting", "efficientnet", "inception", "scoring", "neighbours"] = "inpainting"
    width: float = 1.0  # inpainting: of the network
    dtype: Literal["float32", "bfloat16"] = "bfloat16"  # networks: what they compute in
    batch_size: int = 0  # 0: as BATCHES has it
    cells: int = 65_536  # inpainting: in memory
    seconds: float = 0.4  # of each of the repeats
    minutes: float = 5.0  # after which the process ends, results so far are kept
    beside: bool = True  # time plain Flax and PyTorch too
    fast: bool = False  # sizes for a test on CPUs
    seed: int = 0

    @property
    def batch(self) -> int:
        """Examples of a batch."""
        if self.batch_size:
            return self.batch_size
        return 8 if self.fast else BATCHES[self.part] * (4 if self.part == "inpainting" and self.width < 0.5 else 1)


SWEEPS = {
    "all": (
        {"part": "inpainting", "width": 1.0, "dtype": "bfloat16"},
        {"part": "efficientnet", "dtype": "bfloat16"},
        {"part": "inception", "dtype": "bfloat16"},
        {"part": "scoring"},
        {"part": "neighbours"},
        {"part": "inpainting", "width": 0.25, "dtype": "bfloat16", "beside": False},
        {"part": "inpainting", "width": 1.0, "dtype": "float32", "beside": False},
        {"part": "inpainting", "width": 0.25, "dtype": "float32", "beside": False},
    ),
}


def run(config: Config, workdir: Path) -> launch.Result:
    """Times one part, and prints what it found at once; ends the process when its minutes are over."""
    alarm = threading.Timer(60 * max(0.0, config.minutes - minutes()), stop)
    alarm.daemon = True
    alarm.start()
    parts = {"inpainting": time_inpainting, "efficientnet": time_efficientnet, "inception": time_inception}
    parts |= {"scoring": time_scoring, "neighbours": time_neighbours}
    try:
        metrics, counts = parts[config.part](config)
    finally:
        alarm.cancel()
    metrics["minutes since the start"] = minutes()
    print(json.dumps({name: float(f"{value:.4g}") for name, value in metrics.items()}), flush=True)
    return launch.Result(metrics=metrics, counts=counts, data="simulated", headline=list(metrics))


def stop() -> None:
    """Ends the process in the middle of what it does; results of parts that have ended are on the disk."""
    print("the minutes are over; finished parts are kept, the same command goes on with the others", flush=True)
    os._exit(3)


def minutes() -> float:
    """Minutes since this module was loaded."""
    return (time.monotonic() - START) / 60


def seconds_of(call: Callable[[], Any], config: Config) -> float:
    """Seconds of a call: the median of repeats, in each of which many calls run one after the other."""
    jax.block_until_ready(call())
    once = timed(call, 1)
    calls = 1 if config.fast else max(1, min(1000, math.ceil(config.seconds / once)))
    return statistics.median(timed(call, calls) for _ in range(2 if config.fast else REPEATS))


def timed(call: Callable[[], Any], calls: int) -> float:
    """Seconds of each of so many calls; the device has finished with the last."""
    start = time.perf_counter()
    for _ in range(calls):
        answer = call()
    jax.block_until_ready(answer)
    return (time.perf_counter() - start) / calls


@functools.cache
def peak(dtype: str, fast: bool) -> float:
    """FLOP/s of a large matrix product of random numbers, as XLA computes it by default."""
    n = 256 if fast else 8192
    a, b = (jax.random.normal(key, (n, n), dtype) for key in jax.random.split(jax.random.key(0)))
    product = jax.jit(jnp.matmul)
    return 2 * n**3 / seconds_of(lambda: product(a, b), Config(fast=fast, seconds=0.2))


def flops(function: Callable, *arguments: Any) -> float:
    """Floating-point operations that XLA counts in what it is given to compile; NaN where there are no CPUs to ask.

    Compilers of accelerators do not count, so the one for CPUs does, in the program that is meant for this device.
    """
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), arguments)
    platform = jax.default_backend().replace("gpu", "cuda")
    try:
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            return jax.jit(function).trace(*shapes).lower(lowering_platforms=(platform,)).cost_analysis()["flops"]
    except (NotImplementedError, RuntimeError):
        return math.nan


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


class Constant(ResidentPairs):
    """Batches made by the device of the same draw every time: what an update takes where no data has to come."""

    def draws(self, start: int = 0) -> Iterator[HostBatch]:
        """The first draw, for ever."""
        return itertools.repeat(self._pairs.draw(0))


def time_inpainting(config: Config) -> tuple[dict[str, float], dict[str, int]]:
    """Updates by the training loop; Flax's and PyTorch's on a batch that stays on the device."""
    side = 16 if config.fast else 64
    cells = Cells(200 if config.fast else config.cells, side, config.seed)
    share = ProcessShard(devices=jax.device_count())
    pairs = PairBatches(cells, config.batch * jax.device_count(), seed=config.seed, share=share, cache_bytes=0)
    task = PairedInpainting(Inpainter(config.width, axis_name=train.AXIS, dtype=DTYPES[config.dtype]))
    initial = train.create(task, ADAM, pairs[0], seed=config.seed)
    sides: dict[str, train.Batches] = {"resident": ResidentPairs(pairs), "constant": Constant(pairs), "host": pairs}
    seconds = {name: seconds_of_updates(task, batches, initial, config) for name, batches in sides.items()}
    work = flops_of_update(PairedInpainting(Inpainter(config.width, dtype=DTYPES[config.dtype])), pairs[0])
    metrics = {f"{name} (pairs/s)": pairs.batch_size / each for name, each in seconds.items()}
    metrics |= speed(work / seconds["resident"], config)
    metrics["busy, resident"] = min(1.0, seconds["constant"] / seconds["resident"])
    metrics["busy, host"] = min(1.0, seconds["constant"] / seconds["host"])
    if config.beside:
        batch = jax.device_put(pairs[0])
        plain = PairedInpainting(PlainInpainter(config.width, DTYPES[config.dtype]))
        metrics["flax (pairs/s)"] = pairs.batch_size / seconds_of(updater(plain, batch), config)
        metrics |= beside_torch("pairs/s", torch_inpainting, config, side=side)
    return metrics, {"pairs": pairs.batch_size, "cells": len(cells)}


def seconds_of_updates(task: Task, batches: train.Batches, initial: train.State, config: Config) -> float:
    """Seconds of an update in `train.updates`, whatever it waits for included."""
    plan = train.Run(task, batches, ADAM, steps=2**40, seed=config.seed)
    loop = train.updates(plan, initial)
    try:
        return seconds_of(lambda: next(loop)[2]["loss"], config)
    finally:
        loop.close()


def updater(task: Task, batch: Batch) -> Callable[[], Array]:
    """One update after another on the same batch; returns the loss."""
    state = train.create(task, ADAM, batch, seed=0)
    step = jax.jit(lambda state, batch: update(task, ADAM, state, batch, np.uint32(0)), donate_argnums=0)

    def advance() -> Array:
        nonlocal state
        state, report = step(state, batch)
        return report["loss"]

    return advance


def flops_of_update(task: Task, batch: Batch) -> float:
    """Of one update on a batch of this shape."""
    state = jax.eval_shape(lambda: train.create(task, ADAM, batch, seed=0))
    return flops(lambda state, batch: update(task, ADAM, state, batch, np.uint32(0)), state, dict(batch))


def speed(rate: float, config: Config) -> dict[str, float]:
    """FLOP/s of all devices, and their share of the peak."""
    devices = jax.device_count()
    return {"TFLOP/s": rate / 1e12, "share of peak": rate / devices / peak(config.dtype, config.fast)}


def beside_torch(unit: str, make: Callable[..., Callable[[], Any]], config: Config, **options: Any) -> dict[str, float]:
    """PyTorch's rate on batches of the same size; nothing where it is not installed or lacks memory.

    `make(torch, config, **options)` gives what is timed: channels last, in bfloat16 by autocast, else with TF32.
    """
    if jax.default_backend() == "cpu":
        return {}
    try:
        torch = importlib.import_module("torch")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
        call = make(torch, config, **options)

        def finished() -> None:
            call()
            torch.cuda.synchronize()

        finished()
        once = timed(finished, 1)
        calls = max(1, math.ceil(config.seconds / once))
        return {f"pytorch ({unit})": config.batch / statistics.median(timed(finished, calls) for _ in range(REPEATS))}
    except (ImportError, RuntimeError) as error:
        print(f"without PyTorch: {type(error).__name__}: {str(error)[:200]}", flush=True)
        return {}


def torch_update(torch: Any, config: Config, model: Any, loss: Callable[[Any], Any]) -> Callable[[], None]:
    """One update of `model` after another; `loss(model)` is computed by autocast where asked for bfloat16."""
    model = model.cuda().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=True)

    def advance() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16, enabled=config.dtype == "bfloat16"):
            lost = loss(model)
        lost.backward()
        optimizer.step()

    return advance


def torch_images(torch: Any, config: Config, side: int, channels: int) -> Any:
    """Random images on the GPU."""
    images = torch.rand(config.batch, channels, side, side, device="cuda")
    return images.to(memory_format=torch.channels_last)


def torch_inpainting(torch: Any, config: Config, *, side: int) -> Callable[[], None]:
    """Updates of the paired inpainting network."""
    nn = torch.nn

    def encoder(channels: int, widths: Sequence[int]) -> Any:
        layers = []
        for layer, width in enumerate(scaled(widths, config.width), 1):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(width, 1e-3, 0.01)]
            layers += [nn.MaxPool2d(2)] if layer in inpainter.POOLED else []
            channels = width
        return nn.Sequential(*layers)

    told, seen = encoder(3, inpainter.SOURCE_WIDTHS), encoder(2, inpainter.MARKER_WIDTHS)
    channels = sum(scaled([inpainter.SOURCE_WIDTHS[-1], inpainter.MARKER_WIDTHS[-1]], config.width))
    layers = []
    for group, widths in enumerate(inpainter.DECODER_WIDTHS):
        layers += [nn.Upsample(scale_factor=2)] if group else []
        for width in scaled(widths, config.width):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    decoder = nn.Sequential(*layers, nn.Conv2d(channels, 1, 1))
    source, target = torch_images(torch, config, side, 3), torch_images(torch, config, side, 3)

    def loss(parts: Any) -> Any:
        painted = parts[2](torch.cat([parts[0](source), parts[1](target[:, 1:])], 1))
        return (painted.float() - target[:, :1]).square().mean()

    return torch_update(torch, config, nn.ModuleList([told, seen, decoder]), loss)


def torch_efficientnet(torch: Any, config: Config, *, side: int) -> Callable[[], None]:
    """Updates of torchvision's EfficientNet-B0."""
    model = importlib.import_module("torchvision.models").efficientnet_b0(num_classes=19)
    model.features[0][0] = torch.nn.Conv2d(4, 32, 3, stride=2, padding=1, bias=False)
    fields = torch_images(torch, config, side, 4)
    labels = torch.randint(0, 2, (config.batch, 19), device="cuda").float()
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    return torch_update(torch, config, model, lambda model: bce(model(fields).float(), labels))


def torch_inception(torch: Any, config: Config, *, side: int) -> Callable[[], None]:
    """Features of torchvision's Inception-v3, of cells that are on the GPU."""
    models = importlib.import_module("torchvision.models")
    model = models.inception_v3(weights=None, aux_logits=False, transform_input=False, init_weights=False)
    model.Conv2d_1a_3x3.conv = torch.nn.Conv2d(4, 32, 3, stride=2, bias=False)
    model.fc, cells = torch.nn.Identity(), torch_images(torch, config, side, 4)
    model = model.cuda().to(memory_format=torch.channels_last).eval()

    @torch.inference_mode()
    def features() -> None:
        with torch.autocast("cuda", torch.bfloat16, enabled=config.dtype == "bfloat16"):
            model(cells)

    return features


def time_efficientnet(config: Config) -> tuple[dict[str, float], dict[str, int]]:
    """Updates of a field-level classifier on fields that are on the device."""
    side = 64 if config.fast else 256
    draw = np.random.default_rng(config.seed)
    fields = {
        "image": draw.random((config.batch, side, side, 4), np.float32),
        "labels": draw.integers(0, 2, (config.batch, 19)).astype(np.float32),
        "mask": np.ones(config.batch, np.float32),
    }
    task = Localization(CamNet(EfficientNet(dtype=DTYPES[config.dtype], **(TINY if config.fast else {}))))
    seconds = seconds_of(updater(task, jax.device_put(fields)), config)
    metrics = {"trained (fields/s)": config.batch / seconds, **speed(flops_of_update(task, fields) / seconds, config)}
    if config.beside:
        metrics |= beside_torch("fields/s", torch_efficientnet, config, side=side)
    return metrics, {"fields": config.batch}


def time_inception(config: Config) -> tuple[dict[str, float], dict[str, int]]:
    """Features of cells that are sent as bytes, batch after batch, and of those that are on the device."""
    side = 75 if config.fast else 128
    draw = np.random.default_rng(config.seed)
    sent = [draw.integers(0, 256, (config.batch, side, side, 4), np.uint8) for _ in range(3)]
    model = CellNet(Inception(dtype=DTYPES[config.dtype], thin=16 if config.fast else 1))
    variables = jax.jit(model.init)(jax.random.key(config.seed), preprocess.as_float(sent[0][:1]))

    def features(variables: Any, cells: Array) -> Array:
        said: Any = model.apply(variables, preprocess.as_float(cells))
        return said.features

    encode, batches, held = jax.jit(features), itertools.cycle(sent), jax.device_put(sent[0])
    seconds = {
        "sent as bytes": seconds_of(lambda: encode(variables, jax.device_put(next(batches))), config),
        "on the device": seconds_of(lambda: encode(variables, held), config),
    }
    metrics = {f"{name} (cells/s)": config.batch / each for name, each in seconds.items()}
    metrics |= speed(flops(features, variables, held) / seconds["sent as bytes"], config)
    metrics["busy"] = min(1.0, seconds["on the device"] / seconds["sent as bytes"])
    if config.beside:
        metrics |= beside_torch("cells/s", torch_inception, config, side=side)
    return metrics, {"cells": config.batch}


def time_scoring(config: Config) -> tuple[dict[str, float], dict[str, int]]:
    """Every cell listed for every class, as submissions do; one threshold."""
    images, cells = (20, 400) if config.fast else (1_776, 41_597)
    found = drawn_tally(images, cells, config.seed)
    ranking, truths = detection.rank(found), found.truths.sum(0, dtype=np.int64)
    with jax.enable_x64(True):
        arrays = ranking.tier, ranking.truth, ranking.iou, truths, np.array([detection.IOU])
        held, room = jax.device_put(arrays), matching.bucket(int(truths.max()))
        compiled = seconds_of(lambda: matching.evaluate(*held, truths=room)[0], config)
    metrics = {
        "compiled part (ms)": 1e3 * compiled,
        "ranking, on the host (ms)": 1e3 * seconds_of(lambda: detection.rank(found).tier, config),
        "whole (ms)": 1e3 * seconds_of(lambda: detection.score(found).ap, config),
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


def time_neighbours(config: Config) -> tuple[dict[str, float], dict[str, int]]:
    """All cells are asked for, groups of about ten are left out."""
    cells, features = (500, 32) if config.fast else (30_889, 384)
    draw = np.random.default_rng(config.seed)
    table = draw.standard_normal((cells, features), np.float32)
    groups = draw.integers(0, cells // 10, cells)
    seconds = seconds_of(lambda: neighbours.nearest(table, groups, k=11), config)
    rate = speed(2 * cells**2 * features / seconds, dataclasses.replace(config, dtype="float32"))
    return {"search (s)": seconds, **rate}, {"cells": cells}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.6")  # the rest is for PyTorch
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
