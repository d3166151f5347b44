"""Does the painted protein follow the source cell? Mismatched pairs by the thousand, with and without bleed-through.

The control of Lu et al. (2019, Supplementary Figure 1) as a number. An inpainting network learns from simulated cells
whose channels bleed into each other as much as is told. Then it is given source and target of different held-out
proteins, in different places. In the simulation it is known what the source's protein would look like in the target:
how the painted one correlates with that, and with the target's own, tells where the network looked.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpax import launch
from hpax.recipes import configs, data_configs


@dataclasses.dataclass(frozen=True)
class Config:
    """How much bleeds through, and how the network learns."""

    bleed_through: float = 0.0  # share of each stain that the other channels see
    data: data_configs.CellData = data_configs.CellData()
    recipe: configs.Inpaint = dataclasses.field(default_factory=configs.Inpaint)
    donors: int = 3  # other proteins that each target protein is paired with
    seed: int = 0  # of the atlas, the first parameters and the pairs

    def __post_init__(self) -> None:
        if self.data.kind != "simulated" or self.data.atlas.bleed_through:
            raise ValueError("cells must be simulated, their bleed-through as --bleed-through says; leave data's alone")
        if not 0 <= self.bleed_through < 1 or self.donors < 1:
            told = f"{self.bleed_through} and {self.donors}"
            raise ValueError(f"bleed_through must be in [0, 1) and donors at least 1, got {told}")


SWEEPS = {"strength": launch.grid(bleed_through=[0.0, 0.1, 0.4])}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "fast": {
        "data.atlas.proteins": 57,
        "data.atlas.size": 256,
        "recipe.network.width": 0.03,
        "recipe.optimizer.steps": 2,
        "donors": 1,
    }
}


def run(config: Config, workdir: Path) -> launch.Result:
    """Trains, paints mismatched pairs, and tells whom the painted protein follows."""
    from hpax.explore import colour
    from hpax.metrics import painting
    from hpax.recipes import cells as cells_recipe
    from hpax.recipes import inpaint, mismatch

    atlas = dataclasses.replace(config.data.atlas, bleed_through=config.bleed_through)
    with launch.opening():
        cells = cells_recipe.open_cells(dataclasses.replace(config.data, atlas=atlas), config.seed)
    encoder = inpaint.train_model(config.recipe, cells, workdir / "training", seed=config.seed)
    pairs = mismatch.mismatched(atlas, cells, donors=config.donors, seed=config.seed)
    painted = mismatch.paint(encoder, cells, pairs)
    scale = 255.0
    found = painting.following(painted, pairs.source_in_target / scale, pairs.own / scale, pairs.proteins)
    for name, picture in inpaint.pictures(encoder, cells).items():
        (workdir / f"{name}.png").write_bytes(colour.png(picture))
    metrics: dict[str, float] = {}
    names = {
        "place of the source": found.source,
        "own protein": found.own,
        "place of the source alone": found.source_alone,
        "own protein alone": found.own_alone,
        "follows the source": found.follows,
    }
    for name, spread in names.items():
        metrics |= spread.named(name)
    metrics |= {f"painted {name}": value for name, value in inpaint.quality(encoder, cells, seed=config.seed).items()}
    counts = {"mismatched pairs": found.pairs, "target proteins": found.groups, "training cells": len(cells.training)}
    headline = [*names, "painted correlation"]
    return launch.Result(metrics=metrics, counts=counts, data="simulated", headline=headline)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, presets=PRESETS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
