"""How fast hpax trains, feeds and searches, beside what one would use instead, in one run.

`training`: one update of the inpainting network, beside the same network of plain Flax layers. `pipeline`: pairs read
from shards, beside what training eats. `neighbours`: the leave-one-out search for the size of the published human
benchmark, 30,889 cells with 384 features, beside scikit-learn's. `features`: Inception-v3's 2,048 features of cells cut
from simulated fields, reading and cutting included, beside the same network of Keras on JAX. `pytorch`: these beside
torchvision's, which hpax does not install. Sides take turns, so that a busy machine slows both; a ratio is the median
over the turns.
"""

import dataclasses
import functools
import importlib
import multiprocessing
import os
import re
import statistics
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import optax
from flax import linen as nn
from sklearn.neighbors import NearestNeighbors

from hpax import data, launch, train
from hpax.metrics import neighbours
from hpax.metrics.timing import Sides, ratio, take_turns
from hpax.nn.heads import CellNet
from hpax.nn.inception import Inception
from hpax.nn.inpainter import Inpainter
from hpax.nn.reference import PlainInpainter, drawn_weights, hold_alike
from hpax.predict.cells import of_crops
from hpax.recipes.cells import Atlas, Data, open_cells
from hpax.segment.cells import cell_images
from hpax.tasks.inpaint import PairedInpainting
from hpax.train.update import update
from hpax.types import Array


@dataclasses.dataclass(frozen=True)
class Config:
    """What to time."""

    part: Literal["training", "pipeline", "neighbours", "features", "pytorch"] = "training"
    width: float = 0.25  # training and pipeline: of the network
    batch_size: int = 32  # training and pipeline: pairs
    cells: int = 30_889  # neighbours
    features: int = 384  # neighbours
    k: int = 11  # neighbours
    side: int = 128  # features and pytorch: pixels of a cell's side
    field_count: int = 4  # features and pytorch: fields whose cells are read in a turn
    turns: int = 5  # of each side
    data_dir: Path = Path("runs/data")  # pipeline: where shards are built
    proteins: int = 38  # pipeline: of the simulated atlas
    seed: int = 0


SWEEPS: dict[str, Sequence[launch.Difference]] = {
    "parts": (
        {"part": "training"},
        {"part": "training", "width": 1.0},
        *launch.grid(part=["pipeline", "neighbours", "features"]),
    ),
    "pytorch": ({"part": "pytorch"},),
}


def run(config: Config, workdir: Path) -> launch.Result:
    """Times one part."""
    parts = {"training": time_training, "pipeline": time_pipeline}
    parts |= {"neighbours": time_neighbours, "features": time_features, "pytorch": time_features}
    return parts[config.part](config)


def updater(model: nn.Module, batch: dict[str, np.ndarray]) -> Callable[[], Array]:
    """One optimisation step after another on the same pairs; returns the loss."""
    task, optimizer = PairedInpainting(model), optax.adam(1e-3, b1=0.5)
    state = train.create(task, optimizer, batch, seed=0)
    step = jax.jit(lambda state: update(task, optimizer, state, batch, np.uint32(0)), donate_argnums=0)

    def advance() -> Array:
        nonlocal state
        state, report = step(state)
        return report["loss"]

    return advance


def time_training(config: Config) -> launch.Result:
    """Our convolutions beside Flax's, in the same network on the same pairs."""
    draw = np.random.default_rng(config.seed).random
    pairs = {name: draw((config.batch_size, 64, 64, 3), np.float32) for name in ("source", "target")}
    batch = {**pairs, "mask": np.ones(config.batch_size, np.float32)}
    models = {"hpax": Inpainter(config.width), "flax": PlainInpainter(config.width)}
    seconds = take_turns({name: updater(model, batch) for name, model in models.items()}, config.turns)
    rates = {f"{name} (pairs/s)": config.batch_size / statistics.median(each) for name, each in seconds.items()}
    metrics = {**rates, "times faster": ratio(seconds["flax"], seconds["hpax"])}
    return launch.Result(metrics=metrics, counts={"pairs": config.batch_size}, data="simulated", headline=list(metrics))


def time_pipeline(config: Config) -> launch.Result:
    """An epoch of pairs from shards, none of them cached, beside what training eats."""
    cells = open_cells(Data(data_dir=config.data_dir, atlas=Atlas(proteins=config.proteins)), config.seed)
    pairs = data.PairBatches(cells.training, config.batch_size, prepare=cells.prepare, cache_bytes=0)
    batches = pairs.iterate(0)
    steps = max(1, len(cells.training) // config.batch_size)
    sides: Sides = {
        "read": lambda: sum(len(next(batches)["source"]) for _ in range(steps)),
        "trained": updater(Inpainter(config.width), pairs[0]),
    }
    seconds = take_turns(sides, config.turns)
    per_batch = [each / steps for each in seconds["read"]]
    metrics = {
        "read (pairs/s)": config.batch_size / statistics.median(per_batch),
        "trained (pairs/s)": config.batch_size / statistics.median(seconds["trained"]),
        "times faster": ratio(seconds["trained"], per_batch),
    }
    counts = {"cells": len(cells.training), "pairs": config.batch_size}
    return launch.Result(metrics=metrics, counts=counts, data="simulated", headline=list(metrics))


def drawn(config: Config) -> Iterator[np.ndarray]:
    """Features of cells in groups of about ten, and their groups."""
    random = np.random.default_rng(config.seed)
    yield random.standard_normal((config.cells, config.features), np.float32)
    yield random.integers(0, max(2, config.cells // 10), config.cells)


def peak(config: Config) -> float:
    """GB that a process (on Linux) takes that imports hpax, draws the features and searches them once."""
    features, groups = drawn(config)
    neighbours.nearest(features, groups, k=config.k)
    status = Path("/proc/self/status").read_text()  # getrusage would tell the parent's peak where that is higher
    told = re.search(r"VmHWM:\s+(\d+)", status)
    assert told is not None
    return int(told[1]) * 1024 / 1e9


def time_neighbours(config: Config) -> launch.Result:
    """Ours, which leaves out a cell's whole group, beside scikit-learn's brute force, which leaves out nothing."""
    features, groups = drawn(config)
    sides: Sides = {
        "hpax": lambda: neighbours.nearest(features, groups, k=config.k),
        "scikit-learn": lambda: (
            NearestNeighbors(n_neighbors=config.k + 1, algorithm="brute", n_jobs=-1).fit(features).kneighbors()
        ),
    }
    seconds = take_turns(sides, config.turns)
    with multiprocessing.get_context("spawn").Pool(1) as fresh:
        memory = fresh.apply(peak, (config,))
    metrics = {f"{name} (s)": statistics.median(each) for name, each in seconds.items()}
    metrics |= {"times faster": ratio(seconds["scikit-learn"], seconds["hpax"]), "peak memory (GB)": memory}
    counts = {"cells": config.cells, "features": config.features, "k": config.k}
    return launch.Result(metrics=metrics, counts=counts, data="simulated", headline=list(metrics))


def keras_inception(side: int) -> Callable[[np.ndarray], Array]:
    """Keras's network on JAX, with its own fresh weights; images → features."""
    os.environ["KERAS_BACKEND"] = "jax"
    keras = importlib.import_module("keras")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This model usually expects", UserWarning)  # four channels
        model = keras.applications.InceptionV3(False, None, input_shape=(side, side, 4), pooling="avg")
    lots = [[each.value for each in part] for part in (model.trainable_variables, model.non_trainable_variables)]
    return jax.jit(lambda images: model.stateless_call(*lots, images, training=False)[0])


def torchvision_inception(variables: Mapping[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
    """torchvision's network with the weights of our Inception, on as many cores; images → features.

    Both number convolutions alike. BatchNorm is folded into them and channels are last, the fastest of six forms tried,
    TorchScript's among them; `torch.compile` was not. Means leave out the padding, as ours do.

    Raises:
        LaunchError: PyTorch is not there.
    """
    try:
        torch, models = importlib.import_module("torch"), importlib.import_module("torchvision.models")
    except ImportError as error:
        remedy = "`pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu`"
        raise launch.LaunchError(f"part pytorch needs torch and torchvision, got {error}; {remedy}") from error
    model = models.inception_v3(weights=None, aux_logits=False, transform_input=False, init_weights=False)
    model.Conv2d_1a_3x3.conv = torch.nn.Conv2d(4, 32, 3, stride=2, bias=False)
    model.fc = torch.nn.Identity()
    model.eval()
    blocks = [each for each in model.modules() if isinstance(each, models.inception.BasicConv2d)]
    for block, number in zip(blocks, range(len(variables["params"])), strict=True):
        params, stats = (variables[kind][f"conv{number}"] for kind in ("params", "batch_stats"))
        weights = {"conv.weight": params["kernel"].transpose(3, 2, 0, 1), "bn.bias": params["norm"]["bias"]}
        weights |= {"bn.running_mean": stats["norm"]["mean"], "bn.running_var": stats["norm"]["var"]}
        fixed = {"bn.weight": block.bn.weight, "bn.num_batches_tracked": block.bn.num_batches_tracked}
        block.load_state_dict({name: torch.from_numpy(each.copy()) for name, each in weights.items()} | fixed)
        block.conv, block.bn = torch.nn.utils.fuse_conv_bn_eval(block.conv, block.bn), torch.nn.Identity()
    traced = torch.fx.symbolic_trace(model)
    for node in traced.graph.nodes:
        if node.target is torch.nn.functional.avg_pool2d:
            node.update_kwarg("count_include_pad", False)
    traced.recompile()
    traced.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def features(images: np.ndarray) -> np.ndarray:
        return traced(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()

    return features


def time_features(config: Config) -> launch.Result:
    """Both networks read the same fields from shards, cut the same cells and batch them alike."""
    model = CellNet(Inception())
    images = np.zeros((1, config.side, config.side, 4), np.float32)
    variables = drawn_weights(jax.eval_shape(model.init, jax.random.key(config.seed), images), config.seed)

    @jax.jit
    def ours(images: Array) -> Array:
        said: Any = model.apply(variables, images)
        return said.features

    theirs: Callable[[Any], Any]
    if config.part == "pytorch":
        backbone = {kind: each["backbone"] for kind, each in variables.items()}
        name, theirs = "pytorch", torchvision_inception(backbone)
    else:
        name, theirs = "keras", keras_inception(config.side)
    built = data.build("simulated_fields", config.data_dir, proteins=config.proteins, fields=1, seed=config.seed)
    source = data.FieldSource(built, data.mask_sources.ground_truth)

    def cells() -> Iterator[np.ndarray]:
        for place in range(config.field_count):
            field = source[place]
            yield cell_images(
                field.image, field.found, field.um_per_pixel, crop_um=41.0, size=config.side, masked=True
            )[1]

    def features(predict: Callable[[Any], Any]) -> list[np.ndarray]:
        return [np.asarray(each) for each in of_crops(predict, cells())]

    if config.part == "pytorch":
        hold_alike(features(ours), features(theirs))
    sides: Sides = {"hpax": functools.partial(features, ours), name: functools.partial(features, theirs)}
    seconds, count = take_turns(sides, config.turns), sum(map(len, cells()))
    metrics = {f"{side} (cells/s)": count / statistics.median(each) for side, each in seconds.items()}
    metrics["times faster"] = ratio(seconds[name], seconds["hpax"])
    counts = {"cells": count, "fields": config.field_count}
    return launch.Result(metrics=metrics, counts=counts, data="simulated", headline=list(metrics))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
