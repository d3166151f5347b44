"""How large pixels are, by the nuclei in them: human nuclei in culture are much alike, pictures of them are not."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, UInt
from skimage.segmentation import clear_border

from hpax.images import percentile_normalise
from hpax.segment import classical, masks

NUCLEUS_AREA = 165.0
"""µm², of the median nucleus: of 1,470 whole nuclei in 77 fields of the Human Protein Atlas, as found here.

Half of these fields have a median of 134 to 244, as cell lines differ: of a single line the estimate is off by up to a
fifth, of several by less.
"""

LEAST = 12  # nuclei that an estimate needs
STEPS = 6  # at most; each comes about five times as close
CLOSE = 0.02  # of the pixel size: what a step must change for another one
RANGE = (0.01, 10.0)  # µm

Stain = UInt[np.ndarray, "h w"]


@dataclasses.dataclass(frozen=True)
class Estimate:
    """µm per pixel at which the median nucleus has the size of a nucleus, and what it rests on."""

    um_per_pixel: float
    nuclei: int


def estimate(stains: Sequence[Stain], start: float) -> Estimate | None:
    """The pixel size of fields of one microscope by their nuclear stains, which may differ in shape; None if unclear.

    Nuclei are found at a size, their median area gives another one, at which they are found again. `start` may be off
    by a factor of eight.

    Raises:
        ValueError: `start` is not positive.
    """
    if not start > 0:
        raise ValueError(f"start must be positive, got {start}; give a guess in µm per pixel")
    size, found = start, False
    for _ in range(STEPS):
        areas = np.concatenate([np.zeros(0), *(whole_nuclei(stain, size) for stain in stains)])
        found = len(areas) >= LEAST
        factor = float(np.sqrt(NUCLEUS_AREA / np.median(areas))) if found else 2.0  # too small to be nuclei, perhaps
        size *= factor
        if not RANGE[0] <= size <= RANGE[1]:
            return None
        if abs(factor - 1) < CLOSE:
            break
    if not found:
        return None
    return Estimate(float(f"{size:.3g}"), len(areas))


def whole_nuclei(stain: Stain, um_per_pixel: float) -> Float64[np.ndarray, " n"]:
    """The areas in µm² of the nuclei that the border does not cut, if pixels have this size."""
    factor = max(1, int(classical.RECIPE.pixel / um_per_pixel + 1e-6))
    pixel = um_per_pixel * factor
    if min(stain.shape) < factor:
        return np.zeros(0)
    nuclei = classical.find_nuclei(masks.block_mean(percentile_normalise(stain), factor), pixel)
    pixels = np.bincount(clear_border(nuclei).ravel())[1:]
    return pixels[pixels > 0] * pixel**2
