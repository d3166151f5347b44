"""Cell-level models (Le et al. 2022): classes of single cells, learnt from the labels of the fields that they are in.

Trains a network on crops of cells that inherit the labels of their field, and asks it about the cells of proteins that
it never saw, by the competition's metric. With `--labels cells` it learns from what each cell truly shows instead: as
well as this network can do on these cells, the ceiling of all weak supervision.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from jaxtyping import Float

from experiments.localize_cells import (
    UM_PER_PIXEL,
    Fields,
    Learning,
    all_devices,
    beginning,
    counts,
    criterion,
    examples,
    keep,
    open_fields,
    optimizer,
    scored,
)
from hpax import data, launch, train
from hpax.data import augment, balance, segmented
from hpax.data.bags import BagBatches
from hpax.nn.backbones import BACKBONES
from hpax.nn.heads import CellNet
from hpax.ops import overlap
from hpax.ops.bags import Pooling
from hpax.predict import cells, turns
from hpax.segment.cells import cell_images
from hpax.tasks.classify import Classification

VALIDATION_BATCH = 8  # fields


@dataclasses.dataclass(frozen=True)
class Config(Learning):
    """What to learn from, and how."""

    labels: Literal["field", "cells"] = "field"  # what a cell learns: its field's labels, or (the ceiling) its own
    crop_um: float = 41.0  # µm of a crop's side
    resolution: int = 64  # pixels of a crop's side
    masked: bool = True  # without other cells and background
    bag: Literal["none"] | Pooling = "none"  # what a field's cells say together (multiple instances)
    cell_weight: float = 0.1  # of the cells' own loss beside a bag's; 0 with "mean" is the bag of cells
    antibodies: float = 0.0  # weight of telling antibodies apart (ArcFace)
    cells: int = 2  # of each field in a batch: few cells of many fields teach more than many of few
    steps: int = 2400


BAGS = (
    *launch.grid(bag=["mean", "max", "noisy-or"], cells=[8], batch_size=[4]),
    {"bag": "mean", "cell_weight": 0.0, "cells": 8, "batch_size": 4},
)
"""Multiple instances: as many cells in a batch as by default, of fewer fields."""

SWEEPS = {
    "labels": launch.grid(labels=["field", "cells"]),
    "backbone": launch.grid(backbone=["plain-tiny", "efficientnet-tiny"]),
    "resolution": launch.grid(resolution=[32, 64, 128]),
    "crop": launch.grid(masked=[True, False]),
    "loss": launch.grid(loss=["bce", "weighted", "focal", "lovasz", "hard", "winners"]),
    "bag": ({}, *BAGS),
    "antibodies": launch.grid(antibodies=[0.0, 0.1]),
    "mix": launch.grid(mix=["none", "mixup", "cutmix"]),
}

Targets = Mapping[str, Float[np.ndarray, "k n"]]


def true_labels(source: data.Source, masks: segmented.MasksOf) -> Targets:
    """What each cell truly shows, by the id of its field; a found cell is the true one that it overlaps most."""
    known = {}
    for example in examples(source):
        found = masks(example).cells
        shared, indices, true = overlap.of_labels(found, example["cells"])
        best = true[np.where(true > 0, shared, 0).argmax(1)] if len(true) else np.zeros(len(indices), int)
        rows = np.concatenate([np.zeros((1, example["cell_labels"].shape[1])), example["cell_labels"]])
        known[example["id"]] = rows[best][indices > 0].astype(np.float32)
    return known


def build(config: Config, fields: Fields, targets: Targets | None = None) -> train.Run:
    """The training run: what, on what, for how long; soft `targets` of cells replace what the config says."""
    labels = fields.training.labels
    antibodies, of_field = np.unique(fields.training.table["antibody"].to_numpy(str), return_inverse=True)
    telling = len(antibodies) if config.antibodies else 0
    backbone = BACKBONES[config.backbone](axis_name=train.AXIS, momentum=config.momentum)
    task = Classification(
        CellNet(backbone, labels.shape[1], config.dropout, telling),
        criterion(config, labels),
        bag=None if config.bag == "none" else config.bag,
        cell_weight=config.cell_weight,
        antibody_weight=config.antibodies,
        mix=config.mix,
    )
    cut = {"cells": config.cells, "crop_um": config.crop_um, "size": config.resolution, "masked": config.masked}
    shared = {**cut, "seed": config.seed, "share": all_devices()}

    def known(source: data.Source) -> Targets | None:
        return true_labels(source, fields.masks) if config.labels == "cells" else None

    batches = BagBatches(
        fields.training,
        fields.masks,
        config.batch_size,
        targets=targets or known(fields.training),
        antibody=of_field if telling else None,
        weights=balance.weights(labels, config.oversampling),
        **shared,
    )
    plain = {"augmentation": augment.PLAIN, "shuffle": False, "targets": known(fields.validation)}
    held = BagBatches(fields.validation, fields.masks, VALIDATION_BATCH, **plain, **shared)
    plan = {"validation": held.epoch, "init": beginning(config)}
    return train.Run(task, batches, optimizer(config), config.steps, config.seed, **plan)


PredictCells = Callable[[data.Source, segmented.MasksOf], Iterator[Float[np.ndarray, "k n"]]]


def fitted(config: Config, fields: Fields, workdir: Path, targets: Targets | None = None) -> PredictCells:
    """The trained model: of each field of a source, the probabilities of its cells by ascending index in its masks."""
    plan = build(config, fields, targets)
    every = max(1, config.steps // 4)
    state = train.fit(plan, workdir, evaluate_every=every, save_every=every, describe="cell-level model")
    coarser = config.crop_um / UM_PER_PIXEL / config.resolution
    path = workdir / "classify.safetensors"
    keep(config, state, path, "cell-net", config.resolution, coarser, masked=config.masked)
    predict = functools.partial(jax.jit(plan.task.predict), *jax.device_put((state.params, state.model_state)))
    views = turns.of_cells(predict, turns=turns.ALL[: config.turns])
    cut = {"crop_um": config.crop_um, "size": config.resolution, "masked": config.masked}

    def of_source(source: data.Source, masks: segmented.MasksOf) -> Iterator[np.ndarray]:
        crops = (
            cell_images(example["image"], masks(example), float(example["um_per_pixel"]), **cut)[1]
            for example in examples(source)
        )
        return cells.of_crops(views, crops)

    return of_source


def run(config: Config, workdir: Path) -> launch.Result:
    """Trains, and scores cells."""
    fields = open_fields(config)
    found = scored(fields.test, fields.masks, fitted(config, fields, workdir)(fields.test, fields.masks))
    metrics = {"cell mAP": found.mean("present"), "matched IoU": float(found.matched_iou[0])}
    return launch.Result(metrics=metrics, counts=counts(fields), data="simulated", headline=list(metrics))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
