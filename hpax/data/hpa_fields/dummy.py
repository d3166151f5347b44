"""Fields drawn by code in the layouts of Kaggle and proteinatlas.org, so that everything runs without the real ones."""

import csv
import pathlib

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from hpax import atlas

UM_PER_PIXEL = 0.32
SPACING = 64  # pixels between nuclei


def write(folder: pathlib.Path, *, kaggle: int = 2, proteinatlas: int = 2, size: int = 256, seed: int = 0) -> None:
    """Writes fields and their table: `kaggle` of them as grey PNGs, `proteinatlas` as JPEGs in the channel's colour.

    A field has a cell in each of its (size / 64)² squares. The proteinatlas fields come in twos from one well, with
    gene and cell line. Pass um_per_pixel=UM_PER_PIXEL when reading them, since their width does not tell.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(kaggle):
        id = f"{number:08x}-bb9b-11e8"
        _write_grey(folder / "kaggle", id, _draw(rng, size))
        rows.append([id, f"{number % 18}|{(number + 5) % 18}", "", ""])
    for number in range(proteinatlas):
        id = f"{10 + number // 2}_A{1 + number // 2}_{1 + number % 2}"
        _write_coloured(folder / "proteinatlas", id, _draw(rng, size))
        rows.append([id, "Nucleoplasm;Lipid droplets", f"GENE{number // 2}", "U-2 OS"])
    with (folder / "fields.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "labels", "gene", "cell_line"], *rows])


def _draw(rng: np.random.Generator, size: int) -> UInt8[np.ndarray, "h w 4"]:
    """Round nuclei in round cells, one to a square, with a little noise."""
    nuclei, cells = np.zeros((2, size, size))
    y, x = np.mgrid[:size, :size]
    for top, left in np.ndindex(size // SPACING, size // SPACING):
        centre = (np.array([top, left]) + rng.uniform(0.45, 0.55, 2)) * SPACING
        distance = np.hypot(y - centre[0], x - centre[1])
        np.maximum(nuclei, 1 / (1 + np.exp(distance - rng.uniform(9, 13))), out=nuclei)
        np.maximum(cells, 1 / (1 + np.exp((distance - rng.uniform(18, 24)) / 2)), out=cells)
    stains = {"protein": 0.6 * cells * (1 - nuclei), "nucleus": 0.8 * nuclei, "microtubules": 0.5 * cells, "er": cells}
    image = np.stack([stains[channel] for channel in atlas.CHANNELS], axis=-1)
    return np.rint(255 * np.clip(image * 0.8 + rng.normal(0.02, 0.02, image.shape), 0, 1)).astype(np.uint8)


def _write_grey(folder: pathlib.Path, id: str, image: UInt8[np.ndarray, "h w 4"]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for channel, pixels in zip(atlas.CHANNELS, np.moveaxis(image, -1, 0), strict=True):
        Image.fromarray(pixels).save(folder / f"{id}_{atlas.COLOURS[channel]}.png")


def _write_coloured(folder: pathlib.Path, id: str, image: UInt8[np.ndarray, "h w 4"]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    planes = {"red": [0], "green": [1], "blue": [2], "yellow": [0, 1]}
    for channel, pixels in zip(atlas.CHANNELS, np.moveaxis(image, -1, 0), strict=True):
        rgb = np.zeros((*pixels.shape, 3), np.uint8)
        rgb[..., planes[atlas.COLOURS[channel]]] = pixels[..., None]
        Image.fromarray(rgb).save(folder / f"{id}_{atlas.COLOURS[channel]}.jpg", quality=95)
