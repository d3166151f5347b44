"""How fast hpax trains, feeds and searches, beside what one would use instead, in one run.

`training`: one update of the inpainting network, beside the same network of plain Flax layers. `pipeline`: pairs read
from shards, beside what training eats. `neighbours`: the leave-one-out search for the size of the published human
benchmark, 30,889 cells with 384 features, beside scikit-learn's. `features`: Inception-v3's 2,048 features of cells cut
from simulated fields, reading and cutting included, beside the same network of Keras on JAX. `pytorch`: these beside
torchvision's, which hpax does not install; `pytorch training`: an update of the inpainting network beside PyTorch's;
`pytorch efficientnet`: an update and a prediction of EfficientNet-B0 beside torchvision's. Sides take turns, so that a
busy machine slows both; a ratio is the median over the turns.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from hpax import launch


@dataclasses.dataclass(frozen=True)
class Config:
    """What to time."""

    part: Literal[
        "training", "pipeline", "neighbours", "features", "pytorch", "pytorch training", "pytorch efficientnet"
    ] = "training"
    width: float = 0.25  # training and pipeline: of the network
    batch_size: int = 32  # training and pipeline: pairs; pytorch efficientnet: fields
    cells: int = 30_889  # neighbours
    features: int = 384  # neighbours
    k: int = 11  # neighbours
    side: int = 128  # features and pytorch: pixels of a cell's side; pytorch efficientnet: of a field's
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
    "pytorch": (
        {"part": "pytorch"},
        {"part": "pytorch training", "batch_size": 8},  # the quickstart's update
        {"part": "pytorch training", "width": 1.0},
        {"part": "pytorch efficientnet", "batch_size": 8, "side": 256},
    ),
}


def run(config: Config, workdir: Path) -> launch.Result:
    """Times one part."""
    metrics, counts = measure(config)
    return launch.Result(metrics=metrics, counts=counts, data="simulated", headline=list(metrics))


def measure(config: Config) -> tuple[dict[str, float], dict[str, int]]:
    """Metrics of a part, and the counts that they rest on."""
    from hpax.recipes import library_speed as speed

    width, batch_size, proteins, data_dir = config.width, config.batch_size, config.proteins, config.data_dir
    turns, seed = config.turns, config.seed
    if config.part == "training":
        return speed.time_training(width=width, batch_size=batch_size, turns=turns, seed=seed)
    if config.part == "pipeline":
        return speed.time_pipeline(
            proteins=proteins, data_dir=data_dir, width=width, batch_size=batch_size, turns=turns, seed=seed
        )
    if config.part == "neighbours":
        return speed.time_neighbours(cells=config.cells, features=config.features, k=config.k, turns=turns, seed=seed)
    if config.part == "pytorch training":
        return speed.time_torch_training(width=width, batch_size=batch_size, turns=turns, seed=seed)
    if config.part == "pytorch efficientnet":
        return speed.time_torch_efficientnet(batch_size=batch_size, side=config.side, turns=turns, seed=seed)
    return speed.time_features(
        "pytorch" if config.part == "pytorch" else "keras",
        side=config.side,
        field_count=config.field_count,
        proteins=proteins,
        data_dir=data_dir,
        turns=turns,
        seed=seed,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
