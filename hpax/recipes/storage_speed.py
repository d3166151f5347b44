"""How fast fields are read from shards, and whether two storages show networks the same."""

import functools
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from hpax import atlas, data, images, simulate
from hpax.metrics.timing import take_turns

SEEN = 0.64  # µm per pixel; what weakly supervised networks are shown


def draw(folder: Path, *, fields: int, side: int, um_per_pixel: float, noise: float, seed: int) -> None:
    """Originals as Kaggle ships them, and their table."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows = ["id,label"]
    proteome = simulate.proteome(proteins=fields, seed=seed)
    coarse = round(side * um_per_pixel / 0.32)
    for protein in proteome:
        field = simulate.field(protein, "U-2 OS", 0, seed=seed, size=coarse, um_per_pixel=0.32)
        image = images.resize(field.image, (side, side))
        for channel, plane in zip(atlas.CHANNELS, np.moveaxis(image, -1, 0), strict=True):
            noisy = with_noise(plane, noise, rng)
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


def read_in_turns(sources: dict[str, data.Source], *, reads: int, turns: int, seed: int) -> dict[str, list[float]]:
    """Seconds of each source in every turn; a first turn does not count."""
    order = np.random.default_rng(seed).integers(0, len(next(iter(sources.values()))), reads)
    sides = {name: functools.partial(read, source, order) for name, source in sources.items()}
    return take_turns(sides, turns)


def read(source: data.Source, order: Int[np.ndarray, " r"]) -> None:
    """Every field of `order` as a network is shown it."""
    for place in order.tolist():
        shown(source, place)
