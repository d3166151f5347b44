"""How fast fields are read from shards, and how large these are: stored at 0.32 µm per pixel, and as they came.

Fields are simulated at 0.32 µm per pixel, brought to the size of the originals and given a camera's noise, which is
what keeps pictures of that size from being packed well. Reading is random access by one process, and ends with what
networks are shown (`images.to_um_per_pixel`); both storages show them the same pixels. Sides take turns.
"""

import dataclasses
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from hpax import launch


@dataclasses.dataclass(frozen=True)
class Config:
    """What is read."""

    side: int = 2048  # pixels of an original's side
    fields: int = 8
    noise: float = 3.0  # grey levels, standard deviation in every pixel of an original
    reads: int = 32  # fields in a turn
    turns: int = 3
    seed: int = 0


SWEEPS = {"sides": launch.grid(side=(512, 1728, 2048))}


def run(config: Config, workdir: Path) -> launch.Result:
    """Draws the originals, builds both storages, and reads them in turns."""
    from hpax import atlas, data
    from hpax.recipes import storage_speed as storage

    um_per_pixel = atlas.um_per_pixel(config.side)
    folder = workdir / "fields"
    storage.draw(
        folder,
        fields=config.fields,
        side=config.side,
        um_per_pixel=um_per_pixel,
        noise=config.noise,
        seed=config.seed,
    )
    metrics: dict[str, float] = {}
    sources: dict[str, data.Source] = {}
    for name, finest in {"0.32 µm": 0.32, "original": 0.0}.items():
        start = time.perf_counter()
        sources[name] = data.build(
            "hpa_fields", workdir / "data", source=folder, um_per_pixel=um_per_pixel, stored_um_per_pixel=finest
        )
        metrics[f"{name}, building (s per field)"] = (time.perf_counter() - start) / config.fields
        size = sum(split.num_bytes for split in sources[name].info.splits.values())
        metrics[f"{name}, MB per 1,000 fields"] = size / config.fields / 1000
    storage.assert_same_is_seen(sources)
    for name, seconds in storage.read_in_turns(
        sources, reads=config.reads, turns=config.turns, seed=config.seed
    ).items():
        metrics[f"{name}, fields/s"] = config.reads / statistics.median(seconds)
    metrics["times faster"] = metrics["0.32 µm, fields/s"] / metrics["original, fields/s"]
    metrics["times smaller"] = metrics["original, MB per 1,000 fields"] / metrics["0.32 µm, MB per 1,000 fields"]
    headline = [name for name in metrics if not name.endswith("(s per field)")]
    return launch.Result(metrics=metrics, counts={"fields": config.fields}, data="simulated", headline=headline)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs it from its command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
