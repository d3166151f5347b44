"""Crops drawn by code in the published layouts, so that everything runs without the real ones."""

import pathlib
from collections.abc import Mapping

import numpy as np
import tifffile

IMAGES = {"human": {"ABC1_12_A1": 6, "DEF2_34_B2": 5}, "yeast": {"AAA1": 31, "BBB2": 30}}
"""For each organism: image → number of cells, just enough of them to be kept."""


def write(
    folder: pathlib.Path, organism: str, images: Mapping[str, int] | None = None, *, size: int = 32, seed: int = 0
) -> None:
    """Writes noisy cells as float32 TIFFs in [0, 1], `size` pixels wide, for each image in `images`.

    The protein of an image has its own brightness; cell i of an image lies in field 1 + i // 8.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    for image, cells in (IMAGES[organism] if images is None else images).items():
        (folder / image).mkdir(parents=True, exist_ok=True)
        level = rng.uniform(0.3, 1)
        for cell in range(cells):
            for channel in ("green", "blue", "red") if organism == "human" else ("gfp", "rfp"):
                disc = np.exp(-((x - rng.normal(0, 0.1)) ** 2 + y**2) / rng.uniform(0.2, 0.6))
                pixels = np.clip(level * disc + rng.normal(0, 0.03, disc.shape), 0, 1).astype(np.float32)
                tifffile.imwrite(folder / image / _name(organism, image, cell, channel), pixels)


def _name(organism: str, image: str, cell: int, channel: str) -> str:
    field = 1 + cell // 8
    if organism == "yeast":
        return f"{image}_{field}_rfp_{cell}_{channel}.tif"
    return f"{image.split('_', 1)[1]}_{field}_{cell}_{channel}.tif"
