"""Crops as the published networks see them: integers in, float32 in [0, 1] out, over any leading axes.

The protein is channel 0. A flat channel becomes 0 everywhere.
"""

import numpy as np
from jaxtyping import Bool, Float, UInt

from hpax import atlas
from hpax.images import as_float

FLOOR = 0.05  # structural markers under this fraction of full scale are background


def human(crops: UInt[np.ndarray, "*b s s c"]) -> Float[np.ndarray, "*b s s c"]:
    """Human cells (Lu et al. 2019): the protein spans [0, 1] in each crop, markers are stretched from [0.05, 1].

    The published code stretches; the paper only says that pixels under 0.05 become 0.
    """
    image = as_float(crops)
    image[..., atlas.PROTEIN] = span(image[..., atlas.PROTEIN])
    image[..., atlas.STRUCTURE] = np.maximum(image[..., atlas.STRUCTURE] - FLOOR, 0) / (1 - FLOOR)
    return image


def yeast(crops: UInt[np.ndarray, "*b s s c"]) -> Float[np.ndarray, "*b s s c"]:
    """Yeast cells (Lu et al. 2019): every channel spans [0, 1] in each crop."""
    return span(as_float(crops))


def span(image: Float[np.ndarray, "*b h w c"]) -> Float[np.ndarray, "*b h w c"]:
    """Each channel of each image linearly to minimum 0 and maximum 1."""
    low = image.min((-3, -2), keepdims=True)
    extent = image.max((-3, -2), keepdims=True) - low
    return (image - low) / np.where(extent > 0, extent, 1)


def flip(images: Float[np.ndarray, "b h w c"], flips: Bool[np.ndarray, "b 2"]) -> Float[np.ndarray, "b h w c"]:
    """Each image upside down where `flips[:, 0]`, mirrored where `flips[:, 1]`."""
    flipped = images.copy()
    flipped[flips[:, 0]] = flipped[flips[:, 0], ::-1]
    flipped[flips[:, 1]] = flipped[flips[:, 1], :, ::-1]
    return flipped
