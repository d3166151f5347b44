"""Image-level models (Le et al. 2022): classes of fields from their labels, and by maps where in a field they are.

Trains a network with class activation maps on the labels of whole fields, and asks two things of proteins that it never
saw: which classes a field shows, and, where true cells are known, which of them each cell shows, read off the maps, by
the competition's metric. `--fields FOLDER` learns from a folder of fields with a table of labels, else from simulated
ones. Leaves localize.safetensors, which `hpax.load` reads.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

from hpax import launch
from hpax.recipes import configs, data_configs

if TYPE_CHECKING:
    from hpax.recipes import datasets


@dataclasses.dataclass(frozen=True)
class Config:
    """What to learn from, and how."""

    data: Annotated[data_configs.Data, tyro.conf.arg(name="")] = data_configs.Data()
    recipe: configs.Localize = configs.Localize()
    real: Path | None = None  # folder of labelled fields that a network of simulated ones is asked about, too
    seed: int = 1  # of the simulated atlas, the first parameters, and the batches; segment-cells learnt from atlas 0


SWEEPS = {
    "backbone": launch.grid(**{"recipe.backbone.name": ["plain-tiny", "efficientnet-tiny"]}),
    "resolution": tuple({"recipe.window": window, "recipe.um_per_pixel": 164 / window} for window in (128, 256, 512)),
    "pooling": launch.grid(**{"recipe.pooling": ["average", "gem", "lse"]}),
    "loss": launch.grid(**{"recipe.loss.name": ["bce", "weighted", "focal", "lovasz", "hard", "focal_lovasz_bce"]}),
    "maps": ({}, {"recipe.puzzle": 1.0}, {"recipe.equivariance": 1.0}, {"recipe.copy_paste": True}),
    "mix": launch.grid(**{"recipe.mix": ["none", "mixup", "cutmix"]}),
}


def run(config: Config, workdir: Path) -> launch.Result:
    """Trains, and scores fields and, by their maps, cells."""
    from hpax.commands import zero_shot_study
    from hpax.metrics import classification  # here and below, so that help is quick
    from hpax.recipes import datasets, localize

    with launch.opening():
        real = zero_shot_study.beside(config.data, config.real, workdir)
        split = datasets.open_fields(config.data, seed=config.seed)
    recipe = dataclasses.replace(config.recipe, seed=config.seed)
    model = localize.train_model(recipe, split.training, split.validation, workdir, kind=split.kind)
    predictions = [model.predict(field) for field in split.test]
    said = np.stack([prediction.probabilities for prediction in predictions])
    metrics = {}
    if config.data.fields is None:
        metrics = cell_metrics(split, [(prediction.probabilities, prediction.maps) for prediction in predictions])
    metrics["field mAP"] = classification.score(split.test.labels, said).mean_ap
    counts = datasets.counts(split)
    if real:
        known, asked = real.ask(model.network)
        metrics, counts = metrics | known, counts | asked
    return launch.Result(metrics=metrics, counts=counts, data=split.kind, headline=list(metrics))


def cell_metrics(split: "datasets.Split", predictions: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """The score of each way to read cells off maps."""
    from hpax.predict import cams
    from hpax.recipes import scoring

    by_way: dict[str, list[np.ndarray]] = {}
    for field, (prob, maps) in zip(split.test, predictions, strict=True):
        cells = field.found.cells
        ways = {
            "maps": cams.cell_probabilities(maps, prob, cells),
            "maps by strength in the field": cams.cam_to_cells(maps, prob, cells),
            "maps by sigmoid": cams.sigmoid_to_cells(maps, cells),
            "field copied": np.tile(prob, (len(field.found), 1)),
        }
        for name, found in ways.items():
            by_way.setdefault(name, []).append(found)
    return {
        f"cell mAP, {name}": scoring.score_cells(split.test, found).mean("present") for name, found in by_way.items()
    }


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
