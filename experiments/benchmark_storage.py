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

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from hpax import atlas, data, images, launch, simulate

SEEN = 0.64  # µm per pixel; what weakly supervised networks are shown


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
    um_per_pixel = atlas.um_per_pixel(config.side)
    folder = workdir / "fields"
    draw(config, folder, um_per_pixel)
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
    assert_same_is_seen(sources)
    for name, seconds in read_in_turns(config, sources).items():
        metrics[f"{name}, fields/s"] = config.reads / statistics.median(seconds)
    metrics["times faster"] = metrics["0.32 µm, fields/s"] / metrics["original, fields/s"]
    metrics["times smaller"] = metrics["original, MB per 1,000 fields"] / metrics["0.32 µm, MB per 1,000 fields"]
    headline = [name for name in metrics if not name.endswith("(s per field)")]
    return launch.Result(metrics=metrics, counts={"fields": config.fields}, data="simulated", headline=headline)


def draw(config: Config, folder: Path, um_per_pixel: float) -> None:
    """Originals as Kaggle ships them, and their table."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(config.seed)
    rows = ["id,label"]
    proteome = simulate.proteome(proteins=config.fields, seed=config.seed)
    coarse = round(config.side * um_per_pixel / 0.32)
    for protein in proteome:
        field = simulate.field(protein, "U-2 OS", 0, seed=config.seed, size=coarse, um_per_pixel=0.32)
        image = images.resize(field.image, (config.side, config.side))
        for channel, plane in zip(atlas.CHANNELS, np.moveaxis(image, -1, 0), strict=True):
            noisy = with_noise(plane, config.noise, rng)
            Image.fromarray(noisy).save(folder / f"{protein.name}_{atlas.COLOURS[channel]}.png", compress_level=1)
        rows.append(f"{protein.name},{'|'.join(map(str, np.flatnonzero(field.labels)))}")
    (folder / "fields.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def with_noise(plane: UInt8[np.ndarray, "h w"], noise: float, rng: np.random.Generator) -> UInt8[np.ndarray, "h w"]:
    """A plane under a camera's noise."""
    return np.clip(np.rint(plane + rng.normal(0, noise, plane.shape)), 0, 255).astype(np.uint8)


def shown(source: data.Source, place: int) -> UInt8[np.ndarray, "y x 4"]:
    """A field as a network is shown it."""
    field = source[place]
    return images.to_um_per_pixel(field["image"], float(field["um_per_pixel"]), SEEN)


def assert_same_is_seen(sources: dict[str, data.Source]) -> None:
    """Both storages show the first field alike, but for rounding twice."""
    first, second = (shown(source, 0).astype(int) for source in sources.values())
    if first.shape != second.shape or np.abs(first - second).mean() > 1:
        raise ValueError(f"the storages differ: {first.shape} and {second.shape}; a storage must not change a field")


def read_in_turns(config: Config, sources: dict[str, data.Source]) -> dict[str, list[float]]:
    """Seconds of each source in every turn."""
    order = np.random.default_rng(config.seed).integers(0, config.fields, config.reads)
    seconds: dict[str, list[float]] = {name: [] for name in sources}
    for _ in range(config.turns):
        for name, source in sources.items():
            start = time.perf_counter()
            for place in order.tolist():
                shown(source, place)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Runs it from its command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
