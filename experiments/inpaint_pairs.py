"""Paired cell inpainting (Lu et al. 2019): features of single cells, learnt without labels.

Trains the network to paint a target cell's protein from its structural markers and another cell; keeps the source
encoder; asks how often the nearest neighbours of a cell in feature space tell its class, for every layer, against the
same encoder untrained and against classic features. Of simulated cells, the encoder learns from four in five proteins
and is asked about the others; of real ones, it learns from all cells, as published. No label is used in either. Cells
without labels get features, a UMAP and the pages (explorer.html has the cells) all the same.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from hpax import launch
from hpax.recipes import configs, data_configs
from hpax.recipes.configs import LAYERS


@dataclasses.dataclass(frozen=True)
class Config:
    """What to learn from, how, and what to ask of the features."""

    data: Annotated[data_configs.CellData, tyro.conf.arg(name="")] = data_configs.CellData()
    recipe: configs.Inpaint = configs.Inpaint()
    layer: str = "conv3"  # the features that `knn` and the pictures speak of
    k: int = 11  # neighbours that vote
    seed: int = 0  # of the simulated atlas, the first parameters, and the pairs

    def __post_init__(self) -> None:
        if self.layer not in LAYERS:
            raise ValueError(f"layer must be one of {', '.join(LAYERS)}, got {self.layer!r}")


SWEEPS = {
    "pairing": launch.grid({"recipe.pair": ["sibling", "self", "random"]}),
    "images": launch.grid({"recipe.pair": ["sibling", "protein"]}),  # give it --atlas.cell-lines 2
    "width": launch.grid({"recipe.network.width": [0.125, 0.25, 0.5]}),
    "network": launch.grid({"recipe.network.kind": ["published", "vector"]}),
    "error": launch.grid({"recipe.error": ["squared", "absolute", "correlation"]}),
    "variable": (  # as many proteins as vary in the simulated atlas
        {"data.variable.left_out": 0.0},
        *launch.grid({"data.variable.left_out": [0.35], "data.variable.by": ["features", "labels", "random"]}),
    ),
    "batch": (  # as many pairs, at a rate that grows with the root of the batch
        {"recipe.optimizer.batch_size": 8},
        {
            "recipe.optimizer.batch_size": 32,
            "recipe.optimizer.steps": 450,
            "recipe.optimizer.learning_rate": 2e-3,
        },
    ),
    "schedule": launch.grid({"recipe.optimizer.schedule": ["cosine", "constant"]}),
    "crop": launch.grid({"data.crop_um": [20.48, 40.96, 81.92]}),
    "layer": launch.grid(layer=LAYERS),
    "contrast": launch.grid({"recipe.contrast": [0.0, 0.003, 0.03]}),  # give it --recipe.optimizer.batch-size 32
}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    name: {f"recipe.{path}": value for path, value in difference.items()}
    for name, difference in configs.INPAINT_PRESETS.items()
}


def encoder_folder(config: Config, data_name: str, workdir: Path) -> Path:
    """Where the arms of a sweep that train alike, on the same data, keep their one encoder."""
    return workdir.parents[1] / "encoders" / launch.digest(config.recipe, config.seed, data_name)


def run(config: Config, workdir: Path) -> launch.Result:
    """Balanced accuracies of every layer, and the numbers of things that they rest on."""
    from hpax.recipes import cells as cells_recipe
    from hpax.recipes import feature_explorer, feature_report

    with launch.opening():
        cells = cells_recipe.open_cells(config.data, config.seed)
    folder = encoder_folder(config, cells.name, workdir)
    report = feature_report.study(
        config.recipe, cells, folder, workdir, layer=config.layer, k=config.k, seed=config.seed
    )
    title = "Paired cell inpainting"
    explorer = feature_explorer.leave(report, workdir, title=title, seed=config.seed)
    feature_report.write_page(report, workdir / "index.html", title=title, explorer=explorer)
    metrics = feature_report.metrics(report)
    shown = ["knn", *(f"trained {layer}" for layer in LAYERS), "untrained best", "classic", "chance", "correlation"]
    shown += [f"fields, {name}" for name in shown]
    return launch.Result(
        metrics=metrics,
        counts=feature_report.counts(report),
        data=cells.origin,
        headline=[name for name in shown if name in metrics],
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, presets=PRESETS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
