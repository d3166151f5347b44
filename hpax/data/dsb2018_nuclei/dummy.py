"""Images drawn by code in the layout of the real ones, so that everything runs without them."""

import pathlib

import numpy as np
from PIL import Image

KINDS = ((64, 5.0), (96, 12.0))
"""Pixels of an image's side, and of the radius of its nuclei; images take turns."""

NUCLEI = 3  # in a row, and rows of them


def write(folder: pathlib.Path, *, images: int = 12, seed: int = 0) -> None:
    """Writes images of round nuclei on a grid, bright on a dark noisy ground, with their masks."""
    rng = np.random.default_rng(seed)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number in range(images):
        size, radius = KINDS[number % len(KINDS)]
        y, x = np.mgrid[:size, :size]
        nuclei = np.zeros((size, size), np.uint16)
        for index in range(NUCLEI**2):
            centre = (np.array(divmod(index, NUCLEI)) + 0.5) * size / NUCLEI
            nuclei[np.hypot(y - centre[0], x - centre[1]) < radius] = index + 1
        grey = np.clip(rng.normal(20, 4, nuclei.shape) + 150 * (nuclei > 0), 0, 255).astype(np.uint8)
        Image.fromarray(grey).save(folder / "images" / f"image{number}.png")
        Image.fromarray(nuclei).save(folder / "masks" / f"image{number}.png")
