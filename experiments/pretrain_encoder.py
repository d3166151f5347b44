"""The encoder that ships, `encode-cells`: learnt by paired cell inpainting from randomised simulated cells alone.

Learns without labels from four in five proteins of a simulated atlas whose fields vary as real ones do; tells how often
neighbours of cells among the other proteins share their class, layer by layer, against classic features and the same
encoder untrained, and writes that into the card beside the weights. What it is worth on real cells is
`experiments.benchmark_features`' to say. `python -m experiments.pretrain_encoder --workdir runs/pretrain`
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from hpax import launch
from hpax.recipes import configs, data_configs


@dataclasses.dataclass(frozen=True)
class Config:
    """What to learn from, and for how long."""

    data: data_configs.CellData = data_configs.CellData(
        atlas=data_configs.CellAtlas(proteins=570, realism="randomised")
    )
    recipe: configs.Inpaint = configs.Inpaint(optimizer=configs.Adam(batch_size=12, steps=1600))
    layer: str = "conv3"  # the features that users get first
    k: int = 11  # neighbours that vote
    seed: int = 11  # of the atlas, the first parameters and the pairs

    def __post_init__(self) -> None:
        if self.layer not in configs.LAYERS:
            raise ValueError(f"layer must be one of {', '.join(configs.LAYERS)}, got {self.layer!r}")


NAME = "encode-cells"
PRESETS = {
    "fast": {
        "data.atlas.proteins": 57,
        "data.atlas.size": 256,
        "recipe.network.width": 0.03,
        "recipe.optimizer.steps": 2,
    },
}
USE = (
    "Features of single human cells in confocal fields with the stains of the Human Protein Atlas: "
    '`hpax.load("encode-cells").features(crops)`, crops of protein, nucleus and microtubules, 41 µm around the nucleus '
    "at 64 pixels."
)
LIMITS = (
    "Learnt from simulated cells alone, without labels. It knows one layer of cultured cells at about 0.64 µm per "
    "pixel, and nothing of yeast, tissue or other stains. What it is worth on real cells is in BENCHMARKS.md, under "
    "benchmark_features: look there before you trust it."
)


def run(config: Config, workdir: Path) -> launch.Result:
    """Trains, scores held-out proteins, writes the card."""
    from hpax import models
    from hpax.features import handcrafted, tables
    from hpax.recipes import cells as cells_recipe
    from hpax.recipes import inpaint

    with launch.opening():
        cells = cells_recipe.open_cells(config.data, config.seed)
    encoder = inpaint.train_model(config.recipe, cells, workdir / "training", seed=config.seed)
    encoders = {
        "trained": encoder.encode,
        "untrained": inpaint.untrained(config.recipe, cells, seed=config.seed).encode,
        "classic": handcrafted.encode,
    }
    paths = {name: workdir / f"{name}.h5ad" for name in encoders}
    held = cells_recipe.only_held(cells)
    names = {"classic": handcrafted.names(held.channels)}
    made = tables.write(encoders, held.batches(), held.obs(), paths, names=names)
    scores = tables.benchmark(made, protocol=held.protocol, k=config.k, cell_out=False)
    metrics: dict[str, float] = {}
    for title, score in scores.items():
        metrics |= score.interval[config.k].named(title)
    first = next(iter(scores.values()))
    asked = sum(first.counts)
    metrics["chance"] = first.chance[config.k]
    metrics |= inpaint.quality(encoder, cells, seed=config.seed)
    record = {
        "learnt from": f"{len(cells.training)} simulated cells of {cells.training.table['protein'].nunique()} proteins",
        "command": "python -m experiments.pretrain_encoder",
        "licence": "Apache-2.0",
        "settings": launch.plain(config.recipe.optimizer) | launch.plain(config.recipe.network),
        f"held-out simulated proteins, {asked} cells, k = {config.k}": metrics,
    }
    network = dataclasses.replace(encoder.network, card=models.card(NAME, use=USE, limits=LIMITS, record=record))
    network.save(workdir / f"{NAME}.safetensors", half=True)
    counts = {"training cells": len(cells.training), "benchmark cells": asked, "proteins": first.groups}
    shown = [
        f"trained {config.layer}",
        "trained conv5",
        f"untrained {config.layer}",
        "classic",
        "chance",
        "correlation",
    ]
    return launch.Result(metrics=metrics, counts=counts, data="simulated", headline=shown)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, presets=PRESETS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
