"""Fields drawn by the simulator in the layouts of Kaggle and proteinatlas.org, so that everything runs without HPA."""

import csv
import pathlib

import numpy as np
from PIL import Image

from hpax import atlas, simulate

UM_PER_PIXEL = 0.32


def write(folder: pathlib.Path, *, kaggle: int = 2, proteinatlas: int = 2, size: int = 256, seed: int = 0) -> None:
    """Writes fields and their table: `kaggle` of them as grey PNGs, `proteinatlas` as JPEGs in the channel's colour.

    The proteinatlas fields come in twos from one well, with gene and cell line. Pass um_per_pixel=UM_PER_PIXEL when
    reading them, since their width does not tell.
    """
    proteome = simulate.proteome(proteins=kaggle + proteinatlas, seed=seed)
    rows = []
    for number in range(kaggle + proteinatlas):
        known = number >= kaggle
        protein, index = (proteome[kaggle], number - kaggle) if known else (proteome[number], 0)
        field = simulate.field(protein, "U-2 OS", index, seed=seed, size=size, um_per_pixel=UM_PER_PIXEL)
        id = f"{10 + index // 2}_A{1 + index // 2}_{1 + index % 2}" if known else f"{number:08x}-bb9b-11e8"
        _write_channels(folder / ("proteinatlas" if known else "kaggle"), id, field.image, coloured=known)
        labels = "|".join(map(str, np.flatnonzero(field.labels)))
        rows.append([id, labels, *((f"GENE{index // 2}", "U-2 OS") if known else ("", ""))])
    with (folder / "fields.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "labels", "gene", "cell_line"], *rows])


def _write_channels(folder: pathlib.Path, id: str, image: np.ndarray, *, coloured: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    planes = {"red": [0], "green": [1], "blue": [2], "yellow": [0, 1]}
    for channel, pixels in zip(atlas.CHANNELS, np.moveaxis(image, -1, 0), strict=True):
        colour = atlas.COLOURS[channel]
        if not coloured:
            Image.fromarray(pixels).save(folder / f"{id}_{colour}.png")
            continue
        rgb = np.zeros((*pixels.shape, 3), np.uint8)
        rgb[..., planes[colour]] = pixels[..., None]
        Image.fromarray(rgb).save(folder / f"{id}_{colour}.jpg", quality=95)
