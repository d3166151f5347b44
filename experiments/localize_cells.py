"""Image-level models (Le et al. 2022): classes of fields from their labels, and by maps where in a field they are.

Trains a network with class activation maps on the labels of whole fields, and asks two things of proteins that it never
saw: which classes a field shows, and, read off the maps, which of them each cell shows, by the competition's metric.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax
import rich.progress
from jaxtyping import Float

from experiments import build_cells
from hpax import atlas, data, launch, pretrained, simulate, train
from hpax.data import augment, balance, segmented
from hpax.data.fair import FairBatches
from hpax.data.images import ImageBatches
from hpax.data.pipeline import Share
from hpax.formats import masks as mask_files
from hpax.metrics import classification, detection, tally
from hpax.nn.backbones import BACKBONES
from hpax.nn.heads import CamNet
from hpax.ops import losses
from hpax.ops.losses import Loss
from hpax.ops.mix import Mixture
from hpax.predict import cams, cells, turns
from hpax.tasks.localize import Localization
from hpax.types import ModelState, Params

VALIDATION_BATCH = 16  # fields
UM_PER_PIXEL = 0.32  # of simulated fields
NETWORKS = ("segment-nuclei", "segment-cells")  # of hpax.pretrained, which find cells

USE = "Classes of single cells in fields of the four stains of the Human Protein Atlas (hpax.predict.Labeller)."
LIMITS = "What it was trained on below is all it knows; learnt from simulated cells, it was not checked on real ones."


@dataclasses.dataclass(frozen=True)
class Atlas:
    """The simulated fields that weak labels are learnt from, what finds their cells, and whose answers count."""

    data_dir: Path = Path("runs/data")  # where shards are built and masks are kept, once
    proteins: int = 380
    cell_lines: int = 1  # of each protein
    fields: int = 1  # of each protein in each cell line
    size: int = 512  # pixels of a field's side
    balanced: bool = True  # main classes equally frequent; else over two orders of magnitude
    multilocalised: float = 0.55  # share of proteins
    varying: float = 0.35  # share of proteins whose cells differ
    realism: simulate.Realism = "plain"  # or "randomised", as real fields vary
    masks: Literal["networks", "classical", "true"] = "networks"  # what finds the cells, or truth
    seed: int = 1  # of the simulated atlas, the first parameters, and the batches; segment-cells learnt from atlas 0


LossName = Literal["bce", "weighted", "focal", "lovasz", "hard", "winners"]


@dataclasses.dataclass(frozen=True)
class Learning(Atlas):
    """What image-level and cell-level models have in common."""

    backbone: str = "plain-tiny"  # of hpax.nn.backbones
    start: Path | None = None  # a network of the same backbone that localize_cells or classify_cells left; else fresh
    loss: LossName = "bce"
    smoothing: float = 0.0  # of labels
    mix: Mixture = "none"
    oversampling: float = 0.5  # of rare classes: 0 none, 1 as frequent as common ones
    dropout: float = 0.2
    learning_rate: float = 2e-3  # at its highest, after a twentieth of the steps; it ends at 0
    momentum: float = 0.95  # of BatchNorm's averages
    batch_size: int = 16  # fields, on all devices together
    turns: int = 8  # views of a field or a cell at test time: 1, or all 8 flips and rotations

    def __post_init__(self):
        if self.backbone not in BACKBONES:
            raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, got {self.backbone!r}")
        if self.turns not in (1, len(turns.ALL)):
            raise ValueError(f"turns must be 1 or {len(turns.ALL)}, got {self.turns}")


@dataclasses.dataclass(frozen=True)
class Config(Learning):
    """What to learn from, and how."""

    resolution: int = 256  # pixels of a field's side, as the network sees it
    pooling: Literal["average", "gem", "lse"] = "average"
    puzzle: float = 0.0  # weight of Puzzle-CAM's reconstruction; 4 as published
    siamese: float = 0.0  # weight of the agreement of two views
    fair: bool = False  # learn from patches that mix fields and single cells (Fair Cell Activation Network)
    steps: int = 500


SWEEPS = {
    "backbone": launch.grid(backbone=["plain-tiny", "efficientnet-tiny"]),
    "resolution": launch.grid(resolution=[128, 256, 512]),
    "pooling": launch.grid(pooling=["average", "gem", "lse"]),
    "loss": launch.grid(loss=["bce", "weighted", "focal", "lovasz", "hard", "winners"]),
    "maps": ({}, {"puzzle": 1.0}, {"siamese": 1.0}, {"fair": True}),
    "mix": launch.grid(mix=["none", "mixup", "cutmix"]),
}


class Fields(NamedTuple):
    """Fields split by protein, and the cells in them."""

    training: data.Source
    validation: data.Source
    test: data.Source
    masks: segmented.MasksOf


def open_fields(config: Atlas) -> Fields:
    """Builds the shards if they are not there, finds the cells if nobody did, and opens both."""
    names = ("proteins", "cell_lines", "fields", "size", "balanced", "multilocalised", "varying", "realism", "seed")
    options = {name: getattr(config, name) for name in names}
    source = functools.partial(
        data.build, "simulated_fields", config.data_dir, workers=os.cpu_count() or 1, progress=True, **options
    )
    training, validation, test = (source(split=split) for split in ("train", "validation", "test"))
    if config.masks == "true":
        return Fields(training, validation, test, segmented.true)
    folder = config.data_dir / "masks" / config.masks / training.info.full_name
    for part in (training, validation, test):
        find_cells(part, config.masks, folder)
    return Fields(training, validation, test, segmented.stored(folder))


def find_cells(source: data.Source, kind: Literal["networks", "classical"], folder: Path) -> None:
    """Leaves the masks of every field in `folder`, as found from its markers; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    todo = [place for place, id in enumerate(source.table.index) if not mask_files.flavours(folder, id)]
    segment = build_cells.segmenter(kind, NETWORKS)

    def find(place: int) -> None:
        example = source[place]
        found = segment(example["image"], float(example["um_per_pixel"]))
        told = {"image": example["image"], "um_per_pixel": float(example["um_per_pixel"])}
        mask_files.write(folder, example["id"], found.cells, found.nuclei, **told)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in rich.progress.track(pool.map(find, todo), "finding cells", len(todo), disable=not todo):
            pass


def criterion(config: Learning, labels: np.ndarray) -> Loss:
    """The loss that a config names; `labels` (fields, classes) are those that the classes' weights come from."""
    chosen: dict[str, Loss] = {
        "bce": losses.bce,
        "weighted": losses.weighted_bce(losses.rarity(labels)),
        "focal": losses.focal(),
        "lovasz": losses.lovasz,
        "hard": losses.hard_bce(),
        "winners": losses.winners,
    }
    found = chosen[config.loss]
    return losses.smoothed(found, config.smoothing) if config.smoothing else found


def optimizer(config: Any) -> optax.GradientTransformation:
    """AdamW whose rate rises for a twentieth of the steps and falls to 0 by a cosine; one object for equal configs."""
    return _adamw(config.learning_rate, config.steps)


@functools.cache
def _adamw(learning_rate: float, steps: int) -> optax.GradientTransformation:
    rise = max(1, steps // 20)
    rate = optax.warmup_cosine_decay_schedule(0.0, learning_rate, rise, max(steps, rise + 1))
    return optax.adamw(rate, weight_decay=1e-4)


def beginning(config: Learning) -> train.Init | None:
    """Fresh parameters, or the backbone and the classifier of the network that a config starts from."""
    if config.start is None:
        return None
    there = pretrained.load(str(config.start))

    def begin(params: Params, model_state: ModelState) -> tuple[Params, ModelState]:
        for part in ("backbone", "classifier"):  # a power of pooling stays fresh
            params, model_state = pretrained.graft(params, model_state, there, at=part)
        return params, model_state

    return begin


def all_devices() -> Share:
    """This process's share of batches."""
    return Share(jax.process_index(), jax.process_count(), jax.device_count())


def build(config: Config, fields: Fields) -> train.Run:
    """The training run: what, on what, for how long."""
    labels = fields.training.labels
    backbone = BACKBONES[config.backbone](axis_name=train.AXIS, momentum=config.momentum)
    task = Localization(
        CamNet(backbone, labels.shape[1], config.pooling, config.dropout),
        criterion(config, labels),
        puzzle=config.puzzle,
        siamese=config.siamese,
        ramp=config.steps // 2 if config.puzzle or config.siamese else 0,
        mix=config.mix,
    )
    shared = {"size": config.resolution, "seed": config.seed, "share": all_devices(), "threads": 2}
    weights = balance.weights(labels, config.oversampling)
    batches = (
        FairBatches(fields.training, fields.masks, config.batch_size, weights=weights, **shared)
        if config.fair
        else ImageBatches(fields.training, config.batch_size, weights=weights, **shared)
    )
    held = ImageBatches(fields.validation, VALIDATION_BATCH, augmentation=augment.PLAIN, shuffle=False, **shared)
    plan = {"validation": held.epoch, "init": beginning(config)}
    return train.Run(task, batches, optimizer(config), config.steps, config.seed, **plan)


PredictFields = Callable[[data.Source], Iterator[tuple[Float[np.ndarray, " n"], Float[np.ndarray, "y x n"]]]]


def fitted(config: Config, fields: Fields, workdir: Path) -> PredictFields:
    """The trained model: of each field of a source, the probabilities and the maps."""
    plan = build(config, fields)
    every = max(1, config.steps // 4)
    state = train.fit(plan, workdir, evaluate_every=every, save_every=every, describe="image-level model")
    keep(config, state, workdir / "localize.safetensors", "cam-net", config.resolution, config.size / config.resolution)
    predict = functools.partial(jax.jit(plan.task.predict), *jax.device_put((state.params, state.model_state)))
    views = turns.of_fields(predict, turns=turns.ALL[: config.turns])

    def of_source(source: data.Source) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (cells.of_field(views, example["image"], size=config.resolution) for example in examples(source))

    return of_source


def keep(config: Any, state: train.State, path: Path, kind: str, size: int, coarser: float, **told: Any) -> None:
    """Saves a network for `hpax.predict.Labeller`; its pixels are `coarser` than those of the simulated fields."""
    options = {"backbone": config.backbone} | ({"pooling": config.pooling} if kind == "cam-net" else {})
    record = {"settings": launch.plain(config), "learnt from": "simulated fields"}
    card = pretrained.card(path.stem, use=USE, limits=LIMITS, record=record)
    learnt = {name: leaf for name, leaf in state.model_state.items() if name != "ramp"}  # which only training needs
    state = dataclasses.replace(state, model_state=learnt)
    told |= {"channels": atlas.CHANNELS, "um_per_pixel": UM_PER_PIXEL * coarser, "size": size, "state": state}
    pretrained.save(path, architecture=kind, options=options, card=card, **told)


def examples(source: data.Source) -> Iterator[dict[str, Any]]:
    """The fields of a source, one at a time."""
    return (source[place] for place in range(len(source)))


def scored(
    source: data.Source, masks: segmented.MasksOf, probabilities: Iterable[Float[np.ndarray, "k n"]]
) -> detection.Scores:
    """The competition's score of what is said of the cells of each field, in order, by ascending index of the cell."""
    tallies = []
    for number, (example, prob) in enumerate(zip(examples(source), probabilities, strict=True)):
        found = masks(example).cells
        indices = np.unique(found[found > 0]).astype(np.int64)
        said = np.full((int(indices.max(initial=0)), len(atlas.LOCATIONS)), np.nan)
        said[indices - 1] = prob
        tallies.append(tally.of_labels(number, found, said, example["cells"], example["cell_labels"]))
    return detection.score(tally.merge(tallies))


def run(config: Config, workdir: Path) -> launch.Result:
    """Trains, and scores fields and, by their maps, cells."""
    fields = open_fields(config)
    said = list(fitted(config, fields, workdir)(fields.test))
    found = [fields.masks(example).cells for example in examples(fields.test)]
    ways = {
        "maps": lambda p, m, f: cams.read_off(m, p, f),
        "maps by strength in the field": lambda p, m, f: cams.cam_to_cells(m, p, f),
        "maps by sigmoid": lambda p, m, f: cams.sigmoid_to_cells(m, f),
        "field copied": lambda p, m, f: np.tile(p, (len(np.unique(f[f > 0])), 1)),
    }
    metrics = {}
    for name, way in ways.items():
        by_cell = [way(p, m, f) for (p, m), f in zip(said, found, strict=True)]
        metrics[f"cell mAP, {name}"] = scored(fields.test, fields.masks, by_cell).mean("present")
    of_fields = classification.average_precision(fields.test.labels, np.stack([p for p, _ in said]))
    metrics["field mAP"] = float(np.nanmean(of_fields))
    return launch.Result(metrics=metrics, counts=counts(fields), data="simulated", headline=list(metrics))


def counts(fields: Fields) -> dict[str, int]:
    """What the numbers rest on."""
    return {
        "training fields": len(fields.training),
        "training proteins": fields.training.table["protein"].nunique(),
        "test fields": len(fields.test),
        "test proteins": fields.test.table["protein"].nunique(),
        "true test cells": sum(len(example["cell_labels"]) for example in examples(fields.test)),
        "classes with truth": int((fields.test.labels.sum(0) > 0).sum()),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
