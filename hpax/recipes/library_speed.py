"""How fast hpax trains, feeds and searches beside Flax, scikit-learn, Keras and PyTorch.

Each `time_…` lets the sides take turns, so that a busy machine slows both, and returns metrics by name, and the counts
that they rest on; a ratio is the median over the turns.
"""

import functools
import importlib
import multiprocessing
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import optax
from sklearn.neighbors import NearestNeighbors

from hpax import data
from hpax.metrics import neighbours
from hpax.metrics.timing import Sides, peak_memory, ratio, take_turns
from hpax.nn import rivals
from hpax.nn.efficientnet import EfficientNet
from hpax.nn.heads import CamNet, CellNet
from hpax.nn.inception import Inception
from hpax.nn.inpainter import Inpainter
from hpax.nn.reference import PlainInpainter, drawn_weights, hold_alike
from hpax.predict.cells import of_crops
from hpax.recipes.cells import Atlas, Data, open_cells
from hpax.recipes.device_speed import Measured, drawn, updater
from hpax.segment.cells import cell_images
from hpax.tasks.inpaint import PairedInpainting
from hpax.tasks.localize import Localization
from hpax.types import Array

ADAM = optax.adam(1e-3, b1=0.5)


def time_training(*, width: float, batch_size: int, turns: int, seed: int) -> Measured:
    """Our convolutions beside Flax's, in the same network on the same pairs."""
    draw = np.random.default_rng(seed).random
    pairs = {name: draw((batch_size, 64, 64, 3), np.float32) for name in ("source", "target")}
    batch = {**pairs, "mask": np.ones(batch_size, np.float32)}
    models = {"hpax": Inpainter(width), "flax": PlainInpainter(width)}
    held = jax.device_put(batch)
    sides = {name: updater(PairedInpainting(model), held, ADAM) for name, model in models.items()}
    seconds = take_turns(sides, turns)
    rates = {f"{name} (pairs/s)": batch_size / statistics.median(each) for name, each in seconds.items()}
    metrics = {**rates, "times faster": ratio(seconds["flax"], seconds["hpax"])}
    return metrics, {"pairs": batch_size}


def time_torch_training(*, width: float, batch_size: int, turns: int, seed: int) -> Measured:
    """An update of the inpainting network beside PyTorch's, of pairs that are in memory.

    Raises:
        ImportError: PyTorch is not there.
    """
    draw = np.random.default_rng(seed).random
    pairs = {name: draw((batch_size, 64, 64, 3), np.float32) for name in ("source", "target")}
    batch = jax.device_put({**pairs, "mask": np.ones(batch_size, np.float32)})
    theirs = rivals.torch_inpainting(_torch(), batch=batch_size, dtype="float32", side=64, width=width)
    sides: Sides = {"hpax": updater(PairedInpainting(Inpainter(width)), batch, ADAM), "pytorch": theirs}
    return _beside_torch(sides, turns, "pairs", batch_size), {"pairs": batch_size}


def time_torch_efficientnet(*, batch_size: int, side: int, turns: int, seed: int) -> Measured:
    """EfficientNet-B0 on whole fields, an update and a prediction, beside torchvision's.

    Raises:
        ImportError: PyTorch is not there.
    """
    torch, draw = _torch(), np.random.default_rng(seed)
    fields = {
        "image": draw.random((batch_size, side, side, 4), np.float32),
        "labels": draw.integers(0, 2, (batch_size, 19)).astype(np.float32),
        "mask": np.ones(batch_size, np.float32),
    }
    task, held = Localization(CamNet(EfficientNet())), jax.device_put(fields)
    variables = task.init(jax.random.key(seed), held)
    say = jax.jit(task.predict)
    learning: Sides = {
        "hpax": updater(task, held, ADAM),
        "pytorch": rivals.torch_efficientnet(torch, batch=batch_size, dtype="float32", side=side),
    }
    saying: Sides = {
        "hpax": lambda: say(*variables, held["image"]),
        "pytorch": rivals.torch_fields(torch, batch=batch_size, side=side),
    }
    metrics = {}
    for name, sides in (("trained", learning), ("told", saying)):
        for metric, value in _beside_torch(sides, turns, "fields", batch_size).items():
            metrics[f"{name}: {metric}"] = value
    return metrics, {"fields": batch_size}


def _torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise ImportError(f"timing beside PyTorch needs torch, got {error}; pip install torch torchvision") from error


def _beside_torch(sides: Sides, turns: int, unit: str, count: int) -> dict[str, float]:
    seconds = take_turns(sides, turns)
    metrics = {f"{name} ({unit}/s)": count / statistics.median(each) for name, each in seconds.items()}
    return metrics | {"times faster": ratio(seconds["pytorch"], seconds["hpax"])}


def time_pipeline(*, proteins: int, data_dir: Path, width: float, batch_size: int, turns: int, seed: int) -> Measured:
    """An epoch of pairs from shards, none of them cached, beside what training eats."""
    cells = open_cells(Data(data_dir=data_dir, atlas=Atlas(proteins=proteins)), seed)
    pairs = data.PairBatches(cells.training, batch_size, prepare=cells.prepare, cache_bytes=0)
    batches = pairs.iterate(0)
    steps = max(1, len(cells.training) // batch_size)
    sides: Sides = {
        "read": lambda: sum(len(next(batches)["source"]) for _ in range(steps)),
        "trained": updater(PairedInpainting(Inpainter(width)), jax.device_put(dict(pairs[0])), ADAM),
    }
    seconds = take_turns(sides, turns)
    per_batch = [each / steps for each in seconds["read"]]
    metrics = {
        "read (pairs/s)": batch_size / statistics.median(per_batch),
        "trained (pairs/s)": batch_size / statistics.median(seconds["trained"]),
        "times faster": ratio(seconds["trained"], per_batch),
    }
    counts = {"cells": len(cells.training), "pairs": batch_size}
    return metrics, counts


def peak(cells: int, features: int, k: int, seed: int) -> float:
    """GB that a process (on Linux) takes that imports hpax, draws the features and searches them once."""
    table, groups = drawn(cells, features, seed)
    neighbours.nearest(table, groups, k=k)
    return peak_memory() / 1e3


def time_neighbours(*, cells: int, features: int, k: int, turns: int, seed: int) -> Measured:
    """Ours, which leaves out a cell's whole group, beside scikit-learn's brute force, which leaves out nothing."""
    table, groups = drawn(cells, features, seed)
    sides: Sides = {
        "hpax": lambda: neighbours.nearest(table, groups, k=k),
        "scikit-learn": lambda: (
            NearestNeighbors(n_neighbors=k + 1, algorithm="brute", n_jobs=-1).fit(table).kneighbors()
        ),
    }
    seconds = take_turns(sides, turns)
    with multiprocessing.get_context("spawn").Pool(1) as fresh:
        memory = fresh.apply(peak, (cells, features, k, seed))
    metrics = {f"{name} (s)": statistics.median(each) for name, each in seconds.items()}
    metrics |= {"times faster": ratio(seconds["scikit-learn"], seconds["hpax"]), "peak memory (GB)": memory}
    return metrics, {"cells": cells, "features": features, "k": k}


def time_features(
    beside: Literal["keras", "pytorch"],
    *,
    side: int,
    field_count: int,
    proteins: int,
    data_dir: Path,
    turns: int,
    seed: int,
) -> Measured:
    """Both networks read the same fields from shards, cut the same cells and batch them alike."""
    model = CellNet(Inception())
    images = np.zeros((1, side, side, 4), np.float32)
    variables = drawn_weights(jax.eval_shape(model.init, jax.random.key(seed), images), seed)

    @jax.jit
    def ours(images: Array) -> Array:
        said: Any = model.apply(variables, images)
        return said.features

    theirs: Callable[[Any], Any]
    if beside == "pytorch":
        backbone = {kind: each["backbone"] for kind, each in variables.items()}
        theirs = rivals.torchvision_inception(backbone)
    else:
        theirs = rivals.keras_inception(side)
    built = data.build("simulated_fields", data_dir, proteins=proteins, fields=1, seed=seed)
    source = data.FieldSource(built, data.mask_sources.ground_truth)

    def cells() -> Iterator[np.ndarray]:
        for place in range(field_count):
            field = source[place]
            yield cell_images(field.image, field.found, field.um_per_pixel, crop_um=41.0, size=side, masked=True)[1]

    def features(predict: Callable[[Any], Any]) -> list[np.ndarray]:
        return [np.asarray(each) for each in of_crops(predict, cells())]

    if beside == "pytorch":
        hold_alike(features(ours), features(theirs))
    sides: Sides = {"hpax": functools.partial(features, ours), beside: functools.partial(features, theirs)}
    seconds, count = take_turns(sides, turns), sum(map(len, cells()))
    metrics = {f"{name} (cells/s)": count / statistics.median(each) for name, each in seconds.items()}
    metrics["times faster"] = ratio(seconds[beside], seconds["hpax"])
    counts = {"cells": count, "fields": field_count}
    return metrics, counts
