"""The encoders that ship: learnt by paired cell inpainting, without labels.

`encode-cells` learns from four in five proteins of a simulated atlas whose fields vary as real ones do. `--preset fine`
makes `encode-cells-fine`, which sees the ER as well and four times as many pixels of a cell; it learns by one vector,
beside a contrast, from pairs of two cell lines. `--preset yeast` makes `encode-yeast` of simulated yeast, by one vector
and a contrast as well; `--data.folder CROPS/yeast` adds published crops. Tells how often neighbours of cells among the
other proteins share their class, layer by layer, against classic features and the same encoder untrained, and of real
crops whether neighbours in other fields share the protein; writes that into the card beside the weights. What encoders
of human cells are worth on real ones is for `experiments.benchmark_features` and `experiments.compare_features` to say.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpax import launch
from hpax.recipes import configs, data_configs

if TYPE_CHECKING:
    from hpax.features.tables import Encode
    from hpax.recipes.cells import Cells


@dataclasses.dataclass(frozen=True)
class Config:
    """What to learn from, and for how long."""

    data: data_configs.CellData = data_configs.CellData(
        atlas=data_configs.CellAtlas(proteins=570, realism="randomised")
    )
    recipe: configs.Inpaint = configs.Inpaint(optimizer=configs.Adam(batch_size=12, steps=1600))
    layer: str = "conv3"  # the features that users get first
    k: int = 11  # neighbours that vote
    ceiling: bool = (
        False  # train the same encoder on the labels of the same proteins, too, to see what there is to know
    )
    seed: int = 11  # of the atlas, the first parameters and the pairs

    def __post_init__(self) -> None:
        if self.layer not in configs.LAYERS:
            raise ValueError(f"layer must be one of {', '.join(configs.LAYERS)}, got {self.layer!r}")
        if self.data.kind not in ("simulated", "simulated-yeast"):
            raise ValueError(f"cells must be simulated or simulated-yeast, got {self.data.kind!r}")

    @property
    def made(self) -> "Shipped":
        """What is made: of human cells, what is shown ER is the fine one."""
        if self.data.kind == "simulated-yeast":
            return SHIPPED["encode-yeast"]
        return SHIPPED["encode-cells-fine" if self.data.er else "encode-cells"]


@dataclasses.dataclass(frozen=True)
class Shipped:
    """What the card of an encoder says first."""

    name: str
    use: str
    limits: str
    preset: str = ""  # that makes it


HUMAN_LIMITS = (
    "Learnt from simulated cells alone, without labels. It knows one layer of cultured cells at about {scale} µm per "
    "pixel, and nothing of yeast, tissue or other stains. What it is worth on real cells is in BENCHMARKS.md, under "
    "{where}: look there before you trust it."
)

SHIPPED = {
    "encode-cells": Shipped(
        name="encode-cells",
        use="Features of single human cells in confocal fields with the stains of the Human Protein Atlas: "
        '`hpax.load("encode-cells").features(crops)`, crops of protein, nucleus and microtubules, 41 µm around the '
        "nucleus at 64 pixels.",
        limits=HUMAN_LIMITS.format(scale=0.64, where="benchmark_features"),
    ),
    "encode-cells-fine": Shipped(
        name="encode-cells-fine",
        use="Features of single human cells in confocal fields with the four stains of the Human Protein Atlas: "
        '`hpax.load("encode-cells-fine").features(crops)`, crops of protein, nucleus, microtubules and ER, 41 µm '
        "around the nucleus at 128 pixels.",
        limits=HUMAN_LIMITS.format(scale=0.32, where="compare_features"),
        preset="fine",
    ),
    "encode-yeast": Shipped(
        name="encode-yeast",
        use="Features of single yeast cells with a tagged protein and a marker of the cytosol: "
        '`hpax.load("encode-yeast").features(crops)`, crops of protein and marker, one cell in the middle of 64 pixels '
        "of about 0.12 µm.",
        limits="Learnt without labels, from simulated cells and from the real crops that are named below, of one "
        "microscope and few proteins. It knows budding yeast of about that size, and nothing of other stains.",
        preset="yeast",
    ),
}
"""Name → the encoder."""

PRESETS: Mapping[str, launch.Difference] = {
    "yeast": {
        "data.cells": "simulated-yeast",
        "recipe.network.kind": "vector",
        "recipe.network.width": 0.25,
        "recipe.contrast": 0.03,
        "recipe.optimizer.batch_size": 32,
        "recipe.optimizer.steps": 2400,
        "recipe.optimizer.learning_rate": 2e-3,
        "layer": "conv5",
    },
    "fine": {
        "data.er": True,
        "data.resolution": 128,
        "data.atlas.proteins": 285,
        "data.atlas.realism": "mixed",
        "data.atlas.cell_lines": 2,
        "recipe.network.kind": "vector",
        "recipe.network.width": 0.25,
        "recipe.pair": "protein",
        "recipe.contrast": 0.03,
        "recipe.optimizer.batch_size": 32,
        "recipe.optimizer.steps": 450,
        "recipe.optimizer.learning_rate": 2e-3,
        "layer": "conv5",
    },
    "fast": {
        "data.atlas.proteins": 57,
        "data.atlas.size": 256,
        "data.yeast.proteins": 51,
        "data.yeast.per_protein": 8,
        "recipe.network.width": 0.03,
        "recipe.optimizer.steps": 2,
    },
}


def run(config: Config, workdir: Path) -> launch.Result:
    """Trains, scores held-out proteins, writes the card."""
    from hpax import models
    from hpax.recipes import baselines, inpaint
    from hpax.recipes import cells as cells_recipe

    with launch.opening():
        cells = cells_recipe.open_cells(config.data, config.seed)
    encoder = inpaint.train_model(config.recipe, cells, workdir / "training", seed=config.seed)
    untrained = inpaint.untrained(config.recipe, cells, seed=config.seed)
    held = cells_recipe.only_held(cells)
    encoders: dict[str, Encode] = {"trained": encoder.encode, "untrained": untrained.encode}
    ceiling: dict[str, Encode] = {}
    if config.ceiling:
        rival = configs.Baselines(inpaint=config.recipe)
        ceiling["supervised"] = baselines.encoder("supervised", rival, cells, workdir / "ceiling", seed=config.seed)
    metrics, counts = scores(encoders | ceiling, held, workdir / "held", config.k)
    metrics |= inpaint.quality(encoder, cells, seed=config.seed)
    title = f"held-out simulated proteins, {counts['benchmark cells']} cells, k = {config.k}"
    record: dict[str, object] = {
        "learnt from": f"{len(cells.training)} cells of {cells.training.table['protein'].nunique()} proteins, "
        f"{real_ones(cells)} of them real",
        "command": f"python -m experiments.pretrain_encoder{arguments(config)}",
        "data set": cells.everything.info.full_name,
        "licence": "Apache-2.0",
        "settings": launch.plain(config.recipe.optimizer)
        | launch.plain(config.recipe.network)
        | {"pair": config.recipe.pair, "contrast": config.recipe.contrast},
        title: dict(metrics),
    }
    if config.data.kind == "simulated-yeast" and config.data.folder is not None:
        crops = cells_recipe.open_cells(dataclasses.replace(config.data, cells="yeast"))
        real, own = scores(encoders, crops, workdir / "real", config.k)
        record[f"real crops by other fields, {own['benchmark cells']} cells, k = {config.k}"] = real
        metrics |= {f"real crops: {name}": value for name, value in real.items()}
        counts |= {f"real crops: {name}": count for name, count in own.items()}
    made = config.made
    card = models.card(made.name, use=made.use, limits=made.limits, record=record)
    network = dataclasses.replace(encoder.network, card=card)
    network.save(workdir / f"{made.name}.safetensors", half=True)
    counts |= {"training cells": len(cells.training)}
    shown = [*(f"trained {layer}" for layer in configs.LAYERS), f"untrained {config.layer}", "classic", "chance"]
    shown += [f"supervised {layer}" for layer in configs.LAYERS]
    headline = [name for name in metrics if name.removeprefix("real crops: ") in shown] + ["correlation"]
    return launch.Result(metrics=metrics, counts=counts, data="simulated", headline=headline)


def scores(
    encoders: "Mapping[str, Encode]", cells: "Cells", folder: Path, k: int
) -> tuple[dict[str, float], dict[str, int]]:
    """What neighbours tell by every layer and by classic features, with intervals, and the counts beneath."""
    from hpax.features import handcrafted, tables

    encoders = {**encoders, "classic": handcrafted.encode}
    paths = {name: folder / f"{name}.h5ad" for name in encoders}
    names = {"classic": handcrafted.names(cells.channels)}
    made = tables.write(encoders, cells.batches(), cells.obs(), paths, names=names)
    found = tables.benchmark(made, protocol=cells.protocol, k=k, cell_out=False)
    metrics: dict[str, float] = {}
    for title, score in found.items():
        metrics |= score.interval[k].named(title)
    first = next(iter(found.values()))
    metrics["chance"] = first.chance[k]
    return metrics, {"benchmark cells": int(sum(first.counts)), "proteins": first.groups}


def real_ones(cells: "Cells") -> int:
    """How many of the cells that are learnt from are real: those of which no location was planted."""
    table = cells.training.table
    return int((table["locations"] == "").sum()) if "locations" in table else 0


def arguments(config: Config) -> str:
    """What makes the same encoder: the preset, and what differs from it; where shards are kept does not matter."""
    preset = config.made.preset
    usual = launch.paths(Config()) | dict(PRESETS.get(preset, {}))
    words = [f" --preset {preset}"] if preset else []
    for path, value in launch.paths(config).items():
        if value == usual[path] or path in ("data.data_dir", "ceiling"):
            continue
        flag = "--seeds" if path == "seed" else f"--{path.replace('_', '-')}"
        told = "CROPS/yeast" if path == "data.folder" else value
        words.append(f" {flag}" if value is True else f" {flag} {told}")
    return "".join(words)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, presets=PRESETS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
