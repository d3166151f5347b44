"""From nothing to features of single cells in minutes, on cells that are simulated while you wait.

Simulates an atlas, builds its shards, trains a narrow inpainting network on some of its proteins, and asks what the
features know of the others: nearest neighbours of each layer against the same encoder untrained and against classic
features. A contrast of proteins beside painting makes it learn in few updates; `inpaint_pairs` has the published task.
Leaves index.html, a page with tables and pictures; explorer.html, where every cell of the other proteins can be looked
at; encoder/encoder.safetensors, the network; features.h5ad with the features of all cells; and unseen.h5ad with those
of the other proteins and their UMAP. `--fields FOLDER` takes real fields instead.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from hpax import launch
from hpax.recipes import configs, data_configs
from hpax.recipes.configs import LAYERS


@dataclasses.dataclass(frozen=True)
class Config:
    """Which cells, and how to learn from them; the defaults suit two processor cores and a few minutes."""

    data: Annotated[data_configs.CellData, tyro.conf.arg(name="")] = data_configs.CellData()
    recipe: configs.Inpaint = configs.Inpaint(
        network=configs.InpaintNetwork(width=0.25),
        contrast=0.03,
        optimizer=configs.Adam(learning_rate=2e-3, batch_size=32, steps=170),
    )
    layer: str = "conv3"  # that the UMAP shows
    k: int = 11  # neighbours that vote
    seed: int = 0  # of the simulated atlas, the first parameters, and the pairs


SWEEPS: dict[str, tuple[launch.Difference, ...]] = {}


def run(config: Config, workdir: Path) -> launch.Result:
    """Trains, extracts, benchmarks, and writes the page that holds it together."""
    from hpax.recipes import cells as cells_recipe
    from hpax.recipes import feature_explorer, feature_report

    cells = cells_recipe.open_cells(config.data, config.seed)
    report = feature_report.study(
        config.recipe, cells, workdir / "encoder", workdir, layer=config.layer, k=config.k, seed=config.seed
    )
    title = "hpax quickstart"
    explorer = feature_explorer.leave(report, workdir, title=title, seed=config.seed)
    feature_report.write_page(report, workdir / "index.html", title=title, explorer=explorer)
    metrics = feature_report.metrics(report)
    shown = [f"{who} {layer}" for layer in LAYERS for who in ("trained", "untrained")] + ["classic", "chance"]
    return launch.Result(
        metrics=metrics,
        counts=feature_report.counts(report),
        data=cells.origin,
        headline=[name for name in shown if name in metrics],
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
