"""Cell-level models (Le et al. 2022): classes of single cells, learnt from the labels of the fields that they are in.

Trains a network on crops of cells that inherit the labels of their field, and asks it about the cells of proteins that
it never saw, by the competition's metric. With `--recipe.labels cells` it learns from what each cell truly shows: as
well as this network can do on these cells, the ceiling of all weak supervision. `--fields FOLDER` learns from a folder
of fields with a table of labels, else from simulated ones; `--sweep encoder` begins with an inpainting encoder that
learnt without labels, learnt further or frozen. Leaves classify.safetensors, which `hpax.load` reads.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from hpax import launch
from hpax.recipes import configs, data_configs


@dataclasses.dataclass(frozen=True)
class Config:
    """What to learn from, and how."""

    data: Annotated[data_configs.Data, tyro.conf.arg(name="")] = data_configs.Data()
    recipe: configs.Classify = configs.Classify()
    real: Path | None = None  # folder of labelled fields that a network of simulated ones is asked about, too
    seed: int = 1  # of the simulated atlas, the first parameters, and the batches; segment-cells learnt from atlas 0


BAGS = tuple(
    {"recipe.bag": bag, "recipe.cell_weight": weight, "recipe.cells": 8, "recipe.optimizer.batch_size": 4}
    for bag, weight in (("mean", 0.1), ("max", 0.1), ("noisy-or", 0.1), ("mean", 0.0))
)
"""Multiple instances: as many cells in a batch as by default, of fewer fields."""

SWEEPS = {
    "realism": (
        {"data.atlas.realism": "plain"},
        {"data.atlas.realism": "randomised"},
        {"data.atlas.realism": "mixed", "data.atlas.cell_lines": 2, "data.atlas.proteins": 190},
    ),
    "labels": launch.grid(**{"recipe.labels": ["field", "cells"]}),
    "backbone": launch.grid(**{"recipe.backbone.name": ["plain-tiny", "efficientnet-tiny"]}),
    "encoder": (
        {"recipe.backbone.name": "lu2019-half"},
        {"recipe.backbone.name": "lu2019-half", "recipe.init_from": Path("encode-cells")},
        {"recipe.backbone.name": "lu2019-half", "recipe.init_from": Path("encode-cells"), "recipe.frozen": True},
    ),
    "resolution": launch.grid(**{"recipe.resolution": [32, 64, 128]}),
    "crop": launch.grid(**{"recipe.masked": [True, False]}),
    "loss": launch.grid(**{"recipe.loss.name": ["bce", "weighted", "focal", "lovasz", "hard", "focal_lovasz_bce"]}),
    "augmentation": launch.grid(**{"recipe.augmentation": ["none", "light", "strong"]}),
    "bag": ({}, *BAGS),
    "antibodies": launch.grid(**{"recipe.antibodies": [0.0, 0.1]}),
    "mix": launch.grid(**{"recipe.mix": ["none", "mixup", "cutmix"]}),
}


def run(config: Config, workdir: Path) -> launch.Result:
    """Trains, and scores cells where their truth is known, else what they say of their field together."""
    from hpax.commands import zero_shot_study
    from hpax.metrics import classification  # here, so that help is quick
    from hpax.predict import strategies
    from hpax.recipes import classify, datasets, scoring

    with launch.opening():
        real = zero_shot_study.beside(config.data, config.real, workdir)
        split = datasets.open_fields(config.data, seed=config.seed)
    recipe = dataclasses.replace(config.recipe, seed=config.seed)
    model = classify.train_model(recipe, split.training, split.validation, workdir, kind=split.kind)
    said = [model.predict(field) for field in split.test]
    metrics = {}
    if config.data.fields is None:
        scores = scoring.score_cells(split.test, said)
        metrics = {"cell mAP": scores.mean("present"), "matched IoU": float(scores.matched_iou[0])}
    else:
        of_fields = np.stack([strategies.pooled(cells) for cells in said])
        metrics = {"field mAP, mean of cells": classification.score(split.test.labels, of_fields).mean_ap}
    counts = datasets.counts(split)
    if real:
        known, asked = real.ask(model.network)
        metrics, counts = metrics | known, counts | asked
    return launch.Result(metrics=metrics, counts=counts, data=split.kind, headline=list(metrics))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
